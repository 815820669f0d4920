"""`readers`: what is plugged in, with the lines that would use it; and, watched, what each card gives.

Card uids are shown here, for whoever holds the card to the reader asks for just that. They never go to a log.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from agent.commands.terminal import harmless, json_text
from agent.config import ReaderSection
from agent.devices.readers import reader_of
from agent.diagnosis.found_lines import listed
from agent.diagnosis.outputs import BUS_S
from agent.diagnosis.rights import lacking
from agent.errors import AgentError, ConfigError
from agent.model import Tap
from agent.ports import Reader, ReaderState
from hw.discovery import look
from hw.discovery_boards import ask_bus
from hw.discovery_libraries import missing_extra
from hw.discovery_pcsc import pcsc_readers
from hw.discovery_sysfs import REAL, Roots
from hw.patience import answered_within
from hw.readers.uids import is_random

LOOK_S = 0.5
"""How often it is looked whether frames were dropped: as soon as a person looks up from the reader."""


def listing(*, probe: bool, as_json: bool, roots: Roots = REAL) -> None:
    """Print everything that is plugged in."""
    there = listed(look(roots, probe=_asked if probe else None), _lacking, missing_extra)
    for each in there:
        for line in [json_text(each.as_object())] if as_json else each.in_words():
            click.echo(harmless(line))
    if not there and not as_json:
        click.echo("nothing is plugged in that could be a reader, a relay board or a display")


def _asked(bus: int) -> list[int]:
    return answered_within(BUS_S, lambda: ask_bus(bus), f"I2C bus {bus}")


def _lacking(node: Path) -> str:
    with suppress(OSError):  # pulled a moment ago
        return lacking(node)
    return ""


def named_reader(kind: str, port: str) -> ReaderSection:
    """A reader with the defaults of its kind; `port` is where it is, by whatever key that kind has for it.

    Raises ConfigError.
    """
    key = {"keyboard": "device", "pcsc": "match"}.get(kind, "port")
    return _section({"name": kind, "kind": kind, key: port})


def found_readers() -> list[ReaderSection]:
    """Every reader that tells what it is. Raises AgentError where there is none.

    What is behind a serial port is not known, and a keyboard that is grabbed may be the one that somebody types on.
    """
    found = pcsc_readers()
    if found.readers:
        return [_section({"name": "pcsc", "kind": "pcsc", "match": "*"})]
    why = found.advice or "no PC/SC reader is plugged in"
    raise AgentError(
        f"{why}; another one must be named: --kind rdm6300 --port /dev/ttyUSB0 (or id12la, line, pn532), "
        "--kind keyboard --port /dev/input/by-id/…, or --config FILE; without --watch the command lists what is there"
    )


def _section(table: dict[str, str]) -> ReaderSection:
    try:
        return msgspec.convert(table, ReaderSection)  # type: ignore[no-any-return]  # a union of types
    except msgspec.ValidationError as error:
        raise ConfigError(f"--kind {table['kind']}: {error}") from error


async def watch(sections: Sequence[ReaderSection], *, once: bool, as_json: bool) -> None:
    """Run the readers and print what they say, until cancelled; with `once` until the first card."""
    watched = [_Watched(reader_of(section), section, as_json=as_json) for section in sections]
    first = asyncio.Event()
    tasks = [asyncio.create_task(each.run(first)) for each in watched]
    tasks += [asyncio.create_task(each.count()) for each in watched]
    if once:
        tasks.append(asyncio.create_task(_wait(first)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait(first: asyncio.Event) -> None:
    await first.wait()


class _Watched:
    """One reader, whose words are printed."""

    def __init__(self, reader: Reader, section: ReaderSection, *, as_json: bool) -> None:
        self._reader = reader
        self._doubt = _doubt(section)
        self._as_json = as_json
        self._bad_frames = 0

    async def run(self, first: asyncio.Event) -> None:
        """Until cancelled; sets `first` at the first card."""

        def on_tap(tap: Tap) -> None:
            self._say(card_in_words(tap), card_as_object(tap))
            first.set()

        def on_state(state: ReaderState, advice: str) -> None:
            said = {"event": "state", "reader": self._reader.name, "state": str(state), "sentence": advice}
            self._say(f"{self._reader.name}: {advice}", said)

        await self._reader.run(on_tap, on_state)

    async def count(self) -> None:
        """Tell of frames that were dropped, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            bad = self._reader.bad_frames
            if bad != self._bad_frames:
                self._bad_frames = bad
                said = {"event": "bad-frames", "reader": self._reader.name, "bad_frames": bad, "sentence": self._doubt}
                frames = "bad frame" if bad == 1 else "bad frames"
                self._say(f"{self._reader.name}: {bad} {frames}: {self._doubt}", said)

    def _say(self, words: str, fields: Mapping[str, object]) -> None:
        click.echo(json_text(fields) if self._as_json else harmless(words))


def _doubt(section: ReaderSection) -> str:
    """What an installer checks when frames don't come whole."""
    if hasattr(section, "baudrate"):
        return "is the kind right, and the baudrate?"
    if hasattr(section, "data0"):
        return "are both data wires connected, and the ground?"
    return "was the card held still?"


def card_in_words(tap: Tap) -> str:
    """A card, as its holder may see it."""
    raw = tap.raw.hex(" ").upper() or "not known"
    uid = f"uid {tap.uid}"
    random = "; a random uid, another one each time, as a phone has" if is_random(tap.raw) else ""
    return f"{tap.reader}: {uid}, from {len(tap.raw)} bytes: {raw}{random}"


def card_as_object(tap: Tap) -> dict[str, object]:
    """The same for a program."""
    return {
        "event": "card",
        "reader": tap.reader,
        "uid": tap.uid,
        "raw": tap.raw.hex().upper(),
        "bytes": len(tap.raw),
        "is_random": is_random(tap.raw),
        "is_refused": tap.is_random,
    }
