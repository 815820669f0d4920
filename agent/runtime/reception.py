"""A peer registers with us, exchanges new tokens, and ends the relation: OCPI 2.2.1 credentials, as Receiver.

What we begin is `registration`'s. An exchange is stored in one transaction before it is answered. If the answer is
lost, the peer's old token still opens everything, and ours that it knows is kept: see `PeerStore.complete`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from agent.errors import BusyError, ConfigError
from agent.ocpi.addressing import Party
from agent.ocpi.credentials import Credentials
from agent.ocpi.handshake import LONGEST_EXCHANGE_S
from agent.ocpi.server.ports import Access, Caller, Callers, CredentialsReceiver, Refusal
from agent.runtime.exchange import (
    Connect,
    Offer,
    Problem,
    Us,
    claimed,
    conclude,
    explore,
    may_be_theirs,
    new_token,
    roles_of,
    taken_with_ours,
)
from agent.store.peers import REGISTERED, Accepted, Claim, PeerRelation, PeerStatus, PeerStore, TokenKind, hashed

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""Exchanges under way: each holds a connection to a peer, and a peer could make us hold any number."""

_OUR_OWN = timedelta(seconds=LONGEST_EXCHANGE_S + 30)
"""So long an exchange that we began may still be under way, storing included."""

_CALL_BACK_S = 20.0
"""For all requests of one call-back: the peer waits for our answer meanwhile, often no longer than 30 s."""

_FIRST_USE = "it has not used its token yet; if it says that the exchange failed, let it try again"

_EXPIRING = frozenset({TokenKind.INVITE, TokenKind.PREVIOUS})

_RENOUNCED = Refusal(2000, "this token has been replaced; use the one that our last request brought", 401)

_BUSY = Refusal(3000, "another exchange of credentials is under way; try again in a minute")


