"""Who goes first while a page is converted."""

import asyncio

import pytest

from agent.store.right_of_way import RightOfWay
from agent.store.token_rows import laid_out
from tests.store.samples import token


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_without_a_lookup_work_goes_on_in_the_next_turn() -> None:
    work = asyncio.ensure_future(RightOfWay().give_way())
    await turns(2)
    assert work.done()


async def test_work_goes_on_when_the_last_lookup_is_over() -> None:
    way = RightOfWay()
    with way:
        with way:
            work = asyncio.ensure_future(way.give_way())
            await turns(2)
        await turns(2)
        waited_for_both = not work.done()
    async with asyncio.timeout(10):
        await work
    assert waited_for_both


async def test_lookups_without_end_hold_work_up_for_a_moment_only() -> None:
    way = RightOfWay()
    with way:
        async with asyncio.timeout(10):
            await way.give_way()


async def test_lookup_that_fails_holds_nobody_up() -> None:
    way = RightOfWay()
    with pytest.raises(OSError, match="disk"), way:
        raise OSError("disk")
    work = asyncio.ensure_future(way.give_way())
    await turns(2)
    assert work.done()


async def test_work_that_is_cancelled_while_it_waits_ends() -> None:
    way = RightOfWay()
    with way:
        work = asyncio.ensure_future(way.give_way())
        await turns(2)
        work.cancel()
        await asyncio.wait({work}, timeout=10)
    assert work.cancelled()


async def test_page_gives_way_after_every_fifty_tokens() -> None:
    gave_way = 0

    async def give_way() -> None:
        nonlocal gave_way
        gave_way += 1

    page = await laid_out([token(f"{number:04X}") for number in range(1000)], 1, 1, 0, give_way)
    assert len(page) == 1000
    assert gave_way >= 20
