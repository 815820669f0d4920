"""The search can fail: each of these broken machines is caught by it.

A mutant is the machine's own source with one passage changed. A passage that is not there exactly once fails its
test, so that no mutant quietly becomes the machine itself.
"""

from inspect import getsource
from types import ModuleType
from typing import cast

import pytest

from agent.core import evse, evse_transitions
from agent.core.evse_events import UnexpectedEvent
from tests.unit.evse_search import check_ways_out, explore
from tests.unit.evse_world import BrokenPromise, Machine
from tests.unit.test_evse_search import FULL, PLUGGED, SIMPLE

MUTANTS = {
    "a lost relay ends no charge": (
        "_DEMAND_OPEN = {Device.RELAY: EndReason.RELAY_FAULT, Device.PLUG: EndReason.PLUG_FAULT}",
        "_DEMAND_OPEN = {Device.PLUG: EndReason.PLUG_FAULT}",
    ),
    "a lost plug sensor ends no charge": (
        "_DEMAND_OPEN = {Device.RELAY: EndReason.RELAY_FAULT, Device.PLUG: EndReason.PLUG_FAULT}",
        "_DEMAND_OPEN = {Device.RELAY: EndReason.RELAY_FAULT}",
    ),
    "an accepted card overrides a fault": (
        "because = EndReason.SHUTDOWN if evse.stopping else _worst(evse, _FORBID_START)",
        "because = None",
    ),
    "a charge begins without a car": (
        "if settings.has_plug_sensor and evse.plug is not Plug.IN:",
        "if settings.has_plug_sensor and evse.plug is Plug.UNKNOWN:",
    ),
    "a session begins without its record": (
        "return after, (StartSession(authorization.id, at, evse.register_wh), Show(standing_text(after)))",
        "return after, (Show(standing_text(after)),)",
    ),
    "the relay closes before the session is on record": (
        "    effects += (effect for effect in told if not isinstance(effect, Show))\n",
        (
            "    if after.relay_closed and not evse.relay_closed:\n"
            "        effects.append(CloseRelay())\n"
            "    effects += (effect for effect in told if not isinstance(effect, Show))\n"
        ),
    ),
    "the relay opens after the end is on record": (
        (
            "    if opening and not after.relay_closed:\n"
            "        effects.append(OpenRelay())\n"
            "    effects += (effect for effect in told if not isinstance(effect, Show))\n"
        ),
        (
            "    effects += (effect for effect in told if not isinstance(effect, Show))\n"
            "    if opening and not after.relay_closed:\n"
            "        effects.append(OpenRelay())\n"
        ),
    ),
    "the relay never opens": (
        "if opening and not after.relay_closed:",
        "if False:",
    ),
    "an unplugged car keeps its session": (
        ("        case Charging() | Suspended():\n            return _end(now, event.at, EndReason.UNPLUGGED"),
        (
            "        case Suspended():\n"
            "            return now, ()\n"
            "        case Charging():\n"
            "            return _end(now, event.at, EndReason.UNPLUGGED"
        ),
    ),
    "an end is not recorded": (
        "return after, (end, Show(text))",
        "return after, (Show(text),)",
    ),
    "a session is ended as if it had not begun": (
        ("    if had_session:\n        end = "),
        ("    if False:\n        end = "),
    ),
    "a record that comes too late stays open": (
        "return evse, (EndAuthorization(event.authorization_id, EndReason.TOO_LATE),)",
        "return evse, ()",
    ),
    "a late refusal is for whoever charges": (
        "if settings.late_refusal is LateRefusal.KEEP or not evse.runs(event.authorization_id):",
        "if settings.late_refusal is LateRefusal.KEEP or evse.running is None:",
    ),
    "a stop leaves a driver waiting for the plug": (
        (
            "        case WaitingForPlug():\n"
            "            return _end(now, event.at, EndReason.SHUTDOWN, Text.RESTARTING)\n"
        ),
        ("        case WaitingForPlug():\n            return now, ()\n"),
    ),
    "a restart forgets what ran": (
        "    if found is None:\n",
        "    if found is None or not found.session_started:\n",
    ),
    "a restart resumes without the car": (
        ("    if event.plug is Plug.OUT:\n        return EndReason.UNPLUGGED_WHILE_OFF\n"),
        "",
    ),
    "a restart begins the session anew": (
        "return resumed, (ResumeSession(found.authorization_id, event.at), Show",
        "return resumed, (StartSession(found.authorization_id, event.at, None), Show",
    ),
    "a cable is locked with no reader to ask": (
        "if not evse.relay_closed or Device.READER in evse.lost:",
        "if not evse.relay_closed:",
    ),
    "a cable is never let go": (
        "if unlocking and not _cable_locked(after, settings):",
        "if False:",
    ),
    "a restart leaves a cable locked": (
        "unlocking = _cable_locked(evse, settings) or isinstance(event, Restarted)",
        "unlocking = _cable_locked(evse, settings)",
    ),
    "a timer is not cancelled": (
        "cancelled = () if was is None else (CancelTimer(was),)",
        "cancelled = ()",
    ),
    "the wait for the plug has no end": (
        ("        case WaitingForPlug():\n            return Timer.CONNECTION\n"),
        "",
    ),
    "a timer that fires is not expected": (
        "case (Timer.SUSPEND, Charging(authorization, low=True)):",
        "case (Timer.SUSPEND, Suspended(authorization)):",
    ),
    "a fault is for ever": (
        "if isinstance(evse.phase, Faulted) and not now.lost",
        "if evse.stopping and not now.lost",
    ),
    "a driver is to unplug for ever": (
        ("        case Available() | WaitingForUnplug():\n            return replace(now, phase=Available())"),
        ("        case Available() | WaitingForUnplug():\n            return replace(now, phase=evse.phase)"),
    ),
    "another card is refused without a word": (
        "return evse, (RecordRefusal(tap, Refusal.IN_USE), Show(Text.IN_USE))",
        "return evse, (RecordRefusal(tap, Refusal.IN_USE),)",
    ),
    "a free charge point asks for a card in vain": (
        "    return replace(evse, phase=Faulted() if evse.lost or evse.stopping else Available())",
        "    return replace(evse, phase=Available())",
    ),
    "two decisions at once": (
        "return replace(evse, phase=_queued(evse, phase, tap, settings)), (Show(Text.ASKING),)",
        "return replace(evse, phase=Authorizing(tap)), (AskDecision(tap), Show(Text.ASKING))",
    ),
}


