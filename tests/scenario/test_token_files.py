"""`tokens import` and `tokens export` on real files and a real whitelist, alone, interrupted, and beside an agent."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.commands.token_files import export_tokens
from agent.errors import ConfigError, StoreError
from agent.model import EnergyContract, Token, TokenType, WhitelistType
from agent.store.whitelist import SyncKind
from tests.scenario.token_device import ABC, EARLIER, LATER, PEER, A, B, C, Device, contents, line, object_of, written
from tests.scenario.world import HANG_S
from tests.store.conftest import mount
from tests.store.samples import NOON, token

PEAK_KIB = 80 << 10
"""A hundred thousand tokens are 25 MB as text, and several times that as values; the program alone has 40 MB."""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "device")


@pytest.fixture
def other(tmp_path: Path) -> Device:
    return Device(tmp_path / "other")


# ---- there and back


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)
_NAME = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_TOKENS = st.builds(
    Token,
    country_code=st.text("DENLdenl", min_size=2, max_size=2),
    party_id=st.text("ABC8abc", min_size=1, max_size=3),
    uid=st.text("04aAbB", min_size=1, max_size=6) | _NAME,
    type=st.sampled_from(TokenType),
    contract_id=_NAME,
    issuer=_TEXT,
    valid=st.booleans(),
    whitelist=st.sampled_from(WhitelistType),
    last_updated=st.datetimes(timezones=st.just(UTC)),
    visual_number=st.none() | _TEXT,
    group_id=st.none() | _NAME,
    language=st.none() | st.sampled_from(["de", "nl", ""]),
    default_profile_type=st.none() | st.sampled_from(["GREEN", ""]),
    energy_contract=st.none() | st.builds(EnergyContract, supplier_name=_TEXT, contract_id=st.none() | _NAME),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tokens=st.lists(_TOKENS, min_size=1, max_size=20), complete=st.booleans())
def test_export_imported_elsewhere_gives_the_same_tokens_field_by_field(tokens: list[Token], *, complete: bool) -> None:
    async def there_and_back(folder: Path) -> None:
        here, there = Device(folder / "here"), Device(folder / "there")
        await here.pulls(tokens)
        exported = await here.gives(folder / "tokens.jsonl")
        assert await there.takes(folder / "tokens.jsonl", complete=complete)
        assert await there.tokens() == await here.tokens()
        assert await there.gives(folder / "again.jsonl") == exported

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(there_and_back(Path(folder)))


async def test_token_with_every_field_is_written_as_ocpi_spells_it(device: Device, tmp_path: Path) -> None:
    full = token(
        "04a1b2c3",
        visual_number="DE-1",
        group_id="G1",
        language="de",
        default_profile_type="GREEN",
        energy_contract=EnergyContract("Supplier"),
        last_updated=datetime(2026, 3, 1, 12, 0, 0, 120_000, UTC),
    )
    await device.pulls([full])
    assert json.loads(await device.gives(tmp_path / "out")) == {
        **object_of("04a1b2c3", contract_id="DEABCC12345678", last_updated="2026-03-01T12:00:00.12Z"),
        "visual_number": "DE-1",
        "group_id": "G1",
        "language": "de",
        "default_profile_type": "GREEN",
        "energy_contract": {"supplier_name": "Supplier"},
    }


async def test_token_without_optional_fields_is_written_without_them(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    assert json.loads(await device.gives(tmp_path / "out")) == object_of(A)


# ---- export


async def test_export_is_in_order_of_key_for_its_owner_alone_and_leaves_nothing_else(
    device: Device, tmp_path: Path
) -> None:
    await device.takes(written(tmp_path / "in", [line(B), line(C), line(A)]))
    target = tmp_path / "out" / "tokens.jsonl"
    target.parent.mkdir()
    lines = (await device.gives(target)).splitlines()
    assert [json.loads(one)["uid"] for one in lines] == [A, C, B]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


async def test_export_leaves_out_what_is_withdrawn(device: Device, tmp_path: Path) -> None:
    await device.pulls([token(A), token(B)])
    for _ in range(2):
        await device.pulls([token(A)])
    assert b"".join((await device.gives(tmp_path / "out")).splitlines()).count(b'"uid"') == 1


async def test_export_of_one_peer_holds_its_tokens_alone(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(A)])
    await device.pulls([token(B)], peer="hub")
    assert [json.loads(one)["uid"] for one in (await device.gives(tmp_path / "one", peer="hub")).splitlines()] == [B]
    assert capsys.readouterr() == (f"exported 1 token to {tmp_path}/one\n", "")


async def test_export_of_several_peers_says_that_the_file_does_not_keep_them_apart(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(A)])
    await device.pulls([token(B)], peer="hub")
    assert (await device.gives(tmp_path / "out")).count(b"\n") == 2
    assert capsys.readouterr().err.startswith("they are of the peers abc, hub, and the file does not say which of whom")


async def test_export_replaces_an_earlier_one(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    target = tmp_path / "out"
    target.write_bytes(b"an earlier one\n")
    target.chmod(0o644)
    assert (await device.gives(target)).count(b"\n") == 1
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


async def test_export_through_a_link_leaves_the_link(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    await device.gives(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes().count(b"\n") == 1


async def test_export_takes_any_name_that_a_file_can_have(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    assert (await device.gives(tmp_path / ("\u540d" * 85))).count(b"\n") == 1


async def test_export_to_a_name_that_no_file_can_have_is_refused(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    with pytest.raises(StoreError, match="can't be written: File name too long"):
        await export_tokens(device.config, tmp_path / ("x" * 256), peer=None)


async def test_export_before_the_first_synchronisation_is_finished_says_that_it_is_not_whole(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with device.whitelist() as whitelist:
        progress = await whitelist.start("abc", SyncKind.FULL, "http://abc/1", reference=NOON, started_at=NOON)
        await whitelist.store_page(progress, [token(A)], next_url="http://abc/2")
    await device.gives(tmp_path / "out")
    assert capsys.readouterr() == (
        f"exported 1 token to {tmp_path}/out\n",
        (
            "the first full synchronisation with peer abc is not finished, so its list is not whole here: finish it"
            " with tokens sync, then export again\n"
        ),
    )


async def test_export_during_a_later_synchronisation_is_whole(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(A)])
    async with device.whitelist() as whitelist:
        await whitelist.start("abc", SyncKind.FULL, "http://abc/1", reference=NOON, started_at=NOON)
    await device.gives(tmp_path / "out")
    assert capsys.readouterr().err == ""


async def test_export_of_one_peer_says_nothing_of_another_that_is_not_finished(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(A)])
    async with device.whitelist() as whitelist:
        await whitelist.start("hub", SyncKind.FULL, "http://hub/1", reference=NOON, started_at=NOON)
    await device.gives(tmp_path / "out", peer="abc")
    assert capsys.readouterr().err == ""


async def test_export_to_a_directory_is_refused(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    with pytest.raises(ConfigError, match="is a directory; name a file in it"):
        await export_tokens(device.config, tmp_path, peer=None)


async def test_export_to_a_device_leaves_the_device(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no file that could be replaced"):
        await export_tokens(device.config, tmp_path / "pipe", peer=None)
    assert (tmp_path / "pipe").is_fifo()


async def test_export_to_nowhere_is_refused(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    with pytest.raises(ConfigError, match="nowhere is no directory"):
        await export_tokens(device.config, tmp_path / "nowhere" / "out", peer=None)


async def test_export_of_a_peer_that_is_not_there_names_those_that_are(device: Device, tmp_path: Path) -> None:
    await device.pulls([token(A)], peer="hub")
    with pytest.raises(ConfigError, match="no peer is named nobody; there are: abc, hub"):
        await export_tokens(device.config, tmp_path / "out", peer="nobody")
    assert not (tmp_path / "out").exists()


async def test_export_without_a_whitelist_is_refused_and_makes_none(device: Device, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing to export"):
        await export_tokens(device.config, tmp_path / "out", peer=None)
    assert not (tmp_path / "out").exists()
    assert not device.state.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, where an earlier export lies."""
    disk = tmp_path / "stick"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk))
    (disk / "out").write_bytes(b"an earlier one\n")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_export_to_a_full_disk_leaves_the_earlier_one_and_no_trace(
    device: Device, tmp_path: Path, small_disk: Path
) -> None:
    await device.takes(written(tmp_path / "in", [line(f"{number:08X}") for number in range(1000)]))
    with pytest.raises(StoreError, match=r"stick/out: can't be written: No space left on device; it is left as it was"):
        await export_tokens(device.config, small_disk / "out", peer=None)
    assert contents(small_disk) == {"out": b"an earlier one\n"}


