"""What all displays have in common: the newest text only, and a device that comes back."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from agent.errors import DeviceError
from hw.outputs.newest import NewestOnly, PanelWriter

HANG_S = 60.0
"""Against hangs alone."""
SOON_S = 0.001


@dataclass
class ScriptedPanel:
    """A device that can be taken away; `away` is the reason that it gives."""

    away: str | None = None
    forgot: bool = False
    """It had its power taken since it was written to."""
    shown: list[Sequence[str]] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    failed: threading.Event = field(default_factory=threading.Event)
    writing: threading.Event = field(default_factory=threading.Event)
    may_write: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_write.set()

    def open(self) -> None:
        self._answer()
        self.forgot = False
        self.opened += 1

    def write(self, lines: Sequence[str]) -> None:
        self.writing.set()
        assert self.may_write.wait(HANG_S)
        self._answer()
        self.shown.append(lines)

    def check(self) -> None:
        self._answer()
        if self.forgot:
            raise DeviceError("it had lost its power")

    def close(self) -> None:
        self.closed += 1

    def _answer(self) -> None:
        if self.away:
            self.failed.set()
            raise DeviceError(self.away)


def test_only_the_newest_of_what_came_meanwhile_is_worked_on() -> None:
    worked, begun, go_on = list[int](), threading.Event(), threading.Event()

    def work(number: int | None) -> None:
        assert number is not None
        begun.set()
        assert go_on.wait(HANG_S)
        worked.append(number)

    newest = NewestOnly[int]("test", work)
    newest.hand_over(1)
    assert begun.wait(HANG_S)
    for number in range(2, 1000):
        newest.hand_over(number)
    go_on.set()
    newest.close(HANG_S)
    assert worked == [1, 999]


def test_closing_works_on_the_newest_and_finishes_once() -> None:
    ends = list[str]()
    newest = NewestOnly[int]("test", lambda number: ends.append(f"{number}"), lambda: ends.append("end"))
    newest.hand_over(1)
    newest.close(HANG_S)
    newest.hand_over(2)
    newest.close(HANG_S)
    assert ends == ["1", "end"]


def test_closing_what_was_never_used_needs_no_thread() -> None:
    before = threading.active_count()
    NewestOnly[int]("test", lambda _: None).close(HANG_S)
    assert threading.active_count() == before


def test_stuck_device_does_not_keep_the_end_waiting() -> None:
    panel = ScriptedPanel()
    panel.may_write.clear()
    writer = PanelWriter("EVSE 1", panel)
    writer.show(["a"])
    assert panel.writing.wait(HANG_S)
    writer.close(0.0)
    assert panel.closed == 0
    panel.may_write.set()
    writer.close(HANG_S)
    assert panel.shown == [["a"]]
    assert panel.closed == 1


def test_same_text_again_is_not_written_again() -> None:
    panel = ScriptedPanel()
    writer = PanelWriter("EVSE 1", panel)
    for _ in range(3):
        writer.show(["a"])
        assert writer.settle(HANG_S)
    writer.close(HANG_S)
    assert panel.shown == [["a"]]


def test_missing_device_is_said_once_and_shows_the_newest_text_when_it_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    panel = ScriptedPanel(away="/dev/x is not there: check the cable")
    writer = PanelWriter("EVSE 1", panel, retry_s=SOON_S)
    for text in ("a", "b", "c"):
        panel.failed.clear()
        writer.show([text])
        assert panel.failed.wait(HANG_S)
    panel.away = None
    assert writer.settle(HANG_S)
    writer.close(HANG_S)
    assert panel.shown == [["c"]]
    assert caplog.messages == [
        "display EVSE 1: /dev/x is not there: check the cable",
        "display EVSE 1: it is back",
    ]


def test_another_cause_is_said_as_well(caplog: pytest.LogCaptureFixture) -> None:
    panel = ScriptedPanel(away="not there")
    writer = PanelWriter("EVSE 1", panel, retry_s=SOON_S)
    writer.show(["a"])
    assert panel.failed.wait(HANG_S)
    panel.away = "forbidden"
    panel.failed.clear()
    assert panel.failed.wait(HANG_S)
    writer.close(HANG_S)
    assert caplog.messages == ["display EVSE 1: not there", "display EVSE 1: forbidden"]


def test_device_that_lost_its_power_gets_its_text_again_by_itself() -> None:
    panel = ScriptedPanel()
    writer = PanelWriter("EVSE 1", panel, retry_s=SOON_S, check_s=SOON_S)
    writer.show(["a"])
    assert writer.settle(HANG_S)
    panel.writing.clear()
    panel.forgot = True
    assert panel.writing.wait(HANG_S)
    writer.close(HANG_S)
    assert panel.shown == [["a"], ["a"]]
    assert panel.opened == 2


def test_device_that_is_away_is_not_settled() -> None:
    panel = ScriptedPanel(away="not there")
    writer = PanelWriter("EVSE 1", panel, retry_s=SOON_S)
    writer.show(["a"])
    assert panel.failed.wait(HANG_S)
    assert not writer.settle(0.0)
    writer.close(HANG_S)


def test_fault_of_a_driver_is_traced_once_and_the_display_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(ScriptedPanel):
        def write(self, lines: Sequence[str]) -> None:
            if len(self.faults) < 3:
                self.faults.append(lines)
                raise KeyError("GPIO busy")
            super().write(lines)

        faults: list[Sequence[str]] = []  # noqa: RUF012  one panel only

    panel = Faulty()
    writer = PanelWriter("E1", panel, retry_s=SOON_S)
    writer.show(["hello"])
    assert writer.settle(HANG_S)
    writer.close(HANG_S)
    assert panel.shown == [["hello"]]
    assert sum("a fault of its driver" in record.message for record in caplog.records) == 1
