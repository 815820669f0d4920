"""What happens at a busy charge point in a quarter of a day: drivers, guessers, pulled cables, and peers that fail.

Everything is drawn from one seed; but real processes race, so that no two runs are the same.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fakes.emsp import FINE, FakeEmsp, Kind, NoAnswer, Weather, server_error, slow
from tests.day.place import Outlet, Place
from tests.day.running import RunningAgent

SERVED_S: Final = 2.5
"""After this a driver goes away; the agent's deadline is 1 s."""
OPEN_S: Final = 60.0
"""Against hangs alone: an unplugged EVSE's relay opens."""
_POWERS_W = (11_000.0, 22_000.0, 150_000.0)

_WEATHERS: Final = (
    Weather(Kind.DOWN),
    Weather(Kind.SILENT),
    Weather(Kind.RESET),
    Weather(Kind.GARBAGE),
    Weather(Kind.CUT_OFF),
    Weather(Kind.DROPS_IDLE),
    server_error(503),
    slow(0.4),
)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a whole day has of everything."""

    sessions: int = 150
    refused: int = 25
    invalid: int = 25
    unknown: int = 45
    random: int = 15
    garbage: int = 40
    """Frames that are none."""
    outages: int = 20
    pushes: int = 200
    cables: int = 8
    """Readers and meters' adapters that are pulled out and put back."""
    hang_ups: int = 8

    def of(self, share: float) -> "Amounts":
        """A part of it, rounded, and one of each at least."""
        names = self.__slots__
        return Amounts(**{name: max(1, round(getattr(self, name) * share)) for name in names})


