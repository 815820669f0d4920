"""`peers list|register|invite|rotate|unregister|check`: who we have agreed credentials with.

Each works beside a running agent, which takes notice by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import click

from agent.commands import closed_by
from agent.commands.terminal import harmless, json_text
from agent.config import Config
from agent.errors import BusyError, ConfigError, StoreError
from agent.ocpi.client import tls_context
from agent.peering import PeerTerms, configured, read_relations, registered
from agent.runtime.peer_check import CheckedPeer, Finding, Level, check_peer
from agent.serving import Serving, registrar_of, require_server, serving_alone_in
from agent.storage import alone_in, storage_folder
from agent.store.peers import PeerRelation, PeerStore
from agent.store.sessions import Charges, SessionStore
from agent.store.whitelist import Whitelist

_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nothing is bound here


async def listing(config: Config, config_path: Path, *, as_json: bool) -> None:
    """Print every peer, of the configuration and of the registrations, and how to go on where something was cut off."""
    relations = await read_relations(Path(config.storage.directory))
    fixed = configured(config, config_path)
    if as_json:
        for terms in fixed:
            click.echo(json_text({"name": terms.name, "status": "configured", "versions_url": terms.versions_url}))
        for relation in relations:
            click.echo(json_text(_as_object(relation)))
        return
    for terms in fixed:
        party = "-".join(terms.them)
        click.echo(harmless(f"{terms.name}: configured, {party}, {terms.versions_url or terms.tokens_url}"))
    for relation in relations:
        click.echo(harmless(f"{relation.name}: {_in_words(relation)}"))
        if relation.note:
            click.echo(harmless(f"    {relation.note}"))
    if not fixed and not relations:
        click.echo(
            "there is no peer yet: chargepoint-agent peers register, peers invite, or [[peer]] in the configuration"
        )


async def register(
    config: Config, config_path: Path, name: str, versions_url: str, token_a: str, *, ca_file: Path | None
) -> None:
    """Register with the peer that gave us `token_a`, serving ourselves meanwhile where no agent does."""
    require_server(config)
    async with _store(config) as store, _reachable(config, config_path, store) as agent_runs:
        relation = await registrar_of(config, store).register(
            name, versions_url, token_a, ca_file=str(ca_file) if ca_file else None
        )
    click.echo(harmless(f"{name}: {_in_words(relation)}"))
    _say_note(relation)
    if any(role.role == "HUB" for role in relation.roles) and name not in config.ocpi.server.bring_for_others:
        click.echo(
            f"it is a hub: of its list, only its own tokens are taken until ocpi.server.bring_for_others has {name}"
        )
    if agent_runs:
        click.echo("the running agent asks it about cards, and pulls its tokens, from now on")
    else:
        click.echo(f"its tokens are pulled when the agent runs, or by: chargepoint-agent tokens sync {name}")


async def invite(config: Config, name: str, *, expires: timedelta, ca_file: Path | None) -> None:
    """Issue a token A and print it, this once."""
    require_server(config)
    async with _store(config) as store:
        invitation = await registrar_of(config, store).invite(
            name, expires=expires, ca_file=str(ca_file) if ca_file else None
        )
    until = f"{invitation.expires_at:%Y-%m-%d %H:%M}Z"
    click.echo(f"versions URL  {invitation.versions_url}")
    click.echo(f"token A       {invitation.token}")
    click.echo(f"valid until   {until}, for one registration; it is not shown again")
    click.echo(
        f"Give both to the operator of {name} by a way that nobody else reads; the agent must run when it registers."
    )


async def rotate(config: Config, config_path: Path, name: str) -> None:
    """Exchange new tokens with a peer."""
    require_server(config)
    async with _store(config) as store, _reachable(config, config_path, store):
        relation = await registrar_of(config, store).rotate(name)
    click.echo(harmless(f"{name}: new tokens are agreed; {_in_words(relation)}"))
    _say_note(relation)


async def unregister(config: Config, name: str, *, force: bool) -> None:
    """End the relation with a peer; its tokens are withdrawn."""
    async with _store(config) as store:
        ended = await registrar_of(config, store).unregister(name, force=force)
    click.echo(harmless(f"{name}: unregistered; {ended.detail}"))
    await _say_what_is_owed(config, name)
    path = Path(config.storage.directory) / "whitelist.db"
    if not path.exists() or name in {section.name for section in config.peer}:
        return
    # Not noted as done: a push that was let in a moment ago may come after it. The agent does it once more.
    try:
        whitelist = await Whitelist.open(path, shared=True)
        async with closed_by(whitelist.close):
            withdrawn = await whitelist.withdraw_peer(name)
    except StoreError as error:
        click.echo(f"its tokens are withdrawn by the agent, soon or at its next start, and not here: {harmless(error)}")
        return
    were = "token that it had brought is" if withdrawn == 1 else "tokens that it had brought are"
    click.echo(f"{withdrawn} {were} withdrawn")


async def _say_what_is_owed(config: Config, name: str) -> None:
    """What can reach nobody now."""
    kept = await Charges.open_read_only(storage_folder(config) / "state.db")
    async with closed_by(kept.close):
        owed = [record for record in await kept.cdrs(1000, pending=True, parked=True) if record.cdr.peer == name]
    if owed:
        click.echo(f"{len(owed)} CDR(s) for it are not acknowledged, and kept: `cdrs list --pending --parked`")


async def check(config: Config, config_path: Path, name: str) -> bool:
    """Go through what a peer must offer and print what deviates. False when the agent can't work with it."""
    terms = await _terms(config, config_path, name)
    peer = CheckedPeer(
        terms.name,
        terms.token,
        us=(config.party.country_code, config.party.party_id),
        them=terms.them,
        versions_url=terms.versions_url,
        tokens_url=terms.tokens_url if terms.versions_url is None else None,
        encoding=terms.encoding,
        hub=terms.hub,
        trailing_slash=terms.trailing_slash,
        owners=terms.owners,
        registered=name not in {section.name for section in config.peer},
        renewal=terms.renewal,
    )
    findings = await check_peer(peer, tls=tls_context(terms.ca_file) if terms.ca_file else None)
    for finding in findings:
        click.echo(harmless(_finding_in_words(finding)))
    worst = [finding for finding in findings if finding.level is Level.BROKEN]
    deviating = [finding for finding in findings if finding.level is Level.DEVIATES]
    click.echo(f"{name}: {len(findings)} looked at, {len(deviating)} deviate, {len(worst)} broken")
    return not worst


