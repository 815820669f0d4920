"""Asking several peers at once over real HTTP: who is asked, who wins, and who is not asked any more."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from agent.model import Answer, Answers, LocationReferences, Outcome, Question, Target
from agent.ocpi.client import OcpiClient
from agent.runtime.authorize import PeerBackend
from agent.runtime.breaker import Breaker
from agent.runtime.peer import Peer, WatchTimes
from fakes.emsp import FINE, FakeEmsp, Kind, Part, held, server_error
from tests.scenario.world import HANG_S, until

UID = "0104A1B2C3"
HERE = LocationReferences("LOC1", ("DE*EXA*E1",))
NEVER_GIVES_UP = 0


@dataclass
class Peers:
    """Some eMSPs, and a backend that asks them. Each is named after its party."""

    emsps: dict[str, FakeEmsp]
    peers: dict[str, Peer]
    backend: PeerBackend

    async def ask(self, *names: str, within_s: float = HANG_S) -> Answers:
        """Ask the peers named as a card's owners, or all."""
        targets = tuple(Target(name, "DE", name) for name in names) or None
        question = Question(UID, HERE, "correlation-1", targets)
        async with asyncio.timeout(2 * HANG_S):
            return await self.backend.ask(question, asyncio.get_running_loop().time() + within_s)

    async def outcomes(self, *names: str) -> dict[str, Outcome]:
        """By peer, what asking came to."""
        return {answer.peer: answer.outcome for answer in (await self.ask(*names)).given}

    def asked(self) -> dict[str, int]:
        """By peer, how many questions reached it."""
        return {
            name: sum(request.part is Part.AUTHORIZE for request in emsp.requests) for name, emsp in self.emsps.items()
        }


@asynccontextmanager
async def peers(
    *names: str,
    failures: int = NEVER_GIVES_UP,
    watched: bool = False,
    trial_first_s: float = HANG_S,
    fair_share_s: float = 0.0,
) -> AsyncIterator[Peers]:
    """eMSPs that all know one card, listed nowhere; with `watched` a probe looks for a peer whose breaker opened."""
    async with AsyncExitStack() as stack:
        emsps = {name: await stack.enter_async_context(FakeEmsp(party_id=name)) for name in names}
        built = {}
        for name, emsp in emsps.items():
            emsp.card(UID, listed=False)
            client = OcpiClient(
                name, token=emsp.credentials_token, us=("DE", "EXA"), them=("DE", name), tokens_url=emsp.tokens_url
            )
            stack.push_async_callback(client.aclose)
            times = WatchTimes(every_s=0.05, retry_first_s=0.01, retry_most_s=0.02, timeout_s=HANG_S)
            built[name] = Peer(name, client, breaker=Breaker(failures, trial_first_s=trial_first_s), times=times)
        backend = PeerBackend(built, late_window_s=HANG_S, fair_share_s=fair_share_s)
        stack.push_async_callback(backend.close)
        for peer in built.values() if watched else ():
            stack.push_async_callback(_stop, asyncio.create_task(peer.watch()))
        yield Peers(emsps, built, backend)
        assert [complaint for emsp in emsps.values() for complaint in emsp.complaints] == []


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_unknown_card_is_asked_about_everywhere_at_once() -> None:
    release = asyncio.Event()
    async with peers("AAA", "BBB", "CCC") as there:
        for emsp in there.emsps.values():
            emsp.set_weather(held(release))
        asking = asyncio.ensure_future(there.outcomes())
        for emsp in there.emsps.values():
            await emsp.arrived(1, Part.AUTHORIZE)
        release.set()
        assert set((await asking).values()) == {Outcome.ALLOWED}
        assert there.asked() == {"AAA": 1, "BBB": 1, "CCC": 1}


async def test_first_allowed_does_not_wait_for_a_peer_that_keeps_silent() -> None:
    async with peers("AAA", "BBB") as there:
        there.emsps["AAA"].set_weather(Kind.SILENT)
        answers = await there.ask(within_s=3600.0)
        [answer] = answers.given
        assert (answer.peer, answer.outcome) == ("BBB", Outcome.ALLOWED)
        assert answer.authorization_reference == there.emsps["BBB"].given_references[UID][0]


async def test_what_the_slower_peer_says_comes_out_late() -> None:
    release = asyncio.Event()
    async with peers("AAA", "BBB") as there:
        there.emsps["AAA"].set_weather(held(release))
        answers = await there.ask()
        release.set()
        assert answers.late is not None
        assert [(late.peer, late.outcome) async for late in answers.late] == [("AAA", Outcome.ALLOWED)]


async def test_refusal_waits_for_the_others() -> None:
    release = asyncio.Event()
    async with peers("AAA", "BBB") as there:
        there.emsps["AAA"].card(UID, allowed="BLOCKED")
        there.emsps["BBB"].set_weather(held(release))
        asking = asyncio.ensure_future(there.outcomes())
        for emsp in there.emsps.values():
            await emsp.arrived(1, Part.AUTHORIZE)
        await until(lambda: there.emsps["AAA"].requests[0].answered)
        release.set()
        assert await asking == {"AAA": Outcome.BLOCKED, "BBB": Outcome.ALLOWED}


