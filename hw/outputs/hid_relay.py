"""USB HID relay boards: 16C0:05DF, "USBRelay1" to "USBRelay8" by www.dcttech.com and their many copies.

The board has one feature report of 8 bytes and no report numbers. Written, it is FF or FD and a channel: on or off
(FE and FC mean all). Read, it is 5 characters of serial, which `usbrelay` and the board's own software name it by,
and in its last byte a bit for each relay (the firmwares that are published, and the program usbrelay, agree on that).

Each write is read back: a board that does not follow is a DeviceError. A USB call may take seconds when a board hangs,
so all of them are made in a thread, and nobody waits for more than `answer_s`. As a GPIO relay, the board keeps its
state when the process is killed. Unplugged it loses its 5 V, and the contact opens; it counts as closed all the same
until the board, plugged in again, has said that it is open, for some are fed from elsewhere as well.

While it is attached a relay is this driver's alone, see `hid_hold`: where another agent has it, nothing is switched.

Needs hidapi (the extra hid): import this module where such a board is configured. Of its two Linux modules `hidraw` is
taken where there is one: `hid`, over libusb, takes the board from the kernel and lets nobody else have it.
"""

import asyncio
import atexit
import importlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from agent.errors import DeviceError
from agent.ports import Relay, RelayBoard
from hw.outputs.hid_hold import Hold, NodeHold

log = logging.getLogger(__name__)

_T = TypeVar("_T")

ANSWER_S = 0.5
"""A board answers within milliseconds. The event loop waits for it, and with it every other EVSE."""

LOOK_S = 1.0
"""A board that was pulled is told on before the next driver comes; one report a second is nothing to it."""

_ON, _OFF = 0xFF, 0xFD
_REPORT_SIZE = 8
_ASKED_AS = 1
"""Asked for as number 0 the report comes behind a 0; as any other number it comes bare, for the board has none."""

VENDOR, PRODUCT = 0x16C0, 0x05DF
"""The number that V-USB lends to everybody's HID devices; the product's name says which it is."""


class HidDevice(Protocol):
    """`hid.device`, as far as we use it."""

    def open_path(self, path: bytes, /) -> None:
        """Open the device there, or raise OSError."""

    def close(self) -> None:
        """Close it; may be called twice."""

    def send_feature_report(self, data: Sequence[int], /) -> int:
        """How many bytes went; -1 for none."""
        ...

    def get_feature_report(self, report_num: int, max_length: int, /) -> list[int]:
        """What came, or raise OSError."""
        ...


class HidLibrary(Protocol):
    """The module `hid`, as far as we use it."""

    def enumerate(self, vendor_id: int, product_id: int, /) -> list[dict[str, Any]]:
        """Every device of that kind."""
        ...

    def device(self) -> HidDevice:
        """A new handle."""
        ...


