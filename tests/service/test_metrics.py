"""What is counted and how it is written: read by a parser that knows only Prometheus' documentation."""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.charges import Backlog
from agent.errors import StoreError
from agent.model import (
    Answer,
    Answers,
    Entry,
    LocationReferences,
    Outcome,
    Policy,
    Question,
    Reason,
    Source,
    Tap,
    Uid,
    Verdict,
)
from agent.ports import ReaderState
from agent.runtime.charge_point import Settled
from agent.runtime.clock import EARLIEST, Clock
from agent.service.facts import PHASES, EvseFacts, Facts, PeerFacts, ReaderFacts
from agent.service.metrics import Metrics, buckets
from tests.scenario.virtual_time import played
from tests.service.exposition import Page, parse

NOW = datetime(2027, 6, 1, 12, 0, tzinfo=UTC)
EVSE = EvseFacts("DE*EXA*E1", "available", is_live=True, relay_closed=False, relay_fault="", lost=())
READER = ReaderFacts("left", ReaderState.READY, "", bad_frames=0)
PEER = PeerFacts("acme", is_asked=True, rejects_credentials=False, tokens=3, synced_at=NOW - timedelta(hours=1))
TAP = Tap(Uid("04A1B2C3"), 100.0, "left")
ENTRY = Entry(
    EVSE.uid, TAP.uid, "left", NOW, Verdict.ACCEPTED, Reason.WHITELISTED, Source.WHITELIST, "", "",
    relay_closed=True, latency_ms=3.0, deadline_ms=5000.0, correlation_id="c", peer="acme",
)  # fmt: skip


@dataclass
class Charger:
    """How the agent stands, to be changed at will, and what is written of it."""

    facts: Facts = field(default_factory=lambda: Facts((EVSE,), (READER,), (PEER,), Backlog()))
    policy: Policy = field(default_factory=Policy)
    now: datetime = NOW
    monotonic: float = 100.0
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        clock = Clock(lambda: self.now, lambda: self.monotonic, "boot")
        self.metrics = Metrics(lambda: self.facts, policy=self.policy, clock=clock, version="1.2.3")

    def stands(self, **changes: Any) -> None:
        self.facts = replace(self.facts, **changes)

    def tap(self, switched_after_s: float = 0.02, **changes: Any) -> None:
        self.metrics.settled(Settled(TAP, replace(ENTRY, **changes), 1, TAP.at + switched_after_s))

    def page(self) -> Page:
        return parse(self.metrics.text())


# ---- taps


def test_taps_are_counted_by_evse_verdict_reason_and_source() -> None:
    charger = Charger()
    charger.tap()
    charger.tap()
    charger.tap(verdict=Verdict.REFUSED, reason=Reason.BLOCKED, source=Source.REALTIME, relay_closed=False)
    at = {"evse": EVSE.uid}
    taps = charger.page().all_of("chargepoint_taps_total")
    assert taps == {
        frozenset({**at, "verdict": "accepted", "reason": "whitelisted", "source": "whitelist"}.items()): 2,
        frozenset({**at, "verdict": "refused", "reason": "blocked", "source": "realtime"}.items()): 1,
    }


@pytest.mark.parametrize("deadline_s", [0.3, 1.0, 5.0, 30.0])
def test_the_deadline_is_a_bound_of_the_histograms_with_others_close_by(deadline_s: float) -> None:
    bounds = buckets(Policy(deadline_s=deadline_s))
    place = bounds.index(deadline_s)
    assert bounds[place - 1] >= deadline_s / 2
    assert bounds[place + 1] == pytest.approx(deadline_s + 0.01)
    assert list(bounds) == sorted(set(bounds))


def test_a_deadline_shorter_than_its_reserve_has_no_bound_below_zero() -> None:
    assert min(buckets(Policy(deadline_s=0.2, reserve_s=0.25))) > 0


