"""The ASGI application: which path is which module's, and how its objects are read and written.

OCPI 2.2.1 version_information_endpoint, credentials, mod_tokens' Receiver Interface, and the Sender Interfaces of
mod_sessions and mod_cdrs.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from agent.ocpi.addressing import Party
from agent.ocpi.credentials import CREDENTIALS, Credentials
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.server.answers import Answer, failed, refused, success, written
from agent.ocpi.server.gate import DEFAULT_LIMITS, Gate, Incoming, Limits
from agent.ocpi.server.limits import is_nested_too_deep
from agent.ocpi.server.lists import PulledList
from agent.ocpi.server.ports import (
    Callers,
    CredentialsReceiver,
    Refusal,
    ReportsSender,
    Stored,
    TokenKey,
    TokensReceiver,
)
from agent.ocpi.tokens import Token, TokenType
from agent.ocpi.versions import VERSION, Endpoint, Version, VersionDetails

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_Methods = Mapping[str, Callable[[Incoming], Awaitable[Answer]]]

_TOKEN = msgspec.json.Decoder(Token, strict=False)
_CHANGES = msgspec.json.Decoder(dict[str, msgspec.Raw])


def create_app(
    *,
    public_url: str,
    us: Party,
    callers: Callers,
    credentials: CredentialsReceiver,
    tokens: TokensReceiver,
    reports: ReportsSender | None = None,
    limits: Limits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> Gate:
    """Everything below `public_url`, under which the peers reach us: its path is the base path here, too.

    Without `reports` there are neither sessions nor CDRs to pull. `clock` gives seconds for the limits.
    """
    modules = _Modules(public_url.rstrip("/"), credentials, tokens, reports)
    return Gate(modules.answer, callers=callers, limits=limits, us=us, functional=modules.functional, clock=clock)


def versions_url(public_url: str) -> str:
    """What a peer's operator is given."""
    return f"{public_url.rstrip('/')}/versions"


