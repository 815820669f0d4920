"""Every sequence of events up to a depth: what must never happen, never does.

Events do not wait for each other: a card may come while another is asked about, the disk may stall in the middle
of a record, the operator may end what is just being decided. After each event and at the end the invariants hold.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product

import pytest

from agent.model import EndReason, LateRefusal, Outcome, Policy, WhitelistType
from agent.runtime.guarded_relay import RETRY_S
from tests.scenario.stage import Stage, in_virtual_time, token

DEPTH = 4
CAMPAIGN_DEPTH = 5
POLICY = Policy(deadline_s=2.0, reserve_s=0.2, late_refusal=LateRefusal.STOP, late_window_s=5.0, stop_after_s=0.0)
ROWS = {
    "A1": (token("A1", WhitelistType.ALWAYS, group_id="G"),),
    "A2": (token("A2", WhitelistType.ALWAYS, group_id="G"),),
    "B1": (token("B1", WhitelistType.ALLOWED_OFFLINE),),
}

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
        await asyncio.sleep(RETRY_S)  # it is told again that soon, and obeys


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


def check(stage: Stage) -> None:
    """What holds at every moment."""
    active = stage.evse.active_authorization
    assert stage.relay.unrecorded == 0, "a relay closed without a running record on disk"
    if not stage.relay.jammed:
        assert stage.relay.contact_closed == (active is not None), "the relay is not where the authorization is"
    assert active is None or active in stage.journal.committed, "an authorization without a record"
    assert active is None or active not in stage.journal.ended, "charging on an ended authorization"
    late = [s for s in stage.settled if s.switched_at > s.tap.at + POLICY.deadline_s + 1e-6]
    assert all(not s.entry.relay_closed for s in late), "a relay closed after its deadline"


async def play(events: tuple[Event, ...]) -> None:
    stage = Stage(policy=POLICY)
    stage.whitelist.rows = ROWS
    for event in events:
        await event(stage)
        await asyncio.sleep(0.3)
        check(stage)
    stage.journal.refuses, stage.journal.stalls_s, stage.relay.jammed = False, 0.0, False
    await asyncio.sleep(30.0)
    check(stage)
    active = stage.evse.active_authorization
    assert stage.journal.running() == ({active} if active else set()), "a record runs that nothing keeps running"
    await stage.stop()
    assert not stage.relay.contact_closed
    assert stage.journal.running() == set(), "a stop left a record running"


def search(first: Event, depth: int) -> int:
    count = 0
    for rest in product(EVENTS, repeat=depth - 1):
        events = (first, *rest)
        try:
            in_virtual_time(partial(play, events))
        except AssertionError as error:
            pytest.fail(f"{' → '.join(event.__name__ for event in events)}: {error}")
        count += 1
    return count


@pytest.mark.parametrize("first", EVENTS, ids=lambda event: event.__name__)
def test_no_sequence_of_events_breaks_an_invariant(first: Event) -> None:
    assert search(first, DEPTH) == len(EVENTS) ** (DEPTH - 1)


@pytest.mark.campaign
@pytest.mark.parametrize("first", EVENTS, ids=lambda event: event.__name__)
def test_no_longer_sequence_breaks_an_invariant(first: Event) -> None:
    count = search(first, CAMPAIGN_DEPTH)
    print(f"{first.__name__}: {count} sequences of {CAMPAIGN_DEPTH} events")
    assert count == len(EVENTS) ** (CAMPAIGN_DEPTH - 1)
