"""A `state.db` with charges in it, as an agent leaves it, and the commands that read it as processes of their own."""

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.charges import NewCdr, SessionRecord
from agent.core.account import Pricing, begun, ended, read, to_json
from agent.model import EndReason, Reason, Source
from agent.store.database import open_state
from agent.store.journal import Journal
from agent.store.sessions import SessionStore
from fakes.serial_line import SerialLine
from tests.scenario.world import EVSES, HANG_S, Finished, command, configuration
from tests.store.samples import entry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UID = "04A1B2C3D4E5F6"
REFERENCE = "Ref-0815"

_TOKEN = f'{{"country_code":"DE","party_id":"ABC","uid":"{UID}","type":"RFID","contract_id":"DE-ABC-C1"}}'
_LOCATION = (
    '{"id":"LOC1","address":"Hafenstr. 1","city":"Hamburg","country":"DEU",'
    '"coordinates":{"latitude":"53.550341","longitude":"10.000654"},"evse_uid":"DE*EXA*E1","evse_id":"DE*EXA*E1",'
    '"connector_id":"1","connector_standard":"IEC_62196_T2","connector_format":"SOCKET",'
    '"connector_power_type":"AC_3_PHASE"}'
)


def session_object(session_id: str, **changes: str) -> bytes:
    """An OCPI Session; `changes` are JSON."""
    return _object(
        country_code='"DE"',
        party_id='"EXA"',
        id=f'"{session_id}"',
        start_date_time='"2026-03-01T12:00:00Z"',
        kwh="1.500",
        cdr_token=_TOKEN,
        auth_method='"AUTH_REQUEST"',
        authorization_reference=f'"{REFERENCE}"',
        location_id='"LOC1"',
        evse_uid='"DE*EXA*E1"',
        connector_id='"1"',
        currency='"EUR"',
        total_cost='{"excl_vat":0.60}',
        status='"ACTIVE"',
        last_updated='"2026-03-01T12:10:00Z"',
        **changes,
    )


def cdr_object(cdr_id: str, session_id: str) -> bytes:
    """An OCPI CDR whose amounts would not survive a float: 4.10, 10.000."""
    return _object(
        country_code='"DE"',
        party_id='"EXA"',
        id=f'"{cdr_id}"',
        start_date_time='"2026-03-01T12:00:00Z"',
        end_date_time='"2026-03-01T13:00:00Z"',
        session_id=f'"{session_id}"',
        cdr_token=_TOKEN,
        auth_method='"AUTH_REQUEST"',
        authorization_reference=f'"{REFERENCE}"',
        cdr_location=_LOCATION,
        currency='"EUR"',
        charging_periods='[{"start_date_time":"2026-03-01T12:00:00Z","dimensions":[{"type":"ENERGY","volume":10.000}]}]',
        total_cost='{"excl_vat":4.10,"incl_vat":4.8790}',
        total_energy="10.000",
        total_time="1.0000",
        last_updated='"2026-03-01T13:00:00Z"',
    )


class Books:
    """A charge point whose agent does not run, and its records."""

    def __init__(self, folder: Path) -> None:
        self.storage = folder / "state"
        self.storage.mkdir()
        self.config = folder / "config.toml"
        lines = [SerialLine(folder, name=f"reader-{number}") for number in (1, 2)]
        self.config.write_text(configuration(folder, [], lines))

    async def command(self, *words: str) -> Finished:
        """Run a command with this configuration."""
        return await command(*words, "--config", self.config)

    async def command_on_terminal(self, answer: str, *words: str) -> Finished:
        """The same for somebody at a terminal who types `answer`."""
        master, slave = pty.openpty()
        os.write(master, answer.encode())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from agent.cli import main; main()", *words, "--config", str(self.config)),
            stdin=slave,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(HANG_S):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
            os.close(slave)
            os.close(master)
        return Finished(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Journal, SessionStore]]:
        """`state.db` as an agent has it open."""
        database = await open_state(self.storage / "state.db")
        try:
            yield Journal(database), SessionStore(database)
        finally:
            await database.close()

    async def empty(self) -> None:
        """Make the file, with nothing in it."""
        async with self.opened():
            pass

    async def accept(self, **changes: Any) -> int:
        """Record an accepted card."""
        accepted: dict[str, Any] = {
            "evse_uid": EVSES[0],
            "uid": UID,
            "reason": Reason.ALLOWED,
            "source": Source.REALTIME,
            "authorization_reference": REFERENCE,
            "tapped_at": NOON,
        }
        async with self.opened() as (journal, _):
            return await journal.record(entry(**accepted | changes))

    async def run(self, session_id: str = "5e551010-0000-4000-8000-000000000001", **changes: Any) -> SessionRecord:
        """Record an accepted card and its session, which goes on."""
        evse_uid = changes.get("evse_uid", EVSES[0])
        authorization_id = await self.accept(evse_uid=evse_uid)
        pricing = Pricing(None, UTC)
        account = read(begun(NOON, 50_000, has_meter=True), NOON + timedelta(minutes=10), 51_500, pricing)
        values: dict[str, Any] = {
            "authorization_id": authorization_id,
            "session_id": session_id,
            "evse_uid": evse_uid,
            "peer": "emsp",
            "started_at": NOON,
            "changed_at": NOON + timedelta(minutes=10),
            "account": to_json(account),
            "object": session_object(session_id),
            "energy_wh": 1_500,
            "register_wh": 51_500,
            "boot_id": "b007",
            "monotonic_s": 700.0,
            "clock_known": True,
        }
        session = SessionRecord(**values | changes)
        async with self.opened() as (_, store):
            await store.put(session, tell=True)
        return session

    async def charge(self, cdr_id: str = "cd100000-0000-4000-8000-000000000001", **changes: Any) -> NewCdr | None:
        """Record a charge from card to CDR; with `no_cdr` one that gets none."""
        pricing = Pricing(None, UTC)
        until = NOON + timedelta(hours=1)
        account = ended(begun(NOON, 50_000, has_meter=True), until, 60_000, pricing, EndReason.SAME_CARD)
        values: dict[str, Any] = {
            "account": to_json(account),
            "energy_wh": 10_000,
            "register_wh": 60_000,
            "changed_at": until,
            "ended_at": until,
            "ended_because": EndReason.SAME_CARD,
        }
        session = await self.run(**{k: v for k, v in changes.items() if k in {"session_id", "evse_uid"}})
        values = {name: getattr(session, name) for name in SessionRecord.__dataclass_fields__} | values | changes
        over = SessionRecord(**values)
        cdr = None
        if over.no_cdr is None and over.peer is not None:
            written = cdr_object(cdr_id, over.session_id)
            cdr = NewCdr(cdr_id, over.authorization_id, over.peer, written, changed_at=until)
        async with self.opened() as (_, store):
            await store.end(over, cdr, None)
        return cdr


def _object(**fields: str) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()
