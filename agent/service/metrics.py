"""What is counted of a running agent, and how it stands, as text that Prometheus reads.

A scrape reads values in memory and files of /proc: no database, no device. Every label is a value of an enum or a name
that the operator has given: never a card, and nothing that a peer has written. The text is written by hand: decision
0020.
"""

import logging
import math
import os
import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

from agent.core.evse_state import Device
from agent.errors import StoreError
from agent.model import Answers, Outcome, Policy, Question, Reason, Source
from agent.ports import Backend, ReaderState
from agent.runtime.authorize import SHORTEST_S
from agent.runtime.charge_point import Settled
from agent.runtime.clock import Clock
from agent.service.facts import PHASES, EvseFacts, Facts, PeerFacts, ReaderFacts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format (Prometheus documentation, Exposition formats)."""

_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""What a whitelist and a peer nearby take."""

_LATE_S = 0.01
"""A relay that closes this long after the deadline has overshot it by more than the agent promises."""

_READER_STATES = {ReaderState.READY: "ready", ReaderState.MISSING: "missing", None: "silent"}
"""Silent until it has first spoken."""

_OUTCOMES = [(outcome.value, outcome) for outcome in Outcome]
_DEVICES = [device.value for device in Device]

_Sample = tuple[str, float]
"""Labels as they are written, and the value."""


