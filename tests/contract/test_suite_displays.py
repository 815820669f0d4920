"""Every display's behaviours (`agent.ports.Display`), over every driver; `test_display.py` has what single ones add."""

from agent.ports import Charset
from tests.contract.behaviours import Shows
from tests.contract.offers import HANG_S
from tests.contract.rigs.kinds import AskedDisplayRig, DisplayRig
from tests.contract.suite import over

HOSTILE = ["grün €\U0001f600\x00", "\x1b[2J\r\n\t\x7f\xff", "Ωмир日本", "\ud800 é"]
"""Accents, an emoji, what a terminal obeys, other scripts, and half a surrogate pair."""


def rows_of(rig: DisplayRig, *lines: str) -> tuple[str, ...]:
    """These lines as a display of its height has them."""
    return tuple([*lines, *[""] * rig.display.rows][: rig.display.rows])


async def reads(rig: DisplayRig, *lines: str) -> bool:
    """Whether these lines are seen, and nothing else."""
    if isinstance(rig, AskedDisplayRig):
        return await rig.confirms(f"does it show exactly {' / '.join(lines)!r} (each line by itself)")
    return rig.seen() == rows_of(rig, *lines)


async def reads_nowhere(rig: DisplayRig, text: str) -> bool:
    """Whether a text is not to be seen."""
    if isinstance(rig, AskedDisplayRig):
        return await rig.confirms(f"is it free of {text!r}")
    return not any(text in row for row in rig.seen())


@over(Shows.SIZE)
async def test_a_display_says_its_size_and_its_characters(rig: DisplayRig) -> None:
    assert rig.display.columns >= 8
    assert rig.display.rows >= 1
    assert rig.display.charset in Charset
    assert len(rig.seen()) == rig.display.rows


@over(Shows.LINES)
async def test_a_display_shows_lines(rig: DisplayRig) -> None:
    lines = [f"Line {row}" for row in range(rig.display.rows)]
    rig.display.show(lines)
    await rig.settle()
    assert await reads(rig, *lines)


@over(Shows.REPLACES)
async def test_a_new_text_replaces_the_old_one(rig: DisplayRig) -> None:
    rig.display.show(["X" * rig.display.columns] * rig.display.rows)
    await rig.settle()
    rig.display.show(["Ready"])
    await rig.settle()
    assert await reads(rig, "Ready")


@over(Shows.CUT)
async def test_what_does_not_fit_is_cut(rig: DisplayRig) -> None:
    rig.display.show(["X" * (rig.display.columns + 5)] * (rig.display.rows + 3))
    await rig.settle()
    assert await reads(rig, *["X" * rig.display.columns] * rig.display.rows)


@over(Shows.CHARACTERS)
async def test_characters_that_a_display_lacks_never_harm_it(rig: DisplayRig) -> None:
    for hostile in HOSTILE:
        rig.display.show([hostile] * rig.display.rows)
        await rig.settle()
        assert all(len(row) <= rig.display.columns for row in rig.seen())
    rig.display.show(["Ready"])
    await rig.settle()
    assert await reads(rig, "Ready")


@over(Shows.NEVER_WAITS)
async def test_a_thousand_texts_keep_nobody_waiting_and_the_last_is_seen(rig: DisplayRig) -> None:
    for number in range(1000):
        rig.display.show([f"No {number}"])
    await rig.settle()
    assert await reads(rig, "No 999")


@over(Shows.AWAY)
async def test_a_display_that_was_away_shows_the_newest_text(rig: DisplayRig) -> None:
    rig.display.show(["Before"])
    await rig.settle()
    await rig.unplug()
    for number in range(1000):
        rig.display.show([f"No {number}"])
    await rig.plug()
    await rig.settle()
    assert await reads(rig, "No 999")


@over(Shows.CLOSED)
async def test_a_closed_display_shows_nothing_more(rig: DisplayRig) -> None:
    rig.display.show(["Before"])
    rig.display.close(HANG_S)
    rig.display.show(["After"])
    rig.display.close(HANG_S)
    assert await reads_nowhere(rig, "After")
