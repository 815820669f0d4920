"""A PN532 reader module that is not there: the chip as its user manual describes it, on a pseudo-terminal.

    with Pn532Module(directory) as module:
        module.present("04A1B2C3D4E580")

The frames are written here by hand, from NXP's UM0701-02, and know nothing of the driver's codec. Everything runs in
the event loop of whoever plugs it in; nothing ever blocks.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from fakes.cable import Pluggable, TerminalCable
from fakes.misbehaving import Misbehaving

_ACK = bytes.fromhex("0000FF00FF00")
_NACK = bytes.fromhex("0000FFFF0000")
_ERROR = bytes.fromhex("0000FF01FF7F8100")
_START = bytes.fromhex("0000FF")
_DEAF_BYTES = 20
"""What 115200 baud bring in the 2 ms in which the oscillator starts, after the first 55 that a sleeping chip sees."""

_LOOK_S = 0.02
"""How often it looks whether the port is open still; Linux has no event for it."""

_SAM, _FIRMWARE, _PARAMETERS, _RF, _LIST = 0x14, 0x02, 0x12, 0x32, 0x4A


class Fault(Enum):
    """How the chip, or the line from it, misbehaves in an answer."""

    BAD_LCS = auto()
    BAD_DCS = auto()
    CUT = auto()
    """It ends in the middle."""
    NO_ACK = auto()
    """The answer comes, and no ACK before it."""
    NO_ANSWER = auto()
    """The ACK comes, and no answer."""
    SILENT = auto()
    """Neither comes."""
    REFUSES = auto()
    """An error frame instead of the answer."""
    WRONG_LENGTH = auto()
    """A card's uid, checksums and all, has a length that there is not."""
    LEFT_OVER = auto()
    """Bytes behind the last card, checksums and all."""


class _CardState(Enum):
    IDLE = auto()
    ACTIVE = auto()
    HALTED = auto()


@dataclass
class _Card:
    """A card in the field: ISO 14443-3, 6.3. Only an idle one answers the search for cards."""

    uid: bytes
    phone: bool = False
    state: _CardState = _CardState.IDLE

    def lose_power(self) -> None:
        """Forget having been found; a phone makes itself another uid (ISO 14443-3, 6.4.4)."""
        self.state = _CardState.IDLE
        if self.phone:
            self.uid = b"\x08" + os.urandom(3)

    def described(self, number: int, *, ats: bool, length: int) -> bytes:
        """As the chip lists it. ATQA tells the uid's size; SAK whether ISO 14443-4 is spoken."""
        size = {4: 0x00, 7: 0x40, 10: 0x80}[len(self.uid)]
        return bytes([number, 0x00, 0x04 | size, 0x20, length]) + self.uid + (b"\x05\x78\x33\x88\x02" if ats else b"")


