"""Writes down what this device decides, as a document that the operator can hand to an eMSP.

The table is no description of the rules but their output: every cell is what `decide` says under this policy.
Only the sentences around it are written here; no rule of a whitelist type is known in this module.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import assert_never

from agent.core.decide import plan, settle
from agent.core.slowdown import Slowdown
from agent.model import (
    REFUSALS,
    SILENCES,
    Answer,
    Ask,
    Decision,
    LateRefusal,
    ListedToken,
    Outcome,
    Plan,
    Policy,
    Prefer,
    Reason,
    Token,
    TokenType,
    UnknownTokens,
    Verdict,
    WhitelistType,
)

Peers = Sequence[tuple[str, Sequence[str]]]
"""Each peer's name and the parties it speaks for, as `NL-TNM`; none where that is not known."""

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""Any moment does: a list is fresh when it came this very moment, and stale when it never came."""

_VERB = {Verdict.ACCEPTED: "accept", Verdict.REFUSED: "refuse"}

_REFUSAL_IN_WORDS = {
    Outcome.BLOCKED: "`allowed` is `BLOCKED`",
    Outcome.EXPIRED: "`allowed` is `EXPIRED`",
    Outcome.NO_CREDIT: "`allowed` is `NO_CREDIT`",
    Outcome.NOT_ALLOWED: "`allowed` is `NOT_ALLOWED`",
    Outcome.OTHER_EVSE: "`allowed` is `ALLOWED`, but the returned `location.evse_uids` leaves this EVSE out",
}
_SILENCE_IN_WORDS = {
    Outcome.TIMEOUT: "no answer by the deadline",
    Outcome.UNREACHABLE: "no connection: name not resolved, connection refused or broken, TLS failed",
    Outcome.SERVER_ERROR: "HTTP 5xx",
    Outcome.OCPI_ERROR: "OCPI status 3xxx (the peer's server) or 4xxx (a hub on the way)",
    Outcome.RATE_LIMITED: "HTTP 429",
    Outcome.REJECTED: "another HTTP 4xx or OCPI status 2xxx: the peer finds our request wrong",
    Outcome.UNAUTHORIZED: "HTTP 401 or 403: our credentials are refused; the operator is alarmed",
    Outcome.MALFORMED: "an answer that is no valid JSON or breaks OCPI's rules",
    Outcome.OVERSIZED: "an answer larger than any authorization can be",
    Outcome.BREAKER_OPEN: "not asked: the peer has failed repeatedly and is being probed in the background",
    Outcome.NO_PEER: "not asked: no peer is configured for this token",
}

_HEADER = (
    "token in the whitelist[^1]",
    "`valid`",
    "list[^2]",
    "first",
    "peer allows",
    "peer refuses[^3]",
    "peer: unknown[^4]",
    "no answer[^5]",
)


def policy_document(
    policy: Policy,
    *,
    party: str,
    location_id: str,
    peers: Peers,
    version: str,
    slowdown: Slowdown | None = None,
    refuses_random_uids: bool = False,
) -> str:
    """Say what a device with this policy decides, in Markdown that renders on GitHub, ending in a newline.

    `party` is the operator as `DE-ABC`; `version` is this program's; `refuses_random_uids`: at one reader at least.
    """
    parts = (
        _opening(_plain(party), _plain(location_id), _plain(version)),
        _whom_it_asks(peers),
        _table_section(policy),
        _choices(policy),
        _time(policy),
        _SEVERAL,
        *_unasked(slowdown, refuses_random_uids=refuses_random_uids),
        _what_counts(),
        _RECORD,
        _FOOTNOTES,
    )
    return "\n\n".join(parts) + "\n"


# The table


_Cells = tuple[str, ...]
"""What happens to one kind of token, from the column "first" on."""


def _table_section(policy: Policy) -> str:
    return f"""## The decision table

*First* is what happens as the card is read. Where it says *ask*, the other columns say what follows from the
answer. A dash means that nobody is asked.

