"""Reads Prometheus' text format 0.0.4, strictly, and knows nothing of who wrote it.

Source: Prometheus documentation, Exposition formats, Text-based format; and Metric and label naming.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|(?=\}))')
VALUE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|Inf)|NaN")
ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """A metric with its samples, by name and labels."""

    kind: str
    words: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


@dataclass
class Page:
    """A whole answer."""

    families: dict[str, Family] = field(default_factory=dict)
    """By name."""

    def value(self, name: str, **labels: str) -> float:
        """Of one sample, by its name and all its labels."""
        return self.all_of(name)[frozenset(labels.items())]

    def all_of(self, name: str) -> dict[Labels, float]:
        """Of every sample of this name."""
        samples = self.families[self.family_of(name)].samples
        return {labels: value for (other, labels), value in samples.items() if other == name}

    def family_of(self, name: str) -> str:
        """The family that a sample of this name belongs to. Raises KeyError."""
        for family in (name, *(name.removesuffix(suffix) for suffix in SUFFIXES["histogram"])):
            if family in self.families:
                return family
        raise KeyError(name)

    def labels(self) -> dict[str, set[str]]:
        """The values of every label, wherever it is."""
        found: dict[str, set[str]] = {}
        for family in self.families.values():
            for _, labels in family.samples:
                for name, value in labels:
                    found.setdefault(name, set()).add(value)
        return found


def parse(text: str) -> Page:
    """Raises ValueError for whatever the format does not allow."""
    if not text.endswith("\n"):
        raise ValueError("the last line must end with a line feed")
    page, name = Page(), ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            if name in page.families or not NAME.fullmatch(name):
                raise ValueError(f"{name!r}: bad, or there already")
            page.families[name] = Family("", words)
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            if typed != name or page.families[name].kind or kind not in SUFFIXES:
                raise ValueError(f"out of place: {line!r}")
            page.families[name].kind = kind
        else:
            _take(page.families[name], name, line)
    for family, content in page.families.items():
        _check(family, content)
    return page


def _take(family: Family, family_name: str, line: str) -> None:
    match = NAME.match(line)
    if match is None or match[0] not in {family_name + suffix for suffix in SUFFIXES[family.kind]}:
        raise ValueError(f"not of {family_name}: {line!r}")
    at, labels = match.end(), {}
    if line[at] == "{":
        at += 1
        while line[at] != "}":
            label = LABEL.match(line, at)
            if label is None or label[1] in labels:
                raise ValueError(f"bad label: {line!r}")
            labels[label[1]] = re.sub(r"\\.", lambda escape: ESCAPED[escape[0]], label[2])
            at = label.end()
        at += 1
    if line[at] != " " or not VALUE.fullmatch(line[at + 1 :]):
        raise ValueError(f"bad value: {line!r}")
    key = match[0], frozenset(labels.items())
    if key in family.samples:
        raise ValueError(f"twice: {line!r}")
    family.samples[key] = float(line[at + 1 :])


def _check(name: str, family: Family) -> None:
    if not family.kind:
        raise ValueError(f"{name} has no type")
    if (family.kind == "counter") != name.endswith("_total"):
        raise ValueError(f"{name} is a {family.kind}")
    if family.kind != "gauge" and any(value < 0 for value in family.samples.values()):
        raise ValueError(f"{name}: counts below zero")
    if family.kind == "histogram":
        _check_buckets(name, family.samples)


def _check_buckets(name: str, samples: Mapping[tuple[str, Labels], float]) -> None:
    by_rest: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            rest = frozenset((key, text) for key, text in labels if key != "le")
            by_rest.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    for rest, found in by_rest.items():
        bounds, counts = zip(*found, strict=True)
        if list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf or list(counts) != sorted(counts):
            raise ValueError(f"{name}: buckets don't add up: {found}")
        if counts[-1] != samples[f"{name}_count", rest] or (f"{name}_sum", rest) not in samples:
            raise ValueError(f"{name}: count and sum don't fit the buckets")
