"""The decision table, cell by cell: kind of token by every setting by every outcome, written down apart from the code.

The lines below are the agreed table and nothing else; no rule is computed from another. A line holds under the
settings it names and under every value of those it does not name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import permutations, product

import pytest

from agent.core.decide import plan, settle
from agent.model import (
    Answer,
    Ask,
    Decision,
    DisplayText,
    ListedToken,
    Outcome,
    Policy,
    Prefer,
    Reason,
    Source,
    Token,
    TokenType,
    UnknownTokens,
    Verdict,
    WhitelistType,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACCEPT, REFUSE = Verdict.ACCEPTED, Verdict.REFUSED


@dataclass(frozen=True)
class Cell:
    """What one tap must come to."""

    verdict: Verdict
    source: Source
    reason: Reason
    asks: bool


@dataclass(frozen=True)
class Kind:
    """What the whitelist says of the card: nothing for a card that it does not name."""

    whitelist: WhitelistType | None
    valid: bool = False
    fresh: bool = False

    def __str__(self) -> str:
        named = f"{self.whitelist}-{'valid' if self.valid else 'invalid'}-{'fresh' if self.fresh else 'stale'}"
        return named if self.whitelist else "NOT-THERE"


@dataclass(frozen=True)
class Line:
    """One line of the table: decided at once for a reason, or asked, with the verdict for each column."""

    kind: Kind
    when: dict[str, object] = field(default_factory=dict)
    at_once: tuple[Verdict, Reason] | None = None
    asked: tuple[tuple[str, Verdict], ...] = ()

    def __str__(self) -> str:
        return "-".join([str(self.kind), *(f"{name}={value}" for name, value in self.when.items())])


def at_once(kind: Kind, verdict: Verdict, reason: Reason, **when: object) -> Line:
    return Line(kind, when, at_once=(verdict, reason))


def asked(kind: Kind, allows: Verdict, refuses: Verdict, unknown: Verdict, silent: Verdict, **when: object) -> Line:
    columns = (("allows", allows), ("refuses", refuses), ("unknown", unknown), ("silent", silent))
    return Line(kind, when, asked=columns)


ALWAYS, ALLOWED = WhitelistType.ALWAYS, WhitelistType.ALLOWED
ALLOWED_OFFLINE, NEVER = WhitelistType.ALLOWED_OFFLINE, WhitelistType.NEVER
VALID, INVALID, FRESH, STALE = True, False, True, False
NOT_THERE = Kind(None)

# fmt: off
TABLE = [
    at_once(Kind(ALWAYS, VALID, FRESH), ACCEPT, Reason.WHITELISTED),
    at_once(Kind(ALWAYS, VALID, STALE), ACCEPT, Reason.WHITELISTED),
    at_once(Kind(ALWAYS, INVALID, FRESH), REFUSE, Reason.INVALID, always_invalid=REFUSE),
    at_once(Kind(ALWAYS, INVALID, STALE), REFUSE, Reason.INVALID, always_invalid=REFUSE),
    at_once(Kind(ALWAYS, INVALID, FRESH), ACCEPT, Reason.WHITELISTED, always_invalid=ACCEPT),
    at_once(Kind(ALWAYS, INVALID, STALE), ACCEPT, Reason.WHITELISTED, always_invalid=ACCEPT),
    at_once(Kind(ALLOWED, VALID, FRESH), ACCEPT, Reason.WHITELISTED, prefer=Prefer.WHITELIST),
    #                                            allows  refuses unknown silent
    asked(Kind(ALLOWED, VALID, FRESH),           ACCEPT, REFUSE, REFUSE, ACCEPT, prefer=Prefer.REALTIME),
    asked(Kind(ALLOWED, VALID, STALE),           ACCEPT, REFUSE, REFUSE, ACCEPT, stale_offline=ACCEPT),
    asked(Kind(ALLOWED, VALID, STALE),           ACCEPT, REFUSE, REFUSE, REFUSE, stale_offline=REFUSE),
    asked(Kind(ALLOWED, INVALID, FRESH),         ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(ALLOWED, INVALID, STALE),         ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(ALLOWED_OFFLINE, VALID, FRESH),   ACCEPT, REFUSE, REFUSE, ACCEPT),
    asked(Kind(ALLOWED_OFFLINE, VALID, STALE),   ACCEPT, REFUSE, REFUSE, ACCEPT),
    asked(Kind(ALLOWED_OFFLINE, INVALID, FRESH), ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(ALLOWED_OFFLINE, INVALID, STALE), ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(NEVER, VALID, FRESH),             ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(NEVER, VALID, STALE),             ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(NEVER, INVALID, FRESH),           ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(Kind(NEVER, INVALID, STALE),           ACCEPT, REFUSE, REFUSE, REFUSE),
    asked(NOT_THERE, ACCEPT, REFUSE, REFUSE, REFUSE, unknown_tokens=UnknownTokens.ASK, unknown_offline=REFUSE),
    asked(NOT_THERE, ACCEPT, REFUSE, REFUSE, ACCEPT, unknown_tokens=UnknownTokens.ASK, unknown_offline=ACCEPT),
    at_once(NOT_THERE, REFUSE, Reason.NOT_LISTED, unknown_tokens=UnknownTokens.REFUSE),
]

# What an outcome counts as, who has decided then, and the reason in the record.
OUTCOMES = {
    Outcome.ALLOWED:      ("allows",  Source.REALTIME, Reason.ALLOWED),
    Outcome.BLOCKED:      ("refuses", Source.REALTIME, Reason.BLOCKED),
    Outcome.EXPIRED:      ("refuses", Source.REALTIME, Reason.EXPIRED),
    Outcome.NO_CREDIT:    ("refuses", Source.REALTIME, Reason.NO_CREDIT),
    Outcome.NOT_ALLOWED:  ("refuses", Source.REALTIME, Reason.NOT_ALLOWED),
    Outcome.OTHER_EVSE:   ("refuses", Source.REALTIME, Reason.OTHER_EVSE),
    Outcome.UNKNOWN:      ("unknown", Source.REALTIME, Reason.UNKNOWN),
    Outcome.TIMEOUT:      ("silent",  Source.FALLBACK, Reason.TIMEOUT),
    Outcome.UNREACHABLE:  ("silent",  Source.FALLBACK, Reason.UNREACHABLE),
    Outcome.SERVER_ERROR: ("silent",  Source.FALLBACK, Reason.SERVER_ERROR),
    Outcome.OCPI_ERROR:   ("silent",  Source.FALLBACK, Reason.OCPI_ERROR),
    Outcome.RATE_LIMITED: ("silent",  Source.FALLBACK, Reason.RATE_LIMITED),
    Outcome.REJECTED:     ("silent",  Source.FALLBACK, Reason.REJECTED),
    Outcome.UNAUTHORIZED: ("silent",  Source.FALLBACK, Reason.UNAUTHORIZED),
    Outcome.MALFORMED:    ("silent",  Source.FALLBACK, Reason.MALFORMED),
    Outcome.OVERSIZED:    ("silent",  Source.FALLBACK, Reason.OVERSIZED),
    Outcome.BREAKER_OPEN: ("silent",  Source.FALLBACK, Reason.BREAKER_OPEN),
    Outcome.NO_PEER:      ("silent",  Source.FALLBACK, Reason.NO_PEER),
}
# fmt: on

KINDS = [NOT_THERE, *(Kind(*kind) for kind in product(WhitelistType, (VALID, INVALID), (FRESH, STALE)))]
POLICIES = [
    Policy(
        prefer=prefer,
        always_invalid=always_invalid,
        stale_offline=stale_offline,
        unknown_tokens=unknown_tokens,
        unknown_offline=unknown_offline,
    )
    for prefer, always_invalid, stale_offline, unknown_tokens, unknown_offline in product(
        Prefer, Verdict, Verdict, UnknownTokens, Verdict
    )
]


def named(policy: Policy) -> str:
    return (
        f"prefer={policy.prefer},always_invalid={policy.always_invalid},stale_offline={policy.stale_offline},"
        f"unknown_tokens={policy.unknown_tokens},unknown_offline={policy.unknown_offline}"
    )


Key = tuple[Kind, Policy, Outcome]


def lines_for(kind: Kind, policy: Policy, table: list[Line] = TABLE) -> list[Line]:
    return [
        line
        for line in table
        if line.kind == kind and all(getattr(policy, name) == value for name, value in line.when.items())
    ]


def cell_of(line: Line, outcome: Outcome) -> Cell:
    """What the line says: who is not asked is decided the same whatever a peer would have answered."""
    if line.at_once:
        verdict, reason = line.at_once
        return Cell(verdict, Source.WHITELIST, reason, asks=False)
    column, source, reason = OUTCOMES[outcome]
    return Cell(dict(line.asked)[column], source, reason, asks=True)


def written_down(table: list[Line] = TABLE) -> dict[Key, Cell]:
    """Every cell that the table names; where two lines named one cell, there would be fewer than in the product."""
    cells = [
        ((kind, policy, outcome), cell_of(line, outcome))
        for kind, policy, outcome in product(KINDS, POLICIES, OUTCOMES)
        for line in lines_for(kind, policy, table)
    ]
    assert len(cells) == len({key for key, _ in cells})
    return dict(cells)


def listed(kind: Kind, owner: str = "NL-TNM", policy: Policy | None = None) -> ListedToken:
    assert kind.whitelist is not None
    country_code, party_id = owner.split("-")
    token = Token(
        country_code, party_id, "04A1B2C3", TokenType.RFID, f"{owner}-C1", "Example", kind.valid, kind.whitelist, NOW
    )
    max_age = (policy or Policy()).max_age
    synced_at = NOW - max_age if kind.fresh else NOW - max_age - timedelta(seconds=1)
    return ListedToken(token, peer=f"peer of {owner}", synced_at=synced_at)


def rows_of(kind: Kind) -> list[ListedToken]:
    return [listed(kind)] if kind.whitelist else []


def decide(rows: list[ListedToken], policy: Policy, answers: Callable[[Ask], list[Answer]]) -> tuple[Decision, Cell]:
    step = plan(rows, policy, NOW)
    decision = settle(step, answers(step)) if isinstance(step, Ask) else step
    return decision, Cell(decision.verdict, decision.source, decision.reason, asks=isinstance(step, Ask))


def everybody_answers(outcome: Outcome) -> Callable[[Ask], list[Answer]]:
    return lambda ask: [Answer(peer, outcome) for peer in ask.peers or ("any peer",)]


def decided(kind: Kind, policy: Policy, outcome: Outcome) -> Cell:
    return decide(rows_of(kind), policy, everybody_answers(outcome))[1]


@pytest.fixture(scope="module")
def code() -> dict[Key, Cell]:
    """What the code makes of every cell."""
    return {key: decided(*key) for key in product(KINDS, POLICIES, Outcome)}


# The table, and that it is whole


@pytest.mark.parametrize("policy", POLICIES, ids=named)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_token_of_this_kind_under_this_policy_is_decided_as_written_down(kind: Kind, policy: Policy) -> None:
    (line,) = lines_for(kind, policy)
    expected = {outcome: cell_of(line, outcome) for outcome in OUTCOMES}
    assert {outcome: decided(kind, policy, outcome) for outcome in Outcome} == expected


def test_table_names_every_cell_of_the_product_once() -> None:
    product_size = (4 * 2 * 2 + 1) * 2**5 * len(Outcome)
    assert len(written_down()) == product_size == 9792
    assert set(OUTCOMES) == set(Outcome)


def flips() -> Iterator[tuple[int, str]]:
    """Every single verdict of the table, by line and column."""
    for number, line in enumerate(TABLE):
        yield from ((number, column) for column, _ in line.asked or (("at once", None),))


def flipped(line: Line, column: str) -> Line:
    other = {ACCEPT: REFUSE, REFUSE: ACCEPT}
    if line.at_once:
        return replace(line, at_once=(other[line.at_once[0]], line.at_once[1]))
    return replace(line, asked=tuple((c, other[v] if c == column else v) for c, v in line.asked))


@pytest.mark.parametrize(
    ("number", "column"), [pytest.param(n, column, id=f"{TABLE[n]}-{column}") for n, column in flips()]
)
def test_flipping_one_verdict_is_noticed_in_every_cell_it_stands_for(
    code: dict[Key, Cell], number: int, column: str
) -> None:
    line = TABLE[number]
    stands_for = {
        (kind, policy, outcome)
        for kind, policy, outcome in product([line.kind], POLICIES, OUTCOMES)
        if line in lines_for(kind, policy) and column in {"at once", OUTCOMES[outcome][0]}
    }
    wrong = written_down([*TABLE[:number], flipped(line, column), *TABLE[number + 1 :]])
    assert stands_for
    assert {key for key, cell in code.items() if wrong[key] != cell} == stands_for


@pytest.mark.parametrize("policy", POLICIES, ids=named)
@pytest.mark.parametrize("whitelist", WhitelistType)
def test_withdrawn_token_is_decided_as_one_that_is_not_valid(whitelist: WhitelistType, policy: Policy) -> None:
    for fresh, outcome in product((FRESH, STALE), OUTCOMES):
        withdrawn = replace(listed(Kind(whitelist, VALID, fresh)), withdrawn=True)
        (line,) = lines_for(Kind(whitelist, INVALID, fresh), policy)
        assert decide([withdrawn], policy, everybody_answers(outcome))[1] == cell_of(line, outcome)


@pytest.mark.parametrize(
    ("synced_at", "fresh"),
    [
        (NOW, True),
        (NOW - timedelta(days=7), True),
        (NOW - timedelta(days=7, microseconds=1), False),
        (NOW + timedelta(microseconds=1), False),
        (NOW + timedelta(days=365), False),
        (None, False),
    ],
    ids=["now", "at-max-age", "just-older", "just-ahead", "a-year-ahead", "never"],
)
def test_list_is_fresh_up_to_its_greatest_age_and_never_from_the_future(
    synced_at: datetime | None, *, fresh: bool
) -> None:
    row = replace(listed(Kind(ALLOWED, VALID, FRESH)), synced_at=synced_at)
    assert isinstance(plan([row], Policy(max_age=timedelta(days=7)), NOW), Ask) is not fresh


@pytest.mark.parametrize("policy", POLICIES, ids=named)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_nobody_to_ask_is_decided_as_silence_for_want_of_a_peer(kind: Kind, policy: Policy) -> None:
    (line,) = lines_for(kind, policy)
    assert decide(rows_of(kind), policy, lambda _: [])[1] == cell_of(line, Outcome.NO_PEER)


# A card that no list names, and several peers

BEST_FIRST = ("allows", "refuses", "silent", "unknown")
UNKNOWN_POLICIES = [Policy(unknown_offline=verdict) for verdict in Verdict]


@pytest.mark.parametrize("policy", UNKNOWN_POLICIES, ids=lambda policy: f"unknown_offline={policy.unknown_offline}")
@pytest.mark.parametrize("first", Outcome)
def test_unknown_card_at_several_peers_allowed_beats_refusal_beats_silence_beats_unknown(
    first: Outcome, policy: Policy
) -> None:
    for outcomes in product([first], Outcome, Outcome):
        best = min((OUTCOMES[outcome][0] for outcome in outcomes), key=BEST_FIRST.index)
        candidates = [outcome for outcome in outcomes if OUTCOMES[outcome][0] == best]
        (line,) = lines_for(NOT_THERE, policy)
        answers = [Answer(f"peer {n}", outcome) for n, outcome in enumerate(outcomes)]
        _, cell = decide([], policy, lambda _, answers=answers: answers)  # type: ignore[misc]
        assert cell in [cell_of(line, outcome) for outcome in candidates], outcomes


def test_unknown_card_allowed_by_two_peers_is_the_first_ones() -> None:
    answers = [
        Answer("slow", Outcome.BLOCKED),
        Answer("zeta", Outcome.ALLOWED, authorization_reference="Z-1", info=DisplayText("en", "Welcome")),
        Answer("alfa", Outcome.ALLOWED, authorization_reference="A-1"),
    ]
    decision, _ = decide([], Policy(), lambda _: answers)
    assert (decision.peer, decision.authorization_reference, decision.info) == (
        "zeta",
        "Z-1",
        DisplayText("en", "Welcome"),
    )


@pytest.mark.parametrize(
    "outcomes",
    [
        (Outcome.ALLOWED, Outcome.BLOCKED, Outcome.TIMEOUT, Outcome.UNKNOWN),
        (Outcome.EXPIRED, Outcome.BLOCKED, Outcome.NO_CREDIT, Outcome.UNKNOWN),
        (Outcome.BLOCKED, Outcome.BLOCKED, Outcome.TIMEOUT, Outcome.OTHER_EVSE),
        (Outcome.TIMEOUT, Outcome.BREAKER_OPEN, Outcome.UNREACHABLE, Outcome.UNKNOWN),
        (Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.UNKNOWN),
    ],
    ids="-".join,
)
def test_unknown_card_answered_in_any_order_is_decided_the_same(outcomes: tuple[Outcome, ...]) -> None:
    answers = [Answer(f"peer {n}", outcome) for n, outcome in enumerate(outcomes)]
    decisions = {decide([], Policy(), lambda _, o=order: list(o))[0] for order in permutations(answers)}  # type: ignore[misc]
    assert len(decisions) == 1


def test_unknown_card_asks_every_peer() -> None:
    step = plan([], Policy(), NOW)
    assert isinstance(step, Ask)
    assert step.peers is None


# Several owners of one uid

RANKS = (
    (ACCEPT, Source.REALTIME),
    (ACCEPT, Source.FALLBACK),
    (REFUSE, Source.REALTIME),
    (REFUSE, Source.FALLBACK),
)
"""Who wins among the rows that were asked about; a refusal for being unknown stands behind a peer's own refusal."""

