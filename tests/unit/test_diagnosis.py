"""The checks of `doctor`, one by one: what they find, what they advise, and that they change nothing."""

import itertools
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.commands.doctor import exit_code_of, summary
from agent.config import HidRelaySection, KeyboardSection, PcscSection
from agent.diagnosis.clock import clock_finding
from agent.diagnosis.configuration import configuration_finding
from agent.diagnosis.databases import database_findings
from agent.diagnosis.finding import Finding, Level, bad, counts, good, warning
from agent.diagnosis.outputs import hid_finding
from agent.diagnosis.readers import keyboard_finding, matching_finding, pcscd_finding, rule_findings
from agent.diagnosis.rights import lacking
from agent.diagnosis.rounds import Check, asked_once, go_through
from agent.diagnosis.serial_lines import line_finding, node_finding, serial_finding
from agent.diagnosis.site import site_of
from agent.diagnosis.storage import agent_finding, agent_runs_in, folder_findings
from agent.diagnosis.whitelist import whitelist_findings
from agent.errors import DeviceError
from agent.storage import alone_in
from agent.store.journal import Journal
from agent.store.whitelist import SyncKind, Whitelist
from fakes.serial_line import SerialLine
from hw.discovery_pcsc import NOTHING_SAID, PcscFound
from hw.discovery_sysfs import UsbDevice
from hw.discovery_usb import ChipCardReader, HidRelayBoard, Keyboard
from hw.readers.pcsc_trouble import Trouble
from hw.serial_port import open_port
from tests.hw.kernel_tree import Machine
from tests.store.conftest import mount

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
HANG_S = 60.0


def levels(findings: list[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


# ---- the round


def test_findings_come_in_the_order_of_the_checks() -> None:
    first_may_end = threading.Event()

    def first() -> list[Finding]:
        first_may_end.wait(HANG_S)
        return [good("a", "")]

    def second() -> list[Finding]:
        first_may_end.set()
        return [good("b", "")]

    found = list(go_through([Check("a", first), Check("b", second)], limit_s=HANG_S))
    assert [finding.subject for some in found for finding in some] == ["a", "b"]


def test_check_that_hangs_becomes_a_finding() -> None:
    never = threading.Event()
    [[finding]] = go_through([Check("disk", lambda: [good("disk", str(never.wait()))])], limit_s=0.05)
    assert finding.level is Level.BAD
    assert finding.sentence == "nothing came back within 0.05 s"
    never.set()


def test_check_that_raises_becomes_a_finding() -> None:
    def look() -> list[Finding]:
        raise DeviceError("gone")

    [[finding]] = go_through([Check("relay", look)], limit_s=HANG_S)
    assert finding == bad("relay", "gone")


def test_check_that_breaks_off_does_not_pass_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: printed.set())

    def look() -> list[Finding]:
        raise ValueError("embedded null byte")

    [[finding]] = go_through([Check("relay", look)], limit_s=HANG_S)
    assert finding.level is Level.BAD
    assert printed.wait(HANG_S)
    assert finding.sentence == "this check broke off"
    assert exit_code_of([finding]) == 1


def test_question_of_many_checks_is_asked_once() -> None:
    count = itertools.count(1)
    answer = asked_once(lambda: next(count))
    assert [answer(), answer()] == [1, 1]


def test_finding_is_one_line_with_what_helps() -> None:
    assert bad("port", "gone", "plug it in").in_words() == "bad       port: gone; what helps: plug it in"
    assert good("port", "there").in_words() == "good      port: there"


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([good("a", "")], 0),
        ([good("a", ""), warning("b", "")], 0),
        ([bad("b", ""), warning("b", "")], 1),
        ([bad("configuration", ""), bad("b", "")], 2),
    ],
)
def test_exit_code_says_whether_the_agent_could_do_its_job(findings: list[Finding], code: int) -> None:
    assert exit_code_of(findings) == code


def test_summary_counts() -> None:
    assert summary(counts([good("a", ""), warning("b", "")])) == (
        "2 looked at: 1 good, 1 to be looked into: the agent can do its job"
    )


