"""What an installer and an operator type, as processes of their own: what they read, and the exit code."""

import asyncio
import base64
import fcntl
import json
import logging
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.commands.background_log import BackgroundLog
from agent.commands.terminal import json_text
from agent.store.journal import Journal
from fakes.emsp import FINE, FakeEmsp, Kind
from fakes.serial_line import SerialLine
from tests.scenario.world import (
    HANG_S,
    Cards,
    command,
    command_process,
    configuration,
    emsp_with,
    fill_whitelist,
    only,
    select,
    until,
    world,
)
from tests.store.conftest import mount
from tests.store.samples import entry

A, B, C, D = "0104A1B2C3", "01FF80C3D4", "0104A1B2C5", "0104A1B2C6"
CARDS: Cards = {
    A: {"whitelist": "ALWAYS", "contract_id": "DE-ABC-C1"},
    B.lower(): {"whitelist": "NEVER"},
    C: {"whitelist": "ALLOWED_OFFLINE", "valid": False},
}


class Site:
    """A configuration file, an eMSP, and readers that are not plugged in."""

    def __init__(self, folder: Path, emsps: Sequence[FakeEmsp]) -> None:
        self.config = folder / "config.toml"
        self.state = folder / "state" / "state.db"
        self.lines = [SerialLine(folder, name=f"reader-{number}") for number in (1, 2)]
        self._folder = folder
        self._emsps = emsps
        self.configure()

    def configure(self, policy: str = "deadline_s = 30.0", more: str = "") -> None:
        """Write the file."""
        self.config.write_text(configuration(self._folder, self._emsps, self.lines, policy=policy, more=more))

    async def command(self, *words: str) -> tuple[int | None, str, str]:
        """Run a command with this configuration: exit code, what it printed, and its complaints."""
        finished = await command(*words, "--config", self.config)
        return finished.code, finished.out, finished.err


@asynccontextmanager
async def site(folder: Path, cards: Cards = CARDS) -> AsyncIterator[tuple[Site, FakeEmsp]]:
    async with emsp_with(cards) as emsp:
        yield Site(folder, [emsp]), emsp
        assert emsp.complaints == []


