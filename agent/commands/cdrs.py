"""`cdrs list|show|resend|credit`: what was billed, from `state.db`; beside a running agent or without one."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import msgspec

from agent.charges import CdrRecord, NewCdr
from agent.commands import say_if_cut
from agent.commands.charge_access import sessions_to_change, state_to_read
from agent.commands.charge_words import (
    cdr_in_json,
    cdr_in_words,
    cost_in_json,
    cost_in_words,
    exact_json,
    state_of,
)
from agent.commands.terminal import harmless
from agent.config import Config
from agent.errors import AgentError
from agent.ocpi.cdrs import CDR
from agent.runtime.documents import credit_of, figures_of
from agent.store.sessions import Charges


async def listing(config: Config, *, limit: int, pending: bool, parked: bool, as_json: bool) -> None:
    """Print the newest CDRs, newest first. Reads only. Raises StoreError when there is no `state.db`."""
    async with state_to_read(config) as kept:
        records = await Charges(kept).cdrs(limit, pending=pending, parked=parked)
    for record in records:
        for line in [exact_json(as_object(record))] if as_json else _lines(record):
            click.echo(harmless(line))
    if not (records or as_json):
        click.echo("there is no such CDR here" if pending or parked else "there is no CDR here yet")
    say_if_cut(len(records), limit)


async def show(config: Config, name: str, *, as_json: bool) -> None:
    """Print a CDR as it is sent, byte by byte with `as_json`. Raises AgentError when there is none of this name."""
    async with state_to_read(config) as kept:
        record = await _found(Charges(kept), name)
    if as_json:
        click.echo(harmless(record.cdr.object.decode()))
        return
    laid_out = msgspec.json.format(record.cdr.object, indent=2).decode()
    for line in (*_fate(record), *laid_out.split("\n")):
        click.echo(harmless(line))


async def resend(config: Config, name: str) -> None:
    """Make a CDR due again that its peer rejected, or has acknowledged. Raises AgentError when there is none."""
    async with sessions_to_change(config) as store:
        record = await _found(store, name)
        if not await store.resend(record.number, datetime.now(UTC)):
            raise AgentError(f"CDR #{record.number} was deleted a moment ago, as retention has it")
    so_far = {"due": "was due anyway", "parked": "due again", "acknowledged": "due again, although it is acknowledged"}
    called = f"CDR #{record.number} {record.cdr.cdr_id}"
    click.echo(harmless(f"{called}: {so_far[state_of(record)]}; {await _goes_to(record.cdr.peer, config)}"))
    if record.problem:
        click.echo(harmless(f"    so far: {record.problem}"))


async def credit(config: Config, name: str) -> None:
    """Take a CDR back by a credit CDR, once. On a terminal it asks first.

    Raises AgentError when there is no such CDR, it is a credit itself, it was taken back already, or its peer has not
    acknowledged it: a credit of what it never had would be booked, or refused, and either is wrong.
    """
    async with sessions_to_change(config) as store:
        record = await _found(store, name)
        called = f"CDR #{record.number} {record.cdr.cdr_id}"
        if record.cdr.credits is not None:
            raise AgentError(
                f"{called} is a credit itself, of {record.cdr.credits}; only a charge's own can be credited"
            )
        if record.credited_by is not None:
            raise AgentError(f"{called} was taken back already, by {record.credited_by}")
        if record.acknowledged_at is None:
            raise AgentError(f"{called} {_not_there_yet(record)}")
        _confirm(record, called)
        now = datetime.now(UTC)
        cdr_id, written = credit_of(record.cdr.object, now)
        new = NewCdr(
            cdr_id,
            record.cdr.authorization_id,
            record.cdr.peer,
            written,
            changed_at=now,
            credits=record.cdr.cdr_id,
        )
        number = await store.add_credit(new)
    if number is None:
        raise AgentError(f"{called} was taken back, or made due again, a moment ago by somebody else")
    cost = cost_in_words(figures_of(written))
    click.echo(
        harmless(f"CDR #{number} {cdr_id}: takes back {called}, {cost}; {await _goes_to(record.cdr.peer, config)}")
    )


def as_object(record: CdrRecord) -> dict[str, object]:
    """One CDR as a JSON object: `cdr_in_json`, and what it is for."""
    document = CDR.decode(record.cdr.object)
    return {
        **(cdr_in_json(record) or {}),
        "authorization_id": record.cdr.authorization_id,
        "session_id": document.session_id,
        "evse_uid": document.cdr_location.evse_uid,
        "started_at": document.start_date_time.isoformat(),
        "ended_at": document.end_date_time.isoformat(),
        "kwh": document.total_energy,
        **cost_in_json(figures_of(record.cdr.object)),
        "authorization_reference": document.authorization_reference,
        "changed_at": record.cdr.changed_at.isoformat(),
    }


def _lines(record: CdrRecord) -> Iterator[str]:
    figures = figures_of(record.cdr.object)
    yield (
        f"#{record.number} session #{record.cdr.authorization_id} {figures.started_at:%Y-%m-%d %H:%M:%S}Z "
        f"{figures.kwh:f} kWh, {cost_in_words(figures)}"
    )
    yield from (f"    {line}" for line in _fate(record))


def _fate(record: CdrRecord) -> Iterator[str]:
    """What became of it, line by line."""
    when = f", {record.acknowledged_at:%Y-%m-%d %H:%M:%S}Z" if record.acknowledged_at else ""
    yield f"{cdr_in_words(record)}{when}"
    if record.url:
        yield f"kept at {record.url}"
    if record.cdr.credits:
        yield f"takes back {record.cdr.credits}"
    if record.credited_by:
        yield f"taken back by {record.credited_by}"


async def _found(kept: Charges, name: str) -> CdrRecord:
    record = await kept.cdr(name)
    if record is None and name.removeprefix("#").isdigit():
        raise AgentError(f"there is no CDR {name}: `cdrs list` shows those that there are")
    if record is None:
        raise AgentError(
            f"no CDR, or more than one, is named {name}: expected a number or an id as `cdrs list` has it, "
            "or the first 8 characters of an id, or more"
        )
    return record


def _not_there_yet(record: CdrRecord) -> str:
    if record.parked:
        resend = f"or, if it is right, `cdrs resend {record.number}`"
        return f"was rejected by {record.cdr.peer}: there is nothing to take back; leave it as it is, {resend}"
    return f"is not acknowledged by {record.cdr.peer} yet: it can be taken back once it is, see `cdrs list --pending`"


async def _goes_to(peer: str, config: Config) -> str:
    from agent.peering import parties  # noqa: PLC0415  a fifth of a second that the listings need not wait for

    if peer not in {name for name, _ in await parties(config)}:
        return f"but there is no peer {peer} now: it is kept until there is a [[peer]] of this name, or one registered"
    if config.billing is None:
        return f"it goes to {peer} once the agent is started again, for there is no [billing] in the configuration"
    return f"it goes to {peer} as soon as the agent runs and can reach it"


def _confirm(record: CdrRecord, called: str) -> None:
    """Ask where there is somebody to answer; what a script says is meant. Raises click.Abort."""
    if sys.stdin.isatty():
        cost = cost_in_words(figures_of(record.cdr.object))
        click.confirm(harmless(f"Take back {called}, {cost}? This can't be undone"), abort=True, err=True)