# ---- clock


def test_clock_that_was_never_set_is_bad() -> None:
    finding = clock_finding(trusted=True, now=lambda: datetime(1970, 1, 1, tzinfo=UTC))
    assert finding.level is Level.BAD


@pytest.mark.parametrize(
    ("trusted", "is_set", "level"),
    [(True, False, Level.GOOD), (False, True, Level.GOOD), (False, False, Level.WARNING)],
)
def test_clock_is_good_when_somebody_vouches_for_it(*, trusted: bool, is_set: bool, level: Level) -> None:
    assert clock_finding(trusted=trusted, is_set=lambda: is_set, now=lambda: NOW).level is level


# ---- storage


def test_folder_with_room_is_good(tmp_path: Path) -> None:
    assert folder_findings(tmp_path)[0].level is Level.GOOD


def test_folder_that_the_agent_will_make_is_good_and_not_made(tmp_path: Path) -> None:
    assert levels(folder_findings(tmp_path / "a" / "b")) == [Level.GOOD]
    assert not (tmp_path / "a").exists()


def test_file_in_place_of_the_folder_is_bad(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert levels(folder_findings(tmp_path / "state")) == [Level.BAD]


def test_file_system_that_is_mounted_read_only_is_bad(tmp_path: Path) -> None:
    mount("-t", "tmpfs", "-o", "ro,size=64m", "tmpfs", str(tmp_path))
    try:
        assert "mounted read-only" in folder_findings(tmp_path)[0].sentence
    finally:
        os.system(f"umount --lazy {tmp_path}")


def test_full_file_system_is_bad(tmp_path: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path))
    try:
        found = {finding.subject: finding for finding in folder_findings(tmp_path)}
        assert found["free space"].level is Level.BAD
    finally:
        os.system(f"umount --lazy {tmp_path}")


def test_file_system_without_inodes_is_bad(tmp_path: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=64m,nr_inodes=8", "tmpfs", str(tmp_path))
    try:
        found = {finding.subject: finding for finding in folder_findings(tmp_path)}
        assert found["free inodes"].level is Level.BAD
    finally:
        os.system(f"umount --lazy {tmp_path}")


def test_agent_is_seen_by_its_lock(tmp_path: Path) -> None:
    assert not agent_runs_in(tmp_path)
    with alone_in(tmp_path):
        assert agent_runs_in(tmp_path)


def test_agent_that_can_not_be_told_of_is_a_warning() -> None:
    finding = agent_finding(runs=None)
    assert finding.level is Level.WARNING
    assert "may be in use by it" in finding.sentence


# ---- databases


async def made(folder: Path) -> Path:
    """Both databases, closed in good order."""
    for opened in (await Journal.open(folder / "state.db"), await Whitelist.open(folder / "whitelist.db")):
        await opened.close()
    return folder


async def test_whole_databases_are_good_and_nothing_beside_them_changes(tmp_path: Path) -> None:
    folder = await made(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert levels(database_findings(folder)) == [Level.GOOD, Level.GOOD]
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


async def test_databases_in_use_are_good(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "state.db")
    assert database_findings(tmp_path)[0].level is Level.GOOD
    await journal.close()


async def test_database_that_is_none_any_more_is_bad(tmp_path: Path) -> None:
    folder = await made(tmp_path)
    (folder / "state.db").write_bytes(b"no database" * 1000)
    state, whitelist = database_findings(folder)
    assert (state.level, whitelist.level) == (Level.BAD, Level.GOOD)
    assert "is damaged" in state.sentence


async def test_database_of_a_newer_version_is_bad(tmp_path: Path) -> None:
    folder = await made(tmp_path)
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "schema version 99" in database_findings(folder)[0].sentence


async def test_database_of_another_program_is_bad(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert "another program" in database_findings(tmp_path)[0].sentence


def test_databases_that_were_never_made_are_good(tmp_path: Path) -> None:
    assert levels(database_findings(tmp_path)) == [Level.GOOD, Level.GOOD]
    assert list(tmp_path.iterdir()) == []


# ---- whitelist


async def synced(folder: Path, completed_at: datetime) -> None:
    whitelist = await Whitelist.open(folder / "whitelist.db")
    progress = await whitelist.start("abc", SyncKind.FULL, "http://x", reference=NOW, started_at=NOW)
    await whitelist.complete(progress, completed_at=completed_at)
    await whitelist.close()


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(days=8), "stale"),
        (timedelta(days=-1), "still to come"),
        (timedelta(days=1), "asked about in real time"),
    ],
)
async def test_list_that_needs_a_look_is_a_warning(tmp_path: Path, age: timedelta, words: str) -> None:
    await synced(tmp_path, NOW - age)
    [finding] = whitelist_findings(tmp_path, ["abc"], timedelta(days=7), NOW)
    assert finding.level is Level.WARNING
    assert words in finding.sentence


