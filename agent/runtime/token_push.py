"""The rules by which a peer's pushed tokens come into the whitelist: OCPI 2.2.1 mod_tokens, Receiver Interface.

A success is answered when the token is on the disk. `synced_at` of the peer's tokens stays the end of its last
complete sync: a push says something of one token, and nothing of the list.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from agent import model
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.server.ports import Caller, Refusal, Stored, TokenKey, TokensReceiver
from agent.ocpi.tokens import Token, to_model
from agent.store.whitelist import Put

_REQUIRED = frozenset(field.name for field in msgspec.structs.fields(Token) if field.required)
_KEY = {"country_code": 2, "party_id": 3, "uid": 36}
_MOST = {"contract_id": 36, "group_id": 36, "visual_number": 64, "issuer": 64, "language": 2}
"""Characters: OCPI 2.2.1 mod_tokens, Token."""

_UNKNOWN = Refusal(2004, "this token is not known here", 404)
_FOREIGN = Refusal(2001, "country_code and party_id are none of the caller's roles", 404)
"""OCPI 2.2.1 transport_and_format, Errors: access to what does not belong to the client may be blocked with 404."""

_STORED = {Put.CREATED: Stored.CREATED, Put.UPDATED: Stored.UPDATED, Put.STALE: Stored.STALE}


class PushedTokens(Protocol):
    """What a push needs of the whitelist."""

    async def get(self, country_code: str, party_id: str, uid: str, kind: model.TokenType) -> model.ListedToken | None:
        """One token. Raises StoreError."""
        ...

    async def put(self, token: model.Token, peer: str) -> Put:
        """Take it over; durable when it returns. Raises StoreError."""
        ...


class TokenPush:
    """Takes what the peers push. A push is stored as a whole or not at all."""

    def __init__(self, whitelist: PushedTokens) -> None:
        self._whitelist = whitelist
        self._turns: WeakValueDictionary[TokenKey, asyncio.Lock] = WeakValueDictionary()

    async def get(self, caller: Caller, key: TokenKey) -> Token | Refusal:
        """The token with all that is stored of it. Raises StoreError."""
        if refusal := _not_the_owner(caller, key):
            return refusal
        stored = await self._stored(key)
        return _UNKNOWN if stored is None else stored

    async def put(self, caller: Caller, key: TokenKey, token: Token) -> Stored | Refusal:
        """Create or replace it. An older one than is here changes nothing, and is no fault of the peer's either.

        Messages overtake each other; a refusal would only make the peer send the old one again. Raises StoreError.
        """
        if refusal := _not_the_owner(caller, key) or _not_the_same(key, token) or _not_storable(token):
            return refusal
        async with self._turn(key):
            return await self._put(token, caller)

    async def patch(self, caller: Caller, key: TokenKey, changes: Mapping[str, msgspec.Raw]) -> Stored | Refusal:
        """Change the fields that are named; `null` clears an optional one. Raises StoreError."""
        if refusal := _not_the_owner(caller, key):
            return refusal
        if "last_updated" not in changes:
            return Refusal(2001, "last_updated: missing, though every PATCH has to have it")
        # One after the other for one token: two that are merged into the same old object would lose one of them.
        async with self._turn(key):
            stored = await self._stored(key)
            if stored is None:
                return _UNKNOWN
            merged = _merged(key, stored, changes)
            if isinstance(merged, Refusal):
                return merged
            return await self._put(merged, caller) if merged.last_updated >= stored.last_updated else Stored.STALE

    async def _put(self, token: Token, caller: Caller) -> Stored:
        [modelled] = to_model([token])
        return _STORED[await self._whitelist.put(modelled, caller.peer)]

    async def _stored(self, key: TokenKey) -> Token | None:
        kind = model.TokenType(key.type.value)
        listed = await self._whitelist.get(key.country_code, key.party_id, key.uid, kind)
        return None if listed is None else msgspec.convert(listed.token, Token, from_attributes=True)

    def _turn(self, key: TokenKey) -> asyncio.Lock:
        same = TokenKey(key.country_code.upper(), key.party_id.upper(), key.uid.upper(), key.type)
        return self._turns.setdefault(same, asyncio.Lock())


def _merged(key: TokenKey, stored: Token, changes: Mapping[str, msgspec.Raw]) -> Token | Refusal:
    fields: dict[str, Any] = msgspec.structs.asdict(stored)
    try:
        for name, raw in changes.items():
            if name not in fields:
                continue  # unknown fields are no mistake
            value = msgspec.json.decode(raw)
            if value is None and name in _REQUIRED:
                return Refusal(2001, f"{name}: is required and can't be cleared")
            fields[name] = value
        # Converted as a whole, so that a field is read here as it is in a PUT, and the whole still is a Token.
        merged = msgspec.convert(fields, Token, strict=False, from_attributes=True)
    except UNREADABLE as error:
        return Refusal(2001, str(error))
    return _not_the_same(key, merged) or _not_storable(merged) or merged


def _not_the_owner(caller: Caller, key: TokenKey) -> Refusal | None:
    party = key.country_code.upper(), key.party_id.upper()
    return None if caller.pushes_for_others or party in caller.parties else _FOREIGN


def _not_the_same(key: TokenKey, token: Token) -> Refusal | None:
    """OCPI 2.2.1 transport_and_format, Errors: 2001 where the URL and the object differ; CiStrings, so not in case."""
    for name in _KEY:
        if getattr(key, name).upper() != getattr(token, name).upper():
            return Refusal(2001, f"{name}: differs from the URL's")
    if key.type is not token.type:
        return Refusal(2001, f"type: the object is {token.type}, the URL says {key.type} (RFID where it says nothing)")
    return None


def _not_storable(token: Token) -> Refusal | None:
    for name, most in _KEY.items():
        text = getattr(token, name)
        if len(text) > most or not (text.isascii() and text.isprintable()) or text != text.strip():
            return Refusal(2001, f"{name}: expected at most {most} printable ASCII characters")
    for name, most in _MOST.items():
        if len(getattr(token, name) or "") > most:
            return Refusal(2001, f"{name}: expected at most {most} characters")
    return None


def _fits(push: TokenPush) -> TokensReceiver:
    return push
