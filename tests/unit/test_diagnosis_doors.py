"""The addresses that the agent listens on, as `doctor` finds them: free, taken, out of reach, served."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import parse
from agent.diagnosis.doors import Door, door_finding, doors_of
from agent.diagnosis.finding import Finding, Level

PATH = Path("/etc/chargepoint-agent/chargepoint-agent.toml")
NEEDED = """
    [party]
    country_code = "DE"
    party_id = "EXA"
    [location]
    id = "LOC1"
    [storage]
    directory = "/var/lib/chargepoint-agent"
    [[reader]]
    name = "r"
    kind = "rdm6300"
    port = "/dev/r"
    [[evse]]
    uid = "E1"
    readers = ["r"]
    relay = { gpio = 5 }
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def found(host: str, port: int, *, runs: bool | None = False) -> Finding:
    return door_finding(Door("panel", host, port, Level.WARNING), agent_runs=lambda: runs)


def test_a_charge_point_without_doors_has_none_to_look_at() -> None:
    assert doors_of(parse(NEEDED, PATH), PATH) == []


def test_every_door_that_is_configured_is_looked_at() -> None:
    doors = """
        [panel]
        listen = "[::1]:8470"
        [monitoring]
        listen = "127.0.0.1:9469"
        [ocpi.server]
        enabled = true
        public_url = "https://cp.example.com/ocpi"
    """
    found = [(str(door), door.subject, door.lost) for door in doors_of(parse(NEEDED + doors, PATH), PATH)]
    assert found == [
        ("127.0.0.1:8443", "ocpi.server", Level.BAD),
        ("[::1]:8470", "panel", Level.WARNING),
        ("127.0.0.1:9469", "monitoring", Level.WARNING),
    ]


@pytest.mark.parametrize("tables", ['[panel]\nlisten = "0.0.0.0:8470"', '[monitoring]\nlisten = "/run/agent.sock"'])
def test_what_the_configurations_check_finds_and_sockets_of_files_are_no_doors(tables: str) -> None:
    assert doors_of(parse(NEEDED + tables, PATH), PATH) == []


def test_a_free_port_is_good_and_still_free_afterwards() -> None:
    port = free()
    assert [found("127.0.0.1", port).level for _ in range(2)] == [Level.GOOD] * 2


def test_a_port_that_another_program_has_is_told_with_the_way_to_find_it(taken: int) -> None:
    finding = found("127.0.0.1", taken)
    assert (finding.level, f"127.0.0.1:{taken}: Address already in use" in finding.sentence) == (Level.WARNING, True)
    assert "ss -ltnp" in finding.remedy


def test_an_address_of_no_interface_is_told() -> None:
    finding = found("192.0.2.7", free())
    assert (finding.level, "interface" in finding.remedy) == (Level.WARNING, True)


def test_a_running_agent_is_asked_whether_it_answers(taken: int) -> None:
    assert found("127.0.0.1", taken, runs=True).level is Level.GOOD
    assert found("0.0.0.0", taken, runs=True).level is Level.GOOD
    silent = found("127.0.0.1", free(), runs=True)
    assert (silent.level, "its log says why" in silent.remedy) == (Level.WARNING, True)


def test_a_port_that_the_agent_may_have_itself_is_no_fault(taken: int) -> None:
    assert found("127.0.0.1", taken, runs=None).level is Level.GOOD


@pytest.mark.parametrize("runs", [False, True])
def test_a_host_that_is_none_is_told(*, runs: bool) -> None:
    assert found("a..b", 8443, runs=runs).level is Level.WARNING


def test_any_free_port_is_nothing_to_look_at() -> None:
    assert found("127.0.0.1", 0).level is Level.GOOD
