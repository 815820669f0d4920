"""A charge point operator's whole OCPI system, right in everything, so that the fake can do one thing wrong.

It calls with httpx and serves on the fake's own HTTP server; what it says is written by hand here.
"""

import base64
import json
import ssl
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import httpx

from fakes.emsp import FINE, FakeEmsp
from fakes.emsp.http_server import HttpServer, Outgoing, OutgoingLater
from fakes.emsp.messages import Request
from tests.fakes.emsp_client import HANG_S, ROUTING

ROLE = {"role": "CPO", "country_code": "NL", "party_id": "CPO", "business_details": {"name": "Charge & Co"}}


class CpoSystem:
    """`async with CpoSystem() as cpo: …`. Settings take effect with the next request."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.http = httpx.AsyncClient(trust_env=False, timeout=HANG_S, verify=trust or False)
        self.accepted: set[str] = set()
        """The credentials tokens that it takes, for everything."""
        self.their_token = ""
        """What it sends."""
        self.plain = False
        self.versions = ["2.2.1"]
        self.missing: set[str] = set()
        """Identifiers that its version details do not name."""
        self.call_back = True
        """Whether it calls back when somebody registers."""
        self.spoilt: dict[str, tuple[int, bytes]] = {}
        """Method and last part of the path to what is answered instead: `{"POST credentials": (200, b"…")}`."""
        self.hangs_up_on: set[str] = set()
        """In the same words: what is read and never answered."""
        self.extra_headers: dict[str, str | None] = {}
        """Over the right headers of its answers; None takes one away."""
        self.tokens: dict[str, dict[str, Any]] = {}
        """What was pushed, by path and query."""
        self.received: list[Request] = []
        self._server = HttpServer(0, self._serve, lambda _: None, tls)

    async def __aenter__(self) -> Self:
        self._server.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        await self._server.stop()

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.port}"

    @property
    def versions_url(self) -> str:
        return f"{self.base_url}/cpo/versions"

    def down(self) -> None:
        self._server.shut()

    # ---- as a client

    async def send(
        self,
        method: str,
        url: str,
        token: str,
        *,
        routing: bool = False,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request with every header that it needs."""
        ids = {"X-Request-ID": str(uuid.uuid4()), "X-Correlation-ID": str(uuid.uuid4())}
        right = {"Authorization": self.header(token), **ids, **(ROUTING if routing else {})}
        return await self.http.request(method, url, headers={**right, **(headers or {})}, **more)

    def header(self, token: str) -> str:
        return f"Token {token if self.plain else base64.b64encode(token.encode()).decode()}"

    async def credentials_url(self, emsp: FakeEmsp, token: str) -> str:
        """Versions, version details, and the address of the credentials in them."""
        versions = (await self.send("GET", emsp.versions_url, token)).json()["data"]
        (details_url,) = (version["url"] for version in versions if version["version"] == "2.2.1")
        endpoints = (await self.send("GET", details_url, token)).json()["data"]["endpoints"]
        (url,) = (str(endpoint["url"]) for endpoint in endpoints if endpoint["identifier"] == "credentials")
        return url

    async def exchange(self, method: str, emsp: FakeEmsp, token: str) -> httpx.Response:
        """Send credentials, authorized with `token`, and keep the answer's."""
        ours = f"cpo-{uuid.uuid4()}"
        self.accepted.add(ours)
        response = await self.send(method, await self.credentials_url(emsp, token), token, json=self.credentials(ours))
        if response.is_success and response.json()["status_code"] == 1000:
            self.accepted, self.their_token = {ours}, response.json()["data"]["token"]
        return response

    async def register(self, emsp: FakeEmsp) -> httpx.Response:
        return await self.exchange("POST", emsp, emsp.invite())

    def credentials(self, token: str) -> dict[str, Any]:
        return {"token": token, "url": self.versions_url, "roles": [ROLE]}

    # ---- as a server

    def invite(self) -> str:
        token_a = f"invite-{uuid.uuid4()}"
        self.accepted.add(token_a)
        return token_a

    def bodies(self, method: str) -> list[bytes]:
        return [request.body for request in self.received if request.method == method]

    def _serve(self, request: Request) -> Outgoing | OutgoingLater:
        self.received.append(request)
        return self._instead(request) or self._served(request)

    def _instead(self, request: Request) -> Outgoing | OutgoingLater | None:
        name = f"{request.method} {request.path.rpartition('/')[2]}"
        if name in self.hangs_up_on:
            return self._hang_up
        if request.headers.get("authorization", "") not in map(self.header, self.accepted):
            return self._answer(request, 401, status_code=2000)
        spoilt = self.spoilt.get(name)
        return spoilt and self._answer(request, spoilt[0], body=spoilt[1])

    async def _hang_up(self) -> None:
        """No answer."""

    def _served(self, request: Request) -> Outgoing | OutgoingLater:
        match request.method, request.path.removeprefix("/cpo/").partition("/")[0]:
            case "GET", "versions":
                listed = [{"version": version, "url": f"{self.base_url}/cpo/{version}"} for version in self.versions]
                return self._answer(request, data=listed)
            case "GET", "2.2.1":
                return self._answer(request, data={"version": "2.2.1", "endpoints": self._endpoints()})
            case "GET", "credentials":
                return self._answer(request, data=self.credentials(*self.accepted))
            case "DELETE", "credentials":
                self.accepted, self.their_token = set(), ""
                return self._answer(request)
            case _, "credentials":
                return lambda: self._exchanged(request)
            case _:
                return self._token(request)

    def _endpoints(self) -> list[dict[str, str]]:
        own = {"credentials": "SENDER", "tokens": "RECEIVER"}
        return [
            {"identifier": identifier, "role": role, "url": f"{self.base_url}/cpo/{identifier}"}
            for identifier, role in own.items()
            if identifier not in self.missing
        ]

    async def _exchanged(self, request: Request) -> Outgoing:
        theirs = request.json()
        if self.call_back:
            versions = (await self.send("GET", theirs["url"], theirs["token"])).json()["data"]
            await self.send("GET", versions[-1]["url"], theirs["token"])
        ours = f"cpo-{uuid.uuid4()}"
        self.accepted, self.their_token = {ours}, theirs["token"]
        return self._answer(request, data=self.credentials(ours))

    def _token(self, request: Request) -> Outgoing:
        kept = self.tokens.get(unquote(request.target))
        match request.method:
            case "PUT":
                self.tokens[unquote(request.target)] = request.json()
            case "PATCH" if kept is not None:
                kept.update(request.json())
            case "GET" if kept is not None:
                return self._answer(request, data=kept)
            case _:
                return self._answer(request, 404, status_code=2004)
        return self._answer(request, 201 if kept is None else 200)

    def _answer(
        self,
        request: Request,
        status: int = 200,
        *,
        data: object = None,
        status_code: int = 1000,
        body: bytes | None = None,
    ) -> Outgoing:
        envelope = {"data": data, "status_code": status_code, "timestamp": "2026-01-01T00:00:00Z"}
        content = json.dumps(envelope).encode() if body is None else body
        asked = request.headers
        headers: dict[str, str | None] = {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "X-Request-ID": asked.get("x-request-id"),
            "X-Correlation-ID": asked.get("x-correlation-id"),
        }
        for ours, theirs in (("from", "to"), ("to", "from")):
            headers |= {
                f"OCPI-{ours}-{name}": asked.get(f"ocpi-{theirs}-{name}") for name in ("country-code", "party-id")
            }
        headers |= self.extra_headers
        return Outgoing(status, [(name, value) for name, value in headers.items() if value is not None], content, FINE)
