"""What the lamp and the buzzer of ACS's readers are told, as bytes. Pure.

After ACS's reference manuals of the ACM1252U-Y3 (its LED command that is the ACR122U's, and "LED Control") and the
ACR1255U-J1 (the buzzer). None was tried on a reader; that others understand the same is not taken for granted: they get
nothing.
"""

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import assert_never

from agent.model import Signal

_RED = 0b01
_GREEN = 0b10


@dataclass(frozen=True, slots=True)
class Look:
    """What is lit from now on, and how often it beeps before."""

    leds: int
    beeps: int = 0


DARK = Look(0)


def look_of(signal: Signal) -> Look:
    """Two colours and a beep are all there is: green waits or gives, orange thinks, red refuses."""
    match signal:
        case Signal.READY | Signal.PLUG_IN | Signal.CHARGING | Signal.PAUSED | Signal.DONE:
            return Look(_GREEN)
        case Signal.READING | Signal.ASKING:
            return Look(_RED | _GREEN)
        case Signal.ACCEPTED:
            return Look(_GREEN, beeps=1)
        case Signal.REFUSED:
            return Look(_RED, beeps=2)
        case Signal.FAULT:
            return Look(_RED)
        case _:
            assert_never(signal)


def commands_for(reader: str, look: Look) -> list[bytes]:
    """What a reader of this name is sent for it, in turn; nothing for a reader that we have no manual of."""
    name = reader.casefold()
    if fnmatch(name, "*acr122u*"):
        return [_acr122u(look)]
    if fnmatch(name, "*acr1252*picc*"):  # the SAM slot of the same housing is a reader of its own
        return _acr1252u(look)
    return []


def _acr122u(look: Look) -> bytes:
    """P2: bits 0 and 1 the final red and green, 2 and 3 that they are set; 4 to 7 the same while it blinks.

    Data: first and second half of a blink in 100 ms, blinks, and in which half the buzzer sounds. The reader answers
    after the last blink and reads no card meanwhile: so they are short.
    """
    final = look.leds | 0b1100
    if not look.beeps:
        return bytes((0xFF, 0x00, 0x40, final, 0x04, 0, 0, 0, 0))
    blinking = look.leds << 4 | look.leds << 6
    return bytes((0xFF, 0x00, 0x40, final | blinking, 0x04, 1, 1, look.beeps, 1))


def _acr1252u(look: Look) -> list[bytes]:
    """LED: bit 0 red, 1 green. Buzzer: one sound, in 10 ms; a refusal is told by the longer one."""
    led = bytes((0xE0, 0x00, 0x00, 0x29, 0x01, look.leds))
    sound = [bytes((0xE0, 0x00, 0x00, 0x28, 0x01, 10 if look.beeps == 1 else 40))] if look.beeps else []
    return [led, *sound]
