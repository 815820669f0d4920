"""A charge all the way: card, plug and meter in; a relay, a row in `state.db`, a session and a CDR at the eMSP out."""

import asyncio
import json
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.core.evse_state import Device
from agent.model import Reason, Uid
from fakes.emsp import FakeEmsp, Kind, Part, held
from tests.scenario.charge_world import (
    PRICE_OF_START,
    PRICE_PER_KWH,
    VAT,
    ChargePoint,
    charge_point,
)
from tests.scenario.test_peers import free_port, shown
from tests.scenario.world import EVSES, PINS, emsp_with, only, until

A, B = "0104A1B2C3", "01FF80C3D4"
ALWAYS = {"whitelist": "ALWAYS"}
NEVER = {"whitelist": "NEVER"}
LATE = "deadline_s = 30.0\nreserve_s = 29.7\nlate_window_s = 60.0"
"""A short time for the peer and a long one for the record: no machine is too slow for it."""


def price_of(kwh: Decimal) -> dict[str, Decimal]:
    """By the tariff of these charge points."""
    excl_vat = PRICE_OF_START + PRICE_PER_KWH * kwh
    return {"excl_vat": excl_vat, "incl_vat": excl_vat * VAT}


def consumed(cdr: dict[str, Any], dimension: str = "ENERGY") -> Decimal:
    """What its charging periods add up to."""
    found = [
        Decimal(one["volume"])
        for period in cdr["charging_periods"]
        for one in period["dimensions"]
        if one["type"] == dimension
    ]
    return sum(found, Decimal(0))


# ---- from the card to the bill


async def test_charge_is_told_while_it_runs_and_billed_when_it_is_over(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: NEVER}) as here, here.agent():
        settled = await here.tap(A)
        [reference] = here.emsp.given_references[A]
        assert not here.is_closed()
        await here.says("Card accepted | Please plug in")

        here.plug()
        await here.closed()
        begun = await here.session(status="ACTIVE")
        assert (begun["kwh"], begun["authorization_reference"]) == (0, reference)

        kwh = Decimal("12.345")
        await here.deliver(12_345)
        running = await here.session(kwh=kwh)
        assert (running["status"], running["id"]) == ("ACTIVE", begun["id"])

        here.unplug()
        await here.opened()
        over = await here.session(status="COMPLETED")
        cdr = await here.cdr()
        assert (over["id"], over["kwh"], over["total_cost"]) == (begun["id"], kwh, price_of(kwh))
        assert (cdr["session_id"], cdr["total_energy"], cdr["total_cost"]) == (begun["id"], kwh, price_of(kwh))
        assert (consumed(cdr), consumed(cdr, "TIME")) == (kwh, cdr["total_time"])
        assert [one["authorization_reference"] for one in (over, cdr)] == [reference, reference]
        assert (cdr["auth_method"], cdr["cdr_token"]["uid"]) == ("AUTH_REQUEST", A)
        assert cdr["cdr_location"]["evse_uid"] == EVSES[0]
        assert cdr["tariffs"][0]["id"] == "STANDARD"
        assert "remark" not in cdr
        assert here.switched == [(PINS[0], True), (PINS[0], False)]
        authorization = only(here.rows("authorization"))
        assert (authorization["id"], authorization["ended_because"]) == (settled.authorization_id, "unplugged")
        sent = here.reports()
        assert (sent[0], sent[-1]) == ("PUT sessions", "POST cdrs")
        assert set(sent[1:-1]) == {"PATCH sessions"}


