"""What we tell a peer of charges: sessions while they run, and the CDRs that they are billed by.

OCPI 2.2.1 mod_sessions and mod_cdrs, Receiver Interface. Whatever the peer does comes back as a value.

**When an answer is lost** (TIMEOUT, UNREACHABLE, SERVER_ERROR, MALFORMED, OVERSIZED …) nobody knows whether the peer
has taken the report. What to do then:

- PUT: send it, or what the session has become since, again. It replaces what is there.
- PATCH: PUT the whole session. A PATCH adds its charging periods, so a second one would add them twice; this module
  never sends one twice by itself either. UNKNOWN after a PATCH means that the peer has no such session: PUT it.
  After a PUT or POST it is a refusal like REJECTED: the peer does not know the token, or whom it was routed to.
- POST of a CDR: send the very same CDR again, with `again`. The chapter offers no other way: a stored CDR can be asked
  for only at the address that the lost answer named. A receiver knows it by country, party and id. `encode` makes the
  same bytes of the same CDR, so that one that compares more than the id finds no difference.
"""

import ssl
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

from agent.errors import ConfigError
from agent.model import Outcome
from agent.ocpi import envelope
from agent.ocpi.addressing import Encoding, Headers, Party, addressing, check_url, slashed
from agent.ocpi.answers import NOBODY_THERE, data_of, envelope_of, without
from agent.ocpi.cdrs import CDR, Cdr, CdrToken
from agent.ocpi.client import tls_context
from agent.ocpi.connection import Connection, Reply
from agent.ocpi.discovery import Discovery
from agent.ocpi.envelope import UNREADABLE, Envelope
from agent.ocpi.failures import Failure
from agent.ocpi.objects import OurObject, encode
from agent.ocpi.paging import joined, origin, same_origin, server
from agent.ocpi.sessions import SESSION, Session, SessionPatch

__all__ = ["Posted", "ReportClient"]

Module = Literal["sessions", "cdrs"]

_ANSWER = 65_536
"""Bytes of an answer that says no more than yes or no."""

_OBJECT = 1 << 20
"""Bytes of a session or CDR that is read back: some 7000 charging periods."""

_LONGEST_URL = 2048
"""Characters of a stored CDR's address. OCPI allows 255; a longer one is kept, but a record has no room for a novel."""


_REFUSALS = frozenset({Outcome.REJECTED, Outcome.UNKNOWN})
_JSON = (b"Content-Type", b"application/json")


@dataclass(frozen=True, slots=True)
class Posted:
    """A CDR that the peer has acknowledged."""

    url: str | None
    """Where the peer keeps it, absolute: for `get_cdr`. None where the answer did not say, or with no URL."""
    created: bool
    """HTTP 201. False where the peer says that it had it already."""


