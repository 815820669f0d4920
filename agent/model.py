"""The values everybody speaks in: tokens, taps, questions, answers, decisions, records; no behaviour.

Names are OCPI 2.2.1's where it has one (mod_tokens). Times called `at` are monotonic seconds of the running
event loop; `datetime`s are aware and in UTC. Nothing here does I/O.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

Uid = NewType("Uid", str)
"""A card's uid in canonical form: upper case, no separators. OCPI compares uids without regard to case."""


class TokenType(StrEnum):
    """OCPI 2.2.1 mod_tokens, TokenType."""

    AD_HOC_USER = "AD_HOC_USER"
    APP_USER = "APP_USER"
    OTHER = "OTHER"
    RFID = "RFID"


class WhitelistType(StrEnum):
    """How far a token may be decided without its owner: OCPI 2.2.1 mod_tokens, WhitelistType."""

    ALWAYS = "ALWAYS"
    ALLOWED = "ALLOWED"
    ALLOWED_OFFLINE = "ALLOWED_OFFLINE"
    NEVER = "NEVER"


@dataclass(frozen=True, slots=True)
class EnergyContract:
    """OCPI 2.2.1 mod_tokens, EnergyContract."""

    supplier_name: str
    contract_id: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """OCPI 2.2.1 mod_tokens, Token: strings in the case in which the owner wrote them."""

    country_code: str
    party_id: str
    uid: str
    type: TokenType
    contract_id: str
    issuer: str
    valid: bool
    whitelist: WhitelistType
    last_updated: datetime
    visual_number: str | None = None
    group_id: str | None = None
    language: str | None = None
    default_profile_type: str | None = None
    energy_contract: EnergyContract | None = None

    @property
    def owner(self) -> str:
        """Country and party, as operators write it: `DE-ABC`."""
        return f"{self.country_code}-{self.party_id}".upper()


@dataclass(frozen=True, slots=True)
class ListedToken:
    """A token as the whitelist holds it: with the peer that brought it and how old that peer's list is."""

    token: Token
    peer: str
    synced_at: datetime | None = None
    """The end of the last complete sync with the peer; None when there was none."""
    withdrawn: bool = False
    """Two complete full syncs in a row no longer brought it."""

    @property
    def valid(self) -> bool:
        """Whether the owner's list still calls it valid."""
        return self.token.valid and not self.withdrawn


class Verdict(StrEnum):
    """What the driver gets."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class Source(StrEnum):
    """Who decided: the whitelist alone, a peer in real time, the fallback for its silence, or the device."""

    WHITELIST = "whitelist"
    REALTIME = "realtime"
    FALLBACK = "fallback"
    LOCAL = "local"


class Outcome(StrEnum):
    """What asking one peer came to. Every cause of silence is kept apart: an installer must see which it was."""

    ALLOWED = "allowed"

    BLOCKED = "blocked"
    EXPIRED = "expired"
    NO_CREDIT = "no-credit"
    NOT_ALLOWED = "not-allowed"
    OTHER_EVSE = "other-evse-only"
    """ALLOWED, but the returned location leaves the asking EVSE out."""

    UNKNOWN = "unknown"
    """HTTP 404, OCPI 2004, or both."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server-error"
    """HTTP 5xx."""
    OCPI_ERROR = "ocpi-error"
    """OCPI 3xxx (the peer's server) or 4xxx (a hub on the way)."""
    RATE_LIMITED = "rate-limited"
    REJECTED = "request-rejected"
    """Another HTTP 4xx or OCPI 2xxx: the peer finds our request wrong."""
    UNAUTHORIZED = "credentials-rejected"
    """HTTP 401 or 403: our credentials token is not, or no longer, good. An operator must act."""
    MALFORMED = "malformed-answer"
    OVERSIZED = "oversized-answer"
    BREAKER_OPEN = "breaker-open"
    """Not asked: the peer has failed repeatedly and is being probed in the background."""
    NO_PEER = "no-peer"
    """Nobody to ask: no peer is configured for this token."""


REFUSALS = frozenset({Outcome.BLOCKED, Outcome.EXPIRED, Outcome.NO_CREDIT, Outcome.NOT_ALLOWED, Outcome.OTHER_EVSE})
SILENCES = frozenset(Outcome) - REFUSALS - {Outcome.ALLOWED, Outcome.UNKNOWN}
"""Outcomes that decide as "no answer"."""


