"""The device as a client: its own requests, right by default, and what is wrong with the answers.

OCPI 2.2.1 transport_and_format: Authorization header, Message Routing, Unique message IDs, Response format.
"""

import asyncio
import json as json_text
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fakes.emsp.device import Device
from fakes.emsp.faults import is_date_time
from fakes.emsp.http_client import Body, exchange
from fakes.emsp.messages import JSON, written

Changes = Mapping[str, str | None]
"""Headers that go over the right ones; None takes one away. Names without regard to case."""

_PARTY_HEADERS = ("country-code", "party-id")


@dataclass(frozen=True, slots=True)
class Response:
    """What the other side answered; header names in lower case."""

    status: int
    """HTTP's."""
    envelope: dict[str, Any] | None
    """None when the body is no JSON object."""
    headers: dict[str, str]
    body: bytes

    @property
    def status_code(self) -> int | None:
        """OCPI's; None without an envelope, or without a number in it."""
        value = (self.envelope or {}).get("status_code")
        return value if isinstance(value, int) else None

    @property
    def data(self) -> Any:  # noqa: ANN401  (whatever the other side sent)
        """The envelope's `data`; None where there is none."""
        return (self.envelope or {}).get("data")

    @property
    def succeeded(self) -> bool:
        """Whether both HTTP and OCPI say so."""
        return self.status in {200, 201} and self.status_code is not None and 1000 <= self.status_code < 2000

    def __str__(self) -> str:
        """Say it in a sentence, without anything that was sent along."""
        return f"HTTP {self.status}, status_code {self.status_code}"


class Calls:
    """Sends requests to the client's system, and complains about answers that break OCPI."""

    def __init__(self, device: Device, complain: Callable[[str], None]) -> None:
        self._device = device
        self._complain = complain

    async def call(
        self,
        method: str,
        url: str,
        *,
        token: str | None = None,
        headers: Changes | None = None,
        json: object = None,
        body: Body = b"",
        routing: bool | None = None,
    ) -> Response:
        """Send one request with all that OCPI demands, and return the answer. Raises NoAnswer when none comes.

        `token` is the credentials token to send, the client's own unless given. `json` becomes the body, `body` is
        sent as it is. `routing` says whether the routing headers are sent: unless given, to all but versions,
        version details and credentials.
        """
        if routing is None:
            routing = not self._is_configuration(url)
        content = body if json is None else written(json)
        has_body = not isinstance(content, bytes) or bool(content)
        sent = _changed(self._headers(token, has_body=has_body, routing=routing), headers or {})
        device = self._device
        answer = await exchange(method, url, [*sent.items()], content, trust=device.trust, patience_s=device.patience_s)
        response = Response(answer.status, _envelope(answer.body), answer.headers, answer.body)
        asked = {name.lower(): value for name, value in sent.items()}
        for fault in _faults_of_answer(asked, response):
            self._complain(f"answer to {method}: {fault}")
        return response

    def _is_configuration(self, url: str) -> bool:
        relation = self._device.relation
        credentials = (url for (identifier, _), url in relation.endpoints.items() if identifier == "credentials")
        return url in {relation.versions_url, relation.details_url, *credentials}

    def _headers(self, token: str | None, *, has_body: bool, routing: bool) -> dict[str, str]:
        device = self._device
        token = device.relation.their_token if token is None else token
        headers = {"X-Request-ID": str(uuid4()), "X-Correlation-ID": str(uuid4())}
        if token:
            headers["Authorization"] = device.header(token)
        if has_body:
            headers["Content-Type"] = JSON
        if routing:
            parties = {"from": (device.country_code, device.party_id), "to": device.relation.client}
            for direction, party in parties.items():
                headers |= {
                    f"OCPI-{direction}-{name}": value for name, value in zip(_PARTY_HEADERS, party, strict=True)
                }
        return headers


async def trickle(body: bytes, pause: Callable[[], Awaitable[object]] | None = None) -> AsyncIterator[bytes]:
    """`body` byte by byte, each followed by a `pause`: a client on a bad line, or one that means harm."""
    for at in range(len(body)):
        yield body[at : at + 1]
        await (pause() if pause else asyncio.sleep(0))


def _changed(headers: dict[str, str], changes: Changes) -> dict[str, str]:
    changed = {name.lower() for name in changes}
    kept = {name: value for name, value in headers.items() if name.lower() not in changed}
    return kept | {name: value for name, value in changes.items() if value is not None}


def _envelope(body: bytes) -> dict[str, Any] | None:
    try:
        value = json_text.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _faults_of_answer(asked: dict[str, str], response: Response) -> Iterator[str]:
    envelope = response.envelope
    if envelope is None:
        yield f"HTTP {response.status} without an envelope"
    else:
        if response.status_code is None:
            yield "an envelope without a status_code"
        if not is_date_time(envelope.get("timestamp")):
            yield "an envelope without a timestamp that is a DateTime in UTC"
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            yield f"a body of type {response.headers.get('content-type')!r}, expected {JSON}"
    for name in ("x-request-id", "x-correlation-id"):
        if name in asked and response.headers.get(name) != asked[name]:
            yield f"{name} is not the request's"
    yield from _routing_faults(asked, response)


def _routing_faults(asked: dict[str, str], response: Response) -> Iterator[str]:
    """An answer goes back the way that its request came; those of configuration modules are not routed."""
    given = [name for name in response.headers if name.startswith("ocpi-")]
    if not any(name.startswith("ocpi-") for name in asked):
        yield from (f"{name} on a configuration module" for name in given)
    elif response.succeeded:
        for direction, other in (("from", "to"), ("to", "from")):
            for name in _PARTY_HEADERS:
                expected = asked.get(f"ocpi-{other}-{name}", "").upper()
                if expected and response.headers.get(f"ocpi-{direction}-{name}", "").upper() != expected:
                    yield f"ocpi-{direction}-{name} is not the request's ocpi-{other}-{name}"
