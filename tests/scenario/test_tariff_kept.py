"""A charge is priced to its end by the tariff that it began with, whatever the configuration says meanwhile."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.charges import Open
from agent.model import EndReason
from agent.runtime.documents import Documents
from tests.scenario.ledger_books import DAY, NIGHT, Books, books_in, written_by


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with books_in(tmp_path) as books:
        books.machine.is_set = True
        yield books


async def left_running(books: Books, papers: Documents | None) -> Open:
    """A charge of half an hour, which a kill leaves on disk."""
    ledger = books.ledger(papers)
    await books.begun(ledger)
    books.machine.passes(1800)
    ledger.keep(books.machine.up_s, 53_500)
    await ledger.stop(9.0)
    [left] = await books.state.sessions.open()
    return left


async def resumed_and_ended(books: Books, left: Open, papers: Documents | None) -> int:
    """The next start goes on with it, for another half hour."""
    ledger = books.ledger(papers)
    ledger.found(left)
    ledger.resume(books.machine.up_s)
    books.machine.passes(1800)
    ledger.end(books.machine.up_s, 57_000, EndReason.UNPLUGGED)
    await ledger.settled()
    return left.authorization.id


async def test_charge_is_priced_by_the_tariff_that_it_began_with_after_a_start_with_another(books: Books) -> None:
    number = await resumed_and_ended(books, await left_running(books, DAY), NIGHT)
    cdr = await books.cdr(number)
    assert (cdr["currency"], [one["id"] for one in cdr["tariffs"]]) == ("EUR", ["DAY"])
    assert {period["tariff_id"] for period in cdr["charging_periods"]} == {"DAY"}
    assert cdr["total_cost"]["excl_vat"] == 2.1


async def test_charge_that_began_to_be_billed_is_billed_although_billing_is_configured_no_more(books: Books) -> None:
    number = await resumed_and_ended(books, await left_running(books, DAY), None)
    assert (await books.cdr(number))["tariffs"][0]["id"] == "DAY"


async def test_charge_that_began_without_billing_stays_without_it(books: Books) -> None:
    number = await resumed_and_ended(books, await left_running(books, None), NIGHT)
    ended = await books.session(number)
    assert (await books.cdr(number), ended.object, ended.energy_wh) == (None, None, 7000)
    assert ended.no_cdr == "billing is not configured: see [billing]"


async def test_charge_whose_tariff_can_not_be_used_any_more_says_so(books: Books) -> None:
    left = await left_running(books, DAY)
    ledger = books.ledger(NIGHT, documents_by=lambda _: "the tariff that it began with can't be used any more")
    ledger.found(left)
    ledger.end(None, None, EndReason.OFF_TOO_LONG)
    await ledger.settled()
    ended = await books.session(left.authorization.id)
    assert (ended.no_cdr, ended.energy_wh) == ("the tariff that it began with can't be used any more", 3500)
    assert await books.cdr(left.authorization.id) is None


async def test_charge_that_nobody_can_be_billed_for_any_more_is_over_for_its_peer_too(books: Books) -> None:
    left = await left_running(books, DAY)
    [told] = await books.state.sessions.due()
    assert b'"status":"ACTIVE"' in told.object
    await books.state.sessions.told(told.authorization_id, told.revision)
    ledger = books.ledger(NIGHT, documents_by=lambda _: "the tariff that it began with can't be used any more")
    ledger.found(left)
    ledger.end(None, None, EndReason.OFF_TOO_LONG)
    await ledger.settled()
    [due] = await books.state.sessions.due()
    over = json.loads(due.object)
    assert (over["status"], over["kwh"], "total_cost" in over) == ("INVALID", 3.5, False)
    assert (await books.state.sessions.sessions_of(due.peer, None, None, 0, 10)).objects == (due.object,)


async def test_charge_that_begins_after_the_change_has_the_new_tariff(books: Books) -> None:
    await resumed_and_ended(books, await left_running(books, DAY), NIGHT)
    number = await books.charged(ledger=books.ledger(NIGHT))
    assert (await books.cdr(number))["currency"] == "SEK"
    assert (await books.session(number)).tariff == NIGHT.tariff


async def test_tariff_that_is_kept_reads_back_as_the_very_same(books: Books) -> None:
    left = await left_running(books, DAY)
    assert left.session is not None
    again = written_by(left.session.tariff or b"")
    assert not isinstance(again, str)
    assert (again.tariff, again.pricing) == (DAY.tariff, DAY.pricing)
