"""Every sequence of events up to a depth: what must never happen, never does.

Events do not wait for each other: a card may come while another is asked about, the disk may stall in the middle
of a record, the operator may end what is just being decided. After each event and at the end the invariants hold.
An EVSE without plug sensor and meter is searched from its start; one that has both also from the middle of a charge,
and at the end of each story its power is away for long: then every session has its one CDR, or says why not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product

import pytest

from agent.core.evse_state import Settings
from agent.model import EndReason, LateRefusal, Outcome, Policy, WhitelistType
from agent.runtime.charge_point import PLUG_S
from agent.runtime.guarded_relay import RETRY_S
from agent.runtime.ledger import LedgerSettings
from tests.scenario.charging import charging_stage
from tests.scenario.stage import MemoryWhitelist, Stage, token
from tests.scenario.virtual_time import in_virtual_time

DEPTH = 4
CAMPAIGN_DEPTH = 5
FITTED_DEPTH = 3
FITTED_CAMPAIGN_DEPTH = 4
POLICY = Policy(deadline_s=2.0, reserve_s=0.2, late_refusal=LateRefusal.STOP, late_window_s=5.0, stop_after_s=0.0)
ROWS = {
    "A1": (token("A1", WhitelistType.ALWAYS, group_id="G"),),
    "A2": (token("A2", WhitelistType.ALWAYS, group_id="G"),),
    "B1": (token("B1", WhitelistType.ALLOWED_OFFLINE),),
}
FITTED = Settings(
    has_plug_sensor=True, has_meter=True, connection_timeout_s=8.0, suspended_after_s=5.0, resume_within_s=30.0
)
BOOKS = LedgerSettings(persist_energy_wh=100, persist_every_s=5.0, report_energy_wh=200, report_every_s=8.0)

Event = Callable[[Stage], Awaitable[None]]


async def card_of_a_group(stage: Stage) -> None:
    stage.present("A1")


async def other_card_of_the_group(stage: Stage) -> None:
    stage.present("A2")


async def card_that_is_asked_about(stage: Stage) -> None:
    stage.present("B1")


async def unknown_card(stage: Stage) -> None:
    stage.present("F1")


async def peer_turns_silent_and_refuses_late(stage: Stage) -> None:
    stage.backend.late_after_s, stage.backend.late_outcome = 1.0, Outcome.BLOCKED


async def peer_refuses(stage: Stage) -> None:
    stage.backend.late_after_s, stage.backend.outcome = None, Outcome.BLOCKED


async def disk_refuses_or_recovers(stage: Stage) -> None:
    stage.journal.refuses = not stage.journal.refuses


async def disk_stalls_or_recovers(stage: Stage) -> None:
    stage.journal.stalls_s = 0.0 if stage.journal.stalls_s else 3.0


async def relay_breaks_or_recovers(stage: Stage) -> None:
    stage.relay.faulty = not stage.relay.faulty


async def relay_jams_or_recovers(stage: Stage) -> None:
    stage.relay.jammed = not stage.relay.jammed
    if not stage.relay.jammed:
        # It is told again that soon, and obeys; by an EVSE that has failed when it has started again.
        await asyncio.sleep(10.0 if stage.display.failures else RETRY_S)


async def operator_ends(stage: Stage) -> None:
    ending = asyncio.ensure_future(stage.evse.end(EndReason.OPERATOR))
    await asyncio.wait({ending}, timeout=0.1)
    stage.keep(ending)


async def agent_restarts(stage: Stage) -> None:
    await stage.stop()
    assert stage.relay.jammed or not stage.relay.contact_closed
    stage.restart()


async def time_passes(stage: Stage) -> None:
    await asyncio.sleep(10.0)


EVENTS: tuple[Event, ...] = (
    card_of_a_group,
    other_card_of_the_group,
    card_that_is_asked_about,
    unknown_card,
    peer_turns_silent_and_refuses_late,
    peer_refuses,
    disk_refuses_or_recovers,
    disk_stalls_or_recovers,
    relay_breaks_or_recovers,
    relay_jams_or_recovers,
    operator_ends,
    agent_restarts,
    time_passes,
)


FLAGS = (
    peer_turns_silent_and_refuses_late,
    disk_refuses_or_recovers,
    disk_stalls_or_recovers,
    relay_breaks_or_recovers,
)
"""By themselves these change nothing: of two of them in a row the gate plays one order, the campaign both."""


async def peer_turns_silent_and_allows_late(stage: Stage) -> None:
    stage.backend.late_after_s, stage.backend.late_outcome = 1.0, Outcome.ALLOWED


async def plugged_in_or_out(stage: Stage) -> None:
    stage.plug(inserted=not stage.plugged)


async def energy_flows(stage: Stage) -> None:
    stage.register_wh += 60 * stage.relay.contact_closed
    stage.read(power_w=11_000)


async def car_draws_nothing(stage: Stage) -> None:
    stage.read(power_w=0)


async def meter_lost_or_back(stage: Stage) -> None:
    stage.meter_works = not stage.meter_works
    stage.evse.meter_is(works=stage.meter_works)


async def plug_sensor_lost_or_back(stage: Stage) -> None:
    stage.plug_sensor_works = not stage.plug_sensor_works
    if stage.plug_sensor_works:
        stage.plug(inserted=stage.plugged)
    stage.evse.plug_sensor_is(works=stage.plug_sensor_works)


async def display_fails(stage: Stage) -> None:
    stage.display.breaks = True


async def agent_is_killed(stage: Stage) -> None:
    await stage.kill(off_s=1.0)


async def power_is_cut_shortly(stage: Stage) -> None:
    await stage.power_cut(off_s=20.0)


async def car_drives_off_without_power(stage: Stage) -> None:
    stage.plugged = False
    await stage.power_cut(off_s=20.0)


FITTED_EVENTS: tuple[Event, ...] = (
    card_of_a_group,
    other_card_of_the_group,
    card_that_is_asked_about,
    peer_turns_silent_and_refuses_late,
    peer_turns_silent_and_allows_late,
    disk_refuses_or_recovers,
    disk_stalls_or_recovers,
    relay_breaks_or_recovers,
    relay_jams_or_recovers,
    operator_ends,
    agent_restarts,
    time_passes,
    plugged_in_or_out,
    energy_flows,
    car_draws_nothing,
    meter_lost_or_back,
    plug_sensor_lost_or_back,
    display_fails,
    agent_is_killed,
    power_is_cut_shortly,
    car_drives_off_without_power,
)


@pytest.fixture(autouse=True)
def _nobody_reads_the_log() -> Iterator[None]:
    """Of tens of thousands of stories: writing it would take a third of the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