class Traffic:
    """Everybody who comes."""

    def __init__(self, place: Place, agent: RunningAgent, seed: int) -> None:
        self.done: Counter[str] = Counter()
        """What has happened, by name."""
        self._place = place
        self._agent = agent
        self._draw = random.Random(seed)
        self._cards = _Cards(place, self._draw)
        self._variant = 0

    def relay_moved(self, pin: int, *, closed: bool) -> None:
        """The car draws power from here on, or none."""
        for outlet in self._place.outlets:
            if outlet.relay == pin:
                outlet.meter.draw(outlet.wants_w if closed else 0.0)
                self.done["relays closed"] += closed

    async def quarter(self, amounts: Amounts, seconds: float) -> None:
        """Let all of it happen within about so many seconds; after it nobody charges, and every peer is well."""
        visits = self._visits(amounts)
        self._draw.shuffle(visits)
        count = len(self._place.outlets)
        async with asyncio.TaskGroup() as group:
            for number, outlet in enumerate(self._place.outlets):
                group.create_task(self._come(outlet, visits[number::count], seconds))
            group.create_task(self._spread(amounts.outages, seconds, self._outage))
            group.create_task(self._spread(amounts.pushes, seconds, self._push))
            group.create_task(self._spread(amounts.cables, seconds, self._pull_cable))
            group.create_task(self._spread(amounts.hang_ups, seconds, self._hang_up))
        for emsp in (self._place.emsp, self._place.acme):
            emsp.set_weather(Kind.DOWN)  # whoever still waits for an answer need not any longer
            emsp.set_weather(FINE)

    def _visits(self, amounts: Amounts) -> list[Callable[[Outlet], Awaitable[None]]]:
        return [
            *[self._charge] * amounts.sessions,
            *[self._tap_of("refused")] * amounts.refused,
            *[self._tap_of("invalid")] * amounts.invalid,
            *[self._tap_of("unknown")] * amounts.unknown,
            *[self._tap_of("random")] * amounts.random,
            *[self._babble] * amounts.garbage,
        ]

    async def _come(
        self, outlet: Outlet, visits: Sequence[Callable[[Outlet], Awaitable[None]]], seconds: float
    ) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, visit in enumerate(visits):
            await asyncio.sleep(began + seconds * number / len(visits) - loop.time())
            await visit(outlet)

    async def _spread(self, times: int, seconds: float, what: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for moment in sorted(self._draw.uniform(0.0, seconds) for _ in range(times)):
            await asyncio.sleep(began + moment - loop.time())
            await what()

    # ---- drivers

    async def _charge(self, outlet: Outlet) -> None:
        """A whole charge, or none where the card is not accepted because its peer is away."""
        draw, uid = self._draw, self._cards.good(outlet)
        outlet.wants_w = draw.choice(_POWERS_W)
        plugs_first = draw.random() < 0.5
        if plugs_first:
            self._agent.drive(outlet.plug, high=True)
        self._hold(outlet, uid)
        if not plugs_first:
            await asyncio.sleep(draw.uniform(0.0, 0.2))
            self._agent.drive(outlet.plug, high=True)
        if await self._moved(outlet, SERVED_S, closed=True):
            self.done["sessions"] += 1
            await self._draw_power(outlet, uid)
        else:
            self.done["not served"] += 1
        self._agent.drive(outlet.plug, high=False)
        if not await self._moved(outlet, OPEN_S, closed=False):
            raise AssertionError(f"{outlet.evse}: unplugged, and its relay stays closed")
        await asyncio.sleep(0.1)  # the reader's removal_s, and the EVSE's last record

    async def _draw_power(self, outlet: Outlet, uid: str) -> None:
        await asyncio.sleep(self._draw.uniform(0.2, 1.5))
        if self._draw.random() < 0.3:
            self._hold(outlet, self._cards.good(outlet, but=uid))  # somebody else tries
            await asyncio.sleep(0.1)
        if self._draw.random() < 0.5:
            self._hold(outlet, uid)
            await self._moved(outlet, SERVED_S, closed=False)

    def _tap_of(self, kind: str) -> Callable[[Outlet], Awaitable[None]]:
        async def tap(outlet: Outlet) -> None:
            self._hold(outlet, self._cards.of(kind, outlet))
            self.done[f"taps, {kind}"] += 1
            await asyncio.sleep(self._draw.uniform(0.05, 0.3))

        return tap

    async def _babble(self, outlet: Outlet) -> None:
        """Noise on the line, or a frame with a wrong checksum."""
        if self._draw.random() < 0.5:
            outlet.line.send(self._draw.randbytes(self._draw.randint(1, 60)))
        else:
            outlet.line.present(self._cards.good(outlet), corrupt=True)
        self.done["garbage"] += 1
        await asyncio.sleep(0.05)

    def _hold(self, outlet: Outlet, uid: str) -> None:
        self.done["taps"] += outlet.line.present(uid)

    async def _moved(self, outlet: Outlet, within_s: float, *, closed: bool) -> bool:
        return await self._agent.within(within_s, lambda: (outlet.relay in self._agent.closed) is closed)

    # ---- the world

    async def _outage(self) -> None:
        emsp = self._draw.choice((self._place.emsp, self._place.acme))
        emsp.set_weather(self._draw.choice(_WEATHERS))
        await asyncio.sleep(self._draw.uniform(0.1, 1.0))
        emsp.set_weather(FINE)
        self.done["outages"] += 1

    async def _push(self) -> None:
        """The registered peer puts a token, changes it, or looks at it."""
        acme = self._place.acme
        card = acme.card(self._cards.pushed(), whitelist=self._draw.choice(("ALWAYS", "ALLOWED", "NEVER")))
        try:
            answer = await acme.put_token(card)
            if self._draw.random() < 0.3:
                answer = await acme.get_token(card.uid, "RFID")
        except NoAnswer:
            self.done["pushes unanswered"] += 1
            return
        self.done["pushes" if answer.succeeded else f"pushes refused: {answer}"] += 1

    async def _pull_cable(self) -> None:
        cable = self._draw.choice([*(outlet.line for outlet in self._place.outlets), self._place.meters[0]])
        cable.unplug()
        await asyncio.sleep(self._draw.uniform(0.05, 0.4))
        cable.plug()
        self.done["cables pulled"] += 1

    async def _hang_up(self) -> None:
        self._variant += 1
        self._place.configure(variant=self._variant)
        self._agent.hang_up()
        self.done["reloads"] += 1


class _Cards:
    """A uid for whatever is wanted; the eMSPs know those that they have."""

    def __init__(self, place: Place, draw: random.Random) -> None:
        self._draw = draw
        self._made: dict[tuple[bool, str], list[str]] = {}
        self._pushed = 0
        for is_short in (True, False):
            for number in range(40):
                peer = (place.emsp, place.acme)[number % 2]
                kind = ("ALWAYS", "ALLOWED", "NEVER", "ALLOWED_OFFLINE")[number // 2 % 4]
                self._add(peer, "good", number, is_short=is_short, whitelist=kind)
            for number in range(10):
                self._add(place.emsp, "refused", 100 + number, is_short=is_short, whitelist="NEVER", allowed="BLOCKED")
                self._add(place.emsp, "invalid", 200 + number, is_short=is_short, whitelist="ALWAYS", valid=False)

    def _add(self, peer: FakeEmsp, what: str, number: int, *, is_short: bool, **beliefs: object) -> None:
        uid = f"{0xA0000000 + number:08X}" if is_short else f"01{0x80000000 + number:08X}"
        peer.card(uid, **beliefs)  # type: ignore[arg-type]  # each as FakeEmsp.card names it
        self._made.setdefault((is_short, what), []).append(uid)

    def good(self, outlet: Outlet, *, but: str = "") -> str:
        """A card of an eMSP that lets it charge, and not the one in `but`."""
        return self._draw.choice([uid for uid in self._made[outlet.kind != "rdm6300", "good"] if uid != but])

    def of(self, kind: str, outlet: Outlet) -> str:
        """A card of that kind, for an outlet's reader."""
        is_short = outlet.kind != "rdm6300"
        match kind:
            case "unknown":
                return f"{'' if is_short else 'E1'}{0xE0000000 + self._draw.randrange(1 << 24):08X}"
            case "random":  # for the readers of the 125 kHz cards it is one more that nobody knows
                return ("08" if is_short else "0808") + f"{self._draw.randrange(1 << 24):06X}"
            case _:
                return self._draw.choice(self._made[is_short, kind])

    def pushed(self) -> str:
        """One of a few hundred that are pushed again and again."""
        self._pushed += 1
        return f"{0xB0000000 + self._pushed % 300:08X}"
