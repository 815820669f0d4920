"""What the world can't do. Neither is a fault of the agent's.

Exception
├── NoPowerError         the charge point has none
└── UnknownThingError    there is no such EVSE, card or weather
"""


class NoPowerError(Exception):
    """The charge point has no power, so nothing of it answers."""


class UnknownThingError(Exception):
    """There is no such EVSE, card or weather; the text names those that there are."""