async def test_export_to_a_read_only_disk_says_so(device: Device, tmp_path: Path, small_disk: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]))
    mount("-o", "remount,ro", str(small_disk))
    with pytest.raises(StoreError, match="can't be written: Read-only file system"):
        await export_tokens(device.config, small_disk / "out", peer=None)


@pytest.fixture
def disk_of_records(device: Device) -> Iterator[Path]:
    """The device's databases on a disk of 4 MiB, nearly full."""
    device.state.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(device.state))
    asyncio.run(device.pulls([token(A)]))
    found = os.statvfs(device.state)
    (device.state / "filler").write_bytes(bytes(found.f_bavail * found.f_bsize - (200 << 10)))
    yield device.state
    subprocess.run(["umount", "--lazy", str(device.state)], check=True)


async def test_export_takes_no_room_that_is_kept_for_the_records(device: Device, disk_of_records: Path) -> None:
    with pytest.raises(StoreError, match=r"the export is given up: .*/state has 0 MiB free"):
        await export_tokens(device.config, disk_of_records / "out", peer=None)
    assert set(contents(disk_of_records)) == {"filler", "whitelist.db"}


@pytest.mark.parametrize("complete", [False, True])
async def test_import_takes_no_room_that_is_kept_for_the_records(
    device: Device, tmp_path: Path, disk_of_records: Path, *, complete: bool
) -> None:
    with pytest.raises(StoreError, match=r"no more tokens are taken in: .*/state has 0 MiB free"):
        await device.takes(written(tmp_path / "in", [line(B)]), complete=complete)
    assert await device.uids() == [A]
    async with device.whitelist() as whitelist:
        assert await whitelist.progress("abc") is None


