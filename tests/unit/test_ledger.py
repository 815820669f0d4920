"""The books of one EVSE: what is persisted, what is told, and how it ends; in virtual time."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agent.core.account import from_json
from agent.core.evse_effects import Period
from agent.model import (
    Answer,
    EndReason,
    LateAnswer,
    Outcome,
    Reason,
    Source,
    Token,
    TokenType,
    WhitelistType,
)
from agent.ocpi.cdrs import CDR
from agent.ocpi.sessions import SESSION
from agent.runtime.records_queue import RETRY_S
from tests.scenario.virtual_time import NOW, played
from tests.unit.ledger_books import BOOKS, REFUSED, Books, entry

# ---- how often is persisted and told


@played
async def test_energy_is_persisted_before_more_than_configured_could_be_lost() -> None:
    books = Books()
    await books.begin()
    for step in range(1, 31):
        await books.read(10_000 + 10 * step)
        await books.ledger.settled()
        lost = 10 * step - (books.persisted_wh() or 0)
        assert lost + 10 <= BOOKS.persist_energy_wh
    await books.close()


@played
async def test_little_energy_is_not_persisted_at_every_reading() -> None:
    books = Books()
    await books.begin()
    await books.read(10_010)
    await books.read(10_020)
    await books.ledger.settled()
    assert books.persisted_wh() == 0
    await books.close()


@played
async def test_time_is_persisted_without_any_reading() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(BOOKS.persist_every_s + 1.0)
    account = from_json(books.journal.sessions[1].account)
    assert (account.until - account.started_at).total_seconds() == pytest.approx(BOOKS.persist_every_s)
    await books.close()


@played
async def test_slow_energy_is_persisted_by_time() -> None:
    books = Books()
    await books.begin()
    for step in range(1, 14):
        await books.read(10_000 + step, after_s=10.0)
    await books.ledger.settled()
    assert (books.persisted_wh() or 0) >= 11
    await books.close()


@played
async def test_session_that_ended_is_persisted_by_time_no_more() -> None:
    books = Books()
    await books.begin()
    books.ledger.end(books.now, 10_000, EndReason.UNPLUGGED)
    await books.ledger.settled()
    ended = books.journal.sessions[1]
    await asyncio.sleep(10 * BOOKS.persist_every_s)
    assert books.journal.sessions[1] is ended
    await books.close()


@played
async def test_long_silence_between_reports_is_broken_after_the_configured_time() -> None:
    books = Books(replace(BOOKS, report_every_s=300.0))
    await books.begin()
    await asyncio.sleep(1000.0)
    assert len(books.journal.told) == 3
    await books.close()


@played
async def test_many_changes_while_the_disk_is_busy_are_written_once() -> None:
    books = Books()
    await books.begin()
    books.journal.stalls_s = 5.0
    for step in range(1, 11):
        await books.read(10_000 + 500 * step, after_s=0.1)
    books.journal.stalls_s = 0.0
    await books.ledger.settled()
    assert books.persisted_wh() == 5000
    assert len(books.journal.told) == 2
    await books.close()


@played
async def test_change_of_what_the_time_is_spent_on_is_persisted_and_told_at_once() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(10.0)
    books.ledger.turn(books.now, Period.PARKING, 10_005)
    await books.ledger.settled()
    assert books.persisted_wh() == 5
    assert len(books.journal.told) == 2
    await books.close()


# ---- ends


@played
async def test_end_is_one_write_with_its_cdr_and_the_tap_that_brought_it() -> None:
    books = Books()
    number = await books.begin()
    await books.read(10_500)
    stop = entry(**REFUSED, ends=number, end_reason=EndReason.SAME_CARD)
    done = books.ledger.end(books.now, 10_600, EndReason.SAME_CARD, stop)
    assert await done == 2
    assert books.persisted_wh() == 600
    assert [made.authorization_id for made in books.journal.cdrs] == [1]
    assert books.journal.committed[2] == stop
    await books.close()


@played
async def test_end_while_a_change_waits_for_the_disk_is_the_last_word() -> None:
    books = Books()
    await books.begin()
    books.journal.stalls_s = 2.0
    await books.read(11_000)
    await books.read(12_000)
    books.ledger.end(books.now, 12_500, EndReason.UNPLUGGED)
    books.journal.stalls_s = 0.0
    await books.ledger.settled()
    session = books.journal.sessions[1]
    assert (session.ended_because, session.energy_wh) == (EndReason.UNPLUGGED, 2500)
    assert books.journal.cdrs[0].changed_at == session.changed_at
    await books.close()


@played
async def test_end_that_the_disk_refuses_is_tried_until_it_is_on_disk() -> None:
    books = Books()
    await books.begin()
    books.journal.refuses = True
    done = books.ledger.end(books.now, 10_100, EndReason.UNPLUGGED)
    await asyncio.sleep(10 * RETRY_S)
    assert (done.cancelled(), books.ledger.is_refused, books.journal.running()) == (True, True, {1})
    books.journal.refuses = False
    await books.ledger.settled()
    assert (books.ledger.is_refused, books.journal.ended) == (False, {1: EndReason.UNPLUGGED})
    await books.close()


@played
async def test_fault_of_ours_before_anything_was_delivered_is_billed_to_nobody() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(30.0)
    books.ledger.end(books.now, 10_000, EndReason.RELAY_FAULT)
    await books.ledger.settled()
    assert books.journal.cdrs == []
    assert books.journal.sessions[1].no_cdr == "nothing was delivered: relay-fault after 30 s"
    await books.close()


@played
async def test_fault_of_ours_after_something_was_delivered_is_billed() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(30.0)
    books.ledger.end(books.now, 10_001, EndReason.RELAY_FAULT)
    await books.ledger.settled()
    assert len(books.journal.cdrs) == 1
    await books.close()


@played
async def test_drivers_end_with_nothing_delivered_is_billed() -> None:
    books = Books()
    await books.begin()
    books.ledger.end(books.now, 10_000, EndReason.SAME_CARD)
    await books.ledger.settled()
    assert len(books.journal.cdrs) == 1
    await books.close()


@played
async def test_card_without_an_owner_gets_a_reason_instead_of_a_cdr() -> None:
    books = Books()
    await books.begin(peer=None, country_code=None, party_id=None, contract_id=None)
    books.ledger.end(books.now, 10_100, EndReason.SAME_CARD)
    await books.ledger.settled()
    assert books.journal.cdrs == []
    assert books.journal.sessions[1].no_cdr
    assert books.journal.told == []
    await books.close()


# ---- what the machine's failure leaves


@played
async def test_abandoned_session_ends_with_its_cdr() -> None:
    books = Books()
    await books.begin()
    await books.read(10_500)
    books.ledger.abandon(EndReason.AGENT_FAULT)
    await books.ledger.settled()
    assert books.journal.sessions[1].ended_because is EndReason.AGENT_FAULT
    assert len(books.journal.cdrs) == 1
    await books.close()


@played
async def test_abandoned_authorization_without_a_session_ends() -> None:
    books = Books()
    await books.accept()
    books.ledger.abandon(EndReason.AGENT_FAULT)
    await books.ledger.settled()
    assert books.journal.ended == {1: EndReason.AGENT_FAULT}
    await books.close()


@played
async def test_nothing_to_abandon_writes_nothing() -> None:
    books = Books()
    await books.begin()
    books.ledger.end(books.now, 10_000, EndReason.UNPLUGGED)
    books.ledger.abandon(EndReason.AGENT_FAULT)
    await books.ledger.settled()
    assert books.journal.ended == {1: EndReason.UNPLUGGED}
    await books.close()


@played
async def test_state_that_is_not_told_leaves_what_is_due_as_it_is() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(10.0)
    books.ledger.turn(books.now, Period.PARKING, 10_050)
    await books.ledger.settled()
    due = books.journal.sessions[1].object
    await books.read(10_200, after_s=1.02)
    await books.ledger.settled()
    assert (books.persisted_wh(), books.journal.sessions[1].object) == (200, due)
    await books.close()


@played
async def test_no_two_states_that_are_told_have_the_same_time() -> None:
    books = Books()
    await books.begin()
    await books.read(10_200, after_s=10.4)
    await books.ledger.settled()
    books.ledger.end(books.now, 10_210, EndReason.UNPLUGGED)
    await books.close()
    times = [SESSION.decode(told.object or b"").last_updated for told in books.journal.told]
    assert len(set(times)) == len(times) == 2


UNKNOWN_CARD: dict[str, Any] = {
    "source": Source.FALLBACK,
    "reason": Reason.TIMEOUT,
    "country_code": None,
    "party_id": None,
    "contract_id": None,
    "authorization_reference": None,
}
OWNER = Token(
    country_code="DE", party_id="ABC", uid="a1", type=TokenType.RFID, contract_id="DE-ABC-C9", issuer="ABC", valid=True,
    whitelist=WhitelistType.NEVER, last_updated=NOW,
)  # fmt: skip
LATE = LateAnswer(1, NOW, Answer("acme", Outcome.ALLOWED, token=OWNER, authorization_reference="REF-9"), joined=True)


@played
async def test_charge_of_an_unknown_card_is_billed_to_whom_allows_it_late() -> None:
    books = Books()
    await books.begin(peer=None, **UNKNOWN_CARD)
    await books.journal.add_late(LATE)
    books.ledger.join(1, LATE)
    await books.read(20_000, after_s=60.0)
    books.ledger.end(books.now, 20_000, EndReason.UNPLUGGED)
    await books.close()
    [cdr] = [CDR.decode(made.object) for made in books.journal.cdrs]
    assert (cdr.cdr_token.contract_id, cdr.cdr_token.uid) == ("DE-ABC-C9", "a1")
    assert (cdr.authorization_reference, books.journal.sessions[1].peer) == ("REF-9", "acme")


@played
async def test_owner_who_came_late_is_known_after_a_start_too() -> None:
    before = Books()
    await before.begin(peer=None, **UNKNOWN_CARD)
    await before.journal.add_late(LATE)
    await before.close()
    after = Books(journal=before.journal.after_power_cut())
    [left] = after.journal.open()
    after.ledger.found(left)
    after.ledger.end(None, None, EndReason.OFF_TOO_LONG)
    await after.close()
    assert [CDR.decode(made.object).cdr_token.contract_id for made in after.journal.cdrs] == ["DE-ABC-C9"]


@played
async def test_end_that_the_disk_refused_is_dated_as_it_is_written() -> None:
    books = Books()
    await books.begin()
    await asyncio.sleep(10.0)
    ended_at = books.wall.now()
    books.journal.refuses = True
    books.ledger.end(books.now, 10_500, EndReason.UNPLUGGED)
    await asyncio.sleep(600.0)
    books.journal.refuses = False
    await books.close()
    [cdr] = [CDR.decode(made.object) for made in books.journal.cdrs]
    assert cdr.end_date_time == ended_at
    assert (cdr.last_updated - ended_at).total_seconds() >= 590
