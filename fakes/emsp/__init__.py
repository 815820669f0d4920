"""A fake eMSP: an OCPI 2.2.1 party over real HTTP on loopback, strict with its clients, and able to fail.

    async with FakeEmsp() as emsp:
        emsp.card("04A1B2C3D4E5F6", whitelist="NEVER", info=("de", "Gute Fahrt"))
        emsp.populate(1_000_000)
        emsp.set_weather(slow(0.2), on=Part.AUTHORIZE)
        ...
        token_a = emsp.invite()           # … and the client registers; or, with one that the client hands out:
        await emsp.register_with(versions_url, token_a)
        await emsp.put_token(emsp.card("04A1B2C3D4E5F6", valid=False))
        assert emsp.complaints == []

It writes its JSON by hand and imports nothing of the agent: a mistake in the agent's wire structs must show.
`python -m fakes.emsp` runs it as a process of its own.
"""

from fakes.emsp.calls import Response, trickle
from fakes.emsp.cards import POPULATED_SINCE, Card, Reference, populated_uid
from fakes.emsp.cdr_receiver import RepeatedCdr
from fakes.emsp.credentials_sender import DiedError
from fakes.emsp.device import Dies, Slash
from fakes.emsp.discovery import ExchangeFailedError
from fakes.emsp.http_client import NoAnswer
from fakes.emsp.lists import Link, ListFaults
from fakes.emsp.messages import Part, Request
from fakes.emsp.peer import FakeEmsp
from fakes.emsp.relation import Relation
from fakes.emsp.reports import Reports
from fakes.emsp.weather import FINE, Kind, Weather, drip, gzip_bomb, held, rate_limited, server_error, slow

__all__ = [
    "FINE",
    "POPULATED_SINCE",
    "Card",
    "DiedError",
    "Dies",
    "ExchangeFailedError",
    "FakeEmsp",
    "Kind",
    "Link",
    "ListFaults",
    "NoAnswer",
    "Part",
    "Reference",
    "Relation",
    "RepeatedCdr",
    "Reports",
    "Request",
    "Response",
    "Slash",
    "Weather",
    "drip",
    "gzip_bomb",
    "held",
    "populated_uid",
    "rate_limited",
    "server_error",
    "slow",
    "trickle",
]