IN_PAIRS_ONLY = {
    other_card_of_the_group,
    peer_turns_silent_and_refuses_late,
    disk_stalls_or_recovers,
    car_draws_nothing,
    meter_lost_or_back,
    display_fails,
    car_drives_off_without_power,
}
"""What the gate plays in no longer stories than pairs, to be over in time; the campaign makes no such difference."""
GATE_EVENTS = tuple(event for event in FITTED_EVENTS if event not in IN_PAIRS_ONLY)


def bare() -> Stage:
    """An EVSE where a session goes from tap to tap."""
    return Stage(policy=POLICY, whitelist=MemoryWhitelist(ROWS))


def fitted() -> Stage:
    """One with a plug sensor and a meter, where every charge is billed."""
    return charging_stage(fitted=FITTED, policy=POLICY, books=BOOKS)


async def nothing_yet(stage: Stage) -> None:
    await asyncio.sleep(0.3)


async def a_driver_who_is_to_plug_in(stage: Stage) -> None:
    await nothing_yet(stage)
    await stage.tap("A1")


async def a_charge(stage: Stage) -> None:
    await stage.begin("A1")
    await stage.flow(60, power_w=11_000)


async def a_charge_on_a_silent_peer(stage: Stage) -> None:
    stage.backend.late_after_s = 1.0
    await stage.begin("B1")


async def a_pause(stage: Stage) -> None:
    await a_charge(stage)
    await car_draws_nothing(stage)
    await asyncio.sleep(FITTED.suspended_after_s + 0.1)


def check(stage: Stage) -> None:
    """What holds at every moment."""
    active = stage.evse.active_authorization
    assert stage.relay.unrecorded == 0, "a relay closed without a running record on disk"
    if not stage.relay.jammed:
        assert stage.relay.contact_closed == stage.evse.state.relay_closed, "the relay is not where the session is"
    assert active is None or active in stage.journal.committed, "an authorization without a record"
    assert active is None or active not in stage.journal.ended, "charging on an ended authorization"
    late = [s for s in stage.settled if s.switched_at > s.tap.at + POLICY.deadline_s + 1e-6]
    assert all(not s.entry.relay_closed for s in late), "a relay closed after its deadline"
    assert len(stage.crashes) <= stage.display.failures, f"the EVSE has failed: {stage.crashes}"
    assert not stage.journal.violations, stage.journal.violations


