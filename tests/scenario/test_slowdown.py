"""Somebody guesses cards at a reader, and drivers come meanwhile; with every port played in memory."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from agent.core.evse_state import Charging, Settings, WaitingForPlug
from agent.core.slowdown import Slowdown
from agent.model import EndReason, Entry, Outcome, Reason, Source, Tap, Uid, Verdict
from agent.runtime.charge_point import Settled
from agent.runtime.outlets import Outlets
from tests.scenario.charging import FITTED, PAPERS, POLICY, ROWS, with_stop_after
from tests.scenario.stage import RESTART_S, MemoryWhitelist, ScriptedBackend, Stage
from tests.scenario.virtual_time import NOW, in_virtual_time, played

SLOWDOWN = Slowdown(refusals=5, within_s=60.0, pause_s=10.0, most_pause_s=300.0)
PAUSED = (
    "5 cards were refused at reader left within 60 s; it waits 10 s",
    "5 cards were refused at reader left within 60 s; it waits 20 s",
)


UNKNOWN_CARD = Settled(
    Tap(Uid("BAD"), 0.0, "left"),
    Entry(
        "DE*EXA*E1", "BAD", "left", NOW, Verdict.REFUSED, Reason.UNKNOWN, Source.REALTIME, "", "", relay_closed=False,
        latency_ms=1.0, deadline_ms=1.0, correlation_id="",
    ),
    1,
    0.0,
)  # fmt: skip


@dataclass
class WatchedStage(Stage):
    """Tells the readers what each tap came to, as the agent does."""

    listeners: list[Callable[[Settled], None]] = field(default_factory=list)

    def _on_settled(self, life: int, settled: Settled) -> None:
        super()._on_settled(life, settled)
        for tell in self.listeners:
            tell(settled)

    @property
    def entries(self) -> list[Entry]:
        """What is on disk."""
        return list(self.journal.committed.values())

    @property
    def reasons(self) -> list[Reason]:
        """Why, card by card."""
        return [entry.reason for entry in self.entries]


def stage(uid: str = "DE*EXA*E1", **changes: Any) -> WatchedStage:
    """An EVSE at which no peer knows a card that is not listed."""
    parts: dict[str, Any] = {"policy": POLICY, "settings": FITTED, "documents": PAPERS, **changes}
    backend = ScriptedBackend(Outcome.UNKNOWN)
    return WatchedStage(uid=uid, whitelist=MemoryWhitelist(ROWS), backend=backend, **parts)


class BenchReader:
    """A reader before some EVSEs; every card that nobody gave a name is another bad one."""

    _bad = count(1)

    def __init__(
        self, stages: Sequence[WatchedStage], name: str = "left", slowdown: Slowdown | None = SLOWDOWN
    ) -> None:
        self.name = name
        self.stages = stages
        self.outlets = Outlets([stage.evse for stage in stages], reader=name, slowdown=slowdown)
        for each in stages:
            each.listeners.append(self.outlets.settled)

    def hold(self, uid: str) -> None:
        """Hold a card to it, and do not wait."""
        self.outlets.tap(Tap(Uid(uid), asyncio.get_running_loop().time(), self.name))

    async def present(self, uid: str) -> None:
        """Hold a card to it, and see what comes of it."""
        self.hold(uid)
        await asyncio.sleep(0.1)

    async def guess(self, times: int) -> None:
        """So many cards that nobody knows, ten a second."""
        for _ in range(times):
            await self.present(f"BAD{next(self._bad)}")


async def finish(*stages: WatchedStage) -> None:
    for each in stages:
        await each.evse.ledger.settled()
        await each.stop()
        each.journal.check()
        assert each.relay.unrecorded == 0


async def opened() -> tuple[WatchedStage, BenchReader]:
    """One EVSE and its reader, at work."""
    here = stage()
    reader = BenchReader([here])
    await asyncio.sleep(0.5)
    return here, reader


@played
async def test_card_in_a_pause_is_turned_away_with_a_text_and_a_record() -> None:
    here, reader = await opened()
    await reader.guess(5)
    await reader.present("A1")
    entry = here.entries[-1]
    assert here.reasons == [*[Reason.UNKNOWN] * 5, Reason.TOO_MANY_REFUSED]
    assert (entry.verdict, entry.source, entry.detail) == (Verdict.REFUSED, Source.LOCAL, PAUSED[0])
    assert entry.text.startswith("Too many")
    assert here.display.shown[-1] == entry.text.replace("\n", " ")
    assert (entry.uid, entry.relay_closed, here.relay.closings) == ("A1", False, [])
    await finish(here)


@played
async def test_text_of_the_pause_gives_way_to_the_standing_one() -> None:
    here, reader = await opened()
    standing = here.display.shown[-1]
    await reader.guess(6)
    await asyncio.sleep(7.0)
    assert here.display.shown[-1] == standing
    await finish(here)


@played
async def test_further_cards_of_a_pause_are_shown_the_text_and_not_recorded() -> None:
    here, reader = await opened()
    await reader.guess(6)
    shown = len(here.display.shown)
    await reader.guess(20)
    assert len(here.entries) == 6
    assert here.display.shown[shown:] == [here.display.shown[shown]] * 20
    await finish(here)


@played
async def test_cards_that_were_not_recorded_are_counted_in_the_next_pauses_record() -> None:
    here, reader = await opened()
    await reader.guess(26)
    await asyncio.sleep(10.0)
    await reader.guess(6)
    assert here.entries[-1].detail == f"{PAUSED[1]}; in its last pause 20 more were turned away"
    await finish(here)


def test_log_says_that_a_pause_begins_and_how_many_it_turned_away(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        here, reader = await opened()
        await reader.guess(26)
        await asyncio.sleep(10.0)
        await finish(here)

    caplog.set_level(logging.INFO, logger="agent.runtime.outlets")
    in_virtual_time(story)
    said = [(record.levelname, record.message) for record in caplog.records if "outlets" in record.name]
    assert said == [
        ("WARNING", f"reader left: somebody may be guessing cards: {PAUSED[0]}"),
        ("INFO", "reader left decides cards again; it has turned away 21"),
    ]


async def test_pause_that_begins_before_a_busy_loop_ends_the_last_one_is_a_pause_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="agent.runtime.outlets")
    outlets = Outlets([], reader="left", slowdown=Slowdown(1, within_s=1.0, pause_s=0.01, most_pause_s=0.01))
    loop = asyncio.get_running_loop()
    outlets.settled(UNKNOWN_CARD)
    until = loop.time() + 0.01
    while loop.time() < until:
        pass
    outlets.settled(UNKNOWN_CARD)
    assert [record.levelname for record in caplog.records if "outlets" in record.name] == ["WARNING", "INFO", "WARNING"]


@played
async def test_good_card_begins_a_charge_after_the_pause() -> None:
    here, reader = await opened()
    await reader.guess(6)
    here.plug(inserted=True)
    await asyncio.sleep(10.0)
    await reader.present("A1")
    assert isinstance(here.evse.state.phase, Charging)
    await finish(here)


@played
async def test_driver_who_taps_all_through_the_pause_does_not_prolong_it() -> None:
    here, reader = await opened()
    await reader.guess(5)
    for _ in range(100):
        await reader.present("A1")
    assert isinstance(here.evse.state.phase, WaitingForPlug)
    assert here.reasons == [*[Reason.UNKNOWN] * 5, Reason.TOO_MANY_REFUSED, Reason.WHITELISTED]
    await finish(here)


@played
async def test_card_of_the_charge_ends_it_in_a_pause() -> None:
    here, reader = await opened()
    here.plug(inserted=True)
    await reader.present("A1")
    await reader.guess(6)
    await reader.present("A1")
    assert here.reasons == [
        Reason.WHITELISTED, *[Reason.IN_USE] * 5, Reason.TOO_MANY_REFUSED, Reason.STOPPED_SAME_CARD,
    ]  # fmt: skip
    assert here.journal.ended == {1: EndReason.SAME_CARD}
    assert not here.relay.contact_closed
    await finish(here)


@played
async def test_card_that_has_ended_its_charge_begins_no_other_in_the_pause() -> None:
    here, reader = await opened()
    here.plug(inserted=True)
    await reader.present("A1")
    await reader.guess(5)
    await reader.present("A1")
    await reader.present("A1")
    assert here.reasons[-2:] == [Reason.STOPPED_SAME_CARD, Reason.TOO_MANY_REFUSED]
    assert not here.relay.contact_closed
    await finish(here)


@played
async def test_other_card_of_the_group_has_to_wait_for_the_end_of_the_pause() -> None:
    here, reader = await opened()
    here.plug(inserted=True)
    await reader.present("A1")
    await reader.guess(5)
    await reader.present("A2")
    assert here.relay.contact_closed
    await asyncio.sleep(10.0)
    await reader.present("A2")
    assert here.journal.ended == {1: EndReason.GROUP_CARD}
    await finish(here)


@played
async def test_card_that_is_being_decided_is_not_turned_away() -> None:
    left, right = stage(), stage("DE*EXA*E2")
    reader = BenchReader([left, right])
    left.backend.late_after_s = 1.0
    await asyncio.sleep(0.5)
    await reader.present("B1")
    await reader.guess(5)
    await reader.present("B1")
    await asyncio.sleep(POLICY.deadline_s)
    assert (left.reasons, right.reasons) == ([Reason.TIMEOUT], [Reason.UNKNOWN] * 5)
    assert isinstance(left.evse.state.phase, WaitingForPlug)
    await finish(left, right)


@played
async def test_card_that_waits_to_be_decided_is_not_turned_away() -> None:
    left, right = stage(), stage("DE*EXA*E2")
    both, other = BenchReader([left, right]), BenchReader([left], "other")
    left.backend.late_after_s = 1.0
    await asyncio.sleep(0.5)
    await other.present("B1")
    await other.present("C1")
    await both.guess(5)
    await both.present("C1")
    await asyncio.sleep(POLICY.deadline_s)
    assert (left.reasons, right.reasons) == ([Reason.TIMEOUT, Reason.IN_USE], [Reason.UNKNOWN] * 5)
    await finish(left, right)


@played
async def test_card_held_on_after_its_stop_is_told_of_the_stop_and_not_of_the_pause() -> None:
    policy = with_stop_after(3.0)
    here = stage(policy=policy)
    reader = BenchReader([here])
    await asyncio.sleep(0.5)
    here.plug(inserted=True)
    await reader.present("A1")
    await asyncio.sleep(10.0)
    await reader.guess(5)
    await reader.present("A1")
    await reader.present("A1")
    assert here.reasons[-1] is Reason.STOPPED_SAME_CARD
    assert here.display.shown[-1].startswith("Charging stopped")
    await finish(here)


@played
async def test_good_card_between_the_guesses_does_not_start_the_count_anew() -> None:
    here, reader = await opened()
    await reader.guess(4)
    await reader.present("A1")
    await reader.present("A1")
    await reader.guess(2)
    assert here.reasons == [
        *[Reason.UNKNOWN] * 4, Reason.WHITELISTED, Reason.STOPPED_SAME_CARD, Reason.UNKNOWN, Reason.TOO_MANY_REFUSED,
    ]  # fmt: skip
    await finish(here)


@played
async def test_cards_at_an_evse_that_is_out_of_order_lead_to_no_pause() -> None:
    here, reader = await opened()
    here.evse.meter_is(works=False)
    await reader.guess(20)
    here.evse.meter_is(works=True)
    await reader.present("A1")
    assert here.reasons == [*[Reason.OUT_OF_ORDER] * 20, Reason.WHITELISTED]
    await finish(here)


@played
async def test_cards_that_can_not_be_recorded_lead_to_no_pause() -> None:
    here, reader = await opened()
    here.journal.refuses = True
    await reader.guess(20)
    here.journal.refuses = False
    await reader.present("A1")
    assert here.reasons == [Reason.WHITELISTED]
    await finish(here)


@played
async def test_guessing_at_the_card_of_a_charge_leads_to_a_pause_on_a_full_disk_too() -> None:
    here, reader = await opened()
    await reader.present("A1")
    here.journal.refuses = True
    await reader.guess(5)
    await asyncio.sleep(POLICY.deadline_s)
    await reader.guess(1)
    assert here.display.shown[-1].startswith("Too many")
    here.journal.refuses = False
    await asyncio.sleep(10.0)
    assert here.reasons == [Reason.WHITELISTED, *[Reason.IN_USE] * 5, Reason.TOO_MANY_REFUSED]
    await finish(here)


@played
async def test_other_reader_of_the_evse_goes_on_as_usual() -> None:
    here, left = await opened()
    right = BenchReader([here], "right")
    await left.guess(6)
    await right.present("A1")
    assert isinstance(here.evse.state.phase, WaitingForPlug)
    await right.present("A1")
    await right.guess(4)
    assert here.reasons.count(Reason.TOO_MANY_REFUSED) == 1
    await finish(here)


@played
async def test_refusals_at_both_evses_of_a_reader_count_together() -> None:
    left, right = stage(), stage("DE*EXA*E2")
    reader = BenchReader([left, right])
    await asyncio.sleep(0.5)
    left.plug(inserted=True)
    await reader.guess(3)
    right.plug(inserted=True)
    await reader.guess(3)
    assert (left.reasons, right.reasons) == ([Reason.UNKNOWN] * 3, [*[Reason.UNKNOWN] * 2, Reason.TOO_MANY_REFUSED])
    await finish(left, right)


@played
async def test_card_is_turned_away_at_the_evse_that_it_would_be_for() -> None:
    left, right = stage(), stage("DE*EXA*E2")
    reader = BenchReader([left, right])
    await asyncio.sleep(0.5)
    left.plug(inserted=True)
    await reader.present("A1")
    await reader.guess(5)
    shown = len(left.display.shown)
    await reader.present("C1")
    assert len(left.display.shown) == shown
    assert right.display.shown[-1].startswith("Too many")
    assert right.reasons[-1] is Reason.TOO_MANY_REFUSED
    await finish(left, right)


@played
async def test_evse_that_is_just_starting_again_leaves_the_record_to_the_next_card() -> None:
    here, reader = await opened()
    await reader.guess(5)
    here.display.breaks = True
    here.plug(inserted=True)
    await asyncio.sleep(RESTART_S / 2)
    await reader.present("A1")
    assert here.reasons == [Reason.UNKNOWN] * 5
    await asyncio.sleep(RESTART_S)
    await reader.present("A1")
    assert here.reasons == [*[Reason.UNKNOWN] * 5, Reason.TOO_MANY_REFUSED]
    await finish(here)


@played
async def test_guesser_with_slow_peers_gains_no_more_than_the_queue() -> None:
    here, reader = await opened()
    here.backend.late_after_s = 1.0
    await reader.guess(600)
    await asyncio.sleep(POLICY.deadline_s * 20)
    decided = len(here.entries) - here.reasons.count(Reason.TOO_MANY_REFUSED)
    assert decided <= SLOWDOWN.refusals * 3 + Settings().most_waiting + 1
    await finish(here)


@played
async def test_ten_cards_a_second_for_an_hour_leave_a_bounded_number_of_records() -> None:
    here, reader = await opened()
    await reader.guess(36_000)
    pauses = here.reasons.count(Reason.TOO_MANY_REFUSED)
    doublings, longest = 5, 3600 / SLOWDOWN.most_pause_s
    assert pauses <= 1 + doublings + longest
    assert len(here.entries) - pauses <= SLOWDOWN.refusals * (2 + doublings + longest)
    assert len(here.settled) == len(here.entries)
    await finish(here)


@played
async def test_reader_without_slowdown_decides_every_card() -> None:
    here = stage()
    reader = BenchReader([here], slowdown=None)
    await asyncio.sleep(0.5)
    await reader.guess(50)
    assert here.reasons == [Reason.UNKNOWN] * 50
    await finish(here)
