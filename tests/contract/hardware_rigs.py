"""Rigs whose world side is a person: what the suites want of a device is asked for, and what it does is asked about."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TypeGuard

from agent.ports import Display, Indicator, Reader, ReaderState, Relay, RelayBoard
from tests.contract.at_work import reading
from tests.contract.behaviours import Indicates, Reads, Shows, Switches
from tests.contract.person import Person

COMES_S = 10.0
"""A reader that is not there by then needs a person who hears why."""

REPEATS_S = 0.5
"""Every reader has repeated a card by then that it repeats at all."""

_NO_SUCH_CARD = "a person has no card with such a uid at hand"


class RealReader:
    """A reader and the cards that somebody has. Their uids are learned from the reader itself, at its first test."""

    cannot: Mapping[str, str] = {
        Reads.EVERY_BYTE: _NO_SUCH_CARD,
        Reads.EVERY_LENGTH: _NO_SUCH_CARD,
        Reads.RANDOM: "it takes a phone: hold one to the reader while `readers --watch` runs",
        Reads.BESIDE: "two cards in one field disturb each other in many readers, whatever the driver does",
        Reads.BAD_FRAME: "a person can't send a broken frame",
    }

    def __init__(self, reader: Reader, removal_s: float, person: Person, cards: Sequence[str]) -> None:
        self.reader = reader
        self.cards = cards
        self._removal_s = removal_s
        self._person = person
        self._held: set[str] = set()

    async def learn(self, count: int = 2) -> Sequence[str]:
        """Have this many cards held to the reader; their uids, which nobody sees."""
        async with reading(self.reader) as work:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMES_S):
                    await work.is_now(ReaderState.READY)
            said = work.states[-1] if work.states else (None, "it says nothing")
            assert said[0] is ReaderState.READY, f"reader {self.reader.name} is not ready: {said[1]}"
            for number in range(1, count + 1):
                await self._person.does(f"take a card, call it card {number}, and hold it to reader {self.reader.name}")
                await work.tapped(number)
                await self._person.does(f"take card {number} away from reader {self.reader.name}")
                await asyncio.sleep(2 * self._removal_s)
        assert len(set(work.uids)) == len(work.uids) == count, "each card has to be another one, and to tap once"
        self.cards = work.uids
        return self.cards

    async def hold(self, card: str) -> None:
        """Ask for it; of a card that is there already, let the reader repeat it."""
        if card in self._held:
            await asyncio.sleep(REPEATS_S)
            return
        self._held.add(card)
        await self._person.does(f"hold {self._called(card)} to reader {self.reader.name} and keep it there")

    async def take_away(self, card: str) -> None:
        """Ask for it, and let the removal time pass."""
        self._held.discard(card)
        await self._person.does(f"take {self._called(card)} away from reader {self.reader.name}")
        await asyncio.sleep(2 * self._removal_s)

    async def spoil(self) -> None:
        """Never asked for: see `cannot`."""
        raise NotImplementedError

    async def unplug(self) -> None:
        """Ask for it."""
        await self._person.does(f"unplug reader {self.reader.name}, what lies on it stays there")

    async def plug(self) -> None:
        """Ask for it."""
        await self._person.does(f"plug reader {self.reader.name} in again")

    async def clear(self) -> None:
        """Have the reader left empty for the next test."""
        for card in list(self._held):
            await self.take_away(card)

    def _called(self, card: str) -> str:
        return f"card {self.cards.index(card) + 1}"


class RealDisplay:
    """A display, and somebody who reads it."""

    cannot: Mapping[str, str] = {Shows.SIZE: f"a person counts no characters: {Shows.CUT!s} shows them"}

    def __init__(self, label: str, display: Display, person: Person) -> None:
        self.display = display
        self._label = label
        self._person = person

    def seen(self) -> tuple[str, ...]:
        """Nothing that a program could compare: see `confirms`."""
        return ()

    async def confirms(self, what: str) -> bool:
        """Ask whether this is so."""
        return await self._person.confirms(f"display of {self._label}: {what}")

    async def settle(self) -> None:
        """The person looks when it has come to rest."""

    async def unplug(self) -> None:
        """Ask for it."""
        await self._person.does(f"unplug the display of {self._label}")

    async def plug(self) -> None:
        """Ask for it."""
        await self._person.does(f"plug the display of {self._label} in again")


_NO_RELAY: Mapping[str, str] = {
    Switches.SAME: "a person can't be sure to have heard nothing",
    Switches.LEFT_CLOSED: "it takes a killed process: kill -9 the agent while it charges, then start it",
}
_NO_PIN: Mapping[str, str] = dict.fromkeys(
    (Switches.UNPLUGGED, Switches.COMES_BACK_OPEN), "on a pin there is no cable to pull"
)


class RealRelay:
    """A relay, and somebody who hears and sees it. Nothing may be wired to its contact that must not be switched."""

    def __init__(self, label: str, relay: Relay, person: Person) -> None:
        self.relay = relay
        self.board: RelayBoard | None = relay if _has_board(relay) else None
        self._label = label
        self._person = person
        self.cannot: Mapping[str, str] = _NO_RELAY if self.board is not None else {**_NO_RELAY, **_NO_PIN}

    def contact_closed(self) -> bool:
        """Ask."""
        return self._person.sees(f"relay of {self._label}: is its contact closed, by its lamp or a meter")

    def moves(self) -> int:
        """Never asked for: see `cannot`."""
        raise NotImplementedError

    async def unplug(self) -> None:
        """Ask for it."""
        await self._person.does(f"unplug the relay board of {self._label}")

    async def plug(self) -> None:
        """Ask for it."""
        await self._person.does(f"plug the relay board of {self._label} in again")

    def another(self) -> Relay:
        """Never asked for: see `cannot`."""
        raise NotImplementedError


def _has_board(relay: object) -> TypeGuard[RelayBoard]:
    return hasattr(relay, "run")


class RealLamp:
    """A light or a buzzer, and somebody who says in words of their own what it does."""

    cannot: Mapping[str, str] = {Indicates.BROKEN: "on a pin there is nothing to unplug"}

    def __init__(self, label: str, indicator: Indicator, work: AsyncExitStack, person: Person) -> None:
        """`work` lets the driver work until it is closed."""
        self.indicator = indicator
        self._label = label
        self._work = work
        self._person = person

    async def settle(self) -> str:
        """Ask what it does."""
        return await self._person.describes(f"{self._label}: what do you see or hear")

    def lit(self) -> str:
        """Ask whether it does anything."""
        return "lit" if self._person.sees(f"{self._label}: do you see or hear anything") else ""

    async def unplug(self) -> None:
        """Never asked for: see `cannot`."""
        raise NotImplementedError

    async def plug(self) -> None:
        """Never asked for: see `cannot`."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the driver's work."""
        await self._work.aclose()
