"""The people at a site where the power fails: drivers with their habits, drawn by lot, and an operator."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.scenario.charges_site import HANG_S, KNOWN_AFTER, STOP_AFTER_S, Outlet, Site, Visit
from tests.scenario.world import command

LOOK_S = 0.02
"""For what has no event: a row in a file of another process."""
STUCK_S = 30.0
"""A driver who has got no answer by then has been forgotten."""
POWERS_W = (90_000.0, 250_000.0, 500_000.0)
"""Of what cars draw; the greatest lets `persist_energy_wh` flow three times a second, more than any real one."""
KINDS = ("ALWAYS", "NEVER", "ALLOWED_OFFLINE", "NEVER", "ALLOWED_OFFLINE")
STOPS = ("card", "card", "group card", "unplug", "unplug", "operator", "power cut")


@dataclass(frozen=True, slots=True)
class Cards:
    """What a driver has in the pocket."""

    uid: str
    kind: str
    mate: str
    """Another card of the same group."""


def deck(site: Site, count: int) -> Iterator[Cards]:
    """So many drivers' cards, which the eMSP knows from now on."""
    made = []
    for number in range(count):
        cards = Cards(f"01{0x80000000 + number:08X}", KINDS[number % len(KINDS)], f"02{0x80000000 + number:08X}")
        group = f"G{number}"
        site.emsp.card(cards.uid, whitelist=cards.kind, group_id=group)
        site.emsp.card(cards.mate, whitelist="ALWAYS", group_id=group)
        made.append(cards)
    return iter(made)


class Drivers:
    """Those who come to one outlet, one after the other."""

    def __init__(self, site: Site, outlet: Outlet, cards: Iterator[Cards], seed: str) -> None:
        self.visits: list[Visit] = []
        self.stops: Counter[str] = Counter()
        self.stuck: list[str] = []
        """Cards to which nothing happened, and the power was there."""
        self._site = site
        self._outlet = outlet
        self._cards = cards
        self._draw = random.Random(seed)

    async def come(self) -> None:
        """One after the other until the site is closing."""
        while not self._site.is_closing:
            await self._visit(next(self._cards))

    async def _visit(self, cards: Cards) -> None:
        outlet, draw = self._outlet, self._draw
        await self._served()
        outlet.visit = visit = Visit(outlet.evse, cards.uid, outlet.meter.energy_wh)
        self.visits.append(visit)
        outlet.wants_w = draw.choice(POWERS_W)
        if draw.random() < 0.5:
            self._site.plug(outlet, inserted=True)
        never_plugs = draw.random() < 0.04
        taps = draw.choice((1, 1, 2))
        while True:
            await self._served()
            if not self._is_running(cards.uid):
                if not taps:
                    break
                taps -= 1
                await self._start(cards)
            elif not outlet.plugged and not never_plugs:
                await asyncio.sleep(draw.uniform(0.0, 0.1))
                self._site.plug(outlet, inserted=True)
            elif outlet.plugged:
                await self._charge(cards)
            else:  # it ends by itself
                await self._expect(cards, self._site.life, lambda: not self._is_running(cards.uid))
        await self._leave(visit)

    async def _served(self) -> None:
        """Wait until there is power, and the agent knows what the meter shows now."""
        outlet = self._outlet
        assert await self._site.until(lambda: self._site.is_open and outlet.readings >= KNOWN_AFTER)

    async def _start(self, cards: Cards) -> None:
        """Hold the card to the reader, and see what comes of it; the power may fail meanwhile."""
        await asyncio.sleep(STOP_AFTER_S * 1.5)  # sooner it would be the tap that has stopped the charge before
        life, known = self._site.life, self._count(cards.uid)
        if self._site.present(self._outlet, cards.uid):
            await self._expect(cards, life, lambda: self._count(cards.uid) > known)

    async def _charge(self, cards: Cards) -> None:
        """Until the driver has had enough, or the power fails."""
        site, outlet, life = self._site, self._outlet, self._site.life
        await self._expect(cards, life, lambda: outlet.closed or not self._is_running(cards.uid))
        if not outlet.closed:
            return
        stop = self._draw.choice(STOPS)
        lasts_s = HANG_S if stop == "power cut" else min(4.0, self._draw.expovariate(1.0))
        if self._draw.random() < 0.1:
            await self._pause(life)
        await site.until(lambda: self._is_over(life) or site.is_closing, lasts_s)
        if self._is_over(life):
            await self._in_the_dark()
            return
        if not self._is_running(cards.uid):
            return  # it has ended by itself: now the card would begin another charge
        self.stops[stop] += 1
        await self._stop(stop, cards)
        if not await self._either(life, lambda: not self._is_running(cards.uid), 3.0):
            site.plug(outlet, inserted=False)  # it was too soon after the start, or nobody has heard: then by force

    async def _pause(self, life: int) -> None:
        """The car has had enough for a moment."""
        outlet, wants_w = self._outlet, self._outlet.wants_w
        outlet.wants_w = 0.0
        outlet.flow()
        await self._site.until(lambda: self._is_over(life), self._draw.uniform(0.3, 1.2))
        outlet.wants_w = wants_w
        if not self._is_over(life):
            outlet.flow()

    async def _stop(self, how: str, cards: Cards) -> None:
        match how:
            case "card":
                self._site.present(self._outlet, cards.uid)
            case "group card":
                self._site.present(self._outlet, cards.mate)
            case "operator":
                await command("sessions", "stop", self._outlet.evse, "--config", self._site.config)
            case _:
                self._site.plug(self._outlet, inserted=False)

    async def _in_the_dark(self) -> None:
        """The power is gone: some take their car away, the others wait what comes."""
        if self._draw.random() < 0.4:
            self._site.plug(self._outlet, inserted=False)

    async def _leave(self, visit: Visit) -> None:
        """Drive off. Who comes next comes when nothing is open here on record: an agent can't tell cars apart."""
        if self._outlet.plugged:
            self._site.plug(self._outlet, inserted=False)
        while self._is_running(visit.uid) or self._outlet.closed:
            await self._served()
            await asyncio.sleep(LOOK_S)
        self._outlet.readings = 0
        visit.ended_wh = self._outlet.meter.energy_wh
        self._outlet.visit = None

    async def _expect(self, cards: Cards, life: int, so: Callable[[], bool]) -> None:
        if not await self._either(life, so):
            self.stuck.append(cards.uid)

    async def _either(self, life: int, so: Callable[[], bool], within_s: float = STUCK_S) -> bool:
        """Whether it has become so; or the power has failed, then nobody is to blame."""
        until = asyncio.get_running_loop().time() + within_s
        while not so():
            if self._is_over(life):
                return True
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    def _is_over(self, life: int) -> bool:
        return self._site.life != life or not self._site.is_open

    def _is_running(self, uid: str) -> bool:
        """Also where that can't be read just now."""
        records = self._records(uid)
        return records is None or any(row["relay_closed"] and row["ended_at"] is None for row in records)

    def _count(self, uid: str) -> int:
        return len(self._records(uid) or ())

    def _records(self, uid: str) -> list[dict[str, Any]] | None:
        sql = "SELECT relay_closed, ended_at FROM authorization WHERE uid = ? AND evse_uid = ?"
        return self._site.select(sql, uid, self._outlet.evse)