# ---- import: additions


async def test_import_adds_and_says_how_many_are_new(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.takes(written(tmp_path / "first", [line(A)]))
    capsys.readouterr()
    assert await device.takes(written(tmp_path / "second", [line(A), line(B)]))
    assert await device.uids() == [A, B]
    said = (
        "imported 2 tokens (1 new), 0 skipped, as additions to the list of peer abc: nothing is withdrawn, and the list"
        " counts as no fresher than before\n"
    )
    assert capsys.readouterr() == (said, "")


async def test_import_keeps_what_is_newer_though_it_came_with_a_list(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(A, valid=False, last_updated=LATER)])
    assert await device.takes(written(tmp_path / "in", [line(A), line(B)]))
    assert [one.valid for one in await device.tokens()] == [False, True]
    assert capsys.readouterr().out.startswith("imported 1 token (1 new), 1 left alone, for newer ones are here, 0 skip")


async def test_import_updates_what_is_older(device: Device, tmp_path: Path) -> None:
    await device.pulls([token(A, valid=False, last_updated=EARLIER)])
    await device.takes(written(tmp_path / "in", [line(A)]))
    assert [one.valid for one in await device.tokens()] == [True]


async def test_import_withdraws_nothing_and_makes_no_list_fresh(device: Device, tmp_path: Path) -> None:
    await device.pulls([token(B)])
    for _ in range(3):
        await device.takes(written(tmp_path / "in", [line(A)]))
    assert await device.uids() == [A, B]
    async with device.whitelist() as whitelist:
        last = await whitelist.last_sync("abc")
    assert last is not None
    assert last.completed_at == NOON


