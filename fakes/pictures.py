"""Makes the pictures of what a driver sees, by the real drivers on displays that are not there: `docs/pictures`.

`python -m fakes.pictures [folder]`, or `make pictures`. Every picture comes out the same each time, dot for dot, as
long as Pillow is: a change of a text or of a driver is seen as a change of a picture.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from luma.core.device import dummy
from PIL import Image, ImageDraw

from agent.core.evse_effects import Text
from agent.core.texts import notice, text_for
from agent.errors import DeviceError
from agent.model import Decision, DisplayText, Reason, Source, Verdict
from agent.ports import Display
from agent.runtime.idle_screen import IdleScreen
from fakes.hd44780 import CharacterLcd
from hw.outputs.character_display import CharacterDisplay
from hw.outputs.picture_display import PictureDisplay
from hw.outputs.picture_display_font import glyph

FOLDER = Path("docs/pictures")

_DRAWN_WITHIN_S = 60.0
"""Against hangs alone."""

_PEERS_WORDS = {
    "en": "Your card is blocked because an invoice is unpaid. Please call us on 0800 123456, day and night.",
    "de": "Ihre Karte ist gesperrt, weil eine Rechnung offen ist. Rufen Sie uns bitte an: 0800 123456, Tag und Nacht.",
    "nl": "Uw pas is geblokkeerd omdat er nog een factuur openstaat. Bel ons op 0800 123456, dag en nacht.",
    "fr": "Votre carte est bloquée car une facture n'est pas réglée. Appelez-nous au 0800 123456, jour et nuit.",
}
_IDLE = IdleScreen("Market Car Park", lambda: datetime(2026, 11, 23, 14, 5))  # noqa: DTZ001  # what a watch shows


@dataclass(frozen=True, slots=True)
class Subject:
    """One display, and how it is photographed."""

    name: str
    display: Display
    settle: Callable[[float], bool]
    photograph: Callable[[], Image.Image]


def _windows(display: Display) -> Iterator[tuple[str, list[Sequence[str]]]]:
    """Each state's name, and what stands on the display in it: of a text that scrolls, its beginning and its end."""

    def told(what: Text) -> tuple[str, ...]:
        return notice(
            what, language="en", columns=display.columns, rows=display.rows, charset=display.charset, whole=True
        )

    def decided(decision: Decision, language: str, then: Text | None = None) -> tuple[str, ...]:
        return text_for(
            decision,
            then=then,
            language=language,
            columns=display.columns,
            rows=display.rows,
            charset=display.charset,
            whole=True,
        )

    yield "idle", [_IDLE.pages(display, "en")[0]]
    yield "asking", [told(Text.ASKING)]
    yield "accepted", [decided(Decision(Verdict.ACCEPTED, Reason.WHITELISTED, Source.WHITELIST), "en", Text.CHARGING)]
    for language, words in _PEERS_WORDS.items():
        blocked = Decision(Verdict.REFUSED, Reason.BLOCKED, Source.REALTIME, info=DisplayText(language, words))
        lines = decided(blocked, language)
        yield f"refused-{language}", [lines[: display.rows], lines[-display.rows :]]
    yield "charging", [told(Text.CHARGING)]
    yield "fault", [told(Text.OUT_OF_ORDER)]


def _oled() -> Subject:
    device = dummy(width=128, height=64, mode="1")
    display = PictureDisplay("OLED", chip="ssd1306", columns=20, rows=4, make=lambda: device, look_after=_there)

    def photograph() -> Image.Image:
        lit = device.image.convert("L").resize((384, 192), Image.Resampling.NEAREST)
        return _framed(_coloured(lit, ink=(150, 215, 255), paper=(0, 0, 0)), (24, 24, 27))

    return Subject("oled", display, display.settle, photograph)


def _tft() -> Subject:
    device = dummy(width=320, height=240, mode="RGB")
    display = PictureDisplay(
        "TFT",
        chip="ili9341",
        columns=16,
        rows=5,
        width=320,
        height=240,
        make=lambda: device,
        look_after=_there,
    )
    return Subject("tft", display, display.settle, lambda: _framed(device.image.copy(), (24, 24, 27)))


