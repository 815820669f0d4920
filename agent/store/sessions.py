"""Sessions, their CDRs, and what of them is still to be told: what is billed, kept through kills and power cuts.

The documents inside are bytes here. What they say, and when a session is persisted or ended, is decided elsewhere;
who tells them to whom, and when again, is `agent.runtime.delivery`'s business.
"""

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, assert_never

from agent.charges import Backlog, Charge, NewCdr, Open, Page, Report, ReportKind, SessionRecord, StopRequest
from agent.model import Entry
from agent.ports import Sessions
from agent.store.charge_rows import (
    ADD_CDR,
    ADD_CREDIT,
    BACKLOG,
    CDR_IS_DUE,
    CDRS_COUNT,
    CDRS_PAGE,
    DUE,
    END_SESSION,
    FORGET_TARIFFS,
    KEEP_TARIFF,
    MOVE_END,
    OPEN_ONES,
    PUT,
    SEAL,
    SESSIONS_COUNT,
    SESSIONS_PAGE,
    TELL,
    UNSEALED,
    UNSEALED_ONLY,
    cdr_row,
    open_one,
    report,
    seal_row,
    session_row,
)
from agent.store.charges import Charges
from agent.store.database import Database, from_us, open_state, to_us
from agent.store.entry_rows import END, RECORD, entry_row, late_answers
from agent.store.writer import Row

__all__ = ["Charges", "SessionStore"]

_ANY = 2**63 - 1
"""Greater than any time in the file."""

_STALE = timedelta(days=1)
"""How long an answered stop request is kept for whoever asked."""

CLOCK_KNOWN_FROM = datetime(2020, 1, 1, tzinfo=UTC)
"""Times before are those of a controller that did not know the time: nothing was older when it was pruned."""

_LATEST = """
    SELECT min(tapped_at) FROM (SELECT tapped_at FROM authorization WHERE +tapped_at >= ? ORDER BY id DESC LIMIT 3)
"""
"""Three: two cards held while the clock is wrong don't move it, and at a charger that is hardly used it still moves."""

_NOT_DUE = "DELETE FROM session_due WHERE authorization_id = ? AND revision <= ?"
_SESSION_PROBLEM = "UPDATE session_due SET problem = ?1 WHERE authorization_id = ?2 AND problem IS NOT ?1"
_CDR_PROBLEM = "UPDATE cdr_due SET problem = ?1 WHERE number = ?2 AND problem IS NOT ?1"
_REJECTED = (
    "INSERT INTO session_rejected (problem, authorization_id) SELECT ?, authorization_id FROM session"
    " WHERE authorization_id = ? ON CONFLICT (authorization_id) DO UPDATE SET problem = excluded.problem"
)
_ACKNOWLEDGED = (
    "INSERT INTO cdr_acknowledged (at, url, number) SELECT ?, ?, number FROM cdr WHERE number = ?"
    " ON CONFLICT (number) DO UPDATE SET at = excluded.at, url = excluded.url"
)
_ASK_TO_STOP = "INSERT INTO stop_request (evse_uid, asked_at) VALUES (?, ?)"
_FORGET_ANSWERED = "DELETE FROM stop_request WHERE outcome IS NOT NULL AND asked_at < ? AND number < ?"
_STOP_REQUESTS = "SELECT number, evse_uid, asked_at FROM stop_request WHERE outcome IS NULL ORDER BY number"
_ANSWER_STOP = "UPDATE stop_request SET outcome = ? WHERE number = ? AND outcome IS NULL"

_NOBODY_WAITS = """
    NOT EXISTS (SELECT 1 FROM session_due WHERE authorization_id = id)
    AND id NOT IN (SELECT authorization_id FROM cdr_due)
"""
_PRUNABLE = f"""
    SELECT id FROM authorization AS old
    WHERE id <= (SELECT max(id) FROM authorization WHERE tapped_at < ?1 AND tapped_at >= ?2)
        AND id < (SELECT max(id) FROM authorization)
        AND (ended_at < ?1 OR (ended_at IS NULL AND relay_closed = 0 AND tapped_at < ?1))
        AND NOT EXISTS (
            SELECT 1 FROM session WHERE authorization_id = old.id AND (session.ended_at IS NULL OR ({UNSEALED}))
        )
        AND id IS NOT (SELECT authorization_id FROM cdr ORDER BY number DESC LIMIT 1)
        AND {_NOBODY_WAITS}
    ORDER BY id LIMIT ?3
"""  # noqa: S608 - our own words
# All that is looked for but this stays so: a CDR may have been made due again meanwhile.
_PRUNE = f"DELETE FROM authorization WHERE id IN (SELECT value FROM json_each(?)) AND {_NOBODY_WAITS}"  # noqa: S608 - our own words


