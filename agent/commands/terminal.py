"""What a peer, a card or an error says, made harmless for the terminal of whoever reads it."""

import json
import re

_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: escape sequences begin with them, in the C1 half as well
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u180e"  # invisible, or changing how their neighbours are drawn
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero-width, line ends, bidirectional controls
    "\ud800-\udfff\U000e0000-\U000e0fff]"  # half characters, which no terminal can be sent; tags
)


def harmless(text: object) -> str:
    r"""One line, in which every character that a terminal would obey, hide or reorder by stands as its `\u001b`."""
    return _HARMFUL.sub(_escape, str(text))


def json_text(value: object, *, indent: int | None = None) -> str:
    """The value as JSON that reads the same for a program, and is harmless to a terminal."""
    lines = json.dumps(value, ensure_ascii=False, indent=indent).split("\n")
    return "\n".join(harmless(line) for line in lines)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(match[0])[1:-1]
