"""A contact on a GPIO pin that says whether the contactor's main contacts are closed: its auxiliary contact.

One that is mechanically linked to the main contacts ("mirror contact", IEC 60947-4-1 annex F) is a normally closed one:
it can't be closed while a main contact is welded. Wired to ground with a pull-up, a broken wire then reads as "the
contactor is closed", which is a fault and not a permission: hence active_high with pull "up".
"""

import asyncio
from collections.abc import Callable

from agent.errors import DeviceError
from agent.ports import ContactFeedback
from hw.inputs.gpio_pin import InputPin, Pull

LOOK_S = 1.0
"""How often the level is looked at without an edge: one that got lost must not hide a welded contact."""

REOPEN_S = 5.0
"""A pin that can't be had needs a person; this is soon enough after one has been there."""

UNSTEADY_S = 2.0
"""A contact bounces for milliseconds, and a contactor moves within a tenth of a second: longer, and the level says
nothing."""

MOST_BOUNCES = 5
"""With a long `debounce_s` a level that moves now and then takes as many of them to count as unsteady."""


class GpioContact:
    """Closed is one level of a pin, which has stood for `debounce_s` seconds.

    `what` names it in errors: "feedback of evse-1". `pin` is a BCM number, `active_high` says which level means that
    the contactor is closed, and `pull` which resistor of the controller gives the level of an open contact; "none"
    where the circuit has its own. A level that does not come to rest, as the hum on a broken wire, counts as lost.
    """

    def __init__(
        self,
        what: str,
        pin: int,
        *,
        active_high: bool,
        pull: Pull,
        debounce_s: float,
        look_s: float = LOOK_S,
        reopen_s: float = REOPEN_S,
        unsteady_s: float = UNSTEADY_S,
    ) -> None:
        self._what = what
        self._pin = pin
        self._active_high = active_high
        self._pull: Pull = pull
        self._debounce_s = debounce_s
        self._look_s = look_s
        self._reopen_s = reopen_s
        self._unsteady_s = max(unsteady_s, MOST_BOUNCES * debounce_s)

    async def run(self, on_contact: Callable[[bool], None], on_state: Callable[[bool, str], None]) -> None:
        """Watch until cancelled; see `agent.ports.ContactFeedback`. While it is lost, each new cause is told."""
        told: str | None = None

        def works() -> None:
            nonlocal told
            told = None
            on_state(True, f"GPIO{self._pin} is watched")  # noqa: FBT003  # the port's signature

        while True:
            try:
                with InputPin(self._what, self._pin, pull=self._pull) as pin:
                    if told is not None:
                        await self._until_other_than(None, pin)  # what was unsteady may be so still
                    await self._watch(pin, on_contact, works)
            except DeviceError as error:
                if str(error) != told:
                    told = str(error)
                    on_state(False, told)  # noqa: FBT003
            await asyncio.sleep(self._reopen_s)

    async def _watch(self, pin: InputPin, on_contact: Callable[[bool], None], works: Callable[[], None]) -> None:
        """Tell until the pin is gone, or its level does not come to rest. Raises DeviceError then."""
        closed = pin.high is self._active_high
        on_contact(closed)
        works()
        while True:
            await self._until_other_than(closed, pin)
            closed = not closed
            on_contact(closed)

    async def _until_other_than(self, known: bool | None, pin: InputPin) -> None:  # noqa: FBT001  # a sentence
        """Return when it is not as known, and has not moved for `debounce_s`. Raises DeviceError."""
        loop = asyncio.get_running_loop()
        restless_s = 0.0
        while restless_s < self._unsteady_s:
            closed, looked_at = pin.high is self._active_high, loop.time()
            rests = closed is known and not restless_s
            if await pin.moved(self._look_s if rests else self._debounce_s):
                # Of a longer time nobody knows whether it moved: the loop may just have come late.
                restless_s += min(loop.time() - looked_at, self._debounce_s)
            elif closed is not known and (pin.high is self._active_high) is closed:
                return
            else:
                restless_s = 0.0
        raise DeviceError(
            f"{self._what} on GPIO{self._pin} does not come to rest: check its wire and its contact,"
            " whether `pull` is right for the circuit, or raise debounce_s"
        )


_fits: type[ContactFeedback] = GpioContact