def test_a_decision_at_the_deadline_itself_is_in_the_deadlines_bucket() -> None:
    charger = Charger()
    charger.tap(source=Source.FALLBACK, latency_ms=5000.0)
    page = charger.page()
    name = "chargepoint_decision_seconds_bucket"
    assert page.value(name, source="fallback", le="4.75") == 0
    assert page.value(name, source="fallback", le="5.0") == 1
    assert page.value("chargepoint_decision_seconds_sum", source="fallback") == 5.0
    assert page.value("chargepoint_decision_seconds_count", source="whitelist") == 0


def test_the_time_to_the_relay_is_that_of_the_closing_alone() -> None:
    charger = Charger()
    charger.tap(switched_after_s=0.02)
    charger.tap(switched_after_s=9.0, relay_closed=False, verdict=Verdict.REFUSED)
    page = charger.page()
    assert page.value("chargepoint_tap_to_relay_seconds_count", source="whitelist") == 1
    assert page.value("chargepoint_tap_to_relay_seconds_sum", source="whitelist") == pytest.approx(0.02)


def test_a_tap_that_was_too_late_counts_as_a_relay_that_was_not_closed() -> None:
    charger = Charger()
    before = charger.page()
    charger.tap(verdict=Verdict.REFUSED, reason=Reason.TOO_LATE, source=Source.LOCAL, relay_closed=False)
    assert before.value("chargepoint_taps_too_late_total", evse=EVSE.uid) == 0
    assert charger.page().value("chargepoint_taps_too_late_total", evse=EVSE.uid) == 1


def test_a_disk_that_fails_counts_by_database() -> None:
    charger = Charger()
    charger.tap(verdict=Verdict.REFUSED, reason=Reason.STORAGE_FAULT, source=Source.LOCAL, relay_closed=False)
    charger.metrics.whitelist_fault(StoreError("whitelist.db: malformed"))
    charger.metrics.whitelist_fault(StoreError("whitelist.db: malformed"))
    page = charger.page()
    assert page.value("chargepoint_disk_faults_total", database="state") == 1
    assert page.value("chargepoint_disk_faults_total", database="whitelist") == 2


def test_no_label_tells_of_a_card_or_of_what_a_peer_has_said() -> None:
    charger = Charger()
    charger.tap(
        detail="SECRET", text="SECRET", contract_id="SECRET", group_id="SECRET", authorization_reference="SECRET",
        party_id="SECRET", token_uid="SECRET", reader="SECRET", correlation_id="SECRET",
    )  # fmt: skip
    text = charger.metrics.text()
    assert TAP.uid not in text
    assert "SECRET" not in text


def test_every_label_is_of_an_enum_or_of_the_configuration() -> None:
    charger = Charger()
    for verdict in Verdict:
        for reason in Reason:
            for source in Source:
                charger.tap(verdict=verdict, reason=reason, source=source)
    labels = charger.page().labels()
    assert labels.pop("le")
    assert labels.pop("python")
    assert labels == {
        "evse": {EVSE.uid},
        "reader": {READER.name},
        "peer": {PEER.name},
        "version": {"1.2.3"},
        "verdict": {str(verdict) for verdict in Verdict},
        "reason": {str(reason) for reason in Reason},
        "source": {str(source) for source in Source},
        "outcome": {str(outcome) for outcome in Outcome},
        "phase": set(PHASES),
        "device": {"reader", "relay", "plug", "meter"},
        "state": {"ready", "missing", "silent"},
        "level": {"debug", "info", "warning", "error", "critical"},
        "database": {"state", "whitelist"},
    }


@pytest.mark.parametrize("uid", ['DE*"E1"', "DE\\nE1", "DE\nE1", "{}", 'a",b="c', "ü", "\\"])
def test_a_name_with_anything_in_it_is_read_as_it_was_written(uid: str) -> None:
    charger = Charger()
    charger.stands(evses=(replace(EVSE, uid=uid),))
    charger.tap(evse_uid=uid)
    page = charger.page()
    assert page.value("chargepoint_evse_live", evse=uid) == 1
    assert page.labels()["evse"] == {uid}


