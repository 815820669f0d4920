"""What is deleted when its time is over, and what never is."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.store.charge_samples import State, opened, over, session
from tests.store.samples import at, entry, late, refused

LATER = at(1_000_000)
LONG_AGO = at(-1_700_000_000)
"""What a clock shows that starts in 1970."""


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db") as state:
        yield state


async def left(state: State) -> list[int]:
    return sorted(one.id for one in await state.journal.recent(99))


async def count(state: State, table: str) -> int:
    [(number,)] = await state.database.read("count", f"SELECT count(*) FROM {table}")
    return int(number)


async def test_old_sessions_go_with_all_that_belongs_to_them(state: State) -> None:
    await state.billed()
    await state.journal.add_late(late(1, joined=False))
    await state.billed()
    await state.journal.record(refused())
    assert await state.sessions.prune(LATER) == 1
    assert await left(state) == [2, 3]
    assert [await count(state, table) for table in ("session", "cdr", "cdr_acknowledged")] == [1, 1, 1]
    assert await count(state, "late_answer") == 0


async def test_old_refusals_and_stop_taps_go(state: State) -> None:
    await state.journal.record(refused())
    await state.journal.record(entry(relay_closed=False))
    await state.journal.record(refused())
    assert await state.sessions.prune(LATER) == 2
    assert await left(state) == [3]


async def test_what_is_not_old_stays(state: State) -> None:
    await state.journal.record(refused(tapped_at=at(10)))
    await state.begun()
    await state.sessions.end(over(2, ended_at=at(50), peer=None), None, None)
    await state.journal.record(refused(tapped_at=at(100)))
    assert await state.sessions.prune(at(10)) == 0
    assert await state.sessions.prune(at(50)) == 1
    assert await left(state) == [2, 3]


async def test_what_runs_stays(state: State) -> None:
    await state.begun()
    await state.journal.record(entry())
    await state.journal.record(refused())
    assert await state.sessions.prune(LATER) == 0
    assert await left(state) == [1, 2, 3]


async def test_running_session_stays_although_its_authorization_is_over(state: State) -> None:
    await state.begun()
    await state.journal.record(refused())
    await state.journal.close_open(at(5))
    assert await state.sessions.prune(LATER) == 0
    assert [one.session for one in await state.sessions.open()] == [session(1)]


async def test_what_a_peer_has_not_got_stays(state: State) -> None:
    for number in (1, 2, 3):
        await state.finished()
        assert number in await left(state)
    await state.billed()
    await state.journal.record(refused())
    await state.sessions.told(2, 1)
    await state.sessions.told(3, 1)
    await state.sessions.acknowledged(1, at(99), None)
    await state.sessions.park(3, "OCPI 2001")
    assert await state.sessions.prune(LATER) == 0
    await state.sessions.told(1, 1)
    assert await state.sessions.prune(LATER) == 1
    assert await left(state) == [2, 3, 4, 5]


async def test_newest_cdr_stays_so_that_its_number_is_not_given_again(state: State) -> None:
    await state.billed()
    await state.journal.record(refused())
    await state.journal.record(refused())
    assert await state.sessions.prune(LATER) == 1
    assert await left(state) == [1, 3]
    await state.billed()
    assert [one.number for one in await state.sessions.cdrs(9)] == [2, 1]


async def test_prune_takes_the_oldest_in_steps(state: State) -> None:
    for _ in range(8):
        await state.journal.record(refused())
    assert [await state.sessions.prune(LATER, most=3) for _ in range(4)] == [3, 3, 1, 0]
    assert await left(state) == [8]


async def test_times_of_an_unknown_clock_are_as_old_as_what_came_after_them(state: State) -> None:
    await state.journal.record(refused(tapped_at=LONG_AGO))
    await state.journal.record(refused(tapped_at=at(10)))
    await state.journal.record(refused(tapped_at=LONG_AGO))
    await state.journal.record(refused(tapped_at=at(1000)))
    assert await state.sessions.prune(at(5)) == 0
    assert await state.sessions.prune(at(100)) == 2
    assert await left(state) == [3, 4]


async def test_prune_of_an_empty_file_deletes_nothing(state: State) -> None:
    assert await state.sessions.prune(LATER) == 0


async def test_rejected_session_goes_with_its_problem(state: State) -> None:
    await state.begun(tell=True)
    await state.sessions.session_rejected(1, 1, "OCPI 2001")
    await state.sessions.end(over(1, peer=None), None, None)
    await state.journal.record(refused())
    assert await state.sessions.prune(LATER) == 1
    assert await count(state, "session_rejected") == 0


# ---- how far the time has come


async def test_two_cards_by_a_wrong_clock_do_not_move_the_time(state: State) -> None:
    for seconds in (10, 20, 9_000_000, 9_000_001):
        await state.journal.record(refused(tapped_at=at(seconds)))
    assert await state.sessions.reached() == at(20)


async def test_cards_by_a_clock_that_was_not_set_do_not_hold_the_time_back(state: State) -> None:
    for moment in (at(10), at(20), LONG_AGO, at(30), LONG_AGO):
        await state.journal.record(refused(tapped_at=moment))
    assert await state.sessions.reached() == at(10)


async def test_time_of_an_empty_file_is_not_known(state: State) -> None:
    assert await state.sessions.reached() is None
    await state.journal.record(refused(tapped_at=LONG_AGO))
    assert await state.sessions.reached() is None


async def test_records_of_today_survive_a_clock_that_is_years_ahead(state: State) -> None:
    for number in range(5):
        await state.journal.record(refused(tapped_at=at(number)))
    reached = await state.sessions.reached()
    assert reached is not None
    assert await state.sessions.prune(min(at(300_000_000), reached) - timedelta(days=400)) == 0
    assert await left(state) == [1, 2, 3, 4, 5]
