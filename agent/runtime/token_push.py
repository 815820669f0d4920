"""The rules by which a peer's pushed tokens come into the whitelist: OCPI 2.2.1 mod_tokens, Receiver Interface.

A success is answered when the token is on the disk. `synced_at` of the peer's tokens stays the end of its last
complete sync: a push says something of one token, and nothing of the list.
"""

import asyncio
import dataclasses
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from agent import model
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.server.ports import Caller, Refusal, Stored, TokenKey, TokensReceiver
from agent.ocpi.timestamps import as_utc
from agent.ocpi.tokens import Token, to_model
from agent.store.whitelist import Put

_FIELDS: dict[str, msgspec.json.Decoder[Any]] = {
    field.name: msgspec.json.Decoder(field.type, strict=False) for field in msgspec.structs.fields(Token)
}
"""Reads each field by itself as it is read in a PUT."""

_KEY = {"country_code": 2, "party_id": 3, "uid": 36}
_IDS = {"contract_id": 36, "group_id": 36}
_LENGTHS = _KEY | _IDS | {"visual_number": 64, "issuer": 64, "language": 2}
"""Characters: OCPI 2.2.1 mod_tokens, Token."""

_TRIES = 8
"""How often a PATCH is made anew because the token was changed meanwhile, before it is refused. A sync changes a token
once; only another process that pushes the same one all the time comes between more than twice."""

_UNKNOWN = Refusal(2004, "this token is not known here", 404)
_FOREIGN = Refusal(2001, "country_code and party_id are none of the caller's roles", 404)
"""OCPI 2.2.1 transport_and_format, Errors: access to what does not belong to the client may be blocked with 404."""

_BUSY = Refusal(3000, "this token is being changed all the time by others; try again")

_STORED = {Put.CREATED: Stored.CREATED, Put.UPDATED: Stored.UPDATED, Put.STALE: Stored.STALE}


class PushedTokens(Protocol):
    """What a push needs of the whitelist."""

    async def get(self, country_code: str, party_id: str, uid: str, kind: model.TokenType) -> model.ListedToken | None:
        """One token. Raises StoreError."""
        ...

    async def put(self, token: model.Token, peer: str, *, instead_of: model.Token | None = None) -> Put:
        """Take it over, or only in place of exactly `instead_of`; durable when it returns. Raises StoreError."""
        ...


class TokenPush:
    """Takes what the peers push. A push is stored as a whole or not at all."""

    def __init__(self, whitelist: PushedTokens) -> None:
        self._whitelist = whitelist
        self._turns: WeakValueDictionary[TokenKey, asyncio.Lock] = WeakValueDictionary()

    async def get(self, caller: Caller, key: TokenKey) -> model.Token | Refusal:
        """The token exactly as it is stored, even where a peer's list brought more than OCPI allows.

        Raises StoreError.
        """
        if refusal := _not_the_owner(caller, key):
            return refusal
        stored = await self._stored(key)
        return _UNKNOWN if stored is None else stored

    async def put(self, caller: Caller, key: TokenKey, token: Token) -> Stored | Refusal:
        """Create or replace it. An older one than is here changes nothing, and is no fault of the peer's either.

        Messages overtake each other; a refusal would only make the peer send the old one again. Raises StoreError.
        """
        [pushed] = to_model([token])
        if refusal := _not_the_owner(caller, key) or _not_the_same(key, pushed, _KEY) or _not_storable(pushed, _FIELDS):
            return refusal
        async with self._turn(key):
            return _STORED[await self._whitelist.put(pushed, caller.peer)]

    async def patch(self, caller: Caller, key: TokenKey, changes: Mapping[str, msgspec.Raw]) -> Stored | Refusal:
        """Change the fields that are named; `null` clears an optional one. Raises StoreError."""
        if refusal := _not_the_owner(caller, key):
            return refusal
        if "last_updated" not in changes:
            return Refusal(2001, "last_updated: missing, though every PATCH has to have it")
        # One after the other for one token, so that those of one process never come between each other.
        async with self._turn(key):
            return await self._patched(caller, key, changes)

    async def _patched(self, caller: Caller, key: TokenKey, changes: Mapping[str, msgspec.Raw]) -> Stored | Refusal:
        stored = await self._stored(key)
        for _ in range(_TRIES):
            if stored is None:
                return _UNKNOWN
            merged = _merged(key, stored, changes)
            if isinstance(merged, Refusal):
                return merged
            put = await self._whitelist.put(merged, caller.peer, instead_of=stored)
            if put is not Put.STALE:
                return _STORED[put]
            before, stored = stored, await self._stored(key)
            if stored == before:
                return Stored.STALE
        return _BUSY

    async def _stored(self, key: TokenKey) -> model.Token | None:
        kind = model.TokenType(key.type.value)
        listed = await self._whitelist.get(key.country_code, key.party_id, key.uid, kind)
        return None if listed is None else listed.token

    def _turn(self, key: TokenKey) -> asyncio.Lock:
        same = TokenKey(key.country_code.upper(), key.party_id.upper(), key.uid.upper(), key.type)
        return self._turns.setdefault(same, asyncio.Lock())


def _merged(key: TokenKey, stored: model.Token, changes: Mapping[str, msgspec.Raw]) -> model.Token | Refusal:
    """Only what is changed has to keep to the rules: what a list brought must not keep its owner from blocking it."""
    changed: dict[str, Any] = {}
    for name, raw in changes.items():
        if name not in _FIELDS:
            continue  # unknown fields are no mistake
        try:
            value = _FIELDS[name].decode(raw)
            changed[name] = as_utc(value) if isinstance(value, datetime) else value
        except (*UNREADABLE, ValueError) as error:
            return Refusal(2001, f"{name}: {error}")
    fields = {field.name: getattr(stored, field.name) for field in dataclasses.fields(stored)}
    merged = msgspec.convert(fields | changed, model.Token, from_attributes=True)
    return _not_the_same(key, merged, changed) or _not_storable(merged, changed) or merged


def _not_the_owner(caller: Caller, key: TokenKey) -> Refusal | None:
    party = key.country_code.upper(), key.party_id.upper()
    return None if caller.pushes_for_others or party in caller.parties else _FOREIGN


def _not_the_same(key: TokenKey, token: model.Token, names: Container[str]) -> Refusal | None:
    """OCPI 2.2.1 transport_and_format, Errors: 2001 where the URL and the object differ; CiStrings, so not in case."""
    for name in _KEY:
        if name in names and getattr(key, name).upper() != getattr(token, name).upper():
            return Refusal(2001, f"{name}: differs from the URL's")
    if key.type.value != token.type.value:
        return Refusal(2001, f"type: the object is {token.type}, the URL says {key.type} (RFID where it says nothing)")
    return None


def _not_storable(token: model.Token, names: Container[str]) -> Refusal | None:
    """What is wrong with one of the fields `names`."""
    for name, most in _LENGTHS.items():
        if name not in names:
            continue
        text = getattr(token, name) or ""
        if len(text) > most:
            return Refusal(2001, f"{name}: expected at most {most} characters")
        if name in _KEY and (not (text.isascii() and text.isprintable()) or text != text.strip()):
            return Refusal(2001, f"{name}: expected printable ASCII characters")
        if name in _IDS and not text.isprintable():
            return Refusal(2001, f"{name}: expected no control characters")
    return None


def _fits(push: TokenPush) -> TokensReceiver:
    return push
