"""What counts as one tap."""

from hypothesis import given
from hypothesis import strategies as st

from hw.readers.presence import MAX_CARDS, Presence


def test_card_held_for_an_hour_is_one_tap() -> None:
    presence = Presence(removal_s=1.0)
    assert [presence.seen("A", frame * 0.065) for frame in range(60_000)].count(True) == 1


def test_second_card_right_behind_the_first_is_a_tap() -> None:
    presence = Presence(removal_s=1.0)
    assert [presence.seen(card, at=5.0) for card in "AAB"] == [True, False, True]


def test_two_held_cards_that_alternate_are_one_tap_each() -> None:
    presence = Presence(removal_s=1.0)
    taps = [card for frame in range(1000) if presence.seen(card := "AB"[frame % 2], frame * 0.065)]
    assert taps == ["A", "B"]


def test_card_that_comes_back_after_removal_is_a_new_tap() -> None:
    presence = Presence(removal_s=1.0)
    assert [presence.seen("A", at) for at in (0.0, 0.99, 1.98, 2.98)] == [True, False, False, True]


def test_removal_of_one_card_does_not_renew_the_other() -> None:
    presence = Presence(removal_s=1.0)
    frames = [("A", 0.0), ("B", 0.1), ("B", 0.9), ("B", 1.7), ("A", 1.8), ("B", 2.0)]
    assert [presence.seen(card, at) for card, at in frames] == [True, True, False, False, True, False]


def test_card_reported_once_only_is_one_tap_per_presentation() -> None:
    presence = Presence(removal_s=1.0)  # an ID-12LA: one frame each time
    assert [presence.seen("A", at) for at in (0.0, 8.0, 60.0)] == [True, True, True]


def test_flood_of_cards_stays_within_the_bound() -> None:
    presence = Presence(removal_s=1e9)
    taps = [presence.seen(f"{card:010X}", card * 0.001) for card in range(10_000)]
    assert all(taps)
    assert len(presence) == MAX_CARDS


def test_removed_cards_are_forgotten() -> None:
    presence = Presence(removal_s=1.0)
    for card in range(20):
        presence.seen(str(card), at=0.0)
    presence.seen("late", at=1.0)
    assert len(presence) == 1


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 30)), max_size=60))
def test_any_sequence_of_frames_taps_like_each_card_alone(steps: list[tuple[str, int]]) -> None:
    presence, at, last = Presence(removal_s=10), 0, dict[str, int]()
    for card, pause in steps:
        at += pause
        assert presence.seen(card, at) == (card not in last or at - last[card] >= 10)
        last[card] = at