class HidRelay:
    """One relay of a board, which is chosen by its 5-character `serial`; None where only one is plugged in.

    Starts open, and opens when the interpreter ends without `detach`. Raises DeviceError where hidapi is missing. A
    board that is not there yet is no error: its contact may be closed, so `open_contact` raises until it has opened.
    """

    def __init__(
        self,
        *,
        channel: int,
        serial: str | None = None,
        vendor: int = VENDOR,
        product: int = PRODUCT,
        library: HidLibrary | None = None,
        hold: Callable[[bytes, int], Hold] = NodeHold,
        answer_s: float = ANSWER_S,
        look_s: float = LOOK_S,
    ) -> None:
        """`library` is hidapi, or what stands for it, `hold` what keeps a channel of a board for us; see `NodeHold`."""
        named = f"the USB relay board {serial}" if serial else "the USB relay board"
        self._name = f"relay {channel} of {named}"
        self._answer_s, self._look_s = answer_s, look_s
        self._board = _Board(library or _hidapi(self._name), hold, vendor, product, serial, channel)
        self._thread = _Thread(self._name)
        self._hung: Future[None] | None = None
        """What opens the contact once a call that hangs is over."""
        self._commands = 0
        self._attached, self._closed, self._known_open = True, False, False
        with suppress(DeviceError):  # told on by whoever opens it, or by `run`
            self.open_contact()
        atexit.register(self.detach)

    @property
    def contact_closed(self) -> bool:
        """Whether the contact is commanded closed, or may be so since the board failed."""
        return self._closed

    def close_contact(self) -> None:
        """Let current flow. Raises DeviceError when the board does not say that it does; it is told to open then.

        Where it has not said either that it is open, the contact counts as closed.
        """
        if not self._attached:
            raise DeviceError(f"{self._name} was given back: nothing closes it any more; start the agent again")
        if not self._known_open and not self._closed:
            raise DeviceError(f"{self._name} does not close: nobody knows whether it is open. Check the board")
        self._closed, self._known_open = True, False  # from here on it may be, whatever the board answers
        try:
            self._switch(closed=True)
        except DeviceError as error:
            with suppress(DeviceError):
                self.open_contact()
            raise DeviceError(f"{self._name} does not close: {error}") from error

    def open_contact(self) -> None:
        """Cut the current; see `agent.ports.Relay`. After a DeviceError the contact may still be closed."""
        if not self._attached:
            return
        try:
            self._switch(closed=False)
        except DeviceError as error:
            if not self._known_open:
                raise DeviceError(f"{self._name} does not open: {error}") from error
        else:
            self._closed, self._known_open = False, True

    def detach(self) -> None:
        """Open the contact and give the board back. Raises DeviceError when it does not say that it is open."""
        if not self._attached:
            return
        atexit.unregister(self.detach)
        try:
            self.open_contact()
        finally:
            self._attached = self._closed = False
            given_back = self._thread.put(self._board.give_back)
            self._thread.end()
            if not self._hangs:  # whoever comes next may have it; a board that hangs is left to the end of the program
                with suppress(TimeoutError):
                    given_back.result(self._answer_s)

    async def run(self, on_state: Callable[[bool, str], None]) -> None:
        """Watch over the board until cancelled; see `agent.ports.RelayBoard`. A new cause is told, too."""
        told: str | None = None
        first = True
        while self._attached:
            trouble = await self._trouble()
            if first or trouble != told:
                first, told = False, trouble
                on_state(trouble is None, f"{self._name}: {trouble or 'it answers'}")
            await asyncio.sleep(self._look_s)
        await asyncio.get_running_loop().create_future()

    # ---- the board, in its thread

    async def _trouble(self) -> str | None:
        """Look at the board without keeping anybody waiting; what is wrong with it, as a sentence."""
        if self._hangs:
            return _SILENT
        looked, commands = self._thread.put(self._board.look), self._commands
        try:
            async with asyncio.timeout(self._answer_s):
                is_closed = await asyncio.wrap_future(looked)
        except TimeoutError:
            self._known_open = False
            self._leave_hanging()
            return _SILENT
        except DeviceError as error:
            self._known_open = False  # it may come back closed, as one with a supply of its own does
            return str(error)
        if commands == self._commands:
            self._closed, self._known_open = is_closed, not is_closed
        return None

    @property
    def _hangs(self) -> bool:
        return self._hung is not None and not self._hung.done()

    def _leave_hanging(self) -> None:
        """Whatever the board carries out when it wakes up, opening comes after."""
        self._hung = self._thread.put(lambda: self._board.switch(closed=False))

    def _switch(self, *, closed: bool) -> None:
        """Let the thread do it, and wait, but not for long. Raises DeviceError when it fails or is not done by then."""
        self._commands += 1
        if self._hangs:
            raise DeviceError(_SILENT)  # once is enough to have kept everybody waiting
        hung, self._hung = self._hung, None
        if hung is not None and not closed and hung.exception() is None:
            return  # it has opened meanwhile, and nothing was commanded since
        done = self._thread.put(lambda: self._board.switch(closed=closed))
        try:
            done.result(self._answer_s)
        except TimeoutError:
            done.cancel()
            self._leave_hanging()
            raise DeviceError(_SILENT) from None


_SILENT = "it does not answer: unplug it and plug it in again"


_CHECK = "check its cable, and serial in the configuration"


class _Found(NamedTuple):
    serial: str
    path: bytes
    handle: HidDevice