LISTED_KINDS = KINDS[1:]
ANSWERS = (Outcome.ALLOWED, Outcome.BLOCKED, Outcome.UNKNOWN, Outcome.TIMEOUT)
OWNERS = ("BE-AAA", "NL-TNM")
SEVERAL_POLICIES = [
    Policy(),
    Policy(prefer=Prefer.REALTIME, always_invalid=ACCEPT),
    Policy(prefer=Prefer.REALTIME, stale_offline=REFUSE),
]


def rank(cell: Cell) -> tuple[int, bool]:
    return RANKS.index((cell.verdict, cell.source)), cell.reason is Reason.UNKNOWN


def winner(cells: list[Cell]) -> int:
    """Which row decides: a local accept, else the best of those asked, else the first; the first among equals."""
    accepted = [n for n, cell in enumerate(cells) if not cell.asks and cell.verdict is ACCEPT]
    asks = sorted((n for n, cell in enumerate(cells) if cell.asks), key=lambda n: rank(cells[n]))
    return (accepted or asks or [0])[0]


def two_owners_decided(
    kinds: tuple[Kind, Kind], outcomes: tuple[Outcome, Outcome], policy: Policy, order: tuple[int, ...] = (0, 1)
) -> tuple[Decision, Cell]:
    rows = [listed(kind, owner) for kind, owner in zip(kinds, OWNERS, strict=True)]
    answer = {row.peer: Answer(row.peer, outcome) for row, outcome in zip(rows, outcomes, strict=True)}
    return decide([rows[n] for n in order], policy, lambda ask: [answer[peer] for peer in ask.peers or ()])


