"""A client that does everything right, so that each test can do one thing wrong."""

import base64
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from fakes.emsp import FakeEmsp

HANG_S = 30.0
"""Against hangs alone: nothing here takes as long on any machine."""

ROUTING = {
    "OCPI-to-country-code": "DE",
    "OCPI-to-party-id": "ABC",
    "OCPI-from-country-code": "NL",
    "OCPI-from-party-id": "CPO",
}
LOCATION = {"location_id": "LOC1", "evse_uids": ["EVSE-1"]}


class Cpo:
    """A charge point operator's client for one fake."""

    def __init__(self, emsp: FakeEmsp) -> None:
        self.http = httpx.AsyncClient(trust_env=False, timeout=HANG_S)
        self._emsp = emsp

    def headers(self, *, routing: bool = True) -> dict[str, str]:
        encoded = base64.b64encode(self._emsp.credentials_token.encode()).decode()
        ids = {"X-Request-ID": str(uuid.uuid4()), "X-Correlation-ID": str(uuid.uuid4())}
        return {"Authorization": f"Token {encoded}", **ids, **(ROUTING if routing else {})}

    async def authorize(
        self,
        uid: str,
        *,
        location: object = LOCATION,
        query: str = "?type=RFID",
        headers: Mapping[str, str | None] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """POST authorize; `headers` go over the right ones, None takes one away."""
        if location is not None:
            more["json"] = location
        url = f"{self._emsp.tokens_url}/{uid}/authorize{query}"
        return await self.http.post(url, headers=self._changed(self.headers(), headers), **more)

    async def tokens(self, query: str = "", *, headers: Mapping[str, str | None] | None = None) -> httpx.Response:
        return await self.page(self._emsp.tokens_url + query, headers=headers)

    async def page(self, url: str, *, headers: Mapping[str, str | None] | None = None) -> httpx.Response:
        return await self.http.get(url, headers=self._changed(self.headers(), headers))

    async def get(self, url: str) -> httpx.Response:
        """GET of a configuration module: without routing headers."""
        return await self.http.get(url, headers=self.headers(routing=False))

    async def crawl(self, query: str = "", *, pages: int = 100) -> list[str]:
        """The uids of every page that the links lead to."""
        uids: list[str] = []
        url = self._emsp.tokens_url + query
        for _ in range(pages):
            response = await self.page(url)
            uids += uids_of(response)
            if "next" not in response.links:
                break
            url = response.links["next"]["url"]
        return uids

    @staticmethod
    def _changed(headers: dict[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
        merged: dict[str, str | None] = {**headers, **(changes or {})}
        return {name: value for name, value in merged.items() if value is not None}


def uids_of(response: httpx.Response) -> list[str]:
    """The uids on one page."""
    return [token["uid"] for token in response.json()["data"]]
