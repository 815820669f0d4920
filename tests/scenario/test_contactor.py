"""A charge behind a contactor with feedback, a relay board that can be pulled, and a relay that must rest."""

import asyncio
from dataclasses import replace

from agent.core.contact import SETTLE_S, Finding
from agent.core.evse_state import Charging, Faulted
from agent.model import EndReason, Reason, Verdict
from agent.runtime.contact_watch import ContactWatch
from agent.runtime.guarded_relay import RETRY_S
from agent.runtime.switchgear import OUT_OF_ORDER_S
from tests.scenario.charging import FITTED, charging_stage, closed, finish, phase, record
from tests.scenario.stage import Stage
from tests.scenario.virtual_time import VirtualLoop, played

MOVES_S = 0.05
"""How long the contactor takes."""


async def follow(stage: Stage, *, as_told: bool = True, contact: bool = False) -> None:
    """Let the contactor move, where it does, and its feedback say how it is; then let some time pass."""
    await asyncio.sleep(MOVES_S)
    stage.evse.contact_is(closed=closed(stage) if as_told else contact)
    await asyncio.sleep(2 * SETTLE_S)


async def begun(stage: Stage) -> None:
    await follow(stage)
    await stage.begin()
    await follow(stage)
    assert isinstance(phase(stage), Charging)


@played
async def test_contactor_that_follows_disturbs_no_charge() -> None:
    stage = charging_stage()
    await begun(stage)
    await stage.tap("A1")
    await follow(stage)
    assert stage.journal.ended == {1: EndReason.SAME_CARD}
    assert not isinstance(phase(stage), Faulted)
    await finish(stage)