class SessionStore(Charges):
    """A method that changes something is one transaction, on the disk when it returns; StoreError: nothing changed."""

    def __init__(self, database: Database) -> None:
        """Use an open `state.db`, which the caller closes."""
        super().__init__(database)
        self._database = database
        self._there: set[int] = set()
        """Sessions that run, and are known to be in the file: their tariff is kept."""

    @classmethod
    async def open_file(cls, path: Path) -> Self:
        """Open the file for this store alone; `close` closes it. Raises StoreError."""
        return cls(await open_state(path))

    def commits(self) -> int | None:
        """As `Database.commits`: another number after every change, in whatever process."""
        return self._database.commits()

    async def put(self, session: SessionRecord, *, tell: bool) -> None:
        """Begin a session, or replace what was last persisted of it; with `tell` its peer is to hear of this state.

        One that has ended is not changed any more; an end is not put, see `end`. Raises StoreError, also where the
        authorization is not there. Its tariff is that of the first time.
        """
        row = session_row(replace(session, ended_at=None, ended_because=None), tell=tell)
        if session.authorization_id in self._there and not tell:
            # A single statement shares its commit with the taps that come meanwhile.
            await self._database.writer.write("persist a session", PUT, row)
            return

        def work(connection: sqlite3.Connection) -> None:
            _keep_tariff(connection, session)
            for (revision,) in connection.execute(PUT, row).fetchall():
                if tell:
                    _tell(connection, session, revision)

        await self._database.writer.batch("persist a session", work)
        self._there.add(session.authorization_id)

    async def end(self, session: SessionRecord, cdr: NewCdr | None, tap: Entry | None) -> int | None:
        """End a session, its authorization, and take down the tap that brought it, in one transaction.

        The CDR is due from then on, after the session's final state. Returns the id of the tap's record. Ending it
        twice keeps the first end and its CDR, and still takes down the tap. Raises StoreError, and ValueError for a
        session without an end.
        """
        if session.ended_at is None or session.ended_because is None:
            raise ValueError(f"session {session.session_id}: has no end; set ended_at and ended_because")
        over = (to_us(session.ended_at), session.ended_because, session.authorization_id)

        def work(connection: sqlite3.Connection) -> int | None:
            _keep_tariff(connection, session)
            for (revision,) in connection.execute(END_SESSION, session_row(session, tell=True)).fetchall():
                connection.execute(END, over)
                _tell(connection, session, revision)
                _add_cdr(connection, cdr)
            if tap is None:
                return None
            [(tap_id,)] = connection.execute(RECORD, entry_row(tap)).fetchall()
            return int(tap_id)

        tap_id = await self._database.writer.batch("end a session", work)
        self._there.discard(session.authorization_id)
        return tap_id

    async def unsealed(self) -> list[Charge]:
        """Sessions that ended while nobody knew what time it was, oldest first: see `seal`. Raises StoreError."""
        return await self._charges(f"WHERE {UNSEALED} ORDER BY session.authorization_id", (), index=UNSEALED_ONLY)

    async def seal(self, session: SessionRecord, cdr: NewCdr | None) -> bool:
        """Correct what `unsealed` gave, once it is known when it was; in one transaction its CDR becomes due.

        False, and nothing changed: it is sealed already. Raises StoreError, and ValueError for a session that is
        none the wiser: without an end, or with neither a known time nor a CDR or a reason for none.
        """
        if session.ended_at is None or not session.clock_known or (cdr is None) is (session.no_cdr is None):
            raise ValueError(
                f"session {session.session_id}: is sealed with its end, at a known time, and a CDR or why not"
            )
        ended_at = to_us(session.ended_at)

        def work(connection: sqlite3.Connection) -> bool:
            for (revision,) in connection.execute(SEAL, seal_row(session)).fetchall():
                connection.execute(MOVE_END, (ended_at, session.authorization_id))
                _tell(connection, session, revision)
                _add_cdr(connection, cdr)
                return True
            return False

        return await self._database.writer.batch("seal a session", work)

    async def open(self) -> list[Open]:
        """What was accepted and has no end on record, oldest first: to be resumed or ended at start. Raises StoreError.

        See `Journal.settle_open_check`.
        """
        rows = await self._database.read_aside("look for what is open", OPEN_ONES)
        late = await late_answers(self._database, [row[0] for row in rows])
        return [open_one(row, late.get(row[0], ())) for row in rows]

    async def due(self, most: int = 100) -> list[Report]:
        """What the peers have not acknowledged, oldest first; parked CDRs are left out. Raises StoreError.

        After weeks without a network that may be more than fits into the memory: these are the reports of the `most`
        sessions of each peer that have waited longest, and of as many of which only a CDR is left. What belongs to one
        session comes whole, its state before its CDR; but for a credit, which comes once the peer has what it takes
        back.
        """
        return [report(row) for row in await self._database.read_aside("read what is due", DUE, (most,))]

    async def backlog(self) -> Backlog:
        """How much the peers have not acknowledged. Raises StoreError."""
        [(sessions, cdrs, parked, since)] = await self._database.read_aside("count what is due", BACKLOG)
        return Backlog(sessions, cdrs, parked, None if since is None else from_us(since))

    async def told(self, authorization_id: int, revision: int) -> None:
        """The peer has this state of the session; a newer one stays due. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_NOT_DUE, (authorization_id, revision))
            connection.execute("DELETE FROM session_rejected WHERE authorization_id = ?", (authorization_id,))

        await self._database.writer.batch("note that a session was told", work)

    async def session_rejected(self, authorization_id: int, revision: int, problem: str) -> None:
        """The peer won't have this state of the session: it is not due any more, and `problem` says why.

        Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_NOT_DUE, (authorization_id, revision))
            connection.execute(_REJECTED, (problem, authorization_id))

        await self._database.writer.batch("note that a session was rejected", work)

    async def acknowledged(self, number: int, at: datetime, url: str | None) -> None:
        """The peer has this CDR, where it says: it is not due any more. Raises StoreError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM cdr_due WHERE number = ?", (number,))
            connection.execute(_ACKNOWLEDGED, (to_us(at), url, number))

        await self._database.writer.batch("note that a CDR was acknowledged", work)

    async def problem(self, report: Report, text: str) -> None:
        """Why a report has not been taken so far; written only where something else is on record. Raises StoreError."""
        match report.kind:
            case ReportKind.SESSION:
                await self._database.writer.write("note a problem", _SESSION_PROBLEM, (text, report.authorization_id))
            case ReportKind.CDR:
                await self._database.writer.write("note a problem", _CDR_PROBLEM, (text, report.revision))
            case _:
                assert_never(report.kind)

    async def park(self, number: int, problem: str) -> None:
        """The peer rejected this CDR: it is not sent again until somebody says so. Raises StoreError."""
        await self._database.writer.write(
            "park a CDR", "UPDATE cdr_due SET parked = 1, problem = ? WHERE number = ?", (problem, number)
        )

    async def resend(self, number: int, at: datetime) -> bool:
        """Make a CDR due again, be it parked or acknowledged, which it then no longer is. False: there is none.

        Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM cdr_acknowledged WHERE number = ?", (number,))
            return bool(connection.execute(CDR_IS_DUE, (to_us(at), number)).fetchall())

        return await self._database.writer.batch("make a CDR due again", work)

    async def add_credit(self, cdr: NewCdr) -> int | None:
        """Seal the CDR that takes another back; it is due from then on. Returns its number.

        None, and nothing changed: the other one was credited already, is a credit itself, or is not there; or its
        peer has not acknowledged it, so that there is nothing to take back. Raises StoreError.
        """
        row = (cdr.cdr_id, cdr.peer, to_us(cdr.changed_at), cdr.object, cdr.credits, cdr.authorization_id)

        def work(connection: sqlite3.Connection) -> int | None:
            for (number,) in connection.execute(ADD_CREDIT, row).fetchall():
                connection.execute(CDR_IS_DUE, (to_us(cdr.changed_at), number)).fetchall()
                return int(number)
            return None

        return await self._database.writer.batch("credit a CDR", work)

    async def sessions_of(
        self, peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int
    ) -> Page:
        """A peer's session objects of which `changed_at` is at or after `date_from` and before `date_to`.

        In the order in which they began: ordered by their changes, one that changes while a peer goes from page to
        page would push another off the next. Raises StoreError.
        """
        return await self._page(SESSIONS_COUNT, SESSIONS_PAGE, _wanted(peer, date_from, date_to, offset, limit))

    async def cdrs_of(
        self, peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int
    ) -> Page:
        """A peer's CDRs likewise, credits among them, in the order of their numbers. Raises StoreError."""
        return await self._page(CDRS_COUNT, CDRS_PAGE, _wanted(peer, date_from, date_to, offset, limit))

    async def _page(self, count: str, page: str, wanted: Row) -> Page:
        [(total,)] = await self._database.read_aside("count what a peer may see", count, wanted[:3])
        rows = await self._database.read_aside("read what a peer may see", page, wanted)
        return Page(tuple(row[0] for row in rows), total)

    async def request_stop(self, evse_uid: str, at: datetime) -> int:
        """Ask the agent that runs to end what goes on at an EVSE; `stop_outcome` tells what came of it.

        Returns the request's number. Raises StoreError.
        """

        def work(connection: sqlite3.Connection) -> int:
            asked = connection.execute(_ASK_TO_STOP, (evse_uid, to_us(at)))
            connection.execute(_FORGET_ANSWERED, (to_us(at - _STALE), asked.lastrowid))
            return asked.lastrowid or 0

        return await self._database.writer.batch("ask to stop", work)

    async def stop_requests(self) -> list[StopRequest]:
        """Those that nobody has answered, oldest first; one may be from long ago. Raises StoreError."""
        rows = await self._database.read("read what is to be stopped", _STOP_REQUESTS)
        return [StopRequest(number, evse_uid, from_us(at)) for number, evse_uid, at in rows]

    async def stopped(self, number: int, outcome: str) -> None:
        """Answer a request, or take it back. A second answer changes nothing. Raises StoreError."""
        await self._database.writer.write("answer a stop request", _ANSWER_STOP, (outcome, number))

    async def stop_outcome(self, number: int) -> str | None:
        """The answer to a request; None: none yet. Raises StoreError."""
        rows = await self._database.read(
            "read an answer", "SELECT outcome FROM stop_request WHERE number = ?", (number,)
        )
        return rows[0][0] if rows else None

    async def reached(self) -> datetime | None:
        """A time that has come, as far as the latest few cards show: not by what a clock says that is wrong just now.

        None: no card was held at a known time. Raises StoreError.
        """
        [(at,)] = await self._database.read_aside("look for the latest cards", _LATEST, (to_us(CLOCK_KNOWN_FROM),))
        return None if at is None else from_us(at)

    async def prune(self, before: datetime, most: int = 100) -> int:
        """Delete at most `most` authorizations that ended, or were refused, before; with all that they became.

        What runs, is due or is parked stays, and so do the newest authorization and CDR. Returns how many were
        deleted; fewer than `most`: there are no more. Raises StoreError.
        """
        # Looked for aside: a tap must not wait for that.
        limits = (to_us(before), to_us(CLOCK_KNOWN_FROM), most)
        old = [row[0] for row in await self._database.read_aside("look for what is old", _PRUNABLE, limits)]

        def work(connection: sqlite3.Connection) -> int:
            deleted = connection.execute(_PRUNE, (json.dumps(old),)).rowcount
            connection.execute(FORGET_TARIFFS)
            return deleted

        return await self._database.writer.batch("delete what is old", work) if old else 0


def _keep_tariff(connection: sqlite3.Connection, session: SessionRecord) -> None:
    if session.tariff is not None:
        connection.execute(KEEP_TARIFF, (session.tariff,))


def _add_cdr(connection: sqlite3.Connection, cdr: NewCdr | None) -> None:
    if cdr is not None:
        [(number,)] = connection.execute(ADD_CDR, cdr_row(cdr)).fetchall()
        connection.execute(CDR_IS_DUE, (to_us(cdr.changed_at), number)).fetchall()


def _tell(connection: sqlite3.Connection, session: SessionRecord, revision: int) -> None:
    key = session.authorization_id
    if session.peer is None or session.object is None:
        connection.execute("DELETE FROM session_due WHERE authorization_id = ?", (key,))
    else:
        connection.execute(TELL, (key, session.peer, to_us(session.changed_at), revision))


def _wanted(peer: str, date_from: datetime | None, date_to: datetime | None, offset: int, limit: int) -> Row:
    start = -_ANY if date_from is None else to_us(date_from)
    end = _ANY if date_to is None else to_us(date_to)
    return peer, start, end, limit, offset


def _fits(store: SessionStore) -> Sessions:
    return store
