"""A relay that does not open is tried until it does, whatever its driver raises."""

import asyncio
import logging

import pytest

from agent.errors import DeviceError
from agent.runtime.guarded_relay import RETRY_S, GuardedRelay
from tests.scenario.virtual_time import in_virtual_time


class Contact:
    """A relay that does what it is told unless its driver has a fault."""

    def __init__(self) -> None:
        self.contact_closed = False
        self.fault: Exception | None = None

    def close_contact(self) -> None:
        self.contact_closed = True

    def open_contact(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.contact_closed = False

    def detach(self) -> None:
        self.open_contact()


class Guarded:
    """A closed contact with its guard, and how often it was said to be open at last."""

    def __init__(self) -> None:
        self.contact = Contact()
        self.opened_at_last = 0
        self.relay = GuardedRelay(self.contact, "E1", on_open_at_last=self._opened)
        self.relay.close()

    def _opened(self) -> None:
        self.opened_at_last += 1


FAULTS = pytest.mark.parametrize(
    "fault", [DeviceError("GPIO17 does not open"), ValueError("I/O operation on closed file"), ZeroDivisionError()]
)


@FAULTS
def test_relay_that_does_not_open_is_tried_until_it_does(fault: Exception) -> None:
    async def story() -> None:
        guarded = Guarded()
        guarded.contact.fault = fault
        assert not guarded.relay.open()
        await asyncio.sleep(10 * RETRY_S)
        assert (guarded.relay.stuck, guarded.relay.close(), guarded.opened_at_last) == (True, False, 0)
        guarded.contact.fault = None
        await asyncio.sleep(RETRY_S)
        assert (guarded.relay.stuck, guarded.contact.contact_closed, guarded.opened_at_last) == (False, False, 1)

    in_virtual_time(story)


@FAULTS
def test_relay_that_does_not_open_is_an_alarm_once(caplog: pytest.LogCaptureFixture, fault: Exception) -> None:
    async def story() -> None:
        guarded = Guarded()
        guarded.contact.fault = fault
        guarded.relay.open()
        await asyncio.sleep(10 * RETRY_S)
        assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
        assert "evse=E1 ALARM the relay may not have opened" in caplog.text
        guarded.relay.stop()

    with caplog.at_level(logging.WARNING):
        in_virtual_time(story)


@FAULTS
async def test_stopping_ends_the_trying_though_the_driver_has_a_fault(fault: Exception) -> None:
    guarded = Guarded()
    guarded.contact.fault = fault
    guarded.relay.open()
    guarded.relay.stop()
    assert not guarded.relay.stuck
