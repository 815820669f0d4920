"""A tap all the way: bytes on a serial line in, a pin, a row in `state.db` and a text out."""

import asyncio
import io
from pathlib import Path

from agent.model import Reason
from fakes.emsp import Kind, Part, held
from tests.scenario.world import EVSES, PINS, only, until, world

A, B, C = "0104A1B2C3", "01FF80C3D4", "0104A1B2C5"
ALWAYS = {"whitelist": "ALWAYS"}
NEVER = {"whitelist": "NEVER"}


async def test_bytes_on_the_line_close_the_relay_and_leave_a_record_and_a_text(tmp_path: Path) -> None:
    display = io.StringIO()
    async with world(tmp_path, {A: ALWAYS}, display=display) as here:
        settled = await here.tap(A)
        assert [(change.pin, change.level) for change in here.switched] == [(PINS[0], True)]
        record = only(here.records())
        assert record["id"] == settled.authorization_id
        assert (record["uid"], record["evse_uid"], record["reader"]) == (A, EVSES[0], "reader-1")
        assert (record["verdict"], record["reason"], record["source"]) == ("accepted", "whitelisted", "whitelist")
        assert (record["relay_closed"], record["ended_at"], record["contract_id"]) == (1, None, f"DE-ABC-{A}")
        assert record["text"] == "Card accepted\nPlease plug in"
        assert display.getvalue().endswith("[DE*EXA*E1] Card accepted | Please plug in\n")


async def test_where_the_time_of_a_tap_went_is_told_with_it(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with world(tmp_path, {A: NEVER}) as here:
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        here.lines[0].present(A)
        await here.emsp.arrived(1, Part.AUTHORIZE)
        await asyncio.sleep(0.05)
        release.set()
        settled = await here.settled()
        times = settled.times
        assert times is not None
        assert times.peer_ms >= 50
        steps = times.waiting_ms, times.whitelist_ms, times.peer_ms, times.record_ms, times.relay_ms
        assert min(steps) >= 0
        assert abs(sum(steps) - (settled.switched_at - settled.tap.at) * 1000) < 0.001


async def test_same_card_again_opens_the_relay_and_ends_the_record(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS}) as here:
        first = await here.tap(A)
        await here.taken_away(first.tap)
        await here.tap(A)
        assert not here.is_closed()
        start, stop = here.records()
        assert start["ended_because"] == "same-card"
        assert start["tapped_at"] < stop["tapped_at"] <= start["ended_at"]
        assert (stop["reason"], stop["ends"], stop["relay_closed"]) == ("stopped-same-card", start["id"], 0)


async def test_card_of_the_same_group_opens_the_relay(tmp_path: Path) -> None:
    group = {**ALWAYS, "group_id": "FAMILY-7"}
    async with world(tmp_path, {A: group, B: group}) as here:
        await here.tap(A)
        await here.tap(B)
        assert not here.is_closed()
        start, stop = here.records()
        assert start["ended_because"] == "group-card"
        assert (stop["uid"], stop["reason"], stop["ends"]) == (B, "stopped-group-card", start["id"])


async def test_card_of_nobodys_group_leaves_the_other_drivers_relay_closed(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}) as here:
        await here.tap(A)
        await here.tap(B)
        assert here.is_closed()
        start, other = here.records()
        assert start["ended_at"] is None
        assert (other["verdict"], other["reason"], other["ends"]) == ("refused", "evse-in-use", None)


async def test_second_evse_does_not_wait_for_the_first_ones_peer(tmp_path: Path) -> None:
    async with world(tmp_path, {A: NEVER, B: ALWAYS}) as here:
        here.emsp.set_weather(Kind.SILENT, on=Part.AUTHORIZE)
        here.lines[0].present(A)
        await here.emsp.arrived(1, Part.AUTHORIZE)
        settled = await here.tap(B, evse=1)
        assert (settled.entry.evse_uid, settled.entry.uid) == (EVSES[1], B)
        assert (here.is_closed(0), here.is_closed(1)) == (False, True)


async def test_two_evses_that_ask_at_once_get_each_its_own_answer(tmp_path: Path) -> None:
    release = asyncio.Event()
    async with world(tmp_path, {A: NEVER, B: {**NEVER, "allowed": "BLOCKED"}}) as here:
        here.emsp.set_weather(held(release), on=Part.AUTHORIZE)
        here.lines[0].present(A)
        here.lines[1].present(B)
        await here.emsp.arrived(2, Part.AUTHORIZE)
        release.set()
        both = {settled.entry.evse_uid: settled.entry for settled in (await here.settled(), await here.settled())}
        assert (both[EVSES[0]].uid, both[EVSES[0]].reason) == (A, "allowed")
        assert (both[EVSES[1]].uid, both[EVSES[1]].reason) == (B, "blocked")
        assert (here.is_closed(0), here.is_closed(1)) == (True, False)


