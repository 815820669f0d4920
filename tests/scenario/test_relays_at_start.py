"""One relay that can't be made keeps no other closed: whatever fails at the start, all the others are told to open."""

import stat
from collections.abc import Iterator
from pathlib import Path

import gpiozero
import pytest
import serial

from agent.commands.relays import open_all
from agent.config import Config, parse
from agent.devices.relays import open_relays, relays_of
from agent.devices.relays_in_use import note, noted
from agent.errors import ConfigError, DeviceError
from fakes.pins import WatchedFactory, mock_pins
from fakes.relay_boards import LcusBoard

CONFIGURATION = """
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
[storage]
directory = "{directory}"
"""
READER = """
[[reader]]
name = "{number}"
kind = "rdm6300"
port = "/dev/ttyS{number}"
[[evse]]
uid = "E{number}"
readers = ["{number}"]
relay = {relay}
"""
BROKEN_PIN = 17
BROKEN = f'{{ kind = "gpio", gpio = {BROKEN_PIN} }}'


class UnforeseenError(Exception):
    """What no driver knows of."""


class BrokenPin(WatchedFactory):
    """A board one of whose pins fails in a way that gpiozero's errors do not name."""

    def pin(self, name: int | str) -> gpiozero.Pin:
        if name == BROKEN_PIN:
            raise UnforeseenError("the board's driver has a bug")
        return super().pin(name)


@pytest.fixture
def pins() -> Iterator[WatchedFactory]:
    before = gpiozero.Device.pin_factory
    yield mock_pins()
    gpiozero.Device.pin_factory = before


@pytest.fixture
def pin_in_use(pins: WatchedFactory) -> Iterator[None]:
    """A relay's pin that is taken: DeviceError."""
    with gpiozero.OutputDevice(BROKEN_PIN):
        yield


@pytest.fixture
def pin_of_a_bug(pins: WatchedFactory) -> None:
    """A relay's pin whose failure is no DeviceError."""
    gpiozero.Device.pin_factory = BrokenPin(pins.watcher)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[LcusBoard]:
    """Three relays, all left closed by an agent that was killed."""
    with LcusBoard(tmp_path, channels=3) as board:
        with serial.Serial(str(board.path)) as line:
            for channel in (1, 2, 3):
                line.write(bytes((0xA0, channel, 1, 0xA1 + channel)))
            assert closed(board) == [1, 2, 3]
        yield board


def closed(board: LcusBoard) -> list[int]:
    return [channel for channel in (1, 2, 3) if board.contact_closed(channel)]


def text_of(folder: Path, board: LcusBoard, *relays: int | str) -> str:
    """An EVSE for each: a channel of the board, or another relay."""
    tables = [
        READER.format(
            number=number,
            relay=f'{{ kind = "lcus", port = "{board.path}", channel = {relay} }}' if isinstance(relay, int) else relay,
        )
        for number, relay in enumerate(relays)
    ]
    return "".join([CONFIGURATION.format(directory=folder), *tables])


def configuration(folder: Path, board: LcusBoard, *relays: int | str) -> Config:
    return parse(text_of(folder, board, *relays), folder / "agent.toml")


def start(config: Config) -> None:
    with relays_of(config):
        pass


@pytest.mark.usefixtures("pin_in_use")
def test_relay_that_fails_leaves_no_other_channel_of_the_board_closed(board: LcusBoard, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="relay on GPIO17 can't be used"):
        start(configuration(tmp_path, board, 1, BROKEN, 2, 3))
    assert closed(board) == []


@pytest.mark.usefixtures("pin_of_a_bug")
def test_error_that_nobody_foresaw_leaves_no_relay_closed(board: LcusBoard, tmp_path: Path) -> None:
    with pytest.raises(UnforeseenError):
        start(configuration(tmp_path, board, 1, BROKEN, 2, 3))
    assert closed(board) == []


@pytest.mark.usefixtures("pin_of_a_bug")
def test_error_that_nobody_foresaw_keeps_no_later_relay_from_being_opened(board: LcusBoard, tmp_path: Path) -> None:
    relays = [evse.relay for evse in configuration(tmp_path, board, BROKEN, 1, 2, 3).evse]
    with pytest.raises(UnforeseenError):
        open_relays(relays, tmp_path)
    assert closed(board) == []


@pytest.mark.usefixtures("pin_of_a_bug")
def test_relay_that_fails_in_the_opening_of_the_others_leaves_none_closed(board: LcusBoard, tmp_path: Path) -> None:
    config = configuration(tmp_path, board, 1, BROKEN, 2, BROKEN.replace("17", "18"), 3)
    with gpiozero.OutputDevice(18), pytest.raises(UnforeseenError):
        start(config)
    assert closed(board) == []


