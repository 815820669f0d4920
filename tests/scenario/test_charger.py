"""The charger that can lose its power: what whoever plays it may rely on, with the real agent in it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.errors import AgentError
from fakes.charger import Charger
from fakes.serial_line import SerialLine
from tests.scenario.world import HANG_S, PINS, configuration, emsp_with, select, until

CARD = "0104A1B21F"
RELAY, PLUG = PINS[0], 24


@asynccontextmanager
async def charger_in(folder: Path) -> AsyncIterator[tuple[Charger, SerialLine]]:
    """A charger with a plug sensor that has no power yet, and an eMSP that accepts the card."""
    async with emsp_with({CARD: {"whitelist": "NEVER"}}) as emsp, asyncio.timeout(HANG_S):
        with SerialLine(folder, name="reader") as line:
            relay = f"relay = {{ gpio = {RELAY} }}"
            text = configuration(folder, [emsp], [line], policy="deadline_s = 60.0")
            config = folder / "config.toml"
            config.write_text(text.replace(relay, f"{relay}\nplug = {{ gpio = {PLUG} }}"))
            async with Charger(config, [line]) as charger:
                yield charger, line


async def begin_charge(charger: Charger, line: SerialLine, folder: Path) -> None:
    """Plug in and hold the card there; returns when the relay is closed and the session on disk."""
    charger.plug(PLUG, inserted=True)
    await charger.start()
    await charger.listens()
    line.present(CARD)
    await charger.closed(RELAY)
    await until(lambda: bool(select(folder / "state" / "state.db", "SELECT 1 FROM session")))


async def test_power_cut_lets_the_relay_fall_open(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as (charger, line):
        await begin_charge(charger, line, tmp_path)
        await charger.power_cut()
        assert not charger.is_on
        assert not charger.is_closed(RELAY)
        assert charger.levels == [(RELAY, True), (RELAY, False)]


async def test_plug_that_is_in_is_still_in_after_a_power_cut(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as (charger, line):
        await begin_charge(charger, line, tmp_path)
        await charger.power_cut()
        await charger.start()
        await charger.closed(RELAY)
        assert "Power is back" in await charger.shows("resumed")


async def test_plug_that_was_pulled_without_power_is_out_at_the_start(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as (charger, line):
        await begin_charge(charger, line, tmp_path)
        await charger.power_cut()
        charger.plug(PLUG, inserted=False)
        await charger.start()
        await until(lambda: [row["ended_because"] for row in _sessions(tmp_path)] == ["unplugged-while-off"])
        assert charger.levels == []


async def test_orderly_stop_opens_the_relay_and_exits_with_zero(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as (charger, line):
        await begin_charge(charger, line, tmp_path)
        assert await charger.stop() == 0
        assert charger.levels == [(RELAY, True), (RELAY, False)]


async def test_wait_for_an_agent_that_can_not_start_says_what_its_log_says(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[party]\n")
    async with Charger(config) as charger, asyncio.timeout(HANG_S):
        await charger.start()
        with pytest.raises(AgentError, match=r"exit code 1.*ConfigError"):
            await charger.closed(RELAY)
        assert not charger.is_on


async def test_charger_ends_when_who_plays_it_is_gone(tmp_path: Path) -> None:
    async with charger_in(tmp_path) as (_, line):
        levels, levels_end = os.pipe()
        inputs_end, inputs = os.pipe()
        command = (sys.executable, "-m", "fakes.charger", str(tmp_path / "config.toml"))
        fds = ("--levels", str(levels_end), "--inputs", str(inputs_end))
        process = await asyncio.create_subprocess_exec(
            *command, *fds, pass_fds=(levels_end, inputs_end), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await line.wait_opened()
        for end in (levels_end, inputs_end, inputs):
            os.close(end)
        code = await process.wait()
        os.close(levels)
        assert code in {0, -signal.SIGTERM}


def _sessions(folder: Path) -> list[dict[str, object]]:
    return select(
        folder / "state" / "state.db", "SELECT * FROM session JOIN authorization a ON a.id = authorization_id"
    )
