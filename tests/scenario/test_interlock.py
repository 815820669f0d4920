"""EVSEs on one supply: of those that share an interlock, only one may be in use at a time."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from agent.core.contact import SETTLE_S
from agent.core.evse_state import Charging, Faulted
from agent.model import EndReason, Reason, Source, Verdict
from agent.runtime.cards import Settled
from agent.runtime.interlock import Interlock
from tests.scenario.charging import charging_stage, closed, finish, phase
from tests.scenario.stage import Stage
from tests.scenario.virtual_time import played

ALL_DECIDED_S = 5.0


def pair() -> tuple[Stage, Stage]:
    interlock = Interlock("one supply")
    return (
        charging_stage(uid="DE*EXA*E1", fitted_with={"interlock": interlock}),
        charging_stage(uid="DE*EXA*E2", fitted_with={"interlock": interlock}),
    )


async def finish_all(stages: Sequence[Stage]) -> None:
    for stage in stages:
        await finish(stage)


def is_interlocked(settled: Settled, other: str) -> bool:
    entry = settled.entry
    return (
        (entry.verdict, entry.reason, entry.source) == (Verdict.REFUSED, Reason.INTERLOCKED, Source.LOCAL)
        and other in entry.detail
        and not entry.relay_closed
    )


@played
async def test_card_at_the_other_evse_is_refused_and_the_record_names_who_is_in_use() -> None:
    one, other = pair()
    await one.begin("A1")
    other.plug(inserted=True)
    assert is_interlocked(await other.tap("C1"), "DE*EXA*E1")
    assert (closed(one), closed(other), other.journal.running()) == (True, False, set())
    await finish_all([one, other])


@played
async def test_other_evse_is_free_when_the_charge_is_over() -> None:
    one, other = pair()
    await one.begin("A1")
    await one.tap("A1")
    await other.begin("C1")
    assert (closed(one), closed(other)) == (False, True)
    assert is_interlocked(await one.tap("A1"), "DE*EXA*E2")
    await finish_all([one, other])


@played
async def test_card_that_waits_for_its_plug_holds_the_place() -> None:
    one, other = pair()
    await asyncio.sleep(1.0)
    await one.tap("A1")
    assert is_interlocked(await other.tap("C1"), "DE*EXA*E1")
    await finish_all([one, other])


@played
async def test_card_that_is_refused_for_its_own_sake_holds_no_place() -> None:
    one, other = pair()
    await one.begin("A1")
    await one.tap("B1")
    await one.tap("A1")
    assert (await other.tap("C1")).entry.verdict is Verdict.ACCEPTED
    await finish_all([one, other])


@played
async def test_of_two_cards_at_the_same_moment_one_is_accepted() -> None:
    one, other = pair()
    await asyncio.sleep(1.0)
    for stage in (one, other):
        stage.plug(inserted=True)
        stage.journal.stalls_s = 0.1
    one.present("A1")
    other.present("C1")
    await asyncio.sleep(ALL_DECIDED_S)
    assert sorted([closed(one), closed(other)]) == [False, True]
    assert is_interlocked(other.settled[-1], "DE*EXA*E1")
    await finish_all([one, other])


@played
async def test_peers_are_not_asked_about_a_card_that_is_turned_away() -> None:
    one, other = pair()
    await one.begin("A1")
    await other.tap("UNKNOWN")
    assert other.backend.asked == []
    await finish_all([one, other])


@played
async def test_record_that_fails_gives_the_place_back() -> None:
    one, other = pair()
    await asyncio.sleep(1.0)
    one.journal.refuses = True
    assert (await one.tap("A1")).entry.reason is Reason.STORAGE_FAULT
    assert (await other.tap("C1")).entry.verdict is Verdict.ACCEPTED
    await finish_all([one, other])


@played
async def test_relay_that_is_stuck_holds_the_place_and_is_no_alarm_elsewhere() -> None:
    one, other = pair()
    await one.begin("A1")
    one.relay.jammed = True
    await one.tap("A1")
    assert is_interlocked(await other.tap("C1"), "DE*EXA*E1")
    assert not isinstance(phase(other), Faulted)
    one.relay.jammed = False
    await asyncio.sleep(1.0)
    assert (await other.tap("C1")).entry.verdict is Verdict.ACCEPTED
    await finish_all([one, other])


@played
async def test_welded_contactor_holds_the_place() -> None:
    one, other = pair()
    await one.begin("A1")
    one.evse.contact_is(closed=True)
    await one.tap("A1")
    await asyncio.sleep(2 * SETTLE_S)
    assert is_interlocked(await other.tap("C1"), "DE*EXA*E1")
    await finish_all([one, other])


@played
async def test_session_that_may_be_resumed_holds_the_place() -> None:
    one, other = pair()
    await one.begin("A1")
    one.inputs_work = False
    await one.kill()
    assert is_interlocked(await other.tap("C1"), "DE*EXA*E1")
    one.evse.plug_is(plugged=True)
    await asyncio.sleep(1.0)
    assert isinstance(phase(one), Charging)
    await finish_all([one, other])


@played
async def test_session_that_is_not_resumed_gives_the_place_back() -> None:
    one, other = pair()
    await one.begin("A1")
    one.plugged = False
    await one.kill()
    await asyncio.sleep(1.0)
    assert one.journal.ended == {1: EndReason.UNPLUGGED_WHILE_OFF}
    assert (await other.tap("C1")).entry.verdict is Verdict.ACCEPTED
    await finish_all([one, other])


@played
async def test_relay_itself_refuses_while_another_is_closed() -> None:
    one, other = pair()
    await one.begin("A1")
    await asyncio.sleep(1.0)
    other.relay.closings.clear()
    assert not other.evse._switchgear.close()
    assert other.relay.closings == []
    await finish_all([one, other])


def test_card_that_is_turned_away_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    @played
    async def story() -> None:
        one, other = pair()
        await one.begin("A1")
        await other.tap("C1")
        await finish_all([one, other])

    with caplog.at_level(logging.WARNING):
        story()
    assert "ALARM" not in caplog.text
