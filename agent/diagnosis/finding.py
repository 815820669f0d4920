"""What a check found, in one line."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What a finding means for the charge point."""

    GOOD = "good"
    WARNING = "warning"
    """The agent does its job; something should be looked at all the same."""
    BAD = "bad"
    """Like this the agent could not do its job, or not all of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. Never holds a card's uid or a credentials token."""

    level: Level
    subject: str
    sentence: str
    remedy: str = ""
    """What to do; empty where there is nothing to be done."""

    def in_words(self) -> str:
        """The line that a person reads."""
        remedy = f"; what helps: {self.remedy}" if self.remedy else ""
        return f"{self.level:<9} {self.subject}: {self.sentence}{remedy}"

    def as_object(self) -> dict[str, object]:
        """The line that a program reads."""
        return {
            "level": str(self.level),
            "subject": self.subject,
            "sentence": self.sentence,
            "remedy": self.remedy or None,
        }


def good(subject: str, sentence: str) -> Finding:
    """As it should be."""
    return Finding(Level.GOOD, subject, sentence)


def warning(subject: str, sentence: str, remedy: str = "") -> Finding:
    """To be looked at."""
    return Finding(Level.WARNING, subject, sentence, remedy)


def bad(subject: str, sentence: str, remedy: str = "") -> Finding:
    """In the way of the agent's job."""
    return Finding(Level.BAD, subject, sentence, remedy)


def counts(findings: Iterable[Finding]) -> dict[Level, int]:
    """How many there are of each level."""
    found = [finding.level for finding in findings]
    return {level: found.count(level) for level in Level}
