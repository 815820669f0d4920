"""Lets the checks run, all at once, and waits for none longer than there is time.

A check may hang for good: a network disk that is gone, a driver that is stuck. Each has a thread that the end of the
program does not wait for.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from agent.diagnosis.finding import Finding, bad
from agent.errors import AgentError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    subject: str
    look: Callable[[], Sequence[Finding]]
    """May raise AgentError or OSError, which becomes a finding."""


@dataclass(slots=True)
class _Running:
    check: Check
    ended: threading.Event = field(default_factory=threading.Event)
    findings: Sequence[Finding] | None = None

    def run(self) -> None:
        try:
            self.findings = self.check.look()
        except (AgentError, OSError) as error:
            self.findings = [bad(self.check.subject, str(error))]
        finally:
            self.ended.set()


def go_through(checks: Sequence[Check], *, limit_s: float) -> Iterator[Sequence[Finding]]:
    """What each found, in their order, each as soon as it and those before it are known.

    `limit_s` is for all of them together, from the start on. A fault of a check's own goes to `threading.excepthook`.
    """
    until = time.monotonic() + limit_s
    all_running = [_Running(check) for check in checks]
    for running in all_running:
        threading.Thread(target=running.run, name=running.check.subject, daemon=True).start()
    for running in all_running:
        subject = running.check.subject
        if not running.ended.wait(max(0.0, until - time.monotonic())):
            said = f"nothing came back within {limit_s:g} s"
            yield [bad(subject, said, "look into the kernel's log (dmesg) for a device or a disk that hangs")]
        elif running.findings is None:
            # What could not be looked at may be in the way of everything: it never passes for good.
            yield [bad(subject, "this check broke off", "what it printed says where; please report it with that")]
        else:
            yield running.findings


def asked_once(ask: Callable[[], T]) -> Callable[[], T]:
    """The same answer for every check, found by the first that asks while the others wait.

    Two that try the agent's lock at the same moment would each take the other for an agent.
    """
    answers: list[T] = []
    turn = threading.Lock()

    def answer() -> T:
        with turn:
            if not answers:
                answers.append(ask())
        return answers[0]

    return answer
