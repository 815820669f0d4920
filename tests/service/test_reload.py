"""The configuration read anew by a running agent, with everything real but the pins."""

import logging
from pathlib import Path

import pytest

from agent.config import parse
from agent.service.changes import changed_keys
from fakes.emsp import Part
from tests.scenario.world import PINS, World, configuration, world

A, B = "0104A1B2C3", "01FF80C3D4"
ALWAYS = {"whitelist": "ALWAYS"}
NEVER = {"whitelist": "NEVER"}


async def reload(here: World, old: str, new: str) -> None:
    """Edit the file, and have it read anew."""
    path = here.folder.parent / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    await here.agent.reload()


async def test_new_policy_decides_the_next_card_and_leaves_the_running_charge_alone(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: {}}) as here:
        await here.tap(A)
        await reload(here, "[policy]", '[policy]\nunknown_tokens = "refuse"')
        refused = await here.tap("01AAAAAAAA", evse=1)
        assert (refused.entry.verdict, refused.entry.reason) == ("refused", "not-in-whitelist")
        assert here.is_closed(0)
        assert here.records()[0]["ended_at"] is None


async def test_new_deadline_holds_from_the_next_card_on(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS}) as here:
        await reload(here, "deadline_s = 30.0", "deadline_s = 7.0")
        assert (await here.tap(A)).entry.deadline_ms == 7000


async def test_file_that_can_not_be_used_changes_nothing_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path, {A: ALWAYS}) as here:
        await reload(here, "deadline_s = 30.0", "deadline_s = 7.0\nlanguge = 1")
        assert "all stays as it was" in caplog.text
        assert "policy.languge: unknown key" in caplog.text
        assert (await here.tap(A)).entry.deadline_ms == 30_000


async def test_what_needs_a_restart_is_named_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path, {A: ALWAYS}) as here:
        await reload(here, f"gpio = {PINS[0]}", "gpio = 5")
        assert "these settings need a restart of the agent to take effect: evse DE*EXA*E1: relay.gpio" in caplog.text
        caplog.clear()
        await here.agent.reload()
        assert "evse DE*EXA*E1: relay.gpio" in caplog.text, "it still waits"
        await here.tap(A)
        assert here.is_closed(0)


async def test_new_credentials_token_is_used_at_the_next_question(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with world(tmp_path, {A: NEVER}) as here:
        old = here.emsp.credentials_token
        here.emsp.device.credentials_token = "another-token-of-ours"
        await reload(here, f'token = "{old}"', 'token = "another-token-of-ours"')
        assert (await here.tap(A)).entry.source == "realtime"
        assert "read anew: peer abc" in caplog.text
        assert "another-token" not in caplog.text


async def test_peer_that_changes_is_not_spoken_to_as_somebody_whom_we_are_not_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path, {A: NEVER}) as here:
        old = here.emsp.credentials_token
        here.emsp.device.credentials_token = "another-token-of-ours"
        config = tmp_path / "config.toml"
        config.write_text(config.read_text().replace('party_id = "EXA"', 'party_id = "ZZZ"'))
        await reload(here, f'token = "{old}"', 'token = "another-token-of-ours"')
        assert "need a restart of the agent to take effect: party.party_id" in caplog.text
        assert (await here.tap(A)).entry.source == "realtime"
        asked = [request for request in here.emsp.requests if request.part is Part.AUTHORIZE]
        assert asked[-1].headers["ocpi-from-party-id"] == "EXA"


async def test_peer_that_left_the_file_is_asked_no_more_and_comes_back_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, {A: NEVER}) as here:
        path = here.folder.parent / "config.toml"
        text = path.read_text()
        begin, end = text.index("[[peer]]"), text.index("[[reader]]")
        path.write_text(text[:begin] + text[end:])
        await here.agent.reload()
        assert dict(here.agent.peers) == {}
        assert (await here.tap(A)).entry.verdict == "refused"
        path.write_text(text)
        await here.agent.reload()
        assert (await here.tap(A, evse=1)).entry.source == "realtime"


async def test_nothing_new_is_said_to_be_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with world(tmp_path, {}) as here:
        await here.agent.reload()
        assert "nothing that takes effect at once has changed" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("deadline_s = 1.0", "deadline_s = 2.0", ["policy.deadline_s"]),
        ("gpio = 17", "gpio = 4", ["evse DE*EXA*E1: relay.gpio"]),
        ("gpio = 17", 'kind = "hid"', ["evse DE*EXA*E1: relay"]),
        ('uid = "DE*EXA*E2"', 'uid = "DE*EXA*E3"', ["evse DE*EXA*E2", "evse DE*EXA*E3"]),
        ('id = "LOC1"', 'id = "LOC2"', ["location.id"]),
        ("[clock]", "[log]\nlevel = 'debug'\n[clock]", ["log.level"]),
        ("[clock]", "[clock]", []),
    ],
)
def test_keys_that_differ_are_named_as_in_the_file(tmp_path: Path, old: str, new: str, keys: list[str]) -> None:
    lines = [_Line(tmp_path / name) for name in ("left", "right")]
    text = configuration(tmp_path, [], lines, policy="deadline_s = 1.0")  # type: ignore[arg-type]  # its paths alone
    assert old in text
    before, after = (parse(each, tmp_path / "config.toml") for each in (text, text.replace(old, new)))
    assert changed_keys(before, after) == keys


class _Line:
    def __init__(self, path: Path) -> None:
        self.path = path
