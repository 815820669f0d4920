"""Every relay's behaviours (`agent.ports.Relay`, `RelayBoard`), over every driver, with a lamp behind its contact."""

import pytest

from agent.errors import DeviceError
from tests.contract.at_work import Watched, watching
from tests.contract.behaviours import Switches
from tests.contract.rigs.kinds import RelayRig
from tests.contract.suite import over


async def ready(rig: RelayRig, board: Watched) -> None:
    """Wait until the board, where there is one, is there."""
    if rig.board is not None:
        await board.works()


@over(Switches.NEW_OPEN)
async def test_a_new_relay_is_open(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await ready(rig, board)
        assert not rig.relay.contact_closed
        assert not rig.contact_closed()


@over(Switches.MOVES)
async def test_closing_and_opening_moves_the_contact(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await ready(rig, board)
        for _ in range(3):
            rig.relay.close_contact()
            assert (rig.relay.contact_closed, rig.contact_closed()) == (True, True)
            rig.relay.open_contact()
            assert (rig.relay.contact_closed, rig.contact_closed()) == (False, False)


@over(Switches.SAME)
async def test_saying_the_same_again_moves_nothing(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await ready(rig, board)
        before = rig.moves()
        rig.relay.open_contact()
        rig.relay.open_contact()
        assert rig.moves() == before
        rig.relay.close_contact()
        rig.relay.close_contact()
        assert rig.moves() == before + 1
        assert rig.contact_closed()


@over(Switches.DETACH)
async def test_detaching_opens_and_may_be_done_twice(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await ready(rig, board)
        rig.relay.close_contact()
    rig.relay.detach()
    rig.relay.detach()
    assert not rig.relay.contact_closed
    assert not rig.contact_closed()


@over(Switches.DETACHED)
async def test_a_detached_relay_never_closes(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await ready(rig, board)
    rig.relay.detach()
    with pytest.raises(DeviceError):
        rig.relay.close_contact()
    rig.relay.open_contact()
    assert not rig.relay.contact_closed
    assert not rig.contact_closed()


@over(Switches.LEFT_CLOSED)
async def test_a_new_driver_opens_what_was_left_closed(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await ready(rig, board)
        rig.relay.close_contact()
    another = rig.another()
    assert not another.contact_closed
    assert not rig.contact_closed()
    another.detach()


@over(Switches.UNPLUGGED)
async def test_an_unplugged_board_is_said_to_be_lost_and_does_not_close(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await board.works()
        await rig.unplug()
        assert len((await board.lost()).split()) >= 5
        with pytest.raises(DeviceError):
            rig.relay.close_contact()
        assert [works for works, _ in board.states] == [True, False]
        await rig.plug()
        await board.works()
        assert not rig.relay.contact_closed
        assert not rig.contact_closed()


@over(Switches.COMES_BACK_OPEN)
async def test_a_board_that_comes_back_is_open_and_switches_again(rig: RelayRig) -> None:
    async with watching(rig.board) as board:
        await board.works()
        rig.relay.close_contact()
        await rig.unplug()
        await board.lost()
        await rig.plug()
        await board.works()
        assert (rig.relay.contact_closed, rig.contact_closed()) == (False, False)
        rig.relay.close_contact()
        assert rig.contact_closed()