def test_another_deadline_begins_histograms_of_its_own() -> None:
    charger = Charger()
    charger.tap()
    charger.metrics.use(Policy(deadline_s=2.0))
    page = charger.page()
    assert page.value("chargepoint_deadline_seconds") == 2.0
    assert page.value("chargepoint_decision_seconds_count", source="whitelist") == 0
    assert page.value("chargepoint_decision_seconds_bucket", source="whitelist", le="2.0") == 0
    assert sum(page.all_of("chargepoint_taps_total").values()) == 1


def test_another_policy_with_the_same_deadline_goes_on_counting() -> None:
    charger = Charger()
    charger.tap()
    charger.metrics.use(Policy(max_age=timedelta(days=1)))
    page = charger.page()
    assert page.value("chargepoint_whitelist_max_age_seconds") == 86400
    assert page.value("chargepoint_decision_seconds_count", source="whitelist") == 1


# ---- peers


@dataclass
class PlayedBackend:
    """Gives these answers after so long."""

    answers: Answers
    after_s: float = 0.0

    async def ask(self, question: Question, until: float) -> Answers:
        await asyncio.sleep(self.after_s)
        return self.answers


async def _late() -> AsyncGenerator[Answer, None]:
    yield Answer("acme", Outcome.ALLOWED)


def _ticking(charger: Charger) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(lambda: charger.now, loop.time, "boot")
    charger.metrics = Metrics(lambda: charger.facts, policy=charger.policy, clock=clock, version="1.2.3")


async def _ask(charger: Charger, *given: Answer, after_s: float = 0.0, within_s: float = 5.0) -> Answers:
    until = asyncio.get_running_loop().time() + within_s
    backend = charger.metrics.counted(PlayedBackend(Answers(given, _late()), after_s))
    return await backend.ask(Question("04A1", LocationReferences("LOC1"), "c"), until)


@played
async def test_answers_are_counted_by_peer_and_outcome() -> None:
    charger = Charger()
    _ticking(charger)
    await _ask(charger, Answer("acme", Outcome.ALLOWED), after_s=0.1)
    await _ask(charger, Answer("acme", Outcome.BREAKER_OPEN))
    page = charger.page()
    assert page.value("chargepoint_questions_total", peer="acme", outcome="allowed") == 1
    assert page.value("chargepoint_questions_total", peer="acme", outcome="breaker-open") == 1
    assert page.value("chargepoint_questions_total", peer="acme", outcome="timeout") == 0
    assert page.value("chargepoint_peer_deadline_misses_total", peer="acme") == 0


@played
async def test_what_the_backend_answers_comes_through_unchanged() -> None:
    charger = Charger()
    _ticking(charger)
    answers = await _ask(charger, Answer("acme", Outcome.TIMEOUT))
    assert answers.given == (Answer("acme", Outcome.TIMEOUT),)
    assert answers.late is not None
    assert [answer.outcome async for answer in answers.late] == [Outcome.ALLOWED]


@played
async def test_a_peer_silent_at_the_deadline_has_missed_it() -> None:
    charger = Charger()
    _ticking(charger)
    await _ask(charger, Answer("acme", Outcome.TIMEOUT), after_s=5.0)
    assert charger.page().value("chargepoint_peer_deadline_misses_total", peer="acme") == 1


@pytest.mark.parametrize(("after_s", "within_s"), [(1.0, 5.0), (0.0, 0.01), (0.0, -1.0)])
def test_a_peer_whose_connection_broke_off_or_that_had_no_time_has_not(after_s: float, within_s: float) -> None:
    @played
    async def story() -> None:
        charger = Charger()
        _ticking(charger)
        await _ask(charger, Answer("acme", Outcome.TIMEOUT), after_s=after_s, within_s=within_s)
        page = charger.page()
        assert page.value("chargepoint_questions_total", peer="acme", outcome="timeout") == 1
        assert page.value("chargepoint_peer_deadline_misses_total", peer="acme") == 0

    story()