async def test_import_leaves_an_interrupted_synchronisation_where_it_was(device: Device, tmp_path: Path) -> None:
    async with device.whitelist() as whitelist:
        progress = await whitelist.start("abc", SyncKind.FULL, "http://abc/1", reference=NOON, started_at=NOON)
        progress = await whitelist.store_page(progress, [token(B)], next_url="http://abc/2")
        await device.takes(written(tmp_path / "in", [line(A)]))
        assert await whitelist.progress("abc") == progress
        assert (await whitelist.complete(progress, completed_at=NOON)).missed == 0


async def test_token_of_any_owner_is_taken(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A, country_code="NL", party_id="xyz")]))
    assert [one.owner for one in await device.tokens()] == ["NL-XYZ"]


async def test_whole_file_of_any_length_is_taken(device: Device, tmp_path: Path) -> None:
    uids = [f"{number:08X}" for number in range(2500)]
    await device.takes(written(tmp_path / "in", map(line, uids)))
    assert await device.uids() == uids


# ---- import: a whole list


async def test_whole_list_counts_as_fresh_and_delta_asks_from_its_newest_change_on(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = datetime.now(UTC)
    lines = [line(A, last_updated="2026-02-01T00:00:00Z"), line(B, last_updated="2026-02-03T00:00:00Z")]
    assert await device.takes(written(tmp_path / "in", lines), complete=True)
    async with device.whitelist() as whitelist:
        last = await whitelist.last_sync("abc")
        assert await whitelist.progress("abc") is None
    assert last is not None
    assert last.kind is SyncKind.FULL
    assert last.completed_at >= before
    assert last.last_full_at == last.completed_at
    assert last.reference == datetime(2026, 2, 3, tzinfo=UTC)
    assert capsys.readouterr().out == (
        "imported 2 tokens (2 new), 0 skipped, as the whole list of peer abc: it counts as fresh from now on;"
        " 0 withdrawn\n"
    )


async def reference_after(device: Device, source: Path) -> datetime:
    """From when on the next delta synchronisation asks, once this is imported as the whole list."""
    assert await device.takes(source, complete=True)
    async with device.whitelist() as whitelist:
        last = await whitelist.last_sync("abc")
    assert last is not None
    return last.reference


async def test_newest_change_counts_wherever_in_the_list_it_is(device: Device, tmp_path: Path) -> None:
    lines = [line(f"{number:08X}", last_updated="2026-02-03T00:00:00Z") for number in range(1000)]
    lines.append(line("FFFFFFFF", last_updated="2015-01-01T00:00:00Z"))
    assert await reference_after(device, written(tmp_path / "in", lines)) == datetime(2026, 2, 3, tzinfo=UTC)


async def test_change_that_claims_the_future_moves_no_delta_there(device: Device, tmp_path: Path) -> None:
    lines = [line(A, last_updated="2026-02-01T00:00:00Z"), line(B, last_updated="2999-01-01T00:00:00Z")]
    assert await reference_after(device, written(tmp_path / "in", lines)) == datetime(2026, 2, 1, tzinfo=UTC)


async def test_change_a_little_ahead_counts_as_of_now(device: Device, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    ahead = (before + timedelta(hours=12)).isoformat()
    reference = await reference_after(device, written(tmp_path / "in", [line(A, last_updated=ahead)]))
    assert before <= reference <= datetime.now(UTC)


async def test_delta_asks_for_everything_after_a_list_that_claims_the_future_throughout(
    device: Device, tmp_path: Path
) -> None:
    source = written(tmp_path / "in", [line(A, last_updated="2999-01-01T00:00:00Z")])
    assert await reference_after(device, source) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "more",
    [b"", b"{}", line(C, last_updated="2999-01-01T00:00:00Z")],
    ids=["complete", "with a bad line", "with a change that claims the future"],
)
async def test_whole_list_that_is_older_leaves_newer_tokens_as_they_are(
    device: Device, tmp_path: Path, more: bytes
) -> None:
    blocked = token(A, valid=False, last_updated=LATER)
    await device.pulls([blocked, token(B)])
    await device.takes(written(tmp_path / "in", [line(A), line(B), more]), complete=True)
    assert (await device.tokens())[0] == blocked


async def test_token_that_whole_lists_miss_is_withdrawn_with_the_second(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(A), token(B)])
    source = written(tmp_path / "in", [line(A)])
    await device.takes(source, complete=True)
    assert "; 0 withdrawn; 1 missed for the first time, withdrawn unless" in capsys.readouterr().out
    assert await device.uids() == [A, B]
    await device.takes(source, complete=True)
    assert capsys.readouterr().out.endswith("; 1 withdrawn\n")
    assert await device.uids() == [A]