async def test_reader_that_was_replugged_reads_the_next_card(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS}) as here:
        here.lines[0].unplug()
        here.lines[0].plug()
        await here.lines[0].wait_opened()
        await here.tap(A)
        assert here.is_closed()


async def test_unplugged_reader_leaves_the_running_charge_alone(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}) as here:
        await here.tap(A)
        here.lines[0].unplug()
        await here.tap(B, evse=1)
        assert (here.is_closed(0), here.is_closed(1)) == (True, True)
        assert [record["ended_at"] for record in here.records()] == [None, None]


async def test_held_card_is_one_record(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}, removal_s=60.0) as here:
        here.lines[0].present(A, times=10)
        await here.settled()
        await here.tap(B)
        assert [(record["uid"], record["reason"]) for record in here.records()] == [
            (A, "whitelisted"),
            (B, "evse-in-use"),
        ]


async def test_corrupt_frame_is_no_tap(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}) as here:
        here.lines[0].present(A, corrupt=True)
        await here.tap(B)
        assert only(here.records())["uid"] == B
        assert here.agent.readers[0].bad_frames == 1


async def test_peers_own_words_are_shown_and_recorded(tmp_path: Path) -> None:
    display = io.StringIO()
    card = {**NEVER, "allowed": "BLOCKED", "info": ("en", "Reported lost. Call us.")}
    async with world(tmp_path, {A: card}, display=display) as here:
        await here.tap(A)
        assert only(here.records())["text"] == "Reported lost. Call\nus."
        assert display.getvalue().endswith("[DE*EXA*E1] Reported lost. Call | us.\n")
        assert not here.is_closed()


async def test_authorization_reference_is_recorded_unchanged(tmp_path: Path) -> None:
    reference = "aB/{} ~+%20\"'-_=?&#;0123456789.ABCde"
    async with world(tmp_path, {A: {**NEVER, "reference": reference}}) as here:
        await here.tap(A)
        assert only(here.records())["authorization_reference"] == reference
        assert here.is_closed()


async def test_uid_is_found_and_asked_for_as_its_owner_writes_it(tmp_path: Path) -> None:
    async with world(tmp_path, {B.lower(): NEVER}) as here:
        await here.tap(B)
        [asked] = await here.emsp.arrived(1, Part.AUTHORIZE)
        assert asked.uid == B.lower()
        assert only(here.records())["reason"] == "allowed"


async def test_peer_is_told_location_evse_and_the_correlation_id_of_the_record(tmp_path: Path) -> None:
    async with world(tmp_path, {A: NEVER}) as here:
        await here.tap(A, evse=1)
        [asked] = await here.emsp.arrived(1, Part.AUTHORIZE)
        assert asked.json() == {"location_id": "LOC1", "evse_uids": [EVSES[1]]}
        assert asked.query == {"type": "RFID"}
        assert asked.headers["x-correlation-id"] == only(here.records())["correlation_id"]
        assert here.emsp.complaints == []


async def test_two_taps_have_two_correlation_ids(tmp_path: Path) -> None:
    async with world(tmp_path, {A: NEVER, C: NEVER}) as here:
        await here.tap(A)
        await here.tap(C, evse=1)
        assert len({record["correlation_id"] for record in here.records()}) == 2


async def test_card_on_no_list_is_asked_about_and_accepted(tmp_path: Path) -> None:
    async with world(tmp_path, {A: {"listed": False}}) as here:
        await here.tap(A)
        record = only(here.records())
        assert (record["verdict"], record["reason"], record["source"]) == ("accepted", "allowed", "realtime")
        assert record["authorization_reference"] == here.emsp.given_references[A][0]
        assert record["contract_id"] == f"DE-ABC-{A}"


async def test_stop_of_the_agent_opens_every_relay_and_ends_every_record(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}) as here:
        await here.tap(A)
        await here.tap(B, evse=1)
    assert (here.is_closed(0), here.is_closed(1)) == (False, False)
    assert [record["ended_because"] for record in here.records()] == ["shutdown", "shutdown"]


class ThrowsOnce(io.StringIO):
    """A display's stream with a fault that nobody foresaw, while it shows a verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.thrown = False

    def write(self, text: str) -> int:
        if "accepted" in text and not self.thrown:
            self.thrown = True
            raise RuntimeError("the display's firmware went mad")
        return super().write(text)


async def test_part_that_crashes_opens_its_relay_and_works_again(tmp_path: Path) -> None:
    async with world(tmp_path, {A: ALWAYS, B: ALWAYS}, display=ThrowsOnce()) as here:
        here.lines[0].present(A)
        await until(lambda: len(here.switched) == 2)
        assert [change.level for change in here.switched] == [True, False]
        await until(lambda: [record["ended_because"] for record in here.records()] == ["agent-fault", None])
        assert (await here.settled()).entry.reason is Reason.AGENT_FAULT
        await here.tap(B)
        assert here.is_closed()