def mutant(old: str, new: str) -> Machine:
    """The machine with one passage changed, loaded beside the real one."""
    transitions, machine = getsource(evse_transitions), getsource(evse)
    assert (transitions + machine).count(old) == 1, "the passage is not there exactly once"
    changed = ModuleType("changed_transitions")
    exec(transitions.replace(old, new), changed.__dict__)
    own = "from agent.core.evse_transitions import Outcome, react\n"
    assert own in machine
    module = ModuleType("changed_machine")
    module.__dict__.update(Outcome=changed.__dict__["Outcome"], react=changed.__dict__["react"])
    exec(machine.replace(own, "").replace(old, new), module.__dict__)
    return cast("Machine", module.__dict__["step"])


def search(machine: Machine) -> None:
    for settings in (SIMPLE, PLUGGED, FULL):
        check_ways_out(explore(settings, machine))


@pytest.mark.parametrize("passage", MUTANTS.values(), ids=MUTANTS)
def test_broken_machine_is_caught(passage: tuple[str, str]) -> None:
    machine = mutant(*passage)
    with pytest.raises((BrokenPromise, UnexpectedEvent)):
        search(machine)


def test_machine_that_is_loaded_like_a_mutant_and_unchanged_is_not_caught() -> None:
    check_ways_out(explore(PLUGGED, mutant("if event.device in evse.lost:", "if event.device in evse.lost:")))
