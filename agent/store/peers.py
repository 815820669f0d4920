"""Our relations to OCPI peers: what we send to each, what each sends to us, and how far an exchange has come.

Each relation is one row with the hashes of the credentials tokens that open our interfaces to it. A method that
changes it is one transaction. What a handshake is, and when a relation may change, is `runtime`'s business.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Self

import aiosqlite

from agent.errors import BusyError
from agent.store.database import Database, ReadOnlyDatabase, from_us, look_at_state, open_state, to_us
from agent.store.peer_rows import (
    REGISTERED,
    Accepted,
    Claim,
    Exchanged,
    PeerEndpoint,
    PeerRelation,
    PeerRole,
    PeerStatus,
    TokenEncoding,
    TokenKind,
    columns_of,
    relation_of,
    roles_of,
)
from agent.store.writer import fetch

__all__ = [
    "REGISTERED",
    "Accepted",
    "Claim",
    "Exchanged",
    "PeerEndpoint",
    "PeerRelation",
    "PeerRole",
    "PeerStatus",
    "PeerStore",
    "TokenEncoding",
    "TokenKind",
    "hashed",
]


def hashed(token: str) -> bytes:
    """A token as it is stored. Ours have 256 random bits, so that no salt and no slow hash could add anything."""
    return sha256(token.encode()).digest()


_ACCEPTED = (
    "SELECT hash, kind, used_at, expires_at, peer.name, status, roles, renounced"
    " FROM accepted_token JOIN peer ON peer.name = accepted_token.peer WHERE hash IN (?, ?)"
)
_RELATIONS = (
    "SELECT name, status, created_at, changed_at, revision, versions_url, version, encoding, trailing_slash, ca_file,"
    " their_token, their_previous_token, endpoints, roles, note,"
    " EXISTS (SELECT 1 FROM accepted_token WHERE peer = name AND kind = 'current' AND used_at IS NOT NULL),"
    " (SELECT max(expires_at) FROM accepted_token WHERE peer = name AND kind = 'invite'),"
    " endings, withdrawn FROM peer WHERE ? IS NULL OR name = ? ORDER BY name"
)
_TOUCH = "UPDATE peer SET changed_at = ? WHERE name = ? AND revision = ? RETURNING 1"
_ACCEPT = "INSERT INTO accepted_token (hash, peer, kind, created_at, expires_at) VALUES (?, ?, ?, ?, ?)"
_FORGET_EXPIRED = "DELETE FROM accepted_token WHERE expires_at <= ?"
_PENDING = "SELECT 1 FROM accepted_token WHERE peer = ? AND kind = 'pending'"
_FORGET_TOKENS = "DELETE FROM accepted_token WHERE peer = ?"

_PREVIOUS_FOR = timedelta(days=1)
"""A peer that has not used its new token by then is not going to; and the old one may be known to others."""


class Relations:
    """What is agreed with each peer, to be read."""

    def __init__(self, kept: Database | ReadOnlyDatabase) -> None:
        """Use an open `state.db`, which the caller closes."""
        self._kept = kept

    @staticmethod
    async def open_read_only(path: Path) -> "Relations":
        """Open the file without changing anything of it, for these alone. Raises StoreError."""
        return Relations(await look_at_state(path))

    async def close(self) -> None:
        """Close the file."""
        await self._kept.close()

    async def relations(self) -> list[PeerRelation]:
        """Every peer that was ever invited or registered, by name. Raises StoreError."""
        return [relation_of(row) for row in await self._kept.read_aside("read the peers", _RELATIONS, (None, None))]


class PeerStore(Relations):
    """The tables `peer` and `accepted_token` of `state.db`. Other processes may change them at any time."""

    def __init__(self, database: Database) -> None:
        """Use an open `state.db`, which the caller closes."""
        super().__init__(database)
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file for this store alone; `close` closes it. Raises StoreError."""
        return cls(await open_state(path))

    # ---- reading

    async def relation(self, name: str) -> PeerRelation | None:
        """One of them. Raises StoreError."""
        for row in await self._database.read("read a peer", _RELATIONS, (name, name)):
            return relation_of(row)
        return None

    async def changed(self) -> int:
        """A number that rises with every change of a relation, in whatever process it was made. Raises StoreError."""
        [[number]] = await self._database.read("read the peers", "SELECT number FROM peer_change")
        return int(number)

    def commits(self) -> int | None:
        """Another number after every change of anything here; None when that can't be told at once."""
        return self._database.commits()

    async def caller(self, candidates: Sequence[str], now: datetime) -> Accepted | None:
        """Whose token one of at most two `candidates` is; the work is the same whether it is anybody's.

        One that has expired is nobody's, and is forgotten then. Raises StoreError.
        """
        tokens = {hashed(token): token for token in (*candidates, "", "")[:2]}
        rows = await self._database.read("look up a credentials token", _ACCEPTED, (*tokens, *tokens)[:2])
        for digest, kind, used_at, expires_at, peer, status, roles, renounced in rows:
            ours = next((token for known, token in tokens.items() if hmac.compare_digest(known, digest)), None)
            if ours is None:
                continue
            if expires_at is not None and from_us(expires_at) <= now:
                await self._database.writer.write("forget an expired token", _FORGET_EXPIRED, (to_us(now),))
                continue
            unused = kind == TokenKind.CURRENT and used_at is None
            return Accepted(peer, TokenKind(kind), PeerStatus(status), ours, unused, roles_of(roles), bool(renounced))
        return None

    # ---- changing

    async def confirm_used(self, token: str, at: datetime) -> bool:
        """The peer has used its current token: the previous one, and what was left of interrupted exchanges, go.

        True where there was a previous one. Does nothing for a token that is no longer current. An exchange of ours
        of whose end nothing is known stays as it is. Raises StoreError.
        """

        async def work(connection: aiosqlite.Connection) -> bool:
            had_previous = False
            used = await fetch(
                connection,
                "UPDATE accepted_token SET used_at = ? WHERE hash = ? AND kind = 'current' AND used_at IS NULL"
                " RETURNING peer",
                (to_us(at), hashed(token)),
            )
            for (peer,) in used:
                gone = "DELETE FROM accepted_token WHERE peer = ? AND kind IN ('previous', 'invite') RETURNING kind"
                had_previous = (TokenKind.PREVIOUS,) in await fetch(connection, gone, (peer,))
                settled = "UPDATE peer SET note = '', their_previous_token = NULL WHERE name = ? AND status = ?"
                await fetch(connection, settled, (peer, PeerStatus.REGISTERED))
            return had_previous

        return await self._database.writer.transaction("confirm a credentials token", work)

    async def invite(
        self, name: str, token: str, *, expires_at: datetime, at: datetime, ca_file: str | None, note: str
    ) -> None:
        """Issue a token A, in place of an earlier one. Raises StoreError.

        A relation that there is stays as it is, but for the `note` of a registered one and a `ca_file` that is given.
        """

        async def work(connection: aiosqlite.Connection) -> None:
            await _ensure(connection, name, PeerStatus.INVITED, at)
            await fetch(connection, "DELETE FROM accepted_token WHERE peer = ? AND kind = 'invite'", (name,))
            await fetch(connection, _FORGET_EXPIRED, (to_us(at),))
            await _accept(connection, name, TokenKind.INVITE, token, at, expires_at)
            begins = "UPDATE peer SET status = 'invited', ca_file = ?, note = ?, changed_at = ? WHERE name = ?"
            begins += " AND status IN ('invited', 'unregistered') RETURNING 1"
            if not await fetch(connection, begins, (ca_file, note, to_us(at), name)):
                goes_on = "UPDATE peer SET ca_file = coalesce(?, ca_file), note = iif(status = 'registered', ?, note)"
                await fetch(connection, goes_on + " WHERE name = ?", (ca_file, note, name))

        await self._database.writer.transaction("invite a peer", work)

    async def begin(
        self,
        name: str,
        token: str,
        *,
        status: PeerStatus,
        revision: int | None,
        at: datetime,
        note: str,
        versions_url: str | None = None,
        ca_file: str | None = None,
    ) -> PeerRelation:
        """Accept `token` from now on, before a request offers it to the peer; returns the relation as it is then.

        Pending tokens of earlier attempts stay: one of them may be the one that the peer took.
        `revision` is the relation's, None where there was none. Raises BusyError when it has another one by now,
        StoreError.
        """

        async def work(connection: aiosqlite.Connection) -> None:
            there = await fetch(connection, "SELECT revision FROM peer WHERE name = ?", (name,))
            if there != ([] if revision is None else [(revision,)]):
                raise _changed_meanwhile(name)
            await _ensure(connection, name, status, at)
            await _accept(connection, name, TokenKind.PENDING, token, at)
            await fetch(
                connection,
                "UPDATE peer SET status = ?1, note = ?2, changed_at = ?3, versions_url = coalesce(?4, versions_url),"
                # A registration says anew where the peer is and whom to trust for it; an exchange changes neither.
                " ca_file = iif(?4 IS NULL, ca_file, ?5) WHERE name = ?6",
                (status, note, to_us(at), versions_url, ca_file, name),
            )

        await self._database.writer.transaction("begin an exchange of credentials", work)
        begun = await self.relation(name)
        assert begun is not None
        return begun

    async def give_up(self, name: str, token: str, *, before: PeerRelation | None, revision: int) -> None:
        """The peer did not take `token`: it opens nothing any more, and all is as `before`. Raises StoreError.

        `revision` is the relation's since the exchange was begun: where it has another one by now, or tokens of other
        attempts have nothing before them to go back to, the token alone goes.
        """

        async def work(connection: aiosqlite.Connection) -> None:
            gone = "DELETE FROM accepted_token WHERE hash = ? AND peer = ? AND kind = 'pending' RETURNING 1"
            if not await fetch(connection, gone, (hashed(token), name)):
                return
            if not await fetch(connection, "SELECT 1 FROM peer WHERE name = ? AND revision = ?", (name, revision)):
                return
            if before is not None:
                await _restore(connection, before)
            elif not await fetch(connection, _PENDING, (name,)):
                await fetch(connection, _FORGET_TOKENS, (name,))
                await fetch(connection, "DELETE FROM peer WHERE name = ?", (name,))

        await self._database.writer.transaction("give up an exchange of credentials", work)

    async def complete(
        self, name: str, exchanged: Exchanged, *, revision: int, at: datetime, invite: str | None = None
    ) -> Claim | None:
        """Take over all that a complete exchange brought, in one transaction; None when that is done.

        Where another registered peer has one of its parties, that is returned, and nothing is changed.
        What the peer may still use becomes `previous`, for a day. `invite` is the token A that is spent by it. Raises
        BusyError with nothing changed when the relation is no longer at `revision`, or the invite no longer there;
        StoreError.
        """

        async def work(connection: aiosqlite.Connection) -> Claim | None:
            if claim := await _claimed(connection, name, exchanged.roles):
                return claim
            if not await fetch(connection, _TOUCH, (to_us(at), name, revision)):
                raise _changed_meanwhile(name)
            if invite is not None:
                spent = "DELETE FROM accepted_token WHERE hash = ? AND kind = 'invite' RETURNING 1"
                if not await fetch(connection, spent, (hashed(invite),)):
                    raise _changed_meanwhile(name)
            await _supersede(connection, name, exchanged, at)
            await fetch(connection, _SAVE, (*columns_of(exchanged), name))
            return None

        return await self._database.writer.transaction("complete an exchange of credentials", work)

    async def keep_candidate(self, name: str, token: str, note: str) -> bool:
        """Keep a token that the peer has given us in an exchange that another one overtook: it may be the one it takes.

        False where the peer is not registered, so that there is nothing to use it for. Raises StoreError.
        """

        async def work(connection: aiosqlite.Connection) -> bool:
            kept = "UPDATE peer SET their_previous_token = ?, note = ? WHERE name = ? AND status IN (?, ?) RETURNING 1"
            return bool(await fetch(connection, kept, (token, note, name, *sorted(REGISTERED))))

        return await self._database.writer.transaction("keep a token that may be of use", work)

    async def keep_token(self, name: str, token: str, *, revision: int, at: datetime) -> None:
        """Send `token` to the peer and forget the other one: it is known to work. Raises StoreError, BusyError."""

        async def work(connection: aiosqlite.Connection) -> None:
            if not await fetch(connection, _TOUCH, (to_us(at), name, revision)):
                raise _changed_meanwhile(name)
            kept = "UPDATE peer SET their_token = ?, their_previous_token = NULL WHERE name = ?"
            await fetch(connection, kept, (token, name))

        await self._database.writer.transaction("keep a credentials token", work)

    async def remark(self, name: str, note: str) -> None:
        """Say how to go on with a relation that stays as it is. Raises StoreError."""

        async def work(connection: aiosqlite.Connection) -> None:
            await fetch(connection, "UPDATE peer SET note = ? WHERE name = ?", (note, name))

        await self._database.writer.transaction("make a note of a peer", work)

    async def end(self, name: str, at: datetime, note: str = "") -> None:
        """The relation is over: no token of either side is known any more. Raises StoreError."""

        async def work(connection: aiosqlite.Connection) -> None:
            await fetch(connection, _FORGET_TOKENS, (name,))
            await fetch(
                connection,
                "UPDATE peer SET status = 'unregistered', their_token = NULL, their_previous_token = NULL,"
                " endpoints = '[]', note = ?, changed_at = ?, endings = endings + 1 WHERE name = ?",
                (note, to_us(at), name),
            )

        await self._database.writer.transaction("end the relation to a peer", work)

    async def withdrawn(self, name: str, ending: int) -> None:
        """The tokens that the peer had brought up to this ending are no longer valid here. Raises StoreError."""

        async def work(connection: aiosqlite.Connection) -> None:
            await fetch(connection, "UPDATE peer SET withdrawn = max(withdrawn, ?) WHERE name = ?", (ending, name))

        await self._database.writer.transaction("note that a peer's tokens are withdrawn", work)


