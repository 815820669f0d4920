"""One EVSE machine, told event by event."""

from dataclasses import dataclass, field

from agent.core.evse import step
from agent.core.evse_effects import Effect, Show, Text
from agent.core.evse_events import Accepted, Event, Plugged, Restarted, Tapped
from agent.core.evse_state import START, Evse, Phase, Plug, Settings
from agent.model import LateRefusal, Tap, Uid

SIMPLE = Settings()
PLUG_AND_METER = Settings(has_plug_sensor=True, has_meter=True)
STOPPING = Settings(has_plug_sensor=True, late_refusal=LateRefusal.STOP)
GROUP = "DE-ABC G"


def tapped(uid: str, at: float, groups: frozenset[str] | None = None) -> Tapped:
    return Tapped(at, Tap(Uid(uid), at, "left"), groups)


@dataclass
class Story:
    """One EVSE, what came of the last event, and what has been shown."""

    settings: Settings
    evse: Evse = START
    effects: tuple[Effect, ...] = ()
    shown: list[Text] = field(default_factory=list)

    def then(self, *events: Event) -> tuple[Effect, ...]:
        for event in events:
            self.evse, self.effects = step(self.evse, event, self.settings)
            self.shown += (effect.text for effect in self.effects if isinstance(effect, Show))
        return self.effects

    def is_in(self, phase: type[Phase]) -> bool:
        return isinstance(self.evse.phase, phase)

    @property
    def deeds(self) -> tuple[Effect, ...]:
        """The last effects without the texts."""
        return tuple(effect for effect in self.effects if not isinstance(effect, Show))


def story(settings: Settings, *events: Event) -> Story:
    begun = Story(settings)
    begun.then(Restarted(0.0, plug=Plug.OUT), *events)
    return begun


def charging(settings: Settings) -> Story:
    """The card A1 of a group charges since 12.0, as authorization 1."""
    if settings.has_plug_sensor:
        return story(settings, tapped("A1", 10.0), Accepted(11.0, 1, GROUP), Plugged(12.0))
    return story(settings, tapped("A1", 11.0), Accepted(12.0, 1, GROUP))
