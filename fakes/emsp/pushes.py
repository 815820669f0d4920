"""Pushing tokens to the client: the sender's side of the Tokens receiver interface (OCPI 2.2.1 mod_tokens)."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fakes.emsp.calls import Calls, Changes, Response
from fakes.emsp.cards import Card
from fakes.emsp.device import Device
from fakes.emsp.http_client import Body
from fakes.emsp.relation import Party


class Pushes:
    """Puts, patches and gets tokens where the client keeps them."""

    def __init__(self, device: Device, calls: Calls) -> None:
        self._device = device
        self._calls = calls

    async def put(
        self,
        token: Card | Mapping[str, Any],
        *,
        uid: str | None = None,
        owner: Party | None = None,
        of_type: str | None = None,
        headers: Changes | None = None,
        body: Body | None = None,
    ) -> Response:
        """PUT `token`; uid, owner and type of the address are the token's own unless given."""
        fields: Mapping[str, Any] = json.loads(token.token_json) if isinstance(token, Card) else token
        url = self.url(
            str(fields.get("uid", "")) if uid is None else uid,
            owner or (str(fields.get("country_code", "")), str(fields.get("party_id", ""))),
            str(fields.get("type", "RFID")) if of_type is None else of_type,
        )
        if body is not None:
            return await self._calls.call("PUT", url, headers=headers, body=body, routing=True)
        return await self._calls.call("PUT", url, headers=headers, json=fields, routing=True)

    async def patch(
        self,
        uid: str,
        fields: object,
        *,
        owner: Party | None = None,
        of_type: str | None = None,
        headers: Changes | None = None,
    ) -> Response:
        """PATCH the token with `fields`, as they are: `last_updated` is theirs to bring."""
        url = self.url(uid, owner or self._us, of_type)
        return await self._calls.call("PATCH", url, headers=headers, json=fields, routing=True)

    async def get(
        self, uid: str, of_type: str | None = None, *, owner: Party | None = None, headers: Changes | None = None
    ) -> Response:
        """GET the token as the client keeps it."""
        return await self._calls.call("GET", self.url(uid, owner or self._us, of_type), headers=headers, routing=True)

    def url(self, uid: str, owner: Party, of_type: str | None) -> str:
        """`{tokens}/{country_code}/{party_id}/{token_uid}[?type=]`; without a type the client takes it for RFID."""
        path = "/".join(quote(part, safe="") for part in (*owner, uid))
        query = "" if of_type is None else "?" + urlencode({"type": of_type})
        return f"{self._device.relation.endpoint('tokens', 'RECEIVER').rstrip('/')}/{path}{query}"

    @property
    def _us(self) -> Party:
        return self._device.country_code, self._device.party_id
