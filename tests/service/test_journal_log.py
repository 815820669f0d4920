"""The log in the journal: entries as journald takes them, nobody kept waiting, and no card in clear."""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.commands.background_log import BackgroundLog, log_of
from agent.service.journal_log import BUFFER, JournalLog, is_journal, named_in
from fakes.emsp import Part
from tests.scenario.world import world
from tests.service.journal_socket import Entry, JournalSocket

LISTED, ASKED, UNKNOWN = "0AFFB2C3D4", "0B80A1B2C3", "0C90FEEDFA"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalSocket]:
    with JournalSocket(tmp_path) as bound:
        yield bound


@pytest.fixture
def log(journal: JournalSocket) -> Iterator[logging.Logger]:
    with logging_to(journal.address) as logger:
        yield logger


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def logging_to(address: str) -> Iterator[logging.Logger]:
    """A logger of its own that writes there alone."""
    logger = logging.Logger("agent.test")  # noqa: LOG001  one that the test ends
    handler = JournalLog(address=address)
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        handler.close()


def test_entry_says_what_where_and_how_bad(journal: JournalSocket, log: logging.Logger) -> None:
    log.warning("the whitelist is %d h old", 3)
    entry = journal.entry()
    line = int(entry.pop("CODE_LINE"))
    assert line > 0
    assert entry == {
        "MESSAGE": "the whitelist is 3 h old",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "chargepoint-agent",
        "LOGGER": "agent.test",
        "CODE_FILE": __file__,
        "CODE_FUNC": "test_entry_says_what_where_and_how_bad",
        "THREAD_NAME": threading.current_thread().name,
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, "2"),
        (logging.ERROR, "3"),
        (logging.WARNING, "4"),
        (logging.INFO, "6"),
        (logging.DEBUG, "7"),
        (logging.INFO + 5, "6"),
        (1, "7"),
    ],
)
def test_level_is_syslog_s(journal: JournalSocket, log: logging.Logger, level: int, priority: str) -> None:
    log.log(level, "here")
    assert journal.entry()["PRIORITY"] == priority


def test_what_a_message_names_is_a_field(journal: JournalSocket, log: logging.Logger) -> None:
    log.info("evse=%s authorization %d: peer %s answered late: %s after %.1f s", "DE*EXA*E1", 7, "emsp", "ALLOWED", 6.0)
    entry = journal.entry()
    assert (entry["EVSE"], entry["AUTHORIZATION"], entry["PEER"]) == ("DE*EXA*E1", "7", "emsp")
    assert "SESSION" not in entry


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("evse=%s session %d begins", ((0, "EVSE"), (1, "SESSION"))),
        ("reader %s: %s", ((0, "READER"),)),
        ("ALARM peer %s rejects us", ((0, "PEER"),)),
        ("%d%% of %*d by peer %s", ((3, "PEER"),)),
        ("%-10s %.*f reader %s, correlation=%s", ((3, "READER"), (4, "CORRELATION_ID"))),
        ("peer %s told peer %s", ((0, "PEER"),)),
        ("peer %s can't be told that session %s is over", ((0, "PEER"),)),
        ("card reader=%s, no-peer %s, speer %s", ()),
        ("peer %(name)s", ()),
        ("nothing at all", ()),
        ("broken % ", ()),
    ],
)
def test_fields_are_found_by_the_words_before_them(template: str, named: tuple[tuple[int, str], ...]) -> None:
    assert named_in(template) == named


def test_what_is_not_known_is_no_field(journal: JournalSocket, log: logging.Logger) -> None:
    log.info("evse=%s card refused, authorization %s", "DE*EXA*E1", None)
    assert "AUTHORIZATION" not in journal.entry()


def test_value_with_a_line_break_sets_no_other_field(journal: JournalSocket, log: logging.Logger) -> None:
    log.info("peer %s\nPRIORITY=0: %s", "em\nEVSE=forged", "=")
    entry = journal.entry()
    assert (entry["PEER"], entry["PRIORITY"]) == ("em\nEVSE=forged", "6")
    assert entry["MESSAGE"] == "peer em\nEVSE=forged\nPRIORITY=0: ="
    assert "EVSE" not in entry


def test_trace_goes_with_its_message(journal: JournalSocket, log: logging.Logger) -> None:
    log.critical("evse=%s ALARM", "E1", exc_info=ValueError("of no use"))
    message = journal.entry()["MESSAGE"]
    assert message == "evse=E1 ALARM\nValueError: of no use"


def test_text_that_is_no_utf_8_is_shown_by_its_code(journal: JournalSocket, log: logging.Logger) -> None:
    log.info("%s: ✓ Tür", os.fsdecode(b"/dev/\xff"))
    assert journal.entry()["MESSAGE"] == "/dev/\\udcff: ✓ Tür"


@pytest.mark.parametrize("length", [100_000, 20_000_000])
def test_message_too_long_for_a_datagram_comes_whole(journal: JournalSocket, log: logging.Logger, length: int) -> None:
    before = open_files()
    log.info("%s\nend", "x" * length)
    entry = journal.entry()
    assert len(entry["MESSAGE"]) == length + len("\nend")
    assert journal.files == (length > 2 * BUFFER)
    assert open_files() == before


def test_words_and_arguments_that_do_not_fit_are_told_by_their_place(
    journal: JournalSocket, log: logging.Logger
) -> None:
    log.info("evse=%s session %d", "E1")  # noqa: PLE1206  that is the point
    entry = journal.entry()
    assert entry["MESSAGE"].startswith(f"{__file__}:{entry['CODE_LINE']}: this line of the log can't be written: ")
    assert entry["EVSE"] == "E1"