{_table(_HEADER, _rows(policy))}"""


def _rows(policy: Policy) -> list[tuple[str, ...]]:
    """What `decide` does with every kind of token; kinds that it treats alike share a row."""
    rows = [
        (whitelist.value, *_shared(_by_valid_and_age(whitelist, policy), valid=valid, age=age))
        for whitelist, valid, age in product(WhitelistType, (True, False), ("fresh", "stale"))
    ]
    unknown = ("*not there*", "—", "—", *_cells(plan((), policy, _NOW)))
    return [*dict.fromkeys(rows), unknown]


def _by_valid_and_age(whitelist: WhitelistType, policy: Policy) -> dict[tuple[bool, str], _Cells]:
    return {
        (valid, age): _cells(plan((_listed(whitelist, valid=valid, synced_at=synced_at),), policy, _NOW))
        for valid, (age, synced_at) in product((True, False), (("fresh", _NOW), ("stale", None)))
    }


def _shared(kinds: dict[tuple[bool, str], _Cells], *, valid: bool, age: str) -> tuple[str, ...]:
    """This kind's row, named as widely as its cells hold: `any` where they don't depend on it."""
    cells = kinds[valid, age]
    if all(other == cells for other in kinds.values()):
        return ("any", "any", *cells)
    if kinds[valid, "fresh"] == kinds[valid, "stale"]:
        return (str(valid).lower(), "any", *cells)
    return (str(valid).lower(), age, *cells)


def _cells(step: Plan) -> _Cells:
    columns = (frozenset({Outcome.ALLOWED}), REFUSALS, frozenset({Outcome.UNKNOWN}), SILENCES)
    match step:
        case Decision():
            return (f"{_VERB[step.verdict]}, never ask", *("—" for _ in columns))
        case Ask():
            return ("ask", *(_answered(step, outcomes) for outcomes in columns))
        case never:
            assert_never(never)


def _answered(ask: Ask, outcomes: frozenset[Outcome]) -> str:
    """The verdict after each of these outcomes: one word where they all agree."""
    peers = ask.peers or ("the peer",)
    verdicts = {o: settle(ask, [Answer(peer, o) for peer in peers]).verdict for o in Outcome if o in outcomes}
    if len(set(verdicts.values())) == 1:
        return _VERB[next(iter(verdicts.values()))]
    return "; ".join(f"{_VERB[verdict]}: {outcome}" for outcome, verdict in verdicts.items())


def _listed(whitelist: WhitelistType, *, valid: bool, synced_at: datetime | None) -> ListedToken:
    token = Token("XX", "YYY", "00", TokenType.RFID, "", "", valid, whitelist, _NOW)
    return ListedToken(token, "the peer", synced_at)


# The words around it


def _opening(party: str, location_id: str, version: str) -> str:
    return f"""# Authorization and fallback policy of {party}, location {location_id}

This is what a charge point of {party} at location {location_id} does when a driver holds an RFID card to its reader,
and what it does when nobody answers. OCPI 2.2.1 leaves these choices to the CPO; they are written down here
so that the CPO and the eMSP can agree on them.

Printed by chargepoint-agent {version} from the settings in force. The table is computed by the code that decides."""


def _whom_it_asks(peers: Peers) -> str:
    if not peers:
        known = "No peer is configured: nobody can be asked, and every question counts as not answered."
    else:
        known = "\n".join(f"- **{_plain(name)}**{_speaks_for(parties)}" for name, parties in peers)
    return f"## Whom it asks\n\n{known}"


def _speaks_for(parties: Sequence[str]) -> str:
    return f", for {', '.join(map(_plain, parties))}" if parties else ""


def _choices(policy: Policy) -> str:
    age = _duration(policy.max_age)
    rows = (
        ("`prefer`", policy.prefer, _PREFER[policy.prefer]),
        (
            "`always_invalid`",
            policy.always_invalid,
            f"{_VERB[policy.always_invalid]} an `ALWAYS` token with `valid = false`: OCPI contradicts itself there[^6]",
        ),
        (
            "`stale_offline`",
            policy.stale_offline,
            f"{_VERB[policy.stale_offline]} a valid `ALLOWED` token from a stale list when nobody answers",
        ),
        ("`unknown_tokens`", policy.unknown_tokens, _UNKNOWN_TOKENS[policy.unknown_tokens]),
        (
            "`unknown_offline`",
            policy.unknown_offline,
            f"{_VERB[policy.unknown_offline]} a card that no list names when nobody answers",
        ),
        ("`max_age`", age, f"a list is stale when its last complete sync is more than {age} old, or never was"),
        ("`late_refusal`", policy.late_refusal, _LATE_REFUSAL[policy.late_refusal]),
    )
    return "## The choices behind it\n\n" + _table(("setting", "value", "what it means"), rows)


_PREFER = {
    Prefer.WHITELIST: "a valid `ALLOWED` token from a fresh list is accepted without asking",
    Prefer.REALTIME: "a valid `ALLOWED` token is asked about even when the list is fresh",
}
_UNKNOWN_TOKENS = {
    UnknownTokens.ASK: "a card that no list names is asked about",
    UnknownTokens.REFUSE: "a card that no list names is refused without asking",
}
_LATE_REFUSAL = {
    LateRefusal.KEEP: "a refusal that comes too late is recorded, and charging goes on",
    LateRefusal.STOP: "a refusal that comes too late ends the charging",
}


def _time(policy: Policy) -> str:
    left = max(0.0, policy.deadline_s - policy.reserve_s)
    return f"""## Time

