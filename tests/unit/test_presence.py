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


def test_card_back_within_the_debounce_time_is_still_the_same_tap() -> None:
    presence = Presence(removal_s=1.0, debounce_s=5.0)
    assert [presence.seen("A", at) for at in (0.0, 2.0, 4.0)] == [True, False, False]


def test_card_back_after_the_debounce_time_is_a_new_tap_which_debounces_anew() -> None:
    presence = Presence(removal_s=1.0, debounce_s=5.0)
    assert [presence.seen("A", at) for at in (0.0, 5.0, 9.0, 10.0)] == [True, True, False, True]


def test_debounce_time_counts_from_the_last_tap_and_not_from_its_frames() -> None:
    presence = Presence(removal_s=1.0, debounce_s=5.0)
    assert [presence.seen("A", at) for at in (0.0, 3.9, 5.0)] == [True, False, True]


def test_card_held_beyond_the_debounce_time_does_not_tap_on_its_own() -> None:
    presence = Presence(removal_s=1.0, debounce_s=5.0)
    assert [presence.seen("A", at / 10) for at in (0, *range(20, 100), 110)] == [True, *[False] * 80, True]


def test_debounce_of_one_card_does_not_swallow_another() -> None:
    presence = Presence(removal_s=1.0, debounce_s=5.0)
    frames = [("A", 0.0), ("B", 1.0), ("A", 2.0), ("B", 3.0), ("A", 5.0), ("B", 5.5), ("B", 6.5)]
    assert [presence.seen(card, at) for card, at in frames] == [True, True, False, False, True, False, True]


def test_debounced_cards_are_forgotten_when_their_time_is_over() -> None:
    presence = Presence(removal_s=1.0, debounce_s=5.0)
    for card in range(20):
        presence.seen(str(card), at=0.0)
    presence.seen("soon", at=4.0)
    assert len(presence) == 21
    presence.seen("late", at=5.0)
    assert len(presence) == 2


def test_card_of_a_silent_reader_counts_as_away_from_when_it_went() -> None:
    presence = Presence(removal_s=1.0)
    assert presence.seen("A", at=0.0)
    presence.held("A", at=10.0)
    assert not presence.seen("A", at=10.9)
    presence.held("A", at=20.0)
    assert presence.seen("A", at=21.0)


def test_card_that_never_tapped_is_not_held() -> None:
    presence = Presence(removal_s=1.0)
    presence.held("A", at=0.0)
    assert len(presence) == 0
    assert presence.seen("A", at=0.0)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 30)), max_size=60), st.integers(0, 40), st.integers(1, 20)
)
def test_any_sequence_with_any_times_taps_like_each_card_alone(
    steps: list[tuple[str, int]], debounce_s: int, removal_s: int
) -> None:
    presence, at = Presence(removal_s, debounce_s), 0
    last, tapped = dict[str, int](), dict[str, int]()
    for card, pause in steps:
        at += pause
        expected = card not in last or (at - last[card] >= removal_s and at - tapped[card] >= debounce_s)
        assert presence.seen(card, at) == expected
        last[card] = at
        if expected:
            tapped[card] = at
