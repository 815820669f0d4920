"""What is kept of a charge: its session, its CDR, and what is still to be told of them; values without behaviour.

The documents are OCPI 2.2.1 objects as JSON, written with the change that they describe; nobody between the one who
writes them and the one who sends them looks inside. All times are in UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from agent.model import EndReason, Recorded


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session as it was last persisted: what a start resumes or ends it from, and what its owner is told."""

    authorization_id: int
    """Its key: an authorization has one session at most."""
    session_id: str
    """OCPI 2.2.1 mod_sessions, Session.id: unique for ever."""
    evse_uid: str
    peer: str | None
    """Whom it is told to; None where nobody is."""
    started_at: datetime
    changed_at: datetime
    """OCPI `last_updated`."""
    account: bytes
    """JSON of `agent.core.account.Account`: what was consumed so far, up to `account.until`."""
    object: bytes | None
    """The OCPI Session; None where none can be made of it, see `no_cdr`."""
    energy_wh: int | None
    """Consumed so far; None where no meter has said so."""
    register_wh: int | None
    """The meter's total register at the last persisted reading."""
    boot_id: str
    """The kernel's: within one boot `monotonic_s` of another process can be compared."""
    monotonic_s: float
    """What CLOCK_MONOTONIC showed, or will show, at `changed_at`."""
    clock_known: bool
    """Whether the times here are true; a controller without a battery starts in 1970."""
    ended_at: datetime | None = None
    ended_because: EndReason | None = None
    no_cdr: str | None = None
    """Why it gets no CDR, in a sentence for the operator; for one that runs, why it would not."""
    tariff: bytes | None = None
    """The OCPI Tariff that it began with, and is priced by to its end; None where nothing was billed then."""


@dataclass(frozen=True, slots=True)
class NewCdr:
    """A sealed CDR, about to be written. OCPI 2.2.1 mod_cdrs: never changed, only credited."""

    cdr_id: str
    authorization_id: int
    peer: str
    object: bytes
    """The OCPI CDR; the very same bytes are sent, however often."""
    changed_at: datetime
    """OCPI `last_updated`."""
    credits: str | None = None
    """The id of the CDR that this one takes back."""


@dataclass(frozen=True, slots=True)
class CdrRecord:
    """A CDR as read back, with what became of it."""

    number: int
    """Its place in `state.db`, for people: `cdrs show 12`."""
    cdr: NewCdr
    acknowledged_at: datetime | None = None
    url: str | None = None
    """Where the peer says it keeps it."""
    problem: str | None = None
    """Why it has not been acknowledged so far, or was rejected: what the peer said, or how it could not be reached."""
    parked: bool = False
    """Rejected by the peer: not sent again until somebody says so."""
    credited_by: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """A session with what belongs to it."""

    session: SessionRecord
    authorization: Recorded
    cdrs: tuple[CdrRecord, ...] = ()
    """The CDR and, if it was taken back, its credit CDR."""
    untold: bool = False
    """Whether a change of the session has not reached its peer yet."""
    problem: str | None = None
    """Why not, or what the peer had against the session's last report."""


class ReportKind(StrEnum):
    """What is to be told."""

    SESSION = "session"
    CDR = "cdr"


@dataclass(frozen=True, slots=True)
class Report:
    """Something that a peer has not acknowledged yet."""

    kind: ReportKind
    authorization_id: int
    peer: str
    object: bytes
    revision: int
    """Of a session: which state of it this is. Of a CDR: its `CdrRecord.number`."""
    since: datetime
    """When it became due."""
    problem: str | None = None
    """The last that is on record of why it was not taken."""


@dataclass(frozen=True, slots=True)
class Open:
    """An accepted authorization whose end is not on record, found at start."""

    authorization: Recorded
    session: SessionRecord | None


STOPPED = "stopped"
"""The answer to a `StopRequest` that was fulfilled, on disk; any other says why it was not."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """An operator's wish, from another process."""

    number: int
    evse_uid: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the objects that a peer may see: OCPI 2.2.1 transport_and_format, Pagination."""

    objects: tuple[bytes, ...]
    total: int
    """All that match, on whatever page."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much the peers have not acknowledged."""

    sessions: int = 0
    """Of which a peer does not know the newest state."""
    cdrs: int = 0
    """Due to be sent."""
    parked: int = 0
    """CDRs that a peer has refused, which wait for somebody."""
    since: datetime | None = None
    """When the oldest that is due became so."""