class _Modules:
    """Which path is answered by what, and how."""

    def __init__(
        self,
        public_url: str,
        credentials: CredentialsReceiver,
        tokens: TokensReceiver,
        reports: ReportsSender | None,
    ) -> None:
        base, root = unquote(urlsplit(public_url).path), f"{public_url}/{VERSION}"
        self._tokens_path = f"{base}/{VERSION}/tokens"
        self._above_key = len(f"{urlsplit(public_url).path}/{VERSION}/tokens".split("/"))
        self._credentials = credentials
        self._tokens = tokens
        lists = {"sessions": reports.sessions_of, "cdrs": reports.cdrs_of} if reports else {}
        self.functional = tuple(f"{base}/{VERSION}/{module}" for module in ("tokens", *lists))
        """The paths of functional modules, as OCPI calls those beside versions and credentials."""
        self._versions = [Version(VERSION, root)]
        self._details = VersionDetails(
            [
                # SENDER is what the chapter advises for this module, whose role means nothing.
                Endpoint("credentials", f"{root}/credentials", "SENDER"),
                Endpoint("tokens", f"{root}/tokens", "RECEIVER"),
                *(Endpoint(module, f"{root}/{module}", "SENDER") for module in lists),
            ],
            VERSION,
        )
        self._of_token: _Methods = {"GET": self._get_token, "PUT": self._put_token, "PATCH": self._patch_token}
        self._at: Mapping[str, _Methods] = {
            f"{base}/versions": {"GET": self._get_versions},
            f"{base}/{VERSION}": {"GET": self._get_details},
            f"{base}/{VERSION}/credentials": {
                "GET": self._get_credentials,
                "POST": self._register,
                "PUT": self._update,
                "DELETE": self._unregister,
            },
            **{
                f"{base}/{VERSION}/{module}": {"GET": PulledList(f"{root}/{module}", read).get}
                for module, read in lists.items()
            },
        }

    async def answer(self, request: Incoming) -> Answer:
        """404 and 405 included."""
        below_tokens = request.path.startswith(f"{self._tokens_path}/")
        methods = self._of_token if below_tokens else self._at.get(request.path)
        if methods is None:
            return failed(404, "there is nothing here")
        method = methods.get("GET" if request.method == "HEAD" else request.method)
        if method is None:
            return failed(405, "this method is not offered here", {"Allow": ", ".join(("HEAD", *methods))})
        return await method(request)

    async def _get_versions(self, _request: Incoming) -> Answer:
        return success(self._versions)

    async def _get_details(self, _request: Incoming) -> Answer:
        return success(self._details)

    async def _get_credentials(self, request: Incoming) -> Answer:
        return success(await self._credentials.shown(request.caller))

    async def _register(self, request: Incoming) -> Answer:
        if refusal := await self._credentials.may_register(request.caller):
            return _refused(refusal)
        theirs = _credentials(request)
        if isinstance(theirs, Answer):
            return theirs
        return _exchanged(await self._credentials.register(request.caller, theirs), 201)

    async def _update(self, request: Incoming) -> Answer:
        if refusal := await self._credentials.may_update(request.caller):
            return _refused(refusal)
        theirs = _credentials(request)
        if isinstance(theirs, Answer):
            return theirs
        return _exchanged(await self._credentials.update(request.caller, theirs), 200)

    async def _unregister(self, request: Incoming) -> Answer:
        refusal = await self._credentials.unregister(request.caller)
        return success() if refusal is None else _refused(refusal)

    async def _get_token(self, request: Incoming) -> Answer:
        key = self._key(request)
        if isinstance(key, Answer):
            return key
        found = await self._tokens.get(request.caller, key)
        return refused(found) if isinstance(found, Refusal) else success(written(found))

    async def _put_token(self, request: Incoming) -> Answer:
        key = self._key(request)
        if isinstance(key, Answer):
            return key
        token = _read(_TOKEN, request.body)
        if isinstance(token, Answer):
            return token
        return _stored(await self._tokens.put(request.caller, key, token))

    async def _patch_token(self, request: Incoming) -> Answer:
        key = self._key(request)
        if isinstance(key, Answer):
            return key
        changes = _read(_CHANGES, request.body)
        if isinstance(changes, Answer):
            return changes
        return _stored(await self._tokens.patch(request.caller, key, changes))

    def _key(self, request: Incoming) -> TokenKey | Answer:
        """The last three segments, each decoded by itself, for a uid may hold a slash."""
        key = request.raw_path.rstrip("/").split("/")[self._above_key :]
        if len(key) != 3 or not all(key):
            return failed(404, "there is nothing here; expected tokens/{country_code}/{party_id}/{token_uid}")
        country_code, party_id, uid = map(unquote, key)
        query = dict(parse_qsl(request.query)) if request.query else {}
        return TokenKey(country_code, party_id, uid, TokenType(query.get("type") or "RFID"))


def _credentials(request: Incoming) -> Credentials | Answer:
    theirs = _read(CREDENTIALS, request.body)
    if isinstance(theirs, Answer):
        # What was wrong with it goes to the peer; here it is enough to know that somebody tries.
        log.warning("peer %s: its credentials were refused: they can't be read", request.caller.peer)
    return theirs


def _read(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T | Answer:
    """An object; 400 for what is no JSON, 2001 for what is none of ours (OCPI 2.2.1 status_codes)."""
    if is_nested_too_deep(body):
        return refused(Refusal(2001, "the body is nested too deep"))
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        return _unreadable(body, error)


def _unreadable(body: bytes, error: Exception) -> Answer:
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


def _exchanged(result: Credentials | Refusal, http_status: int) -> Answer:
    return _refused(result) if isinstance(result, Refusal) else success(result, http_status=http_status)


def _refused(refusal: Refusal) -> Answer:
    return refused(refusal, {"Allow": "GET, POST, PUT, DELETE"} if refusal.http_status == 405 else {})


def _stored(result: Stored | Refusal) -> Answer:
    match result:
        case Refusal():
            return refused(result)
        case Stored.CREATED:
            return success(http_status=201)
        case Stored.UPDATED:
            return success()
        case Stored.STALE:
            return success(message="a newer version of this token is stored; nothing was changed")
