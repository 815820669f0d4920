"""`doctor` as an installer types it: what it prints of a charge point that works, and of one that does not."""

import grp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.diagnosis.site import site_of
from fakes.emsp import FakeEmsp
from fakes.serial_line import SerialLine
from tests.scenario.world import Cards, Finished, command, command_process, configuration, emsp_with, fill_whitelist
from tests.scenario.world import until as wait_until
from tests.store.conftest import mount

CARDS: Cards = {"0104A1B2C3": {"whitelist": "ALWAYS"}}
NOBODY = 65534


class Site:
    """A charge point with one peer and two readers on ptys."""

    def __init__(self, folder: Path, emsp: FakeEmsp, lines: list[SerialLine]) -> None:
        self.folder = folder
        self.lines = lines
        self.emsp = emsp
        self.config = folder / "config.toml"
        self.config.write_text(configuration(folder, [emsp], lines))

    async def doctor(self, *words: str) -> "Said":
        """What the command prints."""
        return Said(await command("doctor", "--config", self.config, *words))


class Said:
    """The lines of a round."""

    def __init__(self, finished: Finished) -> None:
        self.code = finished.code
        self.lines = finished.out.splitlines()
        assert finished.err == ""

    @property
    def bad(self) -> list[str]:
        """What is in the way of the agent's job."""
        return [line for line in self.lines if line.startswith("bad")]

    def of(self, subject: str) -> str:
        """The one line about it."""
        [line] = [line for line in self.lines if line.partition(" ")[2].lstrip().startswith(f"{subject}: ")]
        return line


@asynccontextmanager
async def site(folder: Path, *, plugged: bool = True) -> AsyncIterator[Site]:
    lines = [SerialLine(folder, name=f"reader-{number}") for number in (1, 2)]
    async with emsp_with(CARDS) as emsp:
        for line in lines if plugged else ():
            line.plug()
        try:
            yield Site(folder, emsp, lines)
        finally:
            for line in lines:
                line.unplug()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory at a folder; skips where none can be mounted."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_charge_point_that_works_has_nothing_bad(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill_whitelist(here.config)
        said = await here.doctor()
        assert (said.code, said.bad) == (0, [])
        assert said.of("reader reader-1").startswith("good")
        assert said.of("GPIO").endswith("the board has the pins 17, 18")
        assert said.of("peer abc").endswith("answers, and takes our credentials token")
        assert "1 valid tokens" in said.of("whitelist of abc")
        assert said.lines[-1].endswith("the agent can do its job")


