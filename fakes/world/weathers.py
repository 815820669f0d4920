"""The peer's weather by the words of the page, and which of the fake eMSP's weathers each is."""

from collections.abc import Mapping
from types import MappingProxyType

from fakes.emsp import FINE, Kind, Weather, slow

_SLOW_S = 1.0
"""Long enough to read on the display that somebody is asked, and well within the deadline."""

FINE_WEATHER = "fine"
REFUSING = "refusing"

WEATHERS: Mapping[str, Weather] = MappingProxyType(
    {
        FINE_WEATHER: FINE,
        "slow": slow(_SLOW_S),
        "silent": Weather(Kind.SILENT),
        "down": Weather(Kind.DOWN),
        # It refuses us, not the card: what cards are refused for is in the wallet.
        REFUSING: Weather(Kind.FORBIDDEN),
        "nonsense": Weather(Kind.HTML_200),
    }
)
"""In the order of the page."""
