"""Entries, tokens and answers to start from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.model import (
    Answer,
    Entry,
    LateAnswer,
    Outcome,
    Reason,
    Source,
    Token,
    TokenType,
    Verdict,
    WhitelistType,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
REFERENCE = "0b1C2d3E-4f50-6172-8394-a5b6c7d8e9Fa"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def entry(**changes: Any) -> Entry:
    accepted = Entry(
        evse_uid="DE*ABC*E1001*1",
        uid="04A1B2C3D4E5F6",
        reader="front",
        tapped_at=NOON,
        verdict=Verdict.ACCEPTED,
        reason=Reason.WHITELISTED,
        source=Source.WHITELIST,
        detail="DE-ABC: ALLOWED, list 3 h old",
        text="Welcome\nCharging starts",
        relay_closed=True,
        latency_ms=1.25,
        deadline_ms=5000.0,
        correlation_id="3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        peer="emsp",
        country_code="DE",
        party_id="ABC",
        contract_id="DEABCC12345678",
    )
    return replace(accepted, **changes)


def refused(**changes: Any) -> Entry:
    return entry(**{"verdict": Verdict.REFUSED, "reason": Reason.BLOCKED, "relay_closed": False} | changes)


def late(authorization_id: int, *, joined: bool = True, **changes: Any) -> LateAnswer:
    answer = Answer("emsp", Outcome.ALLOWED, "HTTP 200 after 6 s", authorization_reference=REFERENCE, elapsed_s=6.25)
    return LateAnswer(authorization_id, at(6), replace(answer, **changes), joined)


def token(uid: str = "04A1B2C3", **changes: Any) -> Token:
    listed = Token(
        country_code="DE",
        party_id="ABC",
        uid=uid,
        type=TokenType.RFID,
        contract_id="DEABCC12345678",
        issuer="An issuer",
        valid=True,
        whitelist=WhitelistType.ALLOWED,
        last_updated=NOON,
    )
    return replace(listed, **changes)
