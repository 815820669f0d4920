"""Every weather, seen by a client that nothing surprises."""

import asyncio
import gc
import gzip
import socket
from datetime import UTC, datetime

import httpx
import pytest

from fakes.emsp import FakeEmsp, Kind, Part, drip, gzip_bomb, held, rate_limited, server_error, slow
from tests.fakes.emsp_client import HANG_S, Cpo

UID = "04A1B2C3D4E5F6"


@pytest.fixture(autouse=True)
def known_card(emsp: FakeEmsp) -> None:
    emsp.card(UID)


@pytest.mark.parametrize(
    ("kind", "http_status", "status_code"),
    [
        (Kind.UNAUTHORIZED, 401, 2000),
        (Kind.FORBIDDEN, 403, 2000),
        (Kind.NOT_FOUND, 404, 2004),
        (Kind.UNKNOWN_200, 200, 2004),
        (Kind.RATE_LIMITED, 429, 2000),
        (Kind.SERVER_ERROR, 500, 3000),
        (Kind.NOT_ENOUGH, 200, 2002),
        (Kind.OCPI_ERROR, 200, 3000),
        (Kind.HUB_ERROR, 200, 4002),
    ],
)
async def test_refusing_weather_answers_with_an_envelope_without_data(
    emsp: FakeEmsp, cpo: Cpo, kind: Kind, http_status: int, status_code: int
) -> None:
    emsp.set_weather(kind)
    response = await cpo.authorize(UID)
    assert (response.status_code, response.json()["status_code"]) == (http_status, status_code)
    assert "data" not in response.json()
    assert emsp.given_references == {}
    assert emsp.complaints == []


@pytest.mark.parametrize(
    ("weather", "http_status"), [(Kind.NOT_FOUND_BARE, 404), (Kind.HTML_200, 200), (server_error(503), 503)]
)
async def test_proxy_weather_answers_with_html(emsp: FakeEmsp, cpo: Cpo, weather: Kind, http_status: int) -> None:
    emsp.set_weather(weather)
    response = await cpo.authorize(UID)
    assert response.status_code == http_status
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.text.startswith("<html>")


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(7, "7"), (datetime(2026, 3, 1, 12, tzinfo=UTC), "Sun, 01 Mar 2026 12:00:00 GMT"), (None, None)],
)
async def test_rate_limit_says_when_to_come_back(
    emsp: FakeEmsp, cpo: Cpo, retry_after: int | datetime | None, header: str | None
) -> None:
    emsp.set_weather(rate_limited(retry_after))
    assert (await cpo.tokens()).headers.get("Retry-After") == header


