"""What the demo's charge has come to at each step: as values, as a timeline for people, and as JSON.

In JSON a step is an object of the keys of `Step`. Energy of the meter and of `state.db` is in Wh, amounts and kWh of
the eMSP are numbers with every digit that it was told.
"""

import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import TypedDict

import click
from rich.console import Console
from rich.table import Table

from agent.charges import Charge
from agent.commands.charge_words import figures_for, original, state_of
from agent.model import EndReason, Recorded
from fakes.emsp import FakeEmsp

WIDE = 110


class AtEmsp(TypedDict):
    """What the eMSP holds: of the session, of the CDR, and what it had to complain of. None: it was not told."""

    reference_given: str | None
    """What it gave when it was asked about the card."""
    session_id: str | None
    status: str | None
    kwh: Decimal | None
    authorization_reference: str | None
    cdrs: int
    cdr_id: str | None
    cdr_kwh: Decimal | None
    cdr_authorization_reference: str | None
    total_cost_excl_vat: Decimal | None
    total_cost_incl_vat: Decimal | None
    currency: str | None
    complaints: list[str]


class OnDisk(TypedDict):
    """What `state.db` holds. None: nothing yet."""

    verdict: str | None
    reason: str | None
    source: str | None
    latency_ms: float | None
    authorization_reference: str | None
    session_id: str | None
    energy_wh: int | None
    ended_because: EndReason | None
    cdr_id: str | None
    cdr_state: str | None
    total_cost_excl_vat: Decimal | None
    total_cost_incl_vat: Decimal | None


class Step(TypedDict):
    """One step of the charge: what happened, and what was to be seen when it had had its effect."""

    step: str
    did: str
    at_s: float
    """Seconds since the card."""
    relay: str
    display: str | None
    """None without power."""
    meter_wh: int
    """What the meter has counted since the start: the truth, from outside."""
    emsp: AtEmsp
    state_db: OnDisk


def step_of(
    name: str,
    did: str,
    *,
    at_s: float,
    relay: str,
    display: str | None,
    meter_wh: float,
    emsp: FakeEmsp,
    record: Recorded | None,
    charge: Charge | None,
) -> Step:
    """A step, from what there is to be looked at."""
    return Step(
        step=name,
        did=did,
        at_s=round(at_s, 1),
        relay=relay,
        display=display.partition("] ")[2] if display else None,
        meter_wh=round(meter_wh),
        emsp=_at_emsp(emsp),
        state_db=_on_disk(record, charge),
    )


def _at_emsp(emsp: FakeEmsp) -> AtEmsp:
    """There is one card, and so one session at most."""
    session = next(iter(emsp.sessions.values()), {})
    cdr = next(iter(emsp.cdrs.values()), {})
    cost = cdr.get("total_cost", {})
    given = next(iter(emsp.given_references.values()), [])
    return AtEmsp(
        reference_given=given[-1] if given else None,
        session_id=session.get("id"),
        status=session.get("status"),
        kwh=session.get("kwh"),
        authorization_reference=session.get("authorization_reference"),
        cdrs=len(emsp.cdrs),
        cdr_id=cdr.get("id"),
        cdr_kwh=cdr.get("total_energy"),
        cdr_authorization_reference=cdr.get("authorization_reference"),
        total_cost_excl_vat=cost.get("excl_vat"),
        total_cost_incl_vat=cost.get("incl_vat"),
        currency=cdr.get("currency"),
        complaints=list(emsp.complaints),
    )


def _on_disk(record: Recorded | None, charge: Charge | None) -> OnDisk:
    entry = record.entry if record else None
    cdr = original(charge) if charge else None
    figures = figures_for(charge) if charge else None
    return OnDisk(
        verdict=entry.verdict if entry else None,
        reason=entry.reason if entry else None,
        source=entry.source if entry else None,
        latency_ms=round(entry.latency_ms, 3) if entry else None,
        authorization_reference=entry.authorization_reference if entry else None,
        session_id=charge.session.session_id if charge else None,
        energy_wh=charge.session.energy_wh if charge else None,
        ended_because=charge.session.ended_because if charge else None,
        cdr_id=cdr.cdr.cdr_id if cdr else None,
        cdr_state=state_of(cdr) if cdr else None,
        total_cost_excl_vat=figures.excl_vat if figures else None,
        total_cost_incl_vat=figures.incl_vat if figures else None,
    )


def print_step(step: Step) -> None:
    """Two lines: what happened when, and what came of it."""
    click.echo(f"{step['at_s']:6.1f} s  " + click.style(step["did"], bold=True))
    click.echo("          " + ", ".join(_seen(step)))
    sys.stdout.flush()


def _seen(step: Step) -> Iterator[str]:
    emsp, disk = step["emsp"], step["state_db"]
    if step["step"] == "card":
        yield f"{disk['verdict']} by {disk['source']} after {disk['latency_ms']:.1f} ms"
        yield f"reference {(emsp['reference_given'] or 'none')[:8]}…"
    yield f"relay {step['relay']}"
    yield "display dark" if step["display"] is None else f'display "{step["display"]}"'
    if disk["session_id"]:
        yield f"meter {step['meter_wh'] / 1000:.3f} kWh"
        yield f"on disk {(disk['energy_wh'] or 0) / 1000:.3f} kWh"
    if emsp["status"]:
        yield f"eMSP: {emsp['status']} with {emsp['kwh']} kWh"
    if emsp["cdrs"]:
        yield f"{emsp['cdrs']} CDR"


def print_outcome(step: Step) -> None:
    """What the two sides hold at the end, side by side, and whether it is the same."""
    emsp, disk = step["emsp"], step["state_db"]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    title = "The charge, as both sides have it"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    for heading in ("", "at the eMSP", "in state.db"):
        table.add_column(heading, overflow="fold")
    rows: tuple[tuple[str, object, object], ...] = (
        ("session", emsp["session_id"], disk["session_id"]),
        ("status", emsp["status"], f"ended: {disk['ended_because']}"),
        ("energy", f"{emsp['cdr_kwh']} kWh", f"{(disk['energy_wh'] or 0) / 1000:.3f} kWh"),
        ("authorization_reference", emsp["cdr_authorization_reference"], disk["authorization_reference"]),
        ("CDR", emsp["cdr_id"], disk["cdr_id"]),
        ("", f"{emsp['cdrs']} received", disk["cdr_state"]),
        ("total_cost", _cost(emsp, emsp["currency"]), _cost(disk, emsp["currency"])),
    )
    for row in rows:
        table.add_row(*map(str, row))
    console.print()
    console.print(table)
    unchanged = "" if emsp["cdr_authorization_reference"] == emsp["reference_given"] else "NOT "
    console.print(f"The meter has counted {step['meter_wh'] / 1000:.3f} kWh.")
    console.print(f"The reference is {unchanged}the one that the eMSP gave when it was asked about the card.")
    for complaint in emsp["complaints"]:
        console.print(f"[red]The eMSP complains:[/] {complaint}")


def _cost(side: AtEmsp | OnDisk, currency: str | None) -> str:
    return f"{side['total_cost_excl_vat']} {currency} excl. VAT, {side['total_cost_incl_vat']} incl."
