"""The installed service on a booted Debian: ready, cards decided, killed, hung, and back."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.boot.charger import (
    AT_PCSC,
    AT_SERIAL,
    CHANNEL,
    PCSC_CARDS,
    SERIAL_CARDS,
    UNIT,
    Charger,
    Move,
)
from tests.boot.freeze import frozen, threads, waits_in, written_bytes
from tests.boot.journal import Entry, message, seconds

BACK_WITHIN_S = 10.0
"""What is promised after a kill: the agent back, and a card decided."""

QUICK_WATCHDOG_S = 5
"""In place of half a minute; a healthy agent on a loaded machine feeds it all the same."""

_FUTEX, _EPOLL_WAIT, _EPOLL_PWAIT = 202, 232, 281
"""Linux system calls of x86-64 in which a thread waits that has nothing to do: for a lock, for the event loop."""
_FUTEX_ARM, _EPOLL_PWAIT_ARM = 98, 22
_IDLE = {_FUTEX, _EPOLL_WAIT, _EPOLL_PWAIT} if os.uname().machine == "x86_64" else {_FUTEX_ARM, _EPOLL_PWAIT_ARM}

LOOKS = 100
"""At all threads: what one of them does for a moment says nothing."""

A_PAGE = 4096
"""What a transaction writes at least into SQLite's log; a line of the journal is shorter."""


def opens(evse: str) -> Callable[[Move], bool]:
    return lambda move: move.channel == CHANNEL[evse] and not move.closed


def restarted(entry: Entry) -> bool:
    """systemd's own word for it: SD_MESSAGE_UNIT_STARTED."""
    return entry.get("MESSAGE_ID") == "39f53479d3a045ac8e11786248231fbf" and entry.get("UNIT") == UNIT


def test_booted_charger_is_ready_and_says_how_it_stands(charger: Charger) -> None:
    assert charger.shows("ActiveState") == "active"
    assert charger.shows("SubState") == "running"
    assert charger.shows("StatusText")
    assert charger.machine.journal.wait(restarted, "--boot")


def test_nothing_else_of_the_machine_has_failed(charger: Charger) -> None:
    assert charger.machine.says("systemctl", "--failed", "--no-legend") == ""


@pytest.mark.parametrize(("evse", "uid"), [(AT_SERIAL, SERIAL_CARDS[0]), (AT_PCSC, PCSC_CARDS[0])])
def test_card_is_decided_recorded_and_switches_the_relay(charger: Charger, evse: str, uid: str) -> None:
    said = charger.tap(evse, uid)
    (record,) = charger.lists("authorizations")
    assert "accepted" in said["MESSAGE"]
    assert uid not in str(said)
    assert (record["evse_uid"], record["uid"], record["verdict"]) == (evse, uid, "accepted")
    assert charger.is_closed(evse)


def test_killed_agent_opens_the_relay_and_is_back_and_decides_within_ten_seconds(charger: Charger) -> None:
    charger.tap(AT_PCSC, PCSC_CARDS[0])
    assert charger.is_closed(AT_PCSC)
    here = charger.machine.journal.here()
    killed_at = time.monotonic()
    os.kill(charger.pid, signal.SIGKILL)
    back = charger.machine.journal.wait(restarted, after=here)
    decided = charger.tap(AT_SERIAL, SERIAL_CARDS[1], after=back["__CURSOR"])
    opened = charger.wait_moved(opens(AT_PCSC), since=killed_at)
    assert seconds(decided) - killed_at < BACK_WITHIN_S
    assert opened.at < seconds(back)
    assert not charger.is_closed(AT_PCSC)
    print(
        f"\nkill -9: relay open after {opened.at - killed_at:.2f} s, ready after {seconds(back) - killed_at:.2f} s, "
        f"a card decided after {seconds(decided) - killed_at:.2f} s"
    )


def loop_thread(charger: Charger) -> int:
    """Where the taps, the relays and everything asynchronous turn."""
    return charger.pid


