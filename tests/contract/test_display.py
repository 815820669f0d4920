"""What every display promises (`agent.ports.Display`)."""

import fcntl
import io
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest

from agent.ports import Charset
from hw.outputs.console_display import ConsoleDisplay

HANG_S = 60.0
"""Against hangs alone."""


def display(stream: TextIO, charset: Charset = Charset.UNICODE, *, columns: int = 20, rows: int = 2) -> ConsoleDisplay:
    return ConsoleDisplay(stream, columns=columns, rows=rows, charset=charset, label="EVSE 1")


def shown(*lines: str, charset: Charset = Charset.UNICODE) -> str:
    stream = io.StringIO()
    display(stream, charset).show(lines)
    return stream.getvalue()


def test_display_says_what_it_can_show() -> None:
    shows = display(io.StringIO(), Charset.LATIN_1, columns=16, rows=4)
    assert (shows.columns, shows.rows, shows.charset) == (16, 4, Charset.LATIN_1)


def test_text_is_one_line_with_the_label() -> None:
    assert shown("Bitte warten", "Karte wird geprüft") == "[EVSE 1] Bitte warten | Karte wird geprüft\n"


def test_new_text_follows_the_old_one() -> None:
    stream = io.StringIO()
    shows = display(stream)
    shows.show(["Please wait"])
    shows.show(["Charging"])
    assert stream.getvalue() == "[EVSE 1] Please wait\n[EVSE 1] Charging\n"


def test_nothing_to_show_is_an_empty_line() -> None:
    assert shown() == "[EVSE 1] \n"


def test_what_does_not_fit_is_cut_as_a_display_would() -> None:
    assert shown("x" * 21, "y", "z") == f"[EVSE 1] {'x' * 20} | y\n"


@pytest.mark.parametrize(("charset", "text"), [(Charset.ASCII, "gr?n ?"), (Charset.LATIN_1, "grün ?")])
def test_characters_that_the_display_lacks_become_question_marks(charset: Charset, text: str) -> None:
    assert shown("grün €", charset=charset) == f"[EVSE 1] {text}\n"


def test_control_sequences_do_not_reach_the_terminal() -> None:
    assert shown("\x1b[2Jhacked\r\n", "a\tb\x07") == "[EVSE 1]  [2Jhacked   | a b \n"


def test_stream_of_a_smaller_character_set_gets_question_marks() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    display(stream).show(["grün"])
    stream.seek(0)
    assert stream.read() == "[EVSE 1] gr?n\n"


def test_program_without_standard_output_shows_nothing_and_goes_on() -> None:
    shows = ConsoleDisplay(None, columns=20, rows=2, charset=Charset.UNICODE, label="EVSE 1")
    shows.show(["Please wait"])
    shows.close()


def test_closed_stream_is_said_once_and_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    shows = display(stream)
    stream.close()
    for _ in range(3):
        shows.show(["Charging"])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "display EVSE 1: its stream is gone" in caplog.text


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    """The end to read from, and a small pipe's end to write to as a stream."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writing, "w") as stream:
        yield reading, stream


def test_text_for_a_pipe_is_there_once_the_display_is_closed() -> None:
    with pipe() as (reading, stream):
        shows = display(stream)
        shows.show(["Please wait"])
        shows.close(HANG_S)
        assert os.read(reading, 4096) == b"[EVSE 1] Please wait\n"
        os.close(reading)


def test_closed_display_shows_nothing_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pipe() as (reading, stream):
        shows = display(stream)
        shows.show(["Charging"])
        shows.close(HANG_S)
        shows.show(["Please wait"])
        shows.close(HANG_S)
        assert threading.active_count() == before
        assert os.read(reading, 4096) == b"[EVSE 1] Charging\n"
        os.close(reading)


def test_pipe_that_nobody_empties_keeps_nobody_waiting_and_gets_the_newest_text_later() -> None:
    with pipe() as (reading, stream):
        shows = display(stream)
        os.set_blocking(stream.fileno(), False)
        with suppress(BlockingIOError):
            while True:
                os.write(stream.fileno(), b"." * 64)
        os.set_blocking(stream.fileno(), True)
        for number in range(1000):
            shows.show([f"Card {number}"])
        shows.close(0.0)
        seen = b""
        while b"Card 999" not in seen:
            seen += os.read(reading, 4096)
        assert seen.count(b"Card") <= 2
        shows.close(HANG_S)
        os.close(reading)


def test_broken_pipe_is_said_once_and_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    with pipe() as (reading, stream):
        os.close(reading)
        shows = display(stream)
        for _ in range(3):
            shows.show(["Charging"])
        shows.close(HANG_S)
        shows.show(["Charging"])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Broken pipe" in caplog.text
