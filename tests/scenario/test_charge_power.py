"""A charge that outlives the agent, or does not: orderly stops, kills and power cuts, one behaviour each."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

from agent.core.account import Remark
from agent.core.evse_state import Available, Charging, WaitingForUnplug
from agent.model import EndReason, Reason
from agent.runtime.charge_point import DISK_S, PLUG_S
from agent.runtime.ledger import LedgerSettings
from tests.scenario.charging import (
    FITTED,
    account,
    cdr,
    charging_stage,
    closed,
    finish,
    phase,
    record,
    remarks,
    session,
)
from tests.scenario.stage import Stage
from tests.scenario.virtual_time import played

RESUME_S = FITTED.resume_within_s


async def charged(energy_wh: int = 1000, **changes: Any) -> Stage:
    """A charge that runs, with so much on disk."""
    stage = charging_stage(**changes)
    await stage.begin()
    await stage.flow(energy_wh, 360.0, power_w=10_000)
    await stage.evse.ledger.settled()
    return stage


@played
async def test_orderly_stop_opens_the_relay_and_keeps_the_session_on_record_as_last_read() -> None:
    stage = await charged()
    await stage.flow(30, 10.0)
    await stage.stop()
    assert not closed(stage)
    assert (record(stage).ended_at, record(stage).energy_wh) == (None, 1030)
    assert stage.journal.running() == {1}
    stage.journal.check()


@played
async def test_start_after_an_orderly_stop_resumes_the_session_with_its_text() -> None:
    stage = await charged()
    await stage.stop()
    await asyncio.sleep(20.0)
    stage.restart()
    await asyncio.sleep(1.0)
    assert closed(stage)
    assert stage.display.shown[-1] == "Power is back Charging resumed"
    await stage.flow(500, 180.0)
    await stage.tap("A1")
    assert cdr(stage.journal)["total_energy"] == Decimal("1.5")
    assert len(stage.journal.cdrs) == 1
    await finish(stage)


@played
async def test_orderly_stop_ends_what_can_not_be_resumed() -> None:
    stage = await charged(fitted=replace(FITTED, resume_within_s=0.0))
    await stage.stop()
    assert record(stage).ended_because is EndReason.SHUTDOWN
    assert Remark.SHUTDOWN in remarks(stage)
    assert len(stage.journal.cdrs) == 1
    stage.journal.check()


@played
async def test_orderly_stop_while_the_driver_is_to_plug_in_ends_the_authorization() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    await stage.stop()
    assert stage.journal.ended == {1: EndReason.SHUTDOWN}
    assert stage.journal.sessions == {}


@played
async def test_session_goes_on_after_a_short_power_cut_as_the_same_one() -> None:
    stage = await charged()
    session_id = record(stage).session_id
    await stage.power_cut(off_s=60.0)
    assert not closed(stage)
    await asyncio.sleep(1.0)
    assert closed(stage)
    assert stage.display.shown[0] == "Power is back Charging resumed"
    await stage.flow(500, 180.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert (said["session_id"], said["total_energy"]) == (session_id, Decimal("1.5"))
    assert remarks(stage) == {Remark.POWER_CUT}
    assert (session(stage)["status"], len(stage.journal.cdrs)) == ("COMPLETED", 1)
    await finish(stage)


@played
async def test_time_without_power_is_nobodys() -> None:
    stage = await charged()
    await stage.power_cut(off_s=200.0)
    await asyncio.sleep(1.0)
    await stage.flow(1000, 360.0 - 1.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    billed_h = sum(
        Decimal(each["volume"])
        for period in cdr(stage.journal)["charging_periods"]
        for each in period["dimensions"]
        if each["type"] == "TIME"
    )
    assert Decimal("0.2") - Decimal("0.0002") <= billed_h <= Decimal("0.2")
    await finish(stage)


@played
async def test_energy_that_the_last_life_had_not_persisted_is_counted_when_the_session_goes_on() -> None:
    stage = await charged(books=LedgerSettings(persist_energy_wh=500, report_every_s=1e9))
    await stage.flow(100)
    await stage.power_cut(off_s=10.0)
    assert record(stage).energy_wh == 1000
    await asyncio.sleep(1.0)
    await stage.flow(10)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert record(stage).energy_wh == 1110
    await finish(stage)


@played
async def test_power_cut_just_within_what_may_be_resumed_is_resumed() -> None:
    stage = await charged()
    await stage.power_cut(off_s=RESUME_S - 1.0)
    await asyncio.sleep(1.0)
    assert isinstance(phase(stage), Charging)
    await finish(stage)


@played
async def test_longer_power_cut_ends_the_session_at_its_last_persisted_reading() -> None:
    stage = await charged()
    ended_at = account(stage).until
    await stage.power_cut(off_s=RESUME_S + 1.0)
    await asyncio.sleep(1.0)
    assert (record(stage).ended_because, record(stage).ended_at) == (EndReason.OFF_TOO_LONG, ended_at)
    assert cdr(stage.journal)["total_energy"] == 1
    assert Remark.END_UNSEEN in remarks(stage)
    assert not closed(stage)
    assert stage.display.shown[0].startswith("Power failure")
    await finish(stage)


@played
async def test_car_that_stays_after_a_long_power_cut_waits_for_a_card() -> None:
    stage = await charged()
    await stage.power_cut(off_s=RESUME_S + 1.0)
    await asyncio.sleep(10.0)
    assert stage.display.shown[-1].startswith("Plugged in")
    await stage.tap("C1")
    assert closed(stage)
    await finish(stage)


@played
async def test_session_whose_account_can_not_be_read_ends_unbilled_and_the_next_card_charges() -> None:
    stage = await charged()
    await stage.stop()
    stage.journal.sessions[1] = replace(record(stage), account=b"{}")
    stage.restart()
    await asyncio.sleep(10.0)
    assert not closed(stage)
    assert (record(stage).ended_because, record(stage).energy_wh) == (EndReason.RESTART, 1000)
    assert (record(stage).no_cdr or "").startswith("its account can't be read: ")
    assert session(stage)["status"] == "INVALID"
    await stage.begin("C1")
    assert closed(stage)
    assert stage.crashes == []
    await finish(stage)


@played
async def test_car_unplugged_while_the_power_was_away_ends_the_session() -> None:
    stage = await charged()
    stage.plugged = False
    await stage.power_cut(off_s=10.0)
    await asyncio.sleep(1.0)
    assert record(stage).ended_because is EndReason.UNPLUGGED_WHILE_OFF
    assert isinstance(phase(stage), Available)
    assert cdr(stage.journal)["total_energy"] == 1
    await finish(stage)


@played
async def test_start_without_the_plug_sensors_word_ends_the_session() -> None:
    stage = await charged()
    stage.inputs_work = False
    await stage.power_cut(off_s=10.0)
    await asyncio.sleep(PLUG_S + 1.0)
    assert record(stage).ended_because is EndReason.RESTART
    assert not closed(stage)
    assert len(stage.journal.cdrs) == 1
    await finish(stage)


@played
async def test_relay_stays_open_until_the_plug_sensor_has_spoken() -> None:
    stage = await charged()
    stage.inputs_work = False
    await stage.power_cut(off_s=10.0)
    await asyncio.sleep(PLUG_S - 1.0)
    assert not closed(stage)
    stage.plug(inserted=True)
    await asyncio.sleep(1.0)
    assert closed(stage)
    await finish(stage)


@played
async def test_nothing_is_resumed_without_a_plug_sensor() -> None:
    stage = await charged(fitted=replace(FITTED, has_plug_sensor=False))
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(1.0)
    assert record(stage).ended_because is EndReason.RESTART
    assert cdr(stage.journal)["total_energy"] == 1
    assert not closed(stage)
    await finish(stage)


@played
async def test_power_cut_while_the_driver_is_to_plug_in_ends_the_authorization_with_its_text() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(1.0)
    assert stage.journal.ended == {1: EndReason.RESTART}
    assert stage.display.shown[0].startswith("Power failure")
    assert stage.journal.sessions == {}
    await finish(stage)


@played
async def test_power_cut_before_the_session_is_on_disk_ends_the_authorization() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    stage.journal.stalls_s = 5.0
    stage.plug(inserted=True)
    await asyncio.sleep(1.0)
    assert closed(stage)
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(1.0)
    assert stage.journal.ended == {1: EndReason.RESTART}
    assert not closed(stage)
    await finish(stage)


@played
async def test_power_cut_while_the_decision_is_on_its_way_to_disk_leaves_nothing() -> None:
    stage = charging_stage(plugged=True)
    await asyncio.sleep(1.0)
    stage.journal.stalls_s = 1.0
    stage.present("A1")
    await asyncio.sleep(0.5)
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(5.0)
    assert stage.journal.committed == {}
    assert not closed(stage)
    await finish(stage)


@played
async def test_power_cut_while_the_end_is_on_its_way_to_disk_makes_one_cdr() -> None:
    stage = await charged()
    stage.journal.stalls_s = 1.0
    stage.plug(inserted=False)
    await asyncio.sleep(0.5)
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(1.0)
    assert record(stage).ended_because is EndReason.UNPLUGGED_WHILE_OFF
    assert len(stage.journal.cdrs) == 1
    await finish(stage)


@played
async def test_killed_agent_resumes_in_the_same_boot_whatever_the_wall_clock_says() -> None:
    stage = await charged()
    stage.wall.starts_in(1970)
    await stage.kill(off_s=10.0)
    await asyncio.sleep(1.0)
    assert closed(stage)
    stage.wall.is_put_right()
    await finish(stage)


@played
async def test_power_cut_of_unknown_length_ends_the_session() -> None:
    stage = await charged()
    stage.wall.starts_in(1970)
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(1.0)
    assert record(stage).ended_because is EndReason.OFF_TOO_LONG
    assert cdr(stage.journal)["total_energy"] == 1
    await finish(stage)


@played
async def test_clock_that_was_set_back_in_the_power_cut_ends_the_session() -> None:
    stage = await charged()
    stage.wall.error -= stage.wall.true - record(stage).started_at
    await stage.power_cut(off_s=1.0)
    await asyncio.sleep(1.0)
    assert record(stage).ended_because is EndReason.OFF_TOO_LONG
    await finish(stage)


@played
async def test_every_power_cut_of_several_is_survived_by_one_session() -> None:
    stage = await charged()
    for _ in range(5):
        await stage.power_cut(off_s=30.0)
        await asyncio.sleep(1.0)
        await stage.flow(200, 60.0)
    await stage.tap("A1")
    assert cdr(stage.journal)["total_energy"] == 2
    assert len(stage.journal.cdrs) == len(stage.journal.sessions) == 1
    await finish(stage)


@played
async def test_stopping_card_after_a_power_cut_is_known_by_what_was_on_disk() -> None:
    stage = await charged()
    await stage.power_cut(off_s=30.0)
    await asyncio.sleep(1.0)
    assert (await stage.tap("C1")).entry.reason is Reason.IN_USE
    assert (await stage.tap("A2")).entry.reason is Reason.STOPPED_GROUP_CARD
    assert isinstance(phase(stage), WaitingForUnplug)
    await finish(stage)


@played
async def test_parking_counts_as_charging_after_a_power_cut_until_it_is_seen_again() -> None:
    stage = await charged(books=LedgerSettings(persist_every_s=120.0))
    await stage.flow(0, 1.0, power_w=0)
    await asyncio.sleep(FITTED.suspended_after_s + 3600 + 60.0)
    await stage.power_cut(off_s=10.0)
    await asyncio.sleep(1.0)
    assert isinstance(phase(stage), Charging)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert session(stage)["total_cost"]["excl_vat"] == Decimal("6.3")
    await finish(stage)


async def unplugged_while_the_disk_refuses() -> Stage:
    """The first driver has left, which is not on disk; another car is plugged in, and the agent starts again."""
    stage = await charged()
    stage.journal.refuses = True
    stage.plug(inserted=False)
    await asyncio.sleep(1.0)
    stage.plug(inserted=True)
    await asyncio.sleep(1.0)
    return stage


@played
async def test_session_whose_end_a_full_disk_did_not_take_is_not_resumed_for_the_next_car() -> None:
    stage = await unplugged_while_the_disk_refuses()
    killing = asyncio.ensure_future(stage.kill(5.0))
    await asyncio.sleep(1.0)
    stage.journal.refuses = True  # the disk of the life that begins
    await killing
    await asyncio.sleep(1.0)
    assert not closed(stage)
    stage.journal.refuses = False
    await asyncio.sleep(10.0)
    assert record(stage).ended_because is EndReason.OFF_TOO_LONG
    assert not closed(stage)
    await finish(stage)


@played
async def test_session_is_not_resumed_on_a_disk_that_does_not_answer() -> None:
    stage = await charged()
    killing = asyncio.ensure_future(stage.kill(5.0))
    await asyncio.sleep(1.0)
    stage.journal.stalls_s = 60.0
    await killing
    await asyncio.sleep(PLUG_S + DISK_S + 1.0)
    assert not closed(stage)
    stage.journal.stalls_s = 0.0
    await asyncio.sleep(200.0)
    assert record(stage).ended_because is EndReason.OFF_TOO_LONG
    await finish(stage)
