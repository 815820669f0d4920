"""The record: what is kept of a tap, how it ends, and what a kill leaves."""

import asyncio
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.model import DisplayText, EndReason, EnergyContract, Outcome, Recorded
from agent.store.journal import Journal
from agent.store.peers import PeerStore
from tests.store.samples import NOON, REFERENCE, at, entry, late, refused, token


async def recorded(journal: Journal, authorization_id: int) -> Recorded:
    found = await journal.get(authorization_id)
    assert found is not None
    return found


async def test_accepted_tap_reads_back_as_it_was_recorded(journal: Journal) -> None:
    tap = entry(group_id="GROUP", authorization_reference=REFERENCE)
    assert await recorded(journal, await journal.record(tap)) == Recorded(1, tap)


async def test_refused_tap_of_an_unknown_card_reads_back_as_it_was_recorded(journal: Journal) -> None:
    tap = refused(peer=None, country_code=None, party_id=None, contract_id=None)
    assert await recorded(journal, await journal.record(tap)) == Recorded(1, tap)


async def test_record_survives_reopening_and_ids_go_on(tmp_path: Path) -> None:
    first = await Journal.open(tmp_path / "state.db")
    await first.record(entry())
    await first.close()
    second = await Journal.open(tmp_path / "state.db")
    assert await second.record(refused()) == 2
    assert [one.id for one in await second.recent(10)] == [2, 1]
    await second.close()


async def test_newest_record_can_not_be_deleted_so_that_its_id_is_not_given_again(journal: Journal) -> None:
    await journal.record(entry())
    await journal.record(entry())
    with pytest.raises(StoreError, match="the newest authorization stays"):
        await journal._database.writer.write("delete", "DELETE FROM authorization")
    await journal._database.writer.write("delete", "DELETE FROM authorization WHERE id = 1")
    assert await journal.record(entry()) == 3


async def test_stop_tap_ends_the_authorization_that_it_names(journal: Journal) -> None:
    start = await journal.record(entry())
    stop = entry(relay_closed=False, tapped_at=at(60), ends=start, end_reason=EndReason.SAME_CARD)
    await journal.record(stop)
    ended = await recorded(journal, start)
    assert (ended.ended_at, ended.ended_because) == (at(60), EndReason.SAME_CARD)
    assert (await recorded(journal, 2)).entry == stop


async def test_stop_tap_that_can_not_be_recorded_ends_nothing(journal: Journal) -> None:
    start = await journal.record(entry())
    with pytest.raises(StoreError, match="CHECK constraint"):
        await journal.record(entry(ends=start, end_reason=None))
    assert await journal.recent(10) == [Recorded(start, entry())]


async def test_end_is_kept_when_ended_twice(journal: Journal) -> None:
    start = await journal.record(entry())
    await journal.end(start, at(5), EndReason.OPERATOR)
    await journal.end(start, at(9), EndReason.SHUTDOWN)
    await journal.record(entry(tapped_at=at(10), ends=start, end_reason=EndReason.SAME_CARD))
    ended = await recorded(journal, start)
    assert (ended.ended_at, ended.ended_because) == (at(5), EndReason.OPERATOR)


async def test_start_after_a_crash_ends_what_was_open_and_nothing_else(journal: Journal) -> None:
    done = await journal.record(entry())
    await journal.end(done, at(1), EndReason.OPERATOR)
    refusal = await journal.record(refused())
    first, second = await journal.record(entry()), await journal.record(entry())
    assert await journal.close_open(at(100), EndReason.RESTART) == 2
    ends = {one.id: (one.ended_at, one.ended_because) for one in await journal.recent(10)}
    restart = (at(100), EndReason.RESTART)
    assert ends == {done: (at(1), EndReason.OPERATOR), refusal: (None, None), first: restart, second: restart}


async def test_second_start_ends_only_what_came_since_the_first(journal: Journal) -> None:
    await journal.record(entry())
    await journal.close_open(at(100), EndReason.RESTART)
    assert await journal.close_open(at(200), EndReason.RESTART) == 0
    since = await journal.record(entry())
    assert await journal.close_open(at(300), EndReason.RESTART) == 1
    assert (await recorded(journal, 1)).ended_at == at(100)
    assert (await recorded(journal, since)).ended_at == at(300)


async def test_start_with_an_empty_file_ends_nothing(journal: Journal) -> None:
    assert await journal.close_open(NOON, EndReason.RESTART) == 0


async def test_start_does_not_look_again_through_what_was_seen_to_be_over(journal: Journal) -> None:
    for number in (1, 2, 3):
        await journal.record(entry())
        await journal.end(number, at(1), EndReason.OPERATOR)
    running = await journal.record(entry())
    await journal.record(refused())
    await journal.settle_open_check()
    assert await journal._database.read("look", "SELECT up_to FROM open_check") == [(running - 1,)]
    await journal.end(running, at(2), EndReason.OPERATOR)
    await journal.settle_open_check()
    assert await journal._database.read("look", "SELECT up_to FROM open_check") == [(5,)]


