"""An EVSE that fails at something nobody foresaw: its relay opens, its books are closed, and it works again."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agent.model import EndReason, Verdict
from agent.runtime.ledger import Ledger
from tests.scenario.charging import charging_stage, closed, finish, record
from tests.scenario.stage import RESTART_S, Stage
from tests.scenario.virtual_time import in_virtual_time, played


class BreakingLedger(Ledger):
    """Fails once, at what `breaks_at` names."""

    breaks_at: str | None = None

    def __getattribute__(self, name: str) -> Any:
        if name != "breaks_at" and name == self.breaks_at:
            self.breaks_at = None
            raise RuntimeError("nobody foresaw this")
        return super().__getattribute__(name)


def break_books(stage: Stage, at: str) -> None:
    assert isinstance(stage.evse.ledger, BreakingLedger)
    stage.evse.ledger.breaks_at = at


async def is_plugged_in(stage: Stage) -> None:
    stage.plug(inserted=True)


async def draws_energy(stage: Stage) -> None:
    await stage.flow(1000)


async def draws_nothing(stage: Stage) -> None:
    await stage.flow(0, power_w=0)
    await asyncio.sleep(stage.settings.suspended_after_s + 1.0)


async def is_unplugged(stage: Stage) -> None:
    stage.plug(inserted=False)


async def is_stopped_by_its_card(stage: Stage) -> None:
    stage.present("B1")


async def is_stopped_by_the_operator(stage: Stage) -> None:
    await stage.evse.end(EndReason.OPERATOR)


async def gets_a_late_reference(stage: Stage) -> None:
    await asyncio.sleep(2.0)


async def sees_another_card(stage: Stage) -> None:
    stage.present("C1")


FAILURES = [
    (is_plugged_in, "start"),
    (draws_energy, "reading"),
    (draws_nothing, "turn"),
    (is_unplugged, "end"),
    (is_stopped_by_its_card, "end"),
    (is_stopped_by_its_card, "facts"),
    (is_stopped_by_the_operator, "end"),
    (gets_a_late_reference, "join"),
    (sees_another_card, "take_down"),
]


async def works_again(stage: Stage) -> None:
    """A second after it failed, another driver is served."""
    await asyncio.sleep(RESTART_S + 10.0)
    assert len(stage.crashes) == 1
    assert stage.journal.running() == set()
    stage.plug(inserted=True)
    stage.read()
    await asyncio.sleep(1.0)
    settled = await stage.tap("A1")
    assert settled.entry.verdict is Verdict.ACCEPTED
    assert closed(stage)
    await finish(stage)


async def fail(happens: Callable[[Stage], Any], at: str) -> None:
    stage = charging_stage(ledger_type=BreakingLedger)
    stage.backend.late_after_s = 1.0
    await asyncio.sleep(1.0)
    await stage.tap("B1")
    stage.plug(inserted=happens is not is_plugged_in)
    break_books(stage, at)
    await happens(stage)
    await asyncio.sleep(0)
    assert not closed(stage)
    await asyncio.sleep(0.5)
    assert stage.journal.ended == {1: EndReason.AGENT_FAULT}
    assert {each.ended_because for each in stage.journal.sessions.values()} <= {EndReason.AGENT_FAULT}
    await works_again(stage)


@pytest.mark.parametrize(("happens", "at"), FAILURES, ids=lambda value: getattr(value, "__name__", value))
def test_failure_of_the_books_opens_the_relay_and_ends_the_charge(happens: Callable[[Stage], Any], at: str) -> None:
    in_virtual_time(partial(fail, happens, at))


@played
async def test_display_that_fails_when_a_charge_begins_opens_the_relay_and_ends_it() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    stage.display.breaks = True
    stage.plug(inserted=True)
    assert not closed(stage)
    await asyncio.sleep(0.5)
    assert record(stage).ended_because is EndReason.AGENT_FAULT
    await works_again(stage)


@played
async def test_display_that_fails_when_a_charge_ends_leaves_it_ended_as_it_was() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(100)
    stage.display.breaks = True
    stage.plug(inserted=False)
    await asyncio.sleep(0.5)
    assert record(stage).ended_because is EndReason.UNPLUGGED
    assert len(stage.journal.cdrs) == 1
    await works_again(stage)


@played
async def test_display_that_fails_at_the_verdict_accepts_nobody() -> None:
    stage = charging_stage(plugged=True)
    await asyncio.sleep(1.0)
    stage.display.breaks = True
    await stage.tap("A1")
    assert not closed(stage)
    await stage.evse.ledger.settled()
    await asyncio.sleep(1.0)
    assert stage.journal.ended == {1: EndReason.AGENT_FAULT}
    await works_again(stage)


@played
async def test_end_that_the_disk_refused_at_the_failure_is_on_disk_once_it_works() -> None:
    stage = charging_stage(ledger_type=BreakingLedger)
    await stage.begin()
    stage.journal.refuses = True
    break_books(stage, "reading")
    await stage.flow(100)
    await asyncio.sleep(60.0)
    assert stage.journal.running() == {1}
    stage.journal.refuses = False
    await asyncio.sleep(10.0)
    assert stage.journal.ended == {1: EndReason.AGENT_FAULT}
    await works_again(stage)


@played
async def test_nothing_happens_between_a_failure_and_the_start_after_it() -> None:
    stage = charging_stage(ledger_type=BreakingLedger)
    await stage.begin()
    break_books(stage, "reading")
    await asyncio.sleep(1.0)
    stage.read()
    stage.plug(inserted=False)
    stage.plug(inserted=True)
    stage.present("A1")
    assert not closed(stage)
    await asyncio.sleep(0.5)
    assert stage.journal.ended == {1: EndReason.AGENT_FAULT}
    await works_again(stage)


@played
async def test_failure_while_a_session_is_resumed_ends_it() -> None:
    stage = charging_stage(ledger_type=BreakingLedger)
    await stage.begin()
    await stage.flow(1000)
    await stage.evse.ledger.settled()
    stage.inputs_work = False
    await stage.power_cut(off_s=1.0)
    break_books(stage, "resume")
    stage.plug(inserted=True)
    await asyncio.sleep(0.5)
    assert not closed(stage)
    assert record(stage).ended_because is EndReason.AGENT_FAULT
    assert len(stage.journal.cdrs) == 1
    await works_again(stage)
