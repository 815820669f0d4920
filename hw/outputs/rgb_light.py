"""A light of red, green and blue on three GPIO pins, each on or off.

Importing gpiozero takes a tenth of a second: import this where such a light is configured.
"""

from collections.abc import Callable

from agent.model import Signal
from agent.ports import Indicator
from hw.outputs.pattern_player import REOPEN_S, PatternPlayer
from hw.outputs.patterns import LIGHT, Colour, State


class RgbLight:
    """Shows what happens in colour and rhythm. The pins are BCM numbers; dark while `run` is not at work."""

    def __init__(
        self,
        label: str,
        *,
        red: int,
        green: int,
        blue: int,
        active_high: bool = True,
        tempo: float = 1.0,
        reopen_s: float = REOPEN_S,
    ) -> None:
        """`label` names it in what is told: "light of evse-1". `tempo` is as in `PatternPlayer`."""
        self.player = PatternPlayer(
            label, {"red": red, "green": green, "blue": blue}, active_high=active_high, table=LIGHT, levels=_levels,
            off=Colour.DARK, tempo=tempo, reopen_s=reopen_s,
        )  # fmt: skip

    def indicate(self, signal: Signal) -> None:
        """Show this; see `agent.ports.Indicator`."""
        self.player.indicate(signal)

    async def run(self, on_state: Callable[[bool, str], None]) -> None:
        """Play until cancelled; then it is dark. `on_state` is told whether the pins can be had."""
        await self.player.run(on_state)


def _levels(state: State) -> tuple[bool, bool, bool]:
    assert isinstance(state, Colour)
    return state.rgb


_fits: type[Indicator] = RgbLight