class Reason(StrEnum):
    """Why a tap was decided as it was. The values are written to the record and never renamed.

    The first part repeats `Outcome` value by value; `verdict` and `source` say what followed from it.
    """

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    EXPIRED = "expired"
    NO_CREDIT = "no-credit"
    NOT_ALLOWED = "not-allowed"
    OTHER_EVSE = "other-evse-only"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server-error"
    OCPI_ERROR = "ocpi-error"
    RATE_LIMITED = "rate-limited"
    REJECTED = "request-rejected"
    UNAUTHORIZED = "credentials-rejected"
    MALFORMED = "malformed-answer"
    OVERSIZED = "oversized-answer"
    BREAKER_OPEN = "breaker-open"
    NO_PEER = "no-peer"

    WHITELISTED = "whitelisted"
    """The whitelist alone accepts it."""
    INVALID = "invalid-in-whitelist"
    """ALWAYS and not valid: refused without asking, for asking is not allowed."""
    NOT_LISTED = "not-in-whitelist"
    """Unknown here, and the policy does not ask about unknown tokens."""
    STOPPED_SAME_CARD = "stopped-same-card"
    STOPPED_GROUP_CARD = "stopped-group-card"
    IN_USE = "evse-in-use"
    STORAGE_FAULT = "storage-fault"
    """The record could not be written, so nothing was switched on."""
    TOO_LATE = "decided-too-late"
    """The record was not on disk by the deadline, so nothing was switched on."""
    RELAY_FAULT = "relay-fault"
    """The relay did not obey."""
    OUT_OF_ORDER = "out-of-order"
    """Another device without which no charge may begin is lost: `detail` names it."""
    AGENT_FAULT = "agent-fault"
    """The agent itself failed at this tap; its log has the trace."""
    RANDOM_UID = "random-uid"
    """A uid that is another one each time, as a phone's: no list can know it."""
    TOO_MANY_REFUSED = "too-many-refused"
    """So many cards were refused at this reader that it waits for a while: somebody may be guessing uids."""
    INTERLOCKED = "interlocked"
    """Another EVSE of the same interlock is in use, and only one of them may be at a time."""


class EndReason(StrEnum):
    """Why an accepted authorization, and its session if one began, ended. Written to the record and never renamed."""

    SAME_CARD = "same-card"
    GROUP_CARD = "group-card"
    UNPLUGGED = "unplugged"
    CONNECTION_TIMEOUT = "connection-timeout"
    """Accepted, and the cable was not plugged in."""
    LATE_REFUSAL = "late-refusal"
    OPERATOR = "operator"
    RELAY_FAULT = "relay-fault"
    PLUG_FAULT = "plug-sensor-lost"
    METER_FAULT = "meter-lost"
    STORAGE_FAULT = "storage-fault"
    """The session's own record could not be written."""
    AGENT_FAULT = "agent-fault"
    TOO_LATE = "decided-too-late"
    SHUTDOWN = "shutdown"
    RESTART = "restart"
    """Found open at start, with nobody to say whether the car is still the same; the relay was open since."""
    UNPLUGGED_WHILE_OFF = "unplugged-while-off"
    OFF_TOO_LONG = "off-too-long"
    """The car is plugged in, but the power was away for longer than may be resumed, or nobody knows how long."""


@dataclass(frozen=True, slots=True)
class DisplayText:
    """OCPI 2.2.1 types, DisplayText: `language` is ISO 639-1."""

    language: str
    text: str


class Signal(StrEnum):
    """What a light, a buzzer or a reader's own lamp tells the driver, who may not be able to read the display."""

    READY = "ready"
    READING = "reading"
    """A card was read; its verdict is on the way."""
    ASKING = "asking"
    """A peer is being asked."""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    PLUG_IN = "plug-in"
    """Accepted, and the cable is still to be plugged in."""
    CHARGING = "charging"
    PAUSED = "paused"
    """A session runs, and the car takes nothing."""
    DONE = "done"
    """The charge is over and the car still connected."""
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Tap:
    """A card newly held to a reader."""

    uid: Uid
    at: float
    """Loop time, in seconds, at which the last byte of the uid had arrived: the deadline counts from here."""
    reader: str
    raw: bytes = b""
    """What the device sent for the card, before the reader's settings made a uid of it: for the installer."""
    is_random: bool = False
    """The uid is another one each time, as a phone's, and this reader is to refuse such."""


@dataclass(frozen=True, slots=True)
class MeterReading:
    """What an energy meter shows."""

    at: float
    """Loop time, in seconds, when it was read."""
    energy_wh: int
    """Its total register: import only, since it was made or last reset."""
    power_w: float | None = None
    """None where the meter does not tell."""


@dataclass(frozen=True, slots=True)
class LocationReferences:
    """OCPI 2.2.1 mod_tokens, LocationReferences."""

    location_id: str
    evse_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """An owner to be asked, and the peer through which: behind one hub there may be several."""

    peer: str
    country_code: str
    party_id: str


@dataclass(frozen=True, slots=True)
class Question:
    """May this card charge at this EVSE? In the domain's words; a backend puts it into its protocol's."""

    uid: str
    location: LocationReferences
    correlation_id: str
    targets: tuple[Target, ...] | None = None
    """Whom to ask; None asks every peer, for the owner is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking one peer came to, and what it sent along."""

    peer: str
    outcome: Outcome
    detail: str = ""
    """For the installer: `HTTP 503 after 31 ms`. Never a secret, never a uid."""
    token: Token | None = None
    authorization_reference: str | None = None
    """OCPI: at most 36 characters, passed on unchanged."""
    info: DisplayText | None = None
    elapsed_s: float = 0.0
    target: Target | None = None
    """Which owner was asked; None when the question went to the peer as such."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What had come by the deadline, and what comes after it."""

    given: tuple[Answer, ...]
    late: AsyncGenerator[Answer, None] | None = None
    """Answers that come after the deadline, for a bounded time; None when nothing is outstanding."""