async def test_car_that_is_plugged_in_first_is_charged_from_card_to_card(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        here.plug()
        await here.says("Plugged in | Please tap card")
        await here.tap(A)
        assert here.is_closed()
        await here.deliver(1_500)
        stop = await here.tap(A)
        assert (stop.entry.reason, here.is_closed()) == (Reason.STOPPED_SAME_CARD, False)
        await here.deliver(9_999)  # what flows now has nothing to do with this charge
        here.unplug()
        cdr = await here.cdr()
        assert (cdr["total_energy"], cdr["auth_method"]) == (Decimal("1.5"), "WHITELIST")
        assert "authorization_reference" not in cdr
        assert (await here.session(status="COMPLETED"))["kwh"] == Decimal("1.5")
        assert only(here.rows("session"))["ended_because"] == "same-card"


async def test_driver_who_does_not_plug_in_is_told_so_and_nobody_is_billed(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}, session="connection_timeout_s = 0.1") as here, here.agent():
        await here.tap(A)
        await here.says("Not plugged in | Tap card again")
        await until(lambda: only(here.rows("authorization"))["ended_because"] == "connection-timeout")
        here.plug()  # too late
        await here.says("Plugged in | Please tap card")
        assert (here.switched, here.rows("session"), here.reports()) == ([], [], [])


async def test_car_that_draws_nothing_any_more_is_billed_for_parking(tmp_path: Path) -> None:
    session = "suspended_below_w = 100.0\nsuspended_after_s = 0.1"
    async with charge_point(tmp_path, {A: ALWAYS}, session=session) as here, here.agent():
        here.meters[0].draw(11_000)
        await here.tap(A)
        here.plug()
        await here.closed()
        here.meters[0].draw(0)
        await here.says("Charging paused | Tap card to stop")
        assert here.is_closed()
        here.unplug()
        cdr = await here.cdr()
        assert consumed(cdr, "PARKING_TIME") == cdr["total_parking_time"]
        assert [period["dimensions"][0]["type"] for period in cdr["charging_periods"]] == ["TIME", "PARKING_TIME"]


async def test_pulses_of_an_s0_meter_are_billed(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}, s0=True) as here, here.agent():
        await here.tap(A)
        here.plug()
        await here.closed()
        here.pulse(7)
        await here.reads(70)
        here.unplug()
        assert (await here.cdr())["total_energy"] == Decimal("0.07")