def database_thread(charger: Charger) -> int:
    """The one that has written a card's record."""
    before = {tid: written_bytes(tid) for tid in threads(charger.pid)}
    charger.tap(AT_SERIAL, SERIAL_CARDS[2])
    writers = [tid for tid in threads(charger.pid) if written_bytes(tid) - before.get(tid, 0) >= A_PAGE]
    assert len(writers) == 1, writers
    return writers[0]


def reader_thread(charger: Charger) -> int:
    """The one that waits for pcscd, where the others wait for work."""
    pid = charger.pid
    looks = (tid for _ in range(LOOKS) for tid in threads(pid) if waits_in(tid) not in _IDLE)
    ((tid, times),) = Counter(looks).most_common(1)
    assert times > LOOKS / 2
    assert tid != pid
    return tid


@pytest.mark.parametrize("thread_of", [loop_thread, database_thread, reader_thread])
def test_thread_that_hangs_starves_the_watchdog_and_the_agent_is_started_anew(
    charger: Charger, thread_of: Callable[[Charger], int]
) -> None:
    charger.drop_in("quick", f"[Service]\nWatchdogSec={QUICK_WATCHDOG_S}\n")
    charger.machine.run("systemctl", "restart", UNIT)
    charger.tap(AT_PCSC, PCSC_CARDS[0])
    tid = thread_of(charger)
    here = charger.machine.journal.here()
    hung_at = time.monotonic()
    with frozen(tid):
        noticed = charger.machine.journal.wait(message("Watchdog timeout"), after=here)
        back = charger.machine.journal.wait(restarted, after=here)
    opened = charger.wait_moved(opens(AT_PCSC), since=hung_at)
    decided = charger.tap(AT_SERIAL, SERIAL_CARDS[3], after=back["__CURSOR"])
    assert opened.at < seconds(back)
    assert "accepted" in decided["MESSAGE"]
    print(
        f"\n{thread_of.__name__} hung, WatchdogSec={QUICK_WATCHDOG_S}: ended after {seconds(noticed) - hung_at:.1f} s, "
        f"relay open after {opened.at - hung_at:.1f} s, ready after {seconds(back) - hung_at:.1f} s"
    )


def test_stopped_service_opens_the_relay_within_seconds_and_keeps_the_session(charger: Charger) -> None:
    charger.tap(AT_SERIAL, SERIAL_CARDS[0])
    asked_at = time.monotonic()
    charger.stop()
    opened = charger.wait_moved(opens(AT_SERIAL), since=asked_at)
    (record,) = charger.lists("authorizations")
    assert charger.shows("Result") == "success"
    assert record["session"] is not None
    print(f"\nstop: relay open after {opened.at - asked_at:.2f} s, over after {time.monotonic() - asked_at:.2f} s")


def after(charger: Charger, outage: Callable[[], object]) -> dict[str, Any]:
    """The one session that ran when the machine went, as it is on record once its CDR is made."""
    charger.tap(AT_SERIAL, SERIAL_CARDS[0])
    outage()
    return charger.wait_for(lambda: next((one for one in charger.lists("sessions") if one["cdr"]), None))


def test_reboot_in_a_charge_ends_it_with_its_record_and_cdr_and_cards_are_decided(charger: Charger) -> None:
    session = after(charger, charger.machine.reboot)
    assert session["ended_because"] == "shutdown"
    assert session["cdr"]["state"] == "due"
    assert not charger.is_closed(AT_SERIAL)
    assert "accepted" in charger.tap(AT_PCSC, PCSC_CARDS[1])["MESSAGE"]


def test_power_cut_in_a_charge_ends_it_with_its_record_and_cdr_and_cards_are_decided(charger: Charger) -> None:
    def outage() -> None:
        charger.machine.cut_power()
        charger.machine.boot()

    session = after(charger, outage)
    assert session["ended_because"] == "restart"
    assert session["cdr"]["state"] == "due"
    assert not charger.is_closed(AT_SERIAL)
    assert "accepted" in charger.tap(AT_PCSC, PCSC_CARDS[1])["MESSAGE"]
