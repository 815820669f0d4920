"""`pytest --hardware=FILE`: a run of its own on emulated devices, with the person scripted: who reads what it asks."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fakes.relay_boards import LcusBoard
from fakes.serial_line import SerialLine

HANG_S = 240
ROOT = Path(__file__).resolve().parents[2]
CARDS = {"1": "04A1B2FF80", "2": "8000FFFE7F"}
REPEAT_S = 0.05
"""As an RDM6300."""

CONFIGURATION = """
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
[storage]
directory = "databases"
[[reader]]
name = "left"
kind = "rdm6300"
port = "{reader}"
removal_s = 0.3
reopen_s = 0.05
[[evse]]
uid = "E1"
readers = ["left"]
relay = {{ kind = "lcus", port = "{board}" }}
display = {{ kind = "console", columns = 20, rows = 2 }}
light = {{ red = 5, green = 6, blue = 13 }}
"""


class ScriptedPerson:
    """Does and answers what a person would, with emulated devices in their hands."""

    def __init__(self, reader: SerialLine, board: LcusBoard) -> None:
        self._reader = reader
        self._board = board
        self._held: dict[str, asyncio.Task[None]] = {}
        self._displayed = ""
        self.asked: list[str] = []

    async def serve(self, run: asyncio.subprocess.Process) -> str:
        """Answer until the run has ended; all that it said."""
        assert run.stdout is not None
        assert run.stdin is not None
        said = pending = ""
        async for raw in run.stdout:
            line = raw.decode()
            said += line
            if shown := re.search(r"\[E1\] (.*)\n", line):
                self._displayed = shown[1]
            if asked := re.search(r">>> (.*)\n", line):
                self.asked.append(asked[1])
                pending = asked[1]
            if pending and (answer := self._answer(pending)) is not None:
                pending = ""
                run.stdin.write(f"{answer}\n".encode())
                await run.stdin.drain()
        return said

    def let_go(self) -> None:
        """Put every card away."""
        for card in list(self._held):
            self._take(card)

    def _answer(self, question: str) -> str | None:
        """What to say; None for a text that is not to be seen yet: whoever looks at a display waits a moment."""
        if looked := re.search(r"does it show exactly '(.*)' \(", question):
            return "y" if self._displayed.split(" | ") == looked[1].split(" / ") else None
        deeds: dict[str, Callable[[str], str | None]] = {
            r"take a card, call it card (\d)": self._hold,
            r"hold card (\d)": self._hold,
            r"take card (\d) away": self._take,
            r"unplug reader left": lambda _: self._reader.unplug(),
            r"plug reader left in": lambda _: self._reader.plug(),
            r"is it free of '(.*)'": lambda text: "ny"[text not in self._displayed],
            r"is its contact closed": lambda _: "ny"[self._board.contact_closed()],
            r"unplug the relay board": lambda _: self._board.unplug(),
            r"plug the relay board": lambda _: self._board.plug(),
        }
        for pattern, does in deeds.items():
            if found := re.search(pattern, question):
                return does(found[found.lastindex or 0]) or ""
        return "s"

    def _hold(self, card: str) -> None:
        async def repeat() -> None:
            while True:
                self._reader.present(CARDS[card])
                await asyncio.sleep(REPEAT_S)

        assert card not in self._held, "nobody holds a card that lies there"
        self._held[card] = asyncio.create_task(repeat())

    def _take(self, card: str) -> None:
        if task := self._held.pop(card, None):
            task.cancel()


async def run_with_a_person(folder: Path, *options: str) -> tuple[str, ScriptedPerson]:
    """All that a run said, and the person who was asked."""
    async with AsyncExitStack() as stack:
        reader = stack.enter_context(SerialLine(folder))
        board = stack.enter_context(LcusBoard(folder))
        file = folder / "agent.toml"
        file.write_text(CONFIGURATION.format(reader=reader.path, board=board.path))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hardware={file}", *options]
        run = await asyncio.create_subprocess_exec(
            *command, "tests/contract", cwd=ROOT, env={**os.environ, "GPIOZERO_PIN_FACTORY": "mock"},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        person = ScriptedPerson(reader, board)
        stack.callback(person.let_go)
        try:
            async with asyncio.timeout(HANG_S):
                return await person.serve(run), person
        finally:
            if run.returncode is None:
                run.kill()
            await run.wait()


def row(said: str, behaviour: str) -> str:
    """A behaviour's line of the table."""
    [line] = re.findall(rf"^{re.escape(behaviour)} .*$", said, re.MULTILINE)
    return str(line).removeprefix(behaviour).strip()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    text, _ = asyncio.run(run_with_a_person(tmp_path_factory.mktemp("hardware"), "--hardware-relays"))
    return text


def test_reader_is_shown_with_the_cards_that_the_person_has(said: str) -> None:
    assert row(said, "a card is one tap with its uid") == "✓"
    assert row(said, "a held card is one tap") == "✓"
    assert row(said, "comes back by itself, then reads") == "✓"
    assert row(said, "a bad frame is counted and no tap").startswith("–")  # noqa: RUF001  # the table's own dash
    assert "a person can't send a broken frame" in said


def test_display_is_shown_by_what_the_person_reads(said: str) -> None:
    assert row(said, "a new text replaces the old one") == "✓"
    assert row(said, "closed, it shows nothing more") == "✓"


def test_relay_is_shown_by_the_lamp_that_the_person_sees(said: str) -> None:
    assert row(said, "closing and opening moves the contact") == "✓"
    assert row(said, "a board that comes back is open") == "✓"


def test_what_the_person_can_not_do_is_left_out_with_that_reason(said: str) -> None:
    assert row(said, "accepted and refused are told apart").startswith("–")  # noqa: RUF001
    assert "the person could not do that here" in said


def test_run_on_hardware_fails_nothing_and_runs_nothing_else(said: str) -> None:
    last = said.strip().splitlines()[-1]
    assert "failed" not in last
    assert "error" not in last
    assert "deselected" in last


async def test_relay_switches_only_when_that_is_said(tmp_path: Path) -> None:
    said, person = await run_with_a_person(tmp_path, "-k", "suite_relays")
    assert "contactors may be wired" in said
    assert not [question for question in person.asked if "contact" in question]


async def test_configuration_that_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[party]\n")
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", f"--hardware={file}", "tests/contract",
        cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await run.communicate()
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {file}: " in said.decode()
