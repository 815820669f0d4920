"""Asking a peer in real time: what is sent, and what each kind of weather comes to."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agent.model import LocationReferences, Outcome
from agent.ocpi.client import Failure, OcpiClient
from agent.ocpi.tokens import AuthorizationInfo, DisplayText, token_of
from agent.ocpi.tokens import LocationReferences as WireLocation
from fakes.emsp import FakeEmsp, Kind, Part, held, rate_limited, server_error
from tests.ocpi.conftest import HERE, THEM, UID, US, ClientMaker
from tests.ocpi.scripted import ScriptedPeer


async def ask(client: OcpiClient, uid: str = UID) -> AuthorizationInfo | Failure:
    return await client.authorize(uid, HERE, correlation_id="tap-1")


# ---- the question


async def test_the_question_is_what_ocpi_asks_for(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.card(UID)
    await client.authorize(UID.lower(), HERE, correlation_id="tap-1")
    [request] = emsp.requests
    assert request.method == "POST"
    assert request.path.endswith(f"/tokens/{UID.lower()}/authorize")
    assert request.query == {"type": "RFID"}
    assert request.json() == {"location_id": "LOC1", "evse_uids": ["EVSE1"]}
    assert request.headers["x-correlation-id"] == "tap-1"
    assert request.headers["ocpi-from-country-code"] + request.headers["ocpi-from-party-id"] == "".join(US)
    assert request.headers["ocpi-to-country-code"] + request.headers["ocpi-to-party-id"] == "".join(THEM)
    assert request.headers["accept-encoding"] == "identity"


async def test_every_request_has_an_id_of_its_own(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.card(UID)
    await ask(client)
    await ask(client)
    first, second = (request.headers["x-request-id"] for request in emsp.requests)
    assert first != second


async def test_evses_are_left_out_where_there_are_none(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.card(UID)
    await client.authorize(UID, LocationReferences("LOC1"), correlation_id="tap-1")
    assert emsp.requests[0].json() == {"location_id": "LOC1"}


async def test_a_plain_credentials_token_is_sent_where_configured(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    emsp.device.plain_credentials = True
    emsp.card(UID)
    assert isinstance(await ask(make_client(encoding="plain")), AuthorizationInfo)


async def test_a_token_of_another_owner_is_routed_to_that_owner(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    emsp.device.hub = True
    emsp.card(UID)
    await make_client(hub=True).authorize(UID, HERE, correlation_id="tap-1", to=("FR", "XYZ"))
    headers = emsp.requests[0].headers
    assert (headers["ocpi-to-country-code"], headers["ocpi-to-party-id"]) == ("FR", "XYZ")


async def test_a_hub_is_left_to_route_a_token_that_nobody_knows(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    emsp.device.hub = True
    emsp.card(UID)
    assert isinstance(await ask(make_client(hub=True)), AuthorizationInfo)
    assert not [name for name in emsp.requests[0].headers if name.startswith("ocpi-to")]


@pytest.mark.parametrize("uid", ["", ".", ".."])
async def test_a_uid_that_would_be_another_path_is_not_sent(emsp: FakeEmsp, client: OcpiClient, uid: str) -> None:
    failure = await ask(client, uid)
    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.REJECTED
    assert emsp.requests == []


async def test_a_uid_with_a_slash_stays_a_uid(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.card("../a/b")
    assert isinstance(await ask(client, "../a/b"), AuthorizationInfo)


async def test_a_proxy_of_the_environment_is_not_used(
    emsp: FakeEmsp, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    emsp.card(UID)
    assert isinstance(await ask(make_client()), AuthorizationInfo)


# ---- the answer


async def test_a_whole_answer_is_passed_on(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.card(UID, whitelist="NEVER", info=("de", "Gute Fahrt"), reference="REF-1", evse_uids=("EVSE1", "EVSE2"))
    reply = await ask(client)
    assert isinstance(reply, AuthorizationInfo)
    token = token_of(reply)
    assert token is not None
    assert (reply.allowed, token.uid, token.whitelist) == ("ALLOWED", UID, "NEVER")
    assert reply.location == WireLocation("LOC1", ("EVSE1", "EVSE2"))
    assert reply.authorization_reference == "REF-1"
    assert reply.info == DisplayText("Gute Fahrt", "de")


@pytest.mark.parametrize("allowed", ["BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"])
async def test_a_refusal_is_an_answer(emsp: FakeEmsp, client: OcpiClient, allowed: str) -> None:
    emsp.card(UID, allowed=allowed, reference=None)
    reply = await ask(client)
    assert isinstance(reply, AuthorizationInfo)
    assert reply.allowed == allowed


async def test_a_card_that_the_peer_does_not_know_is_unknown(client: OcpiClient) -> None:
    assert await ask(client, "04FFFFFF") == Failure(Outcome.UNKNOWN, "HTTP 404, OCPI 2004: Unknown Token")


@pytest.mark.parametrize(
    ("kind", "outcome", "detail"),
    [
        (Kind.DOWN, Outcome.UNREACHABLE, "Connection refused"),
        (Kind.UNAUTHORIZED, Outcome.UNAUTHORIZED, "HTTP 401, OCPI 2000: Unauthorized"),
        (Kind.FORBIDDEN, Outcome.UNAUTHORIZED, "HTTP 403, OCPI 2000: Forbidden"),
        (Kind.NOT_FOUND, Outcome.UNKNOWN, "HTTP 404, OCPI 2004: Unknown Token"),
        (Kind.NOT_FOUND_BARE, Outcome.UNKNOWN, "HTTP 404"),
        (Kind.UNKNOWN_200, Outcome.UNKNOWN, "OCPI 2004: Unknown Token"),
        (Kind.RATE_LIMITED, Outcome.RATE_LIMITED, "HTTP 429, OCPI 2000: Too Many Requests"),
        (Kind.SERVER_ERROR, Outcome.SERVER_ERROR, "HTTP 500, OCPI 3000: Internal Server Error"),
        (Kind.NOT_ENOUGH, Outcome.REJECTED, "OCPI 2002: Not enough information"),
        (Kind.OCPI_ERROR, Outcome.OCPI_ERROR, "OCPI 3000: Generic server error"),
        (Kind.HUB_ERROR, Outcome.OCPI_ERROR, "OCPI 4002: Timeout on forwarded request"),
        (Kind.CUT_OFF, Outcome.MALFORMED, "the answer is no OCPI envelope: Input data was truncated"),
        (Kind.WRONG_SHAPE, Outcome.MALFORMED, "the answer's data can't be used: Expected `object`, got `array`"),
        (
            Kind.ALLOWED_MAYBE,
            Outcome.MALFORMED,
            "the answer's data can't be used: Invalid enum value 'MAYBE' - at `$.allowed`",
        ),
        (
            Kind.NOT_UTF8,
            Outcome.MALFORMED,
            "the answer is no OCPI envelope: 'utf-8' codec can't decode byte 0xfc in position 1: invalid start byte",
        ),
        (
            Kind.HTML_200,
            Outcome.MALFORMED,
            "the answer is no OCPI envelope: JSON is malformed: invalid character (byte 0)",
        ),
        (Kind.EMPTY_BODY, Outcome.MALFORMED, "the answer is empty"),
        (Kind.ENDLESS_CHUNKED, Outcome.OVERSIZED, "the answer is larger than 64 KiB"),
        (Kind.ENDLESS_LENGTH, Outcome.OVERSIZED, "the answer is larger than 64 KiB"),
        (Kind.GZIP_BOMB, Outcome.MALFORMED, "the answer is compressed, which was not asked for"),
        (Kind.RESET, Outcome.UNREACHABLE, "Connection reset by peer"),
    ],
)
async def test_every_weather_has_its_outcome_and_a_sentence(
    emsp: FakeEmsp, client: OcpiClient, kind: Kind, outcome: Outcome, detail: str
) -> None:
    emsp.card(UID)
    emsp.set_weather(kind)
    failure = await ask(client)
    assert isinstance(failure, Failure)
    assert (failure.outcome, failure.detail, failure.retry_after_s) == (outcome, detail, None)
    # And the client is none the worse for it.
    emsp.set_weather(Kind.FINE)
    assert isinstance(await ask(client), AuthorizationInfo)


async def test_what_is_no_http_is_malformed(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.set_weather(Kind.GARBAGE)
    failure = await ask(client)
    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.MALFORMED
    assert failure.detail.startswith("the answer is no HTTP")


async def test_a_page_of_a_proxy_is_a_server_error(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.set_weather(server_error(503, retry_after=30))
    assert await ask(client) == Failure(Outcome.SERVER_ERROR, "HTTP 503", 30.0)


async def test_retry_after_as_a_date_counts_from_the_peers_own_clock(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.clock_skew = timedelta(days=400)
    moment = datetime.now(UTC) + emsp.clock_skew + timedelta(hours=1)
    emsp.set_weather(rate_limited(moment))
    failure = await ask(client)
    assert isinstance(failure, Failure)
    assert failure.retry_after_s is not None
    assert 3000 < failure.retry_after_s <= 3601


async def test_a_peer_that_never_answers_is_a_timeout_in_the_end(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    emsp.set_weather(Kind.SILENT)
    failure = await ask(make_client(hang_s=0.05))
    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.TIMEOUT


async def test_tls_against_a_server_without_it_is_unreachable(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    client = make_client(tokens_url=emsp.tokens_url.replace("http://", "https://"))
    failure = await ask(client)
    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.UNREACHABLE
    emsp.complaints.clear()  # It has read the first bytes of TLS as HTTP.


async def test_a_wrong_credentials_token_is_rejected_credentials(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    failure = await ask(make_client(token="another"))
    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.UNAUTHORIZED
    assert "another" not in failure.detail
    emsp.complaints.clear()


async def test_nothing_of_a_card_is_logged(
    emsp: FakeEmsp, client: OcpiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    emsp.card(UID)
    await ask(client)
    assert UID not in caplog.text
    assert emsp.device.authorization not in caplog.text


async def test_a_redirect_is_not_followed(emsp: FakeEmsp, scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    emsp.card(UID)
    target = f"Location: {emsp.tokens_url}/{UID}/authorize\r\n"
    scripted.says(f"/{UID}/authorize", None, status="307 Temporary Redirect", headers=target)
    failure = await ask(make_client(tokens_url=scripted.url))
    assert failure == Failure(Outcome.MALFORMED, "HTTP 307: redirects are not followed, configure the final URL")
    assert emsp.requests == []


async def test_2004_means_unknown_with_http_400_too(scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    scripted.says(f"/{UID}/authorize", {"status_code": 2004}, status="400 Bad Request")
    failure = await ask(make_client(tokens_url=scripted.url))
    assert failure == Failure(Outcome.UNKNOWN, "HTTP 400, OCPI 2004")


async def test_a_peer_that_names_the_card_is_not_quoted_with_it(
    scripted: ScriptedPeer, make_client: ClientMaker
) -> None:
    message = f"Card {UID.lower()}\nis not known to {'us' * 100}"
    scripted.says(f"/{UID}/authorize", {"status_code": 2001, "status_message": message})
    failure = await ask(make_client(tokens_url=scripted.url))
    assert isinstance(failure, Failure)
    assert failure.detail.startswith("OCPI 2001: Card *** is not known to us")
    assert len(failure.detail) == 120


@pytest.mark.parametrize("envelope", [{"status_code": 1000}, {"status_code": 1000, "data": None}])
async def test_success_without_data_is_no_answer(
    scripted: ScriptedPeer, make_client: ClientMaker, envelope: object
) -> None:
    scripted.says(f"/{UID}/authorize", envelope)
    failure = await ask(make_client(tokens_url=scripted.url))
    assert failure == Failure(Outcome.MALFORMED, "the answer reports success, but its data is missing")


async def test_a_bare_404_for_a_listed_token_is_a_fault_on_the_way(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.set_weather(Kind.NOT_FOUND_BARE)
    assert await client.authorize(UID, HERE, correlation_id="tap-1", listed=True) == Failure(
        Outcome.SERVER_ERROR, "HTTP 404 without an OCPI answer: is the URL right?"
    )


async def test_a_peer_may_have_forgotten_a_listed_token(emsp: FakeEmsp, client: OcpiClient) -> None:
    failure = await client.authorize(UID, HERE, correlation_id="tap-1", listed=True)
    assert failure == Failure(Outcome.UNKNOWN, "HTTP 404, OCPI 2004: Unknown Token")


@pytest.mark.parametrize("part", [{"info": {"language": None, "text": "x"}}, {"location": {"evse_uids": [None]}}])
async def test_a_refusal_is_not_lost_over_what_explains_it(
    scripted: ScriptedPeer, make_client: ClientMaker, part: dict[str, object]
) -> None:
    scripted.says(f"/{UID}/authorize", {"status_code": 1000, "data": {"allowed": "BLOCKED"} | part})
    reply = await ask(make_client(tokens_url=scripted.url))
    assert isinstance(reply, AuthorizationInfo)
    assert reply.allowed == "BLOCKED"


async def test_a_permission_for_an_unreadable_place_is_none(scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    data = {"allowed": "ALLOWED", "location": {"location_id": "LOC1", "evse_uids": [None]}}
    scripted.says(f"/{UID}/authorize", {"status_code": 1000, "data": data})
    assert await ask(make_client(tokens_url=scripted.url)) == Failure(
        Outcome.MALFORMED,
        "the answer's data can't be used: ALLOWED, but the location is unreadable: Expected `str`, got `null` - at "
        "`$.evse_uids[…",
    )


async def test_a_date_that_overflows_costs_only_the_wait(scripted: ScriptedPeer, make_client: ClientMaker) -> None:
    header = "Retry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n"
    scripted.says(f"/{UID}/authorize", None, status="503 Service Unavailable", headers=header)
    assert await ask(make_client(tokens_url=scripted.url)) == Failure(Outcome.SERVER_ERROR, "HTTP 503")


# ---- connections


async def test_the_connection_is_kept_for_the_next_tap(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.card(UID)
    for _ in range(5):
        await ask(client)
    assert emsp.connections_accepted == 1


async def test_an_error_leaves_the_connection_usable(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.set_weather(server_error(503))
    await ask(client)
    emsp.set_weather(Kind.FINE)
    await ask(client)
    assert emsp.connections_accepted == 1


@pytest.mark.parametrize("kind", [Kind.DROPS_IDLE, Kind.DROPS_REUSED])
async def test_a_kept_connection_that_the_peer_closed_costs_no_answer(
    emsp: FakeEmsp, client: OcpiClient, kind: Kind
) -> None:
    emsp.card(UID)
    emsp.set_weather(kind)
    replies = [await ask(client) for _ in range(3)]
    assert all(isinstance(reply, AuthorizationInfo) for reply in replies)
    assert emsp.connections_accepted == 3


async def test_a_new_connection_that_is_closed_is_not_tried_again(emsp: FakeEmsp, client: OcpiClient) -> None:
    emsp.set_weather(Kind.RESET)
    await ask(client)
    assert len(emsp.requests) == 1


async def test_cancelled_questions_leave_no_connection_behind(emsp: FakeEmsp, make_client: ClientMaker) -> None:
    client = make_client(most_connections=2)
    emsp.card(UID)
    emsp.set_weather(Kind.SILENT)
    for _ in range(5):
        seen = len(emsp.requests)
        questions = [asyncio.create_task(ask(client)) for _ in range(2)]
        await emsp.arrived(seen + 2)
        for question in questions:
            question.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*questions, return_exceptions=True)
        )
    emsp.set_weather(Kind.FINE)
    async with asyncio.timeout(30):
        assert isinstance(await ask(client), AuthorizationInfo)


async def test_a_question_under_way_is_not_disturbed_by_another_that_is_cancelled(
    emsp: FakeEmsp, client: OcpiClient
) -> None:
    answering = asyncio.Event()
    emsp.card(UID)
    emsp.set_weather(held(answering), on=Part.AUTHORIZE)
    kept, given_up = asyncio.create_task(ask(client)), asyncio.create_task(ask(client))
    await emsp.arrived(2)
    given_up.cancel()
    answering.set()
    assert isinstance(await kept, AuthorizationInfo)
