"""Who may charge: the decision table of `docs/decision.md`, in two pure steps around the question to the peers.

`plan` says what the whitelist alone decides, or whom to ask and what their silence means. `settle` turns what
came back into the decision. What belongs here: every rule that depends on a token, a policy or an answer.
What does not: how peers are reached, and what the EVSE is doing just now.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from agent.model import (
    REFUSALS,
    SILENCES,
    Answer,
    Ask,
    Candidate,
    Decision,
    ListedToken,
    LocationReferences,
    Outcome,
    Plan,
    Policy,
    Prefer,
    Reason,
    Source,
    Token,
    UnknownTokens,
    Verdict,
    WhitelistType,
)


def plan(tokens: Sequence[ListedToken], policy: Policy, now: datetime) -> Plan:
    """Decide from the whitelist alone, or say whom to ask. The order of `tokens` makes no difference.

    Several owners may hold the same uid. Any row that accepts at once wins: its owner has promised to pay.
    Otherwise every row that must be asked is; a local refusal stands only when nobody may be asked.

    Source: OCPI 2.2.1 mod_tokens, WhitelistType.
    """
    if not tokens:
        return _plan_unknown(policy)
    rows = sorted(tokens, key=_by_owner)
    judged = [(row, _first_step(row, policy, now)) for row in rows]
    accepted = [row for row, step in judged if step is Verdict.ACCEPTED]
    if accepted:
        return _locally(accepted[0], Verdict.ACCEPTED, Reason.WHITELISTED, rows, policy, now)
    candidates = tuple(step for _, step in judged if isinstance(step, Candidate))
    if candidates:
        return Ask(candidates)
    return _locally(rows[0], Verdict.REFUSED, Reason.INVALID, rows, policy, now)


def plan_blind() -> Ask:
    """What remains where the whitelist can't be read: ask everybody, and accept nobody on their silence.

    Unreadable is not absent: the card may be listed as invalid, so `unknown_offline` is not for it.
    """
    return Ask(if_silent=Verdict.REFUSED)


def is_fresh(listed: ListedToken, policy: Policy, now: datetime) -> bool:
    """Whether the peer's list is young enough to decide from.

    A sync that lies in the future says that a clock was wrong, then or now: the age is not known, so not fresh.
    """
    return listed.synced_at is not None and timedelta() <= now - listed.synced_at <= policy.max_age


def settle(ask: Ask, answers: Sequence[Answer]) -> Decision:
    """Decide from what the peers answered by the deadline, in order of arrival; silence means what the plan said."""
    return _settle_listed(ask, answers) if ask.candidates else _settle_unknown(ask, answers)


def is_final(answer: Answer) -> bool:
    """Whether no later answer could change the verdict: the first ALLOWED wins."""
    return answer.outcome is Outcome.ALLOWED


def outcome_at(allowed: Outcome, location: LocationReferences | None, evse_uid: str) -> Outcome:
    """ALLOWED holds only where the returned location names this EVSE, or names none.

    Many peers write an empty list for "no restriction", others leave the list or the whole location out; only
    a list that names EVSEs, and not this one, excludes it. OCPI 2.2.1 mod_tokens, AuthorizationInfo.location.
    """
    if allowed is not Outcome.ALLOWED or location is None or not location.evse_uids:
        return allowed
    named = {uid.casefold() for uid in location.evse_uids}
    return allowed if evse_uid.casefold() in named else Outcome.OTHER_EVSE


def group_of(token: Token) -> str | None:
    """Names the tokens that work as one: same owner, same `group_id`. Group ids of different owners are unrelated."""
    return group_name(token.country_code, token.party_id, token.group_id)


def group_name(country_code: str | None, party_id: str | None, group_id: str | None) -> str | None:
    """The same of a record."""
    return None if group_id is None else f"{country_code}-{party_id} {group_id}".casefold()


def _plan_unknown(policy: Policy) -> Plan:
    match policy.unknown_tokens:
        case UnknownTokens.ASK:
            return Ask(if_silent=policy.unknown_offline)
        case UnknownTokens.REFUSE:
            detail = "no list names this card, and policy.unknown_tokens is refuse"
            return Decision(Verdict.REFUSED, Reason.NOT_LISTED, Source.WHITELIST, detail)
        case never:
            assert_never(never)


def _first_step(row: ListedToken, policy: Policy, now: datetime) -> Verdict | Candidate:
    """One row of the table up to its column "first"; its column "no answer" goes along with the candidate."""
    match row.token.whitelist:
        case WhitelistType.ALWAYS:
            return Verdict.ACCEPTED if row.valid else policy.always_invalid
        case WhitelistType.ALLOWED if not row.valid:
            return Candidate(row, Verdict.REFUSED)
        case WhitelistType.ALLOWED if not is_fresh(row, policy, now):
            return Candidate(row, policy.stale_offline)
        case WhitelistType.ALLOWED:
            return Verdict.ACCEPTED if policy.prefer is Prefer.WHITELIST else Candidate(row, Verdict.ACCEPTED)
        case WhitelistType.ALLOWED_OFFLINE:
            return Candidate(row, Verdict.ACCEPTED if row.valid else Verdict.REFUSED)
        case WhitelistType.NEVER:
            return Candidate(row, Verdict.REFUSED)
        case never:
            assert_never(never)


def _locally(
    row: ListedToken, verdict: Verdict, reason: Reason, rows: Sequence[ListedToken], policy: Policy, now: datetime
) -> Decision:
    detail = f"{_row_in_words(row)}{_age_in_words(row, policy, now)}: {verdict} without asking{_rivals(row, rows)}"
    return Decision(verdict, reason, Source.WHITELIST, detail, token=row.token, peer=row.peer)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What asking came to for one candidate."""

    candidate: Candidate
    answer: Answer

    @property
    def verdict(self) -> Verdict:
        return _verdict(self.answer.outcome, self.candidate.if_silent)

    @property
    def rank(self) -> int:
        """Who wins among several owners: an accept over a refusal, and a peer's word over its silence."""
        silent = self.answer.outcome in SILENCES
        if self.verdict is Verdict.ACCEPTED:
            return 1 if silent else 0
        if self.answer.outcome in REFUSALS:
            return 2
        return 4 if silent else 3

    @property
    def names_owner(self) -> bool:
        """Whether the peer's answer is about this candidate's owner: a hub answers for several."""
        return self.answer.token is not None and self.answer.token.owner == self.candidate.listed.token.owner


