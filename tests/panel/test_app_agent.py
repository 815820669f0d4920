"""The panel on a real agent, over real sockets: what it shows is what stands in `state.db`."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import __version__
from agent.main import Agent
from agent.model import MeterReading, Policy
from agent.panel.panel import Panel
from agent.panel.place import Place
from agent.panel.reveals import FILE
from agent.runtime.clock import system_clock
from agent.service.facts import Lookout
from tests.panel.panels import HANG_S, PAGES, event, hung_up, log_in, logins, post, until
from tests.scenario.charge_world import ChargePoint, charge_point
from tests.scenario.world import EVSES

A, UNKNOWN = "0104A1B2C3", "01FF80C3D4"
CARDS: dict[str, dict[str, Any]] = {A: {"whitelist": "ALWAYS"}}


@dataclass
class Bench:
    """A charge point with its panel open."""

    here: ChargePoint
    agent: Agent
    panel: Panel
    browser: httpx.AsyncClient

    async def tap(self, uid: str) -> None:
        self.panel.settled(await self.here.tap(uid))

    async def state(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        value: dict[str, Any] = (await self.browser.get("/state")).json()
        return value

    async def shows(self, **of_session: object) -> dict[str, Any]:
        """The only session that the panel shows, once it is so."""
        async with asyncio.timeout(HANG_S):
            while True:
                sessions = (await self.state())["sessions"]
                if sessions and all(sessions[0][name] == value for name, value in of_session.items()):
                    assert len(sessions) == 1
                    one: dict[str, Any] = sessions[0]
                    return one


@asynccontextmanager
async def panel_of(agent: Agent, folder: Path, login_file: Path | None = None) -> AsyncIterator[Panel]:
    panel = Panel(
        Place("127.0.0.1", 0, login_file=login_file),
        policy=Policy(),
        clock=system_clock(trusted=True),
        version=__version__,
        whitelist=agent.stores.whitelist,
        journal=agent.stores.journal,
        sessions=agent.stores.sessions,
        folder=folder,
        pages=PAGES,
    )
    evses, readers = tuple(agent.evses.values()), agent._site.readers
    panel.look_at(Lookout(evses, readers, agent.peers, agent.stores.whitelist, agent.stores.sessions), agent.evses)
    running = asyncio.create_task(panel.run())
    try:
        yield panel
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def bench(folder: Path, *, with_login: bool = False) -> AsyncIterator[Bench]:
    login_file = logins(folder, "anna") if with_login else None
    async with (
        charge_point(folder, CARDS) as here,
        here.agent() as agent,
        panel_of(agent, folder / "state", login_file) as panel,
    ):
        async with asyncio.timeout(HANG_S):
            url = await panel.url()
        async with httpx.AsyncClient(base_url=url.rstrip("/"), timeout=HANG_S, trust_env=False) as browser:
            yield Bench(here, agent, panel, browser)


def power_of(state: dict[str, Any]) -> float | None:
    session = state["evses"][0]["session"]
    return None if session is None else session["power_w"]


async def test_a_tap_is_shown_as_it_stands_on_record(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await one.tap(A)
        [tap] = (await one.state())["taps"]
        [record] = one.here.rows("authorization")
    for shown, kept in (
        ("id", "id"),
        ("verdict", "verdict"),
        ("reason", "reason"),
        ("text", "text"),
        ("why", "detail"),
    ):
        assert tap[shown] == record[kept]
    assert (tap["uid"], tap["evse"], tap["reader"]) == ("…C3", EVSES[0], "reader-1")
    times = tap["times_ms"]
    assert times["total"] == pytest.approx(sum(times[name] for name in times if name != "total"), abs=0.1)
    assert 0 < times["total"] < tap["deadline_ms"]


async def test_a_charge_runs_on_the_page_and_its_cdr_is_acknowledged(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await one.tap(A)
        one.here.plug()
        await one.here.closed()
        await one.here.deliver(1500)
        now = asyncio.get_running_loop().time()
        one.panel.read(EVSES[0], MeterReading(now, 0, 11_000.0))
        running = await one.shows(energy_wh=1500, state="active")
        [evse] = (await one.state())["evses"]
        one.here.unplug()
        await one.here.opened()
        await one.here.cdr()
        over = await one.shows(state="ended", delivery="told")
        [after] = (await one.state())["evses"]
    assert (evse["phase"], evse["plug"], evse["relay"]) == ("charging", "in", "closed")
    assert (evse["session"]["energy_wh"], evse["session"]["power_w"]) == (1500, 11_000.0)
    assert evse["session"]["id"] == running["id"] == over["id"]
    assert over["cdr"]["state"] == "acknowledged"
    assert over["cost"].endswith(" EUR")
    assert (after["session"], after["plug"], after["relay"]) == (None, "out", "open")


async def test_a_panel_that_is_configured_shows_displays_lights_and_power(tmp_path: Path) -> None:
    async with charge_point(tmp_path, CARDS, more='[panel]\nlisten = "127.0.0.1:0"') as here, here.agent() as agent:
        assert agent.panel is not None
        async with asyncio.timeout(HANG_S):
            url = await agent.panel.url()
        async with httpx.AsyncClient(base_url=url.rstrip("/"), timeout=HANG_S, trust_env=False) as browser:
            [before] = (await browser.get("/state")).json()["evses"]
            await here.tap(A)
            here.plug()
            await here.closed()
            await here.deliver(1500)
            async with asyncio.timeout(HANG_S):
                while power_of(after := (await browser.get("/state")).json()) is None:
                    pass
    assert before["display"]["columns"] >= 16
    assert any(before["display"]["lines"])
    assert (before["signal"], before["session"]) == ("ready", None)
    assert after["evses"][0]["signal"] in {"accepted", "charging"}
    assert [(tap["verdict"], tap["recorded"]) for tap in after["taps"]] == [("accepted", True)]


async def test_the_taps_of_the_life_before_are_still_shown(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await one.tap(A)
        async with panel_of(one.agent, tmp_path / "state") as anew:
            url = await anew.url()
            async with httpx.AsyncClient(base_url=url.rstrip("/"), trust_env=False) as browser:
                [tap] = (await browser.get("/state")).json()["taps"]
    assert (tap["recorded"], tap["verdict"], tap["times_ms"]) == (True, "accepted", None)


async def test_a_card_is_explained_by_the_whitelist_that_is_there(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        known = (await one.browser.get("/cards", params={"q": "01:04:a1:b2:c3"})).json()
        unknown = (await one.browser.get("/cards", params={"q": UNKNOWN})).json()
        none = await one.browser.get("/cards", params={"q": "\x00"})
        records = one.here.rows("authorization")
    assert (known["at_once"]["verdict"], known["at_once"]["source"]) == ("accepted", "whitelist")
    assert known["uid"] == "…C3"
    assert [asked["now"] for asked in unknown["asked"]] == [True]
    assert none.status_code == 400
    assert records == []


async def test_a_reveal_is_on_record_before_the_card_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agent")
    async with bench(tmp_path, with_login=True) as one:
        await one.tap(A)
        assert "taps" not in await one.state()
        await log_in(one.browser)
        state = await one.state()
        answer = await post(one.browser, "/reveal", json={"tap": state["taps"][0]["id"]})
        nothing = await post(one.browser, "/reveal", json={"tap": 4711})
    kept = tmp_path / "state" / FILE
    [line] = [json.loads(text) for text in kept.read_text().splitlines()]
    assert (answer.json(), nothing.status_code) == ({"uid": A}, 404)
    assert (line["user"], line["from"], line["tap"], line["evse"]) == ("anna", "127.0.0.1", 1, EVSES[0])
    assert A not in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert A not in caplog.text
    [told] = [record for record in caplog.records if "was shown the number" in record.getMessage()]
    assert told.levelno == logging.WARNING
    assert "anna was shown the number of the card of authorization 1" in told.getMessage()


async def test_an_open_page_hears_of_a_tap_by_itself(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        url = httpx.URL(await one.panel.url())
        reader, writer = await asyncio.open_connection("127.0.0.1", url.port, limit=1 << 20)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await event(reader))["taps"] == []
        await one.tap(A)
        while not (state := await event(reader))["taps"]:
            pass
        await hung_up(writer)
        await until(lambda: one.panel.clients == 0)
    assert state["taps"][0]["verdict"] == "accepted"
    assert [peer["up"] for peer in state["peers"]] == [True]
    assert state["agent"]["status"].startswith("1 EVSE: ")


async def test_a_page_that_somebody_else_serves_is_as_live(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        inner = Panel(
            None,
            policy=Policy(),
            clock=system_clock(trusted=True),
            version=__version__,
            whitelist=one.agent.stores.whitelist,
            journal=one.agent.stores.journal,
            sessions=one.agent.stores.sessions,
            folder=tmp_path,
            pages=PAGES,
        )
        evses, readers, stores = tuple(one.agent.evses.values()), one.agent._site.readers, one.agent.stores
        inner.look_at(Lookout(evses, readers, one.agent.peers, stores.whitelist, stores.sessions), one.agent.evses)
        running = asyncio.create_task(inner.run())
        transport = httpx.ASGITransport(app=inner.page)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
            state = (await browser.get("/state")).json()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [evse["uid"] for evse in state["evses"]] == [EVSES[0]]


async def test_another_policy_is_explained_by_from_then_on(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.panel.use(replace(Policy(), deadline_s=2.0))
        assert (await one.state())["agent"]["policy"] == {"deadline_ms": 2000.0}


async def test_an_address_that_is_taken_is_said_once_and_costs_the_agent_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as one:
        taken = httpx.URL(await one.panel.url()).port
        assert taken is not None
        second = Panel(
            Place("127.0.0.1", taken),
            policy=Policy(),
            clock=system_clock(trusted=True),
            version=__version__,
            whitelist=one.agent.stores.whitelist,
            journal=one.agent.stores.journal,
            sessions=one.agent.stores.sessions,
            folder=tmp_path,
            pages=PAGES,
        )
        running = asyncio.create_task(second.run())
        await until(lambda: "nobody can see the panel" in caplog.text)
        await one.tap(A)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (await one.state())["taps"][0]["verdict"] == "accepted"
