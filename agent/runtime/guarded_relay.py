"""A relay that is opened until it is open: a contactor that stays closed is somebody else's electricity.

And that is closed no sooner than it may be: after its minimum time off, and while nothing forbids it.
"""

import asyncio
import logging
import math
from collections.abc import Callable

from agent.errors import DeviceError
from agent.ports import Relay

log = logging.getLogger(__name__)

RETRY_S = 0.5
"""How soon an opening that failed is tried again: a glitch is over by then, and nobody has driven away."""


class GuardedRelay:
    """Wraps one relay; `stuck` while it may be closed although it should be open."""

    def __init__(
        self,
        relay: Relay,
        evse_uid: str,
        *,
        on_open_at_last: Callable[[], None],
        on_not_closed: Callable[[], None] = lambda: None,
        on_commanded: Callable[[bool], None] = lambda _closed: None,
        forbids: Callable[[], str | None] = lambda: None,
        min_off_s: float = 0.0,
    ) -> None:
        """`on_open_at_last` is called when a relay that was stuck is known to be open.

        A contact that was open for less than `min_off_s`, or since this object was made, closes when that is over;
        `on_not_closed` is called when it then does not. `forbids` says why it may not close at all.
        """
        self._relay = relay
        self._evse_uid = evse_uid
        self._on_open_at_last = on_open_at_last
        self._on_not_closed = on_not_closed
        self._on_commanded = on_commanded
        self._forbids = forbids
        self._min_off_s = min_off_s
        self._closes_not_before = asyncio.get_running_loop().time() + min_off_s if min_off_s else -math.inf
        self._waiting: asyncio.TimerHandle | None = None
        self._retrying: asyncio.Task[None] | None = None
        self._may_be_closed = False

    @property
    def stuck(self) -> bool:
        """Whether the contact may still be closed against our will: nobody is accepted meanwhile."""
        return self._retrying is not None

    @property
    def may_be_closed(self) -> bool:
        """Whether it was commanded closed and has not obeyed an opening since."""
        return self._may_be_closed or self.stuck

    @property
    def is_off(self) -> bool:
        """Whether it is open and no closing waits."""
        return not self.may_be_closed and self._waiting is None

    def close(self, not_before: float = -math.inf) -> bool:
        """Let current flow, at once or when the minimum time off is over, and not before that loop time.

        False when the relay does not obey, is still to be opened, or must stay open; it is opened then.
        """
        if self.stuck:
            return False
        loop = asyncio.get_running_loop()
        due_at = max(self._closes_not_before, not_before)
        if loop.time() >= due_at or self.may_be_closed:
            return self._closed()
        if self._waiting is None:
            log.info("evse=%s the relay closes in %.1f s: it was open too short", self._evse_uid, due_at - loop.time())
            self._waiting = loop.call_at(due_at, self._close_at_last)
        return True

    def open(self) -> bool:
        """Cut the current, now or as soon as the relay obeys. False when that is not now."""
        self._wait_no_more()
        self._on_commanded(False)  # noqa: FBT003  # a state
        if self._opened():
            return self._retrying is None
        if self._retrying is None:
            self._retrying = asyncio.get_running_loop().create_task(self._retry())
        return False

    def stop(self) -> None:
        """Try once more, and no longer."""
        self._wait_no_more()
        if self._retrying:
            self._retrying.cancel()
            self._retrying = None
        self._opened()

    def _closed(self) -> bool:
        forbidden = self._forbids()
        if forbidden is not None:
            log.error("evse=%s the relay is not closed: %s", self._evse_uid, forbidden)
            return False
        self._may_be_closed = True
        try:
            self._relay.close_contact()
        except DeviceError as error:
            log.error("evse=%s the relay did not close: %s", self._evse_uid, error)
            self.open()
            return False
        self._on_commanded(True)  # noqa: FBT003  # a state
        return True

    def _close_at_last(self) -> None:
        self._waiting = None
        closed = False
        try:
            closed = self._closed()
        finally:  # whatever it was: an EVSE that believes in a closed relay bills for nothing
            if not closed:
                self._on_not_closed()

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

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
        if self._may_be_closed:
            self._may_be_closed = False
            if self._min_off_s:
                self._closes_not_before = asyncio.get_running_loop().time() + self._min_off_s
        return True
