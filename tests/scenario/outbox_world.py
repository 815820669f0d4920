"""Charges in a real `state.db`, peers over real HTTP, and the delivery between them, under a clock that tests move."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.charges import CdrRecord, Charge, NewCdr, Report, SessionRecord
from agent.model import EndReason
from agent.ocpi.cdrs import (
    CDR,
    AuthMethod,
    Cdr,
    CdrDimension,
    CdrDimensionType,
    CdrLocation,
    CdrToken,
    ChargingPeriod,
    ConnectorFormat,
    ConnectorType,
    GeoLocation,
    PowerType,
)
from agent.ocpi.objects import encode
from agent.ocpi.reports import ReportClient
from agent.ocpi.sessions import Session, SessionStatus
from agent.ocpi.tariffs import Price
from agent.ocpi.tokens import TokenType
from agent.runtime.delivery import Delivery, DeliverySettings
from agent.store.database import Database, open_state
from agent.store.journal import Journal
from agent.store.sessions import SessionStore
from fakes.emsp import FakeEmsp, Request
from tests.store.samples import entry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UID = "04A1B2C3D4E5F6"
HANG_S = 60.0
"""Against hangs alone."""
SETTINGS = DeliverySettings(look_every_s=0.001)


class WatchedStore(SessionStore):
    """The real store, which can be seen to be looked at."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks = 0
        self.reads = 0
        self.looked = asyncio.Event()

    def commits(self) -> int | None:
        self.looks += 1
        self.looked.set()
        return super().commits()

    async def due(self, most: int = 100) -> list[Report]:
        self.reads += 1
        return await super().due(most)


