"""What lights and buzzers tell: the whole table."""

from itertools import product

import pytest

from agent.core.evse_effects import Text
from agent.core.signals import signal_of, verdict_signal
from agent.model import Decision, Reason, Signal, Source, Verdict


def decided(verdict: Verdict, reason: Reason) -> Decision:
    return Decision(verdict, reason, Source.LOCAL)


@pytest.mark.parametrize("text", Text)
def test_every_text_has_a_signal(text: Text) -> None:
    assert signal_of(text) in Signal


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        (Text.IDLE, Signal.READY),
        (Text.ASKING, Signal.ASKING),
        (Text.PLUG_IN, Signal.PLUG_IN),
        (Text.CHARGING, Signal.CHARGING),
        (Text.SUSPENDED, Signal.PAUSED),
        (Text.UNPLUG, Signal.DONE),
        (Text.OUT_OF_ORDER, Signal.FAULT),
    ],
)
def test_what_stands_there_has_a_signal_of_its_own(text: Text, signal: Signal) -> None:
    assert signal_of(text) is signal


def test_every_decision_tells_a_verdict() -> None:
    told = {
        verdict_signal(decided(verdict, reason), then)
        for verdict, reason, then in product(Verdict, Reason, (None, *Text))
    }
    assert told == {Signal.ACCEPTED, Signal.REFUSED, Signal.FAULT}


def test_refused_card_never_tells_accepted() -> None:
    told = {verdict_signal(decided(Verdict.REFUSED, reason), then) for reason, then in product(Reason, (None, *Text))}
    assert Signal.ACCEPTED not in told


@pytest.mark.parametrize(
    ("verdict", "reason", "then", "signal"),
    [
        (Verdict.ACCEPTED, Reason.WHITELISTED, None, Signal.ACCEPTED),
        (Verdict.ACCEPTED, Reason.WHITELISTED, Text.PLUG_IN, Signal.ACCEPTED),
        (Verdict.ACCEPTED, Reason.TIMEOUT, Text.CHARGING, Signal.ACCEPTED),
        (Verdict.ACCEPTED, Reason.STOPPED_SAME_CARD, Text.UNPLUG, Signal.ACCEPTED),
        (Verdict.ACCEPTED, Reason.ALLOWED, Text.OUT_OF_ORDER, Signal.FAULT),
        (Verdict.ACCEPTED, Reason.ALLOWED, Text.IN_USE, Signal.REFUSED),
        (Verdict.ACCEPTED, Reason.TOO_LATE, None, Signal.REFUSED),
        (Verdict.ACCEPTED, Reason.RELAY_FAULT, Text.CHARGING, Signal.FAULT),
        (Verdict.REFUSED, Reason.BLOCKED, Text.CHARGING, Signal.REFUSED),
        (Verdict.REFUSED, Reason.OUT_OF_ORDER, None, Signal.FAULT),
    ],
)
def test_decision_tells_what_came_of_the_card(
    verdict: Verdict, reason: Reason, then: Text | None, signal: Signal
) -> None:
    assert verdict_signal(decided(verdict, reason), then) is signal
