"""The states of an EVSE as Mermaid diagrams, drawn by playing the machine: `python -m agent.core.evse_diagram`.

Time stands still for it and every authorization has the same number, which leaves so few states that all are visited.
"""

import sys
from collections.abc import Iterator
from typing import assert_never

from agent.core.evse import step
from agent.core.evse_events import (
    Accepted,
    DeviceBack,
    DeviceLost,
    Event,
    LateReference,
    LateRefused,
    Plugged,
    Reading,
    RecordedTooLate,
    RecordFailed,
    Refused,
    Restarted,
    Running,
    SessionUnrecorded,
    ShutDown,
    StopCommanded,
    Tapped,
    TimerFired,
    UnexpectedEvent,
    Unplugged,
)
from agent.core.evse_state import START, Device, Evse, Faulted, Plug, Settings, Timer
from agent.model import LateRefusal, Tap, Uid

FITTED = {
    "With a plug sensor and a meter": Settings(
        has_plug_sensor=True, has_meter=True, stop_after_s=0.0, most_waiting=0, late_refusal=LateRefusal.STOP
    ),
    "Without either": Settings(stop_after_s=0.0, most_waiting=0, late_refusal=LateRefusal.STOP),
}

Edges = dict[tuple[str, str], list[str]]
"""From phase, to phase: why."""

_CARD, _OTHER, _GROUP = Uid("A1"), Uid("B2"), "DE-ABC G"
_RUNNING = Running(1, _CARD, _GROUP, session_started=True)
_EVENTS: tuple[Event, ...] = (
    Restarted(0.0),
    Restarted(0.0, _RUNNING, Plug.IN, off_for_s=0.0),
    Restarted(0.0, _RUNNING, Plug.OUT, off_for_s=0.0),
    Tapped(0.0, Tap(_CARD, 0.0, "")),
    Tapped(0.0, Tap(_OTHER, 0.0, ""), frozenset({_GROUP})),
    Accepted(0.0, 1, _GROUP),
    Refused(0.0),
    RecordFailed(0.0),
    Plugged(0.0),
    Unplugged(0.0),
    Reading(0.0, 0, 0.0),
    Reading(0.0, 0, 7000.0),
    *(TimerFired(0.0, timer) for timer in Timer),
    LateRefused(0.0, 1),
    StopCommanded(0.0),
    SessionUnrecorded(0.0, 1),
    *(DeviceLost(0.0, device) for device in Device),
    *(DeviceBack(0.0, device) for device in Device),
    ShutDown(0.0),
)


def edges(settings: Settings) -> Edges:
    """Every way from one phase to another, in the order in which it is found."""
    found: Edges = {}
    seen, ahead = {START}, [START]
    while ahead:
        evse = ahead.pop(0)
        for event, after in _next(evse, settings):
            if after not in seen:
                seen.add(after)
                ahead.append(after)
            way = (_name(evse), _name(after))
            why = _why(evse, event, after)
            if way[0] != way[1] and why not in found.setdefault(way, []):
                found[way].append(why)
    return found


def _next(evse: Evse, settings: Settings) -> Iterator[tuple[Event, Evse]]:
    for event in _EVENTS:
        try:
            after, _ = step(evse, event, settings)
        except UnexpectedEvent:
            continue
        yield event, after


def _name(evse: Evse) -> str:
    return type(evse.phase).__name__ if evse.started else "[*]"


def _why(evse: Evse, event: Event, after: Evse) -> str:
    if isinstance(after.phase, Faulted) and (evse.lost or evse.stopping):
        return "it ends while a device is lost"
    if isinstance(event, Restarted) and event.running:
        return "session resumed" if after.relay_closed else "session found, and ended"
    return _words(evse, event)


def _words(evse: Evse, event: Event) -> str:  # noqa: C901, PLR0911, PLR0912  a table
    match event:
        case Tapped(tap=tap):
            mine = evse.running is None or evse.running.uid == tap.uid
            return ("card" if evse.running is None else "same card") if mine else "card of its group"
        case Accepted():
            return "accepted"
        case Refused():
            return "refused"
        case RecordFailed() | RecordedTooLate():
            return "record failed"
        case Plugged():
            return "plugged"
        case Unplugged():
            return "unplugged"
        case Reading():
            return "power flows"
        case TimerFired(timer=Timer.CONNECTION):
            return "connection time-out"
        case TimerFired():
            return "no power for a while"
        case LateRefused() | LateReference():
            return "late refusal"
        case StopCommanded():
            return "operator stops"
        case SessionUnrecorded():
            return "session not recorded"
        case DeviceLost(device=device):
            return f"{device} lost"
        case DeviceBack():
            return "devices back"
        case ShutDown():
            return "agent stops"
        case Restarted():
            return "start"
        case never:
            assert_never(never)


def mermaid(settings: Settings) -> str:
    """One diagram, without the ways that stay in their phase."""
    lines = [f"    {way[0]} --> {way[1]}: {', '.join(why)}" for way, why in edges(settings).items()]
    return "\n".join(["stateDiagram-v2", *lines])


def document() -> str:
    """All diagrams, as `docs/evse.md` has them."""
    blocks = (f"### {title}\n\n```mermaid\n{mermaid(settings)}\n```\n" for title, settings in FITTED.items())
    return "\n".join(blocks)


if __name__ == "__main__":
    sys.stdout.write(document())
