"""A fake eMSP: OCPI 2.2.1 Tokens sender over real HTTP on loopback, strict with its clients, and able to fail.

    async with FakeEmsp() as emsp:
        emsp.card("04A1B2C3D4E5F6", whitelist="NEVER", info=("de", "Gute Fahrt"))
        emsp.populate(1_000_000)
        emsp.set_weather(slow(0.2), on=Part.AUTHORIZE)
        ...
        assert emsp.complaints == []

It writes its JSON by hand and imports nothing of the agent: a mistake in the agent's wire structs must show.
`python -m fakes.emsp` runs it as a process of its own.
"""

from fakes.emsp.cards import POPULATED_SINCE, Card, Reference, populated_uid
from fakes.emsp.lists import Link, ListFaults
from fakes.emsp.messages import Part, Request
from fakes.emsp.peer import FakeEmsp
from fakes.emsp.weather import FINE, Kind, Weather, drip, gzip_bomb, held, rate_limited, server_error, slow

__all__ = [
    "FINE",
    "POPULATED_SINCE",
    "Card",
    "FakeEmsp",
    "Kind",
    "Link",
    "ListFaults",
    "Part",
    "Reference",
    "Request",
    "Weather",
    "drip",
    "gzip_bomb",
    "held",
    "populated_uid",
    "rate_limited",
    "server_error",
    "slow",
]
