"""The composition root: builds the parts from a configuration, lets them run, and takes them down relay first."""

import asyncio
import fcntl
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from agent.config import Config, EvseSection, ReaderSection, RelaySection, policy_of
from agent.core.uid import UidFormat
from agent.errors import BusyError, DeviceError, StoreError
from agent.model import EndReason, Policy, Tap
from agent.peering import PeerTerms, client_of, configured, peer_of, sync_of, terms_of
from agent.ports import Reader, ReaderState
from agent.runtime.authorize import PeerBackend
from agent.runtime.charge_point import EvseTapLoop, Settled
from agent.runtime.membership import Member, Membership
from agent.runtime.peer import Peer
from agent.runtime.sync_schedule import Syncing, SyncSchedule
from agent.runtime.whitelist_repair import WhitelistRepair
from agent.store.database import open_state
from agent.store.journal import Journal
from agent.store.peers import PeerStore
from agent.store.whitelist import Whitelist
from hw.outputs.console_display import ConsoleDisplay
from hw.outputs.gpio_relay import GpioRelay
from hw.readers.frames import FrameKind
from hw.readers.serial_reader import SerialReader

log = logging.getLogger(__name__)

RESTART_S = 1.0
"""How soon a part that crashed is started again: at once would spin, a driver waits longer than this anyway."""

DISPLAYS_CLOSE_S = 1.0
"""How long the end waits for the last texts to be read."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The two databases, open, and nobody else's while they are."""

    whitelist: Whitelist
    journal: Journal
    peers: PeerStore
    folder: Path


async def run_agent(config: Config, config_path: Path) -> None:
    """Run until SIGTERM, SIGINT, SIGHUP or SIGQUIT; every relay is open when this returns or raises."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        loop.add_signal_handler(signum, stop.set)
    async with agent_of(config, config_path) as agent:
        running = asyncio.create_task(agent.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
        if not running.cancelled():
            running.result()  # it never ends by itself: whatever broke it must not pass for a good end
        log.info("stopped; every relay is open")


def open_relays(relays: Sequence[RelaySection], folder: Path | None) -> list[str]:
    """Open each relay: after an agent that was killed, for some kernels keep a pin's level. Returns what failed, named.

    Every relay is tried, whatever becomes of the others. Raises BusyError while an agent is running on the databases
    in `folder`, which alone may switch then; that this can't be found out hinders nothing.
    """
    with ExitStack() as stack:
        try:
            if folder is not None:
                stack.enter_context(alone_in(folder))
        except StoreError as error:
            log.warning("whether an agent is running can't be told, the relays are opened all the same: %s", error)
        faults = []
        for relay in relays:
            try:
                GpioRelay(relay.gpio, active_high=relay.active_high).detach()
            except DeviceError as error:
                faults.append(str(error))
        return faults


class Agent:
    """All parts of one charge point, assembled. `run` lets them work until cancelled."""

    def __init__(
        self,
        evses: Sequence[EvseTapLoop],
        readers: Sequence[tuple[Reader, EvseTapLoop]],
        membership: Membership,
        services: Mapping[str, Callable[[], Awaitable[None]]],
        backend: PeerBackend,
        stores: Stores,
        on_ready: Callable[[], None],
    ) -> None:
        """`services` run beside the taps, each by the name that the log gives it."""
        self.stores = stores
        self.evses = {evse.evse_uid: evse for evse in evses}
        self.readers = [reader for reader, _ in readers]
        self._membership = membership
        self._services = services
        self._readers = readers
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
            *((f"reader {reader.name}", lambda r=reader, e=evse: _read(r, e)) for reader, evse in self._readers),
            ("peers", self._membership.run),
            *self._services.items(),
        ]
        tasks = [asyncio.create_task(_supervise(name, part), name=name) for name, part in parts]
        # What stands now lives as long as the process: the collector need not look at it again on a tap's time.
        gc.collect()
        gc.freeze()
        log.info("ready: %d EVSE(s), %d reader(s), %d peer(s)", len(self.evses), len(self._readers), len(self.peers))
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
    display_stream: TextIO = sys.stdout,
) -> AsyncIterator[Agent]:
    """Assemble an agent; on the way out every relay is open and every database closed.

    Raises ConfigError, StoreError, DeviceError or BusyError before anything was started. Whatever it raises but
    BusyError, the relays are open: they come before all that a broken disk or a missing file could prevent.
    """
    policy = policy_of(config.policy)
    async with AsyncExitStack() as stack:
        relays = stack.enter_context(_relays_of(config))
        fixed = configured(config, config_path)
        stores = await stack.enter_async_context(stores_of(config))
        interrupted = await stores.journal.close_open(datetime.now(UTC), EndReason.RESTART)
        if interrupted:
            log.warning("%d authorization(s) were running when the agent last ended; they are ended", interrupted)
        schedule = SyncSchedule(every=timedelta(minutes=config.sync.every_min))
        repair = WhitelistRepair(stores.whitelist, lambda: membership.syncs)
        membership = _membership_of(config, policy, stores, schedule, repair)
        stack.push_async_callback(membership.close)
        for terms in fixed:
            membership.add_fixed(terms.name, _member_of(terms, config, stores, repair))
        await membership.look()
        fair_share_s = (policy.deadline_s - policy.reserve_s) / 2
        backend = PeerBackend(membership.peers, late_window_s=policy.late_window_s, fair_share_s=fair_share_s)
        stack.push_async_callback(repair.stop)
        services = {"token synchronisation": schedule.run}
        if config.ocpi.server.enabled:
            from agent.serving import Serving  # noqa: PLC0415  its libraries cost 10 MB that the taps don't need

            serving = Serving(config, config_path, stores.peers, stores.whitelist)
            services["OCPI server"] = serving.run
        displays = {section.uid: _display(section, display_stream) for section in config.evse}
        stack.callback(_close, displays.values())
        evses = {}
        for section in config.evse:
            evses[section.uid] = EvseTapLoop(
                section.uid,
                location_id=config.location.id,
                language=section.language or config.location.language,
                policy=policy,
                relay=relays[section.uid],
                display=displays[section.uid],
                whitelist=stores.whitelist,
                backend=backend,
                journal=stores.journal,
                now=lambda: datetime.now(UTC),
                on_settled=on_settled,
                on_whitelist_fault=repair.on_fault,
            )
        readers = [
            (_reader(reader), evses[section.uid])
            for section in config.evse
            for reader in config.reader
            if reader.name in section.readers
        ]
        for relay in relays.values():
            stack.callback(relay.detach)  # here as well: before the wait for whatever closes slowly
        yield Agent(list(evses.values()), readers, membership, services, backend, stores, on_ready)


def _membership_of(
    config: Config, policy: Policy, stores: Stores, schedule: SyncSchedule, repair: WhitelistRepair
) -> Membership:
    async def settle(name: str) -> None:
        from agent.serving import registrar_of  # noqa: PLC0415  needed after an exchange that was cut off, else never

        await registrar_of(config, stores.peers).settle(name)

    return Membership(
        stores.peers,
        schedule,
        admit=lambda relation: _member_of(terms_of(relation, config), config, stores, repair),
        settle=settle,
        dismiss=stores.whitelist.withdraw_peer,
        supervise=_supervise,
        linger_s=policy.deadline_s + policy.late_window_s,
    )


def _member_of(terms: PeerTerms, config: Config, stores: Stores, repair: WhitelistRepair) -> Member:
    client = client_of(terms, config)
    sync = repair.watched(sync_of(terms, client, config, stores.whitelist, stores.folder))
    return Member(peer_of(terms, client, config), sync, client.aclose)


def storage_folder(config: Config) -> Path:
    """The directory of the databases, made if need be. Raises StoreError."""
    folder = Path(config.storage.directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: can't be made: {error}; see storage.directory in the configuration") from error
    return folder


@asynccontextmanager
async def stores_of(config: Config) -> AsyncIterator[Stores]:
    """Both databases; the caller holds the folder's lock. Raises StoreError."""
    folder = storage_folder(config)
    async with AsyncExitStack() as stack:
        state = await open_state(folder / "state.db")
        stack.push_async_callback(state.close)
        whitelist = await Whitelist.open(folder / "whitelist.db")
        stack.push_async_callback(whitelist.close)
        yield Stores(whitelist, Journal(state), PeerStore(state), folder)


