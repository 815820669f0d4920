"""One reader with two outlets: whose card goes where, with every port played in memory."""

import asyncio
from typing import Any

from agent.core.evse_state import Charging, WaitingForPlug
from agent.model import EndReason, Reason, Tap, Uid, Verdict
from agent.ports import ReaderState
from agent.runtime.outlets import Outlets
from tests.scenario.charging import POLICY, charging_stage, with_stop_after
from tests.scenario.stage import RESTART_S, Stage
from tests.scenario.virtual_time import played


class TwoOutlets:
    """A charge point with one reader, an outlet on its left and one on its right."""

    def __init__(self, **changes: Any) -> None:
        self.left: Stage = charging_stage(uid="DE*EXA*E1", **changes)
        self.right: Stage = charging_stage(uid="DE*EXA*E2", **changes)
        self.outlets = Outlets([self.left.evse, self.right.evse])

    async def present(self, uid: str) -> None:
        """Hold a card to the reader, and see what comes of it."""
        await asyncio.sleep(0.1)
        self.outlets.tap(Tap(Uid(uid), asyncio.get_running_loop().time(), "reader"))
        await asyncio.sleep(0.1)
        await self.left.evse.ledger.settled()
        await self.right.evse.ledger.settled()

    @property
    def charging(self) -> tuple[bool, bool]:
        """Which relays are closed."""
        return self.left.relay.contact_closed, self.right.relay.contact_closed

    async def close(self) -> None:
        for stage in (self.left, self.right):
            await stage.stop()
            stage.journal.check()
            assert stage.relay.unrecorded == 0


@played
async def test_card_is_for_the_outlet_that_is_plugged_in() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.right.plug(inserted=True)
    await site.present("A1")
    assert site.charging == (False, True)
    assert site.left.journal.committed == {}
    await site.close()


@played
async def test_card_is_for_the_first_free_outlet_where_nothing_is_plugged_in() -> None:
    site = TwoOutlets()
    await site.present("A1")
    assert isinstance(site.left.evse.state.phase, WaitingForPlug)
    assert site.right.journal.committed == {}
    await site.close()


@played
async def test_card_is_for_the_car_that_was_plugged_in_last() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await asyncio.sleep(5.0)
    site.right.plug(inserted=True)
    await site.present("A1")
    assert site.charging == (False, True)
    await site.close()


@played
async def test_card_is_not_for_a_car_that_came_while_it_was_looked_up() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    site.right.plug(inserted=True)
    site.left.whitelist.takes_s = 0.5
    await site.present("C1")
    site.left.plug(inserted=False)
    site.left.plug(inserted=True)
    await asyncio.sleep(1.0)
    assert site.charging == (False, True)
    assert [entry.uid for entry in site.right.journal.committed.values()] == ["C1"]
    await site.close()


@played
async def test_next_card_is_for_the_other_outlet() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    site.right.plug(inserted=True)
    await site.present("C1")
    assert site.charging == (True, True)
    assert [entry.uid for entry in site.right.journal.committed.values()] == ["C1"]
    await site.close()


@played
async def test_same_card_ends_its_own_charge_and_not_the_neighbours() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    site.right.plug(inserted=True)
    await site.present("A1")
    assert site.charging == (False, False)
    assert site.left.journal.ended == {1: EndReason.SAME_CARD}
    assert site.right.journal.committed == {}
    await site.close()


@played
async def test_group_card_ends_its_groups_charge_and_starts_no_other_car() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.right.plug(inserted=True)
    await site.present("A1")
    site.left.plug(inserted=True)
    await site.present("A2")
    assert site.charging == (False, False)
    assert site.right.journal.ended == {1: EndReason.GROUP_CARD}
    assert site.left.journal.committed == {}
    await site.close()


@played
async def test_card_of_no_group_is_for_the_free_outlet_while_a_group_charges() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    await site.present("C1")
    assert isinstance(site.left.evse.state.phase, Charging)
    assert isinstance(site.right.evse.state.phase, WaitingForPlug)
    await site.close()


@played
async def test_unreadable_whitelist_hands_the_card_over_all_the_same() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    site.left.whitelist.broken = site.right.whitelist.broken = True
    await site.present("C1")
    assert site.charging == (True, False)
    assert len(site.right.journal.committed) == 1
    await site.close()


@played
async def test_card_whose_row_can_not_be_read_is_handed_over_all_the_same() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    site.left.whitelist.spoilt = site.right.whitelist.spoilt = frozenset({"C1"})
    await site.present("C1")
    assert site.charging == (True, False)
    assert [entry.reason for entry in site.right.journal.committed.values()] == [Reason.AGENT_FAULT]
    await site.close()


@played
async def test_card_is_refused_once_while_both_outlets_are_in_use() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    for stage, uid in ((site.left, "A1"), (site.right, "B1")):
        stage.plug(inserted=True)
        await site.present(uid)
    await site.present("C1")
    assert site.charging == (True, True)
    refused = [*site.left.journal.committed.values(), *site.right.journal.committed.values()]
    assert [entry.reason for entry in refused if entry.verdict is Verdict.REFUSED] == [Reason.IN_USE]
    await site.close()


@played
async def test_outlet_that_is_out_of_order_is_passed_over() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.left.evse.meter_is(works=False)
    site.left.plug(inserted=True)
    await site.present("A1")
    assert isinstance(site.right.evse.state.phase, WaitingForPlug)
    assert site.left.journal.committed == {}
    await site.close()


@played
async def test_card_held_on_after_its_stop_starts_nothing_at_the_other_outlet() -> None:
    site = TwoOutlets(policy=with_stop_after(3.0))
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("A1")
    await asyncio.sleep(10.0)
    site.right.plug(inserted=True)
    await site.present("A1")
    await site.present("A1")
    assert site.charging == (False, False)
    assert site.right.journal.committed == {}
    await site.close()


@played
async def test_card_that_is_being_decided_joins_its_decision_there() -> None:
    site = TwoOutlets()
    site.left.backend.late_after_s = 1.0
    await asyncio.sleep(0.5)
    site.left.plug(inserted=True)
    await site.present("B1")
    site.right.plug(inserted=True)
    await site.present("B1")
    await asyncio.sleep(POLICY.deadline_s)
    assert site.charging == (True, False)
    assert site.right.journal.committed == {}
    await site.close()


@played
async def test_lost_reader_is_known_at_both_outlets() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    site.outlets.reader_is("reader", ReaderState.MISSING, "plug it in")
    assert all(stage.display.shown[-1].startswith("Out of order") for stage in (site.left, site.right))
    site.outlets.reader_is("reader", ReaderState.READY, "hold a card to it")
    await site.present("A1")
    assert len(site.left.journal.committed) == 1
    await site.close()


@played
async def test_outlet_that_failed_leaves_the_other_ones_charge_alone() -> None:
    site = TwoOutlets()
    await asyncio.sleep(0.5)
    for stage, uid in ((site.left, "A1"), (site.right, "C1")):
        stage.plug(inserted=True)
        await site.present(uid)
    site.left.display.breaks = True
    site.left.plug(inserted=False)
    await asyncio.sleep(RESTART_S / 2)
    assert site.charging == (False, True)
    await asyncio.sleep(RESTART_S)
    site.left.plug(inserted=True)
    site.left.read()
    await site.present("A1")
    assert site.charging == (True, True)
    await site.close()