class _Board:
    """The board itself. Every call blocks, belongs into one thread, and raises DeviceError."""

    def __init__(
        self,
        library: HidLibrary,
        hold: Callable[[bytes, int], Hold],
        vendor: int,
        product: int,
        serial: str | None,
        channel: int,
    ) -> None:
        self._library = library
        self._hold_on = hold
        self._ids = (vendor, product)
        self._serial = serial
        self._channel = channel
        self._handle: HidDevice | None = None
        self._hold: Hold | None = None
        """Kept while a board answers badly: nobody else shall have the relay meanwhile."""
        self._told: bool | None = None
        """What this handle has told the contact."""
        self._crashed_by: type[Exception] | None = None

    def switch(self, *, closed: bool) -> None:
        """Tell the contact, and see that it follows."""
        with self._lost_when_it_fails():
            handle = self._opened()
            report = bytes((0, _ON if closed else _OFF, self._channel, *bytes(_REPORT_SIZE - 2)))
            if handle.send_feature_report(report) < 0:
                raise OSError("it takes no command")  # hidapi says it without raising
            _, is_closed = self._read(handle)
        self._told = closed
        if is_closed is not closed:
            raise DeviceError("the board takes the command and does nothing: check its supply, or replace it")

    def look(self) -> bool:
        """Whether the contact is closed, as it was told. On a handle that is new, it is told to open first."""
        with self._lost_when_it_fails():
            handle = self._opened()
            if self._told is None:
                self.switch(closed=False)
                return False
            _, is_closed = self._read(handle)
        if is_closed is not self._told:
            self.switch(closed=False)
            raise DeviceError("the board does not hold what it was told: let no other program switch it")
        return is_closed

    def give_back(self) -> None:
        """Let others have the board, and our relay of it."""
        self._close()
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def _close(self) -> None:
        handle, self._handle, self._told = self._handle, None, None
        if handle is not None:
            with suppress(Exception):  # it is given up, whatever the library says to that
                handle.close()

    @contextmanager
    def _lost_when_it_fails(self) -> Iterator[None]:
        """Whatever the library raises, the board is to be found anew, and it is a DeviceError."""
        try:
            yield
        except DeviceError:
            raise
        except (OSError, ValueError) as error:
            self._close()
            raise DeviceError(f"the board is lost ({error}): check its cable") from error
        except Exception as error:
            # An EVSE whose relay raises anything else could not be opened by whoever waits for a DeviceError.
            if type(error) is not self._crashed_by:
                self._crashed_by = type(error)
                log.exception("relay %d of a USB relay board: its library has failed", self._channel)
            self._close()
            raise DeviceError(
                f"its library has failed ({type(error).__name__}: {error}): install hidapi anew"
            ) from error

    def _opened(self) -> HidDevice:
        if self._handle is None:
            self._handle = self._found()
        return self._handle

    def _keep(self, path: bytes) -> None:
        """Have the relay to ourselves."""
        if self._hold is not None and self._hold.is_on(path):
            return
        if self._hold is not None:
            self._hold.close()
            self._hold = None
        try:
            self._hold = self._hold_on(path, self._channel)
        except BlockingIOError as error:
            raise DeviceError("another program has it: end the other agent, or take another relay") from error
        except OSError as error:
            where = path.decode(errors="replace")
            raise DeviceError(f"{where} can't be kept for this agent: {error.strerror or error}") from error

    def _found(self) -> HidDevice:
        """The board that is meant, open, with our relay to ourselves."""
        opened: list[HidDevice] = []
        found: HidDevice | None = None
        try:
            board = self._chosen(*self._plugged_in(opened))
            self._keep(board.path)
            found = board.handle
        finally:
            for handle in opened:
                if handle is not found:
                    handle.close()
        return found

    def _plugged_in(self, opened: list[HidDevice]) -> tuple[list[_Found], list[str]]:
        """The boards that could be it, and what is wrong with others. Every handle goes to `opened`."""
        boards: list[_Found] = []
        errors: list[str] = []
        try:
            entries = self._library.enumerate(*self._ids)
        except (OSError, ValueError) as error:
            raise DeviceError(f"the USB devices can't be listed: {error}") from error
        for entry in entries:
            named = entry.get("product_string") or ""
            if not named.startswith("USBRelay"):
                continue  # a number that many share
            handle = self._library.device()
            opened.append(handle)
            try:
                handle.open_path(entry["path"])
                serial, _ = self._read(handle)
            except (OSError, ValueError) as error:
                errors.append(f"{entry['path'].decode(errors='replace')}: {error}")
                continue
            channels = named.removeprefix("USBRelay")
            if self._serial in (None, serial) and channels.isdigit() and self._channel > int(channels):
                errors.append(f"the board {serial} has only {channels} relays")
                continue
            boards.append(_Found(serial, entry["path"], handle))
        return boards, errors

    def _chosen(self, boards: Sequence[_Found], errors: Sequence[str]) -> _Found:
        fits = [board for board in boards if self._serial in (None, board.serial)]
        serials = sorted({board.serial for board in fits})
        if len(fits) == 1:
            return fits[0]
        if len(serials) > 1:
            raise DeviceError(f"there are several: set serial to one of {', '.join(serials)}")
        if fits:
            raise DeviceError(f"there are several with the serial {serials[0]}, which can't be told apart: leave one")
        if errors:
            raise DeviceError(f"it can't be used ({'; '.join(errors)}): may the agent's user open /dev/hidraw*?")
        if boards:
            raise DeviceError(f"it is not there, only {', '.join(sorted(board.serial for board in boards))}: {_CHECK}")
        raise DeviceError(f"it is not there: {_CHECK}")

    def _read(self, handle: HidDevice) -> tuple[str, bool]:
        """Its serial, and whether our contact is closed."""
        report = bytes(handle.get_feature_report(_ASKED_AS, _REPORT_SIZE + 1))
        if len(report) < _REPORT_SIZE:
            raise OSError(f"a report of {len(report)} bytes")
        serial = report[:5].decode("ascii", errors="replace")
        return serial, bool(report[7] >> (self._channel - 1) & 1)


class _Thread:
    """Does one thing after the other until ended. A daemon: a board that hangs must not keep the program."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def put(self, call: Callable[[], _T]) -> Future[_T]:
        """Have it done; the future gets what it returns or raises."""
        done: Future[_T] = Future()
        self._calls.put(lambda: _carry_out(call, done))
        return done

    def end(self) -> None:
        """End after what was put."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _carry_out(call: Callable[[], _T], done: Future[_T]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it, a DeviceError as a rule
        done.set_exception(error)
    else:
        done.set_result(result)


def _hidapi(name: str) -> HidLibrary:
    for module in ("hidraw", "hid"):
        with suppress(ImportError, OSError):  # OSError: a library of the system's that it needs is damaged
            return cast("HidLibrary", importlib.import_module(module))
    raise DeviceError(f"{name} can't be used: install this program with its extra hid")


_fits: tuple[type[Relay], type[RelayBoard]] = (HidRelay, HidRelay)
"""One object is both."""
