"""How a behaviour becomes one test over every driver of its port: the rig is entered around it, in the test's own task.

@over(Reads.ONE_TAP)
async def test_a_card_is_one_tap(rig: ReaderRig) -> None: ...
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from tests.contract.offers import Offer

SUITE = "contract_suite"
"""The marker that carries a test's behaviour to the collection and to the table: see `conftest`."""

ELSEWHERE_S = 900.0
"""There is one pcscd on a machine: for so long another process with tests may have it."""

_Shown = Callable[[Any], Awaitable[None]]
_Test = Callable[[Offer, Path], Awaitable[None]]


def over(behaviour: StrEnum) -> Callable[[_Shown], _Test]:
    """Run the function once for each driver that promises this, with its rig; skip where the rig says it can't."""

    def with_rig(shown: _Shown) -> _Test:
        async def test(offer: Offer, tmp_path: Path) -> None:
            most_s = ELSEWHERE_S + offer.hang_s
            async with asyncio.timeout(most_s), offer.rig(tmp_path) as rig, asyncio.timeout(offer.hang_s):
                unknown = set(rig.cannot) - set(offer.port.behaviours)
                assert not unknown, f"the rig of {offer.driver} excuses what is no behaviour"
                if behaviour in rig.cannot:
                    pytest.skip(rig.cannot[behaviour])
                await shown(rig)

        test.__name__ = test.__qualname__ = shown.__name__
        test.__module__, test.__doc__ = shown.__module__, str(behaviour)
        marked: _Test = pytest.mark.contract_suite(behaviour)(test)
        return marked

    return with_rig