def _lcd() -> Subject:
    lcd = CharacterLcd(columns=20, rows=4, rom="a00")
    display = CharacterDisplay("LCD", bus=1, address=0x27, columns=20, rows=4, rom="a00", open_bus=lcd.open_bus)
    return Subject("lcd", display, display.settle, lambda: _framed(_dots(lcd.glass), (18, 72, 52)))


def _there() -> None:
    """The display that is not there never goes away."""


_DOT, _STEP = 3, 4
"""A dot of the glass, and from one to the next."""
_ACROSS, _DOWN = 5 * _STEP + 4, 8 * _STEP + 5
_EDGE = 14
_WITHOUT_TAIL = {
    "g": "...../...../.####/#...#/.####/....#/.###.",
    "j": "...#./...../..##./...#./...#./#..#./.##..",
    "p": "...../...../####./#...#/####./#..../#....",
    "q": "...../...../.##.#/#..##/.####/....#/....#",
    "y": "...../...../#...#/#...#/.####/....#/.###.",
    ",": "...../...../...../...../.##../..#../.#...",
}
"""How the chip squeezes what our font gives a tail."""


def _dots(glass: Sequence[str]) -> Image.Image:
    """A glass of 5 x 8 dots a character, white on blue; a dot that is off is seen a little, as it is."""
    size = (len(glass[0]) * _ACROSS - 4 + 2 * _EDGE, len(glass) * _DOWN - 5 + 2 * _EDGE)
    picture = Image.new("RGB", size, (24, 62, 200))
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(glass):
        for column, character in enumerate(line):
            for y, dots in enumerate(_eight_rows(character)):
                for x, dot in enumerate(dots):
                    left, top = _EDGE + column * _ACROSS + x * _STEP, _EDGE + row * _DOWN + y * _STEP
                    colour = (236, 244, 255) if dot == "#" else (34, 74, 212)
                    pen.rectangle((left, top, left + _DOT - 1, top + _DOT - 1), fill=colour)
    return picture


def _eight_rows(character: str) -> Sequence[str]:
    """The chip has no room above a capital, and none for a tail: the eighth row is the cursor's."""
    own = _WITHOUT_TAIL.get(character)
    return [*own.split("/"), "....."] if own else glyph(character)[2:10]


def _coloured(mask: Image.Image, *, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Image.Image:
    return Image.composite(Image.new("RGB", mask.size, ink), Image.new("RGB", mask.size, paper), mask)


def _framed(picture: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """In its case."""
    frame = Image.new("RGB", (picture.width + 32, picture.height + 32), (255, 255, 255))
    pen = ImageDraw.Draw(frame)
    pen.rounded_rectangle((0, 0, frame.width - 1, frame.height - 1), radius=12, fill=colour)
    frame.paste(picture, (16, 16))
    return frame


def _stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """One above the other, as they are seen one after the other."""
    gap = 10
    wide = max(picture.width for picture in pictures)
    sheet = Image.new("RGB", (wide, sum(p.height + gap for p in pictures) - gap), (255, 255, 255))
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height + gap
    return sheet


def _photographs(subject: Subject, lines: Sequence[Sequence[str]]) -> Iterator[Image.Image]:
    for window in lines:
        subject.display.show(window)
        if not subject.settle(_DRAWN_WITHIN_S):
            raise DeviceError(f"the {subject.name} did not show its text within {_DRAWN_WITHIN_S:.0f} s")
        yield subject.photograph()


def make(folder: Path) -> list[Path]:
    """Make every picture in the folder; which ones. Raises OSError where it can't be written."""
    folder.mkdir(parents=True, exist_ok=True)
    made = list[Path]()
    for subject in (_oled(), _tft(), _lcd()):
        for state, windows in _windows(subject.display):
            path = folder / f"{subject.name}-{state}.png"
            _stacked([*_photographs(subject, windows)]).save(path, optimize=True)
            made.append(path)
        subject.display.close(_DRAWN_WITHIN_S)
    return made


def main(arguments: Sequence[str]) -> None:
    """Make them in the folder that is named, or where they belong."""
    for path in make(Path(arguments[0]) if arguments else FOLDER):
        sys.stdout.write(f"{os.fspath(path)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
