"""However the agent ends, the contacts of its USB board are open soon after: by itself, `relays open`, or a new start.

The board lives in this process and so outlives the agent, as a real one does; it keeps its contacts as they are.
"""

import shutil
import signal
from pathlib import Path

import pytest

from tests.scenario.relays_open_board import FROM_OUTSIDE, OPENED, charger_in, die_again_and_again
from tests.scenario.world import until

SEED = 20261123
DEATHS = 10
CAMPAIGN_DEATHS = 200
UNFORESEEN = [signum for signum in FROM_OUTSIDE if signum is not signal.SIGTERM]
LEFT_CLOSED = [1, 2]


@pytest.mark.parametrize("signum", UNFORESEEN)
async def test_agent_that_was_killed_leaves_the_contacts_and_relays_open_opens_them(
    tmp_path: Path, signum: signal.Signals
) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        assert await charger.end_by(signum) == -signum
        assert charger.closed() == LEFT_CLOSED
        finished = await charger.open_relays()
        assert (finished.code, finished.out, finished.err) == (0, OPENED, "")
        assert charger.closed() == []


@pytest.mark.parametrize(("death", "code"), [("exit", 7), ("segfault", -signal.SIGSEGV)])
async def test_agent_that_crashed_leaves_the_contacts_and_relays_open_opens_them(
    tmp_path: Path, death: str, code: int
) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges(death)
        assert await charger.end_by(signal.SIGUSR1) == code
        assert charger.closed() == LEFT_CLOSED
        assert (await charger.open_relays()).code == 0
        assert charger.closed() == []


async def test_agent_that_hangs_is_aborted_by_the_watchdog_and_relays_open_opens_the_contacts(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges("hang")
        charger.send(signal.SIGUSR1)
        assert await charger.end_by(signal.SIGABRT) == -signal.SIGABRT
        assert charger.closed() == LEFT_CLOSED
        assert (await charger.open_relays()).code == 0
        assert charger.closed() == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_agent_that_is_stopped_opens_the_contacts_itself(tmp_path: Path, signum: signal.Signals) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        assert await charger.end_by(signum) == 0
        assert charger.closed() == []


async def test_agent_that_is_killed_while_it_stops_leaves_no_contact_that_relays_open_does_not_open(
    tmp_path: Path,
) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        charger.send(signal.SIGTERM)
        await charger.end_by(signal.SIGKILL)
        assert (await charger.open_relays()).code == 0
        assert charger.closed() == []


async def test_next_start_opens_what_a_killed_agent_has_left_closed(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        await charger.end_by(signal.SIGKILL)
        assert charger.closed() == LEFT_CLOSED
        await charger.start()
        await charger.listens()
        assert charger.closed() == []


async def test_next_start_whose_databases_can_not_be_opened_opens_the_contacts_all_the_same(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        await charger.end_by(signal.SIGKILL)
        shutil.rmtree(tmp_path / "state")
        (tmp_path / "state" / "state.db").mkdir(parents=True)
        await charger.start()
        assert await charger.ended() == 1
        assert charger.closed() == []


async def test_relays_open_reads_the_relays_of_a_file_that_is_broken_elsewhere(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        await charger.end_by(signal.SIGKILL)
        charger.configure(more="[party\ncountry_code = 'DE\n")
        finished = await charger.open_relays()
        assert (finished.code, finished.out) == (0, OPENED)
        assert "only the relays are read from it" in finished.err
        assert charger.closed() == []


async def test_relays_open_opens_a_channel_whose_neighbour_in_the_file_can_not_be_reached(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        await charger.end_by(signal.SIGKILL)
        charger.configure(relay=f'{{ kind = "lcus", port = "{tmp_path / "another-board"}", channel = 1 }}')
        finished = await charger.open_relays()
        assert (finished.code, finished.out) == (1, "")
        assert "another-board" in finished.err
        assert charger.closed() == [1]


async def test_start_does_not_wait_for_a_board_that_was_pulled_and_opens_it_when_it_comes_back_closed(
    tmp_path: Path,
) -> None:
    async with charger_in(tmp_path, self_powered=True) as charger:
        await charger.charges()
        await charger.end_by(signal.SIGKILL)
        charger.board.unplug()
        finished = await charger.open_relays()
        assert (finished.code, finished.out) == (1, "")
        assert charger.closed() == LEFT_CLOSED
        await charger.start()
        await charger.listens()
        charger.board.plug()
        await until(lambda: charger.closed() == [])


async def test_board_that_is_pulled_during_a_charge_and_comes_back_closed_is_opened(tmp_path: Path) -> None:
    async with charger_in(tmp_path, self_powered=True) as charger:
        await charger.charges()
        charger.board.unplug()
        assert charger.closed() == LEFT_CLOSED
        charger.board.plug()
        await until(lambda: charger.closed() == [])
        assert await charger.end_by(signal.SIGTERM) == 0


async def test_relays_open_leaves_the_contacts_of_a_running_agent_alone(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as charger:
        await charger.charges()
        finished = await charger.open_relays()
        assert (finished.code, finished.out) == (1, "")
        assert "another agent is running" in finished.err
        assert charger.closed() == LEFT_CLOSED


async def test_death_at_a_random_moment_leaves_no_contact_that_is_not_opened(tmp_path: Path) -> None:
    tally = await die_again_and_again(tmp_path, DEATHS, SEED)
    assert sum(tally.deaths.values()) == DEATHS
    assert tally.still_closed == []


@pytest.mark.campaign
async def test_hundreds_of_deaths_leave_no_contact_that_is_not_opened(tmp_path: Path) -> None:
    tally = await die_again_and_again(tmp_path, CAMPAIGN_DEATHS, SEED)
    print(
        f"\n{sum(tally.deaths.values())} deaths: {dict(tally.deaths)}; contacts left closed: {tally.left_closed};"
        f" remedies: {dict(tally.remedies)}; still closed: {len(tally.still_closed)}"
    )
    assert tally.still_closed == []
    assert tally.left_closed > 0
