"""The keyboard reader on a wedge that types, the keyboards that sysfs shows, and a real one of /dev/uinput."""

import asyncio
import errno
import importlib.util
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DeviceError
from agent.model import Uid
from agent.ports import ReaderState
from fakes.keyboard import EV_SYN, SYN_DROPPED, SYN_REPORT, TypingReader, UinputReader
from hw.readers.keyboard_devices import KernelKeyboards
from hw.readers.keyboard_keys import PAUSE_S
from hw.readers.keyboard_reader import KeyboardReader
from tests.contract.at_work import ReaderAtWork, reading
from tests.contract.needs import kernel_lacks, needs

HANG_S = 60
AN_HOUR = 3600.0


def hex_uid(raw: bytes) -> Uid:
    return Uid(raw.hex().upper())


def reader_on(wedge: TypingReader, **settings: Any) -> KeyboardReader:
    chosen: dict[str, Any] = {"digits": "hex", "removal_s": AN_HOUR, "layout": wedge.typist.layout} | settings
    if not {"device", "vendor", "product", "title"} & set(settings):
        chosen["device"] = wedge.path
    return KeyboardReader("front", to_uid=hex_uid, reopen_s=0.005, keyboards=wedge, **chosen)


@asynccontextmanager
async def at_work(reader: KeyboardReader, state: ReaderState = ReaderState.READY) -> AsyncIterator[ReaderAtWork]:
    async with asyncio.timeout(HANG_S), reading(reader) as work:
        await work.is_now(state)
        yield work


@pytest.mark.parametrize(
    "named", [{"vendor": 0xFFFF}, {"product": 0x35}, {"title": "*RFID*"}, {"vendor": 0xFFFF, "title": "Syc*"}]
)
async def test_keyboard_is_found_by_what_is_known_of_it(named: dict[str, Any]) -> None:
    with TypingReader() as wedge:
        async with at_work(reader_on(wedge, **named)) as work:
            wedge.present("04A1B2FF")
            await work.tapped(1)
            assert work.uids == ["04A1B2FF"]


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ({"vendor": 0x08FF}, "the keyboard with vendor 0x08ff"),
        ({"vendor": 0xFFFF, "product": 0x36}, "the keyboard with vendor 0xffff, product 0x0036"),
        ({"title": "RFID"}, 'the keyboard with title "RFID"'),
        ({"device": "/dev/input/by-id/other"}, "/dev/input/by-id/other"),
    ],
)
async def test_another_keyboard_is_never_grabbed(named: dict[str, Any], what: str) -> None:
    with TypingReader() as wedge:
        async with at_work(reader_on(wedge, **named), ReaderState.MISSING) as work:
            assert work.states[0][1].startswith(f"{what} is not there (")
            assert "check the cable" in work.states[0][1]
            assert not wedge.grabbed


@pytest.mark.parametrize("named", [{}, {"device": "/dev/input/event0", "vendor": 1}])
def test_keyboard_that_is_not_named_clearly_is_refused(named: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="by its device alone, or by"):
        KeyboardReader("front", digits="hex", to_uid=hex_uid, **named)


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        (errno.EBUSY, "is grabbed by another program (Device or resource busy, EBUSY): stop that program"),
        (errno.EACCES, "may not be opened (Permission denied, EACCES): add the agent's user to the group input"),
        (errno.EPERM, "may not be opened (Operation not permitted, EPERM): add the agent's user to the group input"),
        (errno.ENOTTY, "can't be used as a keyboard (Inappropriate ioctl for device, ENOTTY): check"),
    ],
)
async def test_refused_keyboard_says_what_to_do_and_is_read_once_it_is_free(refusal: int, advice: str) -> None:
    with TypingReader() as wedge:
        wedge.refusal = refusal
        async with at_work(reader_on(wedge), ReaderState.MISSING) as work:
            assert work.states[0][1].startswith(f"{wedge.path} {advice}")
            wedge.refusal = None
            await work.is_now(ReaderState.READY)
            wedge.present("04A1B2FF")
            await work.tapped(1)
            assert [state for state, _ in work.states] == [ReaderState.MISSING, ReaderState.READY]


async def test_new_cause_of_being_missing_is_told_once() -> None:
    wedge = TypingReader()
    async with at_work(reader_on(wedge), ReaderState.MISSING) as work:
        wedge.refusal = errno.EACCES
        wedge.plug()
        await work.until(lambda: len(work.states) == 2)
        wedge.refusal = None
        await work.is_now(ReaderState.READY)
        assert [text.removeprefix(wedge.path).split("(")[0] for _, text in work.states[:2]] == [
            " is not there ",
            " may not be opened ",
        ]
        assert len(work.states) == 3