@played
async def test_welded_contactor_takes_the_evse_out_of_order_until_it_is_seen_open() -> None:
    stage = charging_stage()
    await begun(stage)
    await stage.tap("A1")
    await follow(stage, as_told=False, contact=True)
    assert isinstance(phase(stage), Faulted)
    refused = (await stage.tap("B1")).entry
    assert (refused.verdict, refused.reason) == (Verdict.REFUSED, Reason.RELAY_FAULT)
    assert refused.detail == "the contactor does not open although it was told to (welded)"
    assert "ut of order" in stage.display.shown[-1]
    await asyncio.sleep(3600)
    assert isinstance(phase(stage), Faulted)
    stage.evse.contact_is(closed=False)
    assert (await stage.tap("B1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


@played
async def test_contactor_that_does_not_close_ends_the_session_and_may_be_tried_again() -> None:
    stage = charging_stage()
    await follow(stage)
    await stage.begin()
    await asyncio.sleep(2 * SETTLE_S)
    assert not closed(stage)
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    refused = (await stage.tap("B1")).entry
    assert refused.detail.startswith("the contactor does not close although it was told to")
    await asyncio.sleep(OUT_OF_ORDER_S)
    assert (await stage.tap("B1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


@played
async def test_contactor_that_drops_out_ends_the_session() -> None:
    stage = charging_stage()
    await begun(stage)
    await follow(stage, as_told=False, contact=False)
    assert not closed(stage)
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    await finish(stage)


@played
async def test_charge_goes_on_without_feedback_and_none_begins_after_it() -> None:
    stage = charging_stage()
    await begun(stage)
    stage.evse.contact_feedback_is(works=False)
    await asyncio.sleep(3600)
    assert closed(stage)
    await stage.tap("A1")
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.SAME_CARD
    assert isinstance(phase(stage), Faulted)
    assert "feedback is lost" in (await stage.tap("B1")).entry.detail
    await follow(stage)
    stage.evse.contact_feedback_is(works=True)
    assert (await stage.tap("B1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


@played
async def test_feedback_lost_before_the_plug_is_in_ends_the_authorization() -> None:
    stage = charging_stage()
    await follow(stage)
    await stage.tap("A1")
    stage.evse.contact_feedback_is(works=False)
    stage.plug(inserted=True)
    await stage.evse.ledger.settled()
    assert stage.journal.ended == {1: EndReason.RELAY_FAULT}
    assert stage.relay.closings == []
    await finish(stage)


@played
async def test_session_is_not_resumed_over_a_welded_contactor() -> None:
    stage = charging_stage()
    await begun(stage)
    await stage.kill(off_s=5.0)
    stage.evse.contact_is(closed=True)
    await asyncio.sleep(2 * SETTLE_S + 1.0)
    assert stage.relay.closings == []
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    assert isinstance(phase(stage), Faulted)
    await finish(stage)


@played
async def test_evse_that_failed_is_still_out_of_order_for_its_welded_contactor() -> None:
    stage = charging_stage()
    await begun(stage)
    await stage.tap("A1")
    await follow(stage, as_told=False, contact=True)
    stage.display.breaks = True
    stage.present("B1")
    await asyncio.sleep(10.0)
    assert len(stage.crashes) == 1
    assert isinstance(phase(stage), Faulted)
    assert "welded" in (await stage.tap("B1")).entry.detail
    await finish(stage)


@played
async def test_board_that_is_pulled_ends_the_charge_and_is_back_when_it_is_open() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.relay.jammed = True
    stage.evse.relay_board_is(works=False)
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    assert "board does not answer" in (await stage.tap("B1")).entry.detail
    stage.relay.jammed = False
    stage.evse.relay_board_is(works=True)
    await asyncio.sleep(RETRY_S)
    assert (await stage.tap("B1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


@played
async def test_no_charge_begins_while_the_board_is_away() -> None:
    stage = charging_stage()
    await asyncio.sleep(1.0)
    stage.evse.relay_board_is(works=False)
    await asyncio.sleep(10 * OUT_OF_ORDER_S)
    assert (await stage.tap("A1")).entry.reason is Reason.RELAY_FAULT
    assert stage.relay.closings == []
    await finish(stage)


# ---- the minimum time off


@played
async def test_relay_rests_after_a_charge_before_the_next_one_flows() -> None:
    stage = charging_stage(fitted_with={"min_off_s": 30.0})
    await asyncio.sleep(60)
    await stage.begin()
    await stage.tap("A1")
    opened_at = asyncio.get_running_loop().time()
    assert (await stage.tap("B1")).entry.verdict is Verdict.ACCEPTED
    assert isinstance(phase(stage), Charging)
    await asyncio.sleep(60)
    assert stage.relay.closings[-1] - opened_at == 30.0
    await finish(stage)


@played
async def test_charge_that_ends_while_the_relay_rests_never_flows() -> None:
    stage = charging_stage(fitted_with={"min_off_s": 30.0})
    await stage.begin()
    await stage.tap("A1")
    await asyncio.sleep(60)
    assert stage.relay.closings == []
    assert stage.journal.ended == {1: EndReason.SAME_CARD}
    await finish(stage)


@played
async def test_relay_that_fails_after_its_rest_ends_the_session() -> None:
    stage = charging_stage(fitted_with={"min_off_s": 30.0})
    await stage.begin()
    stage.relay.faulty = True
    await asyncio.sleep(30.0)
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    assert isinstance(phase(stage), Faulted)
    stage.relay.faulty = False
    await asyncio.sleep(OUT_OF_ORDER_S)
    assert (await stage.tap("B1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


@played
async def test_session_that_is_resumed_waits_for_the_rest_since_the_start() -> None:
    stage = charging_stage(fitted=replace(FITTED, resume_within_s=300.0), fitted_with={"min_off_s": 30.0})
    await stage.begin()
    await asyncio.sleep(60)
    await stage.kill(off_s=5.0)
    started_at = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    assert isinstance(phase(stage), Charging)
    assert [at - started_at for at in stage.relay.closings] == [30.0]
    await finish(stage)


@played
async def test_loop_that_stood_still_is_no_fault_of_the_contactor() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    found: list[Finding] = []
    watch = ContactWatch(found.append)
    watch.seen(closed=False)
    watch.commanded(closed=True)
    await asyncio.sleep(SETTLE_S - MOVES_S)
    loop.stand_still(1.0)
    await asyncio.sleep(MOVES_S)
    watch.seen(closed=True)  # it moved in time, and is heard only now
    await asyncio.sleep(2 * SETTLE_S)
    assert found == []
    watch.seen(closed=False)
    await asyncio.sleep(2 * SETTLE_S)
    assert found == [Finding.MISSING]
    watch.stop()
