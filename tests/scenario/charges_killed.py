"""Hundreds of charges at a site whose agent is killed at any moment and whose eMSP fails in every way, and the sums.

Kill -9 takes the process and leaves the operating system: what a power cut takes from the disk's cache is not shown
here. Everything is drawn from one seed; but real processes race, so that no two runs are the same.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.emsp import FINE, FakeEmsp, Kind, Part, RepeatedCdr, Weather, rate_limited, server_error, slow
from tests.scenario.charges_drivers import Drivers, deck
from tests.scenario.charges_oracle import BY_THE_CUT, Books, Energy, findings
from tests.scenario.charges_site import DEADLINE_S, PERSIST_WH, SHORT_CUT_S, Closing, Site, site_in
from tests.scenario.test_kill import copied, integrity
from tests.scenario.world import command, fill_whitelist, select

A_START_S = 1.0
"""About what a start takes: some kills fall into it."""
A_LIFE_S = 2.0
"""Of the agent, on average; a charge takes about as long."""
A_WRITE_S = 0.01
"""About what a change takes on its way to the disk and to those who hear of it."""
EMPTY_S = 180.0
"""Against hangs alone: an outbox that does not get empty."""
LOOK_S = 0.05
"""For what has no event: rows in a file of another process."""

_TAKEN_UNHEARD = [
    Weather(Kind.SILENT, times=1),
    Weather(Kind.RESET, times=2),
    Weather(Kind.CUT_OFF, times=2),
    Weather(Kind.DROPS_REUSED, times=2),
    Weather(Kind.DROPS_IDLE, times=2),
    Weather(Kind.GARBAGE, times=2),
    Weather(Kind.EMPTY_BODY, times=2),
    Weather(Kind.HTML_200, times=1),
    Weather(Kind.WRONG_SHAPE, times=1),
    Weather(Kind.NOT_UTF8, times=1),
]
"""The request is done, and whoever sent it does not learn it, or is refused it unread."""
_REFUSED = [
    Weather(Kind.UNAUTHORIZED, times=2),
    Weather(Kind.OCPI_ERROR, times=2),
    Weather(Kind.HUB_ERROR, times=2),
    rate_limited(times=2),
    rate_limited(1, times=1),
    server_error(500, times=3),
    server_error(503, times=2),
]
_LATE = slow(DEADLINE_S * 1.2)
"""Of an authorization: its reference joins the session that the fallback has begun."""
_AT_ALL = [Weather(Kind.DOWN), Weather(Kind.SILENT)]
_OF_AUTHORIZE = [*_TAKEN_UNHEARD, *_REFUSED, slow(0.3), Weather(Kind.NOT_FOUND, times=1)]
_REJECTED = Weather(Kind.NOT_ENOUGH, times=1)
"""The peer wants no such CDR: it is parked until an operator has it sent again."""


@dataclass
class Run:
    """What a run came to."""

    kills: int = 0
    in_start: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """How often the eMSP has begun to fail, by kind."""
    stops: Counter[str] = field(default_factory=Counter)
    visits: int = 0
    resent: int = 0
    stuck: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    """What is wrong: nothing, it is hoped."""
    closings: list[Closing] = field(default_factory=list)
    energy: Energy = field(default_factory=Energy)
    books: Books = field(default_factory=lambda: Books("not read", (), (), (), ()))

    def lines(self) -> list[str]:
        """For people."""
        sessions, energy = self.books.sessions, self.energy
        because = Counter(row["ended_because"] for row in sessions)
        without = Counter(row["no_cdr"] for row in sessions if row["no_cdr"] is not None)
        resumed = sum(b"power-cut" in bytes(row["account"]) for row in sessions)
        asked = sum(row["authorization_reference"] is not None for row in self.books.authorizations)
        unseen = sum(closing.is_recorded is None for closing in self.closings)
        metered, recorded, billed = (wh / 1000 for wh in (energy.metered_wh, energy.recorded_wh, energy.billed_wh))
        return [
            f"sessions: {len(sessions)} in {self.visits} visits; ends: {_counted(because)}",
            f"kills: {self.kills}, of them while starting: {self.in_start}",
            f"peer failures: {sum(self.failures.values())}: {_counted(self.failures)}",
            f"CDRs: {len(self.books.cdrs)}, sent again by the operator: {self.resent}",
            f"resumed: {resumed}; ended by the cut: {sum(because[reason] for reason in BY_THE_CUT)}",
            f"sessions without a CDR: {sum(without.values())}: {_counted(without)}",
            f"references: {asked}, of them late: {sum(bool(row['joined']) for row in self.books.late)}",
            f"relays closed: {len(self.closings)}, without a look at the file: {unseen}",
            f"energy of the meters: {metered:.3f} kWh, on record: {recorded:.3f} kWh, billed: {billed:.3f} kWh",
            f"lost by a cut at most: {max(energy.lost_wh, default=0):.1f} Wh; configured: {PERSIST_WH} Wh, a reading",
            f"cuts that cost more: {len(energy.beyond)} of {len(energy.lost_wh)}",
        ]


async def charges_killed(folder: Path, *, sessions: int, seed: int) -> Run:
    """Charge until so many sessions are over, and the eMSP has been told of all of them."""
    run, draw = Run(), random.Random(seed)
    async with site_in(folder) as site:
        site.emsp.page_size = 1000
        cards = deck(site, 60 + 4 * sessions)
        await fill_whitelist(site.config)
        drivers = [Drivers(site, outlet, cards, f"{seed} {outlet.evse}") for outlet in site.outlets]
        async with asyncio.TaskGroup() as group:
            weather = group.create_task(_change_weather(site.emsp, random.Random(seed + 1), run))
            coming = [group.create_task(driver.come()) for driver in drivers]
            while _over(site) < sessions:
                await _one_life(site, draw, run)
            site.is_closing = True
            site.configure(resume_within_s=300)
            await site.power_on()
            await site.open()
            await asyncio.wait(coming)
            weather.cancel()
        site.emsp.set_weather(Kind.DOWN)  # whoever still waits for an answer need not any longer
        site.emsp.set_weather(FINE)
        await _empty(site, run)
        assert await site.charger.stop() == 0
        _read(site, run, drivers)
    return run


async def _one_life(site: Site, draw: random.Random, run: Run) -> None:
    """From one power cut to the next."""
    site.configure(resume_within_s=draw.choice((300, 300, SHORT_CUT_S, 0)))
    await asyncio.sleep(draw.choice((0.0, 0.0, draw.uniform(0.0, 2 * SHORT_CUT_S))))
    await site.power_on()
    if draw.random() < 0.2:
        run.in_start += 1
        await asyncio.sleep(draw.uniform(0.0, A_START_S))
    else:
        await site.open()
        await _moment(site, draw)
    await site.power_cut()
    run.kills += 1
    assert integrity(copied(site.folder, "state.db")) == "ok"


async def _moment(site: Site, draw: random.Random) -> None:
    """Any moment; often one shortly after something has happened, when records are on their way."""
    await asyncio.sleep(draw.expovariate(1 / A_LIFE_S))
    match draw.choice(("any", "relay", "card", "report")):
        case "relay":
            moves = site.moves
            await site.until(lambda: site.moves > moves, A_LIFE_S)
        case "card":
            taps = site.taps
            await site.until(lambda: site.taps > taps, A_LIFE_S)
        case "report":
            part = draw.choice((Part.SESSIONS, Part.CDRS))
            known = sum(request.part is part for request in site.emsp.requests)
            with suppress(TimeoutError):
                async with asyncio.timeout(A_LIFE_S):
                    await site.emsp.arrived(known + 1, part)
        case _:
            return
    await asyncio.sleep(draw.uniform(0.0, A_WRITE_S))


async def _change_weather(emsp: FakeEmsp, draw: random.Random, run: Run) -> None:
    """Let the eMSP fail in one way after the other, each for a while; it is well between them."""
    while True:
        emsp.reported.repeated_cdr = draw.choice(list(RepeatedCdr))
        if draw.random() < 0.4:
            weather, part = FINE, None
        elif draw.random() < 0.1:
            weather, part = draw.choice(_AT_ALL), None
        elif draw.random() < 0.05:
            weather, part = _REJECTED, Part.CDRS
        elif draw.random() < 0.35:
            weather, part = _LATE, Part.AUTHORIZE
        elif draw.random() < 0.4:
            weather, part = draw.choice(_OF_AUTHORIZE), Part.AUTHORIZE
        else:
            weather = draw.choice([*_TAKEN_UNHEARD, *_REFUSED, _LATE, slow(0.3)])
            part = draw.choice((Part.SESSIONS, Part.CDRS, None))
        emsp.set_weather(weather, on=part)
        if weather is not FINE:
            run.failures[weather.kind] += 1
        await asyncio.sleep(draw.uniform(0.1, 2.0 if weather is _LATE else 1.0))


async def _empty(site: Site, run: Run) -> None:
    """Wait until the eMSP has everything; what it has rejected is sent again, as by an operator who has asked why."""
    async with asyncio.timeout(EMPTY_S):
        while due := _due(site):
            for row in due:
                if row["parked"]:
                    done = await command("cdrs", "resend", str(row["number"]), "--config", site.config)
                    assert done.code == 0, done.err
                    run.resent += 1
            await asyncio.sleep(LOOK_S)


def _due(site: Site) -> Sequence[dict[str, Any]]:
    rows = site.select("SELECT number, parked FROM cdr_due UNION ALL SELECT authorization_id, 0 FROM session_due")
    return [{"number": 0, "parked": 0}] if rows is None else rows


def _over(site: Site) -> int:
    """How many sessions have ended, by a copy of the file: the agent is to find it as the kill has left it."""
    return len(select(copied(site.folder, "state.db"), "SELECT 1 FROM session WHERE ended_at IS NOT NULL"))


def _read(site: Site, run: Run, drivers: Sequence[Drivers]) -> None:
    """Read the file that is left, and compare."""
    path = site.folder / "state" / "state.db"
    visits = [visit for driver in drivers for visit in driver.visits]
    run.books = Books(
        integrity(path),
        select(path, "SELECT * FROM authorization ORDER BY id"),
        select(path, "SELECT * FROM session ORDER BY authorization_id"),
        select(
            path,
            "SELECT cdr.*, at AS acknowledged_at, problem FROM cdr LEFT JOIN cdr_acknowledged USING (number)"
            " LEFT JOIN cdr_due USING (number) ORDER BY number",
        ),
        select(path, "SELECT * FROM late_answer ORDER BY id"),
    )
    run.visits, run.closings = len(visits), site.closings
    for driver in drivers:
        run.stops += driver.stops
        run.stuck += driver.stuck
    run.found = findings(run.books, site.emsp, visits, site.closings, run.energy)


def _counted(count: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in count.most_common()) or "none"
