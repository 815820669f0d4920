"""Stands between the agent's parts and the panel: where no `[panel]` is configured, everything passes through.

What imports the panel is here, within the functions that need it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent import __version__
from agent.config import Config, PanelSection
from agent.devices.work import Work
from agent.model import MeterReading, Policy
from agent.ports import Backend, Display, Indicator
from agent.runtime.charge_point import EvseTapLoop, Settled
from agent.runtime.clock import Clock
from agent.service.facts import Lookout
from agent.storage import Stores

if TYPE_CHECKING:
    from agent.ocpi.server.asgi import Application
    from agent.panel.panel import Panel
    from agent.panel.place import Place

_T = TypeVar("_T")


class Onlooking:
    """The panel, or none."""

    def __init__(self, panel: "Panel | None" = None) -> None:
        self.panel = panel

    def backend(self, backend: Backend) -> Backend:
        """The same, watched."""
        return backend if self.panel is None else self.panel.backend(backend)

    def displays(self, displays: Mapping[str, Display]) -> Mapping[str, Display]:
        """The same by their EVSE's uid, watched."""
        if self.panel is None:
            return displays
        return {uid: self.panel.displays(uid, display) for uid, display in displays.items()}

    def lights(self, evse_uid: str) -> Sequence[Indicator]:
        """Lights beside those that are fitted."""
        return () if self.panel is None else (self.panel.indicators(evse_uid),)

    def read(self, evse_uid: str, reading: MeterReading) -> None:
        """An EVSE's meter has said something."""
        if self.panel is not None:
            self.panel.read(evse_uid, reading)

    def settled(self, then: Callable[[Settled], None]) -> Callable[[Settled], None]:
        """What to tell of each tap that is over; it tells `then` first."""
        return then if self.panel is None else _both(self.panel.settled, then)

    def use(self, then: Callable[[Policy], None]) -> Callable[[Policy], None]:
        """What to tell of each policy that is taken over; it tells `then` first."""
        return then if self.panel is None else _both(self.panel.use, then)

    def services(self, lookout: Lookout, evses: Mapping[str, EvseTapLoop]) -> dict[str, Work]:
        """What works beside the taps."""
        if self.panel is None:
            return {}
        self.panel.look_at(lookout, evses)
        return {"panel": self.panel.run}


def onlooking_of(
    config: Config,
    config_path: Path,
    *,
    policy: Policy,
    clock: Clock,
    stores: Stores,
    world: "Application | None",
) -> Onlooking:
    """By its `[panel]`; the panel mounts `world`. Raises ConfigError for an address or a file that can't be used."""
    if config.panel is None:
        return Onlooking()
    from agent.panel.panel import Panel  # noqa: PLC0415  for those who look

    place = place_of_panel(config.panel, config_path)
    panel = Panel(
        place, policy=policy, clock=clock, version=__version__, whitelist=stores.whitelist, journal=stores.journal,
        sessions=stores.sessions, folder=stores.folder, world=world,
        refuse_random={reader.name: reader.random_uids == "refuse" for reader in config.reader},
    )  # fmt: skip
    return Onlooking(panel)


def place_of_panel(section: PanelSection, config_path: Path) -> "Place":
    """Where it is to listen, and to whom. Raises ConfigError for an address or a file that can't be used."""
    from agent.panel.place import place_of  # noqa: PLC0415  for those who look

    def file(name: str | None) -> Path | None:
        return None if name is None else config_path.parent / name

    return place_of(
        section.listen, allow_remote=section.allow_remote, login_file=file(section.login_file),
        tls_certificate=file(section.tls_certificate), tls_key=file(section.tls_key), allow_http=section.allow_http,
    )  # fmt: skip


def _both(first: Callable[[_T], None], second: Callable[[_T], None]) -> Callable[[_T], None]:
    def tell(value: _T) -> None:
        second(value)
        first(value)

    return tell
