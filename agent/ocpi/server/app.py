"""The ASGI application: which path is which module's, and how its objects are read and written.

OCPI 2.2.1 version_information_endpoint, credentials, and mod_tokens' Receiver Interface.
"""

import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.ocpi.addressing import Party
from agent.ocpi.credentials import CREDENTIALS, Credentials
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.server.answers import failed, refused, success, written
from agent.ocpi.server.gate import DEFAULT_LIMITS, Gate, Incoming, Limits, incoming
from agent.ocpi.server.limits import is_nested_too_deep
from agent.ocpi.server.ports import (
    Callers,
    CredentialsReceiver,
    Refusal,
    Stored,
    TokenKey,
    TokensReceiver,
)
from agent.ocpi.tokens import Token, TokenType
from agent.ocpi.versions import VERSION, Endpoint, Version, VersionDetails

_T = TypeVar("_T")

_TOKEN = msgspec.json.Decoder(Token, strict=False)
_CHANGES = msgspec.json.Decoder(dict[str, msgspec.Raw])


def create_app(
    *,
    public_url: str,
    us: Party,
    callers: Callers,
    credentials: CredentialsReceiver,
    tokens: TokensReceiver,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """Everything below `public_url`, under which the peers reach us: its path is the base path here, too.

    `clock` gives seconds for the limits.
    """
    public_url = public_url.rstrip("/")
    base = unquote(urlsplit(public_url).path)
    modules = _Modules(public_url, credentials, tokens)
    routes = [
        Route(f"{base}/versions", modules.versions, methods=["GET"]),
        Route(f"{base}/{VERSION}", modules.details, methods=["GET"]),
        Route(f"{base}/{VERSION}/credentials", modules.credentials, methods=["GET", "POST", "PUT", "DELETE"]),
        Route(f"{base}/{VERSION}/tokens/{{key:path}}", modules.tokens, methods=["GET", "PUT", "PATCH"]),
    ]
    gate = Middleware(Gate, callers=callers, limits=limits, us=us, functional=f"{base}/{VERSION}/tokens", clock=clock)
    app = Starlette(routes=routes, middleware=[gate], exception_handlers={HTTPException: _http_error})
    app.router.redirect_slashes = False
    return app


def versions_url(public_url: str) -> str:
    """What a peer's operator is given."""
    return f"{public_url.rstrip('/')}/versions"


class _Modules:
    """One method a path. Starlette calls it only for the methods that its route names."""

    def __init__(self, public_url: str, credentials: CredentialsReceiver, tokens: TokensReceiver) -> None:
        root = f"{public_url}/{VERSION}"
        self._above_key = len(f"{urlsplit(public_url).path}/{VERSION}/tokens".split("/"))
        self._credentials = credentials
        self._tokens = tokens
        self._versions = [Version(VERSION, root)]
        self._details = VersionDetails(
            [
                # SENDER is what the chapter advises for this module, whose role means nothing.
                Endpoint("credentials", f"{root}/credentials", "SENDER"),
                Endpoint("tokens", f"{root}/tokens", "RECEIVER"),
            ],
            VERSION,
        )

    async def versions(self, _request: Request) -> Response:
        return success(self._versions)

    async def details(self, _request: Request) -> Response:
        return success(self._details)

    async def credentials(self, request: Request) -> Response:
        arrived = incoming(request.scope)
        match request.method:
            case "POST":
                return await self._register(arrived)
            case "PUT":
                return await self._update(arrived)
            case "DELETE":
                refusal = await self._credentials.unregister(arrived.caller)
                return success() if refusal is None else _refused(refusal)
            case _:
                return success(await self._credentials.shown(arrived.caller))

    async def _register(self, arrived: Incoming) -> Response:
        if refusal := await self._credentials.may_register(arrived.caller):
            return _refused(refusal)
        theirs = _read(CREDENTIALS, arrived.body)
        if isinstance(theirs, Response):
            return theirs
        return _exchanged(await self._credentials.register(arrived.caller, theirs), 201)

    async def _update(self, arrived: Incoming) -> Response:
        if refusal := await self._credentials.may_update(arrived.caller):
            return _refused(refusal)
        theirs = _read(CREDENTIALS, arrived.body)
        if isinstance(theirs, Response):
            return theirs
        return _exchanged(await self._credentials.update(arrived.caller, theirs), 200)

    async def tokens(self, request: Request) -> Response:
        key = _key(request, self._above_key)
        if key is None:
            return failed(404, "there is nothing here; expected tokens/{country_code}/{party_id}/{token_uid}")
        arrived = incoming(request.scope)
        match request.method:
            case "PUT":
                token = _read(_TOKEN, arrived.body)
                if isinstance(token, Response):
                    return token
                return _stored(await self._tokens.put(arrived.caller, key, token))
            case "PATCH":
                changes = _read(_CHANGES, arrived.body)
                if isinstance(changes, Response):
                    return changes
                return _stored(await self._tokens.patch(arrived.caller, key, changes))
            case _:
                found = await self._tokens.get(arrived.caller, key)
                return refused(found) if isinstance(found, Refusal) else success(written(found))


def _key(request: Request, above: int) -> TokenKey | None:
    """The three segments after the first `above`, each decoded by itself, for a uid may hold a slash."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    segments = [unquote(part) for part in raw.decode("latin-1").rstrip("/").split("/")]
    if len(segments) != above + 3 or not all(segments[above:]):
        return None
    query = dict(parse_qsl(request.scope["query_string"].decode("latin-1")))
    country_code, party_id, uid = segments[above:]
    return TokenKey(country_code, party_id, uid, TokenType(query.get("type") or "RFID"))


def _read(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T | Response:
    """An object; 400 for what is no JSON, 2001 for what is none of ours (OCPI 2.2.1 status_codes)."""
    if is_nested_too_deep(body):
        return refused(Refusal(2001, "the body is nested too deep"))
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        return _unreadable(body, error)


def _unreadable(body: bytes, error: Exception) -> Response:
    try:
        _is_json(body)
    except UNREADABLE as broken:  # also where a wrong type came first, and stopped the reading
        return failed(400, f"the body is no JSON: {broken}")
    return refused(Refusal(2001, str(error)))


def _is_json(body: bytes) -> None:
    """Raises one of UNREADABLE for what is none. A number that no field of ours can hold is one all the same."""
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError:
        msgspec.json.decode(body, type=msgspec.Raw)


def _exchanged(result: Credentials | Refusal, http_status: int) -> Response:
    return _refused(result) if isinstance(result, Refusal) else success(result, http_status=http_status)


def _refused(refusal: Refusal) -> Response:
    return refused(refusal, {"Allow": "GET, POST, PUT, DELETE"} if refusal.http_status == 405 else None)


def _stored(result: Stored | Refusal) -> Response:
    match result:
        case Refusal():
            return refused(result)
        case Stored.CREATED:
            return success(http_status=201)
        case Stored.UPDATED:
            return success()
        case Stored.STALE:
            return success(message="a newer version of this token is stored; nothing was changed")


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing here", 405: "this method is not offered here"}
    return failed(error.status_code, words.get(error.status_code, error.detail), error.headers)