@contextmanager
def _relays_of(config: Config) -> Iterator[dict[str, GpioRelay]]:
    """The relays by EVSE, open, while no other agent has the databases; open and given back on every way out.

    Raises BusyError with every pin untouched; StoreError and DeviceError when all relays that can be are open.
    """
    sections = [evse.relay for evse in config.evse]
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_in(storage_folder(config)))
        except StoreError:
            # No agent can run here, so there is none to disturb.
            for fault in open_relays(sections, None):
                log.error("%s", fault)
            raise
        relays = {}
        try:
            for evse in config.evse:
                relays[evse.uid] = GpioRelay(evse.relay.gpio, active_high=evse.relay.active_high)
                stack.callback(relays[evse.uid].detach)
        except DeviceError:
            for fault in open_relays(sections[len(relays) + 1 :], None):
                log.error("%s", fault)
            raise
        yield relays


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, as an agent does while it runs.

    Two agents that switch one relay would each open it under the other's driver. The lock is the directory's own: to
    take it, nothing needs to be written. Raises BusyError when another process holds it, StoreError when it can't be
    had at all.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"{folder}: can't be opened: {error}; the agent's user must be able to read it") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(f"{folder}: another agent is running on these databases; stop it first") from None
    except OSError as error:
        os.close(fd)
        raise StoreError(f"{folder}: can't be locked: {error}; use a local disk") from error
    try:
        yield
    finally:
        os.close(fd)


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


async def _read(reader: Reader, evse: EvseTapLoop) -> None:
    def on_tap(tap: Tap) -> None:
        evse.tap(tap)

    def on_state(state: ReaderState, advice: str) -> None:
        missing = state is ReaderState.MISSING
        log.log(logging.WARNING if missing else logging.INFO, "reader %s: %s", reader.name, advice)
        evse.reader_is(reader.name, missing=missing)

    await reader.run(on_tap, on_state)


def _reader(section: ReaderSection) -> SerialReader:
    uid_format = UidFormat(
        keep_last=section.uid_bytes, reverse=section.uid_reversed, decimal_digits=section.uid_decimal_digits
    )
    return SerialReader(
        section.name,
        section.port,
        kind=FrameKind(section.kind),
        to_uid=uid_format.to_uid,
        baudrate=section.baudrate,
        removal_s=section.removal_s,
        reopen_s=section.reopen_s,
    )


def _display(section: EvseSection, stream: TextIO) -> ConsoleDisplay:
    shape = section.display
    return ConsoleDisplay(stream, columns=shape.columns, rows=shape.rows, charset=shape.charset, label=section.uid)


def _close(displays: Iterable[ConsoleDisplay]) -> None:
    """Let the last texts be written; one that nobody reads holds up the end for no more than a second, all together."""
    until = time.monotonic() + DISPLAYS_CLOSE_S
    for display in displays:
        display.close(max(0.0, until - time.monotonic()))
