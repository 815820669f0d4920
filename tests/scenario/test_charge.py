"""One charge from the card to the CDR, with every port played in memory: one behaviour each."""

import asyncio
from dataclasses import replace
from decimal import Decimal

from agent.core.account import Remark
from agent.core.evse_state import Available, Charging, Suspended, WaitingForUnplug
from agent.model import EndReason, Reason, Source, Verdict
from agent.runtime.ledger import LedgerSettings
from tests.scenario.charging import (
    FITTED,
    cdr,
    charging_stage,
    closed,
    finish,
    phase,
    record,
    remarks,
    session,
    volume,
    with_stop_after,
)
from tests.scenario.virtual_time import played

# ---- both orders


@played
async def test_card_before_the_plug_charges_when_the_plug_is_in() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    assert not closed(stage)
    assert stage.display.shown[-1] == "Card accepted Please plug in"
    stage.plug(inserted=True)
    assert closed(stage)
    await stage.evse.ledger.settled()
    assert session(stage)["status"] == "ACTIVE"
    await finish(stage)


@played
async def test_plug_before_the_card_charges_at_the_verdict() -> None:
    stage = charging_stage(plugged=True)
    await asyncio.sleep(1.0)
    assert stage.display.shown[-1].startswith("Plugged in")
    settled = await stage.tap("A1")
    assert stage.relay.closings == [settled.switched_at]
    assert stage.display.shown[-1] == "Card accepted Charging"
    await finish(stage)


@played
async def test_accepted_driver_who_never_plugs_in_is_told_and_the_authorization_ends() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    await asyncio.sleep(FITTED.connection_timeout_s + 0.1)
    assert stage.display.shown[-1].startswith("Not plugged in")
    assert stage.journal.ended == {1: EndReason.CONNECTION_TIMEOUT}
    assert (stage.journal.sessions, stage.relay.closings) == ({}, [])
    await finish(stage)


@played
async def test_plug_after_the_connection_timeout_asks_for_the_card_again() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    await asyncio.sleep(FITTED.connection_timeout_s + 0.1)
    stage.plug(inserted=True)
    assert not closed(stage)
    assert stage.display.shown[-1].startswith("Plugged in")
    await finish(stage)


@played
async def test_plug_just_before_the_connection_timeout_charges_on() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    await asyncio.sleep(FITTED.connection_timeout_s - 0.1)
    stage.plug(inserted=True)
    await asyncio.sleep(FITTED.connection_timeout_s)
    assert closed(stage)
    assert stage.journal.ended == {}
    await finish(stage)


@played
async def test_same_card_before_the_plug_cancels_and_is_recorded() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    settled = await stage.tap("A1")
    assert settled.entry.reason is Reason.STOPPED_SAME_CARD
    assert stage.journal.ended == {1: EndReason.SAME_CARD}
    assert stage.display.shown[-1] == "Charging cancelled"
    assert stage.journal.sessions == {}
    await finish(stage)


@played
async def test_record_of_a_card_at_a_running_charge_has_the_text_that_its_driver_reads() -> None:
    stage = charging_stage()
    [row] = stage.whitelist.rows["A1"]
    german = replace(row, token=replace(row.token, language="de"))
    stage.whitelist.rows = {**stage.whitelist.rows, "A1": (german,)}
    shown = []
    for uid in ("A1", "B1", "A1"):
        settled = await stage.tap(uid)
        shown.append((stage.display.shown[-1], settled.entry.text))
    await stage.begin("A1")
    settled = await stage.tap("A1")
    shown.append((stage.display.shown[-1], settled.entry.text))
    assert [display for display, _ in shown[2:]] == ["Laden abgebrochen", "Laden beendet"]
    assert [record.replace("\n", " ") for _, record in shown] == [display for display, _ in shown]
    await finish(stage)


@played
async def test_car_plugged_in_while_its_card_is_decided_charges() -> None:
    stage = charging_stage()
    stage.backend.late_after_s = 1.0
    stage.present("B1")
    await asyncio.sleep(1.0)
    stage.plug(inserted=True)
    settled = await stage.next_settled()
    assert (settled.entry.verdict, settled.entry.source) == (Verdict.ACCEPTED, Source.FALLBACK)
    assert isinstance(phase(stage), Charging)
    assert closed(stage)
    await finish(stage)


@played
async def test_session_goes_from_tap_to_tap_without_a_plug_sensor() -> None:
    stage = charging_stage(fitted=replace(FITTED, has_plug_sensor=False))
    await stage.begin()
    assert closed(stage)
    await stage.flow(500, 180.0)
    await stage.tap("A1")
    assert isinstance(phase(stage), Available)
    assert cdr(stage.journal)["total_energy"] == Decimal("0.5")
    await finish(stage)


