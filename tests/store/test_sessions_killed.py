"""A kill at any moment leaves all of a call, or nothing."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

KILLS = 12


def killed_in_the_middle(path: Path, lines: int) -> list[list[str]]:
    """What a process told before it was killed, in words, `lines` lines of it at least."""
    command = [sys.executable, "-m", "tests.store.charge_until_killed", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    return [line.split() for line in told if line.endswith("\n")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    path = tmp_path_factory.mktemp("killed") / "state.db"
    return path, [line for kill in range(KILLS) for line in killed_in_the_middle(path, 1 + 7 * kill)]


@pytest.fixture
def file(told: tuple[Path, list[list[str]]]) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(told[0])) as connection:
        yield connection


def ids(file: sqlite3.Connection, sql: str) -> set[int]:
    return {number for (number,) in file.execute(sql)}


def test_killed_process_leaves_a_sound_file(file: sqlite3.Connection) -> None:
    assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert file.execute("PRAGMA foreign_key_check").fetchall() == []


def test_killed_process_leaves_everything_that_it_told(
    file: sqlite3.Connection, told: tuple[Path, list[list[str]]]
) -> None:
    begun = {int(words[1]) for words in told[1] if words[0] == "begun"}
    ended = {int(words[1]) for words in told[1] if words[0] == "ended"}
    persisted = [(int(words[1]), int(words[2])) for words in told[1] if words[0] == "persisted"]
    kept = dict(file.execute("SELECT authorization_id, energy_wh FROM session").fetchall())
    assert len(ended) >= KILLS
    assert begun <= set(kept)
    assert ended <= ids(file, "SELECT authorization_id FROM session WHERE ended_at IS NOT NULL")
    assert [kept[authorization_id] >= energy_wh for authorization_id, energy_wh in persisted] == [True] * len(persisted)


def test_killed_process_leaves_each_persist_whole(file: sqlite3.Connection) -> None:
    # The document of the n-th persist has 900 n bytes; the first and the last are samples.
    mixed = """
        SELECT authorization_id FROM session WHERE energy_wh <> CAST(CAST(account AS TEXT) AS INTEGER)
            OR (energy_wh IN (1, 2, 3) AND length(object) <> 900 * energy_wh)
    """
    assert ids(file, mixed) == set()


def test_killed_process_leaves_each_end_whole(file: sqlite3.Connection) -> None:
    ended = ids(file, "SELECT authorization_id FROM session WHERE ended_at IS NOT NULL")
    assert ids(file, "SELECT id FROM authorization WHERE ended_at IS NOT NULL") == ended
    assert ids(file, "SELECT authorization_id FROM cdr") == ended
    assert ids(file, "SELECT authorization_id FROM cdr_due") == ended
    assert ids(file, "SELECT ends FROM authorization WHERE ends IS NOT NULL") == ended
    assert ids(file, "SELECT authorization_id FROM session WHERE energy_wh = 9") == ended


def test_killed_process_leaves_every_state_that_was_to_be_told_due(file: sqlite3.Connection) -> None:
    # Begun is the first, the second persist the second, and the end the third.
    revisions = "SELECT authorization_id FROM session WHERE revision <> 1 + (energy_wh >= 2) + (energy_wh = 9)"
    assert ids(file, revisions) == set()
    due = "SELECT authorization_id FROM session_due JOIN session USING (authorization_id, revision)"
    assert ids(file, due) == ids(file, "SELECT authorization_id FROM session")
