"""The deck of the demo: each card, what the eMSP believes of it, the weather, and how it is held to the reader."""

from dataclasses import dataclass, field
from typing import Any

from fakes.emsp import FINE, Kind, Weather, slow

LONGER_THAN_ANY_DEADLINE = slow(20.0)


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `name` is the one that the output shows; `uid` is what the decisive card sends, 10 hex digits."""

    name: str
    uid: str
    about: str
    card: dict[str, Any] | None = field(default_factory=dict)
    """What the eMSP believes of the card, as `FakeEmsp.card` takes it; None: it has never heard of it."""
    weather: Weather | Kind = FINE
    first: tuple[str, dict[str, Any]] | None = None
    """A card that starts the charge before: uid and what the eMSP believes of it."""
    repeats: int = 1
    corrupt: bool = False


DECK = (
    Case("always", "0104A1B200", "whitelisted ALWAYS: decided at once", {"whitelist": "ALWAYS"}),
    Case(
        "always-invalid", "0104A1B201", "ALWAYS, but no longer valid: asking is not allowed",
        {"whitelist": "ALWAYS", "valid": False},
    ),
    Case("allowed", "0104A1B202", "ALLOWED, fresh list: decided at once", {"whitelist": "ALLOWED", "language": "de"}),
    Case(
        "allowed-invalid-now-fine", "0104A1B203", "the list says invalid, its owner knows better",
        {"whitelist": "ALLOWED", "valid": False},
    ),
    Case("offline-peer-up", "0104A1B204", "ALLOWED_OFFLINE: asked first", {"whitelist": "ALLOWED_OFFLINE"}),
    Case(
        "offline-peer-slow", "0104A1B205", "ALLOWED_OFFLINE, no answer by the deadline",
        {"whitelist": "ALLOWED_OFFLINE", "language": "nl"}, LONGER_THAN_ANY_DEADLINE,
    ),
    Case(
        "offline-peer-down", "0104A1B206", "ALLOWED_OFFLINE, the backend is gone",
        {"whitelist": "ALLOWED_OFFLINE", "language": "fr"}, Kind.DOWN,
    ),
    Case("never-peer-up", "0104A1B207", "NEVER: only its owner may say", {"whitelist": "NEVER"}),
    Case(
        "never-peer-slow", "0104A1B208", "NEVER, no answer by the deadline: no fallback exists",
        {"whitelist": "NEVER"}, LONGER_THAN_ANY_DEADLINE,
    ),
    Case("unknown-allowed", "0104A1B209", "on no list, but the eMSP knows it", {"listed": False}),
    Case("unknown-nowhere", "0104A1B20A", "on no list, and nobody knows it", None),
    Case("unknown-peer-down", "0104A1B20B", "on no list, and the backend is gone", {"listed": False}, Kind.DOWN),
    Case(
        "blocked", "0104A1B20C", "the eMSP says BLOCKED, in its own words",
        {"whitelist": "NEVER", "allowed": "BLOCKED", "info": ("en", "Card reported lost. Call us.")},
    ),
    Case("expired", "0104A1B20D", "the eMSP says EXPIRED", {"whitelist": "NEVER", "allowed": "EXPIRED"}),
    Case("no-credit", "0104A1B20E", "the eMSP says NO_CREDIT", {"whitelist": "NEVER", "allowed": "NO_CREDIT"}),
    Case("not-allowed", "0104A1B20F", "not at this location", {"whitelist": "NEVER", "allowed": "NOT_ALLOWED"}),
    Case(
        "other-evse-only", "0104A1B210", "allowed, but only at another EVSE",
        {"whitelist": "NEVER", "evse_uids": ("DE*EXA*E9",)},
    ),
    Case("case-differs", "0104A1B21F", "its owner writes the uid in lower case", {"whitelist": "ALWAYS"}),
    Case(
        "stop-same-card", "0104A1B212", "the card that began the charge ends it", {"whitelist": "ALWAYS"},
        first=("0104A1B212", {"whitelist": "ALWAYS"}),
    ),
    Case(
        "stop-group-card", "0104A1B213", "another card of the same group ends it",
        {"whitelist": "ALWAYS", "group_id": "FAMILY-7"},
        first=("0104A1B214", {"whitelist": "ALWAYS", "group_id": "FAMILY-7"}),
    ),
    Case(
        "corrupt-frame", "0104A1B215", "a frame with a wrong checksum is no tap", {"whitelist": "ALWAYS"}, corrupt=True
    ),
    Case("held-card", "0104A1B216", "held for half a second: still one tap", {"whitelist": "ALWAYS"}, repeats=8),
)  # fmt: skip


def spelled(case: Case) -> str:
    """The uid as its owner writes it in the list."""
    return case.uid.lower() if case.name == "case-differs" else case.uid