@played
async def test_a_peer_that_has_gone_is_forgotten() -> None:
    charger = Charger()
    _ticking(charger)
    await _ask(charger, Answer("acme", Outcome.TIMEOUT), after_s=5.0)
    charger.stands(peers=())
    assert "acme" not in charger.metrics.text()
    charger.stands(peers=(PEER,))
    page = charger.page()
    assert page.value("chargepoint_questions_total", peer="acme", outcome="timeout") == 0
    assert page.value("chargepoint_peer_deadline_misses_total", peer="acme") == 0


@pytest.mark.parametrize(
    ("is_asked", "rejects", "up", "is_open", "rejected"),
    [(True, False, 1, 0, 0), (False, False, 0, 1, 0), (True, True, 0, 0, 1), (False, True, 0, 1, 1)],
)
def test_a_peers_state_is_told(*, is_asked: bool, rejects: bool, up: int, is_open: int, rejected: int) -> None:
    charger = Charger()
    charger.stands(peers=(replace(PEER, is_asked=is_asked, rejects_credentials=rejects),))
    page = charger.page()
    assert page.value("chargepoint_peer_up", peer="acme") == up
    assert page.value("chargepoint_peer_breaker_open", peer="acme") == is_open
    assert page.value("chargepoint_peer_credentials_rejected", peer="acme") == rejected


# ---- lists and outbox


def test_a_whitelist_is_as_old_as_its_last_complete_sync() -> None:
    page = Charger().page()
    assert page.value("chargepoint_whitelist_tokens", peer="acme") == 3
    assert page.value("chargepoint_whitelist_age_seconds", peer="acme") == 3600
    assert page.value("chargepoint_whitelist_max_age_seconds") == 7 * 86400


def test_a_whitelist_that_was_never_complete_is_infinitely_old() -> None:
    charger = Charger()
    charger.stands(peers=(replace(PEER, synced_at=None),))
    assert charger.page().value("chargepoint_whitelist_age_seconds", peer="acme") == math.inf


def test_while_the_clock_is_unknown_no_age_is_told() -> None:
    charger = Charger(now=EARLIEST - timedelta(days=1))
    charger.stands(backlog=Backlog(since=NOW))
    page = charger.page()
    assert page.value("chargepoint_clock_known") == 0
    assert page.all_of("chargepoint_whitelist_age_seconds") == {}
    assert page.all_of("chargepoint_outbox_oldest_seconds") == {}


def test_a_sync_ahead_of_the_clock_is_not_of_the_future() -> None:
    charger = Charger()
    charger.stands(peers=(replace(PEER, synced_at=NOW + timedelta(seconds=1)),))
    assert charger.page().value("chargepoint_whitelist_age_seconds", peer="acme") == 0


def test_the_outbox_is_told_with_the_age_of_what_is_oldest() -> None:
    charger = Charger()
    charger.stands(backlog=Backlog(4, 3, 2, NOW - timedelta(minutes=1)))
    page = charger.page()
    assert page.value("chargepoint_outbox_sessions") == 4
    assert page.value("chargepoint_outbox_cdrs") == 3
    assert page.value("chargepoint_outbox_cdrs_parked") == 2
    assert page.value("chargepoint_outbox_oldest_seconds") == 60


def test_an_empty_outbox_has_nothing_old() -> None:
    assert Charger().page().value("chargepoint_outbox_oldest_seconds") == 0


# ---- devices


@pytest.mark.parametrize("phase", PHASES)
def test_an_evse_is_in_one_phase(phase: str) -> None:
    charger = Charger()
    charger.stands(evses=(replace(EVSE, phase=phase),))
    found = charger.page().all_of("chargepoint_evse_phase")
    assert {dict(labels)["phase"]: value for labels, value in found.items()} == {
        other: float(other == phase) for other in PHASES
    }


