"""A charge whose peer answers after the driver was accepted: one behaviour each."""

import asyncio
from dataclasses import replace

from agent.core.account import Remark
from agent.core.evse_state import WaitingForPlug
from agent.model import EndReason, LateRefusal, Outcome
from tests.scenario.charging import POLICY, cdr, charging_stage, closed, finish, phase, record, remarks, session
from tests.scenario.virtual_time import played


@played
async def test_late_reference_joins_the_running_session_and_is_told_again() -> None:
    stage = charging_stage()
    stage.backend.late_after_s = 1.0
    await stage.begin("B1")
    assert "authorization_reference" not in session(stage)
    told = len(stage.journal.told)
    await asyncio.sleep(2.0)
    assert session(stage)["authorization_reference"] == "REF-LATE"
    assert len(stage.journal.told) == told + 1
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert cdr(stage.journal)["authorization_reference"] == "REF-LATE"
    assert cdr(stage.journal)["auth_method"] == "AUTH_REQUEST"
    await finish(stage)


@played
async def test_reference_that_comes_before_the_plug_is_in_the_session_from_the_start() -> None:
    stage = charging_stage()
    stage.backend.late_after_s = 1.0
    await stage.tap("B1")
    await asyncio.sleep(2.0)
    stage.plug(inserted=True)
    await stage.evse.ledger.settled()
    assert [b'"REF-LATE"' in (told.object or b"") for told in stage.journal.told] == [True]
    await finish(stage)


@played
async def test_reference_that_comes_after_the_end_is_the_authorizations_and_no_sealed_cdrs() -> None:
    stage = charging_stage()
    stage.backend.late_after_s = 3.0
    await stage.begin("B1")
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    sealed = stage.journal.cdrs[0].object
    await asyncio.sleep(4.0)
    assert stage.journal.committed[1].authorization_reference == "REF-LATE"
    assert [made.object for made in stage.journal.cdrs] == [sealed]
    await finish(stage)


@played
async def test_reference_that_came_before_a_power_cut_is_in_the_cdr() -> None:
    stage = charging_stage()
    stage.backend.late_after_s = 1.0
    await stage.begin("B1")
    await asyncio.sleep(2.0)
    await stage.power_cut(off_s=10.0)
    await asyncio.sleep(1.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert cdr(stage.journal)["authorization_reference"] == "REF-LATE"
    assert cdr(stage.journal)["auth_method"] == "AUTH_REQUEST"
    await finish(stage)


@played
async def test_late_refusal_ends_the_session_where_the_policy_says_so() -> None:
    stage = charging_stage(policy=replace(POLICY, late_refusal=LateRefusal.STOP))
    stage.backend.late_after_s, stage.backend.late_outcome = 1.0, Outcome.BLOCKED
    await stage.begin("B1")
    await asyncio.sleep(2.0)
    assert not closed(stage)
    assert record(stage).ended_because is EndReason.LATE_REFUSAL
    assert Remark.LATE_REFUSAL in remarks(stage)
    assert len(stage.journal.cdrs) == 1
    await finish(stage)


@played
async def test_late_refusal_is_kept_by_default_and_the_session_goes_on() -> None:
    stage = charging_stage()
    stage.backend.late_after_s, stage.backend.late_outcome = 1.0, Outcome.BLOCKED
    await stage.begin("B1")
    await asyncio.sleep(2.0)
    assert closed(stage)
    assert [late.answer.outcome for late in stage.journal.late] == [Outcome.BLOCKED]
    await finish(stage)


@played
async def test_late_refusal_before_the_plug_ends_the_wait() -> None:
    stage = charging_stage(policy=replace(POLICY, late_refusal=LateRefusal.STOP))
    stage.backend.late_after_s, stage.backend.late_outcome = 1.0, Outcome.BLOCKED
    await stage.tap("B1")
    assert isinstance(phase(stage), WaitingForPlug)
    await asyncio.sleep(2.0)
    stage.plug(inserted=True)
    await stage.evse.ledger.settled()
    assert stage.journal.ended == {1: EndReason.LATE_REFUSAL}
    assert stage.journal.sessions == {}
    await finish(stage)


@played
async def test_late_refusal_opens_the_relay_whatever_the_disk_does() -> None:
    stage = charging_stage(policy=replace(POLICY, late_refusal=LateRefusal.STOP))
    stage.backend.late_after_s, stage.backend.late_outcome = 1.0, Outcome.BLOCKED
    await stage.begin("B1")
    stage.journal.refuses = True
    await asyncio.sleep(2.0)
    assert not closed(stage)
    stage.journal.refuses = False
    await asyncio.sleep(5.0)
    assert record(stage).ended_because is EndReason.LATE_REFUSAL
    assert [late.answer.outcome for late in stage.journal.late] == [Outcome.BLOCKED]
    await finish(stage)


@played
async def test_reference_that_came_before_the_end_is_in_the_cdr_however_slow_the_disk_is() -> None:
    stage = charging_stage()
    stage.backend.late_after_s = 1.0
    await stage.begin("B1")
    stage.journal.stalls_s = 3.0
    await asyncio.sleep(1.5)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert cdr(stage.journal)["authorization_reference"] == "REF-LATE"
    await finish(stage)
