"""The ASGI application: which path is which part's, and who may ask for it. Nothing here leads to a relay."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from time import monotonic
from urllib.parse import parse_qs

import msgspec

from agent.errors import StoreError
from agent.ocpi.server.asgi import Application, Message, Receive, Scope, Send, welcome
from agent.ocpi.server.limits import PerMinute
from agent.panel.exchange import (
    Answer,
    Gone,
    Request,
    body_of,
    every_header,
    json_bytes,
    refused,
    replayed,
    said,
    send_answer,
)
from agent.panel.guard import Guard
from agent.panel.login import Login, Session
from agent.panel.pace import Pace
from agent.panel.pages import Page
from agent.panel.stream import Stream

log = logging.getLogger(__name__)

WORLD = "/world/"

CARDS_A_MINUTE = 120
"""For all clients: somebody types."""

REVEALS_A_MINUTE = 30
"""For each user: each one costs a commit to the disk."""

Explains = Callable[[str], Awaitable[object]]
"""What would happen to a card, as JSON. Raises ValueError for what is no uid, StoreError."""

Reveals = Callable[[int, str, str], Awaitable[str | None]]
"""A tap's uid in clear, once it is on record who saw it, from where. None: no such tap is known. Raises StoreError."""

_PATHS: Mapping[str, tuple[str, ...]] = {
    "/events": ("GET",),
    "/state": ("GET", "HEAD"),
    "/cards": ("GET", "HEAD"),
    "/login": ("POST",),
    "/logout": ("POST",),
    "/reveal": ("POST",),
}
_OPEN = frozenset({"/login", "/logout", "/state"})
"""For those who are not logged in, too: of the state they get no more than that a login is needed."""


class _Reveal(msgspec.Struct, forbid_unknown_fields=True):
    tap: int


