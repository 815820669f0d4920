"""Opens serial ports, and says what to do about one that can't be used. What goes over the line is not for here."""

import errno
import os
import termios
from enum import Enum
from typing import Literal

import serial

Parity = Literal["none", "even", "odd"]

_PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


class Trouble(Enum):
    """Why a port can't be used, as far as it makes a difference for whoever mends it; the value says what to do."""

    GONE = "{port} is not there ({cause}): check the cable, and the port's name in the configuration"
    FORBIDDEN = "{port} may not be opened ({cause}): add the agent's user to the group that owns it, usually dialout"
    IN_USE = (
        "{port} is in use by another program ({cause}): stop that program, or give this device a port that no other has"
    )
    UNUSABLE = (
        "{port} can't be used as a serial line ({cause}): check the port's name and its baudrate in the configuration"
    )

    def told(self, port: str, error: OSError) -> str:
        """The sentence for the installer."""
        # The kernel's words where it has some: pyserial's repeat the port.
        code = error.errno
        return self.value.format(
            port=port, cause=f"{os.strerror(code)}, {errno.errorcode.get(code)}" if code else error
        )


_TROUBLES = {
    errno.ENOENT: Trouble.GONE,
    errno.ENODEV: Trouble.GONE,
    errno.ENXIO: Trouble.GONE,
    errno.EIO: Trouble.GONE,
    errno.EACCES: Trouble.FORBIDDEN,
    errno.EPERM: Trouble.FORBIDDEN,
    errno.EBUSY: Trouble.IN_USE,
    errno.EAGAIN: Trouble.IN_USE,  # the lock that pyserial takes for us
}


def trouble_of(error: OSError) -> Trouble:
    """Which of them an error means."""
    return _TROUBLES.get(error.errno or 0, Trouble.UNUSABLE)


def open_port(port: str, baudrate: int, *, parity: Parity = "none", stopbits: Literal[1, 2] = 1) -> serial.Serial:
    """The port with 8 data bits, which nobody else may have open meanwhile, not blocking and with nothing in it yet.

    Raises OSError, whatever it was that went wrong.
    """
    try:
        # pyserial opens with O_NONBLOCK and drops what the kernel had kept from before: no card of yesterday taps.
        # inter_byte_timeout = 0 sets VMIN to 1. With pyserial's own 0 a read without bytes gives b"", like a hang-up.
        return serial.Serial(
            port,
            baudrate,
            parity=_PARITIES[parity],
            stopbits=stopbits,
            timeout=0,
            inter_byte_timeout=0,
            exclusive=True,
        )
    except termios.error as error:
        raise OSError(*error.args) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error
