"""The demo as somebody sees it who has just cloned the repository: every case and the charge, and what came of them."""

import asyncio
import json
import os
import re
import signal
import sys
from typing import Any

import httpx
import pytest

from fakes.demo_charge import PERSIST_WH
from tests.scenario.world import HANG_S, Finished, command

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
def played() -> tuple[Finished, Finished, Finished]:
    """`demo --once --json`, without `--json`, and with a panel: once for all tests, all at once, for they take long."""

    async def all_of_them() -> tuple[Finished, Finished, Finished]:
        return await asyncio.gather(
            command("demo", "--once", "--json"), command("demo", "--once"), with_panel("--once", "--json")
        )

    return asyncio.run(all_of_them())


async def with_panel(*arguments: str) -> Finished:
    """The demo with a panel, in a process of its own, to its end."""
    process = await panel_process(*arguments)
    try:
        async with asyncio.timeout(HANG_S):
            out, err = await process.communicate()
    finally:
        await ended(process)
    return Finished(process.returncode, out.decode(), err.decode())


async def panel_process(*arguments: str) -> asyncio.subprocess.Process:
    """The demo with a panel."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenario.demo_process", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )


async def ended(process: asyncio.subprocess.Process) -> None:
    """Kill it where it still runs."""
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.fixture(scope="module")
def output(played: tuple[Finished, Finished, Finished]) -> str:
    """What `demo --once --json` prints."""
    finished, _, _ = played
    assert (finished.code, finished.err) == (0, "")
    return finished.out


STEPS = [
    "power-on", "card", "plug", "charge", "power-cut", "power-back", "charge-on", "stop", "billed", "unplug",
]  # fmt: skip


@pytest.fixture(scope="module")
def objects(output: str) -> list[dict[str, Any]]:
    """All that was printed. A line that is no JSON fails here."""
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture(scope="module")
def rows(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The deck, by case, in the order of the output."""
    return {row["case"]: row for row in objects if "case" in row}


