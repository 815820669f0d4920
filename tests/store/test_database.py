"""Opening: versions, migrations, modes, and what is told when it can't be done."""

import asyncio
import logging
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from agent.errors import CorruptError, NewerSchemaError, StoreError
from agent.model import Uid
from agent.store.database import Database, Schema, from_us, open_database, open_state, statements, to_us
from agent.store.whitelist import WHITELIST_ID, Whitelist
from tests.store.samples import NOON, token

V1 = """
-- a comment with a ; in it
CREATE TABLE card (uid TEXT NOT NULL);
CREATE TABLE seen (uid TEXT NOT NULL, note TEXT DEFAULT 'a;b');
CREATE TRIGGER card_is_seen AFTER INSERT ON card
BEGIN
    INSERT INTO seen (uid) VALUES (NEW.uid);
    UPDATE seen SET note = note || ';' WHERE uid = NEW.uid;
END;
"""
TO_V2 = """
ALTER TABLE card ADD COLUMN owner TEXT;
UPDATE card SET owner = 'DE-ABC';
CREATE INDEX card_owner ON card (owner);
DROP TRIGGER card_is_seen;
"""
V2 = """
CREATE TABLE card (uid TEXT NOT NULL, owner TEXT);
CREATE TABLE seen (uid TEXT NOT NULL, note TEXT DEFAULT 'a;b');
CREATE INDEX card_owner ON card (owner);
"""
TO_V3 = "DROP TABLE seen;"
V3 = """
CREATE TABLE card (uid TEXT NOT NULL, owner TEXT);
CREATE INDEX card_owner ON card (owner);
"""
ONE = Schema("test", 4711, (V1,))
THREE = Schema("test", 4711, (V1, V2, V3), (TO_V2, TO_V3))
STEPS = len(THREE.steps_from(1))


async def open_and_close(path: Path, schema: Schema) -> None:
    connection = await open_database(path, schema, synchronous="FULL", mode=0o600)
    await connection.close()


def dump(path: Path) -> tuple[object, ...]:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()
        identity = connection.execute("PRAGMA application_id").fetchone()
        return version, identity, *connection.iterdump()


