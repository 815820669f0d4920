"""When a peer is no longer asked: pure state, driven by what asking and probing came to, and by the time it is."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Breaker:
    """Opens after `failures` silences in a row; 0 never opens.

    Questions and probes are counted apart, for they ask different things: a probe fetches a list. A peer whose
    list is fine but whose authorize hangs must not be asked at every tap, and one whose list is broken but whose
    authorize answers must not be given up. So:

    - silent questions open it, and answered probes do not forgive them;
    - failed probes open it too, before a driver has to find out, until a question was answered meanwhile: then
      they say nothing about questions, and are ignored until one succeeds;
    - an answered probe closes it on trial, where probes had noticed the outage; a single silence reopens it;
    - while it is open, one question is let through every now and then, ever more rarely the more of them fail.

    Times are loop times, in seconds.
    """

    failures: int
    trial_first_s: float = 2.0
    trial_most_s: float = 900.0
    """A driver who is the trial waits for the whole deadline: one in a quarter of an hour is enough."""
    is_open: bool = field(default=False, init=False)
    _silences: int = field(default=0, init=False)
    _failed_probes: int = field(default=0, init=False)
    _on_trial: bool = field(default=False, init=False)
    _probes_mislead: bool = field(default=False, init=False)
    _probes_noticed: bool = field(default=False, init=False)
    """A probe has failed since the trouble began, so that a probe that succeeds means something."""
    _trial_wait_s: float = field(default=0.0, init=False)
    _trial_at: float = field(default=0.0, init=False)

    def lets_through(self, now: float) -> bool:
        """Whether to ask. While open, the question that this lets through is the trial: the next has to wait."""
        if not self.is_open:
            return True
        if now < self._trial_at:
            return False
        self._trial_at = now + self._trial_wait_s
        return True

    def answered(self) -> bool:
        """A question was answered in time. Returns whether this closed it."""
        was_open, self.is_open = self.is_open, False
        self._probes_mislead = self._failed_probes > 0
        self._silences, self._on_trial, self._trial_wait_s = 0, False, 0.0
        return was_open

    def silent(self, now: float) -> bool:
        """A question was not answered in time. Returns whether this opened it."""
        if self.is_open:
            self._put_off(now)
            return False
        self._silences += 1
        if not self.failures or not (self._on_trial or self._silences >= self.failures):
            return False
        self._open(now)
        return True

    def probed(self) -> bool:
        """A probe was answered. Returns whether this closed it, on trial."""
        self._failed_probes, self._probes_mislead = 0, False
        if not (self.is_open and self._probes_noticed):
            return False
        self.is_open, self._on_trial = False, True
        return True

    def probe_failed(self, now: float) -> bool:
        """A probe was not answered in time. Returns whether this opened it."""
        self._failed_probes += 1
        self._probes_noticed = True
        if self.is_open or self._probes_mislead or not self.failures or self._failed_probes < self.failures:
            return False
        self._open(now)
        return True

    def _open(self, now: float) -> None:
        self.is_open, self._on_trial = True, False
        self._probes_noticed = self._failed_probes > 0
        self._put_off(now)

    def _put_off(self, now: float) -> None:
        self._trial_wait_s = min(max(2 * self._trial_wait_s, self.trial_first_s), self.trial_most_s)
        self._trial_at = now + self._trial_wait_s
