"""A phone is held to the reader: its uid is another one each time. With every port played in memory."""

import asyncio

from agent.core.evse_state import Charging, WaitingForPlug
from agent.model import Entry, Reason, Source, Tap, Uid, Verdict
from tests.scenario.charging import charging_stage, finish
from tests.scenario.stage import Stage
from tests.scenario.virtual_time import played


async def phone(stage: Stage, uid: str = "08A1B2C3", *, is_random: bool = True) -> Entry:
    """Hold a phone to the reader, and wait for the record."""
    await asyncio.sleep(0.5)
    stage.evse.tap(Tap(Uid(uid), asyncio.get_running_loop().time(), "left", is_random=is_random))
    return (await stage.next_settled()).entry


@played
async def test_random_uid_is_refused_with_its_own_reason_and_the_setting_that_allows_it() -> None:
    stage = charging_stage()
    entry = await phone(stage)
    assert (entry.verdict, entry.reason, entry.source) == (Verdict.REFUSED, Reason.RANDOM_UID, Source.LOCAL)
    assert 'reader left takes such cards with random_uids = "accept"' in entry.detail
    assert list(stage.journal.committed.values()) == [entry]
    assert stage.display.shown[-1] == entry.text.replace("\n", " ")
    assert stage.relay.closings == []
    await finish(stage)


@played
async def test_random_uid_is_refused_without_asking_a_peer() -> None:
    stage = charging_stage()
    await phone(stage)
    assert stage.backend.asked == []
    await finish(stage)


@played
async def test_random_uid_is_refused_without_reading_the_whitelist() -> None:
    stage = charging_stage()
    stage.whitelist.broken = True
    stage.whitelist.takes_s = 1.0
    before = asyncio.get_running_loop().time()
    entry = await phone(stage)
    assert (entry.reason, asyncio.get_running_loop().time() - before < 1.0) == (Reason.RANDOM_UID, True)
    await finish(stage)


@played
async def test_random_uid_that_happens_to_be_listed_is_refused() -> None:
    stage = charging_stage()
    assert (await phone(stage, "A1")).reason is Reason.RANDOM_UID
    await finish(stage)


@played
async def test_random_uid_at_a_reader_that_takes_such_is_decided_as_any_card() -> None:
    stage = charging_stage()
    entry = await phone(stage, is_random=False)
    assert (entry.reason, entry.source) == (Reason.ALLOWED, Source.REALTIME)
    assert isinstance(stage.evse.state.phase, WaitingForPlug)
    await finish(stage)


@played
async def test_random_uid_finds_an_evse_in_use_as_any_card_does() -> None:
    stage = charging_stage()
    await stage.begin("C1")
    assert (await phone(stage)).reason is Reason.IN_USE
    assert isinstance(stage.evse.state.phase, Charging)
    await finish(stage)


@played
async def test_random_uid_that_happens_to_be_of_the_group_ends_no_charge() -> None:
    stage = charging_stage()
    await stage.begin("A1")
    assert (await phone(stage, "A2")).reason is Reason.IN_USE
    assert isinstance(stage.evse.state.phase, Charging)
    await finish(stage)
