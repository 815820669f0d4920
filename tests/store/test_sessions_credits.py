"""CDRs that take others back: when they may be written, and when they are due."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.charges import Report, ReportKind
from tests.store.charge_samples import State, credit, opened
from tests.store.samples import at


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db") as state:
        yield state


async def test_credit_is_sealed_and_due(state: State) -> None:
    await state.billed()
    assert await state.sessions.add_credit(credit(1)) == 2
    assert await state.sessions.due() == [Report(ReportKind.CDR, 1, "emsp", credit(1).object, 2, at(9000))]
    taken_back, taking = (await state.sessions.of([1]))[1].cdrs
    assert (taken_back.credited_by, taking.cdr) == (credit(1).cdr_id, credit(1))


async def test_second_credit_changes_nothing(state: State) -> None:
    await state.billed()
    await state.sessions.add_credit(credit(1))
    before = (await state.sessions.due(), await state.sessions.cdrs(9))
    assert await state.sessions.add_credit(credit(1, cdr_id="another")) is None
    assert (await state.sessions.due(), await state.sessions.cdrs(9)) == before


async def test_credit_is_not_credited(state: State) -> None:
    await state.billed()
    await state.sessions.add_credit(credit(1))
    of_the_credit = credit(1, cdr_id="twice", credits=credit(1).cdr_id)
    assert await state.sessions.add_credit(of_the_credit) is None
    assert len(await state.sessions.cdrs(9)) == 2


async def test_credit_of_what_its_peer_has_not_acknowledged_changes_nothing(state: State) -> None:
    await state.finished()
    before = (await state.sessions.due(), await state.sessions.cdrs(9))
    assert await state.sessions.add_credit(credit(1)) is None
    await state.sessions.park(1, "OCPI 2001")
    assert await state.sessions.add_credit(credit(1)) is None
    assert await state.sessions.resend(1, at(61))
    assert (await state.sessions.due(), await state.sessions.cdrs(9)) == before


async def test_credit_waits_while_what_it_takes_back_is_due_again(state: State) -> None:
    await state.billed()
    await state.sessions.add_credit(credit(1))
    await state.sessions.resend(1, at(10_000))
    assert [one.revision for one in await state.sessions.due()] == [1]
    await state.sessions.acknowledged(1, at(10_001), None)
    assert [one.revision for one in await state.sessions.due()] == [2]


async def test_credit_is_not_sent_while_what_it_takes_back_is_parked(state: State) -> None:
    await state.billed()
    await state.sessions.add_credit(credit(1))
    await state.sessions.resend(1, at(10_000))
    await state.sessions.park(1, "OCPI 2001")
    assert await state.sessions.due() == []


async def test_credit_that_waits_takes_nobodys_turn(state: State) -> None:
    await state.billed()
    await state.sessions.add_credit(credit(1))
    await state.sessions.resend(1, at(10_000))
    await state.sessions.park(1, "OCPI 2001")
    await state.finished()
    assert [(one.kind, one.authorization_id) for one in await state.sessions.due(most=1)] == [
        (ReportKind.SESSION, 2),
        (ReportKind.CDR, 2),
    ]


async def test_credit_of_a_cdr_that_is_not_there_changes_nothing(state: State) -> None:
    await state.begun()
    assert await state.sessions.add_credit(credit(1)) is None
    assert await state.sessions.cdrs(9) == []