def written_at(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


async def test_round_changes_nothing_on_the_disk(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill_whitelist(here.config)
        before = written_at(tmp_path)
        await here.doctor()
        assert written_at(tmp_path) == before


async def test_round_before_the_first_start_makes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        assert (await here.doctor("--offline")).code == 0
        assert not (tmp_path / "state").exists()


async def test_round_beside_a_running_agent_finds_its_devices_in_use_by_it(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        log = tmp_path / "log"
        with log.open("wb") as output:
            async with command_process("run", "--config", here.config, output=output.fileno()):
                await wait_until(lambda: log.read_text().count("is open: hold a card") == 2)
                said = await here.doctor()
        assert (said.code, said.bad) == (0, [])
        assert "an agent is running" in said.of("agent")
        assert "in use by the running agent" in said.of("reader reader-2")


async def test_missing_port_is_bad(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.lines[1].unplug()
        said = await here.doctor("--offline")
        assert said.code == 1
        assert [line.split(": ")[0] for line in said.bad] == ["bad       reader reader-2"]
        assert "check the cable" in said.of("reader reader-2")


async def test_peer_that_is_down_is_a_warning_where_a_list_can_decide(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill_whitelist(here.config)
        text = here.config.read_text().replace(here.emsp.versions_url, "http://127.0.0.1:9/versions")
        here.config.write_text(text)
        said = await here.doctor()
        assert said.code == 0
        assert said.of("peer abc").startswith("warning")


async def test_peer_that_is_down_is_bad_where_there_is_no_list(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        text = here.config.read_text().replace(here.emsp.versions_url, "http://127.0.0.1:9/versions")
        here.config.write_text(text)
        said = await here.doctor()
        assert said.code == 1
        assert "no card can be accepted" in said.of("peer abc")


@pytest.mark.parametrize("offline", [("--offline",), ()])
async def test_charge_point_that_could_accept_no_card_at_all_is_bad(tmp_path: Path, offline: tuple[str, ...]) -> None:
    async with site(tmp_path) as here:
        here.config.write_text(configuration(tmp_path, [], here.lines))
        said = await here.doctor(*offline)
        assert said.code == 1
        assert [line.split(": ")[0] for line in said.bad] == ["bad       peers"]
        assert "no card can be accepted" in said.of("peers")


async def test_list_is_told_of_before_its_peer_is_asked(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill_whitelist(here.config)
        said = await here.doctor("--offline")
        assert said.code == 0
        assert said.of("whitelist of abc").startswith("good")
        assert not any("peer abc" in line for line in said.lines)


async def test_credentials_that_are_not_taken_are_bad(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.config.write_text(here.config.read_text().replace(here.emsp.credentials_token, "another-token"))
        said = Said(await command("doctor", "--config", here.config))
        assert said.code == 1
        assert "does not take our credentials token" in said.of("peer abc")
        assert "another-token" not in "".join(said.lines)
        here.emsp.complaints.clear()


async def test_broken_configuration_ends_with_2_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.lines[0].unplug()
        here.config.write_text(here.config.read_text() + "\n[policy2]\n")
        said = await here.doctor()
        assert said.code == 2
        assert "policy2: unknown key" in said.of("configuration")
        assert said.of("reader reader-1").startswith("bad")
        assert said.of("reader reader-2").startswith("good")
        assert said.of("GPIO").startswith("good")


async def test_missing_configuration_ends_with_2(tmp_path: Path) -> None:
    said = Said(await command("doctor", "--config", tmp_path / "none.toml"))
    assert said.code == 2
    assert "no such file" in said.of("configuration")


async def test_damaged_database_is_bad(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill_whitelist(here.config)
        (tmp_path / "state" / "state.db").write_bytes(b"no database" * 1000)
        said = await here.doctor("--offline")
        assert said.code == 1
        assert said.of("state.db").startswith("bad")
        assert said.of("whitelist.db").startswith("good")


async def test_disk_that_is_mounted_read_only_is_bad(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with mounted(tmp_path / "state", "ro,size=64m"):
            said = await here.doctor("--offline")
        assert said.code == 1
        assert "mounted read-only" in said.of("storage")


async def test_full_disk_is_bad(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with mounted(tmp_path / "state", "size=1m"):
            said = await here.doctor("--offline")
        assert said.code == 1
        assert said.of("free space").startswith("bad")


def ran(arguments: list[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, **how)


def give_to(device: Path, group: int) -> None:
    os.chown(device, 0, group)
    device.chmod(0o660)


async def test_relays_are_not_moved(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        code = (
            "from fakes.pins import mock_pins; mock_pins(lambda p, v: print(f'PIN {p}'));"
            "from agent.cli import main; main()"
        )
        done = ran(
            [sys.executable, "-c", code, "doctor", "--offline", "--config", here.config],
        )  # fmt: skip
        assert "PIN" not in done.stdout
        assert done.returncode == 0


async def test_json_has_an_object_for_each_line(tmp_path: Path) -> None:
    async with site(tmp_path, plugged=False) as here:
        said = await here.doctor("--offline", "--json")
        *findings, counted = map(json.loads, said.lines)
        assert counted["bad"] == sum(finding["level"] == "bad" for finding in findings) == 2
        assert counted["exit_code"] == said.code == 1
        assert all(set(finding) == {"level", "subject", "sentence", "remedy"} for finding in findings)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder into which another user may look: pytest's own are for its user alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


AS_NOBODY = f"""
import os, sys
from pathlib import Path
from agent.commands.doctor import doctor
config = Path(sys.argv[1])
doctor(config, offline=True, as_json=False)  # imports all that is needed: nobody may read another's Python
print("as nobody")
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(doctor(config, offline=True, as_json=False))
"""


async def test_user_outside_the_devices_group_is_told_which(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    group = next(each for each in grp.getgrall() if each.gr_gid not in {0, NOBODY})
    async with site(open_folder) as here:
        for line in here.lines:
            give_to(line.path.resolve(), group.gr_gid)  # of a link, at once
        pins = {**os.environ, "GPIOZERO_PIN_FACTORY": "mock"}
        done = ran([sys.executable, "-c", AS_NOBODY, here.config], env=pins)
    before, _, said = done.stdout.partition("as nobody\n")
    assert "usermod" not in before
    assert done.returncode == 1
    assert f"sudo usermod -aG {group.gr_name} " in said
    assert "may not make it in" in said


async def test_user_who_may_not_see_the_databases_is_not_told_that_no_agent_runs(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    async with site(open_folder) as here:
        folder = site_of(here.config).folder
        assert folder is not None
        folder.mkdir(mode=0o700)
        pins = {**os.environ, "GPIOZERO_PIN_FACTORY": "mock"}
        done = ran([sys.executable, "-c", AS_NOBODY, here.config], env=pins)
    before, _, said = done.stdout.partition("as nobody\n")
    assert "no agent is running on these databases" in before
    assert "no agent is running" not in said
    assert "whether one is running can't be told by this user" in said
