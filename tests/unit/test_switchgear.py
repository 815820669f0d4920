"""Relay, board and feedback as one device: what it is lost for, and when it is back."""

import asyncio
import logging

import pytest

from agent.core.contact import SETTLE_S
from agent.errors import DeviceError
from agent.runtime.guarded_relay import RETRY_S
from agent.runtime.switchgear import OUT_OF_ORDER_S, Cause, Switchgear
from tests.scenario.virtual_time import played


class Gear:
    """A switchgear whose relay moves a contactor at once, and who was told what."""

    def __init__(self, *, min_off_s: float = 0.0) -> None:
        self.contact_closed = self.faulty = self.jammed = False
        self.forbidden: str | None = None
        self.told: list[str] = []
        self.gear = Switchgear(
            self, "E1", on_lost=lambda: self.told.append("lost"), on_back=lambda: self.told.append("back"),
            forbids=lambda: self.forbidden, min_off_s=min_off_s,
        )  # fmt: skip

    @property
    def flows(self) -> bool:
        """Whether current does."""
        return self.contact_closed

    def close_contact(self) -> None:
        if self.faulty:
            raise DeviceError("does not close")
        self.contact_closed = True

    def open_contact(self) -> None:
        if self.jammed:
            raise DeviceError("does not open")
        self.contact_closed = False

    def detach(self) -> None:
        self.open_contact()

    async def settles(self) -> None:
        await asyncio.sleep(2 * SETTLE_S)


@played
async def test_contactor_that_follows_is_fine() -> None:
    gear = Gear()
    gear.gear.contact_is(closed=False)
    for closed in (True, False, True, False):
        assert gear.gear.close() if closed else gear.gear.open()
        await asyncio.sleep(0.1)
        gear.gear.contact_is(closed=closed)
        await gear.settles()
    assert (gear.told, gear.gear.is_lost) == ([], False)


@played
async def test_welded_contactor_is_lost_until_it_is_seen_open() -> None:
    gear = Gear()
    gear.gear.close()
    gear.gear.contact_is(closed=True)
    gear.gear.open()
    await gear.settles()
    assert (gear.told, gear.gear.detail, gear.gear.may_be_closed) == (["lost"], Cause.WELDED, True)
    refused = not gear.gear.close()
    await asyncio.sleep(3600)
    assert refused
    assert gear.gear.is_lost
    gear.gear.contact_is(closed=False)
    assert (gear.told, gear.gear.is_lost, gear.gear.may_be_closed) == (["lost", "back"], False, False)


@played
async def test_welded_contactor_stays_lost_though_its_feedback_goes_and_comes() -> None:
    gear = Gear()
    gear.gear.contact_is(closed=True)
    await gear.settles()
    gear.gear.feedback_is(works=False)
    gear.gear.feedback_is(works=True)
    assert gear.gear.detail == Cause.WELDED
    assert gear.told[-1] == "lost"


@played
async def test_missing_contactor_that_is_open_again_is_back_after_a_while() -> None:
    gear = Gear()
    gear.gear.contact_is(closed=False)
    gear.gear.close()
    await gear.settles()
    assert (gear.told, gear.gear.detail) == (["lost"], Cause.MISSING)
    gear.gear.open()
    await asyncio.sleep(OUT_OF_ORDER_S * 0.9)
    assert gear.gear.is_lost
    await asyncio.sleep(OUT_OF_ORDER_S * 0.2)
    assert (gear.told, gear.gear.is_lost) == (["lost", "back"], False)


@played
async def test_contact_that_is_seen_closed_is_closed_only_once_it_is_not_welded() -> None:
    gear = Gear()
    gear.gear.contact_is(closed=True)
    assert gear.gear.close()
    await gear.settles()
    assert (gear.flows, gear.gear.detail) == (False, Cause.WELDED)
    gear.gear.open()
    gear.gear.contact_is(closed=False)
    assert gear.gear.close()
    assert gear.flows


@played
async def test_feedback_lost_while_open_is_a_loss() -> None:
    gear = Gear()
    gear.gear.feedback_is(works=False)
    assert (gear.told, gear.gear.detail, gear.gear.close()) == (["lost"], Cause.FEEDBACK, False)
    gear.gear.contact_is(closed=False)
    gear.gear.feedback_is(works=True)
    assert gear.told == ["lost", "back"]


