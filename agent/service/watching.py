"""Lets others watch over the agent: systemd always, and a monitoring system where `[monitoring]` is configured.

What nobody watches costs nothing: without that table its modules are not imported, and nothing is counted.
"""
# ruff: noqa: PLC0415  see above

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from agent import __version__
from agent.config import Config
from agent.devices.work import Work
from agent.errors import StoreError
from agent.model import Policy
from agent.ports import Backend, Pulsing
from agent.runtime.charge_point import Settled
from agent.runtime.clock import Clock
from agent.service.facts import Facts, Lookout
from agent.service.notify import Notifier
from agent.service.status import Attendance

if TYPE_CHECKING:
    from agent.service.metrics import Metrics

_T = TypeVar("_T")


class Watching:
    """Stands between what happens in the agent and those who want to know. `lookout` is set before anything works."""

    def __init__(self, config: Config, policy: Policy, clock: Clock) -> None:
        self._section = config.monitoring
        self._clock = clock
        self._metrics: Metrics | None = None
        self._lookout: Lookout | None = None
        self._attendance: Attendance | None = None
        if self._section is not None:
            from agent.service import metrics

            self._metrics = metrics.Metrics(self._facts, policy=policy, clock=clock, version=__version__)

    def log_counted(self) -> AbstractContextManager[object]:
        """Within this, the lines of the log are counted."""
        return nullcontext() if self._metrics is None else self._metrics.log_counted()

    def backend(self, backend: Backend) -> Backend:
        """The same, watched."""
        return backend if self._metrics is None else self._metrics.counted(backend)

    def settled(self, then: Callable[[Settled], None]) -> Callable[[Settled], None]:
        """What to tell of each tap that is over; it tells `then` as well."""
        return then if self._metrics is None else _both(self._metrics.settled, then)

    def whitelist_fault(self, then: Callable[[StoreError], None]) -> Callable[[StoreError], None]:
        """What to tell of a whitelist that can't be read; it tells `then` as well."""
        return then if self._metrics is None else _both(self._metrics.whitelist_fault, then)

    def use(self, policy: Policy) -> None:
        """The policy is another one from now on."""
        if self._metrics is not None:
            self._metrics.use(policy)

    def reloading(self) -> AbstractContextManager[None]:
        """Within this, the configuration is read anew."""
        return nullcontext() if self._attendance is None else self._attendance.reloading()

    def services(self, lookout: Lookout, parts: Mapping[str, Pulsing], notifier: Notifier) -> dict[str, Work]:
        """What works beside the taps. Raises ConfigError for a place to listen that can't be."""
        self._lookout = lookout
        metrics, section = self._metrics, self._section
        on_round = (lambda: None) if metrics is None else metrics.watchdog_round
        self._attendance = attendance = Attendance(lookout, parts, notifier, self._clock.now, on_round)
        works: dict[str, Work] = {"status": attendance.run, "watchdog": attendance.watch}
        if metrics is not None and section is not None:
            from agent.service.monitoring import Monitoring, health_of, place_of

            place = place_of(section.listen, allow_remote=section.allow_remote)
            health = lambda: health_of(self._facts(), metrics.rounds, attendance.silent)  # noqa: E731
            works["monitoring"] = Monitoring(place, text=metrics.text, health=health).run
        return works

    def _facts(self) -> Facts:
        assert self._lookout is not None, "services come before whoever asks"
        return self._lookout.facts()


def _both(first: Callable[[_T], None], then: Callable[[_T], None]) -> Callable[[_T], None]:
    def tell(what: _T) -> None:
        first(what)
        then(what)

    return tell
