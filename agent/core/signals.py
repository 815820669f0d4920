"""What a light or a buzzer tells for each text and each decision: the display's words for who can't read them.

A table for the texts, and one rule for decisions. Colours and tones belong to the drivers.
"""

from agent.core.evse_effects import Text
from agent.model import Decision, Reason, Signal, Verdict

_SIGNALS: dict[Text, Signal] = {
    Text.IDLE: Signal.READY,
    Text.TAP_CARD: Signal.READY,
    Text.ASKING: Signal.ASKING,
    Text.REFUSED: Signal.REFUSED,
    Text.NOT_RECORDED: Signal.FAULT,
    Text.TOO_LATE: Signal.REFUSED,
    Text.PLUG_IN: Signal.PLUG_IN,
    Text.CHARGING: Signal.CHARGING,
    Text.CHARGING_WITHOUT_READER: Signal.CHARGING,
    Text.SUSPENDED: Signal.PAUSED,
    Text.IN_USE: Signal.REFUSED,
    Text.CANCELLED: Signal.READY,
    Text.STOPPED: Signal.DONE,
    Text.STOPPED_LATE: Signal.REFUSED,
    Text.STOPPED_BY_OPERATOR: Signal.DONE,
    Text.UNPLUGGED: Signal.READY,
    Text.UNPLUG: Signal.DONE,
    Text.CONNECTION_TIMEOUT: Signal.READY,
    Text.OUT_OF_ORDER: Signal.FAULT,
    Text.RESTARTING: Signal.FAULT,  # for a while no card can begin anything here
    Text.RESUMED: Signal.CHARGING,
    Text.POWER_LOST: Signal.DONE,
}

_OUR_FAULTS = frozenset({Reason.STORAGE_FAULT, Reason.RELAY_FAULT, Reason.OUT_OF_ORDER, Reason.AGENT_FAULT})
"""Whatever the card: another one would fare no better, so it is not the card that is refused."""
_NOTHING_BEGAN = frozenset({Reason.TOO_LATE, Reason.IN_USE})
"""Whoever had accepted the card: see `texts`, which says so in words."""


def signal_of(text: Text) -> Signal:
    """What stands beside a text that is no decision."""
    return _SIGNALS[text]


def verdict_signal(decision: Decision, then: Text | None = None) -> Signal:
    """What a decision tells; `then` is what follows from it at the EVSE, as in `texts.text_for`.

    A card that was accepted where nothing came of it is told what came of it: "accepted" would be a lie.
    """
    if decision.reason in _OUR_FAULTS:
        return Signal.FAULT
    if decision.verdict is Verdict.REFUSED or decision.reason in _NOTHING_BEGAN:
        return Signal.REFUSED
    follows = signal_of(then) if then else Signal.ACCEPTED
    return follows if follows in (Signal.FAULT, Signal.REFUSED) else Signal.ACCEPTED
