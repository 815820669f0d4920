"""A buzzer that sounds while its GPIO pin is on: one with a tone of its own, not a loudspeaker.

Importing gpiozero takes a tenth of a second: import this where a buzzer is configured.
"""

from collections.abc import Callable

from agent.model import Signal
from agent.ports import Indicator
from hw.outputs.pattern_player import REOPEN_S, PatternPlayer
from hw.outputs.patterns import SOUND, State


class Buzzer:
    """Sounds what happens. `gpio` is a BCM number; silent while `run` is not at work."""

    def __init__(
        self, label: str, *, gpio: int, active_high: bool = True, tempo: float = 1.0, reopen_s: float = REOPEN_S
    ) -> None:
        """`label` names it in what is told: "buzzer of evse-1". `tempo` is as in `PatternPlayer`."""
        self.player = PatternPlayer(
            label,
            {"buzzer": gpio},
            active_high=active_high,
            table=SOUND,
            levels=_levels,
            off=False,
            tempo=tempo,
            reopen_s=reopen_s,
        )

    def indicate(self, signal: Signal) -> None:
        """Sound this; see `agent.ports.Indicator`."""
        self.player.indicate(signal)

    async def run(self, on_state: Callable[[bool, str], None]) -> None:
        """Play until cancelled; then it is silent. `on_state` is told whether the pin can be had."""
        await self.player.run(on_state)


def _levels(state: State) -> tuple[bool]:
    return (state is True,)


_fits: type[Indicator] = Buzzer
