"""Either party killed, `kill -9`, at any moment of an exchange of credentials: they still talk, or we say how to go on.

Both parties are processes of their own. The one that dies does so at an await point (`sudden_death` says what that
is) and is started again: ours on its files, the eMSP with what it knew at that moment. A kill takes the process and
leaves the operating system: what a power cut takes from the disk's cache is not shown here.
"""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.ocpi_server.exchange_until_killed import OUR_TOKENS
from tests.ocpi_server.lives import Died, Mother, Refused, mother_of_all
from tests.ocpi_server.pair_of_parties import Act, Pair, Party, go_on, pair_in

KILLS = 25
AT_ONCE = 4
"""Kills that run side by side."""
THEIR_TOKENS = "emsp-"
"""What every token begins with that the fake issues."""
MAY_HOLD_THEIR_TOKENS = {("peer", "their_token"), ("peer", "their_previous_token")}


@dataclass(frozen=True)
class Scene:
    """One exchange, and who dies in it."""

    name: str
    dies: Party
    before: Act
    exchange: Act
    lenient: bool = True
    """Whether the eMSP accepts every token that may still be in use, or only what has been agreed on."""
    unnoticed: bool = False
    """Whether a death may cost nothing at all, whatever our note could say: old and new tokens both work."""

    def __str__(self) -> str:
        return f"{self.name}, {'we die' if self.dies == 'ours' else 'they die'}"


def scenes() -> list[Scene]:
    both: tuple[Party, ...] = ("ours", "theirs")
    found = [
        scene
        for dies in both
        for scene in (
            Scene("we register", dies, Pair.we_are_invited, Pair.we_register),
            Scene("we rotate", dies, Pair.registered_by_us, Pair.we_rotate, unnoticed=True),
            Scene("we rotate, strict peer", dies, Pair.registered_by_us, Pair.we_rotate, lenient=False),
            Scene("we unregister", dies, Pair.registered_by_us, Pair.we_unregister),
            Scene("they register", dies, Pair.they_are_invited, Pair.they_register),
            Scene("they register, strict peer", dies, Pair.they_are_invited, Pair.they_register, lenient=False),
            Scene("they rotate", dies, Pair.registered_by_them, Pair.they_rotate, unnoticed=True),
            Scene(
                "they rotate, strict peer", dies, Pair.registered_by_us, Pair.they_rotate, lenient=False, unnoticed=True
            ),
            Scene("they unregister", dies, Pair.registered_by_them_and_in_use, Pair.they_unregister),
        )
    ]
    return [*found, Scene("they use their token first", "ours", Pair.registered_by_them, Pair.they_put, unnoticed=True)]


SCENES = scenes()


@dataclass
class Tally:
    """What a row of kills came to."""

    moments: int = 0
    """Of the exchange that nobody died in."""
    killed: int = 0
    came_through: int = 0
    ways_on: Counter[str] = field(default_factory=Counter)


class Stage:
    """Where scenes are played, each on files and ports of its own."""

    def __init__(self, mother: Mother, folder: Path) -> None:
        self._mother = mother
        self._folder = folder
        self._numbers = count()

    async def length(self, scene: Scene) -> int:
        """Play `scene` with nobody dying; returns its moments. Neither side may find anything to complain of."""
        async with self._pair(scene, 0) as (pair, _):
            await pair[scene.dies].do("arm", None)
            await scene.exchange(pair)
            moments: int = await pair[scene.dies].do("disarm")
            assert await pair["theirs"].do("complaints") == []
            assert await pair.talking() == ("unregister" not in scene.name)
            return moments

    async def kill(self, scene: Scene, moment: int, tally: Tally) -> None:
        """Play `scene` with a death at `moment`, and everything that must hold after it."""
        async with self._pair(scene, moment) as (pair, folder):
            died = await die(pair, scene, moment)
            tally.killed += died is not None
            tally.came_through += died is None
            try:
                if died is not None:
                    await bring_back(pair, scene.dies, died, folder)
                check_files(folder)
                way_on = "both talk" if await pair.talking() else await go_on(pair)
                assert way_on == "both talk" or not scene.unnoticed, f"{way_on}: {pair.silence}"
                tally.ways_on[way_on] += 1
                assert await pair.talking(), pair.silence
                await pair.we_rotate()
                assert await pair.talking(), pair.silence
                check_files(folder)
            except (AssertionError, Refused) as error:
                error.add_note(f"{scene}, killed at moment {moment}: {died}")
                raise

    @asynccontextmanager
    async def _pair(self, scene: Scene, moment: int) -> AsyncIterator[tuple[Pair, Path]]:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        async with pair_in(folder, self._mother, lenient=scene.lenient, variant=moment) as pair:
            await scene.before(pair)
            yield pair, folder
        shutil.rmtree(folder)


