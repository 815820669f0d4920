"""We register with a peer, exchange new tokens with it, and end the relation: OCPI 2.2.1 credentials, as Sender.

What the peer begins is `reception`'s. Whatever must outlive a crash is stored before the request that could make it
matter, and an exchange's result in one transaction: at every moment the old relation works, or the new one, or the
peer's `note` says how to go on. Every command here may be repeated.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from agent.errors import BusyError, ConfigError, PeerError, StoreError
from agent.model import Outcome
from agent.ocpi.addressing import Encoding, Party
from agent.ocpi.connection import Unsent
from agent.ocpi.credentials import Credentials
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.handshake import may_carry_token, place
from agent.ocpi.paging import same_origin
from agent.runtime.exchange import (
    ENCODINGS,
    Connect,
    Offer,
    Problem,
    Us,
    claimed,
    conclude,
    credentials_url,
    explore,
    may_be_theirs,
    new_token,
    roles_of,
    taken_with_ours,
)
from agent.store.peers import Claim, PeerRelation, PeerStatus, PeerStore

log = logging.getLogger(__name__)

_NEVER_TOOK_IT = frozenset(
    {Outcome.REJECTED, Outcome.OCPI_ERROR, Outcome.UNKNOWN, Outcome.UNAUTHORIZED, Outcome.RATE_LIMITED}
)
"""The peer has answered, and says that it did not do what we asked. Anything else leaves that open."""

_NO_ANSWER = frozenset({Outcome.TIMEOUT, Outcome.UNREACHABLE, Outcome.SERVER_ERROR})
"""A 5xx is a proxy's as often as the peer's own, which may have been done by then."""

_NOBODY_THERE = frozenset({Outcome.UNAUTHORIZED, Outcome.UNKNOWN})
"""What a peer answers that has ended the relation already: 401, 404, 405. Another refusal leaves it in place."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the peer's operator is given, over a channel of its own. The token is shown this once."""

    name: str
    versions_url: str
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Invitation({self.name!r}, {self.versions_url!r}, token=***, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a relation ended."""

    name: str
    told_peer: bool
    """Whether the peer said that it has ended it, too."""
    detail: str


class Registrar:
    """Begins exchanges with peers, one at a time with each. Any number of processes may have a registrar.

    A relation changes as a whole or not.
    """

    def __init__(
        self,
        store: PeerStore,
        us: Us,
        connect: Connect,
        *,
        allow_http: bool = False,
        taken_names: frozenset[str] = frozenset(),
        taken_parties: Mapping[Party, str] = MappingProxyType({}),
        for_others: frozenset[str] = frozenset(),
        alone: Callable[[str], AbstractContextManager[None]] = lambda _name: nullcontext(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        make_token: Callable[[], str] = new_token,
    ) -> None:
        """`taken_names`: peers of the configuration, whose names nobody else may have.

        `taken_parties`: their names by their parties, in upper case, which nobody else may have either. `for_others`:
        the registered peers that may be the CPO that we are. `alone`: the right to an exchange with the peer of this
        name, over all processes; entering it raises BusyError, and the kernel ends it with the process.
        """
        self._store = store
        self._us = us
        self._connect = connect
        self._allow_http = allow_http
        self._taken_names = taken_names
        self._taken = taken_with_ours(taken_parties, us)
        self._for_others = for_others
        self._alone = alone
        self._now = now
        self._make_token = make_token

    async def invite(
        self, name: str, *, expires: timedelta = timedelta(days=7), ca_file: str | None = None
    ) -> Invitation:
        """Issue a token A, in place of an earlier one. Raises ConfigError where the peer is registered, StoreError."""
        self._check_name(name)
        found = await self._store.relation(name)
        if found is not None and found.is_registered and found.confirmed:
            raise ConfigError(f"peer {name}: is registered; unregister it before you invite it again")
        token, now = self._make_token(), self._now()
        note = f"invited until {now + expires:%Y-%m-%d %H:%M}Z; waiting for it to register"
        await self._store.invite(name, token, expires_at=now + expires, at=now, ca_file=ca_file, note=note)
        return Invitation(name, self._us.versions_url, token, now + expires)

    async def register(self, name: str, versions_url: str, token_a: str, *, ca_file: str | None = None) -> PeerRelation:
        """Register with the peer that gave us `token_a`.

        The peer calls our server back before it answers, so that must be running and reachable. Raises PeerError
        with the step that failed and why, ConfigError, StoreError, BusyError.
        """
        self._check_name(name)
        if not may_carry_token(versions_url, allow_http=self._allow_http):
            raise ConfigError(
                f"peer {name}: versions URL {harmless(place(versions_url))}: expected one that begins with https://;"
                " http:// only with ocpi.server.allow_http = true"
            )
        if not token_a.strip():
            raise ConfigError(f"peer {name}: token A is empty")
        with self._alone(name):
            return await self._register(name, versions_url, token_a, ca_file)

    async def _register(self, name: str, versions_url: str, token_a: str, ca_file: str | None) -> PeerRelation:
        before = await self._store.relation(name)
        if before is not None and before.is_registered:
            raise ConfigError(f"peer {name}: is registered already; rotate its tokens, or unregister it first")
        way_out = before.note if before is not None and before.status is PeerStatus.REGISTERING else ""
        offer = await self._explored(name, token_a, versions_url, ENCODINGS, ca_file, way_out)
        token_b = self._make_token()
        begun = await self._store.begin(
            name,
            token_b,
            status=PeerStatus.REGISTERING,
            revision=None if before is None else before.revision,
            at=self._now(),
            note=_CUT_OFF_REGISTERING,
            versions_url=versions_url,
            ca_file=ca_file,
        )
        return await self._exchanged("POST", before, begun, offer, token_a, token_b)

    async def rotate(self, name: str) -> PeerRelation:
        """Exchange new tokens, and see anew what the peer offers: OCPI 2.2.1 credentials, PUT.

        Until the peer has used its new token the old one is accepted, too, for a day at most; but nothing of the
        relation can be changed with it. Raises PeerError, ConfigError, StoreError, BusyError.
        """
        with self._alone(name):
            return await self._rotate(name)

    async def _rotate(self, name: str) -> PeerRelation:
        before = await self._settled(name)
        assert before.versions_url is not None
        token_c = before.their_token or ""
        way_out = _NEITHER if before.status is PeerStatus.ROTATING else ""
        offer = await self._explored(name, token_c, before.versions_url, [before.encoding], before.ca_file, way_out)
        token_b = self._make_token()
        begun = await self._store.begin(
            name,
            token_b,
            status=PeerStatus.ROTATING,
            revision=before.revision,
            at=self._now(),
            note=_CUT_OFF_ROTATING,
        )
        return await self._exchanged("PUT", before, begun, offer, token_c, token_b)

    async def settle(self, name: str) -> PeerRelation:
        """Find out which of two tokens the peer takes, after an exchange of whose end it may not know, and keep it.

        With one token there is nothing to find out, and the peer is not asked. Raises PeerError where it takes
        neither or does not answer, ConfigError where it is not registered, StoreError, BusyError.
        """
        with self._alone(name):
            return await self._settled(name)

    async def _settled(self, name: str) -> PeerRelation:
        relation = await self._registered(name)
        if relation.their_previous_token is None:
            return relation
        assert relation.versions_url is not None
        assert relation.their_token is not None
        for token in (relation.their_token, relation.their_previous_token):
            async with self._connect(name, token, relation.encoding, relation.ca_file) as platform:
                versions = await platform.versions(relation.versions_url)
            if not isinstance(versions, Failure):
                await self._store.keep_token(name, token, revision=relation.revision, at=self._now())
                return await self._registered(name)
            if versions.outcome is not Outcome.UNAUTHORIZED:
                raise PeerError(f"peer {name}: versions: {versions.detail}")
        raise PeerError(f"peer {name}: takes neither our token nor the one before; {_NEITHER}")

    async def unregister(self, name: str, *, force: bool = False) -> Ended:
        """End the relation on both sides: OCPI 2.2.1 credentials, DELETE.

        With `force` it ends here even if the peer can't be told. Raises PeerError, with the relation as it was,
        ConfigError, StoreError, BusyError.
        """
        with self._alone(name):
            return await self._unregister(name, force=force)

    async def _unregister(self, name: str, *, force: bool) -> Ended:
        relation = await self._known(name)
        told, detail = False, "there was nothing to end at the peer"
        if relation.status is PeerStatus.REGISTERING:
            detail = "the peer may have taken our registration: let its operator end it there"
        if relation.is_registered:
            await self._store.remark(name, _CUT_OFF_ENDING)
            failure = await self._withdraw(relation)
            told = failure is None
            detail = "the peer has ended it, too" if told else ""
            if failure is not None and failure.outcome in _NOBODY_THERE:
                detail = f"the peer knew of no relation any more: {failure.detail}"
            elif failure is not None and not force:
                if failure.outcome in _NEVER_TOOK_IT or isinstance(failure, Unsent):
                    await self._store.remark(name, relation.note)
                advice = "try again, or end it on this side alone with --force"
                raise PeerError(f"peer {name}: could not be told: {failure.detail}; {advice}")
            elif failure is not None:
                detail = f"the peer could not be told, its operator has to end it there: {failure.detail}"
        await self._store.end(name, self._now(), detail)
        log.info("peer %s: unregistered; %s", name, detail)
        return Ended(name, told, detail)

    async def _withdraw(self, relation: PeerRelation) -> Failure | None:
        """DELETE with the token that the peer takes."""
        url = credentials_url(relation.endpoints, trailing_slash=relation.trailing_slash)
        if url is None:
            return Unsent(Outcome.NO_PEER, "it is not known where its credentials module is")
        failure: Failure | None = Unsent(Outcome.NO_PEER, "there is no token to tell it with")
        for token in filter(None, (relation.their_token, relation.their_previous_token)):
            async with self._connect(relation.name, token, relation.encoding, relation.ca_file) as platform:
                failure = await platform.withdraw(url)
            if failure is None or failure.outcome is not Outcome.UNAUTHORIZED:
                return failure
        return failure

    async def _explored(
        self,
        name: str,
        token: str,
        versions_url: str,
        encodings: Sequence[Encoding],
        ca_file: str | None,
        way_out: str = "",
    ) -> Offer:
        """What the peer offers; `way_out` is said where it does not take the token. Raises PeerError."""
        offer = await explore(lambda e: self._connect(name, token, e, ca_file), versions_url, encodings)
        if isinstance(offer, Problem):
            untrusted = " (a private authority? --ca-file)" if _NOT_TRUSTED in offer.sentence else ""
            rejected = f"; {way_out}" if way_out and offer.token_not_taken else ""
            raise PeerError(f"peer {name}: {offer.sentence}{untrusted}; nothing was changed{rejected}")
        return offer

    async def _exchanged(
        self, method: str, before: PeerRelation | None, begun: PeerRelation, offer: Offer, token: str, token_b: str
    ) -> PeerRelation:
        """Send our credentials with `token`, and store what comes of it. Raises PeerError, StoreError, BusyError."""
        name = begun.name
        async with self._connect(name, token, offer.encoding, begun.ca_file) as platform:
            theirs = await platform.exchange(method, offer.credentials_url, self._us.credentials(token_b))
        if isinstance(theirs, Failure):
            raise await self._failed(theirs, before, begun, token_b)
        fault = self._fault_of(theirs, begun) or await self._concluded(begun, offer, theirs, token_b)
        if fault is not None:
            raise await self._taken_back(fault, theirs.token, before, begun, offer, token_b)
        return await self._known(name)

    def _fault_of(self, theirs: Credentials, begun: PeerRelation) -> str | None:
        """Why credentials that the peer has agreed to can't be ours."""
        known = same_origin(theirs.url, begun.versions_url or "")
        if not known and not may_be_theirs(theirs.url, self._us, allow_http=self._allow_http):
            return "they name a versions URL that is not https"
        claim = claimed(roles_of(theirs), self._taken, for_others=begun.name in self._for_others)
        return None if claim is None else _claim_in_words(claim)

    async def _concluded(self, begun: PeerRelation, offer: Offer, theirs: Credentials, token_b: str) -> str | None:
        """Store the exchange; or why that can't be. Raises BusyError, StoreError with the peer's new token kept."""
        name = begun.name
        try:
            claim = await conclude(self._store, begun, offer, theirs, token_b, at=self._now())
        except (BusyError, StoreError) as error:
            note = _OVERTAKEN if isinstance(error, BusyError) else _NOT_STORED
            if await self._store.keep_candidate(name, theirs.token, note):
                raise type(error)(f"{error}; the peer has agreed to the exchange: {note}") from error
            raise
        return None if claim is None else _claim_in_words(claim)

    async def _failed(
        self, failure: Failure, before: PeerRelation | None, begun: PeerRelation, token_b: str
    ) -> PeerError:
        """What is kept of an exchange without a usable answer depends on what the peer may have done."""
        registering = begun.status is PeerStatus.REGISTERING
        how_to_go_on = begun.note
        if failure.outcome in _NEVER_TOOK_IT or isinstance(failure, Unsent):
            how_to_go_on = "nothing was changed"
            if before is not None and before.status in _CUT_OFF and before.note:
                how_to_go_on += f"; of the attempt before: {before.note}"
            await self._store.give_up(begun.name, token_b, before=before, revision=begun.revision)
        elif registering and failure.outcome not in _NO_ANSWER:
            # Whatever it has stored, the token that it has for us is lost: with nothing here, it can start anew.
            how_to_go_on = "nothing was changed here; if it has taken the registration, let its operator end it there"
            await self._store.give_up(begun.name, token_b, before=before, revision=begun.revision)
        called_back = ""
        if _COULD_NOT_CALL in failure.detail:
            called_back = (
                f"; the peer could not call us at {self._us.versions_url}: is it reachable from there, and our"
                " certificate trusted?"
            )
        return PeerError(f"peer {begun.name}: credentials: {failure.detail}{called_back}; {how_to_go_on}")

    async def _taken_back(
        self, fault: str, token: str, before: PeerRelation | None, begun: PeerRelation, offer: Offer, token_b: str
    ) -> PeerError:
        """End at the peer what it has agreed to and we can't: it is told with `token`, which it has just given us."""
        name = begun.name
        async with self._connect(name, token, offer.encoding, begun.ca_file) as platform:
            failure = await platform.withdraw(offer.credentials_url)
        told = "the peer was told to end it"
        if failure is not None:
            told = f"the peer could not be told ({failure.detail}): let its operator end it there"
        if before is not None and before.is_registered:
            # It uses its new tokens by now, which we can't accept: the old relation is gone in any case.
            await self._store.end(name, self._now(), f"its new credentials could not be accepted: {fault}; {told}")
            told = f"the relation has ended, {told}"
        else:
            await self._store.give_up(name, token_b, before=before, revision=begun.revision)
        return PeerError(f"peer {name}: credentials: {fault}; {told}")

    def _check_name(self, name: str) -> None:
        if name in self._taken_names:
            raise ConfigError(f"peer {name}: the configuration has a [[peer]] of this name; choose another")

    async def _known(self, name: str) -> PeerRelation:
        found = await self._store.relation(name)
        if found is None and name in self._taken_names:
            raise ConfigError(
                f"peer {name}: is configured, not registered: its token is changed in its [[peer]] of the configuration"
            )
        if found is None:
            there = ", ".join(relation.name for relation in await self._store.relations()) or "none"
            raise ConfigError(f"peer {name}: is not known here; there are: {there}")
        return found

    async def _registered(self, name: str) -> PeerRelation:
        found = await self._known(name)
        if not found.is_registered:
            raise ConfigError(f"peer {name}: is not registered but {found.status}; register it first. {found.note}")
        return found


def _claim_in_words(claim: Claim) -> str:
    return f"they claim the party {claim.party}, which is that of {claim.holder}"


_CUT_OFF = frozenset({PeerStatus.REGISTERING, PeerStatus.ROTATING})
_NOT_TRUSTED = "certificate verify failed"
_COULD_NOT_CALL = "OCPI 3001"

_NEITHER = (
    "unregister it here and there, and register anew; or let its operator have it send its credentials again (PUT),"
    " which heals it"
)
_OVERTAKEN = "two exchanges came across each other, and the peer takes the token of one of them: rotate again"
_NOT_STORED = "the new tokens could not be stored: rotate again"
_CUT_OFF_REGISTERING = (
    "it is not known whether it has taken our registration: register again with the same token. If the peer rejects"
    " that, it has: let its operator end it there and give you a new token, or let it update its credentials"
)
_CUT_OFF_ENDING = "its answer to our ending the relation never came: it may have ended it; unregister again"
_CUT_OFF_ROTATING = (
    "it is not known whether it has taken our new token: it may use the old one or the new one, both are accepted;"
    " rotate again. If the peer rejects our token then, unregister here and there, and register anew; or let it send"
    " its credentials again (PUT)"
)