def _settle_listed(ask: Ask, answers: Sequence[Answer]) -> Decision:
    outcomes = [_Outcome(candidate, _answer_for(candidate, answers)) for candidate in ask.candidates]
    best = min(outcomes, key=lambda o: (o.rank, not o.names_owner, _by_owner(o.candidate.listed)))
    listed, answer = best.candidate.listed, best.answer
    silent = answer.outcome in SILENCES
    rest = f"{_row_in_words(listed)}{_rivals(listed, [c.listed for c in ask.candidates])}"
    return Decision(
        best.verdict,
        Reason(answer.outcome),
        Source.FALLBACK if silent else Source.REALTIME,
        f"{_answer_in_words(answer)}; {rest}: {best.verdict}" + (" without an answer" if silent else ""),
        token=answer.token or listed.token,
        peer=answer.peer,
        authorization_reference=answer.authorization_reference,
        info=answer.info,
        target=best.candidate.target,
    )


def _answer_for(candidate: Candidate, answers: Sequence[Answer]) -> Answer:
    """The answer of the candidate's owner, or of its peer where the peer was asked as such."""
    mine = [answer for answer in answers if answer.peer == candidate.listed.peer]
    exact = next((answer for answer in mine if answer.target == candidate.target), None)
    return exact or next((answer for answer in mine if answer.target is None), _no_peer(candidate.listed.peer))


def _settle_unknown(ask: Ask, answers: Sequence[Answer]) -> Decision:
    answer = (
        next((a for a in answers if a.outcome is Outcome.ALLOWED), None)
        or _gravest(answers, REFUSALS.__contains__)
        or _gravest(answers, SILENCES.__contains__)
        or _gravest(answers, lambda _: True)
        or _no_peer("")
    )
    silent = answer.outcome in SILENCES
    verdict = _verdict(answer.outcome, ask.if_silent)
    asked = f", {len(answers)} peers asked" if len(answers) > 1 else ""
    tail = " without an answer" if silent else ""
    return Decision(
        verdict,
        Reason(answer.outcome),
        Source.FALLBACK if silent else Source.REALTIME,
        f"{_answer_in_words(answer)}; no list names this card{asked}: {verdict}{tail}",
        token=answer.token,
        peer=answer.peer or None,
        authorization_reference=answer.authorization_reference,
        info=answer.info,
    )


def _verdict(outcome: Outcome, if_silent: Verdict) -> Verdict:
    if outcome in SILENCES:
        return if_silent
    return Verdict.ACCEPTED if outcome is Outcome.ALLOWED else Verdict.REFUSED


_GRAVITY = {outcome: place for place, outcome in enumerate(Outcome)}


def _gravest(answers: Iterable[Answer], wanted: Callable[[Outcome], bool]) -> Answer | None:
    """The same one whatever the order of arrival, so that equal taps leave equal records."""
    kept = [answer for answer in answers if wanted(answer.outcome)]
    return min(kept, key=lambda a: (_GRAVITY[a.outcome], a.peer), default=None)


def _no_peer(name: str) -> Answer:
    where = f"no peer named {name} is configured" if name else "no peer is configured"
    return Answer(name, Outcome.NO_PEER, where)


def _by_owner(row: ListedToken) -> tuple[str, str, str]:
    return (row.token.owner, row.peer, row.token.uid)


def _row_in_words(row: ListedToken) -> str:
    state = "withdrawn" if row.withdrawn else "valid" if row.token.valid else "not valid"
    return f"{row.token.owner} lists it as {row.token.whitelist}, {state}"


def _age_in_words(row: ListedToken, policy: Policy, now: datetime) -> str:
    if row.token.whitelist is WhitelistType.ALLOWED and is_fresh(row, policy, now):
        return ", in a fresh list"
    return ""


def _rivals(row: ListedToken, rows: Sequence[ListedToken]) -> str:
    others = [other.token.owner for other in rows if other is not row]
    return f" (also listed by {', '.join(others)})" if others else ""


def _answer_in_words(answer: Answer) -> str:
    name = f"peer {answer.peer}" if answer.peer else "nobody asked"
    return f"{name}: {answer.outcome}" + (f", {answer.detail}" if answer.detail else "")