async def test_random_uid_is_marked_where_the_reader_types_the_last_byte_first() -> None:
    with TypingReader() as wedge:
        async with at_work(reader_on(wedge, flag_random=True, sends_reversed=True)) as work:
            wedge.present("C3B2A108")
            await work.tapped(1)
            assert [(tap.uid, tap.is_random) for tap in work.taps] == [("08A1B2C3", True)]


async def test_two_readers_never_share_one_keyboard() -> None:
    with TypingReader() as wedge:
        async with at_work(reader_on(wedge)) as first, at_work(reader_on(wedge), ReaderState.MISSING) as second:
            assert "grabbed by another program" in second.states[0][1]
            wedge.present("04A1B2FF")
            await first.tapped(1)
            assert second.taps == []
            await first.cancel()
            await second.is_now(ReaderState.READY)


async def test_keyboard_pulled_in_the_middle_of_a_card_and_back_does_not_join_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with TypingReader() as wedge:
        reader = reader_on(wedge)
        async with at_work(reader) as work:
            for key in (11, 5, 33, 33):  # 04FF
                wedge.typist.tap(key)
            wedge.unplug()
            await work.is_now(ReaderState.MISSING)
            wedge.plug()
            await work.is_now(ReaderState.READY)
            wedge.present("8000FFFE")
            await work.tapped(1)
            assert work.uids == ["8000FFFE"]
            assert reader.bad_frames == 1
    assert "8000FFFE" not in caplog.text.upper()


async def test_keys_right_behind_the_grab_are_no_card() -> None:
    with TypingReader() as wedge:
        reader = reader_on(wedge)
        async with asyncio.timeout(HANG_S), reading(reader) as work:
            await wedge.wait_grabbed()
            wedge.present("B2FF80A1")  # perhaps the rest of 04A1B2FF80A1
            await work.is_now(ReaderState.READY)
            wedge.present("8000FFFE")
            await work.tapped(1)
            assert work.uids == ["8000FFFE"]
            assert reader.bad_frames == 1


async def test_dropped_keys_are_no_card_and_the_next_is() -> None:
    with TypingReader() as wedge:
        reader = reader_on(wedge)
        async with at_work(reader) as work:
            wedge.typist.tap(11)
            wedge.put(EV_SYN, SYN_DROPPED, 0)
            wedge.put(EV_SYN, SYN_REPORT, 0)
            wedge.present("A1B2FF80")
            wedge.wait(2 * PAUSE_S)
            wedge.present("8000FFFE")
            await work.tapped(1)
            assert work.uids == ["8000FFFE"]


async def test_keyboard_unplugged_and_back_twenty_times_is_let_go_each_time() -> None:
    with TypingReader() as wedge:
        async with at_work(reader_on(wedge)) as work:
            for turn in range(20):
                wedge.unplug()
                await work.is_now(ReaderState.MISSING)
                wedge.plug()
                await work.is_now(ReaderState.READY)
                wedge.present(f"80FF{turn:04X}")
                await work.tapped(turn + 1)
        assert not wedge.grabbed
        assert work.uids == [f"80FF{turn:04X}" for turn in range(20)]


class Lacking:
    """A machine without evdev."""

    def find(self, vendor: int | None, product: int | None, title: str | None) -> list[str]:
        return ["/dev/input/event0"]

    def grab(self, path: str) -> int:
        raise DeviceError("the Python module evdev is not installed")


class BrokenWedge:
    """A keyboard that can be grabbed again and again, and hangs up each time."""

    grabbed = 0

    def find(self, vendor: int | None, product: int | None, title: str | None) -> list[str]:
        return ["/dev/input/event9"]

    def grab(self, path: str) -> int:
        self.grabbed += 1
        source, sink = os.pipe2(os.O_NONBLOCK)
        os.close(sink)
        return source


async def test_keyboard_that_hangs_up_each_time_it_is_grabbed_is_missing_once_and_never_ready() -> None:
    wedge = BrokenWedge()
    reader = KeyboardReader("front", vendor=1, digits="hex", to_uid=hex_uid, reopen_s=0.001, keyboards=wedge)
    async with at_work(reader, ReaderState.MISSING) as work:
        while wedge.grabbed < 3:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        assert [state for state, _ in work.states] == [ReaderState.MISSING]


async def test_machine_that_can_not_grab_says_why() -> None:
    reader = KeyboardReader("front", title="*", digits="hex", to_uid=hex_uid, keyboards=Lacking())
    async with at_work(reader, ReaderState.MISSING) as work:
        assert work.states == [
            (
                ReaderState.MISSING,
                'the keyboard with title "*" can\'t be read: the Python module evdev is not installed',
            )
        ]


