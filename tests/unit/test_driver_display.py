"""When a text goes and what comes back, in virtual time."""

import asyncio
from dataclasses import dataclass, field

from agent.core.evse_effects import Text
from agent.model import Decision, Reason, Source, Verdict
from agent.runtime.driver_display import TEXT_STANDS_S, DriverDisplay
from tests.scenario.stage import TextDisplay
from tests.scenario.virtual_time import in_virtual_time

ACCEPTED = Decision(Verdict.ACCEPTED, Reason.WHITELISTED, Source.WHITELIST)


@dataclass
class Seat:
    """A driver in front of a display."""

    stands: Text = Text.IDLE
    screen: TextDisplay = field(default_factory=TextDisplay)
    display: DriverDisplay = field(init=False)

    def __post_init__(self) -> None:
        self.display = DriverDisplay(self.screen, "en", standing=lambda: self.stands)

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
