"""What a contactor's feedback means, for every command, sight and time."""

from itertools import product

import pytest

from agent.core.contact import SETTLE_S, Contactor, Finding, find

LONG = SETTLE_S * 3


def contactor(*, commanded: bool, seen: bool | None) -> Contactor:
    """Told and seen at 0."""
    return Contactor().told(0.0, closed=commanded).looked_at(0.0, closed=seen)


@pytest.mark.parametrize(
    ("commanded", "seen", "found"),
    [
        (False, None, Finding.FINE),
        (False, False, Finding.FINE),
        (False, True, Finding.WELDED),
        (True, None, Finding.FINE),
        (True, False, Finding.MISSING),
        (True, True, Finding.FINE),
    ],
)
def test_what_was_told_and_what_is_seen_after_it_has_settled(
    *, commanded: bool, seen: bool | None, found: Finding
) -> None:
    assert find(contactor(commanded=commanded, seen=seen), Finding.FINE, LONG) is found


@pytest.mark.parametrize(("commanded", "seen"), [*product((False, True), (None, False, True))])
def test_nothing_is_found_before_it_has_settled(*, commanded: bool, seen: bool | None) -> None:
    assert find(contactor(commanded=commanded, seen=seen), Finding.FINE, SETTLE_S * 0.99) is Finding.FINE


def test_contactor_that_drops_out_is_missing_after_it_has_settled() -> None:
    dropped = contactor(commanded=True, seen=True).looked_at(100.0, closed=False)
    assert find(dropped, Finding.FINE, 100.0 + SETTLE_S / 2) is Finding.FINE
    assert find(dropped, Finding.FINE, 100.0 + SETTLE_S) is Finding.MISSING


@pytest.mark.parametrize(("commanded", "seen"), [*product((False, True), (None, True))])
def test_welded_stays_welded_until_it_is_seen_open(*, commanded: bool, seen: bool | None) -> None:
    assert find(contactor(commanded=commanded, seen=seen), Finding.WELDED, LONG) is Finding.WELDED
    assert find(contactor(commanded=False, seen=False), Finding.WELDED, LONG) is Finding.FINE


def test_missing_is_over_when_it_was_told_to_open() -> None:
    assert find(contactor(commanded=False, seen=False), Finding.MISSING, LONG) is Finding.FINE


def test_saying_the_same_again_begins_no_new_time() -> None:
    same = contactor(commanded=True, seen=False).told(9.0, closed=True).looked_at(9.0, closed=False)
    assert same.due_at(SETTLE_S) == SETTLE_S
