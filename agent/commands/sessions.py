"""`sessions`, `sessions show`: what was charged here and what runs, from `state.db` alone."""

from collections.abc import Iterator

import click
import msgspec

from agent.charges import Charge
from agent.commands import say_if_cut
from agent.commands.authorizations import as_object as authorization_in_json
from agent.commands.charge_access import check_evse, state_to_read
from agent.commands.charge_words import (
    bill_in_words,
    cdr_in_json,
    cost_in_json,
    cost_in_words,
    credit,
    energy_in_words,
    exact_json,
    figures_for,
    is_told,
    original,
    told_in_words,
)
from agent.commands.terminal import harmless
from agent.config import Config
from agent.core.account import Account, from_json
from agent.core.tariff_usage import ChargingPeriod
from agent.errors import AgentError
from agent.store.sessions import Charges


async def listing(config: Config, *, limit: int, evse_uid: str | None, running: bool, as_json: bool) -> None:
    """Print the newest sessions, newest first. Reads only.

    Raises StoreError when there is no `state.db`, or one of another version; ConfigError for an unknown EVSE.
    """
    check_evse(config, evse_uid)
    async with state_to_read(config) as kept:
        charges = await Charges(kept).recent(limit, evse_uid=evse_uid, running=running)
    for charge in charges:
        for line in [exact_json(as_object(charge))] if as_json else _lines(charge):
            click.echo(harmless(line))
    if not (charges or as_json):
        click.echo("no session is running" if running else "nobody has charged here yet")
    say_if_cut(len(charges), limit)


async def show(config: Config, name: str, *, as_json: bool) -> None:
    """Print everything that is on record of a session. Raises AgentError when there is none of this name."""
    async with state_to_read(config) as kept:
        charge = await Charges(kept).find(name)
    if charge is None and name.removeprefix("#").isdigit():
        raise AgentError(f"there is no session {name}: `authorizations` shows what its card came to")
    if charge is None:
        raise AgentError(
            f"no session, or more than one, is named {name}: expected a number or an id as `sessions --json` has it, "
            "or the first 8 characters of an id, or more"
        )
    for line in [exact_json(_in_full(charge))] if as_json else _paragraph(charge):
        click.echo(harmless(line))


def as_object(charge: Charge) -> dict[str, object]:
    """One session as a flat JSON object, but for its CDRs."""
    session, entry = charge.session, charge.authorization.entry
    return {
        "id": session.authorization_id,
        "session_id": session.session_id,
        "evse_uid": session.evse_uid,
        "started_at": session.started_at.isoformat(),
        "ended_at": session.ended_at.isoformat() if session.ended_at else None,
        "ended_because": session.ended_because,
        "clock_known": session.clock_known,
        "energy_wh": session.energy_wh,
        **cost_in_json(figures_for(charge)),
        "uid": entry.uid,
        "contract_id": entry.contract_id,
        "authorization_reference": entry.authorization_reference,
        "peer": session.peer,
        "told": is_told(charge),
        "problem": charge.problem,
        "cdr": cdr_in_json(original(charge)),
        "credit": cdr_in_json(credit(charge)),
        "no_cdr": session.no_cdr,
    }


def _in_full(charge: Charge) -> dict[str, object]:
    """`as_object`, what it was worked out from, and the objects as they are sent."""
    session = charge.session
    return {
        **as_object(charge),
        "changed_at": session.changed_at.isoformat(),
        "register_wh": session.register_wh,
        "account": msgspec.Raw(session.account),
        "authorization": authorization_in_json(charge.authorization),
        "object": None if session.object is None else msgspec.Raw(session.object),
        "cdr_objects": [msgspec.Raw(record.cdr.object) for record in charge.cdrs],
    }


def _lines(charge: Charge) -> Iterator[str]:
    session = charge.session
    yield (
        f"#{session.authorization_id} {_span(charge)} {session.evse_uid} "
        f"{energy_in_words(session.energy_wh)}, {cost_in_words(figures_for(charge))}"
    )
    yield f"    {told_in_words(charge)}; {bill_in_words(charge)}"
    if charge.authorization.entry.authorization_reference:
        yield f"    authorization_reference {charge.authorization.entry.authorization_reference}"


def _span(charge: Charge) -> str:
    session = charge.session
    doubt = "" if session.clock_known else " (by a clock that was not set)"
    begun = f"{session.started_at:%Y-%m-%d %H:%M:%S}Z"
    if session.ended_at is None:
        return f"{begun} to now, running{doubt}"
    same_day = session.ended_at.date() == session.started_at.date()
    ended = f"{session.ended_at:%H:%M:%S}Z" if same_day else f"{session.ended_at:%Y-%m-%d %H:%M:%S}Z"
    return f"{begun} to {ended} ({session.ended_because}){doubt}"


def _paragraph(charge: Charge) -> Iterator[str]:
    session, entry = charge.session, charge.authorization.entry
    register = "" if session.register_wh is None else f", register at {session.register_wh} Wh"
    yield f"session          #{session.authorization_id} {session.session_id}"
    yield f"EVSE             {session.evse_uid}"
    yield f"time             {_span(charge)}"
    yield f"energy           {energy_in_words(session.energy_wh)}{register}"
    yield f"cost             {cost_in_words(figures_for(charge))}"
    yield f"card             {entry.uid}, contract {entry.contract_id or 'unknown'}"
    yield f"accepted         {entry.reason} ({entry.source}): {entry.detail}"
    yield f"reference        {entry.authorization_reference or 'none was given'}"
    yield f"session object   {told_in_words(charge)}"
    yield f"bill             {bill_in_words(charge)}"
    try:
        account = from_json(session.account)
    except ValueError as error:
        yield f"consumed         {error}"
    else:
        yield from _consumed(account)


def _consumed(account: Account) -> Iterator[str]:
    yield f"accounted up to  {account.until:%Y-%m-%d %H:%M:%S}Z"
    for remark in account.remarks:
        yield f"remark           {remark}"
    for period in account.periods:
        yield f"period           {_period(period, account)}"


def _period(period: ChargingPeriod, account: Account) -> str:
    metered = account.metered_from is not None and period.end > account.metered_from
    energy = f" {period.energy_kwh:.3f} kWh" if metered else ""
    return f"{period.start:%H:%M:%S}Z to {period.end:%H:%M:%S}Z {period.activity}{energy}"