@played
async def test_feedback_lost_while_a_closing_waits_keeps_the_contact_open() -> None:
    gear = Gear(min_off_s=60.0)
    assert gear.gear.close()
    gear.gear.feedback_is(works=False)
    await asyncio.sleep(3600)
    assert not gear.flows
    assert gear.gear.detail == Cause.FEEDBACK


@played
async def test_feedback_lost_while_closed_is_a_loss_once_it_is_open() -> None:
    gear = Gear()
    gear.gear.close()
    gear.gear.contact_is(closed=True)
    gear.gear.feedback_is(works=False)
    assert (gear.told, gear.gear.is_lost, gear.flows) == ([], False, True)
    assert not gear.gear.open()
    assert gear.gear.detail == Cause.FEEDBACK


@played
async def test_board_that_is_lost_with_another_cause_is_back_when_both_are_over() -> None:
    gear = Gear()
    gear.gear.close()
    gear.gear.board_is(works=False)
    gear.jammed = True
    gear.gear.open()
    assert gear.gear.detail == f"{Cause.STUCK}; {Cause.BOARD}"
    gear.gear.board_is(works=True)
    assert gear.told == ["lost"]
    gear.jammed = False
    await asyncio.sleep(RETRY_S)
    assert (gear.told, gear.gear.may_be_closed) == (["lost", "back"], False)


@played
async def test_relay_that_does_not_close_is_tried_again_after_a_while() -> None:
    gear = Gear()
    gear.faulty = True
    assert not gear.gear.close()
    assert (gear.told, gear.gear.detail) == ([], Cause.NOT_CLOSED)
    await asyncio.sleep(OUT_OF_ORDER_S)
    assert (gear.told, gear.gear.is_lost) == (["back"], False)


@played
async def test_relay_rests_the_minimum_time_since_the_start_and_since_it_opened() -> None:
    gear = Gear(min_off_s=30.0)
    for _ in range(2):
        assert gear.gear.close()
        await asyncio.sleep(29.9)
        flowed = gear.flows
        await asyncio.sleep(0.2)
        assert (flowed, gear.flows) == (False, True)
        await asyncio.sleep(3600)
        gear.gear.open()
        gear.gear.open()
    assert gear.told == []


@played
async def test_opening_an_open_contact_begins_no_new_rest() -> None:
    gear = Gear(min_off_s=30.0)
    await asyncio.sleep(29.0)
    gear.gear.open()
    await asyncio.sleep(1.0)
    gear.gear.close()
    assert gear.flows


@played
async def test_closing_that_waits_is_cancelled_by_an_opening() -> None:
    gear = Gear(min_off_s=30.0)
    gear.gear.close()
    gear.gear.open()
    await asyncio.sleep(60)
    assert (gear.flows, gear.told) == (False, [])


@played
async def test_closing_that_waits_and_fails_is_a_loss() -> None:
    gear = Gear(min_off_s=30.0)
    gear.faulty = True
    assert gear.gear.close()
    await asyncio.sleep(30.0)
    assert (gear.told, gear.gear.detail, gear.flows) == (["lost"], Cause.NOT_CLOSED, False)


@played
async def test_forbidden_closing_is_refused_at_once_or_when_it_is_due() -> None:
    gear = Gear()
    gear.forbidden = "another is closed"
    assert not gear.gear.close()
    waits = Gear(min_off_s=30.0)
    assert waits.gear.close()
    waits.forbidden = "another is closed"
    await asyncio.sleep(30.0)
    assert (gear.flows, waits.flows, waits.told) == (False, False, ["lost"])


def test_each_loss_is_one_alarm_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    @played
    async def story() -> None:
        gear = Gear()
        gear.gear.board_is(works=False)
        gear.gear.board_is(works=False)
        gear.gear.contact_is(closed=True)
        await gear.settles()
        gear.gear.feedback_is(works=False)

    with caplog.at_level(logging.CRITICAL):
        story()
    told = [record.getMessage() for record in caplog.records]
    for cause, text in zip((Cause.BOARD, Cause.WELDED, Cause.FEEDBACK), told, strict=True):
        assert text.startswith(f"evse=E1 ALARM {cause}: ")
