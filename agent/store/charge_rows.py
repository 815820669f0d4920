"""Sessions and CDRs as rows of `state.db`: the statements, and the values that they are made of and turn into."""

from typing import Final

from agent.charges import CdrRecord, Charge, NewCdr, Open, Report, ReportKind, SessionRecord
from agent.model import EndReason, LateAnswer
from agent.store.database import from_us, to_us
from agent.store.entry_rows import OPEN, RECORDED, recorded
from agent.store.writer import Row

_KEPT: Final = (
    "peer",
    "started_at",
    "changed_at",
    "energy_wh",
    "register_wh",
    "boot_id",
    "monotonic_s",
    "clock_known",
    "no_cdr",
    "account",
    "object",
)
"""What a running session's persist replaces. A column that an index has, of all sessions, must not be added here."""

_SESSION = ("authorization_id", "session_id", "evse_uid", "tariff", "ended_at", "ended_because", *_KEPT)
_TARIFF = "(SELECT tariff.object FROM tariff WHERE tariff.number = session.tariff)"
_COLUMNS = ", ".join(_TARIFF if name == "tariff" else f"session.{name}" for name in _SESSION)

# ruff: noqa: S608 - what is put together here are our own words

_STEP = 128
_LEAST_PADDING = 64
"""Bytes. SQLite writes a row in place where its length stays, and only those of its pages that differ; else it gives
them back and takes others. Measured, 3 KB a persist against 6. So a running session's row only grows, and in steps:
padding takes up what changes, never so short that its own length would take a byte less."""

_WRITTEN = (*_SESSION, "padding", "revision")
_VALUES = ", ".join("(SELECT number FROM tariff WHERE object = ?)" if name == "tariff" else "?" for name in _WRITTEN)
_INSERT = f"INSERT INTO session ({', '.join(_WRITTEN)}) VALUES ({_VALUES})"
_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in _KEPT)
_DOCUMENTS = "(length({row}.account) + coalesce(length({row}.object), 0))"
_OLD, _NEW = (f"{_DOCUMENTS.format(row=row)} + length({row}.padding)" for row in ("session", "excluded"))
_PAD = f"padding = zeroblob(max({_OLD}, {_NEW}) - {_DOCUMENTS.format(row='excluded')})"
_RUNNING = "revision = revision + excluded.revision WHERE session.ended_at IS NULL RETURNING revision"

KEEP_TARIFF = "INSERT INTO tariff (object) VALUES (?) ON CONFLICT (object) DO NOTHING"
"""Before PUT and END_SESSION, which name it. Nothing is written where it is kept already."""
FORGET_TARIFFS = "DELETE FROM tariff WHERE NOT EXISTS (SELECT 1 FROM session WHERE session.tariff = tariff.number)"

PUT = f"{_INSERT} ON CONFLICT (authorization_id) DO UPDATE SET {_REPLACE}, {_PAD}, {_RUNNING}"
"""Returns the revision; no row where the session has ended."""
END_SESSION = (
    f"{_INSERT} ON CONFLICT (authorization_id) DO UPDATE SET {_REPLACE}, padding = excluded.padding,"
    f" ended_at = excluded.ended_at, ended_because = excluded.ended_because, {_RUNNING}"
)
"""The same with the end."""
SEAL = (
    f"UPDATE session SET {', '.join(f'{name} = ?' for name in _KEPT)}, ended_at = ?, revision = revision + 1"
    " WHERE authorization_id = ? AND clock_known = 0 AND ended_at IS NOT NULL AND no_cdr IS NULL RETURNING revision"
)
"""Returns the revision; no row where it is sealed already, or has not ended."""
MOVE_END = "UPDATE authorization SET ended_at = ? WHERE id = ? AND ended_at IS NOT NULL"

TELL = (
    "INSERT INTO session_due (authorization_id, peer, since, revision) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (authorization_id) DO UPDATE SET peer = excluded.peer, revision = excluded.revision"
)
ADD_CDR = (
    "INSERT INTO cdr (cdr_id, authorization_id, peer, changed_at, credits, object) VALUES (?, ?, ?, ?, ?, ?)"
    " RETURNING number"
)
ADD_CREDIT = (
    "INSERT INTO cdr (cdr_id, authorization_id, peer, changed_at, credits, object)"
    " SELECT ?, credited.authorization_id, ?, ?, credited.cdr_id, ? FROM cdr AS credited"
    " WHERE credited.cdr_id = ? AND credited.authorization_id = ? AND credited.credits IS NULL"
    " AND EXISTS (SELECT 1 FROM cdr_acknowledged WHERE number = credited.number)"
    " ON CONFLICT (authorization_id, (credits IS NULL)) DO NOTHING RETURNING number"
)
CDR_IS_DUE = (
    "INSERT INTO cdr_due (number, authorization_id, peer, since)"
    " SELECT number, authorization_id, peer, ? FROM cdr WHERE number = ?"
    " ON CONFLICT (number) DO UPDATE SET since = excluded.since, parked = 0, problem = NULL RETURNING number"
)

