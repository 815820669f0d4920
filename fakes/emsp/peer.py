"""The device: an eMSP, or a hub, as its clients meet it, and the world side that a test or a person moves it with."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from fakes.emsp.calls import Calls
from fakes.emsp.cards import Card, Cards, Reference
from fakes.emsp.credentials_receiver import CredentialsReceiver
from fakes.emsp.credentials_sender import CredentialsSender
from fakes.emsp.device import VERSION, Device
from fakes.emsp.faults import Fault
from fakes.emsp.http_server import HttpServer, Outgoing, OutgoingLater
from fakes.emsp.interfaces import Interfaces
from fakes.emsp.lists import ListFaults, TokenList
from fakes.emsp.messages import Later, Part, Reply, Request, http_date
from fakes.emsp.pushes import Pushes
from fakes.emsp.relation import Relation
from fakes.emsp.report_rules import Object
from fakes.emsp.reports import Reports
from fakes.emsp.strictness import faults_of
from fakes.emsp.weather import FINE, Kind, Weather, instead, spoilt


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class FakeEmsp:
    """An OCPI 2.2.1 party with the Tokens sender role, over real HTTP on 127.0.0.1: `async with FakeEmsp() as emsp: …`.

    With `reports` also with the receiver roles of sessions and CDRs: what comes in is in `sessions` and `cdrs`, and
    `reported` says what becomes of it (see `Reports`).

    Strict: whatever a client does against OCPI is in `complaints`. Several can run at once.
    World side: `card`, `populate`, `set_weather`, `lists`, `device`, `page_size`, `clock_skew`, `invite`. Everything
    takes effect with the next request. What its operator has it do to its client: `register_with`, `rotate`,
    `unregister` (see `CredentialsSender`), `put_token`, `patch_token`, `get_token` (`Pushes`), `call` (`Calls`).
    It has one client. From the start that may use `credentials_token`, as if agreed on by mail; `invite` and
    `register_with` make a registration of it, after which `credentials_token` is what that has agreed on.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        country_code: str = "DE",
        party_id: str = "ABC",
        credentials_token: str | None = None,
        prefix: str = "",
        versions: tuple[str, ...] = (VERSION,),
        hub: bool = False,
        remember: bool = True,
        now: Callable[[], datetime] = _wall_clock,
        tls: ssl.SSLContext | None = None,
        trust: ssl.SSLContext | None = None,
        lenient_rotation: bool = False,
        reports: bool = False,
    ) -> None:
        """`port` 0 takes a free one. `prefix` such as `/roaming` goes before every path.

        `remember=False` keeps no requests and no references, for runs of millions. `now` is the device's clock.
        `tls` is the certificate that it shows, `trust` whom it trusts when it calls. `lenient_rotation` takes the old
        token until the new one has been used. `reports` offers the receiver interfaces of sessions and CDRs.
        """
        self.device = Device(
            country_code,
            party_id,
            Relation(),
            prefix=prefix,
            versions=versions,
            hub=hub,
            port=port,
            tls=tls,
            trust=trust,
            lenient_rotation=lenient_rotation,
            reports=reports,
        )
        self.device.credentials_token = credentials_token or self.device.make_token()
        self.clock_skew = timedelta()
        """How far the device's clock, Date header and timestamps included, is ahead of `now`."""
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.given_references: dict[str, list[str]] = {}
        """The references given to each card, by its uid in upper case, in their order."""
        self.credentials_received: list[dict[str, Any]] = []
        """Every credentials object that came in with a handshake, the other side's answers included."""
        self._remember = remember
        self._now = now
        self._cards = Cards()
        self._list = TokenList(self._cards, self._insert_in_front)
        calls, received = Calls(self.device, self._complain), self.credentials_received.append
        sender, pushes = CredentialsSender(self.device, calls, self._complain, received), Pushes(self.device, calls)
        receiver = CredentialsReceiver(self.device, calls, self._complain, received)
        self.register_with, self.rotate, self.unregister = sender.register, sender.rotate, sender.unregister
        self.put_token, self.patch_token, self.get_token = pushes.put, pushes.patch, pushes.get
        self.call = calls.call
        """Any request, right in every header unless told otherwise."""
        self.reported = Reports(self.device)
        """What becomes of sessions and CDRs: which are turned away, and where the CDRs are kept."""
        self._interfaces = Interfaces(
            self.device, self._cards, self._list, receiver, self.reported, self._complain, self._give
        )
        self._weather = dict.fromkeys(Part, FINE)
        self._request_ids: set[str] = set()
        self._news = asyncio.Event()
        self._server: HttpServer | None = None
        self._date = (0, "")

    # ---- its life

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = HttpServer(self.device.port, self._serve, self._complain, self.device.tls)
        self.device.port = self._server.port
        self._server.open()

    async def stop(self) -> None:
        """Close everything and wait until it is closed. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    # ---- where it is

    @property
    def port(self) -> int:
        """The port; once started it stays the same, down or not."""
        return self.device.port

    @property
    def base_url(self) -> str:
        """Origin and prefix."""
        return self.device.base_url

    @property
    def versions_url(self) -> str:
        """What the operator is given."""
        return self.device.versions_url

    @property
    def details_url(self) -> str:
        """Version details of 2.2.1."""
        return self.device.details_url(VERSION)

    @property
    def tokens_url(self) -> str:
        """The Tokens sender interface."""
        return self.device.tokens_url

    @property
    def credentials_token(self) -> str:
        """What clients must send, empty when nothing is agreed; `device.credentials_token` sets another."""
        return self.device.credentials_token

    @property
    def relation(self) -> Relation:
        """What is agreed with the client; a test may set it by hand."""
        return self.device.relation

    # ---- the world side

    @property
    def sessions(self) -> dict[str, Object]:
        """The sessions that were reported, by id; what has a decimal point is a Decimal."""
        return self.reported.sessions

    @property
    def cdrs(self) -> dict[str, Object]:
        """The CDRs that were reported, by id and in the order in which they came."""
        return self.reported.cdrs

    @property
    def lists(self) -> ListFaults:
        """What is wrong with the list."""
        return self._list.faults

    @lists.setter
    def lists(self, faults: ListFaults) -> None:
        self._list.faults = faults

    @property
    def page_size(self) -> int:
        """The most tokens on a page."""
        return self._list.page_size

    @page_size.setter
    def page_size(self, value: int) -> None:
        self._list.page_size = value

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._server.connections) if self._server else 0

    @property
    def connections_accepted(self) -> int:
        """Connections that were ever accepted: whether a client keeps its own warm."""
        return self._server.accepted if self._server else 0

    def set_weather(self, weather: Weather | Kind, on: Part | None = None) -> None:
        """Have `weather` from the next request on: for one part, or for all.

        DOWN takes effect at once; every other weather brings the device back on its port.
        Raises ValueError for DOWN of one part: a port is open or it is not.
        """
        weather = weather if isinstance(weather, Weather) else Weather(weather)
        if weather.kind is Kind.DOWN:
            if on is not None:
                raise ValueError(f"{on} alone can't be down: the parts share a port. Leave `on` out.")
            self._running().shut()
            return
        for part in Part if on is None else (on,):
            self._weather[part] = weather
        if self._server is not None:
            self._server.open()

    def weather(self, part: Part) -> Weather:
        """The weather that the next request for `part` meets."""
        return self._weather[part]

    def card(
        self,
        uid: str,
        *,
        allowed: str = "ALLOWED",
        known: bool = True,
        listed: bool = True,
        valid: bool = True,
        whitelist: str = "ALLOWED",
        evse_uids: tuple[str, ...] | None = None,
        location: bool = True,
        info: tuple[str, str] | None = None,
        reference: str | Reference | None = Reference.FRESH,
        group_id: str | None = None,
        language: str | None = None,
        visual_number: str | None = None,
        contract_id: str | None = None,
        issuer: str = "Fake eMSP",
        of_type: str = "RFID",
        country_code: str | None = None,
        party_id: str | None = None,
        last_updated: datetime | None = None,
        in_front: bool = False,
    ) -> Card:
        """Believe this of a card, in place of whatever was believed of it before.

        `known=False` forgets it: not in the list, 404 and 2004 when asked. `listed=False` leaves it out of the list
        alone. `evse_uids` names those that an ALLOWED answer is good for (None: all that were asked about).
        `info` is `(language, text)`. `in_front` puts it before all others in the list, which shifts the pages of
        whoever is paging. `last_updated` is now unless given. The other words are OCPI's.
        """
        country_code, party_id = country_code or self.device.country_code, party_id or self.device.party_id
        card = Card(
            uid=uid,
            country_code=country_code,
            party_id=party_id,
            contract_id=contract_id or f"{country_code}-{party_id}-{uid[-12:]}",
            last_updated=last_updated or self._time(),
            type=of_type,
            issuer=issuer,
            valid=valid,
            whitelist=whitelist,
            group_id=group_id,
            language=language,
            visual_number=visual_number,
            allowed=allowed,
            known=known,
            listed=listed,
            evse_uids=evse_uids,
            location=location,
            info=info,
            reference=reference,
        )
        self._cards.tell(card, in_front=in_front)
        return card

    def populate(self, count: int, *, whitelist: str = "ALLOWED") -> None:
        """Have `count` tokens that are allowed everywhere, `populated_uid(0)` and on; a later call replaces them.

        They stand first in the list, a second apart from `POPULATED_SINCE` on, and cost no memory. `card` with the
        uid of one of them changes it in its place.
        """
        self._cards.populate(
            count, country_code=self.device.country_code, party_id=self.device.party_id, whitelist=whitelist
        )

    async def arrived(self, count: int = 1, part: Part | None = None) -> list[Request]:
        """Wait until so many requests, for `part` or at all, have come in since the start, and return them."""
        while True:
            found = [request for request in self.requests if part is None or request.part is part]
            if len(found) >= count:
                return found
            self._news.clear()
            await self._news.wait()

    def invite(self) -> str:
        """Hand out a TOKEN_A: good for versions and credentials, once. A later call takes the earlier one back.

        What is agreed until then holds until the registration is complete.
        """
        self.relation.invitation = self.device.make_token()
        return self.relation.invitation

    # ---- the side that speaks the wire

    def _serve(self, request: Request) -> Outgoing | OutgoingLater:
        """The whole answer to one request. On the floor of the benchmarks: no task, no wait, little else."""
        request.part, answer = self._interfaces.route(request)
        self._note(request)
        faults = self._faults_of(request)
        self.complaints += [f"{request.method} {request.part}: {fault.text}" for fault in faults]
        weather = FINE if request.part is None else self._pass_weather(request.part)
        refused = next((fault.reply for fault in faults if fault.reply is not None), None)
        if refused is None:
            self._retire_previous(request)
        reply = instead(weather) or refused or answer(request)
        if isinstance(reply, Reply):
            return self._outgoing(request, reply, weather)
        return partial(self._outgoing_later, request, reply, weather)

    def _faults_of(self, request: Request) -> list[Fault]:
        if request.part in {Part.SESSIONS, Part.CDRS}:
            return self.reported.faults_of(request)
        return [] if request.part is None else faults_of(request, self.device)

    async def _outgoing_later(self, request: Request, later: Later, weather: Weather) -> Outgoing | None:
        reply = await later()
        return None if reply is None else self._outgoing(request, reply, weather)

    def _outgoing(self, request: Request, reply: Reply, weather: Weather) -> Outgoing:
        now = self._time()
        reply = spoilt(weather, reply, now)
        body = reply.body(now)
        return Outgoing(reply.http_status, self._headers(request, reply, len(body), now), body, weather)

    def _headers(self, request: Request, reply: Reply, length: int, now: datetime) -> list[tuple[str, str]]:
        asked = request.headers
        headers = [
            ("Date", self._http_date(now)),
            ("Content-Type", reply.content_type),
            ("Content-Length", str(length)),
        ]
        headers += [
            (name, asked[name.lower()]) for name in ("X-Request-ID", "X-Correlation-ID") if name.lower() in asked
        ]
        if request.part in {Part.LIST, Part.AUTHORIZE, Part.SESSIONS, Part.CDRS}:
            headers += [
                ("OCPI-from-country-code", self.device.country_code),
                ("OCPI-from-party-id", self.device.party_id),
                ("OCPI-to-country-code", asked.get("ocpi-from-country-code", "")),
                ("OCPI-to-party-id", asked.get("ocpi-from-party-id", "")),
            ]
        return [*headers, *reply.headers]

    def _retire_previous(self, request: Request) -> None:
        """The first use of a new token is the end of the one before it."""
        if self.relation.previous_token and request.headers.get("authorization") == self.device.authorization:
            self.relation.previous_token = ""

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def _give(self, uid: str, reference: str) -> None:
        if self._remember:
            self.given_references.setdefault(uid.upper(), []).append(reference)

    def _note(self, request: Request) -> None:
        if not self._remember:
            return
        request_id = request.headers.get("x-request-id", "")
        if request_id and request_id in self._request_ids:
            self.complaints.append(f"{request.method} {request.part}: an x-request-id for the second time")
        self._request_ids.add(request_id)
        self.requests.append(request)
        self._news.set()

    def _pass_weather(self, part: Part) -> Weather:
        """The weather of this request; one with a number of times has one less to come."""
        weather = self._weather[part]
        if weather.times is None:
            return weather
        left = weather.times - 1
        self._weather[part] = FINE if left <= 0 else replace(weather, times=left)
        return weather

    def _insert_in_front(self) -> None:
        self.card(f"FA{len(self.requests):010X}", in_front=True)

    def _http_date(self, now: datetime) -> str:
        second = int(now.timestamp())
        if self._date[0] != second:
            self._date = (second, http_date(now))
        return self._date[1]

    def _time(self) -> datetime:
        return self._now() + self.clock_skew

    def _running(self) -> HttpServer:
        if self._server is None:
            raise RuntimeError("the fake is not started: use `async with FakeEmsp()` or await start()")
        return self._server
