"""What `doctor` says of the peers, where none is configured and where their names are found by nobody."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.diagnosis.configuration import configuration_finding
from agent.diagnosis.finding import Level
from agent.diagnosis.peers import no_peer_finding, peer_findings, terms_of_peers
from agent.diagnosis.site import site_of

CONFIGURATION = """
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
[storage]
directory = "state"
[[peer]]
name = "acme"
country_code = "DE"
party_id = "EMS"
versions_url = "https://emsp.example.com/ocpi/versions"
token = "not-so-secret"
[[reader]]
name = "left"
kind = "rdm6300"
port = "/dev/nowhere"
[[evse]]
uid = "E1"
readers = ["left"]
relay = { gpio = 17 }
"""


def test_charge_point_without_peer_and_token_is_bad() -> None:
    finding = no_peer_finding(tokens=0)
    assert finding.level is Level.BAD
    assert "no card can be accepted" in finding.sentence


def test_charge_point_with_imported_tokens_alone_is_a_warning() -> None:
    finding = no_peer_finding(tokens=3)
    assert finding.level is Level.WARNING
    assert "3 imported tokens" in finding.sentence


def test_name_server_that_does_not_answer_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    asked: list[threading.Thread] = []

    def look_up(*_: object, **__: object) -> Any:
        asked.append(threading.current_thread())
        never.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    path = tmp_path / "config.toml"
    path.write_text(CONFIGURATION)
    config = load(path)
    [finding] = peer_findings(terms_of_peers(config, path), config, tokens=1, limit_s=0.5)
    assert finding.level is Level.WARNING
    assert "no answer within 0.5 s, from it or from the network's name server" in finding.sentence
    assert all(thread.daemon for thread in asked)
    never.set()


def test_token_file_that_nobody_can_read_is_to_be_named_or_given_over(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIGURATION.replace('token = "not-so-secret"', 'token_file = "token"'))
    finding = configuration_finding(site_of(path))
    assert "token_file" in finding.sentence
    assert finding.remedy.startswith("correct its name, or give it to the agent's user")