def test_full_journal_is_not_waited_for_and_the_missing_are_counted(
    journal: JournalSocket, log: logging.Logger
) -> None:
    for number in range(5000):
        log.info("line %d", number)
    taken = journal.entries()
    assert 0 < len(taken) < 5000
    log.info("last")
    after = journal.entries()
    assert [entry["MESSAGE"] for entry in after] == [
        "last",
        f"entries missing here that the journal did not take at once: {5000 - len(taken)}",
    ]
    assert after[1]["PRIORITY"] == "4"
    log.info("and on")
    assert journal.entry()["MESSAGE"] == "and on"


def test_long_message_to_a_full_journal_is_dropped_and_leaves_no_file_open(
    journal: JournalSocket, log: logging.Logger
) -> None:
    for number in range(5000):
        log.info("line %d", number)
    before = open_files()
    log.info("x" * 20_000_000)
    assert open_files() == before
    assert not any(len(entry["MESSAGE"]) > 100 for entry in journal.entries())


def test_journal_that_vanishes_is_found_again_and_told_what_is_missing(tmp_path: Path) -> None:
    with JournalSocket(tmp_path) as first:
        address = first.address
    with logging_to(address) as log:
        log.info("nobody there")
        with JournalSocket(tmp_path) as second:
            log.info("somebody")
            said = [entry["MESSAGE"] for entry in second.entries()]
            assert said == ["somebody", "entries missing here that the journal did not take at once: 1"]
        log.info("gone again")
        with JournalSocket(tmp_path) as third:
            log.info("back")
            said = [entry["MESSAGE"] for entry in third.entries()]
            assert said == ["back", "entries missing here that the journal did not take at once: 1"]


def test_what_comes_after_its_end_is_no_fault(journal: JournalSocket) -> None:
    handler = JournalLog(address=journal.address)
    handler.close()
    handler.close()
    handler.handle(logging.makeLogRecord({"msg": "late", "name": "agent", "levelno": logging.INFO}))
    assert journal.entries() == []


def test_threads_log_at_once_and_every_entry_comes_whole(journal: JournalSocket, log: logging.Logger) -> None:
    came: list[Entry] = []
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            came.extend(journal.entries())

    def write(number: int) -> None:
        for count in range(200):
            log.info("peer %s says %d", f"p{number}", count)

    taking = threading.Thread(target=take)
    writing = [threading.Thread(target=write, args=(number,), name=f"writer {number}") for number in range(4)]
    for thread in (taking, *writing):
        thread.start()
    for thread in writing:
        thread.join()
    over.set()
    taking.join()
    came.extend(journal.entries())
    missing = sum(int(entry["MESSAGE"].split()[-1]) for entry in came if "missing here" in entry["MESSAGE"])
    told = [entry for entry in came if "PEER" in entry]
    assert all(entry["THREAD_NAME"] == f"writer {entry['PEER'][1:]}" for entry in told)
    assert len(told) + missing <= 800
    assert len(told) > 0


# ---- whose log it is


def test_standard_error_that_is_the_journal_s_is_known_by_its_inode(journal: JournalSocket) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stat = os.fstat(ours.fileno())
        environment = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        assert is_journal(ours.fileno(), environment, address=journal.address)
        assert not is_journal(theirs.fileno(), environment, address=journal.address)
        assert not is_journal(ours.fileno(), {}, address=journal.address)
        assert not is_journal(ours.fileno(), {"JOURNAL_STREAM": "?"}, address=journal.address)
        assert not is_journal(ours.fileno(), environment, address=journal.address + "-not-there")
        assert not is_journal(-1, environment, address=journal.address)


def test_journal_of_somebody_else_leaves_standard_error_as_it_was() -> None:
    reading, writing = os.pipe()
    handler = log_of(writing, {"JOURNAL_STREAM": "8:4711"})
    assert isinstance(handler, BackgroundLog)
    handler.handle(logging.makeLogRecord({"msg": "a line"}))
    handler.close()
    assert os.read(reading, 100) == b"a line\n"
    os.close(writing)
    os.close(reading)


# ---- what a real agent says


async def test_real_taps_bear_their_fields_and_no_uid_is_in_clear(
    journal: JournalSocket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handler = JournalLog(address=journal.address)
    root = logging.getLogger()
    cards = {LISTED: {"whitelist": "ALWAYS"}, ASKED: {"whitelist": "NEVER"}}
    with caplog.at_level(logging.DEBUG, "agent"), caplog.at_level(logging.DEBUG, "hw"):
        root.addHandler(handler)
        try:
            with journal.taken(asyncio.get_running_loop()) as taken:
                async with world(tmp_path, cards) as here:
                    settled = [await here.tap(uid, number % 2) for number, uid in enumerate((LISTED, ASKED, UNKNOWN))]
            came = taken + journal.entries()
        finally:
            root.removeHandler(handler)
            handler.close()
    taps = [entry for entry in came if "CORRELATION_ID" in entry]
    assert [(tap["EVSE"], tap["READER"], tap["CORRELATION_ID"], tap["PRIORITY"]) for tap in taps] == [
        (tap.entry.evse_uid, tap.tap.reader, tap.entry.correlation_id, "6") for tap in settled
    ]
    assert [tap["AUTHORIZATION"] for tap in taps] == [str(tap.authorization_id) for tap in settled]
    assert here.emsp.requests
    assert any(request.part is not Part.LIST for request in here.emsp.requests)
    everything = b"".join(journal.raw).upper()
    for uid in (LISTED, ASKED, UNKNOWN):
        assert uid.encode() not in everything
        assert bytes.fromhex(uid) not in everything