async def die(pair: Pair, scene: Scene, moment: int) -> Died | None:
    """Do the exchange with a death at `moment`; None where it came to an end before that."""
    try:
        await pair[scene.dies].do("arm", moment)
        with suppress(Refused):  # what the survivor sees of the death
            await scene.exchange(pair)
        await pair[scene.dies].do("quiet")
        await pair[scene.dies].do("disarm")
    except Died as died:
        return died
    return None


async def bring_back(pair: Pair, dead: Party, died: Died, folder: Path) -> None:
    """Start the dead one again: while the survivor may still be busy with the exchange, or once it is not."""
    survivor: Party = "theirs" if dead == "ours" else "ours"
    if pair.variant & 4:
        await pair[survivor].do("quiet")
    if dead == "ours":
        check_files(folder)
    await pair.rise(dead, died.state)
    for party in (survivor, dead):
        await pair[party].do("quiet")


def check_files(folder: Path) -> None:
    """Our databases are sound, and hold no token in clear but those that we send. Looks at copies: it mends nothing."""
    side = folder / "copy"
    side.mkdir()
    for name in ("state.db", "whitelist.db"):
        for part in (folder / name, folder / f"{name}-wal"):
            if part.exists():
                shutil.copy(part, side)
                assert OUR_TOKENS.encode() not in (side / part.name).read_bytes()
        with closing(sqlite3.connect(side / name)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert holding_their_tokens(connection) <= MAY_HOLD_THEIR_TOKENS
    shutil.rmtree(side)


def holding_their_tokens(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Table and column of each value with a token of theirs in it."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = set()
    for table in tables:
        rows = connection.execute(f'SELECT * FROM "{table}"')
        columns = [column[0] for column in rows.description]
        found |= {(table, columns[i]) for row in rows for i, value in enumerate(row) if THEIR_TOKENS in str(value)}
    return found


async def test_party_killed_at_moments_of_every_exchange_leaves_a_way_to_go_on(tmp_path: Path) -> None:
    async with mother_of_all() as mother:
        stage, tally = Stage(mother, tmp_path), Tally()
        moments = [(scene, moment + 1) for scene in SCENES for moment in range(await stage.length(scene))]
        chosen = moments[:: len(moments) // KILLS + 1]
        for first in range(0, len(chosen), AT_ONCE):
            async with asyncio.TaskGroup() as side_by_side:
                for scene, moment in chosen[first : first + AT_ONCE]:
                    side_by_side.create_task(stage.kill(scene, moment, tally))
        assert tally.killed >= KILLS // 2
        assert tally.ways_on["both talk"] > 0


@pytest.mark.campaign
@pytest.mark.parametrize("scene", SCENES, ids=str)
async def test_party_killed_at_every_moment_leaves_a_way_to_go_on(scene: Scene, tmp_path: Path) -> None:
    async with mother_of_all() as mother:
        stage, tally = Stage(mother, tmp_path), Tally()
        tally.moments = await stage.length(scene)
        moments = count(1)
        while tally.killed + tally.came_through < tally.moments or not tally.came_through:
            async with asyncio.TaskGroup() as side_by_side:
                for _ in range(AT_ONCE):
                    side_by_side.create_task(stage.kill(scene, next(moments), tally))
    ways = ", ".join(f"{words}: {times}" for words, times in tally.ways_on.most_common())
    print(f"\n{scene}: {tally.moments} moments, {tally.killed} kills; {ways}")
    assert tally.killed >= tally.moments - AT_ONCE
