"""The demo: the real agent over a real serial line and real HTTP, with a world that is played.

A composition root. Only what is not there is fake: the reader is an emulator on a pseudo-terminal, the eMSP a
program on loopback, the relay's pins gpiozero's own mock pins. What is printed was read from `state.db`.

The cards and the charge on the terminal are played with agents of their own: whoever plays on the panel meanwhile is
not disturbed, and disturbs nobody.
"""

import asyncio
import io
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import click
from rich.console import Console
from rich.table import Table

from agent.commands.charge_words import exact_json
from agent.config import Config, parse
from agent.main import Agent, agent_of
from agent.model import EndReason, Recorded
from agent.runtime.charge_point import Settled
from fakes.demo_charge import POWER_W, steps
from fakes.demo_deck import DECK, Case, spelled
from fakes.demo_panel import open_panel
from fakes.demo_timeline import print_outcome, print_step
from fakes.emsp import FINE, FakeEmsp
from fakes.pins import mock_pins
from fakes.serial_line import SerialLine
from fakes.world import LifeOf, life_with_panel

DEADLINE_S = 2.0
"""Short, so that nobody waits for a deck; long enough for a busy build machine to ask in time."""
_RESERVE_S = 0.75
"""For the record and the relay, on whatever disk and beside whatever else a newcomer tries this."""
REMOVAL_S = 0.2
EVSE_UIDS = ("DE*EXA*E1", "DE*EXA*E2")
WIDE = 132
"""Columns from which on the references have room."""
READ_AFTER_S = 10.0
"""A hang guard: how long a frame may take to be read."""


class Row(TypedDict):
    """What one case came to, read back from `state.db`; the values are None when there was no tap."""

    case: str
    uid: str | None
    evse_uid: str
    verdict: str | None
    reason: str
    source: str | None
    latency_ms: float | None
    deadline_ms: float
    relay: str
    text: str | None
    authorization_reference: str | None
    detail: str | None
    taps: int


class Stage:
    """The agent and what surrounds it, and how to play one case in it."""

    def __init__(
        self, agent: Agent, emsp: FakeEmsp, lines: list[SerialLine], settled: "asyncio.Queue[Settled]"
    ) -> None:
        self._agent = agent
        self._emsp = emsp
        self._lines = lines
        self._settled = settled

    async def play(self, case: Case, evse_number: int) -> Row:
        """Play one case at an EVSE and read from the journal what happened; the EVSE is free again afterwards."""
        evse_uid, line = EVSE_UIDS[evse_number], self._lines[evse_number]
        before = await self._last_id()
        if case.first:
            line.present(case.first[0])
            await self._settled.get()
            await asyncio.sleep(2 * REMOVAL_S)
        await self._peer_is_asked()
        self._emsp.set_weather(case.weather)
        if case.corrupt:
            await self._present_corrupt(case, evse_number)
        else:
            line.present(case.uid, case.repeats)
            await self._settled.get()
        self._emsp.set_weather(FINE)
        records = [r for r in await self._agent.stores.journal.recent(10) if r.id > before]
        await self._agent.evses[evse_uid].end(EndReason.OPERATOR)
        return _row(case, evse_uid, records)

    async def _present_corrupt(self, case: Case, evse_number: int) -> None:
        """Wait until the reader has dropped the frame: only then is it true that no tap came of it."""
        reader = self._agent.readers[evse_number]
        dropped = reader.bad_frames
        self._lines[evse_number].present(case.uid, corrupt=True)
        async with asyncio.timeout(READ_AFTER_S):
            while reader.bad_frames == dropped:  # noqa: ASYNC110  a counter has no event
                await asyncio.sleep(0.005)

    async def _peer_is_asked(self) -> None:
        """Wait for the probe that follows an outage: the next case is not about the breaker."""
        while not all(peer.is_asked for peer in self._agent.peers.values()):  # noqa: ASYNC110  driven by probes
            await asyncio.sleep(0.02)

    async def _last_id(self) -> int:
        newest = await self._agent.stores.journal.recent(1)
        return newest[0].id if newest else 0


