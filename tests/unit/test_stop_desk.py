"""The operator's wish to end a charge: fulfilled once, answered truly, and not at all when nobody waits any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from agent.charges import STOPPED, StopRequest
from agent.errors import StoreError
from agent.model import EndReason
from agent.runtime.stop_desk import LOOK_EVERY_S, TOO_OLD, StopDesk
from tests.scenario.charging import charging_stage
from tests.scenario.stage import EVSE, Stage
from tests.scenario.virtual_time import in_virtual_time, played


@dataclass
class MemoryRequests:
    """The wishes as `state.db` has them."""

    asked: list[StopRequest] = field(default_factory=list)
    answers: dict[int, str] = field(default_factory=dict)
    changes: int | None = 0
    looks: int = 0
    unreadable: bool = False
    refuses: int = 0
    """So many answers in a row."""

    def ask(self, request: StopRequest) -> None:
        """Another process leaves a wish."""
        self.asked.append(request)
        self._changed()

    def commits(self) -> int | None:
        return self.changes

    async def stop_requests(self) -> list[StopRequest]:
        self.looks += 1
        await asyncio.sleep(0.01)
        if self.unreadable:
            raise StoreError("state.db: locked")
        return [request for request in self.asked if request.number not in self.answers]

    async def stopped(self, number: int, outcome: str) -> None:
        await asyncio.sleep(0.01)
        if self.refuses:
            self.refuses -= 1
            raise StoreError("state.db: disk full")
        assert number not in self.answers, "answered twice"
        self.answers[number] = outcome
        self._changed()

    def _changed(self) -> None:
        if self.changes is not None:
            self.changes += 1


@asynccontextmanager
async def desk_at(stage: Stage, requests: MemoryRequests) -> AsyncIterator[None]:
    work = asyncio.create_task(StopDesk(requests, {stage.uid: stage.evse}, now=stage.wall.now).run())
    try:
        yield
        assert not work.done(), "the desk has given up"
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await stage.stop()


def wish(stage: Stage, number: int = 1, evse_uid: str = EVSE, *, ago: timedelta = timedelta(0)) -> StopRequest:
    return StopRequest(number, evse_uid, stage.wall.now() - ago)


@played
async def test_wish_ends_the_charge_and_is_answered_when_that_is_on_disk() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: STOPPED}
        assert not stage.relay.contact_closed
        assert stage.journal.ended == {1: EndReason.OPERATOR}


@played
async def test_wish_opens_the_relay_at_once_and_waits_with_its_answer_for_the_disk() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    await stage.begin()
    stage.journal.refuses = True
    async with desk_at(stage, requests):
        requests.ask(wish(stage))
        await asyncio.sleep(3.0)
        assert not stage.relay.contact_closed
        assert requests.answers == {}
        stage.journal.refuses = False
        await asyncio.sleep(3.0)
        assert requests.answers == {1: STOPPED}


@played
async def test_wish_where_nothing_runs_says_so() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    async with desk_at(stage, requests):
        requests.ask(wish(stage))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: "nothing was running"}


@played
async def test_wish_for_an_evse_that_is_not_here_says_so() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    async with desk_at(stage, requests):
        requests.ask(wish(stage, evse_uid="DE*EXA*E9"))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: "there is no EVSE DE*EXA*E9 here"}


@played
async def test_evse_is_found_without_regard_to_case() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage, evse_uid=EVSE.lower()))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: STOPPED}


async def not_fulfilled(ago: timedelta) -> None:
    stage, requests = charging_stage(), MemoryRequests()
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage, ago=ago))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers[1].startswith("that was asked too long ago")
        assert stage.relay.contact_closed


@pytest.mark.parametrize("ago", [TOO_OLD + timedelta(seconds=1), timedelta(days=1), timedelta(minutes=-5)])
def test_wish_that_nobody_can_be_waiting_for_is_not_fulfilled(ago: timedelta) -> None:
    in_virtual_time(lambda: not_fulfilled(ago))


@played
async def test_wish_from_before_the_start_of_the_agent_is_answered_too() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    requests.ask(wish(stage, ago=timedelta(hours=1)))
    async with desk_at(stage, requests):
        await asyncio.sleep(LOOK_EVERY_S)
        assert requests.answers[1].startswith("that was asked too long ago")


@played
async def test_wish_that_can_not_be_read_is_read_again() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    await stage.begin()
    async with desk_at(stage, requests):
        requests.unreadable = True
        requests.ask(wish(stage))
        await asyncio.sleep(5.0)
        assert stage.relay.contact_closed
        requests.unreadable = False
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: STOPPED}


@played
async def test_answer_that_the_disk_refused_still_says_what_was_done() -> None:
    stage, requests = charging_stage(), MemoryRequests(refuses=2)
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage))
        await asyncio.sleep(10 * LOOK_EVERY_S)
        assert requests.answers == {1: STOPPED}


@played
async def test_answer_that_the_disk_refused_does_not_end_the_next_charge() -> None:
    stage, requests = charging_stage(), MemoryRequests(refuses=20)
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage))
        await asyncio.sleep(2 * LOOK_EVERY_S)
        await stage.tap("C1")
        await asyncio.sleep(30 * LOOK_EVERY_S)
        assert stage.relay.contact_closed
        assert requests.answers == {1: STOPPED}


@played
async def test_file_is_looked_into_only_when_it_has_changed() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    async with desk_at(stage, requests):
        await asyncio.sleep(60.0)
        assert requests.looks == 1


@played
async def test_file_whose_changes_can_not_be_told_is_looked_into_every_time() -> None:
    stage, requests = charging_stage(), MemoryRequests(changes=None)
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: STOPPED}


@played
async def test_wish_that_comes_while_another_is_fulfilled_is_not_missed() -> None:
    stage, requests = charging_stage(), MemoryRequests()
    await stage.begin()
    async with desk_at(stage, requests):
        requests.ask(wish(stage, 1))
        await asyncio.sleep(LOOK_EVERY_S + 0.015)
        requests.ask(wish(stage, 2))
        await asyncio.sleep(3 * LOOK_EVERY_S)
        assert requests.answers == {1: STOPPED, 2: "nothing was running"}
