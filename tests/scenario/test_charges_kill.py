"""Charges under kill -9 at random moments and a peer that fails at random: each is billed once, for what it drew."""

from pathlib import Path

import pytest

from tests.scenario.charges_killed import charges_killed

SEED = 20261123


async def test_charges_through_kills_and_a_failing_peer_are_billed_once_each(tmp_path: Path) -> None:
    run = await charges_killed(tmp_path, sessions=25, seed=SEED)
    assert run.found == []
    assert run.stuck == []
    assert run.kills > 0
    assert len(run.books.cdrs) > 0


@pytest.mark.campaign
async def test_five_hundred_charges_through_kills_and_a_failing_peer_are_billed_once_each(tmp_path: Path) -> None:
    run = await charges_killed(tmp_path, sessions=500, seed=SEED)
    print("", *run.lines(), sep="\n")
    assert run.found == []
    assert run.stuck == []
    assert len(run.books.sessions) >= 500
