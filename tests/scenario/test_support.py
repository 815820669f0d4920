"""What `support` collects, of a charge point that works and of one that does not, and what it keeps to itself."""

import base64
import os
import stat
import tarfile
from pathlib import Path

import pytest

from agent.commands.redaction import REMOVED, Redaction
from tests.scenario.world import command, world

A, B = "0104A1B2C3", "01FF80C3D4"
ALWAYS = {"whitelist": "ALWAYS"}


def contents(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        files = {Path(member.name).name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


async def bundled(config: Path, target: Path) -> dict[str, str]:
    done = await command("support", "--offline", "--config", config, "--output", target)
    assert (done.code, done.out.strip()) == (0, str(target)), done.err
    return contents(target)


async def test_bundle_of_a_running_agent_has_everything_but_secrets_and_cards(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: {"allowed": "BLOCKED"}}) as here:
        await here.tap(A)
        await here.tap(B, evse=1)
        config, token = tmp_path / "config.toml", here.emsp.credentials_token
        config.write_text(config.read_text() + f"\n# told by phone: {token}, and card {A.lower()}\n")
        files = await bundled(config, tmp_path / "bundle.tar.gz")
        assert here.is_closed(0), "it moves no relay"
    everything = "\n".join(files.values()).upper()
    for secret in (token, base64.b64encode(token.encode()).decode(), A, B):
        assert secret.upper() not in everything
    assert set(files) == {
        "about.txt", "configuration.toml", "doctor.txt", "devices.txt", "databases.txt", "authorizations.jsonl",
        "unit.txt", "journal.txt", "kernel.txt",
    }  # fmt: skip
    assert f"token = {REMOVED}" in files["configuration.toml"]
    assert "whitelisted" in files["authorizations.jsonl"]
    assert "…C3" in files["authorizations.jsonl"]
    assert "authorization: 2 rows" in files["databases.txt"]
    assert stat.S_IMODE((tmp_path / "bundle.tar.gz").stat().st_mode) == 0o600


async def test_bundle_of_a_charge_point_whose_configuration_is_broken_says_why(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[peer]\ntoken = "a-secret-of-ours"\n')
    files = await bundled(config, tmp_path / "bundle.tar.gz")
    assert "not valid TOML" in files["about.txt"]
    assert "a-secret-of-ours" not in "\n".join(files.values())


async def test_bundle_follows_no_link_of_somebody_else(tmp_path: Path) -> None:
    precious, link = tmp_path / "state.db", tmp_path / "bundle.tar.gz"
    precious.write_text("records")
    link.symlink_to(precious)
    os.chown(link, 65_534, 65_534, follow_symlinks=False)
    done = await command("support", "--offline", "--config", tmp_path / "none.toml", "--output", link)
    assert (done.code, "a link that somebody else has made" in done.err) == (2, True)
    assert precious.read_text() == "records"


async def test_bundle_that_can_not_be_written_says_where(tmp_path: Path) -> None:
    done = await command("support", "--offline", "--config", tmp_path / "none.toml", "--output", tmp_path / "no" / "x")
    assert (done.code, "is no directory" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ('token = "abc"', f"token = {REMOVED}"),
        ('  peer = { token="abc", name = "x" }', f"  peer = {{ token={REMOVED}"),
        ('token_file = "/etc/t"', 'token_file = "/etc/t"'),
        ('token_encoding = "plain"', 'token_encoding = "plain"'),
        ('unknown_tokens = "ask"', 'unknown_tokens = "ask"'),
        ("Authorization: Token QUJD rest", f"Authorization: Token {REMOVED} rest"),
        ('"authorization": "Token QUJD"', f'"authorization": "Token {REMOVED}'),
        ("https://me:secret@example.com/x", f"https://{REMOVED}@example.com/x"),
        ('# token = "old"', f"# token = {REMOVED}"),
        ('name = "a#b", token = "x"', f'name = "a#b", token = {REMOVED}'),
        ('"token" = "x"', f'"token" = {REMOVED}'),
        ("token = '''\na\nb'''\nnext", f"token = {REMOVED}\nnext"),
        ("https://KEY@host/", f"https://{REMOVED}@host/"),
        ("http://:PA/SS@proxy", f"http://{REMOVED}@proxy"),
        ("https://host/x?sig=abc&y=1", f"https://host/x?sig={REMOVED}&y=1"),
        ("SetCredential=peers_x:abc", f"SetCredential=peers_x:{REMOVED}"),
        ("Environment=PROXY_PASS=abc", f"Environment={REMOVED}"),
        ("card 04a1b2c3d4e5f6 held", "card 04a1…f6 held"),
        ("a version 0.1.0 of 20270601", "a version 0.1.0 of 20270601"),
    ],
)
def test_line_loses_its_secret_and_nothing_else(text: str, redacted: str) -> None:
    assert Redaction(uids=["04A1B2C3D4E5F6"])(text) == redacted


def test_known_secret_goes_wherever_it_stands_also_as_ocpi_sends_it() -> None:
    redaction = Redaction(["s3cret-token", "abc"])
    assert redaction("x s3cret-token y czNjcmV0LXRva2Vu z abc") == f"x {REMOVED} y {REMOVED} z abc"