_SAVE = (
    "UPDATE peer SET status = 'registered', versions_url = ?, version = ?, encoding = ?,"
    " trailing_slash = ?,"
    # Of two exchanges in a row of whose end the peer may know nothing, the oldest token is the one that it knows.
    " their_previous_token = coalesce(their_previous_token, their_token), their_token = ?,"
    " endpoints = ?, roles = ?, note = ? WHERE name = ?"
)


async def _ensure(connection: aiosqlite.Connection, name: str, status: PeerStatus, at: datetime) -> None:
    new = "INSERT INTO peer (name, status, created_at, changed_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    await fetch(connection, new, (name, status, to_us(at), to_us(at)))


async def _restore(connection: aiosqlite.Connection, before: PeerRelation) -> None:
    """All as it was; but where the peer has used its token meanwhile, there is no doubt left about that."""
    await fetch(
        connection,
        "UPDATE peer SET status = ?, versions_url = ?, ca_file = ?, note = ?, changed_at = ? WHERE name = ?",
        (before.status, before.versions_url, before.ca_file, before.note, to_us(before.changed_at), before.name),
    )
    if before.status is PeerStatus.REGISTERED and not before.confirmed:
        await fetch(
            connection,
            "UPDATE peer SET note = '', their_previous_token = NULL WHERE name = ?"
            " AND EXISTS (SELECT 1 FROM accepted_token WHERE peer = name AND kind = 'current' AND used_at IS NOT NULL)",
            (before.name,),
        )