@pytest.mark.parametrize("policy", SEVERAL_POLICIES, ids=named)
@pytest.mark.parametrize("first", LISTED_KINDS, ids=str)
def test_two_owners_of_one_uid_are_decided_by_the_row_that_wins(first: Kind, policy: Policy) -> None:
    for second, *outcomes in product(LISTED_KINDS, ANSWERS, ANSWERS):
        alone = [
            cell_of(lines_for(kind, policy)[0], outcome)
            for kind, outcome in zip((first, second), outcomes, strict=True)
        ]
        decision, cell = two_owners_decided((first, second), (outcomes[0], outcomes[1]), policy)
        assert cell == alone[winner(alone)], (second, outcomes)
        assert decision.token is not None
        assert decision.token.owner == OWNERS[winner(alone)], (second, outcomes)


@pytest.mark.parametrize("policy", SEVERAL_POLICIES, ids=named)
@pytest.mark.parametrize("first", LISTED_KINDS, ids=str)
def test_two_owners_of_one_uid_in_either_order_are_decided_the_same(first: Kind, policy: Policy) -> None:
    for second, *outcomes in product(LISTED_KINDS, ANSWERS, ANSWERS):
        arguments = (first, second), (outcomes[0], outcomes[1]), policy
        assert two_owners_decided(*arguments, order=(0, 1)) == two_owners_decided(*arguments, order=(1, 0))