async def test_unknown_waits_for_the_others() -> None:
    async with peers("AAA", "BBB") as there:
        there.emsps["AAA"].card(UID, known=False)
        assert await there.outcomes() == {"AAA": Outcome.UNKNOWN, "BBB": Outcome.ALLOWED}


async def test_listed_card_is_asked_about_at_its_own_peer_alone() -> None:
    async with peers("AAA", "BBB") as there:
        assert await there.outcomes("BBB") == {"BBB": Outcome.ALLOWED}
        assert there.asked() == {"AAA": 0, "BBB": 1}


async def test_peer_that_is_configured_no_more_is_a_silence_of_its_own() -> None:
    async with peers("AAA") as there:
        assert await there.outcomes("GONE") == {"GONE": Outcome.NO_PEER}
        assert there.asked() == {"AAA": 0}


async def test_nobody_by_the_deadline_is_a_timeout_of_each() -> None:
    async with peers("AAA", "BBB") as there:
        for emsp in there.emsps.values():
            emsp.set_weather(Kind.SILENT)
        answers = await there.ask(within_s=0.1)
        assert {answer.peer: answer.outcome for answer in answers.given} == {
            "AAA": Outcome.TIMEOUT,
            "BBB": Outcome.TIMEOUT,
        }


async def test_peer_is_asked_no_more_after_silences_in_a_row() -> None:
    async with peers("AAA", "BBB", failures=3) as there:
        there.emsps["AAA"].set_weather(server_error())
        first = [await there.outcomes("AAA") for _ in range(3)]
        then = [await there.outcomes("AAA") for _ in range(5)]
        assert first == [{"AAA": Outcome.SERVER_ERROR}] * 3
        assert then == [{"AAA": Outcome.BREAKER_OPEN}] * 5
        assert len(there.emsps["AAA"].requests) == 3


async def test_breaker_of_one_peer_does_not_keep_the_others_from_being_asked() -> None:
    async with peers("AAA", "BBB", failures=1) as there:
        there.emsps["AAA"].set_weather(server_error())
        await there.outcomes("AAA")
        assert await there.outcomes() == {"AAA": Outcome.BREAKER_OPEN, "BBB": Outcome.ALLOWED}


async def test_answer_in_between_starts_the_count_of_silences_anew() -> None:
    async with peers("AAA", failures=2) as there:
        for weather in (server_error(times=1), FINE, server_error(times=1), FINE):
            there.emsps["AAA"].set_weather(weather)
            await there.outcomes()
        assert there.peers["AAA"].is_asked


async def test_refusals_and_unknown_cards_never_open_a_breaker() -> None:
    async with peers("AAA", failures=1) as there:
        there.emsps["AAA"].card(UID, allowed="EXPIRED")
        await there.outcomes()
        there.emsps["AAA"].card(UID, known=False)
        await there.outcomes()
        assert there.peers["AAA"].is_asked


async def test_probe_finds_the_peer_again() -> None:
    async with peers("AAA", failures=1, watched=True) as there:
        there.emsps["AAA"].set_weather(Kind.DOWN)
        await there.outcomes()
        assert not there.peers["AAA"].is_asked
        there.emsps["AAA"].set_weather(FINE)
        await until(lambda: there.peers["AAA"].is_asked)
        assert await there.outcomes() == {"AAA": Outcome.ALLOWED}


async def test_probe_opens_the_breaker_before_a_driver_meets_the_outage() -> None:
    async with peers("AAA", failures=3, watched=True) as there:
        there.emsps["AAA"].set_weather(Kind.DOWN)
        await until(lambda: not there.peers["AAA"].is_asked)
        assert await there.outcomes() == {"AAA": Outcome.BREAKER_OPEN}


async def test_peer_on_trial_is_given_up_at_its_first_silence() -> None:
    async with peers("AAA", failures=3, watched=True) as there:
        there.emsps["AAA"].set_weather(Kind.DOWN)
        await until(lambda: not there.peers["AAA"].is_asked)
        there.emsps["AAA"].set_weather(FINE)
        there.emsps["AAA"].set_weather(server_error(), on=Part.AUTHORIZE)
        await until(lambda: there.peers["AAA"].is_asked)
        assert await there.outcomes() == {"AAA": Outcome.SERVER_ERROR}
        assert not there.peers["AAA"].is_asked


async def test_peer_that_passed_its_trial_is_given_its_silences_again() -> None:
    async with peers("AAA", failures=3, watched=True) as there:
        there.emsps["AAA"].set_weather(Kind.DOWN)
        await until(lambda: not there.peers["AAA"].is_asked)
        there.emsps["AAA"].set_weather(FINE)
        await until(lambda: there.peers["AAA"].is_asked)
        assert await there.outcomes() == {"AAA": Outcome.ALLOWED}
        there.emsps["AAA"].set_weather(server_error(), on=Part.AUTHORIZE)
        await there.outcomes()
        assert there.peers["AAA"].is_asked


