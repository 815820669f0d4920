"""The composition root: builds the parts from a configuration, lets them run, and takes them down relay first."""

import asyncio
import gc
import logging
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from agent.books import housekeeping_of, left_open, owes, sealing_of
from agent.config import BillingSection, Config, policy_of
from agent.devices.displays import close_displays, display_of
from agent.devices.readers import read_cards
from agent.devices.relays import relays_of
from agent.devices.work import Work
from agent.model import Policy
from agent.onlooking import onlooking_of
from agent.peering import PeerTerms, client_of, configured, peer_of, reports_of, sync_of, terms_of
from agent.runtime.authorize import PeerBackend
from agent.runtime.charge_point import Settled
from agent.runtime.clock import Clock, system_clock, watch
from agent.runtime.membership import Member, Membership
from agent.runtime.peer import Peer
from agent.runtime.stop_desk import StopDesk
from agent.runtime.sync_schedule import Syncing, SyncSchedule
from agent.runtime.whitelist_repair import WhitelistRepair
from agent.service.facts import Lookout
from agent.service.notify import Notifier
from agent.service.reload import Changeable, Reload
from agent.service.watchdog import parts_of
from agent.service.watching import Watching
from agent.site import Means, Site, site_of
from agent.storage import Stores, stores_of

if TYPE_CHECKING:
    from agent.ocpi.server.asgi import Application
    from agent.panel.panel import Panel

log = logging.getLogger(__name__)

RESTART_S = 1.0
"""How soon a part that crashed is started again: at once would spin, a driver waits longer than this anyway."""


async def run_agent(config: Config, config_path: Path) -> None:
    """Run until SIGTERM, SIGINT or SIGQUIT; every relay is open when this returns or raises.

    SIGHUP reads the configuration anew: see `agent.service.reload`. Where there is a terminal it means that this has
    gone, and the agent stops.
    """
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(signum, stop.set)
    loop.add_signal_handler(signal.SIGHUP, stop.set if _has_terminal() else again.set)
    async with agent_of(config, config_path, notifier=Notifier.of(os.environ)) as agent:
        running = asyncio.create_task(agent.run())
        stopping = asyncio.create_task(stop.wait())
        reloading = asyncio.create_task(_supervise("reload", partial(_reload, agent, again)))
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, stopping, reloading):
            task.cancel()
        await asyncio.gather(running, stopping, reloading, return_exceptions=True)
        if not running.cancelled():
            running.result()  # it never ends by itself: whatever broke it must not pass for a good end
        if faulty := [uid for uid, evse in agent.evses.items() if evse.relay_fault]:
            log.critical("stopped; the relays of %s may be closed, see above", ", ".join(faulty))
        else:
            log.info("stopped; every relay is open")


def _has_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


async def _reload(agent: "Agent", again: asyncio.Event) -> None:
    while True:
        await again.wait()
        again.clear()
        await agent.reload()


class Agent:
    """All parts of one charge point, assembled. `run` lets them work until cancelled."""

    def __init__(
        self,
        site: Site,
        membership: Membership,
        services: Mapping[str, Work],
        backend: PeerBackend,
        stores: Stores,
        reload: Reload,
        on_ready: Callable[[], None],
        panel: "Panel | None" = None,
    ) -> None:
        """`services` run beside the taps, each by the name that the log gives it."""
        self.panel = panel
        self.reload = reload
        self.stores = stores
        self.evses = site.evses
        self.readers = [reader for reader, _ in site.readers]
        self._site = site
        self._membership = membership
        self._services = services
        self._backend = backend
        self._on_ready = on_ready

    @property
    def peers(self) -> Mapping[str, Peer]:
        """Who is asked about cards now, by name."""
        return self._membership.peers

    @property
    def syncs(self) -> Sequence[Syncing]:
        """What pulls each peer's tokens."""
        return self._membership.syncs

    async def run(self) -> None:
        """Until cancelled. A part that crashes opens its relay, is reported, and starts again; the others go on."""
        parts: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            *((f"EVSE {evse.evse_uid}", evse.run) for evse in self.evses.values()),
            *(
                (f"reader {reader.name}", lambda r=reader, o=outlets: read_cards(r, o))
                for reader, outlets in self._site.readers
            ),
            *self._site.works.items(),
            ("peers", self._membership.run),
            *self._services.items(),
        ]
        tasks = [asyncio.create_task(_supervise(name, part), name=name) for name, part in parts]
        # What stands now lives as long as the process: the collector need not look at it again on a tap's time.
        gc.collect()
        gc.freeze()
        log.info("ready: %d EVSE(s), %d reader(s), %d peer(s)", len(self.evses), len(self.readers), len(self.peers))
        self._on_ready()
        try:
            await asyncio.gather(*tasks)
        finally:
            await _stop_in_order(tasks)
            await self._backend.close()


