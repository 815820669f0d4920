"""What the drivers of each port promise, one sentence a behaviour: the rows of the table that ends a run.

The names are what a rig's `cannot` is keyed by. Each is tested by one function in the port's suite.
"""

from enum import StrEnum


class Reads(StrEnum):
    """`agent.ports.Reader`."""

    ONE_TAP = "a card is one tap with its uid"
    EVERY_BYTE = "every byte value of a uid survives"
    EVERY_LENGTH = "every uid length it knows"
    HELD = "a held card is one tap"
    BESIDE = "a second card beside it is a tap"
    AGAIN = "taken away and held again is a second tap"
    RANDOM = "a random uid is marked"
    BAD_FRAME = "a bad frame is counted and no tap"
    CARRIES = "a tap carries reader, raw bytes and a time that is now"
    MISSING = "missing at start is said once, with what to do"
    COMES_BACK = "comes back by itself, then reads"
    UNPLUGGED = "unplugged with a card on it: no second tap out of nothing"
    CANCELLED = "cancelling gives the device back"
    LISTENER_FAILS = "an error of who gets the taps ends it"


class Shows(StrEnum):
    """`agent.ports.Display`."""

    SIZE = "says its size and its characters"
    LINES = "shows lines"
    REPLACES = "a new text replaces the old one"
    CUT = "what does not fit is cut"
    CHARACTERS = "characters it lacks never harm it"
    NEVER_WAITS = "1,000 texts keep nobody waiting, the last is seen"
    AWAY = "a device that was away shows the newest text"
    CLOSED = "closed, it shows nothing more"


class Switches(StrEnum):
    """`agent.ports.Relay`, and `RelayBoard` where there is one."""

    NEW_OPEN = "a new one is open"
    MOVES = "closing and opening moves the contact"
    SAME = "saying the same again moves nothing"
    DETACH = "detaching opens, and may be done twice"
    DETACHED = "detached, it never closes"
    LEFT_CLOSED = "a new driver opens what was left closed"
    UNPLUGGED = "unplugged, it is said to be lost and does not close"
    COMES_BACK_OPEN = "a board that comes back is open"


class Indicates(StrEnum):
    """`agent.ports.Indicator`."""

    EVERY_SIGNAL = "takes every signal and returns at once"
    TELLS_APART = "accepted and refused are told apart"
    NEWEST = "the newest signal wins"
    BROKEN = "a broken device harms nobody, and is used once it is back"
    DARK = "dark and silent at the end"


class Senses(StrEnum):
    """`agent.ports.PlugSensor`, and `ContactFeedback` which promises the same of a contactor."""

    AS_IT_IS = "tells how it is before it counts as working"
    EACH_CHANGE = "tells each change"
    BOUNCE = "bounces are left out"
    LOST = "lost is said once, with what to do"
    COMES_BACK = "back by itself: how it is, then that it works"
    CANCELLED = "cancelling gives the device back"


class Measures(StrEnum):
    """`agent.ports.Meter`."""

    READS = "reads the register before it counts as working"
    FOLLOWS = "follows what is drawn"
    BAD_ANSWER = "a broken reading is none"
    LOST = "lost is said once, with what to do"
    COMES_BACK = "back by itself, then reads"
    CANCELLED = "cancelling gives the device back"
