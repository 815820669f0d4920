"""What may go to a display that obeys control sequences, and how wide it is there."""

import unicodedata


def visible(line: str, columns: int) -> str:
    """As much as has room in `columns`, all of it to be seen: a control character in a peer's text becomes a blank."""
    shown, left = "", columns
    for character in line:
        left -= _width(character)
        if left < 0:
            break
        shown += character if character.isprintable() else " "
    return shown


def padded(line: str, columns: int) -> str:
    """The line, with blanks behind it up to `columns`."""
    return line + " " * (columns - sum(map(_width, line)))


def _width(character: str) -> int:
    """Columns of one character: marks over a letter take none, East Asian wide characters two."""
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