DUE = """
    WITH first (authorization_id, peer, since, parked, number) AS (
        SELECT authorization_id, peer, since, parked, min(number) FROM cdr_due GROUP BY authorization_id
    ), each (authorization_id, peer, since, is_session) AS (
        SELECT authorization_id, peer, since, 1 FROM session_due
        UNION ALL SELECT authorization_id, peer, since, 0 FROM first WHERE parked = 0
    ), placed (authorization_id, peer, place) AS (
        SELECT authorization_id, peer,
            row_number() OVER (PARTITION BY peer, max(is_session) ORDER BY min(since), authorization_id)
        FROM each GROUP BY peer, authorization_id
    ), turn (authorization_id, peer) AS (
        SELECT authorization_id, peer FROM placed WHERE place <= ?
    )
    SELECT 'session', due.authorization_id, due.peer, session.object, due.revision, due.since, due.problem
        FROM turn CROSS JOIN session_due AS due ON due.authorization_id = turn.authorization_id AND due.peer = turn.peer
        CROSS JOIN session ON session.authorization_id = due.authorization_id AND session.object IS NOT NULL
    UNION ALL
    SELECT 'cdr', due.authorization_id, due.peer, cdr.object, due.number, due.since, due.problem
        FROM turn CROSS JOIN cdr ON cdr.authorization_id = turn.authorization_id
        CROSS JOIN cdr_due AS due ON due.number = cdr.number AND due.peer = turn.peer AND due.parked = 0
        WHERE NOT EXISTS (
            SELECT 1 FROM cdr AS taken_back CROSS JOIN cdr_due AS waiting ON waiting.number = taken_back.number
            WHERE taken_back.authorization_id = cdr.authorization_id AND taken_back.number < cdr.number
        )
    ORDER BY 6, 2, 1 DESC, 5
"""
"""Whose turn it is, from the two small tables alone; then the documents of those. Sessions have their places apart from
those of which only a CDR is left: of these a peer that takes no CDRs leaves ever more, and they must not keep from it
what runs. At the same instant a session comes before its CDR. A credit, which is the later CDR of its session, waits
until its peer has what it takes back: of a CDR that is due itself, or parked, there is nothing to take back."""

BACKLOG = """
    SELECT (SELECT count(*) FROM session_due), (SELECT count(*) FROM cdr_due WHERE parked = 0),
        (SELECT count(*) FROM cdr_due WHERE parked = 1),
        (SELECT min(since) FROM (SELECT since FROM session_due UNION ALL SELECT since FROM cdr_due WHERE parked = 0))
"""

CHARGES = (
    f"SELECT due.authorization_id IS NOT NULL, coalesce(due.problem, rejected.problem), {_COLUMNS},"
    f" {', '.join(f'authorization.{name}' for name in RECORDED)}"
    " FROM session{index} CROSS JOIN authorization ON authorization.id = session.authorization_id"
    " LEFT JOIN session_due AS due ON due.authorization_id = session.authorization_id"
    " LEFT JOIN session_rejected AS rejected ON rejected.authorization_id = session.authorization_id"
)
RUNNING_ONLY = " INDEXED BY session_running"
UNSEALED_ONLY = " INDEXED BY session_unsealed"
UNSEALED = "session.clock_known = 0 AND session.ended_at IS NOT NULL AND session.no_cdr IS NULL"
"""Which sessions are over and have neither a CDR nor a reason for none, for nobody knows when they were."""

CDRS = (
    "SELECT cdr.number, cdr.cdr_id, cdr.authorization_id, cdr.peer, cdr.object, cdr.changed_at, cdr.credits,"
    " acknowledged.at, acknowledged.url, due.problem, coalesce(due.parked, 0),"
    " (SELECT cdr_id FROM cdr AS credit"
    " WHERE credit.authorization_id = cdr.authorization_id AND credit.credits = cdr.cdr_id)"
    " FROM cdr LEFT JOIN cdr_acknowledged AS acknowledged ON acknowledged.number = cdr.number"
    " LEFT JOIN cdr_due AS due ON due.number = cdr.number"
)

