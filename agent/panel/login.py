"""Who is logged in: sessions in memory, which end with the agent, with the password that began them, and by themselves.

Every login begins a session of a new, random name: what a browser brought along before is of no account.
"""

import asyncio
import errno
import hashlib
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from agent.core.glyphs import sanitise
from agent.errors import ConfigError
from agent.panel.aside import Aside
from agent.panel.attempts import Attempts, origin_of
from agent.panel.exchange import Answer, Request, refused, said
from agent.panel.passwords import LONGEST, Credential, nobody, read_logins

log = logging.getLogger(__name__)

IDLE_S = 1800.0
"""A session ends after so long without the page: an open page keeps it."""

WHOLE_S = 12 * 3600.0
"""A working day: then it ends however busy it is."""

_MOST_SESSIONS = 64
"""One more ends the one that was used longest ago. Each of them took a password."""

_FAILED_S = 1.0
"""A wrong password is answered no sooner than so long after it came, whatever was wrong with it."""

_MOST_WAITING = 4
"""Logins at once from elsewhere, of which one is worked on: a password costs a processor's second and 16 MiB."""

_MOST_HERE = 2
"""And from this machine, beside them."""

_MOST_OF_ONE = 2
"""From any other address."""

_ID_BYTES = 32


@dataclass(slots=True)
class Session:
    """Somebody who is logged in."""

    credential: Credential
    began_at: float
    used_at: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(_ID_BYTES))
    """What a request that changes something has to bring along beside the cookie."""
    ends: bool = False
    """Somebody has logged out, or may not be logged in any more."""

    @property
    def user(self) -> str:
        """The name in the login file."""
        return self.credential.user


