"""Serial text displays: what goes over the line, and what becomes of it when nobody listens."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.ports import Charset
from fakes.glass import Kind, SerialGlass
from hw.outputs.serial_display import SerialDisplay
from hw.outputs.visible import padded, visible
from hw.serial_port import open_port

HANG_S = 60.0
"""Against hangs alone."""
SOON_S = 0.001


class Sent:
    """A port that keeps what was sent."""

    def __init__(self, port: str, baudrate: int, sent: list[bytes]) -> None:
        self._line = open_port(port, baudrate)
        self._sent = sent

    def fileno(self) -> int:
        return int(self._line.fileno())

    def write(self, data: bytes) -> int | None:
        written = self._line.write(data)
        self._sent.append(data)
        return written

    def close(self) -> None:
        self._line.close()


class Till:
    """A display on its line, and what was said to it."""

    def __init__(self, glass: SerialGlass, kind: Kind, charset: Charset, columns: int, rows: int) -> None:
        self.glass = glass
        self.sent = list[bytes]()
        self.display = SerialDisplay(
            "EVSE 1",
            os.fspath(glass.path),
            protocol=kind,
            columns=columns,
            rows=rows,
            charset=charset,
            retry_s=SOON_S,
            check_s=SOON_S,
            open_line=lambda port, baudrate: Sent(port, baudrate, self.sent),
        )

    def shown(self, *lines: str) -> tuple[str, ...]:
        self.display.show(lines)
        return self.seen()

    def seen(self) -> tuple[str, ...]:
        assert self.display.settle(HANG_S)
        assert self.glass.wait_for(sum(map(len, self.sent)), HANG_S)
        return self.glass.lines


@contextmanager
def till(
    directory: Path, kind: Kind = "cd5220", charset: Charset = Charset.ASCII, *, columns: int = 20, rows: int = 2
) -> Iterator[Till]:
    with SerialGlass(directory, kind, columns=columns, rows=rows, encoding=charset.value) as glass:
        its = Till(glass, kind, charset, columns, rows)
        try:
            yield its
        finally:
            glass.stuck.clear()
            its.display.close(HANG_S)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("plain", b"\fone\r\ntwo"),
        ("cd5220", b"\x1bQAone                 \r\x1bQBtwo                 \r"),
        ("vt100", b"\x1b[1;1Hone\x1b[K\x1b[2;1Htwo\x1b[K"),
    ],
)
def test_text_is_sent_as_the_protocol_has_it(kind: Kind, sent: bytes, tmp_path: Path) -> None:
    with till(tmp_path, kind) as its:
        assert its.shown("one", "two") == ("one", "two")
        assert its.sent[-1] == sent
        assert its.glass.not_understood == 0


@pytest.mark.parametrize("kind", ["cd5220", "vt100"])
def test_cursor_is_switched_off(kind: Kind, tmp_path: Path) -> None:
    with till(tmp_path, kind) as its:
        its.shown("one")
        assert not its.glass.cursor_seen


@pytest.mark.parametrize("kind", ["plain", "cd5220", "vt100"])
def test_shorter_text_leaves_nothing_of_the_longer_one(kind: Kind, tmp_path: Path) -> None:
    with till(tmp_path, kind) as its:
        its.shown("x" * 20, "y" * 20)
        assert its.shown("one") == ("one", "")


@pytest.mark.parametrize(
    ("charset", "seen"), [(Charset.ASCII, "gr?n ?"), (Charset.LATIN_1, "grün ?"), (Charset.UNICODE, "grün €")]
)
def test_character_that_the_display_lacks_is_a_question_mark(charset: Charset, seen: str, tmp_path: Path) -> None:
    with till(tmp_path, "vt100", charset) as its:
        assert its.shown("grün €")[0] == seen


def test_control_sequence_in_a_text_does_not_reach_the_display(tmp_path: Path) -> None:
    with till(tmp_path, "vt100") as its:
        assert its.shown("\x1b[2Jhacked", "\r\n\x1b@") == (" [2Jhacked", "   @")


def test_cut_cable_is_noticed_and_the_text_is_back_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with till(tmp_path) as its:
        its.shown("Charging")
        its.glass.unplug()
        while not caplog.records:
            its.display.settle(SOON_S)
        its.sent.clear()
        its.glass.plug()
        while len(its.sent) < 2:
            its.display.settle(SOON_S)
        assert its.sent[-1].startswith(b"\x1bQACharging")
        assert "check the cable" in caplog.messages[0]


def test_missing_port_is_said_once_with_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    display = SerialDisplay(
        "EVSE 1", os.fspath(tmp_path / "nothing"), protocol="plain", columns=20, rows=2, retry_s=SOON_S
    )
    display.show(["a"])
    assert not display.settle(0.1)
    display.close(HANG_S)
    assert len(caplog.messages) == 1
    assert "nothing is not there" in caplog.messages[0]


def test_display_that_takes_nothing_keeps_nobody_waiting_and_gets_the_newest_text_later(tmp_path: Path) -> None:
    with till(tmp_path, "plain", rows=4) as its:
        its.glass.stuck.set()
        for number in range(5000):
            its.display.show([f"No {number}", *["x" * 20] * 3])
        its.glass.stuck.clear()
        assert its.seen()[0] == "No 4999"


@pytest.mark.parametrize(
    ("kind", "rows", "charset", "reason"),
    [
        ("cd5220", 4, Charset.ASCII, "a CD5220 display has 2 rows, not 4"),
        ("plain", 2, Charset.HD44780_A00, "hd44780-a00 is no character set of a serial display"),
    ],
)
def test_what_the_protocol_can_not_do_is_refused(kind: Kind, rows: int, charset: Charset, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SerialDisplay("EVSE 1", "/dev/null", protocol=kind, columns=20, rows=rows, charset=charset)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ab\x1b[2Jcd", "ab [2Jcd"),
        ("x" * 30, "x" * 20),
        ("e\u0323" * 25, "e\u0323" * 20),
        ("\u5145" * 15, "\u5145" * 10),
        ("x" * 19 + "\u5145y", "x" * 19),
    ],
)
def test_line_is_cut_by_its_columns_and_not_by_its_code_points(line: str, shown: str) -> None:
    assert visible(line, 20) == shown


@pytest.mark.parametrize("line", ["abc", "e\u0323bc", "a\u5145"])
def test_line_is_filled_up_by_its_columns(line: str) -> None:
    assert padded(line, 20) == line + " " * 17