class TokenDesk:
    """Says whose a credentials token is, and notes when a peer has used its new one.

    What it has looked up it knows until the next commit to the file, of whatever process: a token that is withdrawn
    opens nothing from that moment on.
    """

    def __init__(
        self,
        store: PeerStore,
        *,
        push_for_others: frozenset[str] = frozenset(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`push_for_others`: the peers that may push the tokens of any owner."""
        self._store = store
        self._push_for_others = push_for_others
        self._now = now
        self._known: dict[bytes, Caller] = {}
        self._known_at: int | None = None

    async def caller(self, candidates: Sequence[str]) -> Caller | None:
        """Whose token it is; None for nobody's. Raises StoreError."""
        commits = self._store.commits()
        if commits is None or commits != self._known_at:
            self._known.clear()
            self._known_at = commits
        for token in candidates:
            if known := self._known.get(hashed(token)):
                return replace(known, token=token)
        accepted = await self._store.caller(candidates, self._now())
        if accepted is None:
            return None
        caller = self._caller(accepted)
        if accepted.unused:
            had_previous = await self._store.confirm_used(accepted.token, self._now())
            consequence = "; the old one is refused from now on" if had_previous else ""
            log.info("peer %s uses its new credentials token%s", accepted.peer, consequence)
        elif accepted.kind not in _EXPIRING and commits is not None and commits == self._known_at:
            # These expire without a commit; and what was read before another one may be out of date.
            self._known[hashed(accepted.token)] = replace(caller, token="")
        return caller

    def _caller(self, accepted: Accepted) -> Caller:
        return Caller(
            accepted.peer,
            _access(accepted),
            accepted.token,
            frozenset(role.party for role in accepted.roles),
            accepted.peer in self._push_for_others,
        )


class Reception:
    """Answers the Credentials module's requests. The call-back never waits for a request that the peer makes to us."""

    def __init__(
        self,
        store: PeerStore,
        us: Us,
        connect: Connect,
        *,
        allow_http: bool = False,
        taken_parties: Mapping[Party, str] = MappingProxyType({}),
        for_others: frozenset[str] = frozenset(),
        is_ours_under_way: Callable[[str], bool] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        make_token: Callable[[], str] = new_token,
        call_back_s: float = _CALL_BACK_S,
    ) -> None:
        """`taken_parties`: the names of the configuration's peers by their parties, in upper case.

        `for_others`: the peers that may be the CPO that we are. `is_ours_under_way` says of a peer's name whether a
        `Registrar` is at it in this moment, in whatever process: two exchanges at once would each undo the other's
        tokens. Without it, the time that has passed since one was begun has to tell.
        """
        self._store = store
        self._us = us
        self._connect = connect
        self._allow_http = allow_http
        self._taken = taken_with_ours(taken_parties, us)
        self._for_others = for_others
        self._is_ours_under_way = is_ours_under_way
        self._call_back_s = call_back_s
        self._now = now
        self._make_token = make_token
        self._under_way: set[str] = set()

    async def shown(self, caller: Caller) -> Credentials:
        """Our credentials object with the token that the caller has: only its hash is stored, but it was just sent."""
        return self._us.credentials(caller.token)

    async def may_register(self, caller: Caller) -> Refusal | None:
        """POST: 405 for everybody but the holder of an invite."""
        accepted = await self._store.caller([caller.token], self._now())
        if accepted is None or accepted.kind is not TokenKind.INVITE:
            return _refusal(caller, Refusal(2000, "already registered; use PUT for new credentials", 405))
        return None

    async def register(self, caller: Caller, theirs: Credentials) -> Credentials | Refusal:
        """POST."""
        return await self.may_register(caller) or await self._alone(caller, theirs, invite=caller.token)

    async def may_update(self, caller: Caller) -> Refusal | None:
        """PUT: 405 for the holder of an invite.

        A peer that holds the token of our cut-off registration has taken it, and is registered if it says so itself.
        """
        accepted = await self._store.caller([caller.token], self._now())
        if accepted is None or accepted.kind is TokenKind.INVITE:
            return _refusal(caller, Refusal(2000, "not registered; use POST first", 405))
        return _refusal(caller, _RENOUNCED) if accepted.renounced else None

    async def update(self, caller: Caller, theirs: Credentials) -> Credentials | Refusal:
        """PUT."""
        return await self.may_update(caller) or await self._alone(caller, theirs, invite=None)

    async def unregister(self, caller: Caller) -> Refusal | None:
        """DELETE: every token of either side is forgotten."""
        accepted = await self._store.caller([caller.token], self._now())
        if accepted is None or accepted.kind is TokenKind.INVITE or accepted.status not in REGISTERED:
            return _refusal(caller, Refusal(2000, "not registered", 405))
        if accepted.renounced:
            return _refusal(caller, _RENOUNCED)
        await self._store.end(caller.peer, self._now(), "the peer has ended the relation")
        log.warning("peer %s has unregistered: it is not asked any more, and its requests are refused", caller.peer)
        return None

    async def _alone(self, caller: Caller, theirs: Credentials, invite: str | None) -> Credentials | Refusal:
        """One exchange a peer, a few in all: who comes too many is told so, for waiting could go round in circles."""
        if caller.peer in self._under_way or len(self._under_way) >= _AT_ONCE:
            return _refusal(caller, _BUSY)
        self._under_way.add(caller.peer)
        try:
            return await self._exchange(caller, theirs, invite)
        finally:
            self._under_way.discard(caller.peer)

    async def _exchange(self, caller: Caller, theirs: Credentials, invite: str | None) -> Credentials | Refusal:
        relation = await self._store.relation(caller.peer)
        if relation is None or self._is_busy_with(relation.name) or self._may_be_under_way(relation):
            return _refusal(caller, _BUSY)
        if not may_be_theirs(theirs.url, self._us, allow_http=self._allow_http):
            return _refusal(caller, Refusal(2001, "url: expected an https URL"))
        if claim := claimed(roles_of(theirs), self._taken, for_others=caller.peer in self._for_others):
            return _claims(caller, claim)
        offer = await self._called_back(relation, theirs)
        if isinstance(offer, Problem):
            refusal = Refusal(offer.status_code, f"calling you back failed: {offer.coarse}")
            return _refusal(caller, refusal, f"calling it back failed: {offer.sentence}")
        token = self._make_token()
        note = f"{_FIRST_USE}, with a new invitation" if invite else _FIRST_USE
        try:
            claim = await conclude(
                self._store, relation, offer, theirs, token, at=self._now(), note=note, invite=invite
            )
        except BusyError:
            return _refusal(caller, _BUSY)
        return self._us.credentials(token) if claim is None else _claims(caller, claim)

    def _is_busy_with(self, name: str) -> bool:
        return self._is_ours_under_way is not None and self._is_ours_under_way(name)

    def _may_be_under_way(self, relation: PeerRelation) -> bool:
        """By the time alone; a clock that was put back tells nothing of it, so that both directions count."""
        ours = relation.status in {PeerStatus.REGISTERING, PeerStatus.ROTATING}
        return self._is_ours_under_way is None and ours and abs(self._now() - relation.changed_at) < _OUR_OWN

    async def _called_back(self, relation: PeerRelation, theirs: Credentials) -> Offer | Problem:
        """Fetch the peer's versions and endpoints with the token that it offers; each request has its limit of time."""
        try:
            async with asyncio.timeout(self._call_back_s):
                return await explore(
                    lambda encoding: self._connect(relation.name, theirs.token, encoding, relation.ca_file),
                    theirs.url,
                )
        except TimeoutError:
            return Problem(3001, f"it takes longer than {self._call_back_s:g} s", "it takes too long")
        except ConfigError as error:
            # The peer's ca_file is gone: ours to mend, and nothing that the peer should read.
            log.error("peer %s: can't be called back: %s", relation.name, error)
            return Problem(3001, str(error), "no secure connection is possible from here")


def _refusal(caller: Caller, refusal: Refusal, reason: str = "") -> Refusal:
    """The same, and a word to our operator: the peer's may well not tell."""
    log.warning("peer %s: its credentials were refused: %s", caller.peer, reason or refusal.message)
    return refusal


def _claims(caller: Caller, claim: Claim) -> Refusal:
    """A party is one peer's: of two, each could push, and be asked for, the other's tokens."""
    refusal = Refusal(2001, f"roles: the party {claim.party} belongs to somebody else here")
    return _refusal(caller, refusal, f"party {claim.party} is that of {claim.holder}")


def _access(accepted: Accepted) -> Access:
    half_way = accepted.kind is TokenKind.INVITE or (
        accepted.kind is TokenKind.PENDING and accepted.status not in REGISTERED
    )
    return Access.CONFIGURATION if half_way else Access.EVERYTHING


def _fits(desk: TokenDesk, reception: Reception) -> tuple[Callers, CredentialsReceiver]:
    return desk, reception
