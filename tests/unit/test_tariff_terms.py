"""The operator's own tariff: every field of it counts, or is an error that names it."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from agent.core import tariff as core
from agent.runtime.tariff_terms import read_tariff, terms_of
from tests.unit import report_texts as texts


def plain() -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "CPO",
        "id": "DAY",
        "currency": "EUR",
        "elements": [
            {
                "price_components": [{"type": "ENERGY", "price": 0.3, "vat": 19, "step_size": 1}],
                "restrictions": {"start_date": "2026-01-01", "day_of_week": ["MONDAY"]},
            }
        ],
        "last_updated": "2026-01-01T00:00:00Z",
    }


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda tariff: tariff.pop(name)


def component(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda tariff: tariff["elements"][0]["price_components"][0].update(changes)


def restriction(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda tariff: tariff["elements"][0]["restrictions"].update(changes)


def test_every_term_of_a_tariff_is_taken_over() -> None:
    terms = terms_of(read_tariff(texts.TARIFF.encode()))
    assert (terms.id, terms.currency, terms.type) == ("KAI-DAY", "NOK", "PROFILE_GREEN")
    assert terms.min_price == core.Price(Decimal(20), Decimal("25.0"))
    assert terms.max_price == core.Price(Decimal(480), Decimal(600))
    assert terms.start_date_time == datetime(2026, 1, 31, 23, tzinfo=UTC)
    assert terms.end_date_time == datetime(2026, 11, 30, 22, 59, 59, tzinfo=UTC)
    assert terms.elements[0] == core.TariffElement(
        (
            core.PriceComponent("FLAT", Decimal("9.50"), 1, Decimal(25)),
            core.PriceComponent("ENERGY", Decimal("3.4375"), 10, Decimal(25)),
        ),
        core.Restrictions(
            start_time=time(6, 30),
            end_time=time(22, 45),
            start_date=date(2026, 2, 1),
            end_date=date(2026, 11, 30),
            min_kwh=Decimal(0),
            max_kwh=Decimal("62.500"),
            min_current=Decimal(6),
            max_current=Decimal("96.25"),
            min_power=Decimal("1.38"),
            max_power=Decimal("66.24"),
            min_duration=0,
            max_duration=28800,
            day_of_week=frozenset({"TUESDAY", "SUNDAY"}),
            reservation="RESERVATION",
        ),
    )


def test_a_tariff_that_leaves_out_what_it_may_has_no_such_terms() -> None:
    terms = terms_of(read_tariff(texts.BARE_TARIFF.encode()))
    assert (terms.type, terms.min_price, terms.elements[0].restrictions) == (None, None, core.UNRESTRICTED)
    assert core.is_free(terms)


def test_a_price_keeps_its_digits() -> None:
    text = json.dumps(plain()).replace("0.3", "0.2999")
    assert terms_of(read_tariff(text.encode())).elements[0].price_components[0].price == Decimal("0.2999")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("currency"), "the tariff: object missing required field `currency`"),
        (lambda tariff: tariff.update(currency="euro"), "^currency: expected"),
        (lambda tariff: tariff.update(elements=[]), "^elements: expected"),
        (lambda tariff: tariff.update(prices=[]), "^prices: not a field of OCPI 2.2.1 Tariff; expected one of"),
        (component(type="POWER"), r"^elements.+\.type: .+'POWER'; expected one of ENERGY, FLAT"),
        (component(pryce=1), r"^elements\[0\].price_components\[0\].pryce: not a field of OCPI 2.2.1 PriceComponent"),
        (component(price=0.30001), r"^elements\[0\].price_components\[0\].price: expected at most 4 decimals"),
        (component(step_size=-1), "step_size: expected"),
        (component(step_size=1.5), "step_size: expected"),
        (restriction(min_kw=5), r"^elements\[0\].restrictions.min_kw: not a field of OCPI 2.2.1 TariffRestrictions"),
        (restriction(day_of_week=["FUNDAY"]), "day_of_week.+'FUNDAY'; expected one of MONDAY"),
        (restriction(start_time="7:00"), "start_time: expected"),
        (restriction(end_date="2026-02-30"), r"^elements\[0\].restrictions.end_date: expected a date of the calendar"),
        (restriction(reservation="MAYBE"), "reservation: .+'MAYBE'; expected one of RESERVATION"),
    ],
)
def test_what_would_price_nothing_is_named(spoil: Callable[[dict[str, Any]], object], said: str) -> None:
    tariff = plain()
    spoil(tariff)
    with pytest.raises(ValueError, match=said):
        read_tariff(json.dumps(tariff).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"\xff\xfe", b'{"id": "\xff"}'])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="the tariff: "):
        read_tariff(text)