@asynccontextmanager
async def _store(config: Config) -> AsyncIterator[PeerStore]:
    store = await PeerStore.open(storage_folder(config) / "state.db")
    async with closed_by(store.close):
        yield store


@asynccontextmanager
async def _reachable(config: Config, config_path: Path, store: PeerStore) -> AsyncIterator[bool]:
    """Our server answers the peer's call-back: the running agent's, or one of our own. True for the agent's."""
    folder = storage_folder(config)
    if _agent_runs_in(folder):
        await _check_listening(config)
        yield True
        return
    with serving_alone_in(folder):
        whitelist = await Whitelist.open(folder / "whitelist.db", shared=True)
        sessions = await SessionStore.open_file(folder / "state.db")
        async with closed_by(whitelist.close), closed_by(sessions.close):
            server = Serving(config, config_path, store, whitelist, sessions)
            server.listen()
            serving = asyncio.create_task(server.run())
            try:
                yield False
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                server.close()


def _agent_runs_in(folder: Path) -> bool:
    """Looked at and let go of: an agent may start, and the relays may be opened, while a slow peer takes its time."""
    try:
        with alone_in(folder):
            return False
    except BusyError:
        return True


async def _check_listening(config: Config) -> None:
    server = config.ocpi.server
    try:
        _, writer = await asyncio.open_connection(_EVERY_INTERFACE.get(server.host, server.host), server.port)
    except OSError as error:
        raise ConfigError(
            f"the running agent does not listen on {server.host} port {server.port}, where the peer would call it: "
            "was [ocpi.server] changed after it was started? Start it again"
        ) from error
    writer.close()


async def _terms(config: Config, config_path: Path, name: str) -> PeerTerms:
    relations = await read_relations(Path(config.storage.directory))
    known = [*configured(config, config_path), *registered(relations, config)]
    for terms in known:
        if terms.name == name:
            return terms
    there = ", ".join(terms.name for terms in known) or "none"
    raise ConfigError(f"no peer is configured or registered as {name}; there are: {there}")


def _in_words(relation: PeerRelation) -> str:
    parties = ", ".join(f"{r.country_code}-{r.party_id} {r.role} ({r.name})" for r in relation.roles)
    words = [str(relation.status)]
    if relation.version:
        words.append(f"OCPI {relation.version}")
    if parties:
        words.append(parties)
    if relation.versions_url:
        words.append(relation.versions_url)
    words.append(f"since {relation.changed_at:%Y-%m-%d %H:%M}Z")
    return ", ".join(words)


def _say_note(relation: PeerRelation) -> None:
    if relation.note:
        click.echo(harmless(f"    {relation.note}"), err=True)


def _as_object(relation: PeerRelation) -> dict[str, object]:
    """All but tokens."""
    roles = [
        {"role": r.role, "country_code": r.country_code, "party_id": r.party_id, "name": r.name} for r in relation.roles
    ]
    expires_at = relation.invite_expires_at
    return {
        "name": relation.name,
        "status": str(relation.status),
        "versions_url": relation.versions_url,
        "version": relation.version,
        "roles": roles,
        "token_encoding": relation.encoding,
        "trailing_slash": relation.trailing_slash,
        "ca_file": relation.ca_file,
        "token_used": relation.confirmed,
        "changed_at": relation.changed_at.isoformat(),
        "invite_expires_at": expires_at.isoformat() if expires_at else None,
        "note": relation.note,
    }


def _finding_in_words(finding: Finding) -> str:
    if finding.level is Level.GOOD:
        return f"good      {finding.what}"
    remedy = f"; what helps: {finding.remedy}" if finding.remedy else ""
    return f"{finding.level:<9} {finding.what}: {finding.deviation}{remedy}"
