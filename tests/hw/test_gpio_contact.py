"""The contactor's auxiliary contact on a pin; what every feedback does is in the contract suite."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count

import gpiozero
import pytest

from fakes.pins import WatchedFactory, mock_pins
from hw.inputs.gpio_contact import GpioContact

PIN = 22
HANG_S = 60.0
A_MOMENT = 1e-3
AN_HOUR = 3600.0


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


class Watch:
    """All that the feedback has said, in its order."""

    def __init__(self) -> None:
        self.said: list[bool | tuple[bool, str]] = []
        self._news = asyncio.Event()

    def on_contact(self, closed: bool) -> None:  # noqa: FBT001  # the port's signature
        self.said.append(closed)
        self._news.set()

    def on_state(self, works: bool, advice: str) -> None:  # noqa: FBT001  # the port's signature
        self.said.append((works, advice))
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()

    async def ready(self) -> None:
        await self.until(lambda: bool(self.said) and isinstance(self.said[-1], tuple) and self.lost() is None)

    def lost(self) -> str | None:
        last = self.said[-1] if self.said else None
        return last[1] if isinstance(last, tuple) and not last[0] else None


@asynccontextmanager
async def watching(contact: GpioContact) -> AsyncIterator[Watch]:
    watch = Watch()
    async with asyncio.timeout(HANG_S):
        task = asyncio.create_task(contact.run(watch.on_contact, watch.on_state))
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.wait([task])


def contact_on(*, active_high: bool = True, debounce_s: float = A_MOMENT, unsteady_s: float = AN_HOUR) -> GpioContact:
    return GpioContact(
        "feedback of E1", PIN, active_high=active_high, pull="up", debounce_s=debounce_s, look_s=A_MOMENT,
        reopen_s=A_MOMENT, unsteady_s=unsteady_s,
    )  # fmt: skip


async def test_broken_wire_of_a_mirror_contact_reads_as_a_closed_contactor(pins: WatchedFactory) -> None:
    async with watching(contact_on()) as watch:
        await watch.ready()
        assert watch.said == [True, (True, f"GPIO{PIN} is watched")]


async def test_contactor_that_closes_and_opens_is_told_each_time(pins: WatchedFactory) -> None:
    pins.drive(PIN, high=False)
    async with watching(contact_on()) as watch:
        await watch.ready()
        for closed in (True, False, True):
            pins.drive(PIN, high=closed)
            await watch.until(lambda closed=closed: watch.said[-1] is closed)  # type: ignore[misc]
    assert [said for said in watch.said if isinstance(said, bool)] == [False, True, False, True]


async def test_contact_that_does_not_come_to_rest_is_lost_by_its_name(pins: WatchedFactory) -> None:
    async with watching(contact_on(debounce_s=0.05, unsteady_s=0.1)) as watch:
        await watch.ready()
        for turn in count():
            if watch.lost():
                break
            pins.drive(PIN, high=turn % 2 == 0)
            await asyncio.sleep(0)
        assert (watch.lost() or "").startswith(f"feedback of E1 on GPIO{PIN} does not come to rest: check its wire")


async def test_pin_that_is_lost_and_comes_back_tells_how_it_is_before_it_works(pins: WatchedFactory) -> None:
    pins.drive(PIN, high=False)
    async with watching(contact_on()) as watch:
        await watch.ready()
        pins.lose(PIN)
        await watch.until(lambda: watch.lost() is not None)
        pins.drive(PIN, high=True)
        pins.find_again(PIN)
        await watch.ready()
        assert watch.said[-2:] == [True, (True, f"GPIO{PIN} is watched")]
