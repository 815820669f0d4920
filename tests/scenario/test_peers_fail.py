"""Every way in which a peer can fail, met by one card with a fallback and one without: `docs/decision.md`, the table.

A kind that answers at once has a long deadline, so that no machine is too slow for it. One that keeps silent has a
short time for the peer and a long one for the record.
"""

import asyncio
from pathlib import Path

import pytest

from agent.model import EndReason
from fakes.emsp import FINE, Kind, Part, Weather, drip, gzip_bomb, held, rate_limited, server_error, slow
from tests.scenario.world import World, only, until, world

OFFLINE, NEVER = "0104A1B2F0", "01FF80C3F1"
CARDS = {OFFLINE: {"whitelist": "ALLOWED_OFFLINE"}, NEVER: {"whitelist": "NEVER"}}
AT_ONCE = "deadline_s = 30.0"
PATIENCE_S = 0.3
IN_VAIN = f"deadline_s = 5.0\nreserve_s = {5.0 - PATIENCE_S}\nlate_window_s = 0.0"
LATE = f"deadline_s = 5.0\nreserve_s = {5.0 - PATIENCE_S}\nlate_window_s = 60.0"

SILENT = {
    "silent": Weather(Kind.SILENT),
    "slow": slow(20.0),
    "drip": drip(1.0),
}
NO_ANSWER = {
    "404-bare": (Weather(Kind.NOT_FOUND_BARE), "server-error"),
    "endless-chunked": (Weather(Kind.ENDLESS_CHUNKED), "oversized-answer"),
    "endless-length": (Weather(Kind.ENDLESS_LENGTH), "oversized-answer"),
    "gzip-bomb": (gzip_bomb(), "malformed-answer"),
    "reset": (Weather(Kind.RESET), "unreachable"),
    "garbage": (Weather(Kind.GARBAGE), "malformed-answer"),
    "401": (Weather(Kind.UNAUTHORIZED), "credentials-rejected"),
    "403": (Weather(Kind.FORBIDDEN), "credentials-rejected"),
    "429": (rate_limited(7), "rate-limited"),
    "500": (server_error(), "server-error"),
    "503": (server_error(503, 7), "server-error"),
    "2002": (Weather(Kind.NOT_ENOUGH), "request-rejected"),
    "3000": (Weather(Kind.OCPI_ERROR), "ocpi-error"),
    "4002": (Weather(Kind.HUB_ERROR), "ocpi-error"),
    "cut-off": (Weather(Kind.CUT_OFF), "malformed-answer"),
    "wrong-shape": (Weather(Kind.WRONG_SHAPE), "malformed-answer"),
    "allowed-maybe": (Weather(Kind.ALLOWED_MAYBE), "malformed-answer"),
    "not-utf8": (Weather(Kind.NOT_UTF8), "malformed-answer"),
    "html": (Weather(Kind.HTML_200), "malformed-answer"),
    "empty": (Weather(Kind.EMPTY_BODY), "malformed-answer"),
}
UNKNOWN = {
    "404": Weather(Kind.NOT_FOUND),
    "200-2004": Weather(Kind.UNKNOWN_200),
}
HARMLESS = {
    "a-little-slow": slow(0.05),
    "drops-idle": Weather(Kind.DROPS_IDLE),
    "drops-reused": Weather(Kind.DROPS_REUSED),
}

Verdict = tuple[str, str, str, int]
"""Verdict, reason, source, and whether the relay was closed, as `state.db` has them."""


async def verdict_on(here: World, uid: str) -> Verdict:
    """Tap at the first EVSE a card that nobody has tapped yet, and read what came of it."""
    settled = await here.tap(uid)
    [record] = [record for record in here.records() if record["uid"] == uid]
    assert here.is_closed() == bool(record["relay_closed"])
    closed = [change.at for change in here.switched if change.level]
    assert all(at <= settled.tap.at + settled.entry.deadline_ms / 1000 for at in closed), "a late relay"
    return record["verdict"], record["reason"], record["source"], record["relay_closed"]


@pytest.mark.parametrize("weather", SILENT.values(), ids=SILENT)
async def test_silent_peer_leaves_it_to_the_fallback_by_the_deadline(tmp_path: Path, weather: Weather) -> None:
    async with world(tmp_path, CARDS, policy=IN_VAIN) as here:
        here.emsp.set_weather(weather, on=Part.AUTHORIZE)
        assert await verdict_on(here, NEVER) == ("refused", "timeout", "fallback", 0)
        assert await verdict_on(here, OFFLINE) == ("accepted", "timeout", "fallback", 1)


@pytest.mark.parametrize(("weather", "reason"), NO_ANSWER.values(), ids=NO_ANSWER)
async def test_useless_answer_leaves_it_to_the_fallback_and_says_which_it_was(
    tmp_path: Path, weather: Weather, reason: str
) -> None:
    async with world(tmp_path, CARDS, policy=AT_ONCE) as here:
        here.emsp.set_weather(weather, on=Part.AUTHORIZE)
        assert await verdict_on(here, NEVER) == ("refused", reason, "fallback", 0)
        assert await verdict_on(here, OFFLINE) == ("accepted", reason, "fallback", 1)


