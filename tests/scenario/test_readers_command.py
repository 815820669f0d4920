"""`readers` as an installer types it: what is plugged in, and what each card gives."""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.serial_line import SerialLine
from tests.scenario.world import HANG_S, command, command_process, configuration

CARD = "04FFA1B2C3"


async def lines_until(process: asyncio.subprocess.Process, words: str) -> list[str]:
    """What it prints up to the line that says this."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(HANG_S):
        while not (lines and words in lines[-1]):
            line = await process.stdout.readline()
            assert line, f"ended after {lines}"
            lines.append(line.decode().rstrip("\n"))
    return lines


async def test_listing_ends_well_on_any_machine() -> None:
    finished = await command("readers")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out


async def test_listing_in_json_has_an_object_for_each_find() -> None:
    finished = await command("readers", "--json")
    assert finished.code == 0
    assert all("subject" in json.loads(line) for line in finished.out.splitlines())


@pytest.fixture
def frozen_pcscd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pcscd that was stopped: the kernel takes the call for it, and nobody answers."""
    pytest.importorskip("smartcard")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "pcscd.comm"))
        listening.listen()
        monkeypatch.setenv("PCSCLITE_CSOCK_NAME", str(tmp_path / "pcscd.comm"))
        yield


@pytest.mark.usefixtures("frozen_pcscd")
async def test_listing_ends_where_pcscd_is_frozen_and_says_so() -> None:
    finished = await command("readers")
    assert finished.code == 0
    assert "pcscd has not answered within 5 s): systemctl restart pcscd" in finished.out


@pytest.mark.usefixtures("frozen_pcscd")
async def test_watching_ends_where_pcscd_is_frozen_and_says_so() -> None:
    finished = await command("readers", "--watch")
    assert (finished.code, finished.out) == (1, "")
    assert "pcscd has not answered within 5 s): systemctl restart pcscd" in finished.err


async def test_watched_port_shows_the_card_and_ends_after_it(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        words = ("readers", "--watch", "--once", "--kind", "rdm6300", "--port", line.path)
        async with command_process(*words) as process:
            await line.wait_opened()
            line.present(CARD)
            out = await lines_until(process, "uid ")
            async with asyncio.timeout(HANG_S):
                assert await process.wait() == 0
        assert out == [
            f"rdm6300: {line.path} is open: hold a card to the reader",
            f"rdm6300: uid {CARD}, from 5 bytes: 04 FF A1 B2 C3",
        ]


async def test_watched_reader_of_the_configuration_names_cards_by_its_settings(tmp_path: Path) -> None:
    with SerialLine(tmp_path, name="reader-1") as line:
        config = tmp_path / "config.toml"
        text = configuration(tmp_path, [], [line])
        config.write_text(text.replace('kind = "rdm6300"', 'kind = "rdm6300"\nuid_bytes = 4\nuid_reversed = true'))
        async with command_process("readers", "--watch", "--json", "--config", config) as process:
            await line.wait_opened()
            line.present(CARD)
            *_, card = await lines_until(process, '"card"')
        assert json.loads(card) == {
            "event": "card",
            "reader": "reader-1",
            "uid": "C3B2A1FF",
            "raw": CARD,
            "bytes": 5,
            "is_random": False,
            "is_refused": False,
        }


async def test_bad_frames_are_told_while_they_grow(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        words = ("readers", "--watch", "--kind", "rdm6300", "--port", line.path)
        async with command_process(*words) as process:
            await line.wait_opened()
            line.present(CARD, corrupt=True)
            *_, told = await lines_until(process, "bad frame")
        assert told == "rdm6300: 1 bad frame: is the kind right, and the baudrate?"


async def test_busy_port_is_told_in_the_readers_own_words(tmp_path: Path) -> None:
    words = ("readers", "--watch", "--kind", "rdm6300", "--port", tmp_path / "card-reader")
    with SerialLine(tmp_path) as line:
        async with command_process(*words):
            await line.wait_opened()
            async with command_process(*words) as second:
                [told] = await lines_until(second, "is in use by another program")
        assert "stop that program" in told


async def test_interrupt_ends_watching_well(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        words = ("readers", "--watch", "--kind", "rdm6300", "--port", line.path)
        async with command_process(*words) as process:
            await line.wait_opened()
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(HANG_S):
                _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")


async def test_uid_is_never_logged(tmp_path: Path) -> None:
    with SerialLine(tmp_path) as line:
        words = ("readers", "--watch", "--once", "--kind", "rdm6300", "--port", line.path)
        async with command_process(*words) as process:
            await line.wait_opened()
            line.present(CARD)
            async with asyncio.timeout(HANG_S):
                out, err = await process.communicate()
        assert CARD in out.decode()
        assert CARD not in err.decode()


async def test_kind_without_a_port_is_a_mistake() -> None:
    finished = await command("readers", "--watch", "--kind", "rdm6300")
    assert (finished.code, finished.out) == (2, "")
    assert finished.err == "chargepoint-agent: --kind and --port go together\n"


async def test_watching_words_without_watching_are_a_mistake() -> None:
    finished = await command("readers", "--once")
    assert finished.code == 2
    assert finished.err == "chargepoint-agent: --config, --once, --kind and --port go with --watch\n"