def test_three_owners_in_any_order_of_rows_and_answers_are_decided_the_same() -> None:
    owners = ("NL-TNM", "BE-AAA", "FR-ZZZ")
    rows = [listed(Kind(whitelist, VALID, FRESH), owner) for whitelist, owner in zip((NEVER,) * 3, owners, strict=True)]
    answers = [Answer(row.peer, outcome) for row, outcome in zip(rows, ANSWERS[1:], strict=True)]
    decisions = {
        decide(list(row_order), Policy(), lambda _, o=answer_order: list(o))[0]  # type: ignore[misc]
        for row_order, answer_order in product(permutations(rows), permutations(answers))
    }
    assert [decision.reason for decision in decisions] == [Reason.BLOCKED]


def test_known_card_asks_the_peers_of_exactly_the_rows_that_must_be_asked() -> None:
    rows = [
        listed(Kind(ALWAYS, INVALID, FRESH), "FR-ZZZ"),
        listed(Kind(NEVER, VALID, FRESH), "NL-TNM"),
        listed(Kind(ALLOWED, VALID, STALE), "BE-AAA"),
    ]
    step = plan(rows, Policy(), NOW)
    assert isinstance(step, Ask)
    assert step.peers == ("peer of BE-AAA", "peer of NL-TNM")