@played
async def test_what_a_driver_draws_after_the_last_reading_is_not_billed_to_the_next() -> None:
    stage = charging_stage(fitted=replace(FITTED, has_plug_sensor=False))
    await stage.begin("A1")
    await stage.flow(1000, 60.0, power_w=22_000)
    stage.register_wh += 366  # a minute that ends before the meter is read again
    await asyncio.sleep(59.0)
    await stage.tap("A1")
    await stage.tap("C1")
    await asyncio.sleep(1.0)
    stage.read()
    await stage.flow(100, 60.0)
    await stage.tap("C1")
    await stage.evse.ledger.settled()
    assert [cdr(stage.journal, number)["total_energy"] for number in (1, 3)] == [1, Decimal("0.1")]
    assert remarks(stage, 3) == {Remark.METER_LATE}
    await finish(stage)


# ---- what a session says


@played
async def test_charge_ends_in_one_cdr_with_its_energy_and_cost() -> None:
    stage = charging_stage()
    await stage.begin()
    for _ in range(10):
        await stage.flow(1000, 360.0, power_w=10_000)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert (said["total_energy"], said["total_time"]) == (Decimal(10), Decimal(1))
    assert said["total_cost"] == {"excl_vat": Decimal(3), "incl_vat": Decimal("3.6")}
    assert (session(stage)["status"], session(stage)["kwh"]) == ("COMPLETED", Decimal(10))
    await finish(stage)


@played
async def test_session_is_told_when_it_begins_for_each_kwh_and_when_it_ends() -> None:
    stage = charging_stage(books=LedgerSettings(report_energy_wh=1000, report_every_s=1e9, persist_every_s=1e9))
    await stage.begin()
    assert len(stage.journal.told) == 1
    for _ in range(25):
        await stage.flow(100, 30.0)
    await stage.evse.ledger.settled()
    assert [told.energy_wh for told in stage.journal.told] == [0, 1000, 2000]
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert [told.energy_wh for told in stage.journal.told] == [0, 1000, 2000, 2500]
    await finish(stage)


@played
async def test_card_that_a_peer_allowed_is_billed_with_its_reference() -> None:
    stage = charging_stage()
    await stage.begin("B1")
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert session(stage)["authorization_reference"] == "REF-1"
    assert cdr(stage.journal)["authorization_reference"] == "REF-1"
    assert cdr(stage.journal)["auth_method"] == "AUTH_REQUEST"
    await finish(stage)


@played
async def test_charge_without_a_meter_says_so_and_invents_no_energy() -> None:
    stage = charging_stage(fitted=replace(FITTED, has_meter=False))
    await stage.begin()
    await asyncio.sleep(3600)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert remarks(stage) == {Remark.NO_METER}
    assert record(stage).energy_wh is None
    assert volume(cdr(stage.journal), "ENERGY") == 0
    assert cdr(stage.journal)["total_time"] == 1
    await finish(stage)


@played
async def test_charge_that_nobody_is_billed_for_says_why_and_is_not_told() -> None:
    stage = charging_stage(documents=None)
    await stage.begin()
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert (record(stage).object, stage.journal.cdrs, stage.journal.told) == (None, [], [])
    assert record(stage).no_cdr == "billing is not configured: see [billing]"
    await finish(stage)


@played
async def test_charge_of_a_card_that_no_list_names_says_why_it_gets_no_cdr() -> None:
    stage = charging_stage()
    await stage.begin("F1")
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert stage.journal.cdrs == []
    assert record(stage).no_cdr
    await finish(stage)


# ---- how a session ends


@played
async def test_unplugged_car_opens_the_relay_at_once_and_ends_the_session() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.plug(inserted=False)
    assert not closed(stage)
    await stage.evse.ledger.settled()
    assert stage.journal.ended == {1: EndReason.UNPLUGGED}
    assert stage.display.shown[-1].endswith("Cable unplugged")
    assert isinstance(phase(stage), Available)
    await finish(stage)


@played
async def test_same_card_ends_the_session_and_asks_to_unplug() -> None:
    stage = charging_stage()
    await stage.begin()
    settled = await stage.tap("A1")
    assert settled.entry.reason is Reason.STOPPED_SAME_CARD
    assert not closed(stage)
    assert record(stage).ended_because is EndReason.SAME_CARD
    assert isinstance(phase(stage), WaitingForUnplug)
    await asyncio.sleep(10.0)
    assert stage.display.shown[-1].endswith("Please unplug")
    await finish(stage)


@played
async def test_group_card_ends_the_session_and_its_record_names_whose_charge_it_was() -> None:
    stage = charging_stage()
    await stage.begin()
    settled = await stage.tap("A2")
    stop = stage.journal.committed[2]
    assert settled.authorization_id == 2
    assert (stop.uid, stop.ends, stop.end_reason) == ("A2", 1, EndReason.GROUP_CARD)
    assert (stop.contract_id, stop.relay_closed) == (stage.journal.committed[1].contract_id, False)
    assert record(stage).ended_because is EndReason.GROUP_CARD
    assert cdr(stage.journal)["cdr_token"]["contract_id"] == "DE-ABC-A1"
    await finish(stage)


