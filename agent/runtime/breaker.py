"""When a peer is no longer asked: pure state, driven by what asking and probing came to."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    """Opens after `failures` silences in a row; 0 never opens.

    A probe that finds the peer again only puts it on trial: the next tap is asked, and a single silence opens
    it anew. So a peer whose list is quick but whose authorize is slow costs one driver a retry, not one in
    every few. Only an answer to a real question closes it for good.
    """

    failures: int
    is_open: bool = field(default=False, init=False)
    _in_a_row: int = field(default=0, init=False)
    _on_trial: bool = field(default=False, init=False)

    def answered(self) -> bool:
        """A real question was answered in time. Returns whether this closed it."""
        was_open, self.is_open = self.is_open, False
        self._in_a_row, self._on_trial = 0, False
        return was_open

    def probed(self) -> bool:
        """A probe was answered. Returns whether this closed it, on trial."""
        was_open, self.is_open = self.is_open, False
        if was_open:
            self._on_trial = True
        if not self._on_trial:
            self._in_a_row = 0
        return was_open

    def silent(self) -> bool:
        """A question or a probe was not answered in time. Returns whether this opened it."""
        self._in_a_row += 1
        enough = self._on_trial or self._in_a_row >= self.failures
        if self.is_open or not self.failures or not enough:
            return False
        self.is_open, self._on_trial = True, False
        return True
