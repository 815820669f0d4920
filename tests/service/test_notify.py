"""What systemd hears: on a socket as it makes one. sd_notify(3), sd_watchdog_enabled(3)."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from agent.service.notify import Notifier


def a_socket(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.setblocking(False)  # noqa: FBT003  as socket has it
    return manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with a_socket(str(tmp_path / "notify")) as bound:
        yield bound


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    return Notifier.of({"NOTIFY_SOCKET": manager.getsockname()})


def heard(manager: socket.socket) -> str:
    return manager.recv(65_536).decode()


def test_each_word_is_what_systemd_knows(manager: socket.socket, notifier: Notifier) -> None:
    assert notifier.is_heard
    for say, word in [
        (notifier.ready, "READY=1"),
        (notifier.alive, "WATCHDOG=1"),
        (notifier.stopping, "STOPPING=1"),
    ]:
        assert say()
        assert heard(manager) == word


def test_status_is_one_line(manager: socket.socket, notifier: Notifier) -> None:
    assert notifier.status("2 EVSEs · reader\nREADY=1 Tür")
    assert heard(manager) == "STATUS=2 EVSEs · reader READY=1 Tür"


def test_status_that_is_no_text_is_told_all_the_same(manager: socket.socket, notifier: Notifier) -> None:
    assert notifier.status("reader \udcff")
    assert heard(manager) == "STATUS=reader ?"


def test_reload_says_since_when(manager: socket.socket, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notifier.reloading()
    told = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", heard(manager))
    assert told
    assert before <= int(told[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_abstract_socket_is_found_by_its_name() -> None:
    name = f"chargepoint-agent-test-{uuid4()}"
    with a_socket(f"\0{name}") as manager:
        assert Notifier.of({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert heard(manager) == "READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_unix_socket_nobody_is_told(environment: dict[str, str]) -> None:
    notifier = Notifier.of(environment)
    assert not notifier.is_heard
    assert notifier.ready()
    assert notifier.status("here")


def test_socket_that_is_full_is_not_waited_for(manager: socket.socket, notifier: Notifier) -> None:
    taken = 0
    while notifier.alive():
        taken += 1
    assert taken > 0
    assert not notifier.ready()
    for _ in range(taken):
        assert heard(manager) == "WATCHDOG=1"
    assert notifier.ready()
    assert heard(manager) == "READY=1"


def test_manager_that_is_gone_is_told_again_once_it_is_back(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notifier = Notifier(address)
    assert not notifier.ready()
    with a_socket(address):
        assert notifier.ready()
    assert not notifier.ready()
    Path(address).unlink()
    with a_socket(address) as manager:
        assert notifier.ready()
        assert heard(manager) == "READY=1"


def test_address_that_is_too_long_is_no_fault(tmp_path: Path) -> None:
    assert not Notifier(f"/{'x' * 200}").ready()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_this_process_s_alone(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier.of(environment, pid=7).watchdog_s == seconds
