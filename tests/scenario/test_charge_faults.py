"""A charge whose devices or disk fail it: one behaviour each."""

import asyncio
from decimal import Decimal

from agent.core.account import Remark
from agent.core.evse_state import Charging, Device, Faulted
from agent.model import EndReason, Reason, Verdict
from agent.runtime.charge_point import OUT_OF_ORDER_S
from agent.runtime.guarded_relay import RETRY_S
from agent.runtime.ledger import UNRECORDED_S
from tests.scenario.charging import FITTED, cdr, charging_stage, closed, finish, phase, record, remarks, volume
from tests.scenario.virtual_time import played

# ---- devices


@played
async def test_charge_goes_on_without_its_meter_and_says_from_where_on_it_is_silent() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(500, 180.0)
    stage.evse.meter_is(works=False)
    await asyncio.sleep(600)
    assert closed(stage)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert Remark.METER_SILENT in remarks(stage)
    assert cdr(stage.journal)["total_energy"] == Decimal("0.5")
    assert isinstance(phase(stage), Faulted)
    await finish(stage)


@played
async def test_meter_that_comes_back_has_counted_what_flowed_meanwhile() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.evse.meter_is(works=False)
    await stage.flow(2000, 600.0)
    stage.evse.meter_is(works=True)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert cdr(stage.journal)["total_energy"] == 2
    assert Remark.METER_SILENT in remarks(stage)
    await finish(stage)


@played
async def test_no_charge_begins_without_its_meter() -> None:
    stage = charging_stage()
    await asyncio.sleep(1.0)
    stage.evse.meter_is(works=False)
    settled = await stage.tap("A1")
    assert settled.entry.reason is Reason.OUT_OF_ORDER
    assert "meter" in settled.entry.detail
    stage.plug(inserted=True)
    assert not closed(stage)
    stage.evse.meter_is(works=True)
    assert (await stage.tap("A1")).entry.verdict is Verdict.ACCEPTED
    assert closed(stage)
    await finish(stage)


@played
async def test_meter_lost_while_the_driver_is_to_plug_in_ends_the_authorization() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    stage.evse.meter_is(works=False)
    stage.plug(inserted=True)
    await stage.evse.ledger.settled()
    assert stage.journal.ended == {1: EndReason.METER_FAULT}
    assert stage.relay.closings == []
    await finish(stage)


@played
async def test_parking_that_nobody_can_see_is_not_billed() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(0, 1.0, power_w=0)
    await asyncio.sleep(FITTED.suspended_after_s + 1800)
    stage.evse.meter_is(works=False)
    assert isinstance(phase(stage), Charging)
    await asyncio.sleep(3600)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert volume(cdr(stage.journal), "PARKING_TIME") == Decimal("0.5")
    await finish(stage)


@played
async def test_meter_that_goes_back_adds_nothing_and_counts_on_from_there() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(500)
    stage.register_wh = 0
    await stage.flow(200)
    await stage.flow(300)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert record(stage).energy_wh == 800
    assert Remark.METER_WENT_BACK in remarks(stage)
    await finish(stage)


@played
async def test_lost_plug_sensor_opens_the_relay_and_ends_the_session() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.evse.plug_sensor_is(works=False)
    assert not closed(stage)
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.PLUG_FAULT
    assert isinstance(phase(stage), Faulted)
    stage.plug(inserted=True)
    stage.evse.plug_sensor_is(works=True)
    assert (await stage.tap("A1")).entry.verdict is Verdict.ACCEPTED
    assert closed(stage)
    await finish(stage)


@played
async def test_relay_that_does_not_close_leaves_no_bill_and_the_next_driver_is_served_after_a_while() -> None:
    stage = charging_stage()
    stage.relay.faulty = True
    await asyncio.sleep(1.0)
    stage.plug(inserted=True)
    settled = await stage.tap("A1")
    await stage.evse.ledger.settled()
    assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.RELAY_FAULT)
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    assert stage.journal.cdrs == []
    assert "nothing was delivered" in (record(stage).no_cdr or "")
    stage.relay.faulty = False
    assert (await stage.tap("A1")).entry.reason is Reason.RELAY_FAULT
    await asyncio.sleep(OUT_OF_ORDER_S)
    assert (await stage.tap("A1")).entry.verdict is Verdict.ACCEPTED
    assert closed(stage)
    await finish(stage)


@played
async def test_relay_that_does_not_close_when_plugged_in_is_told_to_the_driver() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    stage.relay.faulty = True
    stage.plug(inserted=True)
    await stage.evse.ledger.settled()
    assert stage.display.shown[-1].startswith("Out of order")
    assert stage.journal.ended == {1: EndReason.RELAY_FAULT}
    await finish(stage)


