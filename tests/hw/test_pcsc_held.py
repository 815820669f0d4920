"""Which cards lie on PC/SC readers: what is one tap and what are two. Pure; the clock is a number."""

from hw.readers.pcsc_held import RETURN_S, HeldCards

CARD = bytes.fromhex("80FFA1B2")
OTHER = bytes.fromhex("04A1B2FF80C3E5")
LEFT, RIGHT = "reader 00", "reader 01"


def test_a_card_put_down_is_a_tap() -> None:
    assert HeldCards(1.0).put(LEFT, CARD, 10.0)


def test_a_card_away_for_less_than_the_removal_time_is_the_same_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.taken(LEFT, 20.0)
    assert not held.put(LEFT, CARD, 20.99)


def test_a_card_away_for_the_removal_time_is_a_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.taken(LEFT, 20.0)
    assert held.put(LEFT, CARD, 21.0)


def test_a_card_that_was_away_shortly_and_then_long_is_a_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.taken(LEFT, 20.0)
    held.put(LEFT, CARD, 20.5)
    held.taken(LEFT, 30.0)
    assert held.put(LEFT, CARD, 31.0)


def test_another_card_in_its_place_is_a_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    assert held.put(LEFT, OTHER, 10.1)


def test_a_card_replaced_and_put_back_at_once_is_the_same_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.put(LEFT, OTHER, 10.1)
    assert not held.put(LEFT, CARD, 10.2)


def test_a_second_card_on_the_other_reader_is_a_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    assert held.put(RIGHT, OTHER, 10.0)


def test_the_same_card_on_both_readers_is_one_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    assert not held.put(RIGHT, CARD, 10.1)


def test_a_card_that_comes_back_before_the_debounce_time_is_the_same_tap() -> None:
    held = HeldCards(0.0, debounce_s=5.0)
    held.put(LEFT, CARD, 10.0)
    held.taken(LEFT, 11.0)
    assert not held.put(LEFT, CARD, 14.99)
    held.taken(LEFT, 14.995)
    assert held.put(LEFT, CARD, 15.0)


def test_a_debounced_card_holds_up_no_other() -> None:
    held = HeldCards(0.0, debounce_s=5.0)
    held.put(LEFT, CARD, 10.0)
    held.taken(LEFT, 11.0)
    assert held.put(LEFT, OTHER, 11.0)


def test_a_card_that_lay_there_all_through_an_outage_is_the_same_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.lost(LEFT)
    assert not held.put(LEFT, CARD, 1000.0)


def test_a_card_found_a_moment_after_its_reader_is_the_same_tap() -> None:
    held = HeldCards(0.0)
    held.put(LEFT, CARD, 10.0)
    held.lost(LEFT)
    held.taken(LEFT, 1000.0)
    assert not held.put(LEFT, CARD, 1000.0 + RETURN_S - 0.01)


def test_a_card_taken_away_in_an_outage_is_a_tap_later() -> None:
    held = HeldCards(0.0)
    held.put(LEFT, CARD, 10.0)
    held.lost(LEFT)
    held.taken(LEFT, 1000.0)
    assert held.put(LEFT, CARD, 1000.0 + RETURN_S)


def test_another_card_after_an_outage_is_a_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.lost(LEFT)
    assert held.put(LEFT, OTHER, 11.0)


def test_a_card_carried_from_a_lost_reader_to_another_is_a_tap() -> None:
    held = HeldCards(1.0)
    held.put(LEFT, CARD, 10.0)
    held.lost(LEFT)
    assert held.put(RIGHT, CARD, 11.0)