class Running:
    """`chargepoint-agent run`, whose log is read as it grows."""

    def __init__(self, site: Site, process: asyncio.subprocess.Process, log: Path) -> None:
        self._site = site
        self._process = process
        self._log = log

    def log(self) -> str:
        """What it printed so far, to both streams."""
        return self._log.read_text()

    async def says(self, words: str) -> None:
        """Wait until it has logged this."""
        await until(lambda: words in self.log() or self._process.returncode is not None)
        assert words in self.log()

    async def tap(self, uid: str, evse: int = 0) -> None:
        """Hold a card to a reader and wait for the record."""
        before = len(self.records())
        await self._site.lines[evse].wait_opened()
        self._site.lines[evse].present(uid)
        await until(lambda: len(self.records()) > before)

    def records(self) -> list[dict[str, object]]:
        return select(self._site.state, "SELECT * FROM authorization ORDER BY id")

    async def stop(self) -> int:
        """Tell it to stop. Returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(HANG_S):
            return await self._process.wait()


@asynccontextmanager
async def running(site: Site, *, plugged: bool = True) -> AsyncIterator[Running]:
    """The agent as `run` starts it, once it is ready."""
    for line in site.lines if plugged else ():
        line.plug()
    path = site.config.with_name("log")
    try:
        with path.open("wb") as log:
            async with command_process("run", "--config", site.config, output=log.fileno()) as process:
                run = Running(site, process, path)
                await run.says("ready: ")
                yield run
    finally:
        for line in site.lines:
            line.unplug()


# ---- config, policy


async def test_good_configuration_is_called_good(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        assert await here.command("config", "check") == (
            0,
            f"{here.config}: good: 2 EVSEs, 2 readers, 1 peer\n",
            "",
        )


async def test_typing_mistake_is_named_with_file_key_and_what_was_meant(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        here.configure(policy="deadlin_s = 3.0")
        code, out, err = await here.command("config", "check")
        assert (code, out) == (2, "")
        assert err.startswith(
            f"chargepoint-agent: {here.config}: policy.deadlin_s: unknown key; did you mean deadline_s?"
        )
        assert err.count("\n") == 1


async def test_missing_configuration_names_the_option(tmp_path: Path) -> None:
    finished = await command("run", "--config", tmp_path / "nowhere.toml")
    assert finished.code == 2
    assert finished.err.endswith(
        f"chargepoint-agent: {tmp_path}/nowhere.toml: no such file; name the configuration with --config FILE\n"
    )


async def test_policy_prints_the_table_as_markdown(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        here.configure(policy='unknown_offline = "accept"')
        code, out, err = await here.command("policy")
        assert (code, err) == (0, "")
        assert out.startswith("# Authorization and fallback policy of DE-EXA, location LOC1\n")
        assert "\n| --- | --- |" in out
        assert all(f"\n| {kind} | " in out for kind in ("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"))


# ---- tokens


async def test_sync_brings_the_tokens_in_and_then_only_what_changed(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, emsp):
        code, first, err = await here.command("tokens", "sync")
        assert (code, err) == (0, "")
        assert first.startswith("peer abc: full synchronisation complete: 3 tokens on 1 pages, 0 skipped")
        emsp.card(D)
        _, second, _ = await here.command("tokens", "sync", "abc")
        assert second.startswith("peer abc: delta synchronisation complete: ")
        _, third, _ = await here.command("tokens", "sync", "--full")
        assert third.startswith("peer abc: full synchronisation complete: 4 tokens")


async def test_sync_on_a_terminal_shows_how_far_it_is(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, emsp):
        emsp.populate(3000)
        master, slave = pty.openpty()
        async with command_process("tokens", "sync", "--config", here.config, output=slave) as process:
            os.close(slave)
            shown = await asyncio.to_thread(_read_all, master)
            async with asyncio.timeout(HANG_S):
                assert await process.wait() == 0
        assert "3003/3003" in shown
        assert "tokens/s" in shown


def _read_all(terminal: int) -> str:
    parts = []
    try:
        while part := os.read(terminal, 4096):
            parts.append(part)
    except OSError:  # how Linux says that the last writer has closed a terminal
        pass
    os.close(terminal)
    return b"".join(parts).decode()


async def test_sync_with_a_peer_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        code, out, err = await here.command("tokens", "sync", "nobody")
        assert (code, out) == (2, "")
        said = f"chargepoint-agent: {here.config}: no peer is configured or registered as nobody; there are: abc\n"
        assert err == said


async def test_sync_with_a_peer_that_is_down_fails_with_its_cause(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, emsp):
        emsp.set_weather(Kind.DOWN)
        code, out, err = await here.command("tokens", "sync")
        assert (code, out) == (1, "")
        assert err.startswith("chargepoint-agent: peer abc: the list of tokens can't be pulled: ")
        assert "Connection refused" in err


async def test_tokens_are_listed_with_their_state_and_the_age_of_the_list(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        code, out, _ = await here.command("tokens", "list")
        assert code == 0
        assert f"{A} DE-ABC ALWAYS valid, contract DE-ABC-C1, from abc\n" in out
        assert f"{C} DE-ABC ALLOWED_OFFLINE not valid" in out
        assert "peer abc: 3 tokens, 2 valid, 0 withdrawn; synchronisation complete at 20" in out


async def test_tokens_are_listed_as_json_lines(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        _, out, _ = await here.command("tokens", "list", "--json", "--limit", "2")
        assert [json.loads(line)["uid"] for line in out.splitlines()] == [A, C]


async def test_token_is_shown_as_its_owner_wrote_it(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        code, out, _ = await here.command("tokens", "show", B)
        assert code == 0
        assert (json.loads(out)["uid"], json.loads(out)["whitelist"]) == (B.lower(), "NEVER")


async def test_token_that_no_list_names_is_not_shown(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        assert await here.command("tokens", "show", D) == (1, "", "no list names this card\n")


async def test_card_is_explained_by_the_rules_that_decide_it(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        _, always, _ = await here.command("tokens", "explain", A)
        assert "at once: accepted, whitelisted: " in always
        _, never, _ = await here.command("tokens", "explain", B)
        assert "asked:   abc, for at most 29.75 s" in never
        assert "no answer:                   refused (timeout, fallback)" in never


async def test_uid_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        code, out, err = await here.command("tokens", "explain", "0104A1B2C3" * 4)
        assert (code, out) == (2, "")
        assert err == "chargepoint-agent: UID: the uid has 40 characters; OCPI allows 36\n"


@pytest.mark.parametrize("words", [("tokens", "list"), ("tokens", "show", A), ("authorizations",)], ids=" ".join)
async def test_command_before_there_is_anything_says_what_to_do(tmp_path: Path, words: tuple[str, ...]) -> None:
    async with site(tmp_path) as (here, _):
        code, out, err = await here.command(*words)
        assert (code, out) == (1, "")
        assert "not there yet; " in err


async def test_empty_whitelist_says_how_to_fill_it(tmp_path: Path) -> None:
    here = Site(tmp_path, [])
    await fill_whitelist(here.config)
    assert await here.command("tokens", "list") == (0, "the whitelist is empty: chargepoint-agent tokens sync\n", "")


# ---- authorizations


async def test_authorizations_beside_a_running_agent_are_json_lines_newest_first(tmp_path: Path) -> None:
    async with world(tmp_path, CARDS) as here:
        await here.tap(A)
        await here.tap(B, evse=1)
        finished = await command("authorizations", "--json", "--config", tmp_path / "config.toml")
        newest, oldest = (json.loads(line) for line in finished.out.splitlines())
        assert (oldest["uid"], oldest["verdict"], oldest["source"]) == (A, "accepted", "whitelist")
        assert (newest["uid"], newest["verdict"], newest["source"]) == (B, "accepted", "realtime")
        assert newest["authorization_reference"] == here.emsp.given_references[B][0]
        assert newest["evse_uid"] == "DE*EXA*E2"
        assert isinstance(newest["latency_ms"], float)


async def test_authorizations_of_one_evse_are_told_in_words(tmp_path: Path) -> None:
    async with world(tmp_path, CARDS) as here:
        await here.tap(A)
        await here.tap(B, evse=1)
        words = ("authorizations", "--evse", "DE*EXA*E1", "--config", tmp_path / "config.toml")
        finished = await command(*words)
        assert f"DE*EXA*E1 {A} ACCEPTED whitelisted (whitelist, " in finished.out
        assert B not in finished.out


async def test_records_on_a_disk_that_turned_read_only_are_read_and_left_as_they_are(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        await record(here.state, uid="0104A1B2FF")
        for name in ("-wal", "-shm"):
            here.state.with_name(f"state.db{name}").unlink(missing_ok=True)
        with read_only(here.state.parent):
            code, out, err = await here.command("authorizations")
        assert (code, err) == (0, "")
        assert " 0104A1B2FF " in out
        assert not here.state.with_name("state.db-shm").exists()


async def test_records_of_another_version_are_left_to_the_agent(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        with closing(sqlite3.connect(here.state)) as connection:
            connection.execute("PRAGMA user_version = 99")
        code, out, err = await here.command("authorizations")
        assert (code, out) == (1, "")
        assert "has schema version 99" in err


async def test_looking_at_the_records_leaves_their_mode_alone(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        here.state.chmod(0o640)
        assert (await here.command("authorizations"))[0] == 0
        assert here.state.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["words", "json"])
async def test_what_a_peer_wrote_moves_nothing_on_the_terminal(tmp_path: Path, form: tuple[str, ...]) -> None:
    evil = "R\x1b]0;owned\x07\x1b[2J\n#9 FAKE\x9b31m\u202e\x7f"
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        await record(here.state, authorization_reference=evil, detail=evil, uid=evil, contract_id=evil, text=evil)
        code, out, _ = await here.command("authorizations", *form)
        assert code == 0
        assert "\\u001b]0;owned\\u0007" in out
        assert [c for c in out if not c.isprintable() and c != "\n"] == []
        assert not any(line.startswith("#9") for line in out.splitlines())


def test_json_for_a_terminal_is_the_same_json() -> None:
    value = {"text": "ü €\x1b\x9b\u202e\x7f\U000e0041\n", "list": [1, None]}
    for indent in (None, 2):
        assert json.loads(json_text(value, indent=indent)) == value
        assert "\x9b" not in json_text(value, indent=indent)


async def record(state: Path, **fields: Any) -> None:
    """Put an authorization into `state.db` as the agent would."""
    journal = await Journal.open(state)
    await journal.record(entry(**fields))
    await journal.close()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write in the folder, as where a worn-out SD card has turned read-only."""
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# ---- relays