def test_known_card_keeps_the_winners_reference_and_text() -> None:
    rows = [listed(Kind(NEVER, VALID, FRESH), owner) for owner in OWNERS]
    answers = [
        Answer(rows[0].peer, Outcome.BLOCKED, info=DisplayText("en", "No")),
        Answer(rows[1].peer, Outcome.ALLOWED, authorization_reference="R-1", info=DisplayText("en", "Yes")),
    ]
    decision, _ = decide(rows, Policy(), lambda _: answers)
    assert (decision.authorization_reference, decision.info, decision.peer) == (
        "R-1",
        DisplayText("en", "Yes"),
        rows[1].peer,
    )
    assert "BE-AAA" in decision.detail


def test_two_owners_behind_one_hub_are_asked_apart_and_one_may_allow() -> None:
    hub = [replace(listed(Kind(NEVER, VALID, FRESH), owner), peer="hub") for owner in ("BE-AAA", "NL-TNM")]
    step = plan(hub, Policy(), NOW)
    assert isinstance(step, Ask)
    assert step.targets is not None
    refusing, allowing = step.targets
    answers = [
        Answer("hub", Outcome.BLOCKED, target=refusing),
        Answer("hub", Outcome.ALLOWED, target=allowing, authorization_reference="REF"),
    ]
    decision = settle(step, answers)
    assert (decision.verdict, decision.authorization_reference) == (Verdict.ACCEPTED, "REF")
    assert decision.token == hub[1].token
