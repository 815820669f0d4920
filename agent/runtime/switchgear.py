"""What switches the current of one EVSE, as one device: the relay, its board, and the feedback of the contactor.

It is lost while any of them gives cause, and back when none does. What is lost does not close.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from enum import StrEnum
from typing import assert_never

from agent.core.contact import Finding
from agent.ports import Relay
from agent.runtime.contact_watch import ContactWatch
from agent.runtime.guarded_relay import GuardedRelay

log = logging.getLogger(__name__)

OUT_OF_ORDER_S = 6.0
"""How long a relay that did not close, and is open, keeps the EVSE out of order: time to read it, and to cool down."""


MARGIN_S = 0.1
"""A contact that may be welded is not closed over before that is known."""


class Cause(StrEnum):
    """Why it is lost: the words of the record."""

    NOT_CLOSED = "the relay did not close"
    STUCK = "the relay has not opened since it was last told to"
    BOARD = "the relay's board does not answer"
    MISSING = "the contactor does not close although it was told to, or has dropped out (missing)"
    WELDED = "the contactor does not open although it was told to (welded)"
    FEEDBACK = "the contactor's feedback is lost, and nobody can say whether it is open"


_MENDED_BY_TIME = frozenset({Cause.NOT_CLOSED, Cause.MISSING})
"""What is open may be tried again, whether it did not close or only its contactor did not."""


class Switchgear:
    """`close` and `open` as `GuardedRelay`; a loss or a return that is not the answer to one of them is called out."""

    def __init__(
        self,
        relay: Relay,
        evse_uid: str,
        *,
        on_lost: Callable[[], None],
        on_back: Callable[[], None],
        forbids: Callable[[], str | None] = lambda: None,
        min_off_s: float = 0.0,
    ) -> None:
        """`forbids` and `min_off_s` are as in `GuardedRelay`."""
        self._evse_uid = evse_uid
        self._on_lost = on_lost
        self._on_back = on_back
        self._causes: set[Cause] = set()
        self._feedback_works = True
        self._repair: asyncio.TimerHandle | None = None
        self._contact = ContactWatch(self._found)
        self._relay = GuardedRelay(
            relay, evse_uid, on_open_at_last=lambda: self._mended(Cause.STUCK), on_not_closed=self._not_closed_late,
            on_commanded=lambda closed: self._contact.commanded(closed=closed),
            forbids=lambda: self.detail or forbids(), min_off_s=min_off_s,
        )  # fmt: skip

    @property
    def is_lost(self) -> bool:
        """Whether nothing may be switched on."""
        return bool(self._causes)

    @property
    def detail(self) -> str:
        """Why it is lost, for the record; empty when it is not."""
        return "; ".join(cause for cause in Cause if cause in self._causes)

    @property
    def may_be_closed(self) -> bool:
        """Whether current may flow, wanted or not."""
        return self._relay.may_be_closed or self._contact.may_be_closed

    def close(self) -> bool:
        """Let current flow, at once or after the minimum time off. False when it is lost, which it may be now."""
        if self._causes:
            return False
        due_at = self._contact.due_at
        if self._relay.close(-math.inf if due_at is None else due_at + MARGIN_S):
            return True
        self._not_closed()
        return False

    def open(self) -> bool:
        """Cut the current, now or as soon as the relay obeys. False when it is lost."""
        if not self._relay.open():
            self._causes.add(Cause.STUCK)
        if not self._feedback_works:
            self._causes.add(Cause.FEEDBACK)
        return not self._causes

    def rest(self) -> None:
        """Nothing is tried again that only needs time; what has failed in earnest stays."""
        if self._repair is not None:
            self._repair.cancel()
            self._repair = None
        self._causes -= _MENDED_BY_TIME

    def stop(self) -> None:
        """Try to open once more, and no longer; watch no more."""
        self._relay.stop()
        self._contact.stop()

    # ---- what is reported

    def board_is(self, *, works: bool) -> None:
        """The board's own word. One that is back has opened its contact."""
        if works:
            self._mended(Cause.BOARD)
        else:
            self._lose(Cause.BOARD, "check its cable; what a car draws now is seen at the charge point alone")

    def contact_is(self, *, closed: bool) -> None:
        """The feedback's word."""
        self._contact.seen(closed=closed)

    def feedback_is(self, *, works: bool) -> None:
        """Without its feedback a charge goes on: ending it would tell nobody whether the contact has opened.

        No other begins, for whether the contactor is welded then is not known: decision 0016.
        """
        if self._feedback_works is works:
            return
        self._feedback_works = works
        if works:
            self._mended(Cause.FEEDBACK)
            return
        self._contact.seen(closed=None)
        log.critical("evse=%s ALARM %s: check its wire and its pin", self._evse_uid, Cause.FEEDBACK)
        if not self._relay.may_be_closed:  # a closing that waits has not begun, and must not
            self._add(Cause.FEEDBACK)

    def _found(self, finding: Finding) -> None:
        match finding:
            case Finding.WELDED:
                self._lose(
                    Cause.WELDED,
                    "current may flow: switch the EVSE off at its breaker, replace the contactor; "
                    "so since the first start: relay.feedback.active_high is the wrong way round",
                )
            case Finding.MISSING:
                self._lose(Cause.MISSING, "check the contactor's coil and its supply")
            case Finding.FINE:
                if Cause.MISSING in self._causes:
                    self._mend_later()
                self._mended(Cause.WELDED)
            case never:
                assert_never(never)

    # ---- lost and found

    def _not_closed(self) -> None:
        if self._relay.stuck:
            self._causes.add(Cause.STUCK)
            return
        self._causes.add(Cause.NOT_CLOSED)
        self._mend_later()

    def _not_closed_late(self) -> None:
        if not self._causes:  # else it was not even tried
            self._not_closed()
        self._on_lost()

    def _mend_later(self) -> None:
        if self._repair is not None:
            self._repair.cancel()
        self._repair = asyncio.get_running_loop().call_later(OUT_OF_ORDER_S, self._mended, *_MENDED_BY_TIME)

    def _lose(self, cause: Cause, advice: str) -> None:
        if cause not in self._causes:
            log.critical("evse=%s ALARM %s: %s", self._evse_uid, cause, advice)
        self._add(cause)

    def _add(self, cause: Cause) -> None:
        self._causes.add(cause)
        self._on_lost()

    def _mended(self, *causes: Cause) -> None:
        if self._causes.isdisjoint(causes):
            return
        self._causes.difference_update(causes)
        if not self._causes:
            self._on_back()