async def test_meter_that_was_away_for_a_while_loses_no_energy(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        await here.tap(A)
        here.plug()
        await here.closed()
        await here.deliver(1_000)
        here.meter_line.unplug()
        await here.lost(Device.METER)
        assert here.is_closed()
        here.meter_line.plug()
        await here.deliver(3_000)
        here.unplug()
        cdr = await here.cdr()
        assert (cdr["total_energy"], cdr["remark"]) == (Decimal(4), "The energy meter was silent for a while.")


async def test_no_charge_begins_while_the_meter_is_lost(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        here.meter_line.unplug()
        await here.lost(Device.METER)
        refused = await here.tap(A)
        assert (refused.entry.reason, refused.entry.relay_closed) == (Reason.OUT_OF_ORDER, False)
        here.meter_line.plug()
        await here.found(Device.METER)
        await here.charge(A, 1_000)
        assert (await here.cdr())["total_energy"] == Decimal(1)


async def test_plug_sensor_that_fails_cuts_the_current_and_what_was_drawn_is_billed(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        await here.tap(A)
        here.plug()
        await here.closed()
        await here.deliver(2_000)
        here.pins.lose(24)
        await here.opened()
        cdr = await here.cdr()
        assert (cdr["total_energy"], cdr["remark"]) == (Decimal(2), "Ended by a fault.")
        assert only(here.rows("session"))["ended_because"] == "plug-sensor-lost"


async def test_card_is_for_the_outlet_that_is_plugged_in(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}, evses=2, one_reader=True) as here, here.agent():
        here.plug(1)
        await here.says("Plugged in | Please tap card", evse=1)
        await here.tap(A)
        assert (here.is_closed(0), here.is_closed(1)) == (False, True)
        await here.deliver(3_000, evse=1)
        here.unplug(1)
        cdr = await here.cdr()
        assert (cdr["cdr_location"]["evse_uid"], cdr["total_energy"]) == (EVSES[1], Decimal(3))


async def test_two_cars_at_once_are_billed_each_its_own(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: NEVER, B: NEVER}, evses=2) as here, here.agent():
        here.plug(0)
        here.plug(1)
        await here.tap(A, 0)
        await here.tap(B, 1)
        await here.closed(0)
        await here.closed(1)
        await here.deliver(1_000, 0)
        await here.deliver(2_000, 1)
        here.unplug(0)
        await here.opened(0)
        assert here.is_closed(1)
        await here.deliver(2_000, 1)
        here.unplug(1)
        await until(lambda: len(here.emsp.cdrs) == 2)
        given = here.emsp.given_references
        assert {cdr["cdr_location"]["evse_uid"]: cdr["total_energy"] for cdr in here.emsp.cdrs.values()} == {
            EVSES[0]: Decimal(1),
            EVSES[1]: Decimal(4),
        }
        assert {cdr["cdr_token"]["uid"]: [cdr["authorization_reference"]] for cdr in here.emsp.cdrs.values()} == given


# ---- what comes late, or is cut off


async def test_charge_while_the_peer_is_down_is_told_and_billed_once_it_is_back(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        here.emsp.set_weather(Kind.DOWN)
        await here.charge(A, 5_000)
        await until(lambda: any(row["problem"] for row in here.rows("session_due")))
        assert (here.emsp.sessions, here.emsp.cdrs) == ({}, {})
        here.emsp.set_weather(Kind.FINE)
        cdr = await here.cdr()
        assert cdr["total_energy"] == Decimal(5)
        assert (await here.session(status="COMPLETED"))["id"] == cdr["session_id"]
        assert here.reports() == ["PUT sessions", "POST cdrs"]


async def test_reference_that_comes_late_joins_the_session_and_the_cdr(tmp_path: Path) -> None:
    release = asyncio.Event()
    cards = {A: {"whitelist": "ALLOWED_OFFLINE"}}
    async with charge_point(tmp_path, cards, policy=LATE) as here, here.agent():
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        settled = await here.tap(A)
        assert (settled.entry.reason, settled.entry.authorization_reference) == (Reason.TIMEOUT, None)
        here.plug()
        begun = await here.session(status="ACTIVE")
        assert "authorization_reference" not in begun

        release.set()
        await until(lambda: bool(here.emsp.given_references.get(A)))
        [reference] = here.emsp.given_references[A]
        await here.session(status="ACTIVE", authorization_reference=reference)
        here.unplug()
        cdr = await here.cdr()
        assert (cdr["authorization_reference"], cdr["auth_method"]) == (reference, "AUTH_REQUEST")
        assert only(here.rows("authorization"))["authorization_reference"] == reference


async def test_refusal_that_comes_late_may_end_the_charge_and_what_was_drawn_is_billed(tmp_path: Path) -> None:
    release = asyncio.Event()
    cards = {A: {"whitelist": "ALLOWED_OFFLINE", "allowed": "BLOCKED"}}
    policy = f'{LATE}\nlate_refusal = "stop"'
    async with charge_point(tmp_path, cards, policy=policy) as here, here.agent():
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        here.plug()
        await here.says("Plugged in | Please tap card")
        await here.tap(A)
        assert here.is_closed()
        await here.deliver(500)
        release.set()
        await here.opened()
        await here.says("Charging stopped | Card refused")
        cdr = await here.cdr()
        assert (cdr["total_energy"], cdr["remark"]) == (Decimal("0.5"), "Stopped, as the eMSP refused it later.")
        assert only(here.rows("session"))["ended_because"] == "late-refusal"


async def test_charge_goes_on_after_a_restart_of_the_agent_and_is_billed_once(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: NEVER}) as here:
        async with here.agent():
            await here.tap(A)
            here.plug()
            await here.closed()
            begun = await here.session(status="ACTIVE")
            await here.deliver(1_000)
        assert not here.is_closed()
        assert only(here.rows("session"))["ended_at"] is None

        async with here.agent():
            await here.closed()
            await here.says("Power is back | Charging resumed")
            await here.deliver(2_000)
            here.unplug()
            await here.opened()
            cdr = await here.cdr()
        assert (cdr["session_id"], cdr["total_energy"]) == (begun["id"], Decimal(3))
        assert cdr["authorization_reference"] == here.emsp.given_references[A][-1]
        assert cdr["remark"] == "Resumed after a power cut."
        assert here.emsp.sessions[begun["id"]]["status"] == "COMPLETED"
        assert len(here.rows("cdr")) == 1


async def test_charge_is_priced_by_the_tariff_that_it_began_with(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here:
        async with here.agent():
            await here.tap(A)
            here.plug()
            await here.closed()
            await here.deliver(1_000)
        tariff = tmp_path / "tariff.json"
        tariff.write_text(tariff.read_text().replace('"STANDARD"', '"NEW"').replace("0.5", "9.99"))
        async with here.agent():
            await here.closed()
            await here.deliver(1_000)
            here.unplug()
            cdr = await here.cdr()
        assert (cdr["total_energy"], cdr["total_cost"]) == (Decimal(2), price_of(Decimal(2)))
        assert cdr["tariffs"][0]["id"] == "STANDARD"


async def test_pulses_count_on_after_a_restart(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}, s0=True) as here:
        async with here.agent():
            await here.tap(A)
            here.plug()
            await here.closed()
            here.pulse(7)
            await here.reads(70)
        async with here.agent():
            await here.closed()
            here.pulse(3)
            await here.reads(100)
            here.unplug()
            assert (await here.cdr())["total_energy"] == Decimal("0.1")


async def test_car_that_went_while_the_agent_was_off_is_billed_up_to_then(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here:
        async with here.agent():
            await here.tap(A)
            here.plug()
            await here.closed()
            await here.deliver(1_000)
        here.unplug()
        async with here.agent():
            cdr = await here.cdr()
            assert not here.is_closed()
        assert cdr["total_energy"] == Decimal(1)
        assert only(here.rows("session"))["ended_because"] == "unplugged-while-off"
        assert here.switched == [(PINS[0], True), (PINS[0], False)]


# ---- operators


async def test_operator_ends_a_charge_with_a_command(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        await here.tap(A)
        here.plug()
        await here.closed()
        await here.deliver(500)
        stopped = await here.command("sessions", "stop", EVSES[0])
        assert (stopped.code, stopped.err) == (0, "")
        assert not here.is_closed()
        cdr = await here.cdr()
        assert (cdr["total_energy"], cdr["remark"]) == (Decimal("0.5"), "Stopped by the operator.")
        assert only(here.rows("session"))["ended_because"] == "operator"


async def test_cdr_that_the_peer_rejects_waits_for_the_operator_while_others_go_on(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS, B: ALWAYS}) as here, here.agent():
        here.emsp.reported.reject(None)
        await here.charge(A, 1_000)
        await until(lambda: [row["parked"] for row in here.rows("cdr_due")] == [1])
        here.emsp.reported.accept(None)
        await here.charge(B, 2_000)
        await until(lambda: [cdr["total_energy"] for cdr in here.emsp.cdrs.values()] == [Decimal(2)])

        parked = await here.command("cdrs", "list", "--parked", "--json")
        assert (parked.code, parked.err) == (0, "")
        rejected = json.loads(parked.out)
        assert "Rejected by the operator" in rejected["problem"]
        resent = await here.command("cdrs", "resend", "1")
        assert (resent.code, resent.err) == (0, "")
        await until(lambda: not here.rows("cdr_due"))
        assert [cdr["total_energy"] for cdr in here.emsp.cdrs.values()] == [Decimal(2), Decimal(1)]


async def test_bill_that_the_operator_takes_back_is_credited_at_the_peer(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: ALWAYS}) as here, here.agent():
        await here.charge(A, 1_000)
        billed = await here.cdr()
        credited = await here.command("cdrs", "credit", "1")
        assert (credited.code, credited.err) == (0, "")
        await until(lambda: len(here.emsp.cdrs) == 2)
        credit = here.emsp.cdrs[f"{billed['id']}-C"]
        assert (credit["credit"], credit["credit_reference_id"]) == (True, billed["id"])
        assert credit["total_cost"]["excl_vat"] == -billed["total_cost"]["excl_vat"]


async def test_without_billing_nobody_is_told_and_the_session_says_why(tmp_path: Path) -> None:
    async with charge_point(tmp_path, {A: NEVER}, billing="") as here, here.agent():
        await here.charge(A, 7_000)
        await until(lambda: [row["ended_because"] for row in here.rows("session")] == ["unplugged"])
        session = only(here.rows("session"))
        assert session["energy_wh"] == 7_000
        assert session["no_cdr"] == "billing is not configured: see [billing]"
        assert (here.reports(), here.rows("cdr")) == ([], [])


async def test_nothing_of_a_charge_that_is_logged_names_the_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agent")
    caplog.set_level(logging.DEBUG, "hw")
    async with charge_point(tmp_path, {A: NEVER}) as here, here.agent():
        await here.charge(A, 1_000)
        await here.cdr()
        assert "accepted" in caplog.text
        assert A not in caplog.text.upper()
        assert here.emsp.credentials_token not in caplog.text


# ---- whom it is for


@pytest.mark.parametrize("peer", ['owners = ["NL-XYZ"]', "hub = true"], ids=["backend", "hub"])
async def test_card_of_another_party_is_billed_by_way_of_the_peer_that_brought_it(tmp_path: Path, peer: str) -> None:
    cards = {A: {**NEVER, "country_code": "NL", "party_id": "XYZ"}}
    async with charge_point(tmp_path, cards, peer=peer, hub=True) as here, here.agent():
        await here.charge(A, 1_000)
        cdr = await here.cdr()
        assert [cdr["cdr_token"][name] for name in ("country_code", "party_id", "uid")] == ["NL", "XYZ", A]
        assert cdr["authorization_reference"] == here.emsp.given_references[A][-1]
        assert (await here.session(status="COMPLETED"))["cdr_token"] == cdr["cdr_token"]


def serving(port: int) -> str:
    return f"""
        [ocpi.server]
        enabled = true
        port = {port}
        public_url = "http://127.0.0.1:{port}/ocpi/cpo"
    """


async def registered(here: ChargePoint, emsp: FakeEmsp, uid: str) -> None:
    """Invite a peer that then registers with us, and have the agent pull its list."""
    emsp.device.credentials_token = ""
    invited = await here.command("peers", "invite", "acme")
    response = await emsp.register_with(shown(invited, "versions URL"), shown(invited, "token A"))
    assert response.status == 201
    find = here.alive.stores.whitelist.find
    async with asyncio.timeout(60):
        while not await find(Uid(uid)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_registered_peer_is_billed_and_pulls_its_own_charges_and_no_others(tmp_path: Path) -> None:
    known = emsp_with({B: NEVER}, party_id="ACM", reports=True, lenient_rotation=True)
    point = charge_point(tmp_path, {A: ALWAYS}, more=serving(free_port()))
    async with known as acme, point as here, here.agent():
        await registered(here, acme, B)
        await here.charge(A, 1_000)
        await here.cdr()
        await here.charge(B, 2_000)
        cdr = await here.cdr(acme)
        session = await here.session(acme, status="COMPLETED")
        assert (cdr["total_energy"], cdr["cdr_token"]["party_id"]) == (Decimal(2), "ACM")
        assert [one["cdr_token"]["party_id"] for one in here.emsp.cdrs.values()] == ["ABC"]

        endpoints = acme.relation.endpoints
        sessions = await acme.call("GET", f"{endpoints['sessions', 'SENDER']}?date_from=2020-01-01T00:00:00Z")
        cdrs = await acme.call("GET", endpoints["cdrs", "SENDER"])
        assert [pulled["id"] for pulled in sessions.data] == [session["id"]]
        assert [pulled["id"] for pulled in cdrs.data] == [cdr["id"]]
        assert [answer.headers["x-total-count"] for answer in (sessions, cdrs)] == ["1", "1"]
        assert acme.complaints == []