async def play(*, once: bool, as_json: bool, panel: bool | None = None, life_of: LifeOf = life_with_panel) -> None:
    """Play the deck and a charge. Prints a line a case and a table, then the charge's timeline.

    With `as_json`, an object for each case (`Row`) and each step of the charge (`Step`), and nothing else on standard
    output. With `panel`, as without `once` unless told otherwise, a page with a world to play in is open from the
    start; its address is printed first. It stays open until Ctrl-C, or with `once` until all is played. Without a
    panel and without `once` all is played again and again. `life_of` assembles the agent that has the page.

    Raises CancelledError on SIGTERM: what was made for it is cleared away first, as on Ctrl-C.
    """
    playing = asyncio.current_task()
    assert playing is not None, "it runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    shown = not once if panel is None else panel
    pins = mock_pins()
    async with AsyncExitStack() as stack:
        page = await stack.enter_async_context(open_panel(pins, life_of)) if shown else None
        if page is not None:
            click.echo(f"Play with it in a browser: {page.url}", err=as_json)
            click.echo(f"Its charge point has its records in {page.records}\n", err=as_json)
        while True:
            await _play_deck(as_json=as_json)
            await play_charge(as_json=as_json)
            if once:
                return
            if page is not None:
                click.echo(f"\nThe panel stays open at {page.url} until Ctrl-C.", err=as_json)
                await page.served()


async def _play_deck(*, as_json: bool) -> None:
    async with stage() as playing:
        if not as_json:
            click.echo(f"{len(DECK)} cards against a simulated eMSP, deadline {DEADLINE_S * 1000:.0f} ms a tap\n")
        rows = []
        for number, case in enumerate(DECK):
            row = await playing.play(case, number % len(EVSE_UIDS))
            rows.append(row)
            click.echo(json.dumps(row, ensure_ascii=False) if as_json else _line(row, case))
            sys.stdout.flush()
        if not as_json:
            _print_table(rows)


async def play_charge(*, as_json: bool) -> None:
    """Play one charge through a power cut, and print each step as it comes, then what both sides hold of it."""
    if not as_json:
        click.echo(f"\nA charge through a power cut; the meter runs in fast motion, with {POWER_W / 1000:g} kW\n")
    played = []
    async with aclosing(steps()) as charge:
        async for step in charge:
            played.append(step)
            if as_json:
                click.echo(exact_json(step))
                sys.stdout.flush()
            else:
                print_step(step)
    if not as_json:
        print_outcome(played[-1])


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """An eMSP that knows the deck, two readers, and an agent on this process's mock pins that has the eMSP's list."""
    settled: asyncio.Queue[Settled] = asyncio.Queue()
    ready = asyncio.Event()
    with TemporaryDirectory(prefix="chargepoint-agent-demo-") as folder:
        lines = [SerialLine(Path(folder), name=f"reader-{number + 1}") for number in range(len(EVSE_UIDS))]
        async with FakeEmsp(country_code="DE", party_id="EMS") as emsp:
            for case in DECK:
                if case.first:
                    emsp.card(case.first[0], **case.first[1])
                if case.card is not None:
                    emsp.card(spelled(case), **case.card)
            for line in lines:
                line.plug()
            config, config_path = _config(Path(folder), emsp, lines)
            async with agent_of(
                config, config_path, on_settled=settled.put_nowait, on_ready=ready.set, display_stream=io.StringIO()
            ) as agent:
                for sync in agent.syncs:
                    await sync.run_once()
                running = asyncio.create_task(agent.run())
                try:
                    await ready.wait()
                    for line in lines:
                        await line.wait_opened()
                    yield Stage(agent, emsp, lines, settled)
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    for line in lines:
                        line.unplug()


