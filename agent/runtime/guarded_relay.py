"""A relay that is opened until it is open: a contactor that stays closed is somebody else's electricity."""

import asyncio
import logging
from collections.abc import Callable

from agent.errors import DeviceError
from agent.ports import Relay

log = logging.getLogger(__name__)

RETRY_S = 0.5
"""How soon an opening that failed is tried again: a glitch is over by then, and nobody has driven away."""


class GuardedRelay:
    """Wraps one relay; `stuck` while it may be closed although it should be open."""

    def __init__(self, relay: Relay, evse_uid: str, *, on_open_at_last: Callable[[], None]) -> None:
        """`on_open_at_last` is called when a relay that was stuck is known to be open."""
        self._relay = relay
        self._evse_uid = evse_uid
        self._on_open_at_last = on_open_at_last
        self._retrying: asyncio.Task[None] | None = None

    @property
    def stuck(self) -> bool:
        """Whether the contact may still be closed against our will: nobody is accepted meanwhile."""
        return self._retrying is not None

    def close(self) -> bool:
        """Let current flow. False when the relay does not obey, or is still to be opened; it is opened then."""
        if self.stuck:
            return False
        try:
            self._relay.close_contact()
        except DeviceError as error:
            log.error("evse=%s the relay did not close: %s", self._evse_uid, error)
            self.open()
            return False
        return True

    def open(self) -> bool:
        """Cut the current, now or as soon as the relay obeys. False when that is not now."""
        if self._opened():
            return self._retrying is None
        if self._retrying is None:
            self._retrying = asyncio.get_running_loop().create_task(self._retry())
        return False

    def stop(self) -> None:
        """Try once more, and no longer."""
        if self._retrying:
            self._retrying.cancel()
            self._retrying = None
        self._opened()

    async def _retry(self) -> None:
        while not self._opened():  # noqa: ASYNC110  hardware has no event for it
            await asyncio.sleep(RETRY_S)
        log.warning("evse=%s the relay has opened at last", self._evse_uid)
        self._retrying = None
        self._on_open_at_last()

    def _not_opened(self, error: Exception, *, trace: Exception | None) -> None:
        log.log(
            logging.DEBUG if self.stuck else logging.CRITICAL,
            "evse=%s ALARM the relay may not have opened, check it now: %s", self._evse_uid, error, exc_info=trace,
        )  # fmt: skip

    def _opened(self) -> bool:
        try:
            self._relay.open_contact()
        except DeviceError as error:
            self._not_opened(error, trace=None)
            return False
        except Exception as error:  # noqa: BLE001  a fault of the driver must not end the trying: current may flow
            self._not_opened(error, trace=error)
            return False
        return True