@asynccontextmanager
async def agent_of(
    config: Config,
    config_path: Path,
    *,
    on_settled: Callable[[Settled], None] = lambda _: None,
    on_ready: Callable[[], None] = lambda: None,
    display_stream: TextIO | None = sys.stdout,
    notifier: Notifier | None = None,
    world: "Application | None" = None,
) -> AsyncIterator[Agent]:
    """Assemble an agent; on the way out every relay is open and every database closed.

    `world` is what a panel mounts below `/world/`, in the demo alone.

    Raises ConfigError, StoreError, DeviceError or BusyError before anything was started. Whatever it raises but
    BusyError, the relays are open: they come before all that a broken disk or a missing file could prevent.
    """
    policy = policy_of(config.policy)
    async with AsyncExitStack() as stack:
        relays = stack.enter_context(relays_of(config))
        fixed = configured(config, config_path)
        stores = await stack.enter_async_context(stores_of(config))
        clock = system_clock(trusted=config.clock.trusted)
        tariff = None
        if config.billing is not None:
            from agent.billing import tariff_of  # noqa: PLC0415  a megabyte that only those who bill need

            tariff = tariff_of(config, config_path)
        schedule = SyncSchedule(every=timedelta(minutes=config.sync.every_min))
        repair = WhitelistRepair(stores.whitelist, lambda: membership.syncs)
        tells = config.billing is not None or await owes(stores)
        membership = _membership_of(config, policy, stores, schedule, repair, tells=tells)
        stack.push_async_callback(membership.close)
        member_of = partial(_member_of, stores=stores, repair=repair, tells=tells)
        for terms in fixed:
            membership.add_fixed(terms.name, member_of(terms, config))
        await membership.look()
        backend = PeerBackend(membership.peers, late_window_s=policy.late_window_s, fair_share_s=policy.fair_share_s)
        stack.push_async_callback(repair.stop)
        services: dict[str, Work] = {"token synchronisation": schedule.run}
        if config.ocpi.server.enabled:
            from agent.serving import Serving  # noqa: PLC0415  its libraries cost 10 MB that the taps don't need

            serving = Serving(config, config_path, stores.peers, stores.whitelist, stores.sessions)
            services["OCPI server"] = serving.run
        watching = Watching(config, policy, clock)
        stack.enter_context(watching.log_counted())
        displays = {section.uid: display_of(section, display_stream) for section in config.evse}
        stack.callback(close_displays, displays.values())
        found = await left_open(config, stores, clock)
        onlooking = onlooking_of(config, config_path, policy=policy, clock=clock, stores=stores, world=world)
        site = site_of(
            config,
            Means(policy, stores, clock, tariff, onlooking.backend(watching.backend(backend))),
            relays=relays,
            displays=onlooking.displays(displays),
            found=found,
            on_settled=watching.settled(onlooking.settled(on_settled)),
            on_whitelist_fault=watching.whitelist_fault(repair.on_fault),
            lights=onlooking.lights,
            on_reading=onlooking.read,
        )
        lookout = Lookout(tuple(site.evses.values()), site.readers, membership.peers, stores.whitelist, stores.sessions)
        pulsing = parts_of(site.evses.values(), [reader for reader, _ in site.readers], stores)
        services |= watching.services(lookout, pulsing, notifier or Notifier(None))
        services |= onlooking.services(lookout, site.evses)
        services["clock"] = lambda: watch(clock)
        services["sealing"] = sealing_of(config, stores, clock).run
        services["housekeeping"] = housekeeping_of(config, stores, clock).run
        services["stop requests"] = StopDesk(stores.sessions, site.evses, now=clock.now).run
        if tells:
            services["delivery"] = _delivery_of(config.billing, stores, membership, clock)
        for relay in relays.values():
            stack.callback(relay.detach)  # here as well: before the wait for whatever closes slowly
        behind = [outlets for _, outlets in site.readers]
        parts = Changeable(
            tuple(site.evses.values()),
            behind,
            backend,
            membership,
            schedule,
            member_of,
            onlooking.use(watching.use),
            watching.reloading,
        )
        reload = Reload(config, config_path, fixed, parts)
        yield Agent(site, membership, services, backend, stores, reload, on_ready, onlooking.panel)


def _membership_of(
    config: Config, policy: Policy, stores: Stores, schedule: SyncSchedule, repair: WhitelistRepair, *, tells: bool
) -> Membership:
    async def settle(name: str) -> None:
        from agent.serving import registrar_of  # noqa: PLC0415  needed after an exchange that was cut off, else never

        await registrar_of(config, stores.peers).settle(name)

    return Membership(
        stores.peers,
        schedule,
        admit=lambda relation: _member_of(terms_of(relation, config), config, stores, repair, tells=tells),
        settle=settle,
        dismiss=stores.whitelist.withdraw_peer,
        supervise=_supervise,
        linger_s=policy.linger_s,
    )


def _member_of(terms: PeerTerms, config: Config, stores: Stores, repair: WhitelistRepair, *, tells: bool) -> Member:
    client = client_of(terms, config)
    reports = reports_of(terms, config) if tells else None
    sync = repair.watched(sync_of(terms, client, config, stores.whitelist, stores.folder))

    async def close() -> None:
        await client.aclose()
        if reports is not None:
            await reports.aclose()

    return Member(peer_of(terms, client, config), sync, reports, close)


async def _supervise(name: str, part: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await part()
        except (Exception, SystemExit):  # a library's exit() would break off the event loop and all orderly ways out
            log.critical("%s crashed and is started again in %.0f s", name, RESTART_S, exc_info=True)
            await asyncio.sleep(RESTART_S)
        else:
            return


async def _stop_in_order(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel everything, the EVSEs first: their relays open before anything else is waited for."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _delivery_of(billing: BillingSection | None, stores: Stores, membership: Membership, clock: Clock) -> Work:
    from agent.runtime.delivery import Delivery, DeliverySettings  # noqa: PLC0415  for those who bill

    settings = DeliverySettings()
    if billing is not None:
        settings = DeliverySettings(first_s=billing.retry_first_s, most_s=billing.retry_most_s)
    spread = random.Random()  # noqa: S311  only spreads retries
    return Delivery(stores.sessions, membership.reports, now=clock.now, settings=settings, random=spread).run