class Metrics:
    """Counts what happens, and writes it down beside how things stand. All but the log's count in the event loop."""

    def __init__(
        self,
        facts: Callable[[], Facts],
        *,
        policy: Policy,
        clock: Clock,
        version: str,
    ) -> None:
        """`facts`: how the agent stands, as `Lookout.facts` says it."""
        self._facts = facts
        self._clock = clock
        self._version = version
        self.rounds = 0
        """In which the watchdog found every loop turning."""
        self._taps: Counter[str] = Counter()
        """By labels."""
        self._too_late: Counter[str] = Counter()
        """By EVSE."""
        self._unrecorded = 0
        self._questions: Counter[tuple[str, Outcome]] = Counter()
        self._missed: Counter[str] = Counter()
        self._whitelist_faults = 0
        self._bounds: tuple[float, ...] = ()
        self._decided: dict[Source, _Histogram] = {}
        self._switched: dict[Source, _Histogram] = {}
        self.use(policy)
        self._log = _LogCount()

    def use(self, policy: Policy) -> None:
        """From now on this policy holds. With another deadline the histograms begin anew: their bounds are others."""
        self._policy = policy
        bounds = buckets(policy)
        if bounds != self._bounds:
            self._bounds = bounds
            self._decided = {source: _Histogram(bounds) for source in Source}
            self._switched = {source: _Histogram(bounds) for source in Source if source is not Source.LOCAL}

    # ---- what happens

    def settled(self, tap: Settled) -> None:
        """A tap is over."""
        entry = tap.entry
        came_to = f'verdict="{entry.verdict.value}",reason="{entry.reason.value}",source="{entry.source.value}"'
        self._taps[f"{_label('evse', entry.evse_uid)},{came_to}"] += 1
        # Apart, and from zero on: the first of a series that appears with it is no increase to Prometheus.
        self._too_late[entry.evse_uid] += entry.reason is Reason.TOO_LATE
        self._unrecorded += entry.reason is Reason.STORAGE_FAULT
        self._decided[entry.source].observe(entry.latency_ms / 1000)
        if entry.relay_closed and (switched := self._switched.get(entry.source)) is not None:
            switched.observe(tap.switched_at - tap.tap.at)

    def whitelist_fault(self, error: StoreError) -> None:  # noqa: ARG002  as `on_whitelist_fault` is called
        """The whitelist could not be read for a tap."""
        self._whitelist_faults += 1

    def watchdog_round(self) -> None:
        """The watchdog has found every loop turning."""
        self.rounds += 1

    def counted(self, backend: Backend) -> Backend:
        """The same backend, whose peers' answers are counted."""
        return _CountedBackend(backend, self._clock.monotonic, self._questions, self._missed)

    @contextmanager
    def log_counted(self) -> Iterator[None]:
        """Meanwhile the messages that reach the root logger are counted, by level."""
        logging.getLogger().addHandler(self._log)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self._log)

    # ---- how it is written

    def text(self) -> str:
        """All of it now; takes a millisecond or two of the event loop for a site of 64 EVSEs."""
        facts = self._facts()
        page = _Page()
        self._agent(page)
        self._cards(page, facts.evses)
        _evses(page, facts.evses)
        _readers(page, facts.readers)
        self._peers(page, facts.peers)
        self._outbox(page, facts)
        _process(page)
        return page.text()

    def _agent(self, page: "_Page") -> None:
        about = ",".join((_label("version", self._version), _label("python", platform.python_version())))
        page.gauge("chargepoint_agent_info", "Always 1; the labels say which program runs.", [(about, 1)])
        rounds = "Rounds in which the watchdog found every loop turning."
        page.counter("chargepoint_watchdog_rounds_total", rounds, [("", self.rounds)])
        known = "Whether the wall clock has been set."
        page.gauge("chargepoint_clock_known", known, [("", self._clock.is_known)])
        page.counter("chargepoint_log_messages_total", "Log messages, by level.", self._log.samples())
        deadline = "The policy's deadline, from the last byte of the uid to the relay."
        page.gauge("chargepoint_deadline_seconds", deadline, [("", self._policy.deadline_s)])

    def _cards(self, page: "_Page", evses: Sequence[EvseFacts]) -> None:
        page.counter("chargepoint_taps_total", "Taps that are over, by what they came to.", self._taps.items())
        page.counter(
            "chargepoint_taps_too_late_total",
            "Taps after which no relay was closed because the record was not on disk by the deadline.",
            ((_label("evse", evse.uid), self._too_late[evse.uid]) for evse in evses),
        )
        page.counter(
            "chargepoint_disk_faults_total",
            "Taps for which a database could not be written (state) or read (whitelist).",
            [('database="state"', self._unrecorded), ('database="whitelist"', self._whitelist_faults)],
        )
        decision = "From the last byte of the uid to the decision, by who decided."
        page.histogram("chargepoint_decision_seconds", decision, "source", self._decided)
        relay = "From the last byte of the uid to the closed relay, by who accepted."
        page.histogram("chargepoint_tap_to_relay_seconds", relay, "source", self._switched)

    def _peers(self, page: "_Page", peers: Sequence[PeerFacts]) -> None:
        labelled = [(_label("peer", peer.name), peer) for peer in peers]
        self._forget_all_but({peer.name for peer in peers})
        up = "Whether it is asked and takes our credentials token."
        page.gauge(
            "chargepoint_peer_up", up, ((label, p.is_asked and not p.rejects_credentials) for label, p in labelled)
        )
        breaker = "Whether its breaker is open: taps are decided without it."
        page.gauge("chargepoint_peer_breaker_open", breaker, ((label, not p.is_asked) for label, p in labelled))
        rejected = "Whether its last answer was that it does not know our credentials token."
        page.gauge(
            "chargepoint_peer_credentials_rejected", rejected, ((label, p.rejects_credentials) for label, p in labelled)
        )
        page.counter(
            "chargepoint_questions_total",
            "What asking it about a tap came to by the deadline.",
            (
                (f'{label},outcome="{name}"', self._questions[peer.name, outcome])
                for label, peer in labelled
                for name, outcome in _OUTCOMES
            ),
        )
        missed = "Questions that it had not answered by the deadline."
        page.counter(
            "chargepoint_peer_deadline_misses_total", missed, ((label, self._missed[p.name]) for label, p in labelled)
        )
        tokens = "Valid tokens of it in the whitelist."
        page.gauge("chargepoint_whitelist_tokens", tokens, ((label, peer.tokens) for label, peer in labelled))
        page.gauge(
            "chargepoint_whitelist_age_seconds",
            "Since its last complete sync, by the charger's clock; +Inf without one. None while the clock is unknown.",
            ((label, self._age_s(peer)) for label, peer in labelled if self._clock.is_known),
        )
        stale = "The age at which the policy calls a whitelist stale."
        page.gauge("chargepoint_whitelist_max_age_seconds", stale, [("", self._policy.max_age.total_seconds())])

    def _outbox(self, page: "_Page", facts: Facts) -> None:
        backlog = facts.backlog
        sessions = "Sessions of which a peer does not know the newest state."
        page.gauge("chargepoint_outbox_sessions", sessions, [("", backlog.sessions)])
        page.gauge("chargepoint_outbox_cdrs", "CDRs that are due to be sent.", [("", backlog.cdrs)])
        parked = "CDRs that a peer has refused, which wait for somebody."
        page.gauge("chargepoint_outbox_cdrs_parked", parked, [("", backlog.parked)])
        oldest = 0.0 if backlog.since is None else (self._clock.now() - backlog.since).total_seconds()
        page.gauge(
            "chargepoint_outbox_oldest_seconds",
            "Since the oldest that is due became so, by the charger's clock. None while the clock is unknown.",
            [("", max(0.0, oldest))] if self._clock.is_known else [],
        )

    def _age_s(self, peer: PeerFacts) -> float:
        if peer.synced_at is None:
            return math.inf
        return max(0.0, (self._clock.now() - peer.synced_at).total_seconds())

    def _forget_all_but(self, names: set[str]) -> None:
        """Peers come and go: what is counted of one that has gone is not kept for ever."""
        for question in [key for key in self._questions if key[0] not in names]:
            del self._questions[question]
        for name in self._missed.keys() - names:
            del self._missed[name]