@contextmanager
def without_evdev() -> Iterator[None]:
    """As on a machine where the extra was not installed: Python finds None and raises ImportError."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "evdev"}
    sys.modules["evdev"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["evdev"]
        sys.modules.update(before)


def test_missing_module_names_the_extra() -> None:
    with without_evdev(), pytest.raises(DeviceError, match="extra `keyboard`"):
        KernelKeyboards().grab("/dev/input/event0")


def test_what_is_no_keyboard_is_let_go_with_the_kernels_error() -> None:
    if importlib.util.find_spec("evdev") is None:
        needs("the Python module evdev is not installed: the extra `keyboard` has it")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  counted, not used
    with pytest.raises(OSError, match="ioctl"):
        KernelKeyboards().grab("/dev/null")
    with pytest.raises(FileNotFoundError):
        KernelKeyboards().grab("/dev/input/by-id/none")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def attach(sysfs: Path, event: str, *, name: str, vendor: str, product: str, keys: str) -> None:
    """One input device, as sysfs shows it."""
    about = sysfs / event / "device"
    (about / "id").mkdir(parents=True)
    (about / "capabilities").mkdir()
    (about / "name").write_text(f"{name}\n")
    (about / "id" / "vendor").write_text(f"{vendor}\n")
    (about / "id" / "product").write_text(f"{product}\n")
    (about / "capabilities" / "key").write_text(f"{keys}\n")


@pytest.fixture
def machine(tmp_path: Path) -> KernelKeyboards:
    """A PC keyboard, a wedge with its second device for volume keys, a mouse, and the power button."""
    typing_keys = "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"
    wedge = {"vendor": "ffff", "product": "0035"}
    attach(tmp_path, "event0", name="Power Button", vendor="0000", product="0001", keys="10000000000000 0")
    attach(tmp_path, "event10", name="Syc RFID Reader", **wedge, keys=typing_keys)
    attach(tmp_path, "event2", name="AT keyboard", vendor="0001", product="0001", keys=typing_keys)
    attach(tmp_path, "event3", name="Syc RFID Reader", **wedge, keys="e000000000000 0")
    attach(tmp_path, "event4", name="Mouse", vendor="046d", product="c077", keys="ff0000 0 0 0 0")
    attach(tmp_path, "event5", name="Lid", vendor="0000", product="0005", keys="")
    (tmp_path / "mice").mkdir()
    (tmp_path / "event11").mkdir()  # going away just now
    return KernelKeyboards(tmp_path, Path("/dev/input"))


@pytest.mark.parametrize(
    ("vendor", "product", "title", "found"),
    [
        (None, None, None, ["/dev/input/event2", "/dev/input/event10"]),
        (0xFFFF, None, None, ["/dev/input/event10"]),
        (0xFFFF, 0x35, "Syc*", ["/dev/input/event10"]),
        (None, 1, None, ["/dev/input/event2"]),
        (None, None, "*keyboard", ["/dev/input/event2"]),
        (None, None, "RFID", []),
        (0xFFFF, 0x36, None, []),
    ],
)
def test_keyboards_of_a_machine_are_those_with_digits_and_enter(
    machine: KernelKeyboards, vendor: int | None, product: int | None, title: str | None, found: list[str]
) -> None:
    assert machine.find(vendor, product, title) == found


def test_machine_without_input_devices_has_no_keyboard(tmp_path: Path) -> None:
    assert KernelKeyboards(tmp_path / "none").find(None, None, None) == []


@pytest.fixture
def uinput() -> Iterator[UinputReader]:
    """A real input device, where the kernel can make one."""
    if not Path("/dev/uinput").exists():
        kernel_lacks("there is no /dev/uinput: the kernel has no module uinput")
    if not os.access("/dev/uinput", os.W_OK):
        kernel_lacks("/dev/uinput may not be written by this user")
    if importlib.util.find_spec("evdev") is None:
        needs("the Python module evdev is not installed: the extra `keyboard` has it")
    wedge = UinputReader("fr")
    try:
        yield wedge
    finally:
        wedge.unplug()


async def test_real_input_device_is_grabbed_read_and_missed(uinput: UinputReader) -> None:
    reader = KeyboardReader(
        "front", vendor=uinput.vendor, product=uinput.product, title=uinput.title, layout="fr", digits="hex",
        to_uid=hex_uid, removal_s=AN_HOUR, reopen_s=0.05,
    )  # fmt: skip
    async with at_work(reader) as work:
        for taps, card in enumerate(("04FFA1FF", "80A1B2C3D4E5FF"), start=1):
            await uinput.present(card)
            await work.tapped(taps)
        with pytest.raises(OSError, match="busy"):
            KernelKeyboards().grab(uinput.path)
        uinput.unplug()
        await work.is_now(ReaderState.MISSING)
        assert work.uids == ["04FFA1FF", "80A1B2C3D4E5FF"]
