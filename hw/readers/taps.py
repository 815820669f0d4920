"""From a card's bytes to its tap: the part that is the same for every reader that sends a card as a whole."""

import logging
from collections.abc import Callable

from agent.model import Tap, Uid
from hw.readers.presence import Presence
from hw.readers.uids import is_cut, is_random

log = logging.getLogger(__name__)

_RANDOM = "random"
"""All random uids of a reader are one card to `Presence`. No uid is lower case."""


class Taps:
    """Makes the taps of one reader: names each card, and taps once for one that is held.

    `to_uid` names a card by its bytes; where it raises ValueError the card is dropped and counted, with one warning for
    each time it is held there. `removal_s` and `debounce_s` are as in `Presence`. `flag_random` is for readers of
    ISO 14443 cards: a random uid is marked in its tap, and one that is cut, as `is_cut` finds, is no tap.
    `sends_reversed`: the reader sends a card's last byte first. That is turned round before all else, for what a uid
    says of itself it says in the card's own order.
    """

    def __init__(
        self,
        reader: str,
        to_uid: Callable[[bytes], Uid],
        removal_s: float,
        debounce_s: float,
        *,
        flag_random: bool,
        sends_reversed: bool = False,
    ) -> None:
        self._reader = reader
        self._to_uid = to_uid
        self._flag_random = flag_random
        self._sends_reversed = sends_reversed
        self._presence = Presence(removal_s, debounce_s)
        self._unnamed = Presence(removal_s, debounce_s)
        self.dropped = 0
        """How often a card without a uid came."""

    def tap(self, sent: bytes, at: float, line_at: float) -> Tap | None:
        """The tap that a card begins; None for one that is held, or can't be named.

        `at` is the loop time, `line_at` the same by which the card comes and goes: see `LineClock`.
        """
        raw = sent[::-1] if self._sends_reversed else sent
        try:
            uid = self._named(raw)
        except ValueError as error:
            self.dropped += 1
            if self._unnamed.seen(raw.hex(), line_at):
                log.warning("reader %s: a card does not fit the reader's uid settings: %s", self._reader, error)
            return None
        random = self._flag_random and is_random(raw)
        if not self._presence.seen(_RANDOM if random else uid, line_at):
            return None
        return Tap(uid=uid, at=at, reader=self._reader, raw=raw, is_random=random)

    def _named(self, raw: bytes) -> Uid:
        if self._flag_random and is_cut(raw):
            raise ValueError("it gives only the first part of a longer uid; set the reader to uids of 7 and 10 bytes")
        return self._to_uid(raw)
