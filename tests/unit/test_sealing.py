"""Where sessions that ended at no known time are placed: never over one another, never after this boot began."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.charges import SessionRecord
from agent.model import EndReason
from agent.runtime.sealing import offsets

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGAN = datetime(2026, 12, 1, tzinfo=UTC)

GAPS_AND_LENGTHS = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000))
BOOTS = st.lists(st.lists(GAPS_AND_LENGTHS, max_size=4), max_size=4)


def ended(number: int, boot: str, start_s: float, end_s: float, **changes: object) -> SessionRecord:
    """One that was written down a second after its end, in a boot that began at the epoch."""
    record = SessionRecord(
        authorization_id=number,
        session_id=f"s-{number}",
        evse_uid="E1",
        peer="emsp",
        started_at=EPOCH + timedelta(seconds=start_s),
        changed_at=EPOCH + timedelta(seconds=end_s + 1),
        account=b"",
        object=None,
        energy_wh=0,
        register_wh=0,
        boot_id=boot,
        monotonic_s=end_s + 1,
        clock_known=False,
        ended_at=EPOCH + timedelta(seconds=end_s),
        ended_because=EndReason.UNPLUGGED,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def sessions_of(boots: list[list[tuple[int, int]]], names: list[str]) -> list[SessionRecord]:
    found: list[SessionRecord] = []
    for name, boot in zip(names, boots, strict=True):
        now = 0
        for gap, length in boot:
            found.append(ended(len(found) + 1, name, now + gap, now + gap + length))
            now += gap + length
    return found


def placed(sessions: list[SessionRecord], boot_id: str) -> list[tuple[datetime, datetime]]:
    by = offsets(sessions, boot_id, BEGAN)
    return [
        (one.started_at + by[one.authorization_id], one.ended_at + by[one.authorization_id])
        for one in sessions
        if one.ended_at is not None
    ]


@given(BOOTS)
def test_sessions_of_earlier_boots_keep_their_order_and_end_before_this_one_began(
    boots: list[list[tuple[int, int]]],
) -> None:
    times = placed(sessions_of(boots, [f"b{n}" for n in range(len(boots))]), "now")
    assert all(end <= BEGAN for _, end in times)
    assert all(one[1] <= other[0] for one, other in pairwise(times))


@given(BOOTS.filter(bool))
def test_sessions_of_this_boot_are_placed_exactly_and_others_before_them(boots: list[list[tuple[int, int]]]) -> None:
    sessions = sessions_of(boots, [*(f"b{n}" for n in range(len(boots) - 1)), "now"])
    times = placed(sessions, "now")
    exact = [BEGAN + (one.ended_at - EPOCH) for one in sessions if one.boot_id == "now" and one.ended_at]
    assert [end for _, end in times][len(times) - len(exact) :] == exact
    assert all(one[1] <= other[0] for one, other in pairwise(times))


@given(BOOTS)
def test_sessions_of_a_machine_without_boot_ids_never_overlap(boots: list[list[tuple[int, int]]]) -> None:
    times = placed(sessions_of(boots, [""] * len(boots)), "")
    assert all(one[1] <= other[0] for one, other in pairwise(times))
    assert all(end <= BEGAN for _, end in times)


def test_sessions_of_two_evses_that_ran_side_by_side_still_do() -> None:
    first, second = ended(1, "b1", 100, 900), ended(2, "b1", 300, 600, evse_uid="E2")
    (start, end), (other_start, other_end) = placed([first, second], "now")
    assert end == BEGAN
    assert (other_start - start, end - other_end) == (timedelta(seconds=200), timedelta(seconds=300))


def test_session_that_was_taken_down_in_another_boot_than_its_neighbours_is_no_obstacle() -> None:
    # The first and the last ended in the boot before; what ran beside them was found by this boot's start.
    sessions = [ended(1, "b1", 100, 200), ended(2, "now", -500, 0), ended(3, "b1", 300, 400)]
    times = placed(sessions, "now")
    assert times[1][1] == BEGAN
    assert times[2][0] - times[0][1] == timedelta(seconds=100)
    assert times[2][1] <= times[1][0]


def test_clock_that_was_off_by_hours_within_its_boot_does_not_matter() -> None:
    off = timedelta(hours=5)
    late = ended(1, "now", 100, 200)
    assert late.ended_at is not None
    moved = replace(
        late, started_at=late.started_at + off, changed_at=late.changed_at + off, ended_at=late.ended_at + off
    )
    assert placed([moved], "now") == placed([late], "now")
