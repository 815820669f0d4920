"""How much somebody who is not logged in may ask."""

from agent.panel.pace import A_SECOND, AT_ONCE, HERE, Pace
from tests.panel.panels import Time

OUTSIDE, OTHER, INSIDE = "192.0.2.1", "192.0.2.2", "127.0.0.1"


def answered(pace: Pace, address: str, tries: int = 100_000) -> int:
    return next(number for number in range(tries) if not pace.takes(address))


def test_address_has_room_for_a_few_pages_at_once_and_then_some_requests_a_second() -> None:
    time = Time()
    pace = Pace(time)
    assert answered(pace, OUTSIDE) == AT_ONCE
    time.now += 1.0
    assert answered(pace, OUTSIDE) == A_SECOND
    time.now += 10_000.0
    assert answered(pace, OUTSIDE) == AT_ONCE


def test_one_address_takes_nothing_from_another_nor_from_this_machine() -> None:
    pace = Pace(Time())
    answered(pace, OUTSIDE)
    assert answered(pace, OTHER) == AT_ONCE
    assert answered(pace, INSIDE) == AT_ONCE * HERE


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    pace = Pace(Time())
    for number in range(5000):
        pace.takes(f"198.51.{number >> 8}.{number & 255}")
    assert len(pace._outside._left) == 1024


def test_who_asks_too_often_for_long_is_answered_at_the_pace() -> None:
    time = Time()
    pace = Pace(time)
    rate, seconds, late = 13, 300, []
    for number in range(rate * seconds):
        time.now = 1000.0 + number / rate
        late.append(pace.takes(OUTSIDE))
    assert abs(sum(late) - (AT_ONCE + A_SECOND * seconds)) <= 1
    assert sum(late[-rate * 60 :]) >= A_SECOND * 60 - 1


def test_this_machine_is_one_client_whatever_its_addresses() -> None:
    pace = Pace(Time())
    answered(pace, "127.0.0.1")
    assert not pace.takes("127.9.9.9")
    assert not pace.takes("::1")