async def test_peer_whose_list_is_fine_but_whose_authorize_is_not_stays_given_up() -> None:
    async with peers("AAA", failures=3, watched=True) as there:
        emsp = there.emsps["AAA"]
        emsp.set_weather(server_error(), on=Part.AUTHORIZE)
        for _ in range(3):
            await there.outcomes()
        probes = sum(request.part is Part.LIST for request in emsp.requests)
        await until(lambda: sum(request.part is Part.LIST for request in emsp.requests) >= probes + 3)
        assert await there.outcomes() == {"AAA": Outcome.BREAKER_OPEN}


async def test_peer_whose_list_is_broken_but_whose_authorize_answers_is_asked() -> None:
    async with peers("AAA", failures=3, watched=True, trial_first_s=0.01) as there:
        there.emsps["AAA"].set_weather(server_error(), on=Part.LIST)
        await until(lambda: not there.peers["AAA"].is_asked)
        await until(there.peers["AAA"].lets_through)
        there.peers["AAA"].answered(Answer("AAA", Outcome.ALLOWED))
        probes = len(there.emsps["AAA"].requests)
        await until(lambda: len(there.emsps["AAA"].requests) >= probes + 6)
        assert await there.outcomes() == {"AAA": Outcome.ALLOWED}


async def test_peer_that_had_no_fair_share_of_time_is_not_blamed() -> None:
    async with peers("AAA", failures=1, fair_share_s=HANG_S) as there:
        there.emsps["AAA"].set_weather(Kind.SILENT)
        assert (await there.ask(within_s=0.05)).given[0].outcome is Outcome.TIMEOUT
        assert there.peers["AAA"].is_asked


async def test_question_without_any_time_left_is_not_put() -> None:
    async with peers("AAA") as there:
        assert (await there.ask(within_s=0.001)).given[0].outcome is Outcome.TIMEOUT
        assert there.emsps["AAA"].requests == []


async def test_rejected_credentials_raise_one_alarm_and_one_all_clear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent")
    async with peers("AAA") as there:
        there.emsps["AAA"].set_weather(Kind.UNAUTHORIZED)
        assert [await there.outcomes() for _ in range(5)] == [{"AAA": Outcome.UNAUTHORIZED}] * 5
        there.emsps["AAA"].set_weather(FINE)
        for _ in range(2):
            await there.outcomes()
        told = [record.levelname for record in caplog.records if "credentials token" in record.getMessage()]
        assert told == ["ERROR", "INFO"]
        assert there.emsps["AAA"].credentials_token not in caplog.text


async def test_second_rejection_raises_a_second_alarm(caplog: pytest.LogCaptureFixture) -> None:
    async with peers("AAA") as there:
        for weather in (Kind.FORBIDDEN, Kind.FINE, Kind.FORBIDDEN):
            there.emsps["AAA"].set_weather(weather)
            await there.outcomes()
        assert caplog.text.count("ALARM peer AAA") == 2


async def test_twenty_taps_share_one_connection() -> None:
    async with peers("AAA") as there:
        for _ in range(20):
            assert await there.outcomes() == {"AAA": Outcome.ALLOWED}
        assert there.emsps["AAA"].connections_accepted == 1


async def test_peer_that_restarts_between_taps_costs_none() -> None:
    async with peers("AAA") as there:
        outcomes = []
        for _ in range(3):
            outcomes.append(await there.outcomes())
            there.emsps["AAA"].set_weather(Kind.DOWN)
            there.emsps["AAA"].set_weather(FINE)
        assert outcomes == [{"AAA": Outcome.ALLOWED}] * 3


@pytest.mark.parametrize("weather", [Kind.DROPS_IDLE, Kind.DROPS_REUSED])
async def test_peer_that_drops_kept_connections_costs_no_tap(weather: Kind) -> None:
    async with peers("AAA") as there:
        there.emsps["AAA"].set_weather(weather)
        assert [await there.outcomes() for _ in range(5)] == [{"AAA": Outcome.ALLOWED}] * 5


async def test_peer_that_drops_several_kept_connections_costs_no_tap() -> None:
    release = asyncio.Event()
    async with peers("AAA") as there:
        there.emsps["AAA"].set_weather(held(release))
        together = asyncio.gather(*(there.outcomes() for _ in range(3)))
        await there.emsps["AAA"].arrived(3, Part.AUTHORIZE)
        release.set()
        await together
        there.emsps["AAA"].set_weather(Kind.DROPS_REUSED)
        assert await there.outcomes() == {"AAA": Outcome.ALLOWED}


async def test_close_gives_up_what_is_outstanding_and_its_connections() -> None:
    async with peers("AAA") as there:
        there.emsps["AAA"].set_weather(Kind.SILENT)
        answers = await there.ask(within_s=0.1)
        assert answers.late is not None
        await there.backend.close()
        assert [late async for late in answers.late] == []
        await until(lambda: there.emsps["AAA"].connections == 0)