def buckets(policy: Policy) -> tuple[float, ...]:
    """The upper bounds of the histograms, in seconds: finest around the deadline."""
    end = policy.deadline_s
    bounds = {*_QUICK_S, end / 2, end - policy.reserve_s, end, end + _LATE_S, 2 * end}
    return tuple(sorted({round(bound, 6) for bound in bounds if bound > 0}))


class _Histogram:
    """Durations in seconds, by bucket; a value that is a bucket's bound is in it."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum_s = 0.0

    def observe(self, value_s: float) -> None:
        self.counts[bisect_left(self.bounds, value_s)] += 1
        self.sum_s += value_s


class _CountedBackend:
    """Asks as another one does, and counts what the peers' answers were."""

    def __init__(
        self,
        backend: Backend,
        monotonic: Callable[[], float],
        questions: "Counter[tuple[str, Outcome]]",
        missed: "Counter[str]",
    ) -> None:
        self._backend = backend
        self._monotonic = monotonic
        self._questions = questions
        self._missed = missed

    async def ask(self, question: Question, until: float) -> Answers:
        had_s = until - self._monotonic()
        answers = await self._backend.ask(question, until)
        # A peer that times out sooner has lost the connection; one without any time was not asked.
        is_over = had_s >= SHORTEST_S and self._monotonic() >= until
        for answer in answers.given:
            self._questions[answer.peer, answer.outcome] += 1
            if is_over and answer.outcome is Outcome.TIMEOUT:
                self._missed[answer.peer] += 1
        return answers


class _LogCount(logging.Handler):
    """Counts messages; from any thread, under the lock that every handler has."""

    _LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)

    def __init__(self) -> None:
        super().__init__()
        self._counts = dict.fromkeys(self._LEVELS, 0)

    def emit(self, record: logging.LogRecord) -> None:
        level = max((level for level in self._LEVELS if level <= record.levelno), default=logging.DEBUG)
        self._counts[level] += 1

    def samples(self) -> list[_Sample]:
        """By level."""
        return [(f'level="{logging.getLevelName(level).lower()}"', count) for level, count in self._counts.items()]


# ---- parts of the page


def _evses(page: "_Page", evses: Sequence[EvseFacts]) -> None:
    labelled = [(_label("evse", evse.uid), evse) for evse in evses]
    page.gauge(
        "chargepoint_evse_phase",
        "1 for the phase that the EVSE is in.",
        ((f'{label},phase="{phase}"', phase == evse.phase) for label, evse in labelled for phase in PHASES),
    )
    live = "Whether a card held to it would be decided."
    page.gauge("chargepoint_evse_live", live, ((label, evse.is_live) for label, evse in labelled))
    closed = "Whether current is meant to flow."
    page.gauge("chargepoint_evse_relay_closed", closed, ((label, evse.relay_closed) for label, evse in labelled))
    fault = "Whether its relay or contactor is out of order."
    page.gauge("chargepoint_evse_relay_fault", fault, ((label, bool(evse.relay_fault)) for label, evse in labelled))
    page.gauge(
        "chargepoint_evse_device_lost",
        "Whether the device is lost; reader: every one of the EVSE's.",
        ((f'{label},device="{device}"', device in evse.lost) for label, evse in labelled for device in _DEVICES),
    )


