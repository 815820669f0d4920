"""Makes of a session that has ended what its peer is told and billed by: at its end, or once it is known when that was.

A controller without a battery does not know the time until the network has told it. What ends before is kept as it was
metered, by a clock that only runs on; here it gets its place in time, and then its documents.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import uuid4

from agent.charges import Charge, NewCdr, SessionRecord
from agent.core.account import Account, Pricing, Remark, from_json, moved, noted, to_json
from agent.core.owner import owned
from agent.errors import StoreError
from agent.model import EndReason, Recorded
from agent.runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 30.0
"""How often it is looked whether the clock has been set: a bill that comes half a minute after is soon enough."""
NOTHING_S: Final = 60.0
"""A charge that a fault of ours ends within this, with nothing delivered, has not been one: no start fee for it."""

_OUR_FAULTS: Final = frozenset(
    {EndReason.RELAY_FAULT, EndReason.STORAGE_FAULT, EndReason.AGENT_FAULT, EndReason.PLUG_FAULT}
)


class Documents(Protocol):
    """Writes a session as OCPI has it; see `agent.runtime.documents`."""

    @property
    def tariff(self) -> bytes:
        """The OCPI Tariff that it is priced by."""
        ...

    @property
    def pricing(self) -> Pricing:
        """The same, to work it out."""
        ...

    def why_none(self, recorded: Recorded) -> str | None:
        """Why nobody can be billed for it; None when somebody can."""
        ...

    def session(
        self,
        session_id: str,
        recorded: Recorded,
        account: Account,
        *,
        ended: bool,
        changed_at: datetime,
        billed: bool = True,
    ) -> bytes:
        """OCPI 2.2.1 mod_sessions, Session."""
        ...

    def cdr(self, cdr_id: str, session_id: str, recorded: Recorded, account: Account, *, changed_at: datetime) -> bytes:
        """OCPI 2.2.1 mod_cdrs, CDR."""
        ...


DocumentsBy = Callable[[bytes], Documents | str]
"""What writes the sessions of one EVSE that began with this tariff, or why nothing can."""


def sealed(
    record: SessionRecord, facts: Recorded, account: Account, documents: Documents | str
) -> tuple[SessionRecord, NewCdr | None]:
    """The final state and CDR of a session that has ended with `account`; or it with the reason why it gets none.

    With neither, where the time is not known: see `Sealing`. `documents` may be the reason why there are none. Without
    a CDR the session is INVALID to a peer that was told of it, by the `record.object` that is there: else it would
    wait for one, or take the session for one that runs, for ever.
    """
    why = documents if isinstance(documents, str) else documents.why_none(facts)
    if isinstance(documents, str) or why is not None:
        return replace(record, object=_invalid(record, account), no_cdr=why), None
    why = _why_no_bill(record, account)
    if not record.clock_known:
        return replace(record, object=None, no_cdr=why), None
    session_id, at = record.session_id, record.changed_at
    try:
        cdr = None if why is not None or record.peer is None else _cdr(record, record.peer, facts, account, documents)
        final = documents.session(session_id, facts, account, ended=True, changed_at=at, billed=cdr is not None)
        return replace(record, object=final, no_cdr=why), cdr
    except ValueError as error:
        log.critical("evse=%s ALARM no CDR can be made of session %d: %s", record.evse_uid, facts.id, error)
        why = f"it can't be written as OCPI has it: {error}"
        return replace(record, object=_invalid(record, account), no_cdr=why), None


def _cdr(record: SessionRecord, peer: str, facts: Recorded, account: Account, documents: Documents) -> NewCdr:
    cdr_id, at = str(uuid4()), record.changed_at
    return NewCdr(cdr_id, facts.id, peer, documents.cdr(cdr_id, record.session_id, facts, account, changed_at=at), at)


def _invalid(record: SessionRecord, account: Account) -> bytes | None:
    """What the peer is told at the end of a session of which it has an earlier state; None where it has none."""
    if record.object is None or not record.clock_known:
        return None
    from agent.runtime.documents import never_billed  # noqa: PLC0415  a megabyte that who bills nothing does without

    try:
        return never_billed(record.object, account, record.changed_at)
    except ValueError as error:
        log.critical("evse=%s ALARM peer %s can't be told that session %s is over: %s",
                     record.evse_uid, record.peer, record.session_id, error)  # fmt: skip
        return None


def _why_no_bill(record: SessionRecord, account: Account) -> str | None:
    """Why nobody is billed for a charge that has documents."""
    if record.peer is None:
        return "no peer is known that this card belongs to"
    lasted_s = (account.until - account.started_at).total_seconds()
    soon_s = 1.0 if Remark.NO_METER in account.remarks else NOTHING_S
    if record.ended_because in _OUR_FAULTS and not account.energy_wh and lasted_s < soon_s:
        return f"nothing was delivered: {record.ended_because} after {lasted_s:.0f} s"
    return None


def offsets(sessions: Sequence[SessionRecord], boot_id: str, began: datetime) -> dict[int, timedelta]:
    """By how much each session that ended at no known time, oldest first, is to be moved; by authorization id.

    `boot_id` and `began` are this boot's. What ended in it is placed exactly, by the clock that only runs on. Of an
    earlier boot only that much is known: it was over before the next one began; it ends then, at the latest that can
    be, and keeps its distance from what else ended in it.
    """
    boots: dict[str, list[SessionRecord]] = {}
    for one in reversed(sessions):
        # Without a boot id every session was another boot's.
        boots.setdefault(one.boot_id or f"#{one.authorization_id}", []).append(one)
    found = dict(_placed_from(began, boots.pop(boot_id, ())))
    limit = _earliest(sessions, found, began)
    for ended in boots.values():
        found |= _placed_from(limit - max(map(_ended_after, ended)), ended)
        limit = _earliest(sessions, found, limit)
    return found


def _placed_from(began: datetime, ended: Iterable[SessionRecord]) -> Iterator[tuple[int, timedelta]]:
    for one in ended:
        assert one.ended_at is not None
        yield one.authorization_id, began + _ended_after(one) - one.ended_at


def _earliest(sessions: Iterable[SessionRecord], by: Mapping[int, timedelta], limit: datetime) -> datetime:
    """When the first of those that have their place began; the limit if that is before."""
    placed = (one for one in sessions if one.authorization_id in by)
    return min([limit, *(one.started_at + by[one.authorization_id] for one in placed)])


def _ended_after(session: SessionRecord) -> timedelta:
    """How long after its boot began it ended: `changed_at` and `monotonic_s` are the same moment by both clocks."""
    assert session.ended_at is not None
    return timedelta(seconds=session.monotonic_s) - (session.changed_at - session.ended_at)


class UnsealedSessions(Protocol):
    """What is needed of `agent.store.sessions.SessionStore`."""

    def commits(self) -> int | None:
        """Another number after every change of the file; None when that can't be told."""
        ...

    async def unsealed(self) -> list[Charge]:
        """Sessions that ended while nobody knew what time it was, oldest first. Raises StoreError."""
        ...

    async def seal(self, session: SessionRecord, cdr: NewCdr | None) -> bool:
        """Correct one, and make its CDR due. Raises StoreError."""
        ...


