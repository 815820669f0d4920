"""Draws text as a picture for a display of dots: pure, so that a picture can be looked at without one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from hw.outputs.picture_display_font import HEIGHT, WIDTH, glyph

_FINE = 8
"""How much larger a glyph is drawn before it is brought down to its size on a display with shades."""


@dataclass(frozen=True, slots=True)
class Look:
    """How text looks on one display: its picture is `width` x `height`, its text `columns` x `rows`."""

    columns: int
    rows: int
    width: int
    height: int
    shades: bool
    """Whether dots may be half lit: letters have smooth edges then."""
    ink: tuple[int, int, int] = (255, 255, 255)
    paper: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        """Raises ValueError where a letter would not be readable."""
        if self.cell[0] < WIDTH + 1 or self.cell[1] < HEIGHT:
            raise ValueError(
                f"{self.columns} x {self.rows} characters have no room on {self.width} x {self.height} dots: one takes"
                f" at least {WIDTH + 1} x {HEIGHT}"
            )

    @property
    def margin(self) -> int:
        """What is left free at each side; a small display has nothing to spare."""
        return self.width // 40 if self.shades else 0

    @property
    def cell(self) -> tuple[int, int]:
        """The room for one character."""
        return (self.width - 2 * self.margin) // self.columns, (self.height - 2 * self.margin) // self.rows

    @property
    def letter(self) -> tuple[int, int]:
        """The size of a glyph in its cell: upright, but at most twice as high as it was drawn."""
        wide, high = self.cell
        if self.shades:
            scale = min((wide - 1) / WIDTH, high / HEIGHT, (wide * 0.88) / WIDTH)
            return round(WIDTH * scale), min(round(HEIGHT * scale * 1.25), high)
        across = (wide - 1) // WIDTH
        return WIDTH * across, HEIGHT * min(high // HEIGHT, 2 * across)


def draw(lines: Sequence[str], look: Look) -> Image.Image:
    """The lines on the display: "RGB" with shades, else "1". What has no room is not drawn."""
    mask = Image.new("L", (look.width, look.height))
    (cell_wide, cell_high), (wide, high) = look.cell, look.letter
    left, top = (look.width - look.columns * cell_wide) // 2, (look.height - look.rows * cell_high) // 2
    for row, line in enumerate(lines[: look.rows]):
        for column, character in enumerate(line[: look.columns]):
            at = left + column * cell_wide + (cell_wide - wide) // 2, top + row * cell_high + (cell_high - high) // 2
            mask.paste(_letter(character, wide, high, shades=look.shades), at)
    if not look.shades:
        return mask.convert("1", dither=Image.Dither.NONE)
    return Image.composite(Image.new("RGB", mask.size, look.ink), Image.new("RGB", mask.size, look.paper), mask)


@lru_cache(maxsize=1024)
def _letter(character: str, wide: int, high: int, *, shades: bool) -> Image.Image:
    """One glyph in its size: with shades smoothed, else dot for dot."""
    dots = [[mark == "#" for mark in row] for row in glyph(character)]
    if shades:
        while len(dots) < HEIGHT * _FINE:
            dots = _rounded(dots)
        return _picture(dots).resize((wide, high), Image.Resampling.BOX)
    return _picture(dots).resize((wide, high), Image.Resampling.NEAREST)


def _picture(dots: list[list[bool]]) -> Image.Image:
    return Image.frombytes("L", (len(dots[0]), len(dots)), bytes(255 * dot for row in dots for dot in row))


def _rounded(dots: list[list[bool]]) -> list[list[bool]]:
    """Twice as large with rounded corners: each dot becomes four, and a corner goes to the two neighbours that agree.

    The rule is that of Scale2x (A. Mazzoleni).
    """

    def at(row: int, column: int) -> bool:
        return 0 <= row < len(dots) and 0 <= column < len(dots[0]) and dots[row][column]

    larger = list[list[bool]]()
    for row in range(len(dots)):
        pairs = [_quarters(at, row, column) for column in range(len(dots[0]))]
        larger.append([quarter for upper, _ in pairs for quarter in upper])
        larger.append([quarter for _, lower in pairs for quarter in lower])
    return larger


_Pair = tuple[bool, bool]


def _quarters(at: Callable[[int, int], bool], row: int, column: int) -> tuple[_Pair, _Pair]:
    centre = at(row, column)
    up, down, left, right = at(row - 1, column), at(row + 1, column), at(row, column - 1), at(row, column + 1)
    if up == down or left == right:
        return (centre, centre), (centre, centre)
    return (
        (left if left == up else centre, right if right == up else centre),
        (left if left == down else centre, right if right == down else centre),
    )