class Prefer(StrEnum):
    """Who decides an ALLOWED token first: OCPI leaves the choice to the CPO."""

    WHITELIST = "whitelist"
    REALTIME = "realtime"


class UnknownTokens(StrEnum):
    """Whether tokens that no list names are asked about."""

    ASK = "ask"
    REFUSE = "refuse"


class LateRefusal(StrEnum):
    """What a refusal does that comes after the driver was accepted by the fallback."""

    KEEP = "keep"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Policy:
    """The choices that OCPI leaves to the CPO, and the time a driver is made to wait."""

    prefer: Prefer = Prefer.WHITELIST
    always_invalid: Verdict = Verdict.REFUSED
    """OCPI contradicts itself for ALWAYS with `valid = false`: "shall always allow" against an invalid token."""
    stale_offline: Verdict = Verdict.ACCEPTED
    unknown_tokens: UnknownTokens = UnknownTokens.ASK
    unknown_offline: Verdict = Verdict.REFUSED
    max_age: timedelta = timedelta(days=7)
    """Older than this since the last complete sync, a list is stale."""
    late_refusal: LateRefusal = LateRefusal.KEEP
    deadline_s: float = 5.0
    """From the last byte of the uid to the relay."""
    reserve_s: float = 0.25
    """Taken off what the peers get: for the record and the relay."""
    stop_after_s: float = 3.0
    """A card ends the charge that it began no sooner than this after; until then it is the same tap, still."""
    late_window_s: float = 30.0
    """How long after the deadline an answer is still waited for in the background."""

    @property
    def peers_have_s(self) -> float:
        """How long a peer has for its answer."""
        return self.deadline_s - self.reserve_s

    @property
    def linger_s(self) -> float:
        """How long an answer may still come of a question that was just put."""
        return self.deadline_s + self.late_window_s

    @property
    def fair_share_s(self) -> float:
        """A peer that had less time than this has not failed: the card had waited behind others."""
        return self.peers_have_s / 2


@dataclass(frozen=True, slots=True)
class Decision:
    """What the driver gets and why."""

    verdict: Verdict
    reason: Reason
    source: Source
    detail: str = ""
    """A sentence for the installer: what decided, and between which candidates."""
    token: Token | None = None
    peer: str | None = None
    authorization_reference: str | None = None
    info: DisplayText | None = None
    """The peer's own words for the driver, where the peer decided."""
    target: Target | None = None
    """Whose answer, or silence, decided; None where every peer was asked, or none."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One listed token that must be asked about, and what holds if its peer stays silent."""

    listed: ListedToken
    if_silent: Verdict

    @property
    def target(self) -> Target:
        """Whom to ask about it."""
        return Target(self.listed.peer, self.listed.token.country_code, self.listed.token.party_id)


@dataclass(frozen=True, slots=True)
class Ask:
    """A plan that needs peers."""

    candidates: tuple[Candidate, ...] = ()
    """Empty for a token that no list names: every peer is asked."""
    if_silent: Verdict = Verdict.REFUSED
    """What holds for a token that no list names."""

    @property
    def targets(self) -> tuple[Target, ...] | None:
        """Whom to ask; None for everybody."""
        return tuple(dict.fromkeys(candidate.target for candidate in self.candidates)) or None

    @property
    def peers(self) -> tuple[str, ...] | None:
        """The names of whom to ask; None for everybody."""
        return tuple(dict.fromkeys(candidate.listed.peer for candidate in self.candidates)) or None


Plan = Decision | Ask
"""Decided already, or whom to ask and what their silence means."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A decided tap, as `state.db` takes it down before anything is switched."""

    evse_uid: str
    uid: str
    reader: str
    tapped_at: datetime
    verdict: Verdict
    reason: Reason
    source: Source
    detail: str
    text: str
    """What the driver's display showed, lines joined by a newline."""
    relay_closed: bool
    """Whether the relay is to be closed after this tap."""
    latency_ms: float
    """From the last byte of the uid to the decision; writing this record and the relay come on top."""
    deadline_ms: float
    correlation_id: str
    peer: str | None = None
    country_code: str | None = None
    party_id: str | None = None
    contract_id: str | None = None
    group_id: str | None = None
    authorization_reference: str | None = None
    token_uid: str | None = None
    """The uid as the token's owner writes it, where that is not `uid`: CDRs name it so."""
    ends: int | None = None
    """The authorization that this tap ends, with `end_reason`."""
    end_reason: EndReason | None = None


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """An answer that came after its tap had been decided."""

    authorization_id: int
    answered_at: datetime
    answer: Answer
    joined: bool
    """Whether its `authorization_reference` is now the authorization's."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An `Entry` as read back from `state.db`."""

    id: int
    entry: Entry
    ended_at: datetime | None = None
    ended_because: EndReason | None = None
    late: tuple[LateAnswer, ...] = ()
