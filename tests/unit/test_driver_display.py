"""When a text goes and what comes back, in virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from agent.core.evse_effects import Text
from agent.model import Decision, DisplayText, Reason, Signal, Source, Verdict
from agent.ports import Charset
from agent.runtime.driver_display import FIRST_WINDOW_S, SCROLLED_BY_S, TEXT_STANDS_S, DriverDisplay, IdleScreen
from agent.runtime.idle_screen import PAGE_S
from tests.scenario.virtual_time import in_virtual_time

ACCEPTED = Decision(Verdict.ACCEPTED, Reason.WHITELISTED, Source.WHITELIST)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Screen:
    """Keeps what it showed, and since when."""

    columns: int = 20
    rows: int = 2
    charset: Charset = Charset.UNICODE
    rows_shown: list[tuple[str, ...]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    @property
    def shown(self) -> list[str]:
        return [" ".join(lines) for lines in self.rows_shown]

    def show(self, lines: Sequence[str]) -> None:
        self.rows_shown.append(tuple(lines))
        self.at.append(now())

    def close(self, wait_s: float) -> None:
        """Nothing to give back."""


@dataclass
class Light:
    """Keeps what it was told."""

    told: list[Signal] = field(default_factory=list)

    def indicate(self, signal: Signal) -> None:
        self.told.append(signal)


@dataclass
class Seat:
    """A driver in front of a display and a light."""

    stands: Text = Text.IDLE
    idle: IdleScreen = field(default_factory=IdleScreen)
    scroll: bool = True
    screen: Screen = field(default_factory=Screen)
    light: Light = field(default_factory=Light)
    display: DriverDisplay = field(init=False)

    def __post_init__(self) -> None:
        self.display = DriverDisplay(
            self.screen,
            "en",
            standing=lambda: self.stands,
            idle=self.idle,
            scroll=self.scroll,
            indicators=[self.light],
        )

    async def later(self) -> list[str]:
        """What was shown in order, long after the last text."""
        await asyncio.sleep(10 * TEXT_STANDS_S)
        return self.screen.shown


def test_verdict_gives_way_to_what_stands_there_by_then() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(ACCEPTED, Text.PLUG_IN)
        seat.stands = Text.PLUG_IN
        assert await seat.later() == ["Card accepted Please plug in", "Please plug in"]

    in_virtual_time(story)


def test_verdict_with_charge_begun_reads_charging() -> None:
    async def story() -> None:
        seat = Seat(Text.CHARGING)
        seat.display.verdict(ACCEPTED, Text.CHARGING)
        assert await seat.later() == ["Card accepted Charging", "Charging Tap card to stop"]

    in_virtual_time(story)


def test_record_takes_the_lines_that_are_shown() -> None:
    assert Seat().display.lines(ACCEPTED, Text.CHARGING) == ("Card accepted", "Charging")


def test_event_gives_way_to_what_stands_there() -> None:
    async def story() -> None:
        seat = Seat(Text.UNPLUG)
        seat.display.say(Text.STOPPED)
        assert await seat.later() == ["Charging stopped", "Charging stopped Please unplug"]

    in_virtual_time(story)


def test_asking_stands_until_the_verdict() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.say(Text.ASKING)
        assert await seat.later() == ["One moment… Checking your card"]

    in_virtual_time(story)


def test_standing_text_said_stays_without_being_shown_again() -> None:
    async def story() -> None:
        seat = Seat(Text.SUSPENDED)
        seat.display.say(Text.SUSPENDED)
        assert await seat.later() == ["Charging paused Tap card to stop"]

    in_virtual_time(story)


def test_new_text_takes_the_time_of_the_old_one_along() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.say(Text.REFUSED)
        seat.display.say(Text.ASKING)
        assert await seat.later() == ["Card not accepted", "One moment… Checking your card"]

    in_virtual_time(story)


def test_session_is_told_in_its_drivers_language_and_then_in_the_default_again() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.language = "de-DE"
        seat.display.say(Text.STOPPED)
        seat.display.language = None
        assert await seat.later() == ["Laden beendet", "Please hold your card to the reader"]

    in_virtual_time(story)


def test_stopped_display_puts_nothing_back() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.say(Text.STOPPED)
        seat.display.stop()
        assert await seat.later() == ["Charging stopped"]

    in_virtual_time(story)


# Texts longer than the display

LONG = "one two three four five six seven eight nine ten eleven twelve"
TOLD_LONG = Decision(Verdict.REFUSED, Reason.BLOCKED, Source.REALTIME, info=DisplayText("en", LONG))
LONGEST = Decision(Verdict.REFUSED, Reason.BLOCKED, Source.REALTIME, info=DisplayText("en", "word " * 100))
"""As long as OCPI allows, nearly."""


def test_long_text_moves_through_the_display_line_by_line_and_then_gives_way() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(TOLD_LONG)
        assert await seat.later() == [
            "one two three four five six seven eight",
            "five six seven eight nine ten eleven",
            "nine ten eleven twelve",
            "Please hold your card to the reader",
        ]

    in_virtual_time(story)


def test_beginning_and_end_of_a_long_text_stand_longer_than_what_is_between() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(TOLD_LONG)
        begun = now()
        await asyncio.sleep(100)
        assert [at - begun for at in seat.screen.at] == [0.0, 3.0, 4.5, 7.5]

    in_virtual_time(story)


def test_longest_text_was_shown_whole_within_half_a_minute() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(LONGEST)
        begun = now()
        await asyncio.sleep(100)
        assert len(seat.screen.shown) == len(seat.display.lines(LONGEST))
        assert seat.screen.at[-1] - begun == pytest.approx(SCROLLED_BY_S)

    in_virtual_time(story)


def test_new_text_interrupts_a_moving_one_at_once() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(TOLD_LONG)
        await asyncio.sleep(FIRST_WINDOW_S + 0.1)
        seat.display.say(Text.ASKING)
        assert (await seat.later())[2:] == ["One moment… Checking your card"]

    in_virtual_time(story)


def test_record_of_a_moving_text_keeps_the_whole() -> None:
    assert " ".join(Seat().display.lines(TOLD_LONG)) == LONG


def test_without_scrolling_a_long_text_is_cut_as_it_stands() -> None:
    async def story() -> None:
        seat = Seat(scroll=False)
        seat.display.verdict(TOLD_LONG)
        assert (await seat.later())[0] == "one two three four five six seven eigh…"
        assert seat.display.lines(TOLD_LONG) == ("one two three four", "five six seven eigh…")

    in_virtual_time(story)


def test_standing_text_that_is_too_long_begins_again_and_again() -> None:
    async def story() -> None:
        seat = Seat(Text.OUT_OF_ORDER, screen=Screen(columns=8, rows=1))
        seat.display.standing()
        await asyncio.sleep(100)
        assert seat.screen.shown[:5] == ["Out of", "order", "Please", "call", "Out of"]

    in_virtual_time(story)


# The idle screen


def at_five_past_two() -> datetime:
    return datetime(2026, 11, 23, 14, 5, 30)  # noqa: DTZ001  # what the driver's watch shows


def test_idle_screen_with_room_shows_everything_on_one_page() -> None:
    async def story() -> None:
        seat = Seat(idle=IdleScreen("Stadtwerke", at_five_past_two), screen=Screen(rows=4))
        seat.display.standing()
        assert seat.screen.rows_shown == [("Stadtwerke", "Please hold your", "card to the reader", "14:05")]

    in_virtual_time(story)


def test_idle_screen_without_room_takes_turns() -> None:
    async def story() -> None:
        seat = Seat(idle=IdleScreen("Stadtwerke", at_five_past_two))
        seat.display.standing()
        await asyncio.sleep(2.5 * PAGE_S)
        invitation = ("Please hold your", "card to the reader")
        assert seat.screen.rows_shown == [invitation, ("Stadtwerke", "14:05"), invitation]

    in_virtual_time(story)


def test_idle_screen_shows_no_clock_while_the_time_is_not_known() -> None:
    async def story() -> None:
        seat = Seat(idle=IdleScreen(clock=lambda: None), screen=Screen(rows=4))
        seat.display.standing()
        assert seat.screen.rows_shown == [("Please hold your", "card to the reader")]

    in_virtual_time(story)


def test_idle_clock_is_looked_at_when_the_minute_is_over_and_shown_when_it_changed() -> None:
    async def story() -> None:
        begun, looks = now(), list[float]()

        def clock() -> datetime:
            looks.append(now() - begun)
            return at_five_past_two() + timedelta(seconds=now() - begun)

        seat = Seat(idle=IdleScreen(clock=clock), screen=Screen(rows=4))
        seat.display.standing()
        await asyncio.sleep(95)
        assert [rows[-1] for rows in seat.screen.rows_shown] == ["14:05", "14:06", "14:07"]
        assert {*looks} == {0.0, 30.0, 90.0}

    in_virtual_time(story)


def test_idle_screen_gives_way_to_a_card_and_comes_back() -> None:
    async def story() -> None:
        seat = Seat(idle=IdleScreen("Stadtwerke"), screen=Screen(rows=4))
        seat.display.standing()
        seat.display.verdict(ACCEPTED, Text.CHARGING)
        assert [shown.partition(" ")[0] for shown in await seat.later()] == ["Stadtwerke", "Card", "Stadtwerke"]

    in_virtual_time(story)


def test_idle_screen_with_nothing_beside_the_invitation_wakes_nobody() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.standing()
        assert await seat.later() == ["Please hold your card to the reader"]

    in_virtual_time(story)


@pytest.mark.parametrize(("columns", "rows"), [(8, 1), (16, 2), (20, 2), (20, 4)])
def test_idle_pages_on_any_display_fit_and_say_everything(columns: int, rows: int) -> None:
    idle = IdleScreen("Parkhaus am Hauptbahnhof, Hotline 0800 123456", at_five_past_two)
    pages = idle.pages(Screen(columns=columns, rows=rows), "de")
    said = " ".join(line for page in pages for line in page)
    assert [page for page in pages if len(page) > rows or max(map(len, page)) > columns] == []
    assert "Hotline" in said
    assert "14:05" in said


# Lights and buzzers


def test_lights_are_told_reading_asking_verdict_and_then_what_stands_there() -> None:
    async def story() -> None:
        seat = Seat(Text.CHARGING)
        seat.display.reading()
        seat.display.say(Text.ASKING)
        seat.display.verdict(ACCEPTED, Text.CHARGING)
        await seat.later()
        assert seat.light.told == [Signal.READING, Signal.ASKING, Signal.ACCEPTED, Signal.CHARGING]

    in_virtual_time(story)


def test_card_that_is_read_changes_no_text() -> None:
    seat = Seat()
    seat.display.reading()
    assert seat.screen.shown == []


def test_light_tells_refused_for_as_long_as_the_text_stands() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(TOLD_LONG)
        await asyncio.sleep(7.4)
        assert seat.light.told == [Signal.REFUSED]
        await asyncio.sleep(0.2)
        assert seat.light.told == [Signal.REFUSED, Signal.READY]

    in_virtual_time(story)


def test_same_signal_standing_again_is_not_told_again() -> None:
    async def story() -> None:
        seat = Seat(Text.PLUG_IN)
        seat.display.say(Text.PLUG_IN)
        seat.display.standing()
        await seat.later()
        assert seat.light.told == [Signal.PLUG_IN]

    in_virtual_time(story)


def test_second_refused_card_is_told_again() -> None:
    async def story() -> None:
        seat = Seat()
        seat.display.verdict(TOLD_LONG)
        seat.display.verdict(TOLD_LONG)
        assert seat.light.told == [Signal.REFUSED, Signal.REFUSED]

    in_virtual_time(story)