@dataclass
class World:
    """What is charged, by whom it is delivered, and what time it is."""

    store: WatchedStore
    journal: Journal
    stack: AsyncExitStack
    clients: dict[str, ReportClient] = field(default_factory=dict)
    passed_s: float = 1000.0
    """What the delivery's clock shows."""
    wall: datetime = NOON
    sessions: dict[int, Session] = field(default_factory=dict)
    cdrs: dict[int, Cdr] = field(default_factory=dict)
    peers: dict[int, str] = field(default_factory=dict)

    def client(
        self, emsp: FakeEmsp, peer: str = "emsp", *, of: type[ReportClient] = ReportClient, **settings: Any
    ) -> ReportClient:
        """A peer that can be reached from now on."""
        addresses = {"sessions_url": emsp.device.sessions_url, "cdrs_url": emsp.device.cdrs_url}
        made = of(peer, token=emsp.credentials_token, us=("NL", "CPO"), them=("DE", "ABC"), **(settings or addresses))
        self.stack.push_async_callback(made.aclose)
        self.clients[peer] = made
        return made

    def delivery(self, settings: DeliverySettings = SETTINGS, **changes: Any) -> Delivery:
        """As one process has it."""
        return Delivery(
            self.store,
            self.clients.get,
            now=lambda: self.wall,
            settings=settings,
            random=random.Random(1),
            **({"clock": lambda: self.passed_s} | changes),
        )

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.passed_s += seconds

    async def begin(self, peer: str = "emsp", *, tell: bool = True) -> int:
        """A charge begins. Returns its number."""
        number = await self.journal.record(entry(uid=UID, peer=peer, tapped_at=self._tick()))
        self.peers[number] = peer
        self.sessions[number] = Session(
            country_code="NL",
            party_id="CPO",
            id=f"S{number}",
            start_date_time=self.wall,
            kwh=Decimal(0),
            cdr_token=TOKEN,
            auth_method=AuthMethod.AUTH_REQUEST,
            authorization_reference=f"REF-{number}",
            location_id="LOC1",
            evse_uid="EVSE1",
            connector_id="1",
            currency="EUR",
            status=SessionStatus.ACTIVE,
            last_updated=self.wall,
        )
        await self.store.put(self._record(number), tell=tell)
        return number

    async def charge(self, number: int, kwh: str = "1.5") -> None:
        """Some more energy flows, and a charging period is complete."""
        self._grow(number, kwh, SessionStatus.ACTIVE)
        await self.store.put(self._record(number), tell=True)

    async def end(self, number: int, kwh: str = "1.5") -> None:
        """A charge ends, and its CDR is sealed."""
        self._grow(number, kwh, SessionStatus.COMPLETED)
        session = self.sessions[number]
        assert session.end_date_time is not None
        self.cdrs[number] = Cdr(
            country_code="NL",
            party_id="CPO",
            id=f"C{number}",
            start_date_time=session.start_date_time,
            end_date_time=session.end_date_time,
            session_id=session.id,
            cdr_token=TOKEN,
            auth_method=session.auth_method,
            authorization_reference=session.authorization_reference,
            cdr_location=PLACE,
            currency="EUR",
            charging_periods=session.charging_periods,
            total_cost=Price(excl_vat=Decimal("2.00")),
            total_energy=session.kwh,
            total_time=Decimal("0.0100"),
            last_updated=session.last_updated,
        )
        record = self._record(number)
        await self.store.end(record, self._new_cdr(number, self.cdrs[number]), None)

    async def ended(self, peer: str = "emsp") -> int:
        """A whole charge of which nobody has been told. Returns its number."""
        number = await self.begin(peer, tell=False)
        await self.end(number)
        return number

    async def credit(self, number: int) -> None:
        """An operator takes a charge's CDR back."""
        cdr = self.cdrs[number].credited(f"C{number}-C", self._tick())
        await self.store.add_credit(self._new_cdr(number, cdr, credits_=self.cdrs[number].id))

    async def record(self, number: int) -> Charge:
        """What is on record of a charge."""
        return (await self.store.of([number]))[number]

    async def cdr(self, number: int) -> CdrRecord:
        """The record of a charge's CDR."""
        return (await self.record(number)).cdrs[0]

    async def quiet(self) -> None:
        """Until everything that may be told now has been told, or has failed."""
        async with asyncio.timeout(HANG_S):
            while True:
                reads, looks = self.store.reads, self.store.looks
                while not _at_work() and self.store.reads == reads and self.store.looks < looks + 3:
                    await self._look()
                if not _at_work() and self.store.reads == reads:
                    return
                await self._look()

    async def a_look(self) -> None:
        """Until the delivery has had a moment, whether or not it looks for anything."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await self._look()

    async def _look(self) -> None:
        self.store.looked.clear()
        await self.store.looked.wait()

    def _grow(self, number: int, kwh: str, status: SessionStatus) -> None:
        old, now = self.sessions[number], self._tick()
        volume = CdrDimension(type=CdrDimensionType.ENERGY, volume=Decimal(kwh))
        began = ChargingPeriod(start_date_time=old.last_updated, dimensions=(volume,))
        # Its own struct: msgspec's `replace` would do, but this way every field is checked again.
        fields = {name: getattr(old, name) for name in Session.__struct_fields__} | {
            "kwh": old.kwh + Decimal(kwh),
            "charging_periods": (*old.charging_periods, began),
            "status": status,
            "end_date_time": now if status is SessionStatus.COMPLETED else None,
            "last_updated": now,
        }
        self.sessions[number] = Session(**fields)

    def _record(self, number: int) -> SessionRecord:
        session = self.sessions[number]
        over = session.end_date_time is not None
        return SessionRecord(
            authorization_id=number,
            session_id=session.id,
            evse_uid=session.evse_uid,
            peer=self.peers[number],
            started_at=session.start_date_time,
            changed_at=self.wall,
            account=b"{}",
            object=encode(session),
            energy_wh=int(session.kwh * 1000),
            register_wh=None,
            boot_id="boot",
            monotonic_s=1.0,
            clock_known=True,
            ended_at=session.end_date_time,
            ended_because=EndReason.SAME_CARD if over else None,
        )

    def _new_cdr(self, number: int, cdr: Cdr, credits_: str | None = None) -> NewCdr:
        return NewCdr(cdr.id, number, self.peers[number], encode(cdr), self.wall, credits_)

    def _tick(self) -> datetime:
        self.wall += timedelta(seconds=2)
        return self.wall


@asynccontextmanager
async def world_in(folder: Path) -> AsyncIterator[World]:
    """A world with an empty outbox."""
    async with AsyncExitStack() as stack:
        database = await open_state(folder / "state.db")
        stack.push_async_callback(database.close)
        yield World(WatchedStore(database), Journal(database), stack)


@asynccontextmanager
async def running(delivery: Delivery) -> AsyncIterator[None]:
    """The delivery at work; killed at the end, whatever it is doing."""
    task = asyncio.create_task(delivery.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def told(emsp: FakeEmsp) -> list[str]:
    """What a peer was told, in its order: `PUT S1`, `POST C1`."""
    return [_told(request) for request in emsp.requests if request.method != "GET"]


def _told(request: Request) -> str:
    name = CDR.decode(request.body).id if request.method == "POST" else request.path.rpartition("/")[2]
    return f"{request.method} {name}"


def _at_work() -> Sequence[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("delivery to ")]


TOKEN = CdrToken(country_code="DE", party_id="ABC", uid=UID, type=TokenType.RFID, contract_id="DE-ABC-C1")
PLACE = CdrLocation(
    id="LOC1",
    address="Hafenstr. 1",
    city="Hamburg",
    country="DEU",
    coordinates=GeoLocation(latitude="53.550341", longitude="10.000654"),
    evse_uid="EVSE1",
    evse_id="NL*CPO*E1",
    connector_id="1",
    connector_standard=ConnectorType.IEC_62196_T2,
    connector_format=ConnectorFormat.SOCKET,
    connector_power_type=PowerType.AC_3_PHASE,
)