async def _accept(
    connection: aiosqlite.Connection,
    name: str,
    kind: TokenKind,
    token: str,
    at: datetime,
    expires_at: datetime | None = None,
) -> None:
    await fetch(connection, _ACCEPT, (hashed(token), name, kind, to_us(at), expires_at and to_us(expires_at)))


async def _claimed(connection: aiosqlite.Connection, name: str, roles: Sequence[PeerRole]) -> Claim | None:
    wanted = {role.party for role in roles}
    others = "SELECT name, roles FROM peer WHERE name <> ? AND status IN (?, ?) ORDER BY name"
    for holder, column in await fetch(connection, others, (name, *sorted(REGISTERED))):
        for role in roles_of(column):
            if role.party in wanted:
                return Claim(*role.party, f"peer {holder}")
    return None


async def _supersede(connection: aiosqlite.Connection, name: str, exchanged: Exchanged, at: datetime) -> None:
    """Make the new token the current one; what the peer may still hold becomes previous.

    A token that was pending is one that we have offered: the exchange was begun by us.
    """
    await fetch(connection, "DELETE FROM accepted_token WHERE peer = ? AND kind = 'invite'", (name,))
    begun = "DELETE FROM accepted_token WHERE hash = ? AND kind = 'pending' RETURNING 1"
    ours = bool(await fetch(connection, begun, (hashed(exchanged.our_token),)))
    old = (
        "UPDATE accepted_token SET kind = 'previous', expires_at = ? WHERE peer = ? AND kind IN ('current', 'pending')"
    )
    await fetch(connection, old, (to_us(at + _PREVIOUS_FOR), name))
    if ours:
        await fetch(connection, "UPDATE accepted_token SET renounced = 1 WHERE peer = ?", (name,))
    await _accept(connection, name, TokenKind.CURRENT, exchanged.our_token, at)


def _changed_meanwhile(name: str) -> BusyError:
    return BusyError(f"peer {name}: another exchange of credentials came in between; look at it and try again")