@pytest.mark.parametrize("weather", UNKNOWN.values(), ids=UNKNOWN)
async def test_peer_that_does_not_know_the_card_refuses_it(tmp_path: Path, weather: Weather) -> None:
    async with world(tmp_path, CARDS, policy=AT_ONCE) as here:
        here.emsp.set_weather(weather, on=Part.AUTHORIZE)
        assert await verdict_on(here, NEVER) == ("refused", "unknown", "realtime", 0)
        assert await verdict_on(here, OFFLINE) == ("refused", "unknown", "realtime", 0)


@pytest.mark.parametrize("weather", HARMLESS.values(), ids=HARMLESS)
async def test_connection_with_moods_costs_nobody_an_answer(tmp_path: Path, weather: Weather) -> None:
    async with world(tmp_path, CARDS, policy=AT_ONCE) as here:
        here.emsp.set_weather(Kind.DOWN)
        await until(lambda: here.emsp.connections == 0)  # how many were kept from the start is chance
        here.emsp.set_weather(FINE)
        here.emsp.set_weather(weather, on=Part.AUTHORIZE)
        assert await verdict_on(here, NEVER) == ("accepted", "allowed", "realtime", 1)
        await here.agent.evses["DE*EXA*E1"].end(EndReason.OPERATOR)
        assert await verdict_on(here, OFFLINE) == ("accepted", "allowed", "realtime", 1)


async def test_peer_that_is_down_leaves_it_to_the_fallback(tmp_path: Path) -> None:
    async with world(tmp_path, CARDS, policy=AT_ONCE) as here:
        here.emsp.set_weather(Kind.DOWN)
        assert await verdict_on(here, NEVER) == ("refused", "unreachable", "fallback", 0)
        assert await verdict_on(here, OFFLINE) == ("accepted", "unreachable", "fallback", 1)


async def test_late_reference_joins_the_running_authorization(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with world(tmp_path, CARDS, policy=LATE) as here:
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        assert await verdict_on(here, OFFLINE) == ("accepted", "timeout", "fallback", 1)
        assert only(here.records())["authorization_reference"] is None
        release.set()
        await until(lambda: bool(here.late_answers()))
        late, record = only(here.late_answers()), only(here.records())
        assert (late["authorization_id"], late["outcome"], late["joined"]) == (record["id"], "allowed", 1)
        assert record["authorization_reference"] == here.emsp.given_references[OFFLINE][0]
        assert (record["ended_at"], here.is_closed()) == (None, True)


async def test_late_acceptance_of_a_refused_card_is_recorded_and_closes_nothing(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with world(tmp_path, CARDS, policy=LATE) as here:
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        assert await verdict_on(here, NEVER) == ("refused", "timeout", "fallback", 0)
        release.set()
        await until(lambda: bool(here.late_answers()))
        assert (only(here.late_answers())["outcome"], only(here.late_answers())["joined"]) == ("allowed", 0)
        assert only(here.records())["authorization_reference"] is None
        assert here.switched == []


async def test_late_refusal_is_recorded_and_keeps_the_charge_by_default(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with world(tmp_path, {OFFLINE: {**CARDS[OFFLINE], "allowed": "NO_CREDIT"}}, policy=LATE) as here:
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        assert await verdict_on(here, OFFLINE) == ("accepted", "timeout", "fallback", 1)
        release.set()
        await until(lambda: bool(here.late_answers()))
        assert (only(here.late_answers())["outcome"], only(here.late_answers())["joined"]) == ("no-credit", 0)
        assert (only(here.records())["ended_at"], here.is_closed()) == (None, True)


async def test_late_refusal_opens_the_relay_where_the_policy_says_stop(tmp_path: Path) -> None:
    release = asyncio.Event()
    cards = {OFFLINE: {**CARDS[OFFLINE], "allowed": "NO_CREDIT"}}
    async with world(tmp_path, cards, policy=f'{LATE}\nlate_refusal = "stop"') as here:
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        assert await verdict_on(here, OFFLINE) == ("accepted", "timeout", "fallback", 1)
        release.set()
        await until(lambda: only(here.records())["ended_at"] is not None)
        assert only(here.records())["ended_because"] == "late-refusal"
        assert [change.level for change in here.switched] == [True, False]


def test_every_weather_of_the_fake_is_met_here() -> None:
    useless = {weather.kind for weather, _ in NO_ANSWER.values()}
    others = {weather.kind for weather in (*SILENT.values(), *UNKNOWN.values(), *HARMLESS.values())}
    assert useless | others | {Kind.FINE, Kind.DOWN, Kind.HELD} == set(Kind)
