"""A peer whose versions, details, credentials and tokens are in order until a test says otherwise."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.ocpi.scripted import ScriptedPeer, scripted_peer

STEPS = {"versions": "/versions", "version details": "/2.2.1", "credentials": "/credentials"}
"""How a sentence names each step, and where it is."""

TOKEN_A = "token-a-of-the-peer"
TOKEN_C = "token-c-of-the-peer"


def enveloped(data: object) -> dict[str, Any]:
    return {"status_code": 1000, "timestamp": "2026-03-01T12:00:00Z", "data": data}


def role(role: str = "EMSP", country_code: str = "DE", party_id: str = "ABC") -> dict[str, Any]:
    return {
        "role": role,
        "country_code": country_code,
        "party_id": party_id,
        "business_details": {"name": "A business"},
    }


def credentials(peer: ScriptedPeer, **changes: Any) -> dict[str, Any]:
    return {"token": TOKEN_C, "url": f"{peer.url}/versions", "roles": [role()]} | changes


@asynccontextmanager
async def peer_in_order() -> AsyncIterator[ScriptedPeer]:
    async with scripted_peer() as peer:
        url = peer.url
        endpoints = [
            {"identifier": "credentials", "role": "SENDER", "url": f"{url}/credentials"},
            {"identifier": "tokens", "role": "SENDER", "url": f"{url}/tokens"},
        ]
        peer.says("/versions", enveloped([{"version": "2.2.1", "url": f"{url}/2.2.1"}]))
        peer.says("/2.2.1", enveloped({"version": "2.2.1", "endpoints": endpoints}))
        peer.says("/credentials", enveloped(credentials(peer)))
        peer.says("DELETE /credentials", enveloped(None))
        peer.says("/tokens", enveloped([]))
        yield peer


Spoil = Callable[[ScriptedPeer, str], None]
"""Has the peer answer nonsense on a path."""


def raw(body: bytes, status: str = "200 OK", headers: str = "") -> Spoil:
    return lambda peer, path: peer.sends(path, body, status=status, headers=headers)


NONSENSE: dict[str, Spoil] = {
    "no JSON": raw(b"<html>Welcome</html>"),
    "nothing": raw(b""),
    "cut off": raw(b'{"status_code":1000,"data":{"tok'),
    "not UTF-8": raw(b'{"status_code":1000,"data":"\xff\xfe"}'),
    "a list": raw(b"[]"),
    "a number": raw(b"7"),
    "null": raw(b"null"),
    "no data": raw(b'{"status_code":1000}'),
    "data of null": raw(b'{"status_code":1000,"data":null}'),
    "data of another type": raw(b'{"status_code":1000,"data":"a text"}'),
    "data of another shape": raw(b'{"status_code":1000,"data":[[{}],7]}'),
    "a status code of words": raw(b'{"status_code":"fine","data":[]}'),
    "a status code of thousands of digits": raw(b'{"status_code":' + b"9" * 5000 + b',"data":[]}'),
    "a status code that is none": raw(b'{"status_code":70000,"data":[]}'),
    "nesting without end": raw(b'{"status_code":1000,"data":' + b"[" * 50_000),
    "a redirect": raw(b"", "302 Found", "Location: https://elsewhere.example/\r\n"),
    "a fault": raw(b"", "500 Internal Server Error"),
    "a fault of OCPI": raw(b'{"status_code":3000,"status_message":"\\u001b[2J\\nno"}'),
    "a page of a proxy": raw(b"<html>Bad Gateway</html>", "502 Bad Gateway"),
    "more than anybody reads": raw(b'{"status_code":1000,"data":"' + b"A" * (2 << 20) + b'"}'),
    "what is compressed": raw(b"\x1f\x8b\x08\x00", headers="Content-Encoding: gzip\r\n"),
    "no HTTP": raw(b"", "2OO Fine\0"),
}
"""None of these takes the peer any time."""