def _config(folder: Path, emsp: FakeEmsp, lines: list[SerialLine]) -> tuple[Config, Path]:
    """A configuration like any other: the agent can't tell that this is a demo."""
    path = folder / "config.toml"
    evses = "".join(
        f"""
        [[reader]]
        name = "{line.path.name}"
        kind = "rdm6300"
        port = "{line.path}"
        removal_s = {REMOVAL_S}

        [[evse]]
        uid = "{evse_uid}"
        readers = ["{line.path.name}"]
        relay = {{ gpio = {17 + number} }}
        """
        for number, (evse_uid, line) in enumerate(zip(EVSE_UIDS, lines, strict=True))
    )
    text = f"""
        [party]
        country_code = "DE"
        party_id = "EXA"
        [location]
        id = "DEMO"
        [storage]
        directory = "{folder / "state"}"
        [clock]
        trusted = true
        [policy]
        deadline_s = {DEADLINE_S}
        reserve_s = {_RESERVE_S}
        stop_after_s = {REMOVAL_S}
        [slowdown]
        refusals = 0
        [breaker]
        failures = 5
        retry_first_s = 0.1
        [[peer]]
        name = "demo-emsp"
        country_code = "DE"
        party_id = "EMS"
        versions_url = "{emsp.versions_url}"
        token = "{emsp.credentials_token}"
        {evses}
    """
    return parse(text, path), path


def _row(case: Case, evse_uid: str, records: list[Recorded]) -> Row:
    """The newest record is the decisive tap's. The relay is as the records leave it."""
    if not records:
        return Row(
            case=case.name,
            uid=None,
            evse_uid=evse_uid,
            verdict=None,
            reason="no-tap",
            source=None,
            latency_ms=None,
            deadline_ms=DEADLINE_S * 1000,
            relay="open",
            text=None,
            authorization_reference=None,
            detail=None,
            taps=0,
        )
    entry = records[0].entry
    return Row(
        case=case.name,
        uid=entry.uid,
        evse_uid=entry.evse_uid,
        verdict=entry.verdict,
        reason=entry.reason,
        source=entry.source,
        latency_ms=round(entry.latency_ms, 3),
        deadline_ms=entry.deadline_ms,
        relay="closed" if entry.relay_closed else "open",
        text=entry.text,
        authorization_reference=entry.authorization_reference,
        detail=entry.detail,
        taps=len(records),
    )


def _line(row: Row, case: Case) -> str:
    mark = {"accepted": click.style("✓", fg="green"), "refused": click.style("✗", fg="red")}.get(
        row["verdict"] or "", "·"
    )
    took = "" if row["latency_ms"] is None else f" in {row['latency_ms']:.1f} ms"
    said = f'  "{(row["text"] or "").replace(chr(10), " ")}"' if row["text"] else ""
    return f"{mark} {row['case']:<25} {case.about}: {row['verdict'] or 'nothing'}{took}{said}"


def _print_table(rows: list[Row]) -> None:
    # Where there is no terminal there is no width to keep to.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    roomy = console.width >= WIDE
    title = "From the records in state.db"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold underline")
    headings = ("case", "verdict", "reason", "source", "ms", "relay", *(("authorization_reference",) * roomy))
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "ms" else "left", no_wrap=True)
    for row in rows:
        verdict = row["verdict"] or "-"
        colour = {"accepted": "green", "refused": "red"}.get(verdict, "dim")
        table.add_row(
            row["case"],
            f"[{colour}]{verdict}[/]",
            row["reason"],
            row["source"] or "-",
            "-" if row["latency_ms"] is None else f"{row['latency_ms']:.1f}",
            row["relay"],
            *((row["authorization_reference"] or "-",) * roomy),
        )
    console.print()
    console.print(table)
    accepted = sum(row["verdict"] == "accepted" for row in rows)
    refused = sum(row["verdict"] == "refused" for row in rows)
    late = sum((row["latency_ms"] or 0.0) > row["deadline_ms"] for row in rows)
    console.print(f"{accepted} accepted, {refused} refused, {late} decided after the deadline of {DEADLINE_S:g} s")