def test_an_evses_relay_and_lost_devices_are_told_but_not_in_words() -> None:
    charger = Charger()
    broken = replace(EVSE, is_live=False, relay_closed=True, relay_fault="GPIO 17 is stuck", lost=("meter", "relay"))
    charger.stands(evses=(broken,))
    page, at = charger.page(), {"evse": EVSE.uid}
    assert page.value("chargepoint_evse_live", **at) == 0
    assert page.value("chargepoint_evse_relay_closed", **at) == 1
    assert page.value("chargepoint_evse_relay_fault", **at) == 1
    assert page.value("chargepoint_evse_device_lost", **at, device="meter") == 1
    assert page.value("chargepoint_evse_device_lost", **at, device="plug") == 0
    assert "stuck" not in charger.metrics.text()


@pytest.mark.parametrize(
    ("state", "told"), [(ReaderState.READY, "ready"), (ReaderState.MISSING, "missing"), (None, "silent")]
)
def test_a_reader_is_in_one_state(state: ReaderState | None, told: str) -> None:
    charger = Charger()
    charger.stands(readers=(replace(READER, state=state, advice="plug it in", bad_frames=7),))
    page = charger.page()
    found = page.all_of("chargepoint_reader_state")
    assert [dict(labels)["state"] for labels, value in found.items() if value] == [told]
    assert page.value("chargepoint_reader_bad_frames_total", reader="left") == 7
    assert "plug it in" not in charger.metrics.text()


# ---- the agent itself


def test_the_watchdogs_rounds_are_counted() -> None:
    charger = Charger()
    charger.metrics.watchdog_round()
    charger.metrics.watchdog_round()
    assert charger.page().value("chargepoint_watchdog_rounds_total") == 2
    assert charger.metrics.rounds == 2


def test_log_messages_are_counted_by_level_only_while_asked() -> None:
    charger, log = Charger(), logging.getLogger("agent.test")
    handlers = list(logging.getLogger().handlers)
    with charger.metrics.log_counted():
        log.warning("04A1B2C3 is not for the figures")
        log.critical("ALARM")
        log.log(35, "between two levels")
    log.error("afterwards")
    page = charger.page()
    assert page.value("chargepoint_log_messages_total", level="warning") == 2
    assert page.value("chargepoint_log_messages_total", level="critical") == 1
    assert page.value("chargepoint_log_messages_total", level="error") == 0
    assert "04A1B2C3" not in charger.metrics.text()
    assert logging.getLogger().handlers == handlers


def test_log_messages_of_other_threads_are_counted() -> None:
    charger, log = Charger(), logging.getLogger("agent.test")

    def complain() -> None:
        for _ in range(200):
            log.error("something")

    with charger.metrics.log_counted():
        threads = [threading.Thread(target=complain) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert charger.page().value("chargepoint_log_messages_total", level="error") == 800


def test_the_process_is_told_of_as_prometheus_own_clients_do() -> None:
    page = Charger().page()
    assert page.value("process_resident_memory_bytes") > 1 << 20
    assert page.value("process_virtual_memory_bytes") > page.value("process_resident_memory_bytes")
    assert page.value("process_open_fds") >= 3
    assert page.value("process_threads") >= 1
    assert page.value("process_cpu_seconds_total") > 0
    assert abs(page.value("process_start_time_seconds") - datetime.now(UTC).timestamp()) < 86400


def test_the_start_after_boot_stays_the_same() -> None:
    charger = Charger()
    name = "chargepoint_start_after_boot_seconds"
    assert charger.page().value(name) == charger.page().value(name) > 0


def test_the_version_is_told() -> None:
    [labels] = Charger().page().all_of("chargepoint_agent_info")
    assert dict(labels)["version"] == "1.2.3"


def test_every_metric_says_what_it_is_in_words_that_need_no_escaping() -> None:
    for family in Charger().page().families.values():
        assert family.words.endswith(".")
        assert not set(family.words) & {'"', "\\"}