async def test_start_ends_what_went_on_when_the_others_were_settled(journal: Journal) -> None:
    running = await journal.record(entry())
    await journal.record(refused())
    await journal.settle_open_check()
    assert await journal.close_open(at(100), EndReason.RESTART) == 1
    assert (await recorded(journal, running)).ended_at == at(100)


async def test_settling_again_writes_nothing(journal: Journal) -> None:
    await journal.record(refused())
    await journal.settle_open_check()
    before = journal._database.commits()
    await journal.settle_open_check()
    assert journal._database.commits() == before


async def test_late_answer_reads_back_as_it_came(journal: Journal) -> None:
    start = await journal.record(entry())
    answer = late(
        start,
        joined=False,
        outcome=Outcome.NO_CREDIT,
        token=token(energy_contract=EnergyContract("A supplier", "C-1"), language="de"),
        info=DisplayText("de", "Guthaben aufgebraucht"),
    )
    await journal.add_late(answer)
    assert await journal.recent(1) == [Recorded(start, entry(), late=(answer,))]


async def test_joined_late_answer_gives_its_reference_to_the_authorization_unchanged(journal: Journal) -> None:
    start = await journal.record(entry(authorization_reference="of the first answer"))
    await journal.add_late(late(start))
    found = await recorded(journal, start)
    assert found.entry.authorization_reference == REFERENCE
    assert found.late == (late(start),)


async def test_joined_late_answer_without_reference_keeps_the_one_there(journal: Journal) -> None:
    start = await journal.record(entry(authorization_reference="of the first answer"))
    await journal.add_late(late(start, authorization_reference=None))
    assert (await recorded(journal, start)).entry.authorization_reference == "of the first answer"


async def test_late_answer_that_did_not_join_changes_no_reference(journal: Journal) -> None:
    start = await journal.record(entry())
    await journal.add_late(late(start, joined=False))
    assert (await recorded(journal, start)).entry.authorization_reference is None


async def test_late_answer_to_no_authorization_is_refused(journal: Journal) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await journal.add_late(late(7))
    assert await journal.recent(10) == []


async def test_recent_pages_backwards_and_by_evse(journal: Journal) -> None:
    for number in range(6):
        await journal.record(refused(evse_uid=f"EVSE {number % 2}"))
    assert [one.id for one in await journal.recent(2)] == [6, 5]
    assert [one.id for one in await journal.recent(2, before=5)] == [4, 3]
    assert [one.id for one in await journal.recent(9, evse_uid="EVSE 1", before=6)] == [4, 2]


async def test_record_that_is_not_there_is_none(journal: Journal) -> None:
    assert await journal.get(1) is None


async def test_eight_evses_at_once_get_their_own_ids(journal: Journal) -> None:
    taps = [entry(evse_uid=f"EVSE {number}") for number in range(8)]
    ids = await asyncio.gather(*(journal.record(tap) for tap in taps))
    assert sorted(ids) == list(range(1, 9))
    found = [await recorded(journal, authorization_id) for authorization_id in ids]
    assert [one.entry for one in found] == taps


async def test_disk_that_takes_nothing_refuses_the_record_and_takes_the_next(journal: Journal) -> None:
    first = await journal.record(entry())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(StoreError):
            await journal.record(entry(ends=first, end_reason=EndReason.SAME_CARD))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await journal.recent(10) == [Recorded(first, entry())]
    assert await journal.record(replace(entry(), evse_uid="after")) == 2


def killed_in_the_middle(path: Path, acknowledged: int) -> list[int]:
    """The ids that a process told before it was killed, `acknowledged` of them at least."""
    command = [sys.executable, "-m", "tests.store.record_until_killed", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        told += process.stdout.readlines()
    return [int(line) for line in told if line.endswith("\n")]


def test_killed_process_leaves_every_acknowledged_record_in_a_sound_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    told = [number for size in range(1, 100, 10) for number in killed_in_the_middle(path, size)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {number for (number,) in connection.execute("SELECT id FROM authorization")}
    assert len(told) == len(set(told)) >= 10
    assert set(told) <= kept


async def test_peers_and_journal_share_one_file(journal: Journal) -> None:
    peers = PeerStore(journal._database)
    first, _, second = await asyncio.gather(
        journal.record(entry()),
        peers.invite("emsp", "token-a", expires_at=at(60), at=NOON, ca_file=None, note=""),
        journal.record(entry()),
    )
    assert (first, second) == (1, 2)
    assert await peers.relation("emsp") is not None