def test_peer_that_was_never_synchronised_is_a_warning(tmp_path: Path) -> None:
    [finding] = whitelist_findings(tmp_path, ["abc"], timedelta(days=7), NOW)
    assert finding.level is Level.WARNING
    assert finding.remedy.startswith("chargepoint-agent tokens sync abc")


# ---- rights


def test_device_of_ones_own_may_be_opened(tmp_path: Path) -> None:
    assert lacking(machine_node(tmp_path)) == ""


def machine_node(folder: Path) -> Path:
    return Machine(folder).node("ttyUSB0")


# ---- lines


def test_port_that_is_not_there_is_bad(tmp_path: Path) -> None:
    finding = line_finding("reader a", str(tmp_path / "none"), 9600, agent_runs=lambda: False)
    assert finding.level is Level.BAD
    assert "is not there" in finding.sentence


def test_file_in_place_of_a_device_is_bad(tmp_path: Path) -> None:
    assert node_finding("reader a", machine_node(tmp_path)).sentence.endswith("is no device")


def test_device_that_is_no_serial_line_is_bad() -> None:
    finding = serial_finding("relay of E1", Path("/dev/null"))
    assert finding.level is Level.BAD
    assert finding.sentence == "/dev/null is no serial port"


def test_line_that_is_not_to_be_opened_is_good_when_it_is_there(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        assert serial_finding("relay of E1", line.path).level is Level.GOOD


def test_port_that_nobody_has_is_good(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        assert line_finding("reader a", str(line.path), 9600, agent_runs=lambda: False).level is Level.GOOD
        assert not line.opened


@pytest.mark.parametrize(("agent_runs", "level"), [(True, Level.GOOD), (False, Level.BAD)])
def test_port_in_use_is_good_only_while_an_agent_runs(tmp_path: Path, *, agent_runs: bool, level: Level) -> None:
    with SerialLine(tmp_path) as line, open_port(str(line.path), 9600):
        assert line_finding("reader a", str(line.path), 9600, agent_runs=lambda: agent_runs).level is level


# ---- keyboards, PC/SC, relay boards

WEDGE = Keyboard(Path("/dev/input/by-id/w"), Path("/dev/null"), "RFID Reader", 0x08FF, 0x0009)


@pytest.mark.parametrize(
    "section",
    [
        KeyboardSection(name="w", usb="08FF:0009"),
        KeyboardSection(name="w", title="RFID*"),
        KeyboardSection(name="w", device="/dev/null"),
    ],
)
def test_keyboard_is_found_by_each_key(section: KeyboardSection) -> None:
    assert keyboard_finding(section, [WEDGE]).level is Level.GOOD


def test_keyboard_that_is_not_plugged_in_is_bad_and_the_others_are_named() -> None:
    finding = keyboard_finding(KeyboardSection(name="w", usb="0001:0001"), [WEDGE])
    assert finding.level is Level.BAD
    assert "RFID Reader (08ff:0009)" in finding.sentence


def test_two_keyboards_of_one_kind_are_a_warning() -> None:
    assert keyboard_finding(KeyboardSection(name="w", usb="08ff:0009"), [WEDGE, WEDGE]).level is Level.WARNING


def test_reader_that_fits_the_pattern_is_good() -> None:
    section = PcscSection(name="chip", match="acs *")
    assert matching_finding(section, PcscFound(("ACS ACR122U 00 00",)), []).level is Level.GOOD


def test_pattern_that_fits_none_names_those_there_are() -> None:
    finding = matching_finding(PcscSection(name="chip", match="OMNIKEY*"), PcscFound(("ACS ACR122U 00 00",)), [])
    assert finding.level is Level.BAD
    assert "ACS ACR122U 00 00" in finding.sentence


def test_reader_on_usb_that_pcscd_does_not_know_needs_its_driver() -> None:
    plugged = ChipCardReader(UsbDevice(0x072F, 0x2200, title="ACR122U"))
    finding = matching_finding(PcscSection(name="chip"), NOTHING_SAID, [plugged])
    assert "ACR122U (072f:2200)" in finding.sentence
    assert "libccid" in finding.remedy


def test_pcscd_that_does_not_answer_is_bad() -> None:
    finding = pcscd_finding(PcscFound((), Trouble.NO_DAEMON, "start it"), socket_there=False)
    assert finding == bad("pcscd", "start it; /run/pcscd/pcscd.comm is not there")


def test_missing_polkit_rule_is_a_warning() -> None:
    assert levels(rule_findings(True, is_root=True)) == [Level.WARNING]  # noqa: FBT003  a value of three
    assert rule_findings(False, is_root=True) == []  # noqa: FBT003  as above
    assert levels(rule_findings(None, is_root=False)) == [Level.GOOD]


BOARD = HidRelayBoard(UsbDevice(0x16C0, 0x05DF, title="USBRelay2"), 2)


def test_relay_board_that_is_there_is_good(tmp_path: Path) -> None:
    roots = Machine(tmp_path).roots
    assert hid_finding("relay", HidRelaySection(channel=2), [BOARD], roots).level is Level.GOOD


def test_channel_that_the_board_does_not_have_is_bad(tmp_path: Path) -> None:
    finding = hid_finding("relay", HidRelaySection(channel=3), [BOARD], Machine(tmp_path).roots)
    assert finding.level is Level.BAD


def test_board_whose_channels_nobody_knows_is_not_blamed(tmp_path: Path) -> None:
    board = replace(BOARD, channels=None)
    assert hid_finding("relay", HidRelaySection(channel=8), [board], Machine(tmp_path).roots).level is Level.GOOD


# ---- a broken configuration

BROKEN = """
[storage]
directory = "state"
[[reader]]
name = "left"
kind = "rdm6300"
port = "/dev/nowhere"
[[reader]]
name = "right"
kind = "no such kind"
[[evse]]
uid = "E1"
readers = ["left"]
relay = { gpio = 17 }
"""


def test_broken_configuration_gives_what_can_be_read_of_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(BROKEN)
    site = site_of(path)
    assert site.fault
    assert [reader.name for reader in site.readers] == ["left"]
    assert (site.folder, len(site.relays), len(site.evses)) == (tmp_path / "state", 1, 1)


def test_configuration_that_is_not_there_is_to_be_named(tmp_path: Path) -> None:
    finding = configuration_finding(site_of(tmp_path / "none.toml"))
    assert finding.level is Level.BAD
    assert finding.remedy.startswith("--config names the file")


def test_configuration_with_a_mistake_has_its_keys_explained(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(BROKEN)
    assert configuration_finding(site_of(path)).remedy.startswith("docs/configuration.toml says what each key takes")


def test_file_that_is_no_toml_still_gives_its_relays(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(BROKEN + "\n[[\n")
    site = site_of(path)
    assert "not valid TOML" in site.fault
    assert (site.readers, len(site.relays), site.folder) == ((), 1, tmp_path / "state")


def test_missing_configuration_gives_nothing(tmp_path: Path) -> None:
    site = site_of(tmp_path / "none.toml")
    assert "no such file" in site.fault
    assert (site.relays, site.folder) == ((), None)
