"""The GPIO pins that are named: is there a way to them, and does the board have them? None is claimed or driven."""

from collections.abc import Iterator, Sequence

from agent.config import (
    EvseSection,
    GpioRelaySection,
    MeterSection,
    PictureDisplaySection,
    ReaderSection,
    RelaySection,
    S0MeterSection,
    WiegandSection,
)
from agent.diagnosis.finding import Finding, bad, good
from agent.diagnosis.site import Site


def pin_findings(site: Site) -> list[Finding]:
    """One for all pins that are fine, one for each that is not there."""
    owners = dict([*_of_relays(site.relays), *_of_evses(site.evses), *_of_meters(site.meters), *_of(site.readers)])
    if not owners:
        return []
    from hw.discovery_boards import missing_pins  # noqa: PLC0415  gpiozero, a tenth of a second
    from hw.gpio import pin_errors, remedy  # noqa: PLC0415  as above

    try:
        missing = set(missing_pins(owners))
    except pin_errors() as error:
        return [bad("GPIO", f"there is no way to the pins: {error}", remedy(error))]
    there = ", ".join(str(pin) for pin in sorted(owners.keys() - missing))
    advice = "the BCM number of the pin, 0 to 27"
    return [
        *([good("GPIO", f"the board has the pins {there}")] if there else []),
        *(bad(owners[pin], f"the board has no pin {pin}", advice) for pin in sorted(missing)),
    ]


def _of_relays(relays: Sequence[tuple[str, RelaySection]]) -> Iterator[tuple[int, str]]:
    for subject, relay in relays:
        if isinstance(relay, GpioRelaySection):
            yield relay.gpio, subject
        if relay.feedback is not None:
            yield relay.feedback.gpio, f"feedback of the {subject}"


def _of_evses(evses: Sequence[EvseSection]) -> Iterator[tuple[int, str]]:
    for evse in evses:
        if evse.plug is not None:
            yield evse.plug.gpio, f"plug of {evse.uid}"
        if evse.buzzer is not None:
            yield evse.buzzer.gpio, f"buzzer of {evse.uid}"
        if evse.light is not None:
            for pin in (evse.light.red, evse.light.green, evse.light.blue):
                yield pin, f"light of {evse.uid}"
        if isinstance(evse.display, PictureDisplaySection) and evse.display.interface == "spi":
            yield evse.display.dc, f"display of {evse.uid}"
            yield evse.display.rst, f"display of {evse.uid}"


def _of_meters(meters: Sequence[MeterSection]) -> Iterator[tuple[int, str]]:
    for meter in meters:
        if isinstance(meter, S0MeterSection):
            yield meter.gpio, f"meter {meter.name}"


def _of(readers: Sequence[ReaderSection]) -> Iterator[tuple[int, str]]:
    for reader in readers:
        if isinstance(reader, WiegandSection):
            yield reader.data0, f"reader {reader.name}"
            yield reader.data1, f"reader {reader.name}"
