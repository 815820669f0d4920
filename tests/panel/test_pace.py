"""How much somebody who is not logged in may ask."""

from agent.panel.pace import A_SECOND, AT_ONCE, HERE, Pace

OUTSIDE, OTHER, INSIDE = "192.0.2.1", "192.0.2.2", "127.0.0.1"


def answered(pace: Pace, address: str, now: float, tries: int = 100_000) -> int:
    return next(number for number in range(tries) if not pace.takes(address, now))


def test_address_has_room_for_a_few_pages_at_once_and_then_some_requests_a_second() -> None:
    pace = Pace()
    assert answered(pace, OUTSIDE, 100.0) == AT_ONCE
    assert answered(pace, OUTSIDE, 101.0) == A_SECOND
    assert answered(pace, OUTSIDE, 10_000.0) == AT_ONCE


def test_one_address_takes_nothing_from_another_nor_from_this_machine() -> None:
    pace = Pace()
    answered(pace, OUTSIDE, 100.0)
    assert answered(pace, OTHER, 100.0) == AT_ONCE
    assert answered(pace, INSIDE, 100.0) == AT_ONCE * HERE


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    pace = Pace()
    for number in range(5000):
        pace.takes(f"198.51.{number >> 8}.{number & 255}", 1.0)
    assert len(pace._left) == 1024


def test_who_asks_too_often_for_long_is_answered_at_the_pace() -> None:
    pace = Pace()
    rate, seconds = 13, 300
    times = [1000.0 + number / rate for number in range(rate * seconds)]
    late = [pace.takes(OUTSIDE, now) for now in times if now >= 1000.0]
    assert abs(sum(late) - (AT_ONCE + A_SECOND * seconds)) <= 1
    assert sum(late[-rate * 60 :]) >= A_SECOND * 60 - 1


def test_this_machine_is_one_client_whatever_its_addresses() -> None:
    pace = Pace()
    answered(pace, "127.0.0.1", 100.0)
    assert not pace.takes("127.9.9.9", 100.0)
    assert not pace.takes("::1", 100.0)
