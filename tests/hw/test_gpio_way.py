"""The way to the pins: lgpio, which leaves a pipe where it is imported, and what is said where there is no way."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gpiozero
import pytest

from hw.gpio import ensure_pins, remedy

# As lgpio 0.2.2 does it: its C part makes the pipe, in LG_WD or the working directory, its Python part opens it by its
# bare name, and no pin can be reached here afterwards.
STAND_IN = """
import os, threading

class error(Exception):
    pass

main_thread_was_in = os.readlink(f"/proc/{os.getpid()}/task/{os.getpid()}/cwd")
imported_in = os.getcwd()
pipe = os.path.join(os.environ.get("LG_WD", "."), ".lgd-nfy0")
os.mkfifo(pipe)
writes = os.open(pipe, os.O_RDWR)
reads = open(".lgd-nfy0", "rb")
"""


@pytest.fixture
def no_way_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, and a program that has not looked for its pins."""
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.delitem(sys.modules, "lgpio", raising=False)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, None
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    gpiozero.Device.pin_factory = before
    for name in ("lgpio", "gpiozero.pins.lgpio"):
        sys.modules.pop(name, None)


def installed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be lgpio."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "lgpio.py").write_text(text)
    monkeypatch.syspath_prepend(library)


def imported() -> ModuleType:
    """lgpio, as it was imported on the way to pins that are not there."""
    with pytest.raises(gpiozero.BadPinFactory):
        ensure_pins()
    lgpio = sys.modules["lgpio"]
    lgpio.reads.close()
    os.close(lgpio.writes)
    return lgpio


def test_lgpio_leaves_nothing_in_the_working_directory_and_needs_no_right_there(
    no_way_yet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(STAND_IN, tmp_path, monkeypatch)
    lgpio = imported()
    assert Path.cwd() == no_way_yet
    assert list(no_way_yet.iterdir()) == []
    assert Path(lgpio.imported_in) != no_way_yet
    assert not Path(lgpio.imported_in).exists()


def test_importing_lgpio_moves_no_other_thread_to_another_folder(
    no_way_yet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threading.current_thread() is threading.main_thread()
    installed(STAND_IN, tmp_path, monkeypatch)
    assert imported().main_thread_was_in == str(no_way_yet)


def test_folder_that_somebody_set_for_lgpio_stays_set(
    no_way_yet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(STAND_IN, tmp_path, monkeypatch)
    monkeypatch.setenv("LG_WD", "/nowhere")
    imported()
    assert os.environ["LG_WD"] == "/nowhere"
    assert list(no_way_yet.iterdir()) == []


def test_lgpio_that_can_not_be_loaded_is_told_by_its_own_words(
    no_way_yet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("raise ImportError('liblgpio.so.1 is missing')", tmp_path, monkeypatch)
    with pytest.raises(gpiozero.BadPinFactory, match=r"Falling back from lgpio: liblgpio\.so\.1 is missing"):
        ensure_pins()
    assert Path.cwd() == no_way_yet


def test_where_lgpio_is_installed_nobody_is_told_to_install_it(
    no_way_yet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del no_way_yet
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "lgpio", None)
        assert "with its extra gpio" in remedy(gpiozero.BadPinFactory("none"))
    installed(STAND_IN, tmp_path, monkeypatch)
    told = remedy(gpiozero.BadPinFactory("none"))
    assert "extra gpio" not in told
    assert "GPIOZERO_PIN_FACTORY=mock" in told