async def test_whole_list_withdraws_nothing_of_another_peer(device: Device, tmp_path: Path) -> None:
    await device.pulls([token(B)], peer="hub")
    for _ in range(2):
        await device.takes(written(tmp_path / "in", [line(A)]), complete=True)
    assert await device.uids() == [A, B]


async def test_whole_list_with_a_bad_line_is_stored_but_is_none(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.pulls([token(B), token(C)])
    source = written(tmp_path / "in", [line(A), b"{}", line(B)])
    for _ in range(2):
        assert not await device.takes(source, complete=True)
    assert await device.uids() == [A, C, B]
    assert "1 skipped, as the whole list of peer abc: with lines skipped it is not whole" in capsys.readouterr().out
    async with device.whitelist() as whitelist:
        last = await whitelist.last_sync("abc")
        assert await whitelist.progress("abc") is None
    assert last is not None
    assert last.completed_at == NOON


async def test_empty_file_is_no_whole_list(device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await device.pulls([token(B)])
    for _ in range(2):
        assert not await device.takes(written(tmp_path / "in", [b"", b"  "]), complete=True)
    assert await device.uids() == [B]
    assert "in: there is no token in it; one OCPI Token object a line is expected" in capsys.readouterr().err


async def test_whole_list_replaces_an_interrupted_synchronisation(device: Device, tmp_path: Path) -> None:
    async with device.whitelist() as whitelist:
        await whitelist.start("abc", SyncKind.FULL, "http://abc/1", reference=NOON, started_at=NOON)
        assert await device.takes(written(tmp_path / "in", [line(A)]), complete=True)
        assert await whitelist.progress("abc") is None


# ---- import: files as they come


async def test_byte_order_mark_windows_line_ends_and_empty_lines_are_no_matter(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"\xef\xbb\xbf" + line(A) + b"\r\n\r\n" + line(B) + b"\r\n \n" + line(C))
    assert await device.takes(source)
    assert await device.uids() == [A, C, B]
    assert capsys.readouterr().err == ""


BAD_LINES = {
    "cut": (line(A)[:40], "JSON is malformed: "),
    "no object": (b'"04A1B2C3D4E5F6"', "Expected `object`, got `str`"),
    "a list": (b"[" + line(A) + b"]", "Expected `object`, got `array`"),
    "two objects": (line(A) + b"," + line(B), "there is more than one object in it"),
    "no utf-8": (b'{"uid": "\xff"}', ""),
    "no json": (b"uid;contract", "JSON is malformed: invalid character"),
    "too long": (b" " + b"x" * 200_000, "it has more than 65536 bytes"),
    "nested without end": (b"[" * 60_000, ""),
}


@pytest.mark.parametrize("bad", BAD_LINES)
async def test_bad_line_is_named_with_its_number_and_left_out(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str
) -> None:
    content, reason = BAD_LINES[bad]
    assert await device.takes(written(tmp_path / "in", [line(A), b"", content, line(B)]))
    assert await device.uids() == [A, B]
    out, err = capsys.readouterr()
    assert err.startswith(f"{tmp_path}/in: line 3 skipped: {reason}")
    assert err.count("\n") == 1
    assert ", 1 skipped, " in out


@pytest.mark.parametrize(
    "changes",
    [{"valid": "perhaps"}, {"whitelist": "04A1B2C3D4E5F6"}, {"country_code": "DEU"}, {"last_updated": None}],
    ids=str,
)
async def test_bad_token_is_named_without_its_uid(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    assert not await device.takes(written(tmp_path / "in", [line("04A1B2C3D4E5F6", **changes)]))
    out, err = capsys.readouterr()
    assert f"{tmp_path}/in: line 1 skipped (uid 04A1…F6): " in err
    assert "A1B2C3D4" not in out + err
    assert await device.uids() == []


async def test_words_of_a_bad_line_do_nothing_to_the_terminal(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await device.takes(written(tmp_path / "in", [line("\x1b]0;X\x07\x1b", whitelist="\x1b[2J")]))
    assert "\x1b" not in capsys.readouterr().err


async def test_binary_file_is_refused_with_few_words(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.write_bytes(bytes(range(256)) * 1000)
    assert not await device.takes(source)
    err = capsys.readouterr().err
    assert f"{source}: more lines are skipped, which are only counted\n" in err
    assert err.endswith(
        f"{source}: 1001 lines were skipped in all\nchargepoint-agent: {source}: there is no token in it;"
        " one OCPI Token object a line is expected, as tokens export writes it\n"
    )
    assert err.count("\n") == 23


async def test_file_cut_in_a_line_gives_what_is_before_and_is_no_whole_list(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.write_bytes((line(A) + b"\n" + line(B))[:-10])
    assert not await device.takes(source, complete=True)
    assert await device.uids() == [A]
    assert f"{source}: line 2 skipped: Input data was truncated\n" in capsys.readouterr().err


async def test_missing_file_is_named_and_nothing_is_made(device: Device, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/nowhere: can't be read: No such file or directory"):
        await device.takes(tmp_path / "nowhere")
    assert not device.state.exists()


async def test_directory_is_no_file_to_import(device: Device, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory; name the file in it"):
        await device.takes(tmp_path)


# ---- import: whose


async def test_named_peer_gets_the_tokens_configured_or_not(device: Device, tmp_path: Path) -> None:
    await device.takes(written(tmp_path / "in", [line(A)]), peer="hub")
    async with device.whitelist() as whitelist:
        assert list(await whitelist.count()) == ["hub"]


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65])
async def test_name_that_no_peer_could_have_is_refused(device: Device, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--peer"):
        await device.takes(written(tmp_path / "in", [line(A)]), peer=name)
    assert not device.state.exists()


async def test_tokens_belong_to_the_import_where_there_is_no_peer(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", peers="")
    await device.takes(written(tmp_path / "in", [line(A)]))
    async with device.whitelist() as whitelist:
        assert list(await whitelist.count()) == ["import"]


async def test_whose_tokens_they_are_must_be_said_where_there_are_several_peers(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", peers=ABC + PEER.format("xyz", "XYZ"))
    with pytest.raises(ConfigError, match="whose tokens are these\\? --peer NAME says it; there are: abc, xyz"):
        await device.takes(written(tmp_path / "in", [line(A)]))
    assert not (device.state / "whitelist.db").exists()


# ---- size


MEASURED = """
from pathlib import Path
from agent.cli import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text())
"""


@pytest.mark.parametrize("words", [("import",), ("import", "--complete"), ("export",)], ids=" ".join)
async def test_hundred_thousand_tokens_need_no_more_memory_than_a_page(
    device: Device, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = written(tmp_path / "in", (line(f"{number:08X}") for number in range(100_000)))
    if words == ("export",):
        await device.takes(file, complete=True)
    out, peak_kib = await measured(device, *words, file=file)
    assert b"ported 100000 tokens" in out
    assert peak_kib < PEAK_KIB


async def test_file_without_any_line_end_needs_no_more_memory_than_a_page(device: Device, tmp_path: Path) -> None:
    file = tmp_path / "in"
    with file.open("wb") as sparse:
        sparse.truncate(100 << 20)
    out, peak_kib = await measured(device, "import", file=file)
    assert b"imported" not in out
    assert peak_kib < PEAK_KIB


async def measured(device: Device, *words: str, file: Path) -> tuple[bytes, int]:
    """Run a command on a file; what it said, and the most memory that it had, in KiB."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MEASURED, "tokens", *words, "--config", str(device.path), str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(2 * HANG_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    peak = re.search(rb"VmHWM:\s+(\d+) kB", out)
    assert peak is not None
    return out, int(peak[1])