class PanelApp:
    """Serves one panel."""

    def __init__(
        self,
        *,
        guard: Guard,
        login: Login,
        stream: Stream,
        pages: Mapping[str, Page],
        explains: Explains,
        reveals: Reveals,
        world: Application | None = None,
        time: Callable[[], float] = monotonic,
    ) -> None:
        """`world` answers what is below `/world/`, to the same clients and by the same rules. `time` is for limits."""
        self.pages = pages
        self._guard = guard
        self._login = login
        self._stream = stream
        self._explains = explains
        self._reveals = reveals
        self._world = world
        self._cards = PerMinute(CARDS_A_MINUTE, clock=time)
        self._revealed = PerMinute(REVEALS_A_MINUTE, clock=time)
        self._one_card = asyncio.Lock()
        self._pace = Pace(time)
        self._forged = Pace(time)
        """Of its own: what another site's page has a browser ask is not to use up what its person may ask."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request.of(scope)
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            answer = await self._answer(scope, request, receive, sending)
        except Gone:
            return
        except StoreError as error:
            answer = refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except Exception:
            log.exception("the panel has failed at a request")
            if began:
                raise
            answer = refused(HTTPStatus.INTERNAL_SERVER_ERROR, "the panel has failed at this, see the log")
        if answer is not None:
            await send_answer(answer, send, head_only=request.method == "HEAD")

    async def _answer(self, scope: Scope, request: Request, receive: Receive, send: Send) -> Answer | None:
        """None where it has been sent already."""
        forged = self._guard.refusal(request)
        session = None if forged else self._login.session_of(request)
        pace = self._forged if forged else self._pace
        if session is None and not pace.takes(request.client):
            # Closed, for the next connection is counted before anything is read of it.
            headers = {"retry-after": "1", "connection": "close"}
            return refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", headers)
        if session is not None:
            welcome(scope)
        answer = forged or self._misplaced(request) or self._page(request)
        if answer is not None:
            return answer
        if self._login.is_needed and session is None and request.path not in _OPEN:
            return refused(HTTPStatus.UNAUTHORIZED, "log in first")
        if request.method == "POST":
            return await self._post(scope, request, session, receive, send)
        return await self._get(scope, request, session, receive, send)

    def _misplaced(self, request: Request) -> Answer | None:
        """404 and 405; and that there is no world, which a page asks at each start and which is no error."""
        if self._world is None and request.path == f"{WORLD}state":
            return Answer(HTTPStatus.NO_CONTENT)
        is_world = self._world is not None and request.path.startswith(WORLD)
        is_page = request.path in self.pages or request.path == "/favicon.ico"
        methods = ("GET", "HEAD") if is_page else ("GET", "POST") if is_world else _PATHS.get(request.path)
        if methods is None:
            return refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        if request.method not in methods:
            return refused(HTTPStatus.METHOD_NOT_ALLOWED, "not in this way", {"allow": ", ".join(methods)})
        return None

    def _page(self, request: Request) -> Answer | None:
        """One of the page's own files, which anybody may have; browsers ask for the icon whatever the page says."""
        if request.path == "/favicon.ico":
            return Answer(HTTPStatus.NO_CONTENT)
        page = self.pages.get(request.path)
        return None if page is None else page.answer(request)

    async def _get(
        self, scope: Scope, request: Request, session: Session | None, receive: Receive, send: Send
    ) -> Answer | None:
        match request.path:
            case "/events":
                return await self._events(session, receive, send)
            case "/state":
                return await self._state(session)
            case "/cards":
                return await self._card(request)
        await self._in_world(scope, receive, send)
        return None

    async def _post(
        self, scope: Scope, request: Request, session: Session | None, receive: Receive, send: Send
    ) -> Answer | None:
        if not self._login.is_token(session, request.headers.get("x-panel-token", "")):
            return refused(HTTPStatus.FORBIDDEN, "the page is out of date: load it again")
        body = await body_of(request, receive)
        if isinstance(body, Answer):
            return body
        match request.path:
            case "/login":
                return await self._login.log_in(request, body)
            case "/logout":
                return self._login.log_out(request)
            case "/reveal":
                return await self._reveal(request, session, body)
        await self._in_world(scope, replayed(body, receive), send)
        return None

    # ---- what is shown

    def _head(self, session: Session | None) -> bytes:
        """The beginning of a state, which is each client's own."""
        own = {
            "version": 1,
            "token": self._login.token_of(session),
            "login": {"needed": self._login.is_needed, "user": session.user if session else None},
        }
        return json_bytes(own)[:-1] + b","

    async def _state(self, session: Session | None) -> Answer:
        if self._login.is_needed and session is None:
            at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return Answer(HTTPStatus.OK, self._head(None) + json_bytes({"at": at})[1:])
        return Answer(HTTPStatus.OK, self._head(session) + await self._stream.newest())

    async def _events(self, session: Session | None, receive: Receive, send: Send) -> Answer | None:
        if not self._stream.has_room:
            why = f"{self._stream.clients} pages are open already: close one of them"
            return refused(HTTPStatus.SERVICE_UNAVAILABLE, why, {"retry-after": "10"})

        def head() -> bytes | None:
            if session is None:
                return self._head(None)
            return self._head(session) if self._login.keep(session) else None

        await self._stream.serve(head, receive, send)
        return None

    async def _card(self, request: Request) -> Answer:
        wait_s = self._cards.take("")
        if wait_s:
            return _later(wait_s)
        try:
            query = parse_qs(request.query.decode("ascii"), keep_blank_values=True, max_num_fields=4)
            (uid,) = query["q"]
        except (ValueError, KeyError):
            return refused(HTTPStatus.BAD_REQUEST, "expected ?q= and a card's uid")
        async with self._one_card:
            try:
                return said(await self._explains(uid))
            except ValueError as error:
                return refused(HTTPStatus.BAD_REQUEST, str(error))

    async def _reveal(self, request: Request, session: Session | None, body: bytes) -> Answer:
        if session is None:
            why = "a card's number is shown to somebody who is logged in, and recorded: see login_file of [panel]"
            return refused(HTTPStatus.FORBIDDEN, why)
        wait_s = self._revealed.take(session.user)
        if wait_s:
            return _later(wait_s)
        try:
            wanted = msgspec.json.decode(body, type=_Reveal)
        except (msgspec.DecodeError, RecursionError):
            return refused(HTTPStatus.BAD_REQUEST, 'expected {"tap": id}')
        uid = await self._reveals(wanted.tap, session.user, request.client)
        if uid is None:
            return refused(HTTPStatus.NOT_FOUND, "this tap is not shown any more")
        return said({"uid": uid})

    async def _in_world(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._world is not None, "its paths are none of ours without it"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(k, v) for k, v in message.get("headers", ()) if k.lower() != b"cache-control"]
                message["headers"] = every_header([*headers, (b"cache-control", b"no-store")])
            await send(message)

        await self._world(scope, receive, guarded)


def _later(wait_s: int) -> Answer:
    return refused(HTTPStatus.TOO_MANY_REQUESTS, f"too often: again in {wait_s} s", {"retry-after": str(wait_s)})
