"""The tariff that a session began with: kept with it, once for many, as long as one of them is there."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import StoreError
from tests.store.charge_samples import State, cdr, opened, over, session
from tests.store.samples import at, entry, refused

DAY, NIGHT = (b'{"id": "DAY"}' + b" " * 3000, b'{"id": "NIGHT"}')
LATER = at(1_000_000)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with opened(tmp_path / "state.db") as state:
        yield state


async def tariffs(state: State) -> list[bytes]:
    rows = await state.database.read("look", "SELECT object FROM tariff ORDER BY number")
    return [row[0] for row in rows]


async def tariff_of(state: State, authorization_id: int) -> bytes | None:
    return (await state.sessions.of([authorization_id]))[authorization_id].session.tariff


@pytest.mark.parametrize("tell", [False, True])
async def test_begun_session_has_its_tariff_after_a_restart(tmp_path: Path, *, tell: bool) -> None:
    async with opened(tmp_path / "state.db") as before:
        await before.begun(tell=tell, tariff=DAY)
    async with opened(tmp_path / "state.db") as state:
        assert [one.session for one in await state.sessions.open()] == [session(1, tariff=DAY)]


async def test_session_that_is_persisted_again_keeps_the_tariff_that_it_began_with(state: State) -> None:
    await state.begun(tariff=DAY)
    await state.sessions.put(session(1, tariff=NIGHT, energy_wh=5), tell=False)
    await state.sessions.put(session(1, tariff=NIGHT, energy_wh=6), tell=True)
    await state.sessions.end(over(1, tariff=NIGHT), cdr(1), None)
    assert await tariff_of(state, 1) == DAY


async def test_session_that_began_without_a_tariff_gets_none_later(state: State) -> None:
    await state.begun()
    await state.sessions.end(over(1, tariff=DAY), None, None)
    assert await tariff_of(state, 1) is None


async def test_session_that_was_never_persisted_ends_with_its_tariff(state: State) -> None:
    await state.journal.record(entry())
    await state.sessions.end(over(1, tariff=DAY), cdr(1), None)
    assert await tariff_of(state, 1) == DAY


async def test_tariff_of_many_sessions_is_kept_once(state: State) -> None:
    for tariff in (DAY, NIGHT, DAY, NIGHT, DAY):
        await state.begun(tariff=tariff)
    assert await tariffs(state) == [DAY, NIGHT]


async def test_session_that_the_disk_does_not_take_leaves_no_tariff(state: State) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await state.sessions.put(session(7, tariff=DAY), tell=True)
    assert await tariffs(state) == []


async def test_tariff_goes_with_the_last_session_that_had_it(state: State) -> None:
    for tariff in (DAY, NIGHT, DAY):
        authorization_id = await state.begun(tariff=tariff)
        # Of nobody: nothing waits to be told.
        await state.sessions.end(over(authorization_id, tariff=tariff, peer=None), None, None)
    await state.journal.record(refused(tapped_at=LATER))
    assert await state.sessions.prune(LATER, most=1) == 1
    assert await tariffs(state) == [DAY, NIGHT]
    assert await state.sessions.prune(LATER, most=1) == 1
    assert await tariffs(state) == [DAY]
    assert (await state.sessions.of([3]))[3].session == replace(over(3), tariff=DAY, peer=None)