_NOT_LOOKED_AT = object()

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What keeps a file from being read that is as good as it was: whoever is logged in stays so, and it is tried again."""


class Login:
    """Keeps the sessions. Without a file nobody can log in, and nobody needs to."""

    def __init__(
        self,
        file: Path | None,
        *,
        secure: bool,
        time: Callable[[], float],
        failed_s: float = _FAILED_S,
    ) -> None:
        """`secure`: the cookie is for TLS alone. While the login file can't be used, nobody can log in."""
        self._file = file
        self._seen: object = _NOT_LOOKED_AT
        self._is_broken = False
        self._credentials: dict[str, Credential] = {}
        self._cookie = "__Host-panel" if secure else "panel"
        self._attributes = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        self._time = time
        self._failed_s = failed_s
        self._attempts = Attempts()
        self._sessions: dict[bytes, Session] = {}
        self._anonymous = secrets.token_urlsafe(_ID_BYTES)
        self._unknown = nobody()
        self._waiting: Counter[str] = Counter()
        """Logins under way, by where they come from."""
        self._hashing = asyncio.Lock()
        self._aside = Aside()
        self._look_at_file()

    @property
    def is_needed(self) -> bool:
        """Whether the panel shows anything to somebody who is not logged in."""
        return self._file is not None

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def session_of(self, request: Request) -> Session | None:
        """Whose request it is; asking keeps the session."""
        found = (self._sessions.get(_key(value)) for value in request.cookies(self._cookie))
        return next((session for session in found if session is not None and self.keep(session)), None)

    def keep(self, session: Session) -> bool:
        """Whether it still goes on: then this counts as a use of it."""
        self._look_at_file()
        now = self._time()
        session.ends = not self._goes_on(session, now)
        if session.ends:
            self._sessions = {key: one for key, one in self._sessions.items() if not one.ends}
        else:
            session.used_at = now
        return not session.ends

    def token_of(self, session: Session | None) -> str:
        """What this client's page has to bring along."""
        return self._anonymous if session is None else session.token

    def is_token(self, session: Session | None, given: str) -> bool:
        """Whether a request brings it, without telling by the time how much of it was right."""
        return hmac.compare_digest(self.token_of(session).encode(), given.encode("utf-8", "replace"))

    async def log_in(self, request: Request, body: bytes) -> Answer:
        """A form with `user` and `password`. Beside the answer for wrong ones, 429 says when to try again."""
        hindrance = self._hindrance(request)
        if hindrance is not None:
            return hindrance
        form = _form(body)
        if form is None:
            return refused(HTTPStatus.BAD_REQUEST, "expected a form with user and password")
        began, origin = self._time(), origin_of(request.client)
        self._waiting[origin] += 1
        try:
            checked = await self._checked(request.client, *form)
        finally:
            self._waiting[origin] -= 1
            self._waiting = +self._waiting
        if isinstance(checked, Credential):
            log.info("panel: %s has logged in from %s", checked.user, sanitise(request.client) or "a socket")
            return self._begun(request, checked)
        await asyncio.sleep(max(0.0, began + self._failed_s - self._time()))
        return checked

    def _hindrance(self, request: Request) -> Answer | None:
        """What is against an attempt before the password is looked at; it costs next to nothing."""
        if not self.is_needed:
            return refused(HTTPStatus.NOT_FOUND, "there is no login here: see login_file of [panel]")
        self._look_at_file()
        if self._is_broken:
            return refused(HTTPStatus.SERVICE_UNAVAILABLE, "nobody can log in now: the charge point's log says why")
        wait_s = self._attempts.wait_s(request.client, self._time())
        if not wait_s and not self._has_room(request.client):
            wait_s = 1
        return _later(wait_s) if wait_s else None

    def _has_room(self, client: str) -> bool:
        """Whether one more from there may wait: nobody from outside keeps out who sits at the charger."""
        here, origin = origin_of("127.0.0.1"), origin_of(client)
        if origin == here:
            return self._waiting[here] < _MOST_HERE
        has_places = self._waiting[origin] < _MOST_OF_ONE
        return has_places and self._waiting.total() - self._waiting[here] < _MOST_WAITING

    def log_out(self, request: Request) -> Answer:
        """End the session, if there is one."""
        session = self.session_of(request)
        if session is not None:
            session.ends = True
            self.keep(session)
        return said({}, headers={"set-cookie": f"{self._cookie}={self._attributes}; Max-Age=0"})

    async def _checked(self, client: str, user: str, password: str) -> Credential | Answer:
        """Why not, for a wrong one. It is counted before the next one is looked at: nobody tries many at once."""
        async with self._hashing:
            wait_s = self._attempts.wait_s(client, self._time())
            if wait_s:
                return _later(wait_s)
            self._look_at_file()
            credential = self._credentials.get(user, self._unknown)
            # Not in the event loop: a tap would wait for it.
            is_right = await self._aside.do(partial(credential.matches, password))
            if not is_right or credential is self._unknown or self._credentials.get(user) != credential:
                self._attempts.failed(client, self._time(), user)
                log.warning("panel: a wrong name or password came from %s", sanitise(client) or "a socket")
                return refused(HTTPStatus.UNAUTHORIZED, "the name or the password is wrong")
            self._attempts.succeeded(client, user)
            return credential

    def _begun(self, request: Request, credential: Credential) -> Answer:
        before = self.session_of(request)
        if before is not None:
            before.ends = True
        now = self._time()
        self._sessions = {key: one for key, one in self._sessions.items() if self._goes_on(one, now)}
        if len(self._sessions) >= _MOST_SESSIONS:
            oldest = min(self._sessions, key=lambda key: self._sessions[key].used_at)
            self._sessions.pop(oldest).ends = True
        value = secrets.token_urlsafe(_ID_BYTES)
        session = Session(credential, now, now)
        # Its hash alone is kept: looking it up takes as long whatever of it is right.
        self._sessions[_key(value)] = session
        return said({"user": session.user}, headers={"set-cookie": f"{self._cookie}={value}{self._attributes}"})

    @staticmethod
    def _goes_on(session: Session, now: float) -> bool:
        return not session.ends and now - session.used_at < IDLE_S and now - session.began_at < WHOLE_S

    def _look_at_file(self) -> None:
        """Take up what has changed in it; whoever's line has gone or is another one is logged out."""
        version = _version(self._file)
        if self._file is None or version == self._seen:
            return
        self._seen = version
        try:
            self._credentials = read_logins(self._file)
            self._is_broken = False
        except ConfigError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING:
                self._seen = _NOT_LOOKED_AT
                return
            self._credentials, self._is_broken = {}, True
            log.error("nobody can log in to the panel until this is mended: %s", error)
        for session in self._sessions.values():
            session.ends = session.ends or self._credentials.get(session.user) != session.credential


def _later(wait_s: int) -> Answer:
    return refused(
        HTTPStatus.TOO_MANY_REQUESTS, f"too many attempts: try again in {wait_s} s", {"retry-after": str(wait_s)}
    )


def _form(body: bytes) -> tuple[str, str] | None:
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        return None
    users, passwords = fields.get("user", []), fields.get("password", [])
    if len(users) != 1 or len(passwords) != 1 or len(passwords[0]) > LONGEST:
        return None
    return users[0], passwords[0]


def _key(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "replace")).digest()


def _version(file: Path | None) -> tuple[int, ...] | None:
    """Another one after each change; it is in the kernel's memory, and takes microseconds."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode
