"""The state machine of one EVSE: `step` takes a state and an event, and returns the next state and what to do.

Pure: no clock, no I/O, no logging. Whatever the world can produce at any moment is handled in every phase, which
the type checker proves (`assert_never`) and a search over all sequences of events tries to break. What the caller
has promised never to send raises `UnexpectedEvent`, and nothing has changed.

Outputs follow from the state: the relay is closed in the phases of a session and in no other, so is the cable
locked, and a timer runs where its phase is. `step` compares before and after, and so can't forget to open.
"""

from typing import assert_never

from agent.core.evse_effects import CancelTimer, CloseRelay, Effect, LockCable, OpenRelay, SetTimer, Show, UnlockCable
from agent.core.evse_events import Event, Restarted, TimerFired, UnexpectedEvent
from agent.core.evse_state import Charging, Device, Evse, Settings, Suspended, Timer, Unlock, WaitingForPlug
from agent.core.evse_transitions import Outcome, react


def step(evse: Evse, event: Event, settings: Settings) -> Outcome:
    """The next state, and the effects in the order in which they are to be carried out.

    What opens or ends comes first, what closes comes after all that must be on record. Raises UnexpectedEvent.
    """
    if evse.started == isinstance(event, Restarted):
        raise UnexpectedEvent(evse, event)
    after, told = react(evse, event, settings)
    opening = evse.relay_closed or isinstance(event, Restarted)
    unlocking = _cable_locked(evse, settings) or isinstance(event, Restarted)
    effects: list[Effect] = []
    if opening and not after.relay_closed:
        effects.append(OpenRelay())
    effects += (effect for effect in told if not isinstance(effect, Show))
    if unlocking and not _cable_locked(after, settings):
        effects.append(UnlockCable())
    effects += _timer_changes(evse, after, event, settings)
    if _cable_locked(after, settings) and not _cable_locked(evse, settings):
        effects.append(LockCable())
    if after.relay_closed and not evse.relay_closed:
        effects.append(CloseRelay())
    effects += (effect for effect in told if isinstance(effect, Show))
    return after, tuple(effects)


def _cable_locked(evse: Evse, settings: Settings) -> bool:
    """Never without a reader: the driver could not ask for the cable."""
    if not evse.relay_closed or Device.READER in evse.lost:
        return False
    return not (settings.unlock is Unlock.WHEN_SUSPENDED and isinstance(evse.phase, Suspended))


def _timer(evse: Evse) -> Timer | None:
    match evse.phase:
        case WaitingForPlug():
            return Timer.CONNECTION
        case Charging(low=True):
            return Timer.SUSPEND
        case _:
            return None


def _timer_changes(before: Evse, after: Evse, event: Event, settings: Settings) -> tuple[Effect, ...]:
    was, now = _timer(before), _timer(after)
    if isinstance(event, TimerFired):
        was = None
    if was == now:
        return ()
    cancelled = () if was is None else (CancelTimer(was),)
    match now:
        case None:
            return cancelled
        case Timer.CONNECTION:
            return (*cancelled, SetTimer(now, settings.connection_timeout_s))
        case Timer.SUSPEND:
            return (*cancelled, SetTimer(now, settings.suspended_after_s))
        case never:
            assert_never(never)