def _readers(page: "_Page", readers: Sequence[ReaderFacts]) -> None:
    labelled = [(_label("reader", reader.name), reader) for reader in readers]
    page.gauge(
        "chargepoint_reader_state",
        "1 for the state that the reader is in; silent until it has first spoken.",
        (
            (f'{label},state="{name}"', reader.state is state)
            for label, reader in labelled
            for state, name in _READER_STATES.items()
        ),
    )
    bad = "Frames that were cut, garbled, or had a wrong checksum."
    page.counter("chargepoint_reader_bad_frames_total", bad, ((label, reader.bad_frames) for label, reader in labelled))


def _process(page: "_Page") -> None:
    """Under the names that Prometheus' own clients have given them; Linux, proc(5)."""
    stat = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    tick, size = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    # Counted from the field after the name, which is the third of proc(5).
    cpu_s, started_s = (int(stat[11]) + int(stat[12])) / tick, int(stat[19]) / tick
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    page.counter("process_cpu_seconds_total", "Processor time, user and system.", [("", cpu_s)])
    page.gauge("process_resident_memory_bytes", "Resident memory.", [("", int(stat[21]) * size)])
    page.gauge("process_virtual_memory_bytes", "Virtual memory.", [("", int(stat[20]))])
    page.gauge("process_open_fds", "Open files.", [("", len(os.listdir("/proc/self/fd")))])  # noqa: PTH208  names alone
    page.gauge("process_threads", "Threads.", [("", int(stat[17]))])
    page.gauge(
        "process_start_time_seconds", "The start, by the clock as it is now.", [("", round(time.time() - age_s))]
    )
    after_boot = "The start, in seconds after the boot: changes with each start, and with nothing else."
    page.gauge("chargepoint_start_after_boot_seconds", after_boot, [("", started_s)])


class _Page:
    """Writes families of samples in Prometheus' text format 0.0.4, which readers of OpenMetrics take as well.

    The words given with a family hold no backslash and no quote: the two formats differ in how they escape them.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def gauge(self, name: str, words: str, samples: Iterable[_Sample]) -> None:
        """How it stands."""
        self._family(name, words, "gauge", samples)

    def counter(self, name: str, words: str, samples: Iterable[_Sample]) -> None:
        """How often, since the start; the name ends in _total."""
        self._family(name, words, "counter", samples)

    def histogram(self, name: str, words: str, label: str, histograms: "dict[Source, _Histogram]") -> None:
        """By the values of one label."""
        self._head(name, words, "histogram")
        for value, histogram in histograms.items():
            labels, count = _label(label, value), 0
            for bound, more in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
                count += more
                self._lines.append(f'{name}_bucket{{{labels},le="{_number(bound)}"}} {count}')
            self._lines.append(f"{name}_sum{{{labels}}} {_number(histogram.sum_s)}")
            self._lines.append(f"{name}_count{{{labels}}} {count}")

    def text(self) -> str:
        """Everything so far."""
        return "\n".join(self._lines) + "\n"

    def _family(self, name: str, words: str, kind: Literal["gauge", "counter"], samples: Iterable[_Sample]) -> None:
        self._head(name, words, kind)
        self._lines += [
            f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}"
            for labels, value in samples
        ]

    def _head(self, name: str, words: str, kind: str) -> None:
        self._lines.append(f"# HELP {name} {words}")
        self._lines.append(f"# TYPE {name} {kind}")


def _number(value: float) -> str:
    if isinstance(value, int):
        return repr(int(value))  # a bool, too
    return "+Inf" if value == math.inf else repr(value)


@lru_cache(maxsize=1024)
def _label(name: str, value: str) -> str:
    """As both formats write it. What is not a character in UTF-8 becomes a question mark."""
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{plain.encode("utf-8", "replace").decode("utf-8")}"'


def _fits(backend: _CountedBackend) -> Backend:
    return backend