class Pins:
    """The pins of `chargepoint-agent` in a process of its own, from outside."""

    def __init__(self) -> None:
        self._levels: dict[int, bool] = {}
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)

    @asynccontextmanager
    async def process(
        self, *words: str | Path, output: int, errors: int, before: str = "pass"
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command; `before` is done to `pins` first. What still runs at the end is killed."""
        program = (
            "import sys; from fakes.pins import mock_pins, write_levels;"
            f"pins = mock_pins(write_levels({self._writing})); {before};"
            "from agent.cli import main; main(sys.argv[1:])"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, *map(str, words)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            pass_fds=[self._writing],
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            os.close(self._reading)
            os.close(self._writing)

    def level(self, pin: int) -> bool | None:
        """The level now; None for a pin that has not moved."""
        with suppress(BlockingIOError):
            for line in os.read(self._reading, 65_536).decode().splitlines():
                number, level = map(int, line.split())
                self._levels[number] = bool(level)
        return self._levels.get(pin)


LEFT_CLOSED = "[pins.pin(n).output_with_state(1) for n in (17, 18)]"


async def open_relays(config: Path, before: str = LEFT_CLOSED) -> tuple[int | None, str, str, list[bool | None]]:
    """Run `relays open`: exit code, what it printed, its complaints, and the levels of both pins afterwards."""
    pins, pipe = Pins(), asyncio.subprocess.PIPE
    words = ("relays", "open", "--config", config)
    async with pins.process(*words, output=pipe, errors=pipe, before=before) as process:
        async with asyncio.timeout(HANG_S):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode(), [pins.level(17), pins.level(18)]


async def test_relays_left_closed_are_opened(tmp_path: Path) -> None:
    here = Site(tmp_path, [])
    await fill_whitelist(here.config)
    assert await open_relays(here.config) == (0, "2 relay(s) open\n", "", [False, False])


async def test_relays_are_opened_though_the_rest_of_the_configuration_is_wrong(tmp_path: Path) -> None:
    here = Site(tmp_path, [])
    here.configure(policy="deadlin_s = 3.0")
    code, out, err, levels = await open_relays(here.config)
    assert (code, out, levels) == (0, "2 relay(s) open\n", [False, False])
    assert "policy.deadlin_s: unknown key" in err


async def test_relays_are_opened_on_a_disk_that_turned_read_only(tmp_path: Path) -> None:
    here = Site(tmp_path, [])
    await fill_whitelist(here.config)
    with read_only(here.state.parent):
        assert await open_relays(here.config) == (0, "2 relay(s) open\n", "", [False, False])


async def test_relay_on_a_faulty_pin_is_named_and_the_other_one_is_opened(tmp_path: Path) -> None:
    here = Site(tmp_path, [])
    before = f"{LEFT_CLOSED}; import gpiozero; held = gpiozero.OutputDevice(17, initial_value=True)"
    code, out, err, levels = await open_relays(here.config, before)
    assert (code, out, levels[1]) == (1, "", False)
    assert "relay on GPIO17 can't be used" in err
    assert "GPIO18" not in err


@pytest.mark.parametrize("broken", ["disk", "token"])
async def test_agent_that_can_not_start_opens_its_relays_first(tmp_path: Path, broken: str) -> None:
    async with site(tmp_path) as (here, emsp):
        if broken == "disk":
            here.state.parent.write_text("a file where the folder should be")
        text = here.config.read_text()
        missing = text.replace(f'token = "{emsp.credentials_token}"', 'token_file = "gone"')
        here.config.write_text(missing if broken == "token" else text)
        pins, pipe = Pins(), asyncio.subprocess.PIPE
        words = ("run", "--config", here.config)
        async with pins.process(*words, output=pipe, errors=pipe, before=LEFT_CLOSED) as process:
            async with asyncio.timeout(HANG_S):
                await process.communicate()
            assert process.returncode == {"disk": 1, "token": 2}[broken]
            assert (pins.level(17), pins.level(18)) == (False, False)


# ---- output that nobody reads


TAPS_UNREAD = 60
"""Each writes some 250 bytes to either of two pipes of 4096, which are full after a third of them."""


def small_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


async def test_output_that_nobody_reads_holds_up_neither_a_tap_nor_the_end(tmp_path: Path) -> None:
    # Each a card of its own: one that came back while the reader remembers it would be no new tap.
    refused = [f"0104A2{number:04X}" for number in range(TAPS_UNREAD)]
    cards: dict[str, dict[str, Any]] = {A: {"whitelist": "ALWAYS"}, B: {"whitelist": "ALWAYS"}}
    cards.update((uid, {"whitelist": "ALWAYS", "valid": False}) for uid in refused)
    async with site(tmp_path, cards) as (here, _):
        await fill_whitelist(here.config)
        pins, output, errors = Pins(), small_pipe(), small_pipe()
        for line in here.lines:
            line.plug()
        async with pins.process("run", "--config", here.config, output=output[1], errors=errors[1]) as process:
            for line in here.lines:
                await line.wait_opened()
            here.lines[0].present(A)
            await until(lambda: pins.level(17) is True)
            for number, uid in enumerate(refused):
                here.lines[1].present(uid)
                await until(lambda: len(select(here.state, "SELECT id FROM authorization")) > number + 1)  # noqa: B023  awaited here
            here.lines[0].present(A)
            await until(lambda: pins.level(17) is False)
            while pins.level(17) is not True:  # a card that comes while the last one is still seen to is not taken
                here.lines[0].present(B)
                await asyncio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(HANG_S):
                assert await process.wait() == 0
            assert pins.level(17) is False
        for descriptor in (*output, *errors):
            os.close(descriptor)
        for line in here.lines:
            line.unplug()


def test_lines_that_nobody_reads_are_counted_and_told_when_somebody_does() -> None:
    reading, writing = small_pipe()
    handler = BackgroundLog(writing, capacity=10)
    for number in range(5000):
        handler.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    said, lines, dropped = b"", 0, 0
    while lines + dropped < 5000:
        said += os.read(reading, 65_536)
        lines = len(re.findall(rb"line \d+\n", said))
        dropped = sum(map(int, re.findall(rb"(\d+) lines of the log are missing here", said)))
    handler.close()
    os.close(writing)
    os.close(reading)
    assert (lines + dropped, dropped > 0) == (5000, True)
    assert said.startswith(b"line 0\nline 1\n")


def test_log_whose_reader_is_gone_is_dropped() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    handler = BackgroundLog(writing)
    for _ in range(10):
        handler.handle(logging.makeLogRecord({"msg": "line"}))
    handler.close()
    os.close(writing)
    assert not any(thread.name == "log" for thread in threading.enumerate())


# ---- run


async def test_second_agent_on_one_folder_is_told_of_the_first(tmp_path: Path) -> None:
    async with world(tmp_path, CARDS) as here:
        finished = await command("run", "--config", tmp_path / "config.toml")
        assert (finished.code, finished.out) == (1, "")
        assert finished.err.endswith("another agent is running on these databases; stop it first\n")
        await here.tap(A)
        assert here.is_closed()


async def test_missing_reader_is_named_and_works_once_it_is_plugged_in(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, _):
        await fill_whitelist(here.config)
        async with running(here, plugged=False) as agent:
            await agent.says(f"reader reader-1: {here.lines[0].path} is not there (No such file or directory, ENOENT)")
            here.lines[0].plug()
            await agent.tap(A)
            await agent.says("[DE*EXA*E1] Card accepted | Please plug in")
            assert await agent.stop() == 0
        assert only(agent.records())["verdict"] == "accepted"


async def test_peer_that_is_down_at_start_leaves_it_to_the_whitelist(tmp_path: Path) -> None:
    async with site(tmp_path, {A: {"whitelist": "ALLOWED"}}) as (here, emsp):
        await fill_whitelist(here.config)
        emsp.set_weather(Kind.DOWN)
        async with running(here) as agent:
            await agent.says("tokens are not synced, next try in ")
            await agent.tap(A)
            assert (only(agent.records())["verdict"], only(agent.records())["source"]) == ("accepted", "whitelist")


async def test_peer_that_is_down_at_the_first_start_refuses_what_nobody_knows(tmp_path: Path) -> None:
    async with site(tmp_path) as (here, emsp):
        emsp.set_weather(Kind.DOWN)
        async with running(here) as agent:
            await agent.tap(A)
            record = only(agent.records())
            assert (record["verdict"], record["source"]) == ("refused", "fallback")


async def test_agent_without_a_peer_refuses_an_unknown_card_and_says_why(tmp_path: Path) -> None:
    here = Site(tmp_path, [])
    async with running(here) as agent:
        await agent.tap(A)
        assert (only(agent.records())["verdict"], only(agent.records())["reason"]) == ("refused", "no-peer")


async def test_log_at_debug_shows_no_card_and_no_credentials(tmp_path: Path) -> None:
    async with site(tmp_path, {**CARDS, "0104A1B2D0": {"whitelist": "NEVER", "allowed": "BLOCKED"}}) as (here, emsp):
        here.configure(more='[log]\nlevel = "debug"\n[breaker]\nfailures = 0')
        async with running(here) as agent:
            await agent.says("sync of tokens complete: 4 taken in")
            uids = [D, "0104A1B2D0", A, C]
            for uid in uids:
                await agent.tap(uid, evse=1)
            weather = (Kind.UNAUTHORIZED, Kind.WRONG_SHAPE, Kind.NOT_UTF8, Kind.GARBAGE, Kind.NOT_FOUND, Kind.DOWN)
            for number, kind in enumerate(weather):
                emsp.set_weather(kind)
                uids.append(f"01FF80D0{number:02X}")
                await agent.tap(uids[-1])
            emsp.set_weather(FINE)
            uids.append(B)
            await agent.tap(B)
            assert await agent.stop() == 0
            log = agent.log().upper()
        secret = emsp.credentials_token.upper()
        encoded = base64.b64encode(emsp.credentials_token.encode()).decode().upper()
        assert [word for word in (secret, encoded, *uids) if word in log] == []
        assert "ALARM PEER ABC REJECTS OUR CREDENTIALS" in log
        assert len(agent.records()) == len(uids)
