"""USB relay boards that are not there: one for a serial line, on a pseudo-terminal, and those for USB HID.

Written by hand from what is published of the boards, and strict: what the real board would not understand moves
nothing. World side: `contact_closed`, `moves`, `plug`, `unplug`. A board keeps its contacts when a program dies, and
opens them when its 5 V go with the cable; with `self_powered` they stay as they are.
"""

import errno
import os
import secrets
import select
import threading
import tty
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

from fakes.cable import Pluggable

Chatter = Literal["nothing", "bytes", "lines"]
"""What a board answers to FF: they differ."""


@dataclass
class Contacts:
    """The relays of one board."""

    count: int
    self_powered: bool = False
    moves: int = 0
    _closed: set[int] = field(default_factory=set)

    def is_closed(self, channel: int) -> bool:
        """Whether current flows through a channel, counted from 1."""
        return channel in self._closed

    def move(self, channel: int, *, closed: bool) -> None:
        """Let one channel have its state; a channel that the board lacks has none."""
        if not 1 <= channel <= self.count or closed is self.is_closed(channel):
            return
        self.moves += 1
        (self._closed.add if closed else self._closed.discard)(channel)

    def lose_power(self) -> None:
        """The coils have no current any more, unless something else feeds them."""
        if not self.self_powered:
            self.moves += len(self._closed)
            self._closed.clear()


