"""What a power cut costs at most, whatever the meter says and whenever it comes."""

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import EndReason
from agent.runtime.ledger import LedgerSettings
from tests.scenario.virtual_time import in_virtual_time
from tests.unit.ledger_books import Books

STEPS = st.lists(st.tuples(st.integers(0, 80), st.floats(0.1, 300.0)), min_size=1, max_size=40)
"""What flows until the next reading, in Wh, and how long that takes, in s."""


def losses(steps: list[tuple[int, float]], persist_energy_wh: int) -> list[int]:
    """What is not on disk just before each reading: the most that a power cut since the last one can cost."""
    lost: list[int] = []

    async def story() -> None:
        books = Books(LedgerSettings(has_meter=True, persist_energy_wh=persist_energy_wh))
        await books.begin(10_000)
        register_wh = 10_000
        for wh, seconds in steps:
            register_wh += wh
            await asyncio.sleep(seconds)
            lost.append(register_wh - 10_000 - (books.persisted_wh() or 0))
            books.ledger.reading(books.now, register_wh)
            await books.ledger.settled()
        books.ledger.end(books.now, register_wh, EndReason.UNPLUGGED)
        await books.ledger.settled()
        assert books.persisted_wh() == register_wh - 10_000
        await books.close()

    in_virtual_time(story)
    return lost


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(20, 500))
def test_power_cut_costs_no_more_than_configured_and_what_flows_faster_than_before(
    steps: list[tuple[int, float]], persist_energy_wh: int
) -> None:
    lost = losses(steps, persist_energy_wh)
    assert lost[0] == steps[0][0]
    for (before, now), loss in zip(pairwise(wh for wh, _ in steps), lost[1:], strict=True):
        assert loss <= max(now, persist_energy_wh + max(0, now - before))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 80), st.integers(80, 500), st.integers(1, 40))
def test_power_cut_costs_no_more_than_configured_while_energy_flows_evenly(
    step_wh: int, persist_energy_wh: int, count: int
) -> None:
    assert max(losses([(step_wh, 1.0)] * count, persist_energy_wh)) <= persist_energy_wh


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_time_that_is_on_disk_is_never_older_than_configured(steps: list[tuple[int, float]]) -> None:
    async def story() -> None:
        every_s = 60.0
        books = Books(LedgerSettings(has_meter=True, persist_energy_wh=10**9, persist_every_s=every_s))
        await books.begin(10_000)
        began, register_wh = books.now, 10_000
        for wh, seconds in steps:
            register_wh += wh
            await asyncio.sleep(seconds)
            books.ledger.reading(books.now, register_wh)
            await books.ledger.settled()
            assert books.now - began - (books.persisted_at - began) <= every_s + 0.001
        await books.close()

    in_virtual_time(story)
