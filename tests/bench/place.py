"""What a charge point of the bench has beyond readers and relays: a tariff, an address, meters, cars plugged in."""

import json
from pathlib import Path

TARIFF = {
    "country_code": "NL",
    "party_id": "EXA",
    "id": "BENCH",
    "currency": "EUR",
    "elements": [
        {
            "price_components": [
                {"type": "FLAT", "price": 0.5, "vat": 19, "step_size": 1},
                {"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1},
                {"type": "PARKING_TIME", "price": 3, "vat": 19, "step_size": 60},
            ]
        }
    ],
    "last_updated": "2026-01-01T00:00:00Z",
}

PLACE = """
        address = "Bench 1"
        city = "Exampleton"
        postal_code = "12345"
        country = "DEU"
        latitude = "52.51631"
        longitude = "13.37770"
        """

BILLING = """
        [billing]
        tariff_file = "tariff.json"
        """

_METER_PIN, _PLUG_PIN = 10, 18
"""The first EVSE's; eight of them find room. A pin that nothing is wired to reads 0."""


def lay_tariff(folder: Path) -> None:
    """Write the tariff's file beside the configuration."""
    (folder / "tariff.json").write_text(json.dumps(TARIFF), "utf-8")


def fitting(number: int) -> str:
    """The keys that an EVSE, whose table this goes into, is billed by; and the meter's table after it.

    A meter of pulses stands still here, and costs the event loop nothing.
    """
    return f"""
        id = "DE*EXA*E{number + 1}"
        connector = {{ id = "1", standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
        plug = {{ gpio = {_PLUG_PIN + number}, active_high = false }}
        meter = "meter-{number + 1}"

        [[meter]]
        name = "meter-{number + 1}"
        kind = "s0"
        gpio = {_METER_PIN + number}
        pulses_per_kwh = 1000
        active_high = true
        """