async def test_server_error_may_say_when_to_come_back(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(server_error(503, 30))
    assert (await cpo.tokens()).headers["Retry-After"] == "30"


async def test_weather_for_a_number_of_times_is_fine_afterwards(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(rate_limited(0, times=2))
    assert [(await cpo.authorize(UID)).status_code for _ in range(4)] == [429, 429, 200, 200]


async def test_weather_of_one_part_leaves_the_others_fine(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.SERVER_ERROR, on=Part.AUTHORIZE)
    assert (await cpo.authorize(UID)).status_code == 500
    assert (await cpo.tokens()).status_code == 200
    assert (await cpo.get(emsp.versions_url)).status_code == 200


async def test_cut_off_json_comes_in_whole_http(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.CUT_OFF)
    response = await cpo.authorize(UID)
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        response.json()


async def test_wrong_shape_is_a_list_for_an_object(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.WRONG_SHAPE)
    assert isinstance((await cpo.authorize(UID)).json()["data"], list)


async def test_wrong_shape_is_an_object_for_a_list(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.WRONG_SHAPE)
    assert isinstance((await cpo.tokens()).json()["data"], dict)


async def test_allowed_may_be_a_value_that_nobody_knows(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.ALLOWED_MAYBE)
    info = (await cpo.authorize(UID)).json()["data"]
    assert info["allowed"] == "MAYBE"
    assert info["token"]["whitelist"] == "ALLOWED"


async def test_not_utf8_is_no_utf8(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.NOT_UTF8)
    response = await cpo.authorize(UID)
    with pytest.raises(UnicodeDecodeError):
        response.content.decode("utf-8")
    assert '"allowed":"ALLOWED"' in response.content.decode("latin-1")


async def test_empty_body_is_200_with_nothing(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.EMPTY_BODY)
    response = await cpo.authorize(UID)
    assert (response.status_code, response.content) == (200, b"")


async def test_slow_answers_rightly(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(slow(0.01))
    assert (await cpo.authorize(UID)).json()["data"]["allowed"] == "ALLOWED"
    (request,) = emsp.requests
    assert request.answered_at is not None
    # asyncio's timers may fire a clock tick early.
    assert request.answered_at - request.arrived_at > 0.009


async def test_held_answers_when_it_is_let_go(emsp: FakeEmsp, cpo: Cpo) -> None:
    let_go = asyncio.Event()
    emsp.set_weather(held(let_go))
    asking = asyncio.create_task(cpo.authorize(UID))
    async with asyncio.timeout(HANG_S):
        (request,) = await emsp.arrived(part=Part.AUTHORIZE)
        answered_before = request.answered
        let_go.set()
        response = await asking
    assert not answered_before
    assert response.json()["data"]["authorization_reference"] == emsp.given_references[UID][0]
    assert request.answered


async def test_held_connection_carries_the_next_request(emsp: FakeEmsp, cpo: Cpo) -> None:
    let_go = asyncio.Event()
    let_go.set()
    emsp.set_weather(held(let_go, times=1))
    for _ in range(2):
        await cpo.authorize(UID)
    assert emsp.connections_accepted == 1


async def test_silent_takes_the_request_and_never_answers(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.SILENT, on=Part.AUTHORIZE)
    asking = asyncio.create_task(cpo.authorize(UID))
    async with asyncio.timeout(HANG_S):
        (request,) = await emsp.arrived()
        await cpo.tokens()
    assert not asking.done()
    assert not request.answered
    asking.cancel()


async def test_down_refuses_connections(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.DOWN)
    with pytest.raises(httpx.ConnectError):
        await cpo.authorize(UID)
    assert emsp.requests == []


async def test_going_down_kills_what_is_open(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.SILENT)
    asking = asyncio.create_task(cpo.authorize(UID))
    async with asyncio.timeout(HANG_S):
        await emsp.arrived()
        emsp.set_weather(Kind.DOWN)
        with pytest.raises(httpx.TransportError):
            await asking
    assert emsp.connections == 0


async def test_fine_brings_it_back_on_the_same_port(emsp: FakeEmsp, cpo: Cpo) -> None:
    await cpo.authorize(UID)
    port = emsp.port
    for _ in range(3):
        emsp.set_weather(Kind.DOWN)
        emsp.set_weather(Kind.FINE)
    assert emsp.port == port
    async with Cpo(emsp).http as http:
        assert (await http.get(emsp.versions_url, headers=cpo.headers(routing=False))).status_code == 200


async def test_port_of_a_device_that_is_down_can_not_be_taken(emsp: FakeEmsp) -> None:
    emsp.set_weather(Kind.DOWN)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", emsp.port))


async def test_fake_started_again_has_its_port_again(emsp: FakeEmsp, cpo: Cpo) -> None:
    port = emsp.port
    await cpo.authorize(UID)
    await emsp.stop()
    await emsp.start()
    assert emsp.port == port
    assert (await cpo.get(emsp.versions_url)).status_code == 200


async def test_one_part_can_not_be_down(emsp: FakeEmsp, cpo: Cpo) -> None:
    with pytest.raises(ValueError, match="share a port"):
        emsp.set_weather(Kind.DOWN, on=Part.LIST)
    assert (await cpo.tokens()).status_code == 200


async def test_drip_sends_the_right_answer_in_single_bytes(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(drip(0.0))
    assert (await cpo.authorize(UID)).json()["data"]["allowed"] == "ALLOWED"


async def test_drip_waits_after_the_first_byte(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(drip(3600.0), on=Part.AUTHORIZE)
    asking = asyncio.create_task(cpo.authorize(UID))
    async with asyncio.timeout(HANG_S):
        (request,) = await emsp.arrived()
        await cpo.tokens()
    assert not asking.done()
    assert not request.answered
    asking.cancel()


@pytest.mark.parametrize("kind", [Kind.ENDLESS_CHUNKED, Kind.ENDLESS_LENGTH])
async def test_endless_answers_go_on_as_long_as_somebody_reads(emsp: FakeEmsp, cpo: Cpo, kind: Kind) -> None:
    emsp.set_weather(kind)
    read = 0
    async with (
        asyncio.timeout(HANG_S),
        cpo.http.stream("GET", emsp.tokens_url, headers=cpo.headers()) as response,
    ):
        async for piece in response.aiter_raw():
            read += len(piece)
            if read > 2_000_000:
                break
    assert response.status_code == 200
    assert not emsp.requests[0].answered


async def test_endless_length_announces_a_tebibyte(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.ENDLESS_LENGTH)
    async with cpo.http.stream("GET", emsp.tokens_url, headers=cpo.headers()) as response:
        assert response.headers["Content-Length"] == str(1 << 40)


async def test_gzip_bomb_is_small_on_the_line_and_large_unpacked(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(gzip_bomb(8))
    async with cpo.http.stream("GET", emsp.tokens_url, headers=cpo.headers()) as response:
        packed = b"".join([piece async for piece in response.aiter_raw()])
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 100_000
    assert len(gzip.decompress(packed)) > 8 << 20


async def test_gzip_bomb_unpacks_in_a_client_that_does(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(gzip_bomb(1))
    assert set((await cpo.tokens()).json()["data"]) == {"A"}


async def test_reset_tears_the_answer_off(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.RESET)
    with pytest.raises(httpx.TransportError):
        await cpo.authorize(UID)
    assert not emsp.requests[0].answered


async def test_garbage_is_no_http(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.GARBAGE)
    with pytest.raises(httpx.RemoteProtocolError):
        await cpo.authorize(UID)


async def test_dropped_idle_connection_was_not_announced(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.DROPS_IDLE)
    first = await cpo.authorize(UID)
    assert "Connection" not in first.headers
    assert emsp.requests[0].answered


async def test_dropped_reused_connection_takes_the_second_request_along(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.DROPS_REUSED)
    assert (await cpo.authorize(UID)).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        await cpo.authorize(UID)
    assert [request.answered for request in emsp.requests] == [True, False]


@pytest.mark.parametrize("kind", [Kind.FINE, Kind.SILENT, Kind.DOWN, Kind.ENDLESS_CHUNKED, Kind.RESET])
async def test_stopped_fake_leaves_nothing_behind(kind: Kind) -> None:
    before = asyncio.all_tasks()
    emsp = FakeEmsp()
    await emsp.start()
    client = Cpo(emsp)
    emsp.set_weather(Kind.SILENT)
    asking = asyncio.create_task(client.tokens())
    async with asyncio.timeout(HANG_S):
        await emsp.arrived()
        emsp.set_weather(kind)
        await emsp.stop()
        with pytest.raises(httpx.TransportError):
            await asking
        await client.http.aclose()
    await emsp.stop()
    del emsp
    # pytest turns the ResourceWarning of a socket that was left open into a failure.
    gc.collect()
    assert asyncio.all_tasks() == before


async def test_client_that_goes_away_ends_the_endless_answer(emsp: FakeEmsp, cpo: Cpo) -> None:
    emsp.set_weather(Kind.ENDLESS_CHUNKED)
    async with cpo.http.stream("GET", emsp.tokens_url, headers=cpo.headers()):
        pass
    emsp.set_weather(Kind.FINE)
    assert (await cpo.authorize(UID)).status_code == 200
