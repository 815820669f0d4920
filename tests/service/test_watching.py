"""Who watches over a running agent, as the configuration says: metrics and health on a socket, or nothing at all."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from agent.config import load
from agent.diagnosis.configuration import check_files
from agent.errors import ConfigError
from tests.scenario.world import World, configuration, until, world
from tests.service.exposition import Page, parse

A = "0104A1B2C3"


async def asked(here: World, path: str) -> httpx.Response:
    socket = here.folder.parent / "metrics.sock"
    await until(socket.exists)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(socket)), timeout=60) as client:
        return await client.get(f"http://charger{path}")


async def scraped(here: World) -> Page:
    return parse((await asked(here, "/metrics")).text)


def monitoring(folder: Path) -> str:
    return f'[monitoring]\nlisten = "{folder / "metrics.sock"}"\n'


async def test_configured_metrics_count_what_the_agent_decides(tmp_path: Path) -> None:
    async with world(tmp_path, {A: {"whitelist": "NEVER"}}, more=monitoring(tmp_path)) as here:
        await here.tap(A)
        page = await scraped(here)
        said = {"verdict": "accepted", "reason": "allowed", "source": "realtime", "evse": "DE*EXA*E1"}
        assert page.value("chargepoint_taps_total", **said) == 1
        assert page.value("chargepoint_questions_total", peer="abc", outcome="allowed") == 1
        health = await asked(here, "/health")
        assert (health.status_code, json.loads(health.text)["status"]) == (200, "ok")


async def test_reloaded_deadline_begins_the_histograms_anew(tmp_path: Path) -> None:
    async with world(tmp_path, {A: {"whitelist": "ALWAYS"}}, more=monitoring(tmp_path)) as here:
        config = tmp_path / "config.toml"
        config.write_text(config.read_text().replace("deadline_s = 30.0", "deadline_s = 7.0"))
        await here.agent.reload()
        await here.tap(A)
        assert (await scraped(here)).value("chargepoint_deadline_seconds") == 7


def test_without_the_table_nothing_of_it_is_loaded() -> None:
    script = (
        "import sys, agent.main; print([m for m in sys.modules if m in "
        "('agent.service.metrics', 'agent.service.monitoring') or m.startswith('agent.panel')])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("listen", ["0.0.0.0:9469", "nonsense", "127.0.0.1:0"])
def test_place_that_can_not_be_listened_at_is_found_by_config_check(tmp_path: Path, listen: str) -> None:
    config = tmp_path / "config.toml"
    line = type("Line", (), {"path": tmp_path / "reader"})()
    config.write_text(configuration(tmp_path, [], [line], more=f'[monitoring]\nlisten = "{listen}"'))
    with pytest.raises(ConfigError, match=r"monitoring\.listen"):
        check_files(load(config), config)
