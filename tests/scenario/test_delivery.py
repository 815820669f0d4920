"""Sessions and CDRs on their way to the peers: in order, each once, whatever the peers and the network do."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.charges import Report, ReportKind
from agent.errors import StoreError
from agent.ocpi.failures import Failure
from agent.ocpi.reports import Posted, ReportClient
from agent.ocpi.sessions import Session
from agent.runtime.delivery import DeliverySettings
from agent.runtime.delivery_sending import Sending
from fakes.emsp import FakeEmsp, Kind, Part, RepeatedCdr, Weather, held, rate_limited, server_error
from tests.scenario.outbox_world import HANG_S, UID, WatchedStore, World, running, told, world_in


@pytest.fixture
async def emsp() -> AsyncIterator[FakeEmsp]:
    async with FakeEmsp(reports=True) as emsp:
        yield emsp
        assert emsp.complaints == []


@pytest.fixture
async def unregistered(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def world(unregistered: World, emsp: FakeEmsp) -> World:
    unregistered.client(emsp)
    return unregistered


# ---- a charge from its begin to its CDR


async def test_a_charge_is_put_patched_and_billed(world: World, emsp: FakeEmsp) -> None:
    async with running(world.delivery()):
        number = await world.begin()
        await world.quiet()
        world.advance(2)
        await world.charge(number)
        await world.quiet()
        world.advance(2)
        await world.end(number)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "PATCH S1", "PATCH S1", "POST C1"]
    assert emsp.sessions["S1"]["status"] == "COMPLETED"
    assert str(emsp.sessions["S1"]["kwh"]) == "3.0"
    assert len(emsp.sessions["S1"]["charging_periods"]) == 2
    assert emsp.cdrs["C1"]["authorization_reference"] == "REF-1"
    record = await world.record(number)
    assert not record.untold
    assert record.cdrs[0].acknowledged_at == world.wall
    assert record.cdrs[0].url == emsp.reported.cdr_url("C1")


async def test_reports_of_one_session_keep_their_distance(world: World, emsp: FakeEmsp) -> None:
    async with running(world.delivery()):
        number = await world.begin()
        await world.quiet()
        await world.charge(number)
        await world.end(number)
        await world.quiet()
        world.advance(1.0)
        await world.quiet()
        assert told(emsp) == ["PUT S1"]
        world.advance(0.2)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "PATCH S1", "POST C1"]
    assert emsp.sessions["S1"]["status"] == "COMPLETED"


async def test_a_credit_follows_what_it_credits(world: World, emsp: FakeEmsp) -> None:
    number = await world.ended()
    async with running(world.delivery()):
        await world.quiet()
        await world.credit(number)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "POST C1", "POST C1-C"]


async def test_a_credit_waits_for_what_it_credits_where_that_is_sent_again(world: World, emsp: FakeEmsp) -> None:
    number = await world.ended()
    async with running(world.delivery()):
        await world.quiet()
    await world.credit(number)
    await world.store.resend((await world.cdr(number)).number, world.wall)
    async with running(world.delivery()):
        await world.quiet()
    assert told(emsp) == ["PUT S1", "POST C1", "POST C1", "POST C1-C"]


async def test_what_is_written_by_another_process_is_found(world: World, emsp: FakeEmsp) -> None:
    async with running(world.delivery()):
        await world.quiet()
        await world.ended()
        await world.quiet()
    assert list(emsp.cdrs) == ["C1"]


# ---- sessions: whole or in part


async def test_the_first_report_of_a_process_is_the_whole_session(world: World, emsp: FakeEmsp) -> None:
    number = await world.begin()
    async with running(world.delivery()):
        await world.quiet()
    await world.charge(number)
    async with running(world.delivery()):
        await world.quiet()
    assert told(emsp) == ["PUT S1", "PUT S1"]


async def test_a_lost_patch_is_followed_by_the_whole_session(world: World, emsp: FakeEmsp) -> None:
    async with running(world.delivery()):
        number = await world.begin()
        await world.quiet()
        world.advance(2)
        emsp.set_weather(Weather(Kind.CUT_OFF, times=1), on=Part.SESSIONS)
        await world.charge(number)
        await world.quiet()
        world.advance(10)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "PATCH S1", "PUT S1"]
    assert len(emsp.sessions["S1"]["charging_periods"]) == 1


async def test_a_session_that_the_peer_has_lost_is_put_again_at_once(world: World, emsp: FakeEmsp) -> None:
    async with running(world.delivery()):
        number = await world.begin()
        await world.quiet()
        world.advance(2)
        emsp.sessions.clear()
        await world.charge(number)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "PATCH S1", "PUT S1"]
    assert not (await world.record(number)).untold


async def test_a_rejected_session_does_not_keep_its_cdr(world: World, emsp: FakeEmsp) -> None:
    emsp.reported.reject("S1", message="No such location")
    number = await world.ended()
    async with running(world.delivery()):
        await world.quiet()
    record = await world.record(number)
    assert told(emsp) == ["PUT S1", "POST C1"]
    assert not record.untold
    assert record.problem is not None
    assert "No such location" in record.problem


async def test_a_peer_without_sessions_gets_cdrs(unregistered: World, emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"sessions"}
    unregistered.client(emsp, versions_url=emsp.versions_url)
    number = await unregistered.ended()
    async with running(unregistered.delivery()):
        await unregistered.quiet()
    assert told(emsp) == ["POST C1"]
    assert not (await unregistered.record(number)).untold


async def test_a_session_that_fails_holds_its_cdr_up_for_ten_minutes(world: World, emsp: FakeEmsp) -> None:
    emsp.reported.reject("S1", http_status=500)
    await world.ended()
    async with running(world.delivery()):
        await world.quiet()
        for _ in range(59):
            world.advance(10)
            await world.quiet()
        assert emsp.cdrs == {}
        world.advance(10)
        await world.quiet()
        assert list(emsp.cdrs) == ["C1"]
        emsp.reported.accept("S1")
        world.advance(5000)
        await world.quiet()
    assert emsp.sessions["S1"]["status"] == "COMPLETED"


async def test_after_an_outage_of_any_length_the_session_still_goes_first(world: World, emsp: FakeEmsp) -> None:
    await world.ended()
    emsp.set_weather(Kind.DOWN)
    async with running(world.delivery()):
        for _ in range(20):
            await world.quiet()
            world.advance(5000)
        await world.quiet()
        emsp.set_weather(Kind.FINE)
        world.advance(5000)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "POST C1"]


# ---- CDRs: each once


async def test_a_rejected_cdr_is_parked_with_an_alarm_and_the_others_go_on(
    world: World, emsp: FakeEmsp, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.reported.reject("C1", message="Contract unknown")
    number = await world.ended()
    await world.ended()
    async with running(world.delivery()):
        await world.quiet()
        world.advance(100_000)
        await world.quiet()
    cdr = await world.cdr(number)
    assert told(emsp) == ["PUT S1", "POST C1", "PUT S2", "POST C2"]
    assert cdr.parked
    assert cdr.problem is not None
    assert "Contract unknown" in cdr.problem
    [alarm] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "ALARM" in alarm.getMessage()
    assert UID not in caplog.text


async def test_a_cdr_whose_answer_was_lost_is_posted_again_and_counts_once(world: World, emsp: FakeEmsp) -> None:
    emsp.reported.repeated_cdr = RepeatedCdr.CONFLICT
    emsp.set_weather(Weather(Kind.CUT_OFF, times=1), on=Part.CDRS)
    async with running(world.delivery()):
        number = await world.ended()
        await world.quiet()
        world.advance(10)
        await world.quiet()
    first, second = [request.body for request in emsp.requests if request.method == "POST"]
    assert first == second
    assert (await world.cdr(number)).acknowledged_at is not None


async def test_a_conflict_over_a_cdr_that_was_never_sent_parks_it(world: World, emsp: FakeEmsp) -> None:
    emsp.reported.reject("C1", http_status=409)
    async with running(world.delivery()):
        await world.quiet()
        number = await world.ended()
        await world.quiet()
    assert (await world.cdr(number)).parked


async def test_a_conflict_over_a_cdr_of_an_earlier_process_acknowledges_it(world: World, emsp: FakeEmsp) -> None:
    emsp.reported.reject("C1", http_status=409)
    number = await world.ended()
    async with running(world.delivery()):
        await world.quiet()
    assert (await world.cdr(number)).acknowledged_at is not None


async def test_a_cdr_that_an_operator_sends_again_may_be_there_already(world: World, emsp: FakeEmsp) -> None:
    emsp.reported.repeated_cdr = RepeatedCdr.CONFLICT
    async with running(world.delivery()):
        await world.quiet()
        number = await world.ended()
        await world.quiet()
        await world.store.resend((await world.cdr(number)).number, world.wall)
        await world.quiet()
    assert told(emsp) == ["PUT S1", "POST C1", "POST C1"]
    assert (await world.cdr(number)).acknowledged_at is not None


async def test_a_peer_that_takes_no_cdrs_gets_sessions_and_is_asked_rarely(
    unregistered: World, emsp: FakeEmsp, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.device.withheld_endpoints = {"cdrs"}
    unregistered.client(emsp, versions_url=emsp.versions_url)
    numbers = [await unregistered.ended() for _ in range(3)]
    async with running(unregistered.delivery()):
        await unregistered.quiet()
        assert told(emsp) == ["PUT S1", "PUT S2", "PUT S3"]
        cdr = await unregistered.cdr(numbers[0])
        asked = len(emsp.requests)
        unregistered.advance(2000)
        await unregistered.quiet()
        assert len(emsp.requests) == asked
        emsp.device.withheld_endpoints = set()
        unregistered.advance(3000)
        await unregistered.quiet()
    assert sorted(emsp.cdrs) == ["C1", "C2", "C3"]
    assert cdr.problem is not None
    assert not cdr.parked
    assert caplog.text.count("ALARM") == 1


async def test_many_cdrs_that_a_peer_does_not_take_keep_no_session_from_it(unregistered: World, emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"cdrs"}
    unregistered.client(emsp, versions_url=emsp.versions_url)
    for _ in range(110):
        await unregistered.ended()
    async with running(unregistered.delivery()), asyncio.timeout(HANG_S):
        await unregistered.quiet()
        assert await unregistered.begin() == 111
        await unregistered.quiet()
        assert told(emsp)[-1] == "PUT S111"
    assert {len(read) for read in [await unregistered.store.due(100)]} == {100}


async def test_session_of_a_peer_that_takes_none_is_not_as_if_it_had_it(unregistered: World, emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"sessions"}
    unregistered.client(emsp, versions_url=emsp.versions_url)
    number = await unregistered.begin()
    async with running(unregistered.delivery()):
        await unregistered.quiet()
    record = await unregistered.record(number)
    assert (record.untold, record.problem) == (False, "it takes no sessions")


async def test_a_cdr_that_a_peer_fails_at_for_a_day_is_an_alarm(
    world: World, emsp: FakeEmsp, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.set_weather(server_error(500), on=Part.CDRS)
    await world.ended()
    async with running(world.delivery()), asyncio.timeout(HANG_S):
        await world.quiet()
        assert "ALARM" not in caplog.text
        world.wall += timedelta(days=2)
        for _ in range(3):
            world.advance(4500)
            await world.quiet()
    assert caplog.text.count("ALARM it has not taken CDR 1 for a day") == 1


async def test_a_cdr_of_an_earlier_process_is_known_as_one_after_a_start_without_a_clock(
    world: World, emsp: FakeEmsp
) -> None:
    number = await world.ended()
    client = world.clients["emsp"]
    await client.post_cdr(world.cdrs[number])
    emsp.reported.repeated_cdr = RepeatedCdr.CONFLICT
    sending = Sending(HANG_S)
    sending.begin(datetime(1970, 1, 1, 0, 1, tzinfo=UTC), [])
    [cdr] = [report for report in await world.store.due() if report.kind is ReportKind.CDR]
    assert await sending.send(client, cdr) == Posted(None, created=False)


async def test_what_is_no_cdr_is_parked_and_the_others_go_on(world: World, emsp: FakeEmsp) -> None:
    number = await world.begin()
    world.cdrs[number] = world.cdrs[await world.ended()]
    await world.store._database.writer.write("spoil", "UPDATE cdr SET object = ?", (b'{"id": "C1"}',))
    third = await world.ended()
    async with running(world.delivery()):
        await world.quiet()
    assert list(emsp.cdrs) == [f"C{third}"]
    assert [cdr.parked for cdr in await world.store.cdrs(10)] == [False, True]


# ---- a peer that fails


@pytest.mark.parametrize(
    "weather",
    [
        Weather(Kind.DOWN),
        rate_limited(),
        Weather(Kind.UNAUTHORIZED),
        Weather(Kind.FORBIDDEN),
        server_error(503, 3),
    ],
)
async def test_what_lies_with_the_peer_keeps_everything_back_until_it_is_over(
    world: World, emsp: FakeEmsp, weather: Weather
) -> None:
    for _ in range(3):
        await world.ended()
    emsp.set_weather(weather)
    async with running(world.delivery()):
        await world.quiet()
        assert len(emsp.requests) <= 1
        emsp.set_weather(Kind.FINE)
        before = len(emsp.requests)
        world.advance(3.9)
        await world.quiet()
        assert len(emsp.requests) == before
        world.advance(2.2)
        await world.quiet()
    assert len(told(emsp)) == before + 6
    assert sorted(emsp.cdrs) == ["C1", "C2", "C3"]


@pytest.mark.parametrize(
    "weather",
    [
        server_error(500, times=1),
        server_error(503, times=1),
        Weather(Kind.CUT_OFF, times=1),
        Weather(Kind.HTML_200, times=1),
        Weather(Kind.NOT_FOUND_BARE, times=1),
        Weather(Kind.ENDLESS_LENGTH, times=1),
    ],
)
async def test_what_may_lie_in_a_report_keeps_back_that_one_alone(
    world: World, emsp: FakeEmsp, weather: Weather
) -> None:
    for _ in range(3):
        await world.ended()
    emsp.set_weather(weather, on=Part.SESSIONS)
    async with running(world.delivery()):
        await world.quiet()
        assert list(emsp.cdrs) == ["C2", "C3"]
        world.advance(6.1)
        await world.quiet()
    assert list(emsp.cdrs) == ["C2", "C3", "C1"]


async def test_a_proxy_without_a_server_behind_it_is_not_asked_for_every_report(world: World, emsp: FakeEmsp) -> None:
    for _ in range(30):
        await world.ended()
    emsp.set_weather(server_error(503))
    async with running(world.delivery()):
        await world.quiet()
        assert len(emsp.requests) == 5
        emsp.set_weather(Kind.FINE)
        world.advance(10)
        await world.quiet()
    assert len(emsp.cdrs) == 30


async def test_a_peer_that_asks_for_a_minute_gets_it(world: World, emsp: FakeEmsp) -> None:
    emsp.set_weather(rate_limited(60, times=1), on=Part.SESSIONS)
    await world.ended()
    async with running(world.delivery()):
        await world.quiet()
        world.advance(59)
        await world.quiet()
        assert len(emsp.requests) == 1
        world.advance(2)
        await world.quiet()
    assert list(emsp.cdrs) == ["C1"]


async def test_rejected_credentials_raise_one_alarm(
    world: World, emsp: FakeEmsp, caplog: pytest.LogCaptureFixture
) -> None:
    emsp.set_weather(Kind.UNAUTHORIZED)
    await world.ended()
    async with running(world.delivery()):
        for _ in range(5):
            await world.quiet()
            world.advance(5000)
        await world.quiet()
    assert len(emsp.requests) <= 12
    assert caplog.text.count("ALARM") == 1
    assert emsp.credentials_token not in caplog.text


async def test_a_report_that_hangs_the_peer_does_not_keep_the_others(world: World, emsp: FakeEmsp) -> None:
    await world.ended()
    await world.ended()
    emsp.set_weather(Weather(Kind.SILENT, times=1), on=Part.SESSIONS)
    async with running(world.delivery(DeliverySettings(look_every_s=0.001, request_s=1.0))), asyncio.timeout(HANG_S):
        while len(emsp.cdrs) < 2:
            await world.quiet()
            world.advance(6.1)
    assert told(emsp)[:2] == ["PUT S1", "PUT S2"]
    assert sorted(emsp.cdrs) == ["C1", "C2"]


async def test_a_peer_that_is_slow_does_not_keep_another(world: World, emsp: FakeEmsp) -> None:
    release = asyncio.Event()
    async with FakeEmsp(reports=True) as other, running(world.delivery()):
        other.set_weather(held(release))
        world.client(other, "other")
        await world.ended("other")
        await other.arrived()
        await world.ended()
        await emsp.arrived(2)
        assert other.cdrs == {}
        release.set()
        await world.quiet()
        assert list(other.cdrs) == ["C1"]
    assert list(emsp.cdrs) == ["C2"]


async def test_without_a_registration_reports_wait_for_it(unregistered: World, emsp: FakeEmsp) -> None:
    number = await unregistered.ended()
    async with running(unregistered.delivery()):
        await unregistered.quiet()
        cdr = await unregistered.cdr(number)
        commits = unregistered.store.commits()
        unregistered.advance(100_000)
        await unregistered.quiet()
        assert unregistered.store.commits() == commits
        unregistered.client(emsp)
        await unregistered.quiet()
    assert cdr.problem is not None
    assert "register" in cdr.problem
    assert told(emsp) == ["PUT S1", "POST C1"]


async def test_a_long_outage_costs_a_reading_an_hour_and_no_writing(world: World, emsp: FakeEmsp) -> None:
    for _ in range(5):
        await world.ended()
    emsp.set_weather(Kind.DOWN)
    async with running(world.delivery()):
        for _ in range(10):
            await world.quiet()
            world.advance(5000)
        await world.quiet()
        commits, reads = world.store.commits(), world.store.reads
        for _ in range(40):
            world.advance(3600)
            await world.quiet()
        assert world.store.commits() == commits
        assert world.store.reads - reads <= 2 * 40
        emsp.set_weather(Kind.FINE)
        world.advance(5000)
        await world.quiet()
    assert len(emsp.cdrs) == 5


@pytest.mark.parametrize("how", [{"http_status": 200, "status_code": 4001}, {"http_status": 500}])
async def test_a_charge_that_runs_is_told_soon_behind_many_that_can_not_be(
    world: World, emsp: FakeEmsp, how: dict[str, Any]
) -> None:
    for number in range(1, 21):
        emsp.reported.reject(f"S{number}", **how)
        emsp.reported.reject(f"C{number}", **how)
        assert await world.ended() == number
    waited_s = 0
    async with running(world.delivery()), asyncio.timeout(HANG_S):
        await world.quiet()
        assert await world.begin() == 21
        while "PUT S21" not in told(emsp):
            await world.quiet()
            world.advance(10)
            waited_s += 10
    assert waited_s <= 300


async def test_a_peer_with_new_credentials_is_told_at_once(world: World, emsp: FakeEmsp) -> None:
    await world.ended()
    old = world.clients["emsp"]
    emsp.set_weather(Kind.UNAUTHORIZED)
    async with running(world.delivery()), asyncio.timeout(HANG_S):
        for _ in range(14):
            await world.quiet()
            world.advance(4500)
        await world.quiet()
        assert not emsp.cdrs
        emsp.set_weather(Kind.FINE)
        await world.quiet()
        assert not emsp.cdrs
        world.client(emsp)
        await world.quiet()
    await old.aclose()
    assert list(emsp.cdrs) == ["C1"]


async def test_behind_many_that_can_not_be_told_the_rest_is_found(world: World, emsp: FakeEmsp) -> None:
    for number in range(1, 111):
        emsp.reported.reject(f"S{number}", http_status=500)
        assert await world.begin() == number
    await world.ended()
    async with running(world.delivery()):
        async with asyncio.timeout(HANG_S):
            while not emsp.cdrs:
                await world.quiet()
                world.advance(5000)
    assert list(emsp.cdrs) == ["C111"]


# ---- our own side


async def test_what_could_not_be_put_on_record_is_sent_again_and_counts_once(
    world: World, emsp: FakeEmsp, caplog: pytest.LogCaptureFixture
) -> None:
    number = await world.ended()
    disk = world.store._database.writer
    await disk.write(
        "fill", "CREATE TRIGGER full BEFORE INSERT ON cdr_acknowledged BEGIN SELECT RAISE(ABORT, 'x'); END"
    )
    async with running(world.delivery()), asyncio.timeout(HANG_S):
        while "not delivered" not in caplog.text:
            await world.a_look()
        await disk.write("make room", "DROP TRIGGER full")
        while (await world.cdr(number)).acknowledged_at is None:
            world.advance(1)
            await world.a_look()
    assert told(emsp) == ["PUT S1", "POST C1", "POST C1"]
    assert list(emsp.cdrs) == ["C1"]


async def test_an_outbox_that_can_not_be_read_is_read_later(world: World, emsp: FakeEmsp) -> None:
    class Unreadable(WatchedStore):
        async def due(self, most: int = 100) -> list[Report]:
            if self.reads < 2:
                self.reads += 1
                raise StoreError("state.db: can't read what is due: disk I/O error")
            return await super().due(most)

    world.store = Unreadable(world.store._database)
    await world.ended()
    async with running(world.delivery()), asyncio.timeout(HANG_S):
        while not emsp.cdrs:
            world.advance(1)
            await world.a_look()
    assert told(emsp) == ["PUT S1", "POST C1"]


async def test_a_fault_of_ours_with_one_report_does_not_keep_the_others(
    unregistered: World, emsp: FakeEmsp, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(ReportClient):
        async def put_session(self, session: Session, **routing: Any) -> Failure | None:
            if session.id == "S1":
                raise RuntimeError("the transport is closed")
            return await super().put_session(session, **routing)

    world = unregistered
    world.client(emsp, of=Faulty)
    number = await world.ended()
    await world.ended()
    async with running(world.delivery()):
        await world.quiet()
        record = await world.record(number)
    assert list(emsp.cdrs) == ["C2"]
    assert record.untold
    assert record.problem is not None
    assert "fault" in record.problem
    assert UID not in caplog.text


async def test_killed_with_a_cdr_on_its_way_it_is_billed_once(world: World, emsp: FakeEmsp) -> None:
    number = await world.ended()
    delivery, never = world.delivery(), asyncio.Event()
    emsp.set_weather(held(never), on=Part.CDRS)
    async with running(delivery):
        await emsp.arrived(1, Part.CDRS)
    assert (await world.cdr(number)).acknowledged_at is None
    emsp.set_weather(Kind.FINE)
    async with running(delivery):
        await world.quiet()
    assert told(emsp) == ["PUT S1", "POST C1", "POST C1"]
    assert list(emsp.cdrs) == ["C1"]
    assert (await world.cdr(number)).acknowledged_at is not None