The driver is accepted or refused within {policy.deadline_s:g} s of holding the card to the reader. Of these,
{policy.reserve_s:g} s are kept for the record and the relay: an answer counts when it is here {left:g} s after
the card was read. This is one limit for everything, connection set-up and several peers included.

{_late(policy)}"""


def _late(policy: Policy) -> str:
    if policy.late_window_s <= 0:
        return "An answer that comes later is not waited for."
    return f"""An answer that comes later is waited for in the background, for {policy.late_window_s:g} s more.
It matters where the driver was accepted for want of an answer: then a late `authorization_reference` joins the
running session, and {_LATE_REFUSAL[policy.late_refusal]}."""


_SEVERAL = """## Several owners, several peers

- A listed token is asked about at the peer that brought it; a card that no list names, at all peers at once.
- For a card that no list names, the first peer that allows it wins. A refusal outweighs silence, and silence
  outweighs *unknown*: a peer that was not heard may be the one that knows the card.
- Where several owners list the same uid, one row that accepts without asking is enough. Otherwise the peers of all
  rows that must be asked are asked, and one that accepts is enough, an answer before a fallback. If all refuse, a
  peer's refusal is recorded rather than a fallback's. Among equals the owner that sorts first wins.
- `uid` is compared without regard to case."""


def _unasked(slowdown: Slowdown | None, *, refuses_random_uids: bool) -> tuple[str, ...]:
    """Which cards are refused before this table; nothing where there are none."""
    points = []
    if refuses_random_uids:
        points.append(
            "A UID of four bytes that begins with `08` is another one each time, as a phone's (ISO/IEC 14443-3): "
            f"readers that are set so refuse it. `{Reason.RANDOM_UID}`"
        )
    if slowdown is not None:
        points.append(
            f"After {slowdown.refusals} refused cards within {slowdown.within_s:g} s a reader decides none for "
            f"{slowdown.pause_s:g} s, and each time that follows for twice as long, up to {slowdown.most_pause_s:g} s: "
            "somebody may be guessing UIDs. Only the card of a running charge is taken meanwhile, to stop it. "
            f"`{Reason.TOO_MANY_REFUSED}`"
        )
    if not points:
        return ()
    return ("\n".join(("## What is refused without looking\n", *(f"- {point}" for point in points))),)


def _what_counts() -> str:
    refusals = "\n".join(f"- {_REFUSAL_IN_WORDS[outcome]}: `{outcome}`" for outcome in Outcome if outcome in REFUSALS)
    silences = "\n".join(f"- {_SILENCE_IN_WORDS[outcome]}: `{outcome}`" for outcome in Outcome if outcome in SILENCES)
    return f"""## What counts as what

The last word of each line is the reason in the record.

A peer **refuses** when:

{refusals}

A peer says **unknown** with HTTP 404, OCPI status 2004 or both: `{Outcome.UNKNOWN}`

**No answer** is:

{silences}"""


_RECORD = """## What the record keeps

Every tap is on disk before the relay closes: time, EVSE, card, verdict, reason, who decided and the peer's
`authorization_reference`.

- *Who decided* is `realtime` (a peer), `whitelist` (the list alone), `fallback` (the list or the settings, for want
  of an answer) or `local` (the charge point itself: in use,
  stopped, out of order).
- `authorization_reference` goes into Session and CDR unchanged; when a peer gave several, the last one.[^7]
- `auth_method` in Session and CDR is `AUTH_REQUEST` when a peer decided, and `WHITELIST` when the whitelist or the
  fallback did.[^8]"""

_FOOTNOTES = """[^1]: OCPI 2.2.1, mod_tokens, WhitelistType.
[^2]: How old the list is that names the token: *fresh* or *stale*, see `max_age`. A token that a complete sync no
    longer brought counts as `valid = false` (OCPI 2.2.1, mod_tokens, Sender interface, GET).
[^3]: OCPI 2.2.1, mod_tokens, AllowedType, and AuthorizationInfo for `location`.
[^4]: OCPI 2.2.1, mod_tokens, Sender interface, POST; status_codes, 2004.
[^5]: OCPI has no rule for silence but WhitelistType's: only a token whose type allows it is accepted from the list.
[^6]: OCPI 2.2.1, mod_tokens, WhitelistType `ALWAYS` against Token `valid`.
[^7]: OCPI 2.2.1, mod_tokens, AuthorizationInfo; mod_sessions, Session; mod_cdrs, CDR.
[^8]: OCPI 2.2.1, mod_cdrs, AuthMethod."""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _plain(text: str) -> str:
    """The text with nothing left in it that Markdown would read as more than text."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))


def _duration(length: timedelta) -> str:
    """In the largest unit that needs no fraction: `7 days`, `36 hours`, `90 seconds`."""
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if length and length % unit == timedelta(0):
            count = length // unit
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{length.total_seconds():g} seconds"
