"""What would happen to a card and why, by the very rules that a tap is decided by; nothing is asked for it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from agent.core.decide import is_fresh, plan, settle
from agent.core.uid import masked
from agent.model import Answer, Decision, ListedToken, Outcome, Policy, Uid

_OUTCOMES = (
    ("allows", Outcome.ALLOWED),
    ("refuses", Outcome.BLOCKED),
    ("unknown", Outcome.UNKNOWN),
    ("silent", Outcome.TIMEOUT),
)
"""One for each column of the decision table."""


def explained(
    uid: Uid, rows: Sequence[ListedToken], policy: Policy, now: datetime, peers: dict[str, bool]
) -> dict[str, Any]:
    """As JSON's own types. `peers`: by name, whether it is asked now, or its breaker is open.

    `at_once` is null where somebody must be asked; then `outcomes` says what each kind of answer would lead to, and
    `asked` whom, and whether it would be asked at this moment.
    """
    step = plan(rows, policy, now)
    told: dict[str, Any] = {
        "uid": masked(uid),
        "listed": [_listed(row, policy, now) for row in rows],
        "at_once": None,
        "asked": [],
        "outcomes": [],
    }
    if isinstance(step, Decision):
        return told | {"at_once": _decision(step)}
    names = step.peers or tuple(peers)
    present = [name for name in names if name in peers]
    absent = [Answer(name, Outcome.NO_PEER) for name in names if name not in peers]
    if not present:
        return told | {"at_once": _decision(settle(step, absent))}
    outcomes = [
        {"when": when, **_decision(settle(step, [*absent, *(Answer(name, outcome) for name in present)]))}
        for when, outcome in _OUTCOMES
    ]
    return told | {"asked": [{"peer": name, "now": peers[name]} for name in present], "outcomes": outcomes}


def _listed(row: ListedToken, policy: Policy, now: datetime) -> dict[str, Any]:
    return {
        "owner": row.token.owner,
        "peer": row.peer,
        "whitelist": row.token.whitelist.value,
        "valid": row.token.valid,
        "withdrawn": row.withdrawn,
        "fresh": is_fresh(row, policy, now),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "source": decision.source.value,
        "why": decision.detail,
    }