def shape(path: Path) -> list[tuple[object, ...]]:
    """What the tables and indexes are, however the text that made them reads."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name, tbl_name FROM sqlite_schema ORDER BY type, name").fetchall()
        tables = [name for kind, name, _ in names if kind == "table"]
        columns = [connection.execute(f"PRAGMA table_xinfo({name})").fetchall() for name in tables]
        return [*names, *map(tuple, columns)]


def modes(folder: Path) -> dict[str, int]:
    return {part.name: stat.S_IMODE(part.stat().st_mode) for part in folder.iterdir()}


def broken_at(step: int) -> Schema:
    """`THREE`, with a statement that fails before migration statement number `step`."""
    migrations = list(THREE.steps_from(1))
    migrations.insert(step, "INSERT INTO no_such_table VALUES (1);")
    return Schema("test", 4711, (V1, V2, V3), ("\n".join(migrations), ""))


@pytest.fixture
async def version_1(tmp_path: Path) -> Path:
    path = tmp_path / "test.db"
    await open_and_close(path, ONE)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO card (uid) VALUES ('04A1')")
    return path


def test_semicolons_in_triggers_strings_and_comments_do_not_end_a_statement() -> None:
    assert [sql.split()[-1] for sql in statements(V1)] == ["NULL);", "'a;b');", "END;"]


def test_script_without_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="ends within a statement"):
        statements("CREATE TABLE a (b); CREATE TABLE c (d)")


async def test_old_file_opened_is_migrated_with_its_rows(version_1: Path) -> None:
    await open_and_close(version_1, THREE)
    with closing(sqlite3.connect(version_1)) as connection:
        assert connection.execute("SELECT uid, owner FROM card").fetchall() == [("04A1", "DE-ABC")]
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


async def test_migrated_file_looks_like_a_new_one(version_1: Path, tmp_path: Path) -> None:
    await open_and_close(version_1, THREE)
    await open_and_close(tmp_path / "new.db", THREE)
    assert shape(version_1) == shape(tmp_path / "new.db")


@pytest.mark.parametrize("step", range(STEPS + 1))
async def test_migration_failing_at_any_statement_changes_nothing(version_1: Path, step: int) -> None:
    before = dump(version_1)
    with pytest.raises(StoreError, match="no_such_table"):
        await open_and_close(version_1, broken_at(step))
    assert dump(version_1) == before


async def test_migration_that_failed_succeeds_with_the_right_program(version_1: Path) -> None:
    with pytest.raises(StoreError):
        await open_and_close(version_1, broken_at(2))
    await open_and_close(version_1, THREE)
    assert dump(version_1)[0] == (3,)


async def test_file_is_kept_as_it_was_for_the_way_back(version_1: Path) -> None:
    part = version_1.with_name(f"{version_1.name}.v1.part")
    part.write_text("of an attempt that was cut off")
    before = dump(version_1)
    await open_and_close(version_1, replace(THREE, keeps_old=True))
    kept = version_1.with_name(f"{version_1.name}.v1")
    assert dump(kept) == before
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert part.name not in modes(kept.parent)
    await open_and_close(kept, ONE)


async def test_disk_without_room_for_the_copy_is_told_and_left_as_it_was(
    version_1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(version_1.parent)._replace(free=17 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    await open_and_close(version_1, replace(ONE, keeps_old=True))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full._replace(free=1 << 20))
    before = dump(version_1)
    with pytest.raises(StoreError, match=r"its disk has 16 MiB too little for that: make room"):
        await open_and_close(version_1, replace(THREE, keeps_old=True))
    assert dump(version_1) == before
    assert list(modes(version_1.parent)) == [version_1.name]


async def test_new_file_and_one_of_this_version_leave_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for _ in range(2):
        await open_and_close(path, replace(THREE, keeps_old=True))
    assert list(modes(tmp_path)) == ["state.db"]


async def test_new_file_failing_half_way_is_still_new(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    with pytest.raises(StoreError):
        await open_and_close(path, Schema("test", 4711, (V1 + "INSERT INTO no_such_table VALUES (1);",)))
    await open_and_close(path, ONE)
    assert dump(path)[0] == (1,)


async def test_two_programs_opening_an_old_file_migrate_it_once(version_1: Path) -> None:
    await asyncio.gather(open_and_close(version_1, THREE), open_and_close(version_1, THREE))
    assert dump(version_1)[0] == (3,)


async def test_file_of_a_newer_program_is_refused_with_file_and_versions(version_1: Path) -> None:
    await open_and_close(version_1, THREE)
    before = dump(version_1)
    with pytest.raises(NewerSchemaError, match=r"test\.db: has schema version 3, this program knows up to 1"):
        await open_and_close(version_1, ONE)
    assert dump(version_1) == before


@pytest.mark.parametrize("name", ["state", "whitelist"])
def test_packaged_schema_has_a_migration_to_every_version(name: str) -> None:
    schema = Schema.load(name, 1)
    assert schema.newest >= 1
    assert len(schema.migrations) == schema.newest - 1


async def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (a)")
    path.chmod(0o640)
    before = path.read_bytes(), modes(tmp_path)
    with pytest.raises(StoreError, match="another program"):
        await open_state(path)
    assert (path.read_bytes(), modes(tmp_path)) == before


async def test_whitelist_opened_as_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whitelist.db"
    await open_and_close(path, Schema.load("whitelist", WHITELIST_ID))
    with pytest.raises(StoreError, match="another program"):
        await open_state(path)


async def test_file_that_is_no_database_is_corrupt_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(
        CorruptError, match=r"state\.db: can't open: file is not a database .* check the configured path"
    ):
        await open_state(path)
    assert path.read_bytes() == b"no database at all" * 100


async def test_empty_file_left_by_a_crash_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    await (await open_state(tmp_path / "state.db")).close()
    assert dump(tmp_path / "state.db")[0] == (1,)


async def test_missing_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"No such file or directory; check that .*nowhere exists"):
        await open_state(tmp_path / "nowhere" / "state.db")


async def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreError, match="not a file"):
        await open_state(tmp_path / "state.db")


async def test_new_file_in_a_read_only_folder_is_refused(read_only: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"state\.db: can't open: Read-only file system; the disk is worn out, or .*ReadWritePaths.*check that",
    ):
        await open_state(read_only / "state.db")
    assert modes(read_only) == {}


async def test_existing_file_in_a_read_only_folder_is_refused(read_only: Path) -> None:
    await (await open_state(read_only.parent / "writable" / "state.db")).close()
    with pytest.raises(StoreError, match="read-only file system"):
        await open_state(read_only / "state.db")


async def test_open_file_and_its_companions_are_their_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        database = await open_state(tmp_path / "state.db")
        found = modes(tmp_path)
        await database.close()
    finally:
        os.umask(old)
    assert found == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


async def test_file_open_to_others_is_closed_to_them_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await (await open_state(tmp_path / "state.db")).close()
    (tmp_path / "state.db").chmod(0o644)
    await (await open_state(tmp_path / "state.db")).close()
    assert modes(tmp_path) == {"state.db": 0o600}
    assert "mode was 0644, corrected to 0600" in caplog.text


async def test_state_is_written_through_and_whitelist_is_not(tmp_path: Path) -> None:
    state = await open_state(tmp_path / "state.db")
    whitelist = await Database.open(tmp_path / "w.db", ONE, relaxed_transactions=True)
    pragma = "PRAGMA synchronous"
    found = [list(await one.writer._connection.execute_fetchall(pragma)) for one in (state, whitelist)]
    await state.close()
    await whitelist.close()
    assert found == [[(2,)], [(1,)]]


async def test_closed_database_leaves_one_file_and_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    database = await open_state(tmp_path / "state.db")
    started = set(threading.enumerate()) - before
    await database.close()
    await database.close()
    for thread in started:
        thread.join(10)
    assert len(started) == 2
    assert set(threading.enumerate()) <= before
    assert set(modes(tmp_path)) == {"state.db"}


async def test_failed_opening_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    (tmp_path / "state.db").write_bytes(b"x" * 5000)
    with pytest.raises(CorruptError):
        await open_state(tmp_path / "state.db")
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


async def test_reading_connection_refuses_to_write(tmp_path: Path) -> None:
    database = await open_state(tmp_path / "state.db")
    with pytest.raises(StoreError, match="readonly"):
        await database.read("write", "DELETE FROM peer")
    await database.close()


async def test_debug_log_never_shows_a_uid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    whitelist = await Whitelist.open(tmp_path / "whitelist.db")
    await whitelist.put(token("04CAFE77"), "emsp")
    await whitelist.find(Uid("04CAFE77"))
    await whitelist.close()
    assert "04CAFE77" not in caplog.text.upper()


@pytest.mark.parametrize("instant", [NOON, NOON.replace(microsecond=999_999), NOON.replace(year=1)])
def test_instant_survives_to_the_microsecond(instant: datetime) -> None:
    assert from_us(to_us(instant)) == instant


def test_instant_without_a_zone_is_utc() -> None:
    assert to_us(NOON.replace(tzinfo=None)) == to_us(NOON)