@played
async def test_jammed_relay_ends_the_session_and_is_out_of_order_until_it_opens() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.relay.jammed = True
    await stage.tap("A1")
    assert record(stage).ended_because is EndReason.SAME_CARD
    assert Device.RELAY in stage.evse.state.lost
    assert (await stage.tap("C1")).entry.reason is Reason.RELAY_FAULT
    stage.relay.jammed = False
    await asyncio.sleep(RETRY_S)
    assert not closed(stage)
    assert (await stage.tap("C1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


@played
async def test_relay_still_jammed_at_the_next_start_ends_what_would_be_resumed() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(1000)
    stage.relay.jammed = True
    await stage.stop()
    stage.restart()
    await asyncio.sleep(1.0)
    assert record(stage).ended_because is EndReason.RELAY_FAULT
    assert len(stage.journal.cdrs) == 1
    stage.relay.jammed = False
    await asyncio.sleep(2 * RETRY_S)
    assert (await stage.tap("C1")).entry.verdict is Verdict.ACCEPTED
    assert closed(stage)
    await finish(stage)


@played
async def test_charge_goes_on_without_its_reader_and_ends_by_the_plug() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.evse.reader_is("left", missing=True)
    assert closed(stage)
    assert "Unplug to stop" in stage.display.shown[-1]
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.UNPLUGGED
    assert isinstance(phase(stage), Faulted)
    await finish(stage)


# ---- the disk


@played
async def test_session_whose_beginning_the_disk_refuses_ends_after_a_while() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    stage.journal.refuses = True
    stage.plug(inserted=True)
    await asyncio.sleep(UNRECORDED_S - 1.0)
    assert closed(stage)
    await asyncio.sleep(4.0)
    assert not closed(stage)
    stage.journal.refuses = False
    await stage.evse.ledger.settled()
    assert record(stage).ended_because is EndReason.STORAGE_FAULT
    await finish(stage)


@played
async def test_session_whose_beginning_waits_behind_other_records_ends_after_a_while_too() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.journal.stalls_s = 1.0
    stage.present("A1")
    await asyncio.sleep(0.1)
    stage.present("C1")
    await asyncio.sleep(0.8)
    stage.journal.refuses = True  # the end of the first charge
    await asyncio.sleep(0.2)
    stage.journal.refuses = False  # and not the second card
    await asyncio.sleep(0.95)
    stage.journal.refuses, stage.journal.stalls_s = True, 0.0
    assert stage.evse.state.runs(2)
    await asyncio.sleep(UNRECORDED_S - 1.0)
    assert closed(stage)
    await asyncio.sleep(5.0)
    assert not closed(stage)
    stage.journal.refuses = False
    await finish(stage)


@played
async def test_change_that_is_being_written_when_the_session_ends_is_not_written_after_it() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.journal.stalls_s = 2.0
    await stage.flow(1000)
    await stage.flow(1000)
    stage.journal.refuses = True
    stage.plug(inserted=False)
    await asyncio.sleep(3.0)
    stage.journal.refuses = False
    await stage.evse.ledger.settled()
    assert [told.ended_because for told in stage.journal.told] == [None, EndReason.UNPLUGGED]
    await finish(stage)


@played
async def test_session_that_ends_while_the_disk_refuses_is_last_updated_by_its_end() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.journal.refuses = True
    await stage.flow(1000)
    await asyncio.sleep(5.0)
    await stage.tap("A1")
    await asyncio.sleep(5.0)
    stage.journal.refuses = False
    await stage.evse.ledger.settled()
    assert [told.ended_because for told in stage.journal.told] == [None, EndReason.SAME_CARD]
    await finish(stage)


@played
async def test_disk_that_refuses_in_the_middle_of_a_charge_costs_nothing_once_it_works() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.journal.refuses = True
    for _ in range(20):
        await stage.flow(100, 30.0)
    assert closed(stage)
    assert record(stage).energy_wh == 0
    stage.journal.refuses = False
    await stage.evse.ledger.settled()
    assert record(stage).energy_wh == 2000
    await finish(stage)


@played
async def test_nobodys_charge_begins_while_the_last_one_is_not_on_disk() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.journal.refuses = True
    stage.plug(inserted=False)
    await asyncio.sleep(1.0)
    settled = await stage.tap("C1")
    assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.STORAGE_FAULT)
    stage.journal.refuses = False
    await stage.evse.ledger.settled()
    assert (await stage.tap("C1")).entry.verdict is Verdict.ACCEPTED
    await finish(stage)


# ---- the whitelist


@played
async def test_card_whose_row_can_not_be_read_leaves_the_charge_of_a_group_alone() -> None:
    stage = charging_stage()
    await stage.begin("A1")
    stage.whitelist.spoilt = frozenset({"C1"})
    stage.present("C1")
    await asyncio.sleep(1.0)
    assert closed(stage)
    assert stage.crashes == []
    assert stage.journal.committed[2].reason is Reason.IN_USE
    await finish(stage)
