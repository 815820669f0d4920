"""What a session and its CDR say: who, where, when, how much, and what must be known of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core import account as accounts
from agent.core.account import Account, Remark, begun
from agent.core.tariff_usage import Activity
from agent.model import Answer, EndReason, Entry, LateAnswer, Outcome, Reason, Recorded, Source, Verdict
from agent.ocpi.cdrs import CDR
from agent.ocpi.objects import encode
from agent.ocpi.sessions import SESSION, Session, SessionStatus, change
from agent.runtime.documents import _SENTENCES, Documents, credit_of, figures_of, never_billed
from agent.runtime.tariff_terms import read_tariff
from tests.unit import report_texts as texts

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
PLACE = CDR.decode(texts.CDR.encode()).cdr_location

ENERGY = {"type": "ENERGY", "price": 0.3, "vat": 20, "step_size": 1}
PARKING = {"type": "PARKING_TIME", "price": 2, "step_size": 1}
START = {"type": "FLAT", "price": 1.5, "step_size": 1}
FREE = {"type": "FLAT", "price": 0, "step_size": 0}


def element(*components: dict[str, Any], **restrictions: object) -> dict[str, Any]:
    return {"price_components": list(components), **({"restrictions": restrictions} if restrictions else {})}


def documents(*elements: dict[str, Any], meter_id: str | None = "M-1", **terms: object) -> Documents:
    fields = {
        "country_code": "DE",
        "party_id": "CPO",
        "id": "DAY",
        "currency": "EUR",
        "elements": list(elements) or [element(ENERGY)],
        "last_updated": "2026-01-01T00:00:00Z",
    }
    tariff = read_tariff(json.dumps(fields | terms).encode())
    return Documents(party=("DE", "CPO"), place=PLACE, tariff=tariff, tz=BERLIN, meter_id=meter_id)


def recorded(**changes: Any) -> Recorded:
    fields: dict[str, Any] = {
        "evse_uid": PLACE.evse_uid,
        "uid": "04A1B2C3",
        "reader": "front",
        "tapped_at": NOON,
        "verdict": Verdict.ACCEPTED,
        "reason": Reason.ALLOWED,
        "source": Source.REALTIME,
        "detail": "",
        "text": "",
        "relay_closed": True,
        "latency_ms": 1.0,
        "deadline_ms": 5000.0,
        "correlation_id": "c",
        "peer": "emsp",
        "country_code": "NL",
        "party_id": "EMS",
        "contract_id": "NL-EMS-C1",
        "authorization_reference": "ref-1",
        "token_uid": "04a1b2c3",
    }
    return Recorded(12, Entry(**fields | changes))


def late(*, joined: bool) -> LateAnswer:
    return LateAnswer(12, NOON, Answer("emsp", Outcome.ALLOWED), joined)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def running(papers: Documents, wh: int = 500, seconds: float = 1800) -> Account:
    return accounts.read(begun(NOON, 1000, has_meter=True), after(seconds), 1000 + wh, papers.pricing)


def over(papers: Documents, wh: int = 500, seconds: float = 1800, because: EndReason = EndReason.SAME_CARD) -> Account:
    start = begun(NOON, 1000, has_meter=True)
    return accounts.ended(start, after(seconds), 1000 + wh, papers.pricing, because)


def unmetered(papers: Documents, seconds: float = 1800) -> Account:
    return accounts.ended(begun(NOON, None, has_meter=False), after(seconds), None, papers.pricing, EndReason.SAME_CARD)


def session(papers: Documents, account: Account, facts: Recorded | None = None, *, ended: bool = False) -> Any:
    text = papers.session("s-1", facts or recorded(), account, ended=ended, changed_at=account.until)
    return json.loads(text, parse_float=Decimal)


def cdr(papers: Documents, account: Account, facts: Recorded | None = None) -> Any:
    text = papers.cdr("c-1", "s-1", facts or recorded(), account, changed_at=account.until)
    return json.loads(text, parse_float=Decimal)


# ---- who and where


def test_a_session_names_its_token_as_the_owner_writes_it() -> None:
    papers = documents()
    said = session(papers, running(papers))
    assert said["cdr_token"] == {
        "country_code": "NL",
        "party_id": "EMS",
        "uid": "04a1b2c3",
        "type": "RFID",
        "contract_id": "NL-EMS-C1",
    }
    assert said["authorization_reference"] == "ref-1"


def test_a_token_that_no_owner_wrote_differently_is_named_as_it_was_read() -> None:
    papers = documents()
    assert session(papers, running(papers), recorded(token_uid=None))["cdr_token"]["uid"] == "04A1B2C3"


def test_a_session_says_where_it_is() -> None:
    papers = documents()
    said = session(papers, running(papers))
    assert (said["location_id"], said["evse_uid"], said["connector_id"], said["meter_id"]) == (
        PLACE.id,
        PLACE.evse_uid,
        PLACE.connector_id,
        "M-1",
    )


@pytest.mark.parametrize(
    ("source", "joined", "method"),
    [
        (Source.REALTIME, (), "AUTH_REQUEST"),
        (Source.WHITELIST, (), "WHITELIST"),
        (Source.FALLBACK, (), "WHITELIST"),
        (Source.FALLBACK, (late(joined=False),), "WHITELIST"),
        (Source.FALLBACK, (late(joined=True),), "AUTH_REQUEST"),
    ],
)
def test_the_method_is_who_decided_last(source: Source, joined: tuple[LateAnswer, ...], method: str) -> None:
    papers = documents()
    facts = replace(recorded(source=source), late=joined)
    assert session(papers, running(papers), facts)["auth_method"] == method
    assert cdr(papers, over(papers), facts)["auth_method"] == method


@pytest.mark.parametrize("missing", ["country_code", "party_id", "contract_id"])
def test_a_card_of_unknown_owner_can_not_be_billed(missing: str) -> None:
    papers = documents()
    why = papers.why_none(recorded(**{missing: None}))
    assert why is not None
    assert missing.split("_", maxsplit=1)[0] in why


def test_a_card_of_a_known_owner_can_be_billed() -> None:
    assert documents().why_none(recorded()) is None


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (("party_id",), "its party is not known"),
        (("country_code", "party_id"), "its country and party are not known"),
        (("country_code", "party_id", "contract_id"), "its country, party and contract are not known"),
    ],
)
def test_what_is_not_known_of_an_owner_is_said_in_plain_words(missing: tuple[str, ...], words: str) -> None:
    why = documents().why_none(recorded(**dict.fromkeys(missing)))
    assert why == f"the card's owner can't be billed: {words}"


@pytest.mark.parametrize(
    "changes", [{"country_code": "Netherlands"}, {"token_uid": "04A1\n"}, {"authorization_reference": "x" * 300}]
)
def test_what_ocpi_does_not_allow_of_a_card_is_said_without_its_uid(changes: dict[str, str]) -> None:
    why = documents().why_none(recorded(**changes))
    assert why is not None
    assert "04A1" not in why
    assert next(iter(changes)).removeprefix("token_") in why


def test_an_empty_reference_is_none() -> None:
    papers = documents()
    assert "authorization_reference" not in session(papers, running(papers), recorded(authorization_reference=""))


# ---- a session that nobody is billed for


def test_a_session_that_is_not_billed_is_invalid_and_costs_nothing() -> None:
    papers = documents(element(ENERGY, START))
    ended = over(papers)
    text = papers.session("s-1", recorded(), ended, ended=True, changed_at=ended.until, billed=False)
    said = SESSION.decode(text)
    assert (said.status, said.total_cost, said.end_date_time) == (SessionStatus.INVALID, None, ended.until)
    assert said.charging_periods


def test_a_session_that_was_told_becomes_invalid_without_its_tariff() -> None:
    papers = documents(element(ENERGY, START))
    account = running(papers, wh=500)
    told = papers.session("s-1", recorded(), account, ended=False, changed_at=account.until)
    ended = over(papers, wh=700, seconds=3600)
    said = SESSION.decode(never_billed(told, ended, after(3601)))
    assert (said.id, said.cdr_token, said.authorization_reference) == ("s-1", SESSION.decode(told).cdr_token, "ref-1")
    assert (said.status, said.total_cost, said.charging_periods) == (SessionStatus.INVALID, None, ())
    assert (said.kwh, said.end_date_time, said.last_updated) == (Decimal("0.7"), after(3600), after(3601))


def test_what_is_no_session_can_not_become_an_invalid_one() -> None:
    with pytest.raises(ValueError, match="country_code"):
        never_billed(b"{}", over(documents()), NOON)


# ---- a session


def test_a_running_session_leaves_out_the_period_that_still_grows() -> None:
    papers = documents()
    said = session(papers, running(papers))
    assert (said["status"], said["kwh"], said.get("charging_periods"), said.get("end_date_time")) == (
        "ACTIVE",
        Decimal("0.500"),
        None,
        None,
    )
    assert said["total_cost"] == {"excl_vat": Decimal("0.1500"), "incl_vat": Decimal("0.1800")}


def test_a_running_session_lists_what_is_complete() -> None:
    papers = documents(element(ENERGY, PARKING))
    account = accounts.turned(running(papers), after(1800), Activity.PARKING, 1500, papers.pricing)
    account = accounts.read(account, after(2400), 1500, papers.pricing)
    assert session(papers, account)["charging_periods"] == [
        {
            "start_date_time": "2026-03-02T12:00:00Z",
            "dimensions": [
                {"type": "TIME", "volume": Decimal("0.5")},
                {"type": "ENERGY", "volume": Decimal("0.5")},
            ],
            "tariff_id": "DAY",
        }
    ]


def test_an_ended_session_lists_everything() -> None:
    papers = documents(element(ENERGY, PARKING))
    account = accounts.turned(running(papers), after(1800), Activity.PARKING, 1500, papers.pricing)
    account = accounts.ended(account, after(2400), 1500, papers.pricing, EndReason.UNPLUGGED)
    said = session(papers, account, ended=True)
    assert (said["status"], said["end_date_time"]) == ("COMPLETED", "2026-03-02T12:40:00Z")
    assert said["charging_periods"][1]["dimensions"] == [
        {"type": "PARKING_TIME", "volume": Decimal("0.1667")},
        {"type": "ENERGY", "volume": 0},
    ]


def test_a_cost_counts_the_silence_of_the_meter_before_it_is_over() -> None:
    papers = documents(element({"type": "TIME", "price": 6, "step_size": 1}))
    account = accounts.read(running(papers), after(1860), None, papers.pricing)
    account = accounts.turned(account, after(3600), Activity.CHARGING, None, papers.pricing)
    assert session(papers, account)["total_cost"]["excl_vat"] == 6


def test_periods_of_a_silence_are_not_told_before_it_is_over() -> None:
    papers = documents(element(ENERGY, end_time="13:40"), element({**ENERGY, "price": 1}))
    account = accounts.read(running(papers), after(1860), None, papers.pricing)
    account = accounts.turned(account, after(3600), Activity.CHARGING, None, papers.pricing)
    assert "charging_periods" not in session(papers, account)
    account = accounts.read(account, after(3660), 2500, papers.pricing)
    assert [part["volume"] for part in session(papers, account)["charging_periods"][0]["dimensions"]] == [
        Decimal("0.6667"),
        Decimal("0.8226"),
    ]


def test_a_cost_that_a_reading_may_still_take_back_is_not_told() -> None:
    hour = {"type": "TIME", "price": 6, "step_size": 1}
    papers = documents(element({**hour, "price": 0}, max_power=11), element(hour))
    account = accounts.read(begun(NOON, 1000, has_meter=True), NOON, None, papers.pricing)
    account = accounts.turned(account, after(1800), Activity.CHARGING, None, papers.pricing)
    assert "total_cost" not in session(papers, account)
    assert "total_cost" not in session(papers, accounts.read(account, after(3600), 2000, papers.pricing))


# ---- what costs nothing, and what is free


def test_nothing_is_said_of_the_cost_before_anything_was_consumed() -> None:
    papers = documents()
    assert "total_cost" not in session(papers, begun(NOON, 1000, has_meter=True))
    assert "total_cost" not in session(papers, running(papers, wh=0))
    assert "total_cost" not in session(papers, over(papers, wh=0), ended=True)


def test_a_free_tariff_says_so_from_the_start() -> None:
    papers = documents(element(FREE))
    assert session(papers, begun(NOON, 1000, has_meter=True))["total_cost"] == {"excl_vat": 0}
    assert cdr(papers, over(papers))["total_cost"] == {"excl_vat": 0}
    assert "remark" not in cdr(papers, over(papers))


def test_a_minimum_price_is_owed_for_nothing() -> None:
    papers = documents(min_price={"excl_vat": 2})
    assert session(papers, over(papers, wh=0), ended=True)["total_cost"]["excl_vat"] == 2


def test_a_start_fee_is_owed_for_no_time() -> None:
    papers = documents(element(START))
    said = cdr(papers, over(papers, wh=0, seconds=0))
    assert (said["total_cost"]["excl_vat"], said["total_fixed_cost"]["excl_vat"]) == (Decimal("1.5"), Decimal("1.5"))
    assert len(said["charging_periods"]) == 1


def test_a_cdr_in_which_nothing_has_a_price_says_that_it_is_not_free() -> None:
    papers = documents(element(PARKING))
    said = cdr(papers, over(papers))
    assert said["total_cost"] == {"excl_vat": 0}
    assert "does not mean free of charge" in said["remark"]
    assert "total_energy_cost" not in said


def test_a_cdr_of_nothing_drawn_costs_nothing_without_a_remark() -> None:
    papers = documents()
    said = cdr(papers, over(papers, wh=0))
    assert (said["total_energy_cost"]["excl_vat"], said.get("remark")) == (0, None)


def test_a_cdr_of_energy_that_nobody_measured_says_that_it_is_not_free() -> None:
    papers = documents()
    said = cdr(papers, unmetered(papers))
    assert said["total_cost"]["excl_vat"] == 0
    assert "total_energy_cost" not in said
    assert said["remark"] == (
        "What was drawn is not known: a total_cost of 0 does not mean free of charge."
        " No energy meter: energy was not measured."
    )


def test_a_cdr_of_energy_that_nobody_measured_is_free_where_the_tariff_is() -> None:
    papers = documents(element({**ENERGY, "price": 0}))
    assert cdr(papers, unmetered(papers))["remark"] == "No energy meter: energy was not measured."


def test_a_tariff_that_was_not_valid_stands_in_no_cdr() -> None:
    papers = documents(start_date_time="2026-06-01T00:00:00Z")
    said = cdr(papers, over(papers))
    assert "tariffs" not in said
    assert "tariff_id" not in said["charging_periods"][0]
    assert said["remark"].startswith("No tariff was valid")


# ---- a CDR


def test_a_cdr_has_the_costs_and_totals_and_the_tariff_that_they_come_from() -> None:
    papers = documents(element(ENERGY, PARKING, START))
    account = accounts.turned(running(papers), after(1800), Activity.PARKING, 1500, papers.pricing)
    account = accounts.ended(account, after(3600), 1500, papers.pricing, EndReason.UNPLUGGED)
    said = cdr(papers, account)
    assert (said["total_energy"], said["total_time"], said["total_parking_time"]) == (Decimal("0.5"), 1, Decimal("0.5"))
    assert (said["total_fixed_cost"], said["total_parking_cost"]) == ({"excl_vat": Decimal("1.5")}, {"excl_vat": 1})
    assert said["total_energy_cost"] == {"excl_vat": Decimal("0.15"), "incl_vat": Decimal("0.18")}
    assert said["total_cost"] == {"excl_vat": Decimal("2.65"), "incl_vat": Decimal("2.68")}
    assert [tariff["id"] for tariff in said["tariffs"]] == ["DAY"]
    assert (said["id"], said["session_id"], said["authorization_reference"]) == ("c-1", "s-1", "ref-1")


def test_without_a_meter_no_energy_is_named() -> None:
    papers = documents(element(ENERGY, START))
    said = cdr(papers, unmetered(papers))
    assert said["charging_periods"][0]["dimensions"] == [{"type": "TIME", "volume": Decimal("0.5")}]
    assert (said["total_energy"], "meter_id" in said) == (0, False)
    assert said["remark"] == "No energy meter: energy was not measured."


def test_a_period_before_the_first_reading_has_no_energy() -> None:
    papers = documents(element(ENERGY, end_time="13:30"), element({**ENERGY, "price": 1}))
    account = accounts.read(begun(NOON, None, has_meter=True), after(1800), 1000, papers.pricing)
    account = accounts.ended(account, after(3600), 1200, papers.pricing, EndReason.SAME_CARD)
    kinds = [[part["type"] for part in period["dimensions"]] for period in cdr(papers, account)["charging_periods"]]
    assert kinds == [["TIME"], ["TIME", "ENERGY"]]


def test_the_power_stands_there_where_a_price_depends_on_it() -> None:
    papers = documents(element(ENERGY, max_power=11), element({**ENERGY, "price": 1}))
    assert cdr(papers, over(papers))["charging_periods"][0]["dimensions"][2:] == [
        {"type": "MIN_POWER", "volume": 1},
        {"type": "MAX_POWER", "volume": 1},
    ]


def test_a_power_that_nobody_measured_stands_nowhere() -> None:
    papers = documents(element(ENERGY, max_power=11), element({**ENERGY, "price": 1}))
    assert len(cdr(papers, unmetered(papers))["charging_periods"][0]["dimensions"]) == 1


def test_a_power_cut_is_in_no_time_and_in_the_remark() -> None:
    papers = documents()
    account = accounts.resumed(running(papers), after(5400))
    account = accounts.ended(account, after(7200), 2000, papers.pricing, EndReason.SAME_CARD)
    said = cdr(papers, account)
    assert (said["total_time"], said["total_energy"], said["end_date_time"]) == (1, 1, "2026-03-02T14:00:00Z")
    assert said["remark"] == "Resumed after a power cut."


def test_every_remark_has_its_sentence() -> None:
    assert set(_SENTENCES) == set(Remark)


def test_a_remark_keeps_whole_sentences_within_its_255_characters() -> None:
    papers = documents(element(PARKING))
    said = cdr(papers, replace(over(papers), remarks=tuple(Remark)))["remark"]
    assert len(said) <= 255
    assert said.startswith(
        "The tariff has no price for this: a total_cost of 0 does not mean free of charge. No energy"
    )
    assert said.endswith(".")


def test_all_that_can_be_said_of_one_metered_session_fits() -> None:
    papers = documents()
    apart = {Remark.NO_METER, Remark.STOPPED_BY_OPERATOR, Remark.FAULT, Remark.SHUTDOWN, Remark.LATE_REFUSAL}
    together = tuple(remark for remark in Remark if remark not in apart)
    said = cdr(papers, replace(over(papers), remarks=together))["remark"]
    assert all(_SENTENCES[remark] in said for remark in together)


def test_the_same_cdr_is_the_same_bytes() -> None:
    papers = documents()
    first, second = (papers.cdr("c-1", "s-1", recorded(), over(papers), changed_at=after(1800)) for _ in range(2))
    assert first == second


# ---- credits and figures


def test_a_credit_takes_back_the_total_and_nothing_else() -> None:
    papers = documents()
    original = papers.cdr("c-1", "s-1", recorded(), over(papers), changed_at=after(1800))
    cdr_id, credit = credit_of(original, after(9000))
    said, before = json.loads(credit), json.loads(original)
    assert (cdr_id, said["id"], said["credit"], said["credit_reference_id"]) == ("c-1-C", "c-1-C", True, "c-1")
    assert said["total_cost"] == {"excl_vat": -0.15, "incl_vat": -0.18}
    changed = {"id", "credit", "credit_reference_id", "total_cost", "last_updated"}
    assert {name: said[name] for name in said.keys() - changed} == {
        name: before[name] for name in before.keys() - changed
    }


def test_a_credit_is_not_credited() -> None:
    papers = documents()
    _, credit = credit_of(papers.cdr("c-1", "s-1", recorded(), over(papers), changed_at=NOON), NOON)
    with pytest.raises(ValueError, match="no credit itself"):
        credit_of(credit, NOON)


def test_the_figures_of_a_session_and_of_its_cdr_are_the_same() -> None:
    papers = documents()
    account = over(papers)
    ended = figures_of(papers.session("s-1", recorded(), account, ended=True, changed_at=NOON))
    sealed = figures_of(papers.cdr("c-1", "s-1", recorded(), account, changed_at=NOON))
    assert ended == sealed
    assert (ended.kwh, ended.currency, ended.excl_vat, ended.incl_vat, ended.ended_at) == (
        Decimal("0.5"),
        "EUR",
        Decimal("0.15"),
        Decimal("0.18"),
        after(1800),
    )


def test_the_figures_of_a_session_without_a_cost_have_none() -> None:
    papers = documents()
    text = papers.session("s-1", recorded(), begun(NOON, 1000, has_meter=True), ended=False, changed_at=NOON)
    assert (figures_of(text).excl_vat, figures_of(text).ended_at) == (None, None)


def test_a_credit_has_negative_figures() -> None:
    papers = documents()
    _, credit = credit_of(papers.cdr("c-1", "s-1", recorded(), over(papers), changed_at=NOON), NOON)
    assert (figures_of(credit).excl_vat, figures_of(credit).is_credit) == (Decimal("-0.15"), True)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"start_date_time": "2026-01-01T00:00:00Z", "currency": "EUR"}'])
def test_what_is_neither_session_nor_cdr_has_no_figures(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whatever is missing of it
        figures_of(text)


# ---- whatever happens in a session

prices = st.sampled_from([0, 0.001, 0.25, 3])
components = st.builds(
    lambda kind, price, step, vat: {"type": kind, "price": price, "step_size": step, **({"vat": vat} if vat else {})},
    st.sampled_from(["ENERGY", "FLAT", "TIME", "PARKING_TIME"]),
    prices,
    st.sampled_from([0, 1, 900, 2500]),
    st.sampled_from([None, 20]),
)
restrictions = st.fixed_dictionaries(
    {},
    optional={
        "start_time": st.sampled_from(["13:10", "13:30"]),
        "end_time": st.sampled_from(["13:20", "14:00"]),
        "min_kwh": st.sampled_from([0, 0.1, 0.5]),
        "max_kwh": st.sampled_from([0.3, 2]),
        "min_power": st.sampled_from([0, 4, 11]),
        "max_power": st.sampled_from([4, 11]),
        "min_duration": st.sampled_from([0, 600, 3600]),
        "max_duration": st.sampled_from([60, 1800]),
    },
)
elements = st.lists(
    st.builds(
        lambda parts, known: element(*parts, **known), st.lists(components, min_size=1, max_size=3), restrictions
    ),
    min_size=1,
    max_size=3,
)
limits = st.fixed_dictionaries(
    {}, optional={"min_price": st.just({"excl_vat": 1}), "max_price": st.just({"excl_vat": 2})}
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["read", "read", "read", "silent", "same", "charging", "parking", "resumed", "disk"]),
        st.sampled_from([0, 0.4, 1, 30, 61, 700, 2000]),
        st.sampled_from([0, 0, 1, 7, 250, 3000, -900]),
    ),
    max_size=12,
)
on_a_slow_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def stepped(account: Account, papers: Documents, kind: str, seconds: float, register_wh: int | None) -> Account:
    pricing = papers.pricing
    at = account.until + timedelta(seconds=seconds)
    ways: dict[str, Callable[[], Account]] = {
        "read": lambda: accounts.read(account, at, register_wh, pricing),
        "silent": lambda: accounts.read(account, at, None, pricing),
        "same": lambda: accounts.turned(account, at, account.activity, None, pricing),
        "charging": lambda: accounts.turned(account, at, Activity.CHARGING, register_wh, pricing),
        "parking": lambda: accounts.turned(account, at, Activity.PARKING, account.register_wh, pricing),
        "resumed": lambda: accounts.resumed(account, at),
        "disk": lambda: accounts.from_json(accounts.to_json(account)),
    }
    return ways[kind]()


def history(
    papers: Documents, start: int | None, told: list[tuple[str, float, int]], *, has_meter: bool
) -> list[Account]:
    states = [begun(NOON, start, has_meter=has_meter)]
    register_wh = start or 0
    for kind, seconds, drawn in told:
        register_wh = max(0, register_wh + drawn)
        states.append(stepped(states[-1], papers, kind, seconds, register_wh if has_meter else None))
    return states


@given(parts=elements, terms=limits, start=st.none() | st.just(5000), has_meter=st.booleans(), told=steps)
@on_a_slow_machine
def test_a_running_session_is_told_by_patches_alone(
    *, parts: list[Any], terms: Any, start: int | None, has_meter: bool, told: list[tuple[str, float, int]]
) -> None:
    papers = documents(*parts, **terms)
    states = history(papers, start if has_meter else None, told, has_meter=has_meter)
    last = accounts.ended(states[-1], states[-1].until, None, papers.pricing, EndReason.SAME_CARD)
    texts = [papers.session("s", recorded(), state, ended=False, changed_at=state.until) for state in states]
    said = [SESSION.decode(text) for text in texts]
    for known, now in pairwise(said):
        assert patched(known, now) == now
    final = SESSION.decode(papers.session("s", recorded(), last, ended=True, changed_at=last.until))
    assert patched(said[-1], final) == final


def patched(known: Session, now: Session) -> Session | None:
    """What a receiver has after the change."""
    patch = change(known, now)
    if patch is None:
        return None
    given = {name: getattr(patch, name) for name in patch.__struct_fields__ if getattr(patch, name) is not None}
    given["charging_periods"] = known.charging_periods + patch.charging_periods
    return SESSION.decode(encode(msgspec.structs.replace(known, **given)))


@given(parts=elements, terms=limits, start=st.none() | st.just(5000), has_meter=st.booleans(), told=steps)
@on_a_slow_machine
def test_a_cdr_has_all_time_and_all_energy_once(
    *, parts: list[Any], terms: Any, start: int | None, has_meter: bool, told: list[tuple[str, float, int]]
) -> None:
    papers = documents(*parts, **terms)
    states = history(papers, start if has_meter else None, told, has_meter=has_meter)
    away = sum(seconds for kind, seconds, _ in told if kind == "resumed")
    account = accounts.ended(states[-1], states[-1].until, None, papers.pricing, EndReason.SAME_CARD)
    lasted = sum((period.duration for period in account.periods), timedelta())
    assert lasted == account.until - account.started_at - timedelta(seconds=away)
    sealed = CDR.decode(papers.cdr("c", "s", recorded(), account, changed_at=account.until))
    energies = [
        part.volume for period in sealed.charging_periods for part in period.dimensions if part.type == "ENERGY"
    ]
    assert sum(energies) == sealed.total_energy == Decimal(account.energy_wh or 0) / 1000


@given(
    parts=elements, has_meter=st.booleans(), told=steps, seconds=st.sampled_from([-7200, -1, 0.5, 900, 1_700_000_000])
)
@on_a_slow_machine
def test_a_clock_put_right_loses_nothing(
    *, parts: list[Any], has_meter: bool, told: list[tuple[str, float, int]], seconds: float
) -> None:
    papers = documents(*parts)
    account = history(papers, 5000 if has_meter else None, told, has_meter=has_meter)[-1]
    by = timedelta(seconds=seconds)
    right = accounts.settled(accounts.moved(account, by, papers.pricing), papers.pricing)
    wrong = accounts.settled(account, papers.pricing)
    assert (right.started_at, right.until) == (wrong.started_at + by, wrong.until + by)
    assert sum(period.energy_kwh for period in right.periods) == sum(period.energy_kwh for period in wrong.periods)
    assert sum((period.duration for period in right.periods), timedelta()) == sum(
        (period.duration for period in wrong.periods), timedelta()
    )
