"""What would happen to a card and why, by the very rules that a tap is decided by; nothing is asked for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.core.decide import is_fresh, plan, settle
from agent.core.uid import looks_random, masked
from agent.model import Answer, Decision, ListedToken, Outcome, Policy, Reason, Source, Uid, Verdict

_OUTCOMES = (
    ("allows", Outcome.ALLOWED),
    ("refuses", Outcome.BLOCKED),
    ("unknown", Outcome.UNKNOWN),
    ("silent", Outcome.TIMEOUT),
)
"""One for each column of the decision table."""


def explained(
    uid: Uid,
    rows: Sequence[ListedToken],
    policy: Policy,
    now: datetime,
    *,
    peers: Mapping[str, bool],
    refuse_random: Mapping[str, bool],
) -> dict[str, Any]:
    """As JSON's own types. `peers`: by name, whether it is asked now, or its breaker is open; `refuse_random`: by
    reader, whether it refuses random uids.

    `at_once` is null where somebody must be asked; then `outcomes` says what each kind of answer would lead to, and
    `asked` whom, and whether it would be asked at this moment. `refused_at` has the readers that refuse a card like
    this whatever else holds; where it has all of them, that is `at_once`.
    """
    refused_at = [reader for reader, refuses in refuse_random.items() if refuses] if looks_random(uid) else []
    told: dict[str, Any] = {
        "uid": masked(uid),
        "listed": [_listed(row, policy, now) for row in rows],
        "refused_at": refused_at,
        "at_once": None,
        "asked": [],
        "outcomes": [],
    }
    if refused_at and len(refused_at) == len(refuse_random):
        why = (
            'the uid is a random one, another at each tap, as phones send it; no reader here has random_uids = "accept"'
        )
        return told | {"at_once": _decision(Decision(Verdict.REFUSED, Reason.RANDOM_UID, Source.LOCAL, why))}
    step = plan(rows, policy, now)
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