class ReportClient:
    """Reports to one peer. May be used by any number of tasks at once; `aclose` when done.

    Reports about one session are put in order by the caller: each is answered before the next is sent. Every method
    can be cancelled at any time, which is an answer lost. There is no limit on the time of a request except against
    hanging for ever. What breaks OCPI on our side is not sent, and is REJECTED with the field at fault.
    """

    def __init__(
        self,
        peer: str,
        *,
        token: str,
        us: Party,
        them: Party,
        versions_url: str | None = None,
        sessions_url: str | None = None,
        cdrs_url: str | None = None,
        encoding: Encoding = "base64",
        hub: bool = False,
        trailing_slash: bool = False,
        tls: ssl.SSLContext | None = None,
        hang_s: float = 60.0,
        most_connections: int = 4,
    ) -> None:
        """Raises ConfigError for a URL or a credentials token that can't be used.

        An address that is not given is discovered from `versions_url` by the first request that needs it. The other
        settings are those of `OcpiClient`.
        """
        urls = {"versions_url": versions_url, "sessions_url": sessions_url, "cdrs_url": cdrs_url}
        given = {name: url for name, url in urls.items() if url is not None}
        for name, url in given.items():
            wrong = check_url(url)
            if wrong is not None:
                raise ConfigError(f'peer "{peer}": {name}: {wrong}')
        if tls is None and (versions_url or any(origin(url)[0] == "https" for url in given.values())):
            tls = tls_context()
        self.peer = peer
        self._configured: dict[Module, str | None] = {"sessions": sessions_url, "cdrs": cdrs_url}
        self._urls = dict(self._configured)
        self._trailing_slash = trailing_slash
        self._addressing = addressing(peer, token, encoding, us=us, them=them, hub=hub)
        self._connection = Connection(tls=tls, hang_s=hang_s, most_connections=most_connections)
        # A kept connection that breaks before the answer has its request sent again, on the grounds that the server
        # can't have read it. One that died at that moment may have; so what must not be said twice gets a new one.
        self._unrepeated = Connection(tls=tls, hang_s=hang_s, most_connections=most_connections, most_idle=0)
        self._discovery = (
            Discovery(self._connection, self._addressing, versions_url, trailing_slash=trailing_slash)
            if versions_url
            else None
        )

    async def put_session(
        self, session: Session, *, correlation_id: str | None = None, to: Party | None = None
    ) -> Failure | None:
        """Tell the whole session: OCPI 2.2.1 mod_sessions, PUT. None once the peer has it. May be repeated.

        `to` is whom it is for; else the token's owner.
        """
        return await self._tell("PUT", session, session, correlation_id, to)

    async def patch_session(
        self, session: Session, change: SessionPatch, *, correlation_id: str | None = None, to: Party | None = None
    ) -> Failure | None:
        """Tell what has changed of `session`, which the peer has: OCPI 2.2.1 mod_sessions, PATCH.

        After any failure PUT the whole session; UNKNOWN is the peer's word that it has none.
        """
        return await self._tell("PATCH", session, change, correlation_id, to)

    async def get_session(
        self, session: Session, *, correlation_id: str | None = None, to: Party | None = None
    ) -> Session | Failure:
        """Ask what the peer has of `session`, UNKNOWN for nothing: OCPI 2.2.1 mod_sessions, GET, Receiver Interface."""
        url = await self._session_url(session)
        if isinstance(url, Failure):
            return url
        headers = self._headers(session.cdr_token, correlation_id, to)
        reply = await self._connection.send("GET", url, headers, most_bytes=_OBJECT)
        return data_of(reply, SESSION, self._secrets(session.cdr_token))

    async def post_cdr(
        self, cdr: Cdr, *, again: bool = False, correlation_id: str | None = None, to: Party | None = None
    ) -> Posted | Failure:
        """Hand over a CDR: OCPI 2.2.1 mod_cdrs, POST.

        `again` says that an earlier POST of this very CDR may have arrived: an HTTP 409 then acknowledges it, for the
        peer has one of that id. Without it a 409 is REJECTED, as any other 4xx.
        """
        body = self._body(cdr, cdr)
        if isinstance(body, Failure):
            return body
        url = await self._ready("cdrs")
        if isinstance(url, Failure):
            return url
        headers = [*self._headers(cdr.cdr_token, correlation_id, to), _JSON]
        url = self._ended(url)
        reply = await self._connection.send("POST", url, headers, most_bytes=_ANSWER + 2 * len(body), content=body)
        if isinstance(reply, Reply) and reply.status == 409 and (again or reply.repeated):
            return Posted(self._location(reply, url), created=False)
        if isinstance(reply, Reply) and reply.status == 201 and not reply.body.strip():
            # Created, says HTTP, and where, says the Location that the chapter asks for: of an envelope it says little.
            where = self._location(reply, url)
            if where is not None:
                return Posted(where, created=True)
        answer = self._answer("cdrs", reply, cdr.cdr_token, bare_404_is_answer=False)
        if isinstance(answer, Failure):
            return answer
        assert isinstance(reply, Reply)
        return Posted(self._location(reply, url), created=reply.status == 201)

    async def get_cdr(
        self, url: str, cdr: Cdr, *, correlation_id: str | None = None, to: Party | None = None
    ) -> Cdr | Failure:
        """Ask for the peer's copy of `cdr` at the `url` of its `Posted`: OCPI 2.2.1 mod_cdrs, GET, Receiver Interface.

        Credentials go to no other server than that of the CDRs endpoint.
        """
        cdrs_url = await self._ready("cdrs")
        if isinstance(cdrs_url, Failure):
            return cdrs_url
        if not same_origin(url, cdrs_url):
            return self._failure(Outcome.MALFORMED, f"the CDR is on {server(url)}, not {server(cdrs_url)}")
        headers = self._headers(cdr.cdr_token, correlation_id, to)
        reply = await self._connection.send("GET", self._ended(url), headers, most_bytes=_OBJECT)
        return data_of(reply, CDR, self._secrets(cdr.cdr_token))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()
        await self._unrepeated.aclose()

    async def _tell(
        self,
        method: Literal["PUT", "PATCH"],
        session: Session,
        content: Session | SessionPatch,
        correlation_id: str | None,
        to: Party | None,
    ) -> Failure | None:
        body = self._body(session, content)
        if isinstance(body, Failure):
            return body
        url = await self._session_url(session)
        if isinstance(url, Failure):
            return url
        once = isinstance(content, SessionPatch) and not content.may_be_repeated
        connection = self._unrepeated if once else self._connection
        headers = [*self._headers(session.cdr_token, correlation_id, to), _JSON]
        # Some peers send the whole session back.
        reply = await connection.send(method, url, headers, most_bytes=_OBJECT + 2 * len(body), content=body)
        answer = self._answer("sessions", reply, session.cdr_token, bare_404_is_answer=method == "PATCH")
        return answer if isinstance(answer, Failure) else None

    async def _session_url(self, session: Session) -> str | Failure:
        """OCPI 2.2.1 mod_sessions, Receiver Interface: `{url}/{country_code}/{party_id}/{session_id}`."""
        if not session.id.strip("."):
            # A path segment of dots means another path, percent-encoded or not (RFC 3986, 5.2.4).
            return Failure(Outcome.REJECTED, "not sent: id: this one can't stand in a URL")
        url = await self._ready("sessions")
        if isinstance(url, Failure):
            return url
        return self._ended(_below(url, session.country_code, session.party_id, session.id))

    async def _ready(self, module: Module) -> str | Failure:
        known = self._urls[module]
        if known is not None:
            return known
        if not self._discovery:
            return Failure(Outcome.NO_PEER, f"neither versions_url nor the address of its {module} is known")
        found = await self._discovery.url_of(module, "RECEIVER")
        if not isinstance(found, Failure):
            self._urls[module] = found
        return found

    def _answer(
        self, module: Module, reply: Reply | Failure, token: CdrToken, *, bare_404_is_answer: bool
    ) -> Envelope | Failure:
        """The envelope of a success. Where nothing of OCPI is any more, a discovered address is forgotten.

        An HTTP 4xx decides about a report only with OCPI's 2xxx beside it; else a gateway has sent it, or a server in
        trouble, and it is a SERVER_ERROR. A PATCH may be refused by any: after it comes a PUT.
        """
        answer = envelope_of(reply, self._secrets(token), bare_404_is_answer=bare_404_is_answer)
        is_patch = bare_404_is_answer
        if not is_patch and isinstance(answer, Failure) and isinstance(reply, Reply) and _is_of_the_way(reply, answer):
            return replace(answer, outcome=Outcome.SERVER_ERROR)
        if answer == NOBODY_THERE:
            self._urls[module] = self._configured[module]
        return answer

    def _headers(self, token: CdrToken, correlation_id: str | None, to: Party | None) -> Headers:
        return self._addressing.routed(correlation_id or str(uuid4()), to or (token.country_code, token.party_id))

    def _secrets(self, token: CdrToken) -> tuple[str, ...]:
        return (*self._addressing.secrets, token.uid)

    def _body(self, own: Session | Cdr, content: OurObject) -> bytes | Failure:
        """What is said of `own`, written; or why it can't be sent."""
        # OCPI 2.2.1 transport_and_format, Client Owned Object Push: who sends an object owns it.
        owner, us = f"{own.country_code}-{own.party_id}", "-".join(self._addressing.us)
        if owner.upper() != us.upper():
            return Failure(Outcome.REJECTED, f"not sent: it is of {owner}, and we are {us}")
        try:
            return encode(content)
        except ValueError as error:
            return self._failure(Outcome.REJECTED, f"not sent: {error}")

    def _location(self, reply: Reply, url: str) -> str | None:
        """Where the peer says that it keeps what was posted to `url`. One with our credentials in it is not kept."""
        said = reply.headers.get("location", "")
        location = joined(url, said)
        if not said.strip() or len(location) > _LONGEST_URL or check_url(location) is not None:
            return None
        return None if any(secret in location for secret in self._addressing.secrets) else location

    def _ended(self, url: str) -> str:
        return slashed(url) if self._trailing_slash else url

    def _failure(self, outcome: Outcome, detail: str) -> Failure:
        return without(Failure(outcome, detail), self._addressing.secrets)


def _below(url: str, *segments: str) -> str:
    """`url` with `segments` under it, each of them one of its path; a query stays."""
    parts = urlsplit(url)
    path = "/".join([parts.path.rstrip("/"), *(quote(segment, safe="") for segment in segments)])
    return urlunsplit(parts._replace(path=path, fragment=""))


def _is_of_the_way(reply: Reply, failure: Failure) -> bool:
    """Whether nobody who understood the report has refused it: no word of OCPI against it stands in the answer."""
    if not 400 <= reply.status < 500 or reply.status == 409 or failure.outcome not in _REFUSALS:
        return False
    try:
        return not 2000 <= envelope.decode(reply.body).status_code < 3000
    except UNREADABLE:
        return True
