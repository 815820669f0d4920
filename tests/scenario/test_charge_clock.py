"""A charge under a wall clock that is wrong, or is put right: durations stay, times move along, nothing is told twice.

A controller without a battery starts in 1970; one that was off for long may be a day ahead or behind.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agent.charges import SessionRecord
from agent.core.account import Remark
from agent.model import EndReason
from agent.runtime.clock import EARLIEST
from tests.scenario.charging import account, cdr, charging_stage, closed, finish, record, remarks, session
from tests.scenario.stage import Stage
from tests.scenario.virtual_time import NOW, WallClock, in_virtual_time, played

TICK = timedelta(milliseconds=10)


async def begun_in(year: int) -> Stage:
    """A charge that began under a clock that nobody had set."""
    stage = charging_stage()
    stage.wall.starts_in(year)
    await stage.begin()
    return stage


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


@played
async def test_charge_under_an_unset_clock_runs_and_nobody_is_told_of_1970() -> None:
    stage = await begun_in(1970)
    assert closed(stage)
    await stage.flow(2000, 600.0)
    await stage.evse.ledger.settled()
    assert record(stage).energy_wh == 2000
    assert (record(stage).clock_known, record(stage).object, stage.journal.told) == (False, None, [])
    await finish(stage)


@played
async def test_clock_set_in_the_middle_of_a_charge_moves_its_start_to_when_it_was() -> None:
    stage = await begun_in(1970)
    began = stage.wall.true
    await stage.flow(1000, 1800.0)
    stage.wall.is_put_right()
    await stage.flow(1000, 1800.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert abs(when(said["start_date_time"]) - began) <= timedelta(seconds=1)
    assert said["total_time"] == 1
    assert remarks(stage) == {Remark.CLOCK_CORRECTED}
    await finish(stage)


@played
async def test_clock_put_right_just_before_a_reading_moves_the_session_with_it() -> None:
    stage = await begun_in(1970)
    began = stage.wall.true
    await stage.flow(10, 60.0)
    await stage.evse.ledger.settled()
    stage.wall.is_put_right()
    await stage.flow(10, 60.0)
    moved = stage.evse.ledger.account
    assert moved is not None
    assert abs(moved.started_at - began) <= TICK
    assert moved.until - moved.started_at == timedelta(seconds=120)
    await finish(stage)


@played
async def test_clock_put_right_just_before_the_car_pauses_moves_the_session_with_it() -> None:
    stage = await begun_in(1970)
    began = stage.wall.true
    await stage.flow(10, 60.0, power_w=0)
    await stage.evse.ledger.settled()
    await asyncio.sleep(stage.settings.suspended_after_s - 1.0)
    stage.wall.is_put_right()
    await asyncio.sleep(2.0)
    assert abs(account(stage).started_at - began) <= TICK
    await finish(stage)


@played
async def test_clock_put_right_just_before_an_orderly_stop_moves_the_session_with_it() -> None:
    stage = await begun_in(1970)
    began = stage.wall.true
    await stage.flow(10, 60.0)
    await stage.evse.ledger.settled()
    stage.wall.is_put_right()
    await stage.stop()
    assert abs(account(stage).started_at - began) <= TICK
    stage.journal.check()


@played
async def test_session_is_told_as_soon_as_the_clock_is_known() -> None:
    stage = await begun_in(1970)
    await stage.flow(1000, 600.0)
    stage.wall.is_put_right()
    await stage.flow(1000, 600.0)
    await stage.evse.ledger.settled()
    assert session(stage)["status"] == "ACTIVE"
    assert when(session(stage)["start_date_time"]).year == NOW.year
    await finish(stage)


@played
async def test_charge_that_ends_before_the_clock_is_known_gets_its_cdr_later() -> None:
    stage = await begun_in(1970)
    await stage.flow(1000, 600.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    ended = record(stage)
    assert (ended.ended_because, ended.clock_known, ended.no_cdr) == (EndReason.UNPLUGGED, False, None)
    assert ended.ended_at is not None
    assert ended.ended_at - ended.started_at == timedelta(seconds=600)
    assert stage.journal.cdrs == []
    await finish(stage)


async def put_right_by(error: timedelta) -> None:
    stage = charging_stage()
    stage.wall.error = error
    await stage.begin()
    began = stage.wall.true
    await stage.flow(1000, 1800.0)
    stage.wall.is_put_right()
    await stage.flow(1000, 1800.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert abs(when(said["start_date_time"]) - began) <= timedelta(seconds=1)
    assert (said["total_time"], said["total_energy"]) == (1, 2)
    assert remarks(stage) == {Remark.CLOCK_CORRECTED}
    await finish(stage)


@pytest.mark.parametrize("error", [timedelta(days=-100), timedelta(hours=-1), timedelta(hours=1), timedelta(days=700)])
def test_clock_that_is_put_right_leaves_the_duration_and_corrects_the_times(error: timedelta) -> None:
    in_virtual_time(lambda: put_right_by(error))


@played
async def test_clock_that_jumps_back_never_takes_last_updated_with_it() -> None:
    stage = charging_stage()
    stage.wall.error = timedelta(days=1)
    await stage.begin()
    first = stage.journal.told[-1].changed_at
    stage.wall.is_put_right()
    await stage.flow(2000, 600.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert all(told.changed_at > first for told in stage.journal.told[1:])
    assert stage.journal.cdrs[0].changed_at > first
    await finish(stage)


@played
async def test_clock_that_falls_to_1970_in_a_charge_is_not_believed() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(1000, 1800.0)
    stage.wall.starts_in(1970)
    await stage.flow(1000, 1800.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert said["total_time"] == 1
    assert when(said["start_date_time"]).year == NOW.year
    assert record(stage).clock_known
    await finish(stage)


@played
async def test_clock_that_drifts_by_a_second_is_not_put_right() -> None:
    stage = charging_stage()
    await stage.begin()
    for _ in range(10):
        await stage.flow(100, 60.0)
        stage.wall.error += timedelta(milliseconds=100)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert remarks(stage) == set()
    await finish(stage)


@played
async def test_reports_of_one_second_rise_by_one_each() -> None:
    stage = charging_stage()
    await stage.begin()
    for _ in range(5):
        await stage.flow(1000, 0.01)
        await stage.evse.ledger.settled()
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    times = [told.changed_at.replace(microsecond=0) for told in stage.journal.told]
    assert len(times) == len(set(times)) == 7
    assert times == sorted(times)
    await finish(stage)


@played
async def test_quick_reports_before_a_kill_do_not_look_like_a_clock_that_was_put_right() -> None:
    stage = charging_stage()
    await stage.begin()
    for _ in range(4):
        await stage.flow(1000, 0.01)
        await stage.evse.ledger.settled()
    began = record(stage).started_at
    await stage.kill(off_s=5.0)
    await asyncio.sleep(1.0)
    await stage.flow(1000, 60.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert Remark.CLOCK_CORRECTED not in remarks(stage)
    assert record(stage).started_at == began
    await finish(stage)


@played
async def test_killed_under_an_unset_clock_and_resumed_under_the_right_one_it_is_placed_exactly() -> None:
    stage = await begun_in(1970)
    began = stage.wall.true
    await stage.flow(1000, 600.0)
    await stage.evse.ledger.settled()
    await stage.kill(off_s=5.0)
    stage.wall.is_put_right()
    await asyncio.sleep(1.0)
    assert closed(stage)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert abs(when(said["start_date_time"]) - began) <= timedelta(seconds=1)
    assert Remark.CLOCK_CORRECTED in remarks(stage)
    await finish(stage)


@played
async def test_power_cut_under_an_unset_clock_ends_the_session_and_marks_its_times() -> None:
    stage = await begun_in(1970)
    await stage.flow(1000, 600.0)
    await stage.evse.ledger.settled()
    stage.wall.is_put_right()
    await stage.power_cut(off_s=5.0)
    await asyncio.sleep(1.0)
    ended = record(stage)
    assert (ended.ended_because, ended.clock_known) == (EndReason.OFF_TOO_LONG, True)
    assert Remark.CLOCK_UNKNOWN in remarks(stage)
    assert ended.ended_at is not None
    assert ended.ended_at - ended.started_at == timedelta(seconds=600)
    assert timedelta(0) <= stage.wall.true - ended.ended_at <= timedelta(hours=1)
    assert cdr(stage.journal)["total_energy"] == 1
    await finish(stage)


@played
async def test_two_power_cuts_without_a_clock_make_no_fifty_year_session() -> None:
    stage = await begun_in(1970)
    await stage.flow(1000, 600.0)
    await stage.evse.ledger.settled()
    stage.wall.starts_in(1970)
    await stage.power_cut(off_s=5.0)
    await asyncio.sleep(1.0)
    ended = record(stage)
    assert (ended.ended_because, ended.clock_known) == (EndReason.OFF_TOO_LONG, False)
    assert account(stage).until - account(stage).started_at == timedelta(seconds=600)
    await finish(stage)


@played
async def test_clock_set_while_the_driver_is_to_plug_in_starts_the_session_at_the_right_time() -> None:
    stage = charging_stage()
    stage.wall.starts_in(1970)
    await stage.tap("A1")
    await asyncio.sleep(10.0)
    stage.wall.is_put_right()
    stage.plug(inserted=True)
    await stage.evse.ledger.settled()
    assert abs(record(stage).started_at - stage.wall.true) <= TICK
    assert remarks(stage) == set()
    await finish(stage)


@played
async def test_energy_drawn_while_the_clock_is_put_right_is_counted_once() -> None:
    stage = await begun_in(1970)
    for _ in range(10):
        await stage.flow(100, 36.0)
    stage.wall.is_put_right()
    for _ in range(10):
        await stage.flow(100, 36.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    said = cdr(stage.journal)
    assert (said["total_energy"], said["total_time"]) == (2, Decimal("0.2"))
    assert said["total_cost"]["excl_vat"] == Decimal("0.6")
    await finish(stage)


# ---- a clock that starts where it stopped, and one that is put back


@played
async def test_clock_that_starts_where_it_stopped_resumes_no_charge_after_a_night() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(1000, 60.0)
    await stage.evse.ledger.settled()
    night = timedelta(hours=10)
    stage.wall.starts_where_it_stopped(night)
    await stage.power_cut(off_s=night.total_seconds())
    await asyncio.sleep(10.0)
    await stage.evse.ledger.settled()
    assert not closed(stage)
    assert stage.journal.ended == {1: EndReason.OFF_TOO_LONG}
    assert cdr(stage.journal)["total_energy"] == 1
    await finish(stage)


@played
async def test_clock_that_was_told_the_time_before_the_start_resumes_the_charge() -> None:
    stage = charging_stage()
    await stage.begin()
    await stage.flow(1000, 60.0)
    await stage.evse.ledger.settled()
    stage.wall.starts_where_it_stopped(timedelta(seconds=60))
    stage.wall.is_put_right()
    await stage.power_cut(off_s=60.0)
    await asyncio.sleep(10.0)
    assert closed(stage)
    await finish(stage)


@played
async def test_charge_by_a_clock_that_starts_where_it_stopped_is_not_billed_by_it() -> None:
    stage = charging_stage()
    stage.wall.starts_where_it_stopped(timedelta(days=3))
    await stage.begin()
    await stage.flow(1000, 60.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert (record(stage).clock_known, stage.journal.cdrs, stage.journal.told) == (False, [], [])
    await finish(stage)


@played
async def test_charge_by_a_clock_that_starts_where_it_stopped_is_billed_by_the_true_time() -> None:
    stage = charging_stage()
    stage.wall.starts_where_it_stopped(timedelta(days=3))
    began = stage.wall.true
    await stage.begin()
    await stage.flow(1000, 60.0)
    stage.wall.is_put_right()
    await stage.flow(1000, 60.0)
    stage.plug(inserted=False)
    await stage.evse.ledger.settled()
    assert abs(when(cdr(stage.journal)["start_date_time"]) - began) <= timedelta(seconds=2)
    await finish(stage)


async def put_back(by: timedelta) -> Stage:
    """A charge that began under a clock that was ahead, and was put right."""
    stage = charging_stage()
    stage.wall.error = by
    await stage.begin()
    await stage.flow(1000, 60.0)
    stage.wall.is_put_right()
    await stage.flow(1000, 60.0)
    await stage.evse.ledger.settled()
    return stage


@played
async def test_agent_away_for_long_after_the_clock_was_put_back_does_not_resume() -> None:
    stage = await put_back(timedelta(hours=1))
    await stage.kill(off_s=3000.0)
    await asyncio.sleep(10.0)
    assert not closed(stage)
    assert stage.journal.ended == {1: EndReason.OFF_TOO_LONG}
    await finish(stage)


@played
async def test_power_away_for_long_after_the_clock_was_put_back_does_not_resume() -> None:
    stage = await put_back(timedelta(hours=1))
    await stage.power_cut(off_s=3700.0)
    await asyncio.sleep(10.0)
    assert not closed(stage)
    assert stage.journal.ended == {1: EndReason.OFF_TOO_LONG}
    await finish(stage)


@pytest.mark.parametrize("boots", [0, 1])
def test_charge_goes_on_after_a_short_time_although_the_clock_was_put_back(boots: int) -> None:
    async def story() -> None:
        stage = await put_back(timedelta(hours=1))
        stage.boot += boots
        await stage.kill(off_s=60.0)
        await asyncio.sleep(10.0)
        assert closed(stage)
        await finish(stage)

    in_virtual_time(story)


def spans(journal_sessions: dict[int, SessionRecord]) -> list[float]:
    ended = [each for each in journal_sessions.values() if each.ended_at is not None]
    return [(each.ended_at - each.started_at).total_seconds() for each in ended if each.ended_at is not None]


@played
async def test_clock_that_jumps_all_the_time_never_makes_a_session_negative_or_long() -> None:
    stage = charging_stage()
    jumps = [timedelta(0), timedelta(days=-30), timedelta(days=3), datetime(1970, 1, 1, tzinfo=UTC) - NOW]
    for before in jumps:
        for after in jumps:
            stage.wall.error = before
            await stage.begin("C1")
            stage.wall.error = after
            await stage.flow(100, 90.0)
            await stage.tap("C1")
            await asyncio.sleep(3.0)
    assert spans(stage.journal.sessions) == [pytest.approx(90.0, abs=1.0)] * 16
    await stage.stop()
    assert "a session lasted less than nothing" not in stage.journal.violations


def test_clock_is_not_known_before_this_program_was_written() -> None:
    async def story() -> None:
        stage = charging_stage()
        wall: WallClock = stage.wall
        wall.error = EARLIEST - wall.true - TICK
        before = stage.clock.is_known
        wall.error += 2 * TICK
        assert (before, stage.clock.is_known) == (False, True)
        await stage.stop()

    in_virtual_time(story)
