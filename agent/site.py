"""The EVSEs of a configuration, each with the devices that are fitted to it and the readers before it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.books import evse_settings, ledger_of
from agent.charges import Open
from agent.config import Config, EvseSection, slowdown_of
from agent.devices.displays import idle_screen_of, lamps_of
from agent.devices.inputs import inputs_of
from agent.devices.readers import lamps_of_readers, reader_of
from agent.devices.relays import watches_of
from agent.devices.work import Work
from agent.errors import StoreError
from agent.model import MeterReading, Policy
from agent.ports import Backend, Display, Indicator, Reader, Relay
from agent.runtime.charge_point import EvseTapLoop, Settled
from agent.runtime.clock import Clock
from agent.runtime.interlock import Interlock
from agent.runtime.outlets import Outlets
from agent.storage import Stores

if TYPE_CHECKING:
    from agent.ocpi.tariffs import Tariff


@dataclass(frozen=True, slots=True)
class Means:
    """What the EVSEs have in common: by what they decide, record and bill."""

    policy: Policy
    stores: Stores
    clock: Clock
    tariff: "Tariff | None"
    backend: Backend


@dataclass(frozen=True, slots=True)
class Site:
    """What stands at the kerb, assembled; nothing of it works yet."""

    evses: Mapping[str, EvseTapLoop]
    """By their uid."""
    readers: tuple[tuple[Reader, Outlets], ...]
    works: Mapping[str, Work]
    """Plugs, meters, contactors and lamps, each by the name that the log gives it."""


def site_of(
    config: Config,
    means: Means,
    *,
    relays: Mapping[str, Relay],
    displays: Mapping[str, Display],
    found: Mapping[str, Open],
    on_settled: Callable[[Settled], None],
    on_whitelist_fault: Callable[[StoreError], None],
    lights: Callable[[str], Sequence[Indicator]],
    on_reading: Callable[[str, MeterReading], None],
) -> Site:
    """Assemble the EVSEs; relays, displays and what the last start left open are by their uid.

    `lights` gives an EVSE's lights beside those that are fitted, `on_reading` hears of each EVSE's meter.
    """
    readers = {section.name: reader_of(section) for section in config.reader}
    names = {evse.relay.interlock for evse in config.evse} - {None}
    interlocks = {name: Interlock(name) for name in names if name is not None}
    outlets: list[Outlets] = []
    works: dict[str, Work] = {}

    def settled(tap: Settled) -> None:
        for behind in outlets:
            behind.settled(tap)
        on_settled(tap)

    def evse_of(section: EvseSection) -> EvseTapLoop:
        indicators: list[Indicator] = [*lamps_of_readers(config, section, readers)]
        for name, lamp, play in lamps_of(section):
            indicators.append(lamp)
            works[name] = play
        indicators += lights(section.uid)
        return EvseTapLoop(
            section.uid,
            location_id=config.location.id,
            language=section.language or config.location.language,
            policy=means.policy,
            settings=evse_settings(config, section),
            relay=relays[section.uid],
            display=displays[section.uid],
            whitelist=means.stores.whitelist,
            backend=means.backend,
            journal=means.stores.journal,
            ledger=ledger_of(config, section, means.tariff, means.stores, means.clock),
            clock=means.clock,
            found=found.get(section.uid),
            on_settled=settled,
            on_whitelist_fault=on_whitelist_fault,
            idle=idle_screen_of(config, section, means.clock),
            scroll=section.display.scroll,
            indicators=indicators,
            interlock=interlocks.get(section.relay.interlock or ""),
            min_off_s=section.relay.min_off_s,
        )

    evses = {section.uid: evse_of(section) for section in config.evse}
    for name in readers:
        behind = [evses[section.uid] for section in config.evse if name in section.readers]
        outlets.append(Outlets(behind, reader=name, slowdown=slowdown_of(config.slowdown)))
    for section in config.evse:
        works |= dict(watches_of(section, relays[section.uid], evses[section.uid]))
    works |= inputs_of(config, evses, _registers(found), on_reading)
    return Site(evses, tuple(zip(readers.values(), outlets, strict=True)), works)


def _registers(found: Mapping[str, Open]) -> dict[str, int]:
    """By EVSE, the last reading of a session that was left open."""
    return {
        uid: left.session.register_wh
        for uid, left in found.items()
        if left.session is not None and left.session.register_wh is not None
    }