def test_relays_of_a_start_that_succeeds_are_open(board: LcusBoard, tmp_path: Path) -> None:
    with relays_of(configuration(tmp_path, board, 1, 2, 3)) as relays:
        assert closed(board) == []
        relays["E1"].close_contact()
        assert closed(board) == [2]
    assert closed(board) == []


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service's directory in memory, as systemd gives it."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    return folder


def killed(config: Config) -> None:
    """An agent that ran with this and left every relay closed."""
    note([evse.relay for evse in config.evse])


@pytest.mark.usefixtures("pins", "runtime")
def test_relay_that_has_left_the_configuration_is_opened_after_a_kill(
    board: LcusBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed(configuration(tmp_path, board, 1, 2, 3))
    path = tmp_path / "agent.toml"
    path.write_text(text_of(tmp_path, board, 1))
    open_all(path)
    assert closed(board) == []
    assert capsys.readouterr().out == "3 relay(s) open\n"


@pytest.mark.usefixtures("pins", "runtime")
def test_relays_are_opened_after_a_kill_whatever_the_file_has_become(board: LcusBoard, tmp_path: Path) -> None:
    killed(configuration(tmp_path, board, 1, 2, 3))
    path = tmp_path / "agent.toml"
    path.write_text("[[evse")
    with pytest.raises(ConfigError):
        open_all(path)
    assert closed(board) == []


@pytest.mark.usefixtures("pins", "runtime")
def test_next_start_opens_what_the_last_one_had(board: LcusBoard, tmp_path: Path) -> None:
    killed(configuration(tmp_path, board, 1, 2, 3))
    start(configuration(tmp_path, board, 1))
    assert closed(board) == []


@pytest.mark.usefixtures("pins")
def test_clean_end_leaves_no_note(board: LcusBoard, tmp_path: Path, runtime: Path) -> None:
    with relays_of(configuration(tmp_path, board, 1, 2)):
        assert [each.name for each in runtime.iterdir()] == ["relays.json"]
    assert list(runtime.iterdir()) == []


@pytest.mark.usefixtures("runtime")
def test_pin_that_is_something_else_now_is_not_driven_as_it_was(
    pins: WatchedFactory, board: LcusBoard, tmp_path: Path
) -> None:
    killed(configuration(tmp_path, board, 1, '{ kind = "gpio", gpio = 17, active_high = true }'))
    levels: list[tuple[int, bool]] = []
    pins.pin(17).output_with_state(True)  # noqa: FBT003  gpiozero's own; open, for the relay is active low
    pins.watcher = lambda pin, level: levels.append((pin, level))
    start(configuration(tmp_path, board, 1, '{ kind = "gpio", gpio = 17, active_high = false }'))
    assert (17, False) not in levels


@pytest.mark.usefixtures("pins", "runtime")
def test_what_was_opened_after_a_kill_is_forgotten(board: LcusBoard, tmp_path: Path, runtime: Path) -> None:
    killed(configuration(tmp_path, board, 1, 2, 3))
    path = tmp_path / "agent.toml"
    path.write_text(text_of(tmp_path, board, 1))
    open_all(path)
    assert list(runtime.iterdir()) == []


@pytest.mark.usefixtures("pins", "runtime")
def test_relay_of_a_killed_agent_that_can_not_be_opened_is_tried_at_each_start(
    board: LcusBoard, tmp_path: Path
) -> None:
    killed(configuration(tmp_path, board, 1, 2, '{ kind = "gpio", gpio = 17 }'))
    only = configuration(tmp_path, board, '{ kind = "gpio", gpio = 18 }')
    with serial.Serial(str(board.path), exclusive=True):
        start(only)
        assert closed(board) == [1, 2, 3]
    start(only)
    assert closed(board) == [3]
    assert noted() == []


@pytest.mark.usefixtures("pins")
def test_note_is_its_owners_alone_and_says_what_is_in_use(board: LcusBoard, tmp_path: Path, runtime: Path) -> None:
    config = configuration(tmp_path, board, 1, '{ kind = "hid", serial = "BITFT", channel = 2 }')
    note([evse.relay for evse in config.evse])
    assert noted() == [evse.relay for evse in config.evse]
    assert [stat.S_IMODE(each.stat().st_mode) for each in runtime.iterdir()] == [0o600]


@pytest.mark.parametrize("text", ["", "[", '[{"kind": "none"}]'])
def test_note_that_is_spoilt_is_none(runtime: Path, text: str) -> None:
    (runtime / "relays.json").write_text(text)
    assert noted() == []


def test_without_a_directory_in_memory_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    note([])
    assert noted() == []