@played
async def test_another_card_is_refused_on_record_and_the_charge_goes_on() -> None:
    stage = charging_stage()
    await stage.begin()
    settled = await stage.tap("C1")
    assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.IN_USE)
    assert stage.journal.committed[2].reason is Reason.IN_USE
    assert closed(stage)
    assert stage.journal.ended == {}
    await finish(stage)


@played
async def test_impatient_driver_neither_ends_what_has_just_begun_nor_begins_what_has_just_ended() -> None:
    stage = charging_stage(policy=with_stop_after(3.0))
    await stage.begin()
    await asyncio.sleep(1.0)
    stage.present("A1")
    await asyncio.sleep(2.5)
    assert closed(stage)
    await stage.tap("A1")
    await asyncio.sleep(1.0)
    stage.present("A1")
    await asyncio.sleep(1.0)
    assert isinstance(phase(stage), WaitingForUnplug)
    assert len(stage.journal.sessions) == 1
    await finish(stage)


@played
async def test_next_driver_may_begin_while_the_last_car_is_still_plugged_in() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.tap("A1")
    await asyncio.sleep(10.0)
    settled = await stage.tap("C1")
    assert settled.entry.verdict is Verdict.ACCEPTED
    await stage.evse.ledger.settled()
    assert sorted(stage.journal.sessions) == [1, settled.authorization_id]
    await finish(stage)


@played
async def test_operator_ends_a_session_and_it_is_billed_with_that_remark() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(500)
    assert await stage.evse.end(EndReason.OPERATOR)
    assert record(stage).ended_because is EndReason.OPERATOR
    assert Remark.STOPPED_BY_OPERATOR in remarks(stage)
    assert cdr(stage.journal)["total_energy"] == Decimal("0.5")
    assert stage.display.shown[-1].endswith("by the operator")
    await finish(stage)


@played
async def test_operator_who_ends_nothing_is_told_so() -> None:
    stage = charging_stage()
    await asyncio.sleep(1.0)
    assert not await stage.evse.end(EndReason.OPERATOR)
    assert stage.journal.committed == {}
    await finish(stage)


@played
async def test_operator_ends_the_wait_for_the_plug() -> None:
    stage = charging_stage()
    await stage.tap("A1")
    assert await stage.evse.end(EndReason.OPERATOR)
    assert stage.journal.ended == {1: EndReason.OPERATOR}
    stage.plug(inserted=True)
    assert not closed(stage)
    await finish(stage)


@played
async def test_stop_whose_record_the_disk_refuses_opens_the_relay_and_is_recorded_later() -> None:
    stage = charging_stage()
    await stage.begin()
    stage.journal.refuses = True
    settled = await stage.tap("A1")
    assert not closed(stage)
    assert settled.authorization_id is None
    assert stage.journal.ended == {}
    stage.journal.refuses = False
    await stage.evse.ledger.settled()
    assert stage.journal.ended == {1: EndReason.SAME_CARD}
    assert stage.journal.committed[2].ends == 1
    await finish(stage)


# ---- suspended


@played
async def test_car_that_draws_nothing_for_a_while_is_parking_until_it_draws_again() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(1000, 360.0, power_w=10_000)
    await stage.flow(0, 1.0, power_w=5)
    await asyncio.sleep(FITTED.suspended_after_s)
    assert isinstance(phase(stage), Suspended)
    assert stage.display.shown[-1].startswith("Charging paused")
    assert closed(stage)
    await stage.flow(0, 3600.0, power_w=11_000)
    assert isinstance(phase(stage), Charging)
    await stage.flow(1000, 360.0, power_w=10_000)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert volume(said, "PARKING_TIME") == 1
    assert said["total_cost"]["excl_vat"] == Decimal("6.6")
    await finish(stage)


@played
async def test_car_that_pauses_for_seconds_is_not_parking() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(0, 1.0, power_w=5)
    await asyncio.sleep(FITTED.suspended_after_s - 1.0)
    stage.read(power_w=11_000)
    await asyncio.sleep(FITTED.suspended_after_s)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert volume(cdr(stage.journal), "PARKING_TIME") == 0
    await finish(stage)


@played
async def test_nothing_is_billed_for_the_car_that_stays_after_its_driver_has_stopped() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(1000, 360.0)
    await stage.tap("A1")
    await asyncio.sleep(3600)
    stage.plug(inserted=False)
    assert cdr(stage.journal)["total_time"] == Decimal("0.1")
    await finish(stage)
