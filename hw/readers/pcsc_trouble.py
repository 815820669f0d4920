"""Why PC/SC can't be used, by its error codes, and what to do about it. Pure; no call is made here.

The codes are those of pcsc-lite's `pcsclite.h`, written out so that a machine without pyscard can say what is wrong.
"""

from enum import Enum

PATIENCE_S = 10.0
"""Beyond its own time limit a call may take so long: libccid gives up a card that does not answer after 3 s, and
reading one takes three calls."""

SUCCESS = 0
CANCELLED = 0x80100002
INVALID_HANDLE = 0x80100003
UNKNOWN_READER = 0x80100009
TIMEOUT = 0x8010000A
SHARING_VIOLATION = 0x8010000B
NO_SMARTCARD = 0x8010000C
COMM_ERROR = 0x80100013
NO_SERVICE = 0x8010001D
SERVICE_STOPPED = 0x8010001E
NO_ACCESS = 0x80100027
NO_READERS_AVAILABLE = 0x8010002E
REMOVED_CARD = 0x80100069
SECURITY_VIOLATION = 0x8010006A


class Trouble(Enum):
    """Why no reader can be used, as far as it makes a difference for whoever mends it; the value says what to do."""

    NO_LIBRARY = "pyscard is not installed ({cause}): install the extra pcsc, as in chargepoint-agent[pcsc]"
    NO_DAEMON = (
        "pcscd does not answer ({cause}): install and start it, systemctl enable --now pcscd.socket, or see its log "
        "where it runs; the reader comes back by itself"
    )
    HUNG_UP = (
        "pcscd takes the call and hangs up ({cause}): where it is not just starting, see its log; polkit may "
        "refuse the agent's user org.debian.pcsc-lite.access_pcsc"
    )
    FORBIDDEN = (
        "pcscd refuses the agent's user ({cause}): add a polkit rule that allows it org.debian.pcsc-lite.access_pcsc "
        "and org.debian.pcsc-lite.access_card"
    )
    STUCK = (
        "pcscd takes calls and answers none ({cause}): systemctl restart pcscd; where that helps only for a while, "
        "pull the reader's plug and put it back"
    )
    UNUSABLE = "PC/SC can't be used ({cause}): see the log of pcscd, journalctl -u pcscd"


_TROUBLES = {
    NO_SERVICE: Trouble.NO_DAEMON,
    COMM_ERROR: Trouble.NO_DAEMON,
    SERVICE_STOPPED: Trouble.NO_DAEMON,
    INVALID_HANDLE: Trouble.NO_DAEMON,  # what a context from before the daemon's death is worth
    SECURITY_VIOLATION: Trouble.FORBIDDEN,
    NO_ACCESS: Trouble.FORBIDDEN,
}


def unsigned(code: int) -> int:
    """A code as it is written here: where the machine's `long` has 32 bits, pyscard hands it over with a sign."""
    return code & 0xFFFFFFFF


def trouble_of(code: int, *, at_start: bool) -> Trouble:
    """Which of them a code means; `at_start`: it is the answer to the very first call, made just now.

    The first call tells a daemon that is not there by NO_SERVICE. One that is there and ends the conversation is what
    pcsc-lite before 2.0 does to a user whom polkit refuses; where it did not even listen to the end, libpcsclite 1.9
    finds SECURITY_VIOLATION for it.
    """
    if at_start and code == COMM_ERROR:
        return Trouble.HUNG_UP
    return _TROUBLES.get(code, Trouble.UNUSABLE)


def is_service_lost(code: int) -> bool:
    """Whether a call about one card failed because there is no daemon any more: no fault of the card's."""
    return _TROUBLES.get(code) is Trouble.NO_DAEMON
