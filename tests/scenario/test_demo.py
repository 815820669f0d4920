"""The demo as somebody sees it who has just cloned the repository: every case, and what came of it."""

import asyncio
import json
from typing import Any

import pytest

from tests.scenario.world import command

# name: verdict, reason, source, relay
EXPECTED: dict[str, tuple[str | None, str, str | None, str]] = {
    "always": ("accepted", "whitelisted", "whitelist", "closed"),
    "always-invalid": ("refused", "invalid-in-whitelist", "whitelist", "open"),
    "allowed": ("accepted", "whitelisted", "whitelist", "closed"),
    "allowed-invalid-now-fine": ("accepted", "allowed", "realtime", "closed"),
    "offline-peer-up": ("accepted", "allowed", "realtime", "closed"),
    "offline-peer-slow": ("accepted", "timeout", "fallback", "closed"),
    "offline-peer-down": ("accepted", "unreachable", "fallback", "closed"),
    "never-peer-up": ("accepted", "allowed", "realtime", "closed"),
    "never-peer-slow": ("refused", "timeout", "fallback", "open"),
    "unknown-allowed": ("accepted", "allowed", "realtime", "closed"),
    "unknown-nowhere": ("refused", "unknown", "realtime", "open"),
    "unknown-peer-down": ("refused", "unreachable", "fallback", "open"),
    "blocked": ("refused", "blocked", "realtime", "open"),
    "expired": ("refused", "expired", "realtime", "open"),
    "no-credit": ("refused", "no-credit", "realtime", "open"),
    "not-allowed": ("refused", "not-allowed", "realtime", "open"),
    "other-evse-only": ("refused", "other-evse-only", "realtime", "open"),
    "case-differs": ("accepted", "whitelisted", "whitelist", "closed"),
    "stop-same-card": ("accepted", "stopped-same-card", "local", "open"),
    "stop-group-card": ("accepted", "stopped-group-card", "local", "open"),
    "corrupt-frame": (None, "no-tap", None, "open"),
    "held-card": ("accepted", "whitelisted", "whitelist", "closed"),
}
TAPS = dict.fromkeys(EXPECTED, 1) | {"stop-same-card": 2, "stop-group-card": 2, "corrupt-frame": 0}


@pytest.fixture(scope="module")
def output() -> str:
    """What `demo --once --json` prints; once for all tests, for it plays for some seconds."""
    finished = asyncio.run(command("demo", "--once", "--json"))
    assert (finished.code, finished.err) == (0, "")
    return finished.out


@pytest.fixture
def rows(output: str) -> dict[str, dict[str, Any]]:
    """By case, in the order of the output. A line that is no JSON object fails here."""
    return {row["case"]: row for row in map(json.loads, output.splitlines())}


def test_every_case_comes_out_as_the_table_says(rows: dict[str, dict[str, Any]]) -> None:
    found = {case: (row["verdict"], row["reason"], row["source"], row["relay"]) for case, row in rows.items()}
    assert found == EXPECTED
    assert list(rows) == list(EXPECTED)


def test_case_is_as_many_taps_as_cards_were_held(rows: dict[str, dict[str, Any]]) -> None:
    assert {case: row["taps"] for case, row in rows.items()} == TAPS


def test_every_card_that_a_peer_accepted_has_its_reference(rows: dict[str, dict[str, Any]]) -> None:
    by_peer = [row for row in rows.values() if (row["verdict"], row["source"]) == ("accepted", "realtime")]
    references = [row["authorization_reference"] for row in by_peer]
    assert len(set(references)) == len(references) == 4
    assert {len(reference) for reference in references} == {36}


def test_card_that_no_peer_accepted_has_no_reference(rows: dict[str, dict[str, Any]]) -> None:
    others = [row for row in rows.values() if row["verdict"] == "accepted" and row["source"] != "realtime"]
    assert {row["authorization_reference"] for row in others} == {None}


def test_every_tap_was_decided_by_its_deadline_and_told_to_the_driver(rows: dict[str, dict[str, Any]]) -> None:
    taps = [row for row in rows.values() if row["taps"]]
    assert [row["case"] for row in taps if row["latency_ms"] > row["deadline_ms"]] == []
    assert [row["case"] for row in taps if not row["text"] or not row["detail"]] == []


def test_driver_reads_the_cards_language_and_the_peers_words(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["allowed"]["text"].startswith("Karte akzeptiert")
    assert rows["blocked"]["text"] == "Card reported lost.\nCall us."


def test_uid_is_recorded_as_the_reader_gives_it(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["case-differs"]["uid"] == "0104A1B21F"


async def test_demo_for_people_ends_in_a_table_of_every_case() -> None:
    finished = await command("demo", "--once")
    assert (finished.code, finished.err) == (0, "")
    first, *_, last = finished.out.splitlines()
    assert first == "22 cards against a simulated eMSP, deadline 1500 ms a tap"
    assert last.strip() == "12 accepted, 9 refused, 0 decided after the deadline of 1.5 s"
    table = finished.out.partition("From the records in state.db")[2].splitlines()[2:]
    assert [line.split()[0] for line in table[: len(EXPECTED)]] == list(EXPECTED)