class LcusBoard(Pluggable):
    """A board with a CH340, such as an LCUS-2. `path` is where the program finds it while it is plugged in.

    It takes A0, channel, 01 or 00, and their sum; anything else it drops byte by byte until an A0 comes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        channels: int = 2,
        answers: Chatter = "nothing",
        self_powered: bool = False,
        name: str = "relays",
    ) -> None:
        """The board starts unplugged."""
        self.path = directory / name
        self._contacts = Contacts(channels, self_powered)
        self._answers: Chatter = answers
        self._ends: tuple[int, int] | None = None
        self._heard = b""

    def plug(self) -> None:
        """Plug the cable in; nothing happens where it is."""
        if self._ends is not None:
            return
        self._ends = master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._heard = b""
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))

    def unplug(self) -> None:
        """Pull the cable: the path is gone, and who has the line open gets an error."""
        if self._ends is None:
            return
        self._listen()
        self.path.unlink(missing_ok=True)
        master, slave = self._ends
        os.close(master)
        os.close(slave)
        self._ends = None
        self._contacts.lose_power()

    def contact_closed(self, channel: int = 1) -> bool:
        """Whether current flows, once everything that was sent by now has arrived."""
        self._listen()
        return self._contacts.is_closed(channel)

    def moves(self) -> int:
        """How often its contacts have moved."""
        self._listen()
        return self._contacts.moves

    def say(self, data: bytes) -> None:
        """Send bytes that nobody asked for."""
        if self._ends is not None:
            with suppress(BlockingIOError):
                os.write(self._ends[0], data)

    def _listen(self) -> None:
        """Take what is on the line, up to a mark that we send behind it through the same end as the program.

        A pseudo-terminal hands bytes on in their order, but a moment later: no mark, and not all have come.
        """
        if self._ends is None:
            return
        master, slave = self._ends
        mark = secrets.token_bytes(16)
        os.write(slave, mark)
        came = b""
        poll = select.poll()
        poll.register(master, select.POLLIN)
        while mark not in came:
            if not poll.poll(1000):
                os.write(slave, mark)  # somebody flushed the line
                continue
            with suppress(BlockingIOError):
                came += os.read(master, 4096)
        self._heard += came.replace(mark, b"")
        while self._take():
            pass

    def _take(self) -> bool:
        """Understand one command or drop one byte; whether there was enough for that."""
        heard = self._heard
        if not heard:
            return False
        if heard[0] != 0xA0:
            self._heard = heard[1:]
            if heard[0] == 0xFF:
                self._answer()
            return True
        if len(heard) < 4:
            return False
        _, channel, operation, checksum = heard[:4]
        if operation in (0, 1) and checksum == (0xA0 + channel + operation) % 256:
            self._contacts.move(channel, closed=operation == 1)
            self._heard = heard[4:]
        else:
            self._heard = heard[1:]
        return True

    def _answer(self) -> None:
        states = [self._contacts.is_closed(channel) for channel in range(1, self._contacts.count + 1)]
        if self._answers == "bytes":
            self.say(bytes(states))
        elif self._answers == "lines":
            for channel, closed in enumerate(states, start=1):
                self.say(f"CH{channel}:{'ON' if closed else 'OFF'} \r\n".encode())


class HidBoard:
    """A board of 16C0:05DF, such as a USBRelay2, at the level of its one feature report of 8 bytes."""

    def __init__(self, serial: str = "BITFT", *, channels: int = 2, self_powered: bool = False) -> None:
        """It starts plugged in."""
        if len(serial) != 5:
            raise ValueError(f"{serial!r} is no serial of such a board: they have 5 characters")
        self.serial = serial
        self.channels = channels
        self.is_plugged = True
        self.reports_read = 0
        self.opened = 0
        """How many programs, or parts of one, have it open."""
        self.generation = 1
        """How often it was plugged in: who had it open before has a dead device."""
        self._contacts = Contacts(channels, self_powered)
        self._jammed = False
        self._answering = threading.Event()
        self._answering.set()

    # ---- world side

    def contact_closed(self, channel: int = 1) -> bool:
        """Whether current flows."""
        return self._contacts.is_closed(channel)

    def moves(self) -> int:
        """How often its contacts have moved."""
        return self._contacts.moves

    def unplug(self) -> None:
        """Pull the cable."""
        if self.is_plugged:
            self.is_plugged = False
            self._contacts.lose_power()

    def plug(self) -> None:
        """Put it back."""
        if not self.is_plugged:
            self.is_plugged = True
            self.generation += 1

    def jam(self) -> None:
        """Take commands and do nothing."""
        self._jammed = True

    def unjam(self) -> None:
        """Do as it is told again."""
        self._jammed = False

    def hang(self) -> None:
        """Answer nothing any more: who asks waits."""
        self._answering.clear()

    def answer_again(self) -> None:
        """Carry out what waits, and answer."""
        self._answering.set()

    def move_by_hand(self, channel: int, *, closed: bool) -> None:
        """Another program, or its button, moves a contact."""
        self._contacts.move(channel, closed=closed)

    # ---- port side

    def set_report(self, report: bytes) -> bool:
        """Whether it takes the report; one that it does not know it stalls."""
        self._answering.wait()
        if len(report) != 8:
            return False
        command, channel = report[0], report[1]
        match command:
            case 0xFF | 0xFD if 1 <= channel <= self.channels:
                channels: Sequence[int] = (channel,)
            case 0xFE | 0xFC:
                channels = range(1, self.channels + 1)
            case _:
                return False
        for each in channels if not self._jammed else ():
            self._contacts.move(each, closed=command in (0xFF, 0xFE))
        return True

    def get_report(self) -> bytes:
        """The serial, two bytes of nothing, and a bit for each closed contact."""
        self._answering.wait()
        self.reports_read += 1
        state = sum(1 << (channel - 1) for channel in range(1, 9) if self._contacts.is_closed(channel))
        return self.serial.encode() + bytes((0, 0, state))


class HidBus:
    """The module `hid` of hidapi with these boards plugged in, as far as a relay board needs it.

    `send_feature_report` says -1 when it fails, and `get_feature_report` raises OSError, as the real ones do.
    """

    def __init__(self, *boards: HidBoard) -> None:
        self.boards = list(boards)
        self.searches = 0
        self.holds: list[HidHold] = []
        """What programs have to themselves."""

    def enumerate(self, vendor: int = 0, product: int = 0) -> list[dict[str, Any]]:
        """What is plugged in."""
        self.searches += 1
        if (vendor, product) not in ((0, 0), (0x16C0, 0x05DF)):
            return []
        return [
            {
                "path": f"/dev/hidraw{number}".encode(),
                "vendor_id": 0x16C0,
                "product_id": 0x05DF,
                "serial_number": "",
                "manufacturer_string": "www.dcttech.com",
                "product_string": f"USBRelay{board.channels}",
            }
            for number, board in zip(count(), self.boards, strict=False)
            if board.is_plugged
        ]

    def device(self) -> "HidDevice":
        """A handle that is not open yet."""
        return HidDevice(self)

    def hold(self, path: bytes, channel: int) -> "HidHold":
        """One byte of a node, as the kernel locks it: BlockingIOError where another program, or part of one, has it."""
        hold = HidHold(self, path, channel)
        if any(other.of == hold.of for other in self.holds):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.holds.append(hold)
        return hold

    def kill_programs(self) -> None:
        """Whoever held a relay has died, and the kernel has taken it back."""
        self.holds.clear()

    def board_at(self, path: bytes) -> HidBoard:
        """The board at a path. Raises OSError where none is plugged in."""
        number = int(path.decode().removeprefix("/dev/hidraw"))
        if number >= len(self.boards) or not self.boards[number].is_plugged:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.boards[number]


class HidHold:
    """A lock on one byte of a node, until it is closed. The node is gone with its board: another one comes."""

    def __init__(self, bus: HidBus, path: bytes, channel: int) -> None:
        """Raises OSError where no board is plugged in."""
        self._bus = bus
        self._board = bus.board_at(path)
        self._generation = self._board.generation
        self.of = (id(self._board), self._generation, channel)
        """Which byte of which node."""

    def is_on(self, path: bytes) -> bool:
        """Whether the node is still the one that is held."""
        try:
            board = self._bus.board_at(path)
        except OSError:
            return False
        return board is self._board and board.generation == self._generation

    def close(self) -> None:
        """Give it back; nothing happens where it was given back."""
        if self in self._bus.holds:
            self._bus.holds.remove(self)


class HidDevice:
    """One handle. Calls on one that is not open raise ValueError."""

    def __init__(self, bus: HidBus) -> None:
        self._bus = bus
        self._board: HidBoard | None = None
        self._generation = 0

    def open_path(self, path: bytes) -> None:
        """Open the board at a path."""
        try:
            self._board = self._bus.board_at(path)
        except OSError as error:
            raise OSError("open failed") from error
        self._generation = self._board.generation
        self._board.opened += 1

    def close(self) -> None:
        """Close it; nothing happens where it is closed."""
        if self._board is not None:
            self._board.opened -= 1
            self._board = None

    def send_feature_report(self, data: Sequence[int]) -> int:
        """The first byte is the report's number, which these boards lack: 0."""
        board = self._alive()
        report = bytes(data)
        if board is None or report[:1] != b"\0" or not board.set_report(report[1:]):
            return -1
        return len(report)

    def get_feature_report(self, report_num: int, max_length: int) -> list[int]:
        """With number 0 the report comes behind that number; asked for with another one, it comes in its place."""
        board = self._alive()
        if board is None:
            raise OSError("read error")
        report = board.get_report()
        return list((b"\0" + report if report_num == 0 else report)[:max_length])

    def _alive(self) -> HidBoard | None:
        if self._board is None:
            raise ValueError("not open")
        return self._board if self._board.is_plugged and self._board.generation == self._generation else None