class Sealing:
    """Seals what ended while nobody knew the time, as soon as somebody does."""

    def __init__(
        self, sessions: UnsealedSessions, documents: Callable[[str, bytes], Documents | str], clock: Clock
    ) -> None:
        """`documents` are those of an EVSE, by its uid, for the sessions that began with a tariff."""
        self._sessions = sessions
        self._documents = documents
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. What the disk refuses is tried again."""
        seen: int | None = None
        while True:
            number = self._sessions.commits()
            if self._clock.is_known and (number is None or number != seen):
                try:
                    await self.seal_all()
                    seen = number
                except StoreError as error:
                    log.warning("what ended before the clock was set can't be billed yet, it is tried again: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def seal_all(self) -> None:
        """Seal all there are; the clock is known. Raises StoreError; what was sealed by then stays so."""
        charges = {one.session.authorization_id: one for one in await self._sessions.unsealed()}
        records = [one.session for one in charges.values()]
        by = offsets(records, self._clock.boot_id, self._clock.at(0.0))
        # In the order of their ends: what a kill leaves to be placed next time comes after what was placed before it.
        for record in _by_end(records, by):
            try:
                placed = self._placed(charges[record.authorization_id], by[record.authorization_id])
            except ValueError as error:
                log.critical("evse=%s ALARM session %d can't be read back, and so can't be billed: %s",
                             record.evse_uid, record.authorization_id, error)  # fmt: skip
                continue
            await self._sessions.seal(*placed)
            log.info("evse=%s session %d: its time is known now", record.evse_uid, record.authorization_id)

    def _placed(self, charge: Charge, by: timedelta) -> tuple[SessionRecord, NewCdr | None]:
        session = charge.session
        documents = self._documents_of(session)
        pricing = Pricing(None, UTC) if isinstance(documents, str) else documents.pricing
        account = moved(from_json(session.account), by, pricing)
        if not session.boot_id or session.boot_id != self._clock.boot_id:
            account = noted(account, Remark.CLOCK_UNKNOWN)
        placed = replace(
            session,
            started_at=account.started_at,
            ended_at=account.until,
            changed_at=max(self._clock.now(), account.until),
            account=to_json(account),
            clock_known=True,
        )
        return sealed(placed, owned(charge.authorization), account, documents)

    def _documents_of(self, session: SessionRecord) -> Documents | str:
        if session.tariff is None:
            return "billing was not configured when it began"
        return self._documents(session.evse_uid, session.tariff)


def _by_end(sessions: Iterable[SessionRecord], by: Mapping[int, timedelta]) -> list[SessionRecord]:
    def end(one: SessionRecord) -> datetime:
        assert one.ended_at is not None
        return one.ended_at + by[one.authorization_id]

    return sorted(sessions, key=end)
