"""Of the EVSEs of one interlock, one at a time."""

import pytest

from agent.runtime.interlock import Interlock, Place


class Evse:
    """What the interlock asks of one."""

    def __init__(self, interlock: Interlock, uid: str) -> None:
        self.used = self.closed = False
        self.place: Place = interlock.join(uid, in_use=lambda: self.used, may_be_closed=lambda: self.closed)


@pytest.fixture
def pair() -> tuple[Evse, Evse]:
    interlock = Interlock("one supply")
    return Evse(interlock, "E1"), Evse(interlock, "E2")


def test_evse_is_not_hindered_by_itself(pair: tuple[Evse, Evse]) -> None:
    one, _ = pair
    one.used = one.closed = True
    with one.place.reserved():
        assert one.place.hindrance() is None
        assert one.place.forbids_closing() is None


def test_other_in_use_hinders_and_is_named(pair: tuple[Evse, Evse]) -> None:
    one, other = pair
    other.used = True
    assert one.place.hindrance() == "E2 is in use, and only one of the interlock one supply may be at a time"
    assert one.place.forbids_closing() is None
    other.used = False
    assert one.place.hindrance() is None


def test_place_that_is_reserved_hinders_until_it_is_released_whatever_happens(pair: tuple[Evse, Evse]) -> None:
    one, other = pair

    def fails_within() -> None:
        with other.place.reserved():
            assert one.place.hindrance() is not None
            raise LookupError

    with pytest.raises(LookupError):
        fails_within()
    assert one.place.hindrance() is None


def test_closed_contact_of_another_forbids_closing(pair: tuple[Evse, Evse]) -> None:
    one, other = pair
    other.closed = True
    assert one.place.forbids_closing() == (
        "the contact of E2 may be closed, which has the interlock one supply in common"
    )
