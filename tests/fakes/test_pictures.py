"""The pictures in the documentation are those that the command makes."""

from pathlib import Path

import PIL
import pytest
from PIL import Image, ImageChops

from fakes import pictures

DRAWN_WITH = "13."
"""Pillow's version when the pictures were made: another one may smooth and pack them differently."""
IN_DOCS = Path(__file__).parents[2] / pictures.FOLDER


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pictures.main([str(folder)])
    return folder


def test_every_state_on_every_display_is_there(made: Path) -> None:
    states = ["idle", "asking", "accepted", "charging", "fault", *(f"refused-{of}" for of in ("en", "de", "nl", "fr"))]
    expected = {f"{display}-{state}.png" for display in ("oled", "tft", "lcd") for state in states}
    assert {path.name for path in made.iterdir()} == expected


def test_documentation_has_exactly_those_pictures(made: Path) -> None:
    assert {path.name for path in IN_DOCS.glob("*.png")} == {path.name for path in made.iterdir()}


@pytest.mark.skipif(not PIL.__version__.startswith(DRAWN_WITH), reason=f"drawn with Pillow {DRAWN_WITH}x")
def test_pictures_in_the_documentation_are_up_to_date(made: Path) -> None:
    old = [path.name for path in made.iterdir() if not same(path, IN_DOCS / path.name)]
    assert old == [], "make pictures brings them up to date"


def same(one: Path, other: Path) -> bool:
    with Image.open(one) as first, Image.open(other) as second:
        return first.size == second.size and ImageChops.difference(first, second).getbbox() is None


def test_pictures_are_small(made: Path) -> None:
    assert sum(path.stat().st_size for path in made.iterdir()) < 400_000