@pytest.fixture(scope="module")
def steps(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The charge, by step, in the order of the output."""
    return {step["step"]: step for step in objects if "step" in step}


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


def test_every_object_is_a_case_or_a_step_of_the_charge(
    objects: list[dict[str, Any]], rows: dict[str, Any], steps: dict[str, Any]
) -> None:
    assert list(steps) == STEPS
    assert len(objects) == len(rows) + len(steps)


def test_charge_goes_on_after_a_power_cut_in_its_middle(steps: dict[str, dict[str, Any]]) -> None:
    relay = {name: steps[name]["relay"] for name in STEPS}
    assert relay == {
        name: "closed" if name in {"plug", "charge", "power-back", "charge-on"} else "open" for name in STEPS
    }
    assert steps["power-cut"]["display"] is None
    assert steps["power-back"]["display"].startswith("Power is back")
    assert steps["charge"]["meter_wh"] > 0
    assert steps["charge-on"]["meter_wh"] > steps["power-back"]["meter_wh"]


def test_charge_is_one_session_from_the_plug_to_the_end(steps: dict[str, dict[str, Any]]) -> None:
    sessions = {step[side]["session_id"] for step in steps.values() for side in ("emsp", "state_db")} - {None}
    assert len(sessions) == 1
    assert steps["charge-on"]["emsp"]["status"] == "ACTIVE"
    assert steps["billed"]["emsp"]["status"] == "COMPLETED"
    assert steps["billed"]["state_db"]["ended_because"] == "same-card"


def test_emsp_hears_of_the_energy_while_it_flows(steps: dict[str, dict[str, Any]]) -> None:
    plug, charge, charge_on, billed = (steps[name]["emsp"]["kwh"] for name in ("plug", "charge", "charge-on", "billed"))
    assert plug < charge < charge_on <= billed


def test_charge_ends_in_one_cdr_that_the_emsp_acknowledged(steps: dict[str, dict[str, Any]]) -> None:
    emsp, disk = steps["unplug"]["emsp"], steps["unplug"]["state_db"]
    assert (emsp["cdrs"], disk["cdr_state"]) == (1, "acknowledged")
    assert emsp["cdr_id"] == disk["cdr_id"]
    assert emsp["complaints"] == []
    assert steps["stop"]["emsp"]["kwh"] <= emsp["cdr_kwh"] == emsp["kwh"]


def test_energy_of_the_cdr_is_the_meters_but_for_what_a_power_cut_may_cost(steps: dict[str, dict[str, Any]]) -> None:
    last = steps["unplug"]
    assert last["emsp"]["cdr_kwh"] * 1000 == pytest.approx(last["state_db"]["energy_wh"])
    assert last["meter_wh"] == pytest.approx(last["emsp"]["cdr_kwh"] * 1000, abs=PERSIST_WH)


def test_reference_that_the_emsp_gave_is_in_the_session_and_in_the_cdr(steps: dict[str, dict[str, Any]]) -> None:
    last = steps["unplug"]
    assert steps["card"]["state_db"]["source"] == "realtime"
    given = steps["card"]["emsp"]["reference_given"]
    assert len(given) == 36
    assert last["state_db"]["authorization_reference"] == given
    assert last["emsp"]["authorization_reference"] == given
    assert last["emsp"]["cdr_authorization_reference"] == given


def test_cost_at_the_emsp_is_the_tariffs(steps: dict[str, dict[str, Any]]) -> None:
    emsp = steps["unplug"]["emsp"]
    assert emsp["currency"] == "EUR"
    assert emsp["total_cost_excl_vat"] == pytest.approx(0.35 + 0.49 * emsp["cdr_kwh"], abs=0.0001)
    assert emsp["total_cost_incl_vat"] == pytest.approx(1.19 * emsp["total_cost_excl_vat"], abs=0.0002)


@pytest.fixture(scope="module")
def text(played: tuple[Finished, Finished, Finished]) -> str:
    """What `demo --once` prints for people."""
    _, finished, _ = played
    assert (finished.code, finished.err) == (0, "")
    return finished.out


def test_demo_for_people_puts_every_case_into_a_table(text: str) -> None:
    assert text.splitlines()[0] == "22 cards against a simulated eMSP, deadline 2000 ms a tap"
    table = text.partition("From the records in state.db")[2].splitlines()[2:]
    assert [line.split()[0] for line in table[: len(EXPECTED)]] == list(EXPECTED)
    assert table[len(EXPECTED)].strip() == "12 accepted, 9 refused, 0 decided after the deadline of 2 s"


def test_demo_for_people_tells_the_charge_as_a_timeline_and_both_sides_of_it(text: str) -> None:
    charge = text.partition("A charge through a power cut")[2]
    assert charge.count(" s  ") == len(STEPS)
    outcome = charge.partition("The charge, as both sides have it")[2]
    reference = next(line.split()[1:] for line in outcome.splitlines() if line.startswith("authorization_reference"))
    assert len(reference) == 2
    assert len(set(reference)) == 1
    assert "1 received" in outcome
    assert "The reference is the one that the eMSP gave" in outcome
    assert "complains" not in outcome


def test_demo_with_a_panel_and_json_prints_json_alone_and_the_address_beside_it(
    played: tuple[Finished, Finished, Finished], rows: dict[str, dict[str, Any]]
) -> None:
    _, _, finished = played
    assert finished.code == 0
    objects = [json.loads(line) for line in finished.out.splitlines()]
    assert [value["case"] for value in objects if "case" in value] == list(rows)
    assert [value["step"] for value in objects if "step" in value] == STEPS
    about = r"Play with it in a browser: http://127\.0\.0\.1:\d+/\nIts charge point has its records in /.*/state\.db\n*"
    assert re.fullmatch(about, finished.err)


async def test_demo_that_is_terminated_leaves_nothing_behind() -> None:
    process = await panel_process()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(HANG_S):
            printed = await process.stdout.readuntil(b"state.db\n")
            [records] = re.findall(rb"records in (/.*)/state/state\.db\n", printed)
            there = os.path.isdir(records)  # noqa: ASYNC240, PTH112  nothing else is going on here
            process.terminate()
            rest, err = await process.communicate()
    finally:
        await ended(process)
    assert (there, os.path.exists(records)) == (True, False)  # noqa: ASYNC240, PTH110  as above
    assert (process.returncode, err) == (0, b"")
    assert b"until Ctrl-C" not in rest


async def test_panel_is_open_from_the_first_line_on_until_ctrl_c() -> None:
    process = await panel_process()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(HANG_S), httpx.AsyncClient() as client:
            first = (await process.stdout.readline()).decode()
            url = first.removeprefix("Play with it in a browser: ").strip()
            before = (await client.get(f"{url}world/state")).json()
            printed = await process.stdout.readuntil(b"until Ctrl-C.\n")
            after = (await client.get(f"{url}world/state")).json()
            process.send_signal(signal.SIGINT)
            rest, err = await process.communicate()
    finally:
        await ended(process)
    assert before == after
    assert before["power"] is True
    assert b"0 decided after the deadline" in printed
    assert re.match(rb"Its charge point has its records in /.*/state\.db\n", printed)
    assert b"The charge, as both sides have it" in printed
    assert (process.returncode, rest, err) == (0, b"", b"")