async def play(events: Sequence[Event], make: Callable[[], Stage] = bare, begin: Event = nothing_yet) -> None:
    stage = make()
    await begin(stage)
    for event in events:
        await event(stage)
        await asyncio.sleep(0.3)
        check(stage)
    stage.journal.refuses, stage.journal.stalls_s = False, 0.0
    stage.relay.jammed = stage.display.breaks = False
    await asyncio.sleep(30.0)
    check(stage)
    active = stage.evse.active_authorization
    assert stage.journal.running() == ({active} if active else set()), "a record runs that nothing keeps running"
    await stage.stop()
    assert not stage.relay.contact_closed
    resumable = {number for number in stage.journal.running() if number in stage.journal.sessions}
    assert stage.journal.running() <= (resumable if stage.settings.can_resume else set()), (
        "a stop left a record running"
    )
    await resume_nothing(stage)


async def resume_nothing(stage: Stage) -> None:
    """The power comes back after too long: all is over, and billed once at most."""
    if stage.settings.can_resume:
        await stage.power_cut(off_s=2 * stage.settings.resume_within_s)
        await asyncio.sleep(2 * PLUG_S)
        assert stage.journal.running() == set(), "a session runs on for ever"
        await stage.stop()
    stage.journal.check()
    billed_wh = sum(session.energy_wh or 0 for session in stage.journal.sessions.values())
    assert billed_wh <= stage.register_wh - stage.first_register_wh, "more energy is billed than has flowed"


def every(events: Sequence[Event], first: Event, depth: int) -> Iterator[tuple[Event, ...]]:
    for rest in product(events, repeat=depth - 1):
        yield (first, *rest)


def in_one_order(stories: Iterator[tuple[Event, ...]]) -> Iterator[tuple[Event, ...]]:
    """Without those that differ from another one only in the order of what changes nothing by itself."""
    for events in stories:
        if all(not {a, b} <= set(FLAGS) or FLAGS.index(a) <= FLAGS.index(b) for a, b in pairwise(events)):
            yield events


def search(stories: Iterator[tuple[Event, ...]], make: Callable[[], Stage] = bare, begin: Event = nothing_yet) -> int:
    count = 0
    for events in stories:
        try:
            in_virtual_time(partial(play, events, make, begin))
        except AssertionError as error:
            pytest.fail(f"{' → '.join(event.__name__ for event in (begin, *events))}: {error}")
        count += 1
    return count


def named(event: Event) -> str:
    return event.__name__


@pytest.mark.parametrize("first", EVENTS, ids=named)
def test_no_sequence_of_events_breaks_an_invariant(first: Event) -> None:
    assert search(in_one_order(every(EVENTS, first, DEPTH))) > len(EVENTS) ** (DEPTH - 1) / 2


@pytest.mark.parametrize("first", GATE_EVENTS, ids=named)
def test_no_sequence_of_events_breaks_an_invariant_of_a_charge(first: Event) -> None:
    stories = in_one_order(every(GATE_EVENTS, first, FITTED_DEPTH))
    assert search(stories, fitted, a_charge) > len(GATE_EVENTS) ** (FITTED_DEPTH - 1) / 2


@pytest.mark.parametrize(
    "begin", [nothing_yet, a_driver_who_is_to_plug_in, a_charge, a_charge_on_a_silent_peer, a_pause], ids=named
)
def test_no_pair_of_events_breaks_an_invariant_wherever_a_charge_stands(begin: Event) -> None:
    count = sum(search(every(FITTED_EVENTS, first, 2), fitted, begin) for first in FITTED_EVENTS)
    assert count == len(FITTED_EVENTS) ** 2


@pytest.mark.campaign
@pytest.mark.parametrize("first", EVENTS, ids=named)
def test_no_longer_sequence_breaks_an_invariant(first: Event) -> None:
    count = search(every(EVENTS, first, CAMPAIGN_DEPTH))
    print(f"{first.__name__}: {count} sequences of {CAMPAIGN_DEPTH} events")
    assert count == len(EVENTS) ** (CAMPAIGN_DEPTH - 1)


@pytest.mark.campaign
@pytest.mark.parametrize("first", FITTED_EVENTS, ids=named)
@pytest.mark.parametrize("begin", [nothing_yet, a_charge], ids=named)
def test_no_longer_sequence_breaks_an_invariant_of_a_charge(begin: Event, first: Event) -> None:
    count = search(every(FITTED_EVENTS, first, FITTED_CAMPAIGN_DEPTH), fitted, begin)
    print(f"{begin.__name__}, {first.__name__}: {count} sequences of {FITTED_CAMPAIGN_DEPTH} events")
    assert count == len(FITTED_EVENTS) ** (FITTED_CAMPAIGN_DEPTH - 1)
