"""Sessions that ended while nobody knew the time, and what makes them whole."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.charges import CdrRecord, Charge, ReportKind, SessionRecord
from agent.errors import StoreError
from agent.model import EndReason, Recorded
from tests.store.charge_samples import State, cdr, opened, over, session
from tests.store.samples import at, entry, refused

LONG_AGO = at(-1_700_000_000)
LATER = at(1_000_000)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db") as state:
        yield state


def timeless(authorization_id: int, **changes: Any) -> SessionRecord:
    times = {"started_at": LONG_AGO, "changed_at": LONG_AGO, "ended_at": LONG_AGO}
    return over(authorization_id, **times | {"object": None, "clock_known": False, "tariff": b"{}"} | changes)


def sealed(authorization_id: int, **changes: Any) -> SessionRecord:
    return over(authorization_id, tariff=b"{}", account=b'{"moved": 1}', **changes)


async def ended(state: State, **changes: Any) -> int:
    authorization_id = await state.journal.record(entry(tapped_at=LONG_AGO))
    await state.sessions.end(timeless(authorization_id, **changes), None, None)
    return authorization_id


async def charge(state: State, authorization_id: int) -> Charge:
    return (await state.sessions.of([authorization_id]))[authorization_id]


async def test_session_that_ended_at_no_known_time_is_unsealed(state: State) -> None:
    first, second = await ended(state), await ended(state)
    found = await state.sessions.unsealed()
    assert [one.session for one in found] == [timeless(first), timeless(second)]
    assert [one.authorization.entry for one in found] == [entry(tapped_at=LONG_AGO)] * 2


async def test_session_that_runs_has_a_known_time_or_gets_no_cdr_is_not_unsealed(state: State) -> None:
    await state.begun(clock_known=False)
    await state.finished()
    await ended(state, no_cdr="nobody owns the card")
    assert await state.sessions.unsealed() == []


async def test_sealed_session_its_end_its_final_state_and_its_cdr_are_there_at_once(state: State) -> None:
    await ended(state)
    assert await state.sessions.seal(sealed(1), cdr(1))
    facts = Recorded(1, entry(tapped_at=LONG_AGO), ended_at=at(61), ended_because=EndReason.SAME_CARD)
    assert await charge(state, 1) == Charge(sealed(1), facts, (CdrRecord(1, cdr(1)),), untold=True)
    assert [(one.kind, one.object) for one in await state.sessions.due()] == [
        (ReportKind.SESSION, sealed(1).object),
        (ReportKind.CDR, cdr(1).object),
    ]
    assert await state.sessions.unsealed() == []


async def test_session_that_can_not_be_billed_is_sealed_with_the_reason(state: State) -> None:
    await ended(state)
    assert await state.sessions.seal(sealed(1, object=None, no_cdr="its EVSE is no longer configured"), None)
    assert (await charge(state, 1)).session.no_cdr == "its EVSE is no longer configured"
    assert await state.sessions.unsealed() == []
    assert await state.sessions.due() == []


async def test_second_seal_changes_nothing(state: State) -> None:
    await ended(state)
    await state.sessions.seal(sealed(1), cdr(1))
    before = await charge(state, 1)
    assert not await state.sessions.seal(sealed(1, energy_wh=7), cdr(1, cdr_id="another"))
    assert await charge(state, 1) == before


async def test_session_that_runs_is_not_sealed(state: State) -> None:
    await state.begun(clock_known=False)
    assert not await state.sessions.seal(sealed(1), cdr(1))
    assert (await charge(state, 1)).session == session(1, clock_known=False)
    assert await state.sessions.due() == []


@pytest.mark.parametrize(
    "changes",
    [{"ended_at": None}, {"clock_known": False}, {"no_cdr": "none"}],
    ids=["runs", "no-time", "cdr-and-none"],
)
async def test_seal_of_half_a_session_is_a_fault_of_the_caller(state: State, changes: dict[str, Any]) -> None:
    await ended(state)
    with pytest.raises(ValueError, match="is sealed with its end"):
        await state.sessions.seal(sealed(1, **changes), cdr(1))
    assert (await charge(state, 1)).session == timeless(1)


async def test_seal_that_can_not_be_written_whole_changes_nothing(state: State) -> None:
    await ended(state)
    await state.finished()
    with pytest.raises(StoreError, match="UNIQUE"):
        await state.sessions.seal(sealed(1), cdr(1, cdr_id=cdr(2).cdr_id))
    assert (await charge(state, 1)).session == timeless(1)
    assert (await charge(state, 1)).authorization.ended_at == LONG_AGO
    assert [one.authorization_id for one in await state.sessions.due()] == [2, 2]


async def test_unsealed_session_is_not_pruned_and_goes_when_it_is_sealed_and_told(state: State) -> None:
    await state.journal.record(refused())
    await ended(state)
    await state.billed()
    await state.journal.record(refused(tapped_at=LATER))
    assert await state.sessions.prune(at(10)) == 1
    assert [one.session.authorization_id for one in await state.sessions.unsealed()] == [2]
    await state.sessions.seal(sealed(2, object=None, no_cdr="none"), None)
    assert await state.sessions.prune(at(10)) == 0
    assert await state.sessions.prune(at(100)) == 1
