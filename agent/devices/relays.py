"""The relays: opened at start, opened at the end, and watched over where a cable leads to them."""
# ruff: noqa: PLC0415  a driver and its library are imported where such a relay is fitted

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, assert_never, runtime_checkable

from agent.config import Config, EvseSection, GpioRelaySection, HidRelaySection, LcusRelaySection, RelaySection
from agent.config.device_checks import is_named
from agent.devices import relays_in_use
from agent.devices.work import Work, lost_when_it_fails
from agent.errors import DeviceError, StoreError
from agent.ports import ContactFeedback, Relay, RelayBoard
from agent.runtime.charge_point import EvseTapLoop
from agent.storage import alone_in, storage_folder

if TYPE_CHECKING:
    from hw.outputs.serial_relay import SerialRelayLine

log = logging.getLogger(__name__)


@runtime_checkable
class _Watched(Protocol):
    async def run(self, on_state: Callable[[bool, str], None]) -> None: ...


class RelayWays:
    """Makes the driver of each relay; those of one USB board share its line."""

    def __init__(self) -> None:
        self._lines: dict[str, SerialRelayLine] = {}

    def relay_of(self, section: RelaySection) -> Relay:
        """The driver, open. Raises DeviceError when there is no way to the relay."""
        match section:
            case GpioRelaySection():
                from hw.outputs.gpio_relay import GpioRelay

                return GpioRelay(section.gpio, active_high=section.active_high)
            case LcusRelaySection():
                from hw.outputs.serial_relay import SerialRelay, SerialRelayLine

                if section.port not in self._lines:
                    self._lines[section.port] = SerialRelayLine(section.port, baudrate=section.baudrate)
                return SerialRelay(self._lines[section.port], channel=section.channel)
            case HidRelaySection():
                from hw.outputs.hid_relay import HidRelay

                return HidRelay(channel=section.channel, serial=section.serial)
            case never:
                assert_never(never)


def open_relays(relays: Sequence[RelaySection], folder: Path | None, ways: RelayWays | None = None) -> list[str]:
    """Open each relay: after an agent that was killed, for some kernels keep a pin's level. Returns what failed, named.

    Every relay is tried, whatever becomes of the others; an error that is no DeviceError comes out after that. Raises
    BusyError while an agent is running on the databases in `folder`, which alone may switch then; that this can't be
    found out hinders nothing. `ways` are those that other relays are already reached by.
    """
    with ExitStack() as stack:
        try:
            if folder is not None:
                stack.enter_context(alone_in(folder))
        except StoreError as error:
            log.warning("whether an agent is running can't be told, the relays are opened all the same: %s", error)
        faults: list[str] = []
        ways = ways or RelayWays()
        for relay in reversed(relays):  # what was put there last is called first, and none keeps the next from it
            stack.callback(_open, relay, ways, faults)
    return faults


def _open(relay: RelaySection, ways: RelayWays, faults: list[str]) -> None:
    try:
        ways.relay_of(relay).detach()
    except DeviceError as error:
        faults.append(str(error))


@contextmanager
def relays_of(config: Config) -> Iterator[dict[str, Relay]]:
    """The relays by EVSE, open, while no other agent has the databases; open and given back on every way out.

    Raises BusyError with every relay untouched; StoreError, DeviceError and whatever else keeps a relay from being
    made when all relays that can be are open.
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
        relays: dict[str, Relay] = {}
        ways = RelayWays()
        relays_in_use.note([*sections, *_still_left(config, ways)])
        stack.callback(_forget_what_is_open, config, relays)
        to_come = deque(config.evse)
        try:
            while to_come:
                evse = to_come.popleft()
                relays[evse.uid] = ways.relay_of(evse.relay)
                stack.callback(relays[evse.uid].detach)
        finally:
            # By the same ways: the line of a board that is in use already is ours.
            for fault in open_relays([evse.relay for evse in to_come], None, ways):
                log.error("%s", fault)
        yield relays


def _still_left(config: Config, ways: RelayWays) -> list[RelaySection]:
    """Open what a killed agent had, where nobody has since; but nothing that is something else in the configuration.

    Returns those that could not be opened: each start tries them again.
    """
    failed = []
    for relay in relays_in_use.noted():
        if not is_named(config, relay) and (faults := open_relays([relay], None, ways)):
            failed.append(relay)
            log.critical("ALARM %s; a killed agent had it, and it is no longer in the configuration", faults[0])
    return failed


def _forget_what_is_open(config: Config, relays: Mapping[str, Relay]) -> None:
    are_open = len(relays) == len(config.evse) and not any(relay.contact_closed for relay in relays.values())
    if are_open and len(relays_in_use.noted()) == len(config.evse):
        relays_in_use.forget()


def watches_of(section: EvseSection, relay: Relay, evse: EvseTapLoop) -> Iterator[tuple[str, Work]]:
    """What watches over one relay, each by the name that the log gives it: its board, and the contactor's contact."""
    if isinstance(relay, _Watched):
        board: RelayBoard = relay
        yield f"relay board of {section.uid}", lambda: _watch_board(board, evse)
    if section.relay.feedback is not None:
        from hw.inputs.gpio_contact import GpioContact

        wired = section.relay.feedback
        contact = GpioContact(
            f"contactor feedback of {section.uid}", wired.gpio, active_high=wired.active_high, pull=wired.pull,
            debounce_s=wired.debounce_s,
        )  # fmt: skip
        yield f"contactor feedback of {section.uid}", lambda: _watch_contact(contact, evse)


async def _watch_board(board: RelayBoard, evse: EvseTapLoop) -> None:
    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  a port's signature
        log.log(logging.INFO if works else logging.WARNING, "relay board of %s: %s", evse.evse_uid, advice)
        evse.relay_board_is(works=works)

    with lost_when_it_fails(lambda: evse.relay_board_is(works=False)):
        await board.run(on_state)


async def _watch_contact(contact: ContactFeedback, evse: EvseTapLoop) -> None:
    def on_state(works: bool, advice: str) -> None:  # noqa: FBT001  a port's signature
        log.log(logging.INFO if works else logging.WARNING, "contactor feedback of %s: %s", evse.evse_uid, advice)
        evse.contact_feedback_is(works=works)

    with lost_when_it_fails(lambda: evse.contact_feedback_is(works=False)):
        await contact.run(lambda closed: evse.contact_is(closed=closed), on_state)