OPEN_ONES = f"""
    WITH open (id) AS (
        SELECT id FROM authorization WHERE {OPEN}
        UNION SELECT authorization_id FROM session INDEXED BY session_running WHERE ended_at IS NULL
    )
    SELECT {", ".join(f"authorization.{name}" for name in RECORDED)}, {_COLUMNS}
    FROM open CROSS JOIN authorization ON authorization.id = open.id
    LEFT JOIN session ON session.authorization_id = open.id
    ORDER BY open.id
"""

_CHANGED = "peer = ?1 AND changed_at >= ?2 AND changed_at < ?3"
_VISIBLE = f"""
    SELECT {{columns}} FROM session INDEXED BY session_of_peer
        WHERE {_CHANGED} AND ended_at IS NOT NULL AND object IS NOT NULL
    UNION ALL
    SELECT {{columns}} FROM session INDEXED BY session_running
        WHERE {_CHANGED} AND ended_at IS NULL AND object IS NOT NULL
"""
SESSIONS_COUNT = f"SELECT count(*) FROM ({_VISIBLE.format(columns='authorization_id')})"
SESSIONS_PAGE = f"""
    WITH page (authorization_id) AS (
        {_VISIBLE.format(columns="authorization_id")} ORDER BY 1 LIMIT ?4 OFFSET ?5
    )
    SELECT session.object FROM page CROSS JOIN session ON session.authorization_id = page.authorization_id
    ORDER BY page.authorization_id
"""
CDRS_COUNT = f"SELECT count(*) FROM cdr INDEXED BY cdr_of_peer WHERE {_CHANGED}"
CDRS_PAGE = f"""
    WITH page (number) AS (
        SELECT number FROM cdr INDEXED BY cdr_of_peer WHERE {_CHANGED} ORDER BY number LIMIT ?4 OFFSET ?5
    )
    SELECT cdr.object FROM page CROSS JOIN cdr ON cdr.number = page.number ORDER BY page.number
"""


def session_row(session: SessionRecord, *, tell: bool) -> Row:
    """The values for PUT, which leaves out an end, and END_SESSION."""
    row = {name: getattr(session, name) for name in _SESSION}
    for name in ("started_at", "changed_at"):
        row[name] = to_us(row[name])
    row["ended_at"] = None if session.ended_at is None else to_us(session.ended_at)
    return (*row.values(), _padding(session), int(tell))


def seal_row(session: SessionRecord) -> Row:
    """The values for SEAL."""
    values = dict(zip(_WRITTEN, session_row(session, tell=True), strict=True))
    return (*(values[name] for name in (*_KEPT, "ended_at", "authorization_id")),)


def _padding(session: SessionRecord) -> bytes:
    if session.ended_at is not None:
        return b""
    return bytes(_LEAST_PADDING + -(len(session.account) + len(session.object or b"")) % _STEP)


def cdr_row(cdr: NewCdr) -> Row:
    """The values for ADD_CDR."""
    return cdr.cdr_id, cdr.authorization_id, cdr.peer, to_us(cdr.changed_at), cdr.credits, cdr.object


def charge(row: Row) -> Charge:
    """What a row of CHARGES says; late answers and CDRs are read beside it."""
    untold, problem, *columns = row
    session, authorization = columns[: len(_SESSION)], columns[len(_SESSION) :]
    return Charge(
        session=_session(tuple(session)),
        authorization=recorded(tuple(authorization)),
        untold=bool(untold),
        problem=problem,
    )


def open_one(row: Row, late: tuple[LateAnswer, ...]) -> Open:
    """What a row of OPEN_ONES says."""
    authorization, session = row[: len(RECORDED)], row[len(RECORDED) :]
    return Open(recorded(authorization, late), None if session[0] is None else _session(session))


def _session(row: Row) -> SessionRecord:
    values = dict(zip(_SESSION, row, strict=True))
    for name in ("started_at", "changed_at"):
        values[name] = from_us(values[name])
    values["clock_known"] = bool(values["clock_known"])
    if values["ended_at"] is not None:
        values["ended_at"] = from_us(values["ended_at"])
        values["ended_because"] = EndReason(values["ended_because"])
    return SessionRecord(**values)


def cdr_record(row: Row) -> CdrRecord:
    """What a row of CDRS says."""
    number, cdr_id, authorization_id, peer, document, changed_at, credits_id, at, url, problem, parked, credit = row
    return CdrRecord(
        number=number,
        cdr=NewCdr(cdr_id, authorization_id, peer, document, from_us(changed_at), credits_id),
        acknowledged_at=None if at is None else from_us(at),
        url=url,
        problem=problem,
        parked=bool(parked),
        credited_by=credit,
    )


def report(row: Row) -> Report:
    """What a row of DUE says."""
    kind, authorization_id, peer, document, revision, since, problem = row
    return Report(ReportKind(kind), authorization_id, peer, document, revision, from_us(since), problem)
