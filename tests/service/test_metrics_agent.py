"""A real agent, scraped over a real socket: what the alerts and the dashboard look for is there, and no card is."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it comes without type information

from agent import __version__
from agent.model import Policy, Uid
from agent.runtime.clock import system_clock
from agent.service.facts import Lookout
from agent.service.metrics import Metrics
from agent.service.monitoring import health_of
from tests.scenario.world import EVSES, World, until, world
from tests.service.exposition import Page, parse
from tests.service.test_monitoring import Served, served

DOCS = Path(__file__).parents[2] / "docs" / "monitoring"
A, UNKNOWN = Uid("0104A1B2C3"), Uid("01FF80C3D4")
METRIC = re.compile(r"\b(?:chargepoint|process)_[a-z0-9_]+\b")
SEVERITIES = {"warning", "critical"}


@dataclass
class Watched:
    """An agent in its world, with the server that tells of it."""

    here: World
    metrics: Metrics
    server: Served

    async def tap(self, uid: Uid, evse: int = 0) -> None:
        self.metrics.settled(await self.here.tap(uid, evse))

    async def scrape(self) -> str:
        status, _, body = await self.server.get("/metrics")
        assert status == 200
        return body.decode()


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """With a card that is listed, and one that nobody knows."""
    async with world(folder, {A: {"whitelist": "ALWAYS"}}) as here:
        agent = here.agent
        lookout = Lookout(
            tuple(agent.evses.values()),
            agent._site.readers,
            agent.peers,
            agent.stores.whitelist,
            agent.stores.sessions,
        )
        await lookout.count()
        clock = system_clock(trusted=True)
        metrics = Metrics(lookout.facts, policy=Policy(), clock=clock, version=__version__)
        await until(lambda: lookout.facts().is_ready)
        async with served(make=metrics.text, health=lambda: health_of(lookout.facts()), fresh_s=0.0) as server:
            yield Watched(here, metrics, server)


async def test_a_tap_at_the_kerb_is_seen_in_the_next_scrape(tmp_path: Path) -> None:
    async with watched(tmp_path) as charger:
        await charger.tap(A)
        page = parse(await charger.scrape())
    at = {"evse": EVSES[0]}
    assert page.value("chargepoint_taps_total", **at, verdict="accepted", reason="whitelisted", source="whitelist") == 1
    assert page.value("chargepoint_evse_relay_closed", **at) == 1
    assert page.value("chargepoint_evse_relay_closed", evse=EVSES[1]) == 0
    assert page.value("chargepoint_tap_to_relay_seconds_count", source="whitelist") == 1
    assert page.value("chargepoint_tap_to_relay_seconds_sum", source="whitelist") > 0


async def test_no_card_is_in_what_is_told(tmp_path: Path) -> None:
    async with watched(tmp_path) as charger:
        await charger.tap(A)
        await charger.tap(UNKNOWN, evse=1)
        text = await charger.scrape()
        _, _, health = await charger.server.get("/health")
    for uid in (A, UNKNOWN):
        assert uid not in text
        assert uid not in health.decode()


async def test_an_agent_at_work_is_up_with_all_its_parts(tmp_path: Path) -> None:
    async with watched(tmp_path) as charger:
        page = parse(await charger.scrape())
        status, _, body = await charger.server.get("/health")
    answer = json.loads(body)
    assert (status, answer["evses"], answer["readers"]) == (200, {"live": 2, "of": 2}, {"ready": 2, "of": 2})
    assert answer["wrong"] == []
    assert {value for labels, value in page.all_of("chargepoint_evse_live").items()} == {1}
    assert list(page.all_of("chargepoint_whitelist_tokens").values()) == [1]


async def test_what_alerts_and_dashboard_look_for_is_in_a_scrape(tmp_path: Path) -> None:
    async with watched(tmp_path) as charger:
        await charger.tap(A)
        page = parse(await charger.scrape())
    looked_for = {name for expression in [*_alert_expressions(), *_panel_expressions()] for name in _names(expression)}
    assert looked_for
    assert {name for name in looked_for if not _has(page, name)} == set()


async def test_the_dashboard_shows_every_metric(tmp_path: Path) -> None:
    async with watched(tmp_path) as charger:
        page = parse(await charger.scrape())
    shown = {page.family_of(name) for expression in _panel_expressions() for name in _names(expression)}
    assert set(page.families) - shown == set()


async def test_what_alerts_and_dashboard_select_by_is_a_label_there(tmp_path: Path) -> None:
    async with watched(tmp_path) as charger:
        await charger.tap(A)
        page = parse(await charger.scrape())
    labels = page.labels()
    for expression in [*_alert_expressions(), *_panel_expressions()]:
        for name, value in re.findall(r'\b([a-z]+)="([a-z-]+)"', expression):
            assert name == "job" or value in labels[name], expression


def test_every_alert_says_how_long_how_bad_what_and_what_to_do() -> None:
    names = set()
    for rule in _rules():
        assert re.fullmatch(r"[0-9]+[mh]", rule["for"]), rule["alert"]
        assert rule["labels"]["severity"] in SEVERITIES, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "runbook"}, rule["alert"]
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"], rule["alert"]
        assert "\n" not in rule["annotations"]["runbook"].strip(), rule["alert"]
        assert rule["alert"] not in names
        names.add(rule["alert"])


def test_every_alert_is_in_the_page_for_operators() -> None:
    text = (DOCS / "README.md").read_text("utf-8")
    assert [rule["alert"] for rule in _rules() if f"`{rule['alert']}`" not in text] == []


def test_the_dashboard_takes_whatever_data_source_it_is_given() -> None:
    dashboard = _dashboard()
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "instance"]
    for panel in dashboard["panels"]:
        for part in [panel, *panel.get("targets", ())]:
            assert panel["type"] == "row" or part["datasource"]["uid"] == "${datasource}"


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in _dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        ids.add(panel["id"])
    assert len(ids) == len(_dashboard()["panels"])


def test_prometheus_own_tool_takes_the_rules_and_the_dashboards_expressions(tmp_path: Path) -> None:
    promtool = _promtool()
    expressions = [expression.replace("$__rate_interval", "5m") for expression in _panel_expressions()]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    panels = tmp_path / "panels.yml"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", DOCS / "alerts.yml", panels], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_prometheus_own_tool_takes_a_scrape(tmp_path: Path) -> None:
    promtool = _promtool()
    async with watched(tmp_path) as charger:
        await charger.tap(A)
        text = await charger.scrape()
    assert _complaints(promtool, text) == ""


def _complaints(promtool: str, text: str) -> str:
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_an_agent_that_is_not_watched_does_not_load_what_watching_takes() -> None:
    program = "import sys, agent.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "agent.main" in loaded
    assert loaded & {"agent.service.metrics", "agent.service.monitoring"} == set()


def _promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: in Debian it comes with the package prometheus")
    return found


def _rules() -> list[dict[str, Any]]:
    text = (DOCS / "alerts.yml").read_text("utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def _dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads((DOCS / "dashboard.json").read_text("utf-8"))
    return dashboard


def _alert_expressions() -> list[str]:
    return [rule["expr"] for rule in _rules()]


def _panel_expressions() -> list[str]:
    return [target["expr"] for panel in _dashboard()["panels"] for target in panel.get("targets", ())]


def _names(expression: str) -> list[str]:
    return METRIC.findall(expression)


def _has(page: Page, name: str) -> bool:
    try:
        return bool(page.all_of(name))
    except KeyError:
        return False
