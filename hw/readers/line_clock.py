"""The time on a line, by which the cards there come and go."""

import asyncio


class LineClock:
    """Loop time, without the times in which the loop was held up for so long that a held card would seem to be gone.

    A line brings nothing of its own times: what waited while the loop was held up all comes at once, after it. Whether
    it had been silent meanwhile is not known, and a card that is not known to be gone is still the same tap. So a
    silence of `quiet_s` seconds counts as one only when the loop has looked at its end, and found that nothing waits.
    """

    def __init__(self, quiet_s: float) -> None:
        """`quiet_s`: as long as a card takes to be gone."""
        self._quiet_s = quiet_s
        self._held_up_s = 0.0
        self._last_at = 0.0
        self._silence: asyncio.TimerHandle | None = None

    def heard(self, at: float) -> float:
        """Something came, at this loop time; when that is on the line. Only for a descriptor's callback.

        Those are called before the timers that are due in the same turn of the loop: one that was late finds here that
        the silence was none.
        """
        if self._silence is not None:
            self._silence.cancel()
            gap_s = at - self._last_at
            self._held_up_s += gap_s if gap_s >= self._quiet_s else 0.0
        self._last_at = at
        self._silence = asyncio.get_running_loop().call_at(at + self._quiet_s, self._was_silent)
        return at - self._held_up_s

    def stop(self) -> None:
        """The line is closed: until it is heard again time goes by as it does."""
        if self._silence is not None:
            self._silence.cancel()
        self._silence = None

    def _was_silent(self) -> None:
        self._silence = None
