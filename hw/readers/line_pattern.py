"""Regular expressions from the configuration that may be let loose on whatever a line brings.

Python's `re` tries every way to split a text up between the repeats of a pattern before it gives up: `([0-9A-F]+)+`
takes years for one long line of noise, with the event loop standing still. So a pattern is taken only when those ways
are few: no repeat around what may be split up differently itself, and few repeats that can trade characters.
"""

import re

MAX_LINE = 256
"""Characters a line may have. Readers send 8 to 40; longer is noise or another device."""

MAX_WAYS = (MAX_LINE + 1) ** 3
"""Three open repeats in a row: at worst some tenths of a second for a line, and far less for any real one."""

_TOKEN = re.compile(
    r"""
      (?P<escape>   \\. )
    | (?P<set>      \[ \^? \]? (?: \\. | [^\]\\] )* \] )
    | (?P<open>     \( (?: \?: | \?P<\w+> )? (?!\?) )
    | (?P<close>    \) )
    | (?P<repeat>   (?: [*+?] | \{ (?=[\d,]) \d* (?: , \d* )? \} ) [+?]? )
    | (?P<or>       \| )
    | (?P<other>    (?! \(\? ) . )
    """,
    re.VERBOSE | re.DOTALL,
)


def checked_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern, ready for use on a whole line. Raises ValueError, saying what to write instead.

    What `re` knows may be used, but for look-around, inline flags and conditions, and for repeats that cost too much.
    """
    try:
        compiled = re.compile(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is no regular expression: {error}") from error
    if _ways(pattern) > MAX_WAYS:
        raise ValueError(
            "a line could be split up in too many ways between its repeats: give them counts, as [0-9]{10}, "
            "or make them possessive, as .*+"
        )
    return compiled


def _ways(pattern: str) -> int:
    """At least the number of ways to split one line up between the parts of the pattern, or more than `MAX_WAYS`."""
    outer: list[int] = []  # for each open group, the ways of what stands before it
    before, part, at = 1, 1, 0  # the ways of the open group so far, and of the part that a repeat now would repeat
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            raise ValueError("only plain (…), (?:…) and (?P<name>…) groups can be used, without look-around or flags")
        at = token.end()
        if token.lastgroup == "repeat":
            part = min(_repeated(part, token.group()), MAX_WAYS + 1)
            continue
        before, part = before * part, 1
        if token.lastgroup == "open":
            outer.append(before)
            before = 1
        elif token.lastgroup == "close":
            before, part = outer.pop(), before
        elif token.lastgroup == "or":
            before *= 2
        before = min(before, MAX_WAYS + 1)
    return before * part


def _repeated(part: int, repeat: str) -> int:
    """The ways of a part, repeated. A possessive repeat, as `*+`, never gives back what it took."""
    fewest, most = _bounds(repeat)
    return int(part**most) * (1 if repeat[1:].endswith("+") else most - fewest + 1)


def _bounds(repeat: str) -> tuple[int, int]:
    match repeat[0]:
        case "*":
            return 0, MAX_LINE
        case "+":
            return 1, MAX_LINE
        case "?":
            return 0, 1
    fewest, comma, most = repeat[1 : repeat.index("}")].partition(",")
    if not comma:
        return int(fewest), int(fewest)
    # A count beyond the longest line can't be met and costs nothing more.
    return min(int(fewest or 0), MAX_LINE), min(int(most or MAX_LINE), MAX_LINE)