class Pn532Module(Misbehaving[Fault], Pluggable):
    """The module with its cable. World side: `plug`, `unplug`, `present`, `remove`, `misbehave`, `lose_power`.

    `path` is there while it is plugged in. `portion` is how many bytes it sends at a time; `search_s` how long a search
    without a card takes; `noise` is put before each answer. It is asleep until it is woken, understands nothing but
    SAMConfiguration then, and is silent where a frame's checksum is wrong.
    """

    def __init__(self, directory: Path, *, name: str = "pn532", ic: int = 0x32) -> None:
        """It starts unplugged. `ic` is what it says it is: 32 is a PN532."""
        super().__init__()
        self.path = directory / name
        self.portion = 512
        self.search_s = 0.0
        self.noise = b""
        self.merges = False
        """Whether an ACK waits for its answer, as behind an adapter that gathers what it sends."""
        self.commands: Counter[int] = Counter()
        """How often it has carried out each command, by its code."""
        self.frames = 0
        """Whole command frames that it has heard, awake or not in the mood to answer."""
        self.aborted = 0
        self._ic = ic
        self._cards: dict[str, _Card] = {}
        self._cable = TerminalCable(self.path, self._hear)
        self._heard = asyncio.Event()
        self._saying: list[bytes] = []
        self._gathered = b""
        self.lose_power()

    # The world.

    def plug(self) -> None:
        """Plug the cable in; nothing happens where it is. The module gets its power from it: it begins asleep."""
        if not self._cable.is_plugged:
            self.lose_power()
            self._cable.plug()

    def unplug(self) -> None:
        """Pull the cable: the path is gone, and who has the line open gets an error. Nothing happens without one."""
        if self._cable.is_plugged:
            self._stop()
            self._cable.unplug()

    def lose_power(self) -> None:
        """Lose the power for a moment: all that it was told is forgotten."""
        self._stop()
        self._pending = b""
        self._awake = False
        self._deaf = 0
        self._normal = False
        self._tries: int | None = None  # for ever: the chip's own setting
        self._automatic_rats = True
        self._last_answer = b""
        self._field_goes()

    def present(self, uid_hex: str) -> None:
        """Put a card there. Raises ValueError for a uid that is not of 4, 7 or 10 bytes."""
        uid = bytes.fromhex(uid_hex)
        if len(uid) not in {4, 7, 10}:
            raise ValueError(f"a uid of {len(uid)} bytes: ISO 14443-3 knows 4, 7 and 10")
        self._put(uid_hex.upper(), _Card(uid))

    def present_phone(self) -> None:
        """Put a phone there, to be removed as "phone": another uid, 08 and three bytes, each time the field comes."""
        self._put("PHONE", _Card(b"\x08" + os.urandom(3), phone=True))

    def _put(self, name: str, card: _Card) -> None:
        self._cards.setdefault(name, card)
        if self._searching_for_ever is not None:
            self._searching_for_ever()

    def remove(self, uid_hex: str) -> None:
        """Take a card away; nothing happens where it is not."""
        self._cards.pop(uid_hex.upper(), None)

    def send(self, data: bytes) -> int:
        """Put bytes on the line, whoever may listen; how many of them found room. Never blocks."""
        return self._cable.send(data)

    @property
    def opened(self) -> bool:
        """Whether a driver has the port open now, for itself alone as it should."""
        return self._cable.is_locked

    async def searched(self, times: int = 1) -> None:
        """Wait until it has begun and ended that many searches from now on, or nobody has the port open."""
        target = self.commands[_LIST] + times + 1  # one may be on the way
        while self.commands[_LIST] < target and self.opened:
            self._heard.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), _LOOK_S)

    async def heard_frame(self) -> None:
        """Wait for the next command, whatever becomes of it."""
        before = self.frames
        while self.frames == before:
            self._heard.clear()
            await self._heard.wait()

    # What comes over the line.

    def _hear(self, data: bytes) -> None:
        for byte in data:
            self._hear_byte(byte)

    def _hear_byte(self, byte: int) -> None:
        if not self._awake:
            self._awake = byte == 0x55
            self._deaf = _DEAF_BYTES
        elif self._deaf:
            self._deaf -= 1
        else:
            self._pending += bytes([byte])
            self._understand()

    def _understand(self) -> None:
        """Look for a whole frame. One whose checksum is wrong is passed over in silence (UM0701-02, 6.2.2)."""
        begin = self._pending.find(_START)
        if begin < 0:
            self._pending = self._pending[-2:]
            return
        frame = self._pending[begin:]
        if len(frame) < 6:
            return
        if frame[:6] == _ACK:
            self._pending = b""
            self._abort()
        elif frame[:6] == _NACK:
            self._pending = b""
            self._answer_again()
        else:
            self._understand_information(frame)

    def _understand_information(self, frame: bytes) -> None:
        length, check = frame[3], frame[4]
        if (length + check) % 256 or length == 0:
            self._pending = frame[3:]
        elif len(frame) >= 7 + length:
            self._pending = frame[7 + length :]
            if sum(frame[5 : 6 + length]) % 256 == 0:
                self._command(frame[5 : 5 + length])

    # What it does.

    def _stop(self) -> None:
        """Give up what is being done."""
        self._turn = object()
        self._searching_for_ever: Callable[[], None] | None = None

    def _abort(self) -> None:
        self.aborted += 1
        self._stop()

    def _field_goes(self) -> None:
        """Without a field every card loses its power, and its memory of having been found."""
        for card in self._cards.values():
            card.lose_power()

    def _command(self, data: bytes) -> None:
        """A new command ends the one before (UM0701-02, 6.2.2)."""
        self._stop()
        self.frames += 1
        self._heard.set()
        if not self._normal and data[1:2] != bytes([_SAM]):
            return
        fault = self._next_fault(searching=data[1:2] == bytes([_LIST]))
        if fault is Fault.SILENT:
            return
        if fault is not Fault.NO_ACK:
            self._speak(_ACK)
        if fault is Fault.REFUSES or len(data) < 2 or data[0] != 0xD4:
            self._speak(_ERROR)
        elif data[1] == _LIST:
            self._list(data, fault)
        else:
            self._carry_out(data, fault)

    def _carry_out(self, data: bytes, fault: Fault | None) -> None:
        code, arguments = data[1], data[2:]
        if code == _SAM and len(arguments) >= 1 and arguments[0] == 1:
            self._normal = True
            answer = b""
        elif code == _FIRMWARE and not arguments:
            answer = bytes([self._ic, 0x01, 0x06, 0x07])
        elif code == _PARAMETERS and len(arguments) == 1:
            self._automatic_rats = bool(arguments[0] & 0x10)
            answer = b""
        elif code == _RF and self._configure(arguments):
            answer = b""
        else:
            self._speak(_ERROR)
            return
        self._done(code, answer, fault)

    def _configure(self, arguments: bytes) -> bool:
        match arguments[:1], len(arguments):
            case b"\x05", 4:
                self._tries = None if arguments[3] == 0xFF else arguments[3] + 1
            case b"\x01", 2:
                if not arguments[1] & 1:
                    self._field_goes()
            case _:
                return False
        return True

    def _list(self, data: bytes, fault: Fault | None) -> None:
        if len(data) != 4 or data[2] not in {1, 2} or data[3] != 0:
            self._speak(_ERROR)
            return
        most = data[2]
        found = self._find(most)
        if not found and self._tries is None:
            self._searching_for_ever = lambda: self._list(data, fault)
            return
        turn = self._turn

        def answer() -> None:
            if turn is self._turn:
                self._done(_LIST, self._listed(found, fault), fault)

        if self.search_s and not found:
            asyncio.get_running_loop().call_later(self.search_s, answer)
        else:
            answer()

    def _find(self, most: int) -> list[_Card]:
        """The cards that answer. All but the last are halted; an active one goes idle first, and needs a second try."""
        for card in self._cards.values():
            if card.state is _CardState.ACTIVE and (self._tries is None or self._tries > 1):
                card.state = _CardState.IDLE
        found = [card for card in self._cards.values() if card.state is _CardState.IDLE][:most]
        for card in found:
            card.state = _CardState.HALTED
        if found:
            found[-1].state = _CardState.ACTIVE
        return found

    def _listed(self, found: list[_Card], fault: Fault | None) -> bytes:
        ats = self._automatic_rats
        extra = 1 if fault is Fault.WRONG_LENGTH else 0
        cards = [
            card.described(number, ats=ats, length=len(card.uid) + extra) for number, card in enumerate(found, start=1)
        ]
        return bytes([len(found)]) + b"".join(cards) + (b"\x80" if fault is Fault.LEFT_OVER else b"")

    # What it says.

    def _next_fault(self, *, searching: bool) -> Fault | None:
        """What this answer suffers from; what is wrong with a card waits for a search."""
        if self._coming_fault() in {Fault.WRONG_LENGTH, Fault.LEFT_OVER} and not searching:
            return None
        return self._take_fault()

    def _done(self, code: int, answer: bytes, fault: Fault | None) -> None:
        self.commands[code] += 1
        self._last_answer = _frame(bytes([0xD5, code + 1]) + answer)
        if fault is not Fault.NO_ANSWER:
            self._speak(self.noise + _spoilt(self._last_answer, fault))
        self._heard.set()

    def _answer_again(self) -> None:
        if self._last_answer:
            fault = self._next_fault(searching=True)
            self._speak(_spoilt(self._last_answer, fault))

    def _speak(self, data: bytes) -> None:
        if self.merges and data == _ACK:
            self._gathered = data
            return
        data, self._gathered = self._gathered + data, b""
        if self.portion >= len(data):
            self._queue(data)
            return
        for begin in range(0, len(data), self.portion):
            self._queue(data[begin : begin + self.portion])

    def _queue(self, data: bytes) -> None:
        """One write a turn of the loop, so that the other end may take each for itself."""
        self._saying.append(data)
        if len(self._saying) == 1:
            self._say()

    def _say(self) -> None:
        self.send(self._saying[0])
        asyncio.get_running_loop().call_soon(self._say_next)

    def _say_next(self) -> None:
        del self._saying[0]
        if self._saying:
            self._say()


def _frame(data: bytes) -> bytes:
    header = bytes([len(data), -len(data) % 256])
    return _START + header + data + bytes([-sum(data) % 256, 0])


def _spoilt(frame: bytes, fault: Fault | None) -> bytes:
    match fault:
        case Fault.BAD_LCS:
            return frame[:4] + bytes([frame[4] ^ 0x80]) + frame[5:]
        case Fault.BAD_DCS:
            return frame[:-2] + bytes([frame[-2] ^ 0x80]) + frame[-1:]
        case Fault.CUT:
            return frame[: len(frame) // 2]
        case _:
            return frame
