"""What an operator types about sessions and CDRs, as processes of their own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.charges import StopRequest
from agent.commands.session_stop import stop
from agent.config import load
from agent.errors import AgentError
from agent.storage import alone_in
from agent.store.sessions import SessionStore
from tests.scenario.charge_books import NOON, REFERENCE, Books, cdr_object
from tests.scenario.world import EVSES, Finished

FIRST, SECOND = "5e551010-0000-4000-8000-000000000001", "5e552020-0000-4000-8000-000000000002"
CDR, OTHER_CDR = "cd100000-0000-4000-8000-000000000001", "cd200000-0000-4000-8000-000000000002"


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


async def told(books: Books, *, acknowledged: bool = True) -> None:
    """Everything due has reached the peer, or was rejected by it."""
    async with books.opened() as (_, store):
        for report in await store.due():
            if report.kind == "session":
                await store.told(report.authorization_id, report.revision)
            elif acknowledged:
                await store.acknowledged(report.revision, NOON + timedelta(hours=2), "https://emsp.example/cdrs/1")
            else:
                await store.park(report.revision, "OCPI 2001: no such token")


def objects(finished: Finished) -> list[dict[str, object]]:
    assert (finished.code, finished.err) == (0, "")
    return [json.loads(line) for line in finished.out.splitlines()]


# ---- sessions


async def test_session_that_runs_is_listed_with_energy_cost_and_what_is_to_come(books: Books) -> None:
    await books.run()
    finished = await books.command("sessions")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.splitlines() == [
        f"#1 2026-03-01 12:00:00Z to now, running {EVSES[0]} 1.500 kWh, 0.60 EUR excl. VAT",
        "    not yet told to emsp; CDR when it ends",
        f"    authorization_reference {REFERENCE}",
    ]


async def test_charge_that_is_over_is_listed_with_its_end_and_its_cdr(books: Books) -> None:
    await books.charge()
    await told(books)
    finished = await books.command("sessions")
    assert finished.out.splitlines() == [
        f"#1 2026-03-01 12:00:00Z to 13:00:00Z (same-card) {EVSES[0]} 10.000 kWh, 4.10 EUR excl. VAT, 4.879 incl.",
        "    told to emsp; CDR #1 acknowledged by emsp",
        f"    authorization_reference {REFERENCE}",
    ]


@pytest.mark.parametrize("peer", ["emsp", None], ids=["peer known", "nobody known"])
async def test_session_that_gets_no_cdr_is_listed_with_the_reason(books: Books, peer: str | None) -> None:
    await books.charge(no_cdr="nobody knows whose card it is", peer=peer, object=None, energy_wh=None)
    finished = await books.command("sessions")
    assert " energy not metered, not priced\n" in finished.out
    assert "told to nobody; no CDR: nobody knows whose card it is\n" in finished.out


async def test_sessions_in_json_are_one_a_line_newest_first_with_every_digit(books: Books) -> None:
    await books.charge()
    await told(books)
    await books.run(SECOND)
    finished = await books.command("sessions", "--json")
    newest, oldest = objects(finished)
    assert (newest["id"], newest["session_id"], newest["ended_at"], newest["told"]) == (2, SECOND, None, False)
    assert (newest["cdr"], newest["credit"], newest["no_cdr"]) == (None, None, None)
    assert (oldest["ended_because"], oldest["energy_wh"], oldest["told"]) == ("same-card", 10_000, True)
    assert oldest["authorization_reference"] == REFERENCE
    assert '"currency":"EUR","cost_excl_vat":4.10,"cost_incl_vat":4.8790' in finished.out.splitlines()[1]
    assert oldest["cdr"] == {
        "number": 1,
        "id": CDR,
        "peer": "emsp",
        "state": "acknowledged",
        "acknowledged_at": "2026-03-01T14:00:00+00:00",
        "url": "https://emsp.example/cdrs/1",
        "problem": None,
        "credits": None,
        "credited_by": None,
    }


async def test_sessions_are_narrowed_to_one_evse_or_to_those_that_run(books: Books) -> None:
    await books.charge()
    await books.run(SECOND, evse_uid=EVSES[1])
    of_first = objects(await books.command("sessions", "--evse", EVSES[0], "--json"))
    that_run = objects(await books.command("sessions", "--running", "--json"))
    assert [session["session_id"] for session in of_first] == [FIRST]
    assert [session["session_id"] for session in that_run] == [SECOND]


async def test_list_that_ends_at_its_limit_says_so(books: Books) -> None:
    await books.charge()
    await books.run(SECOND)
    finished = await books.command("sessions", "--limit", "1", "--json")
    assert len(finished.out.splitlines()) == 1
    assert finished.err == "only the first 1 are shown; --limit shows more\n"


async def test_unknown_evse_is_answered_with_those_that_there_are(books: Books) -> None:
    await books.empty()
    for words in (("sessions", "--evse", "E9"), ("sessions", "stop", "E9")):
        finished = await books.command(*words)
        assert (finished.code, finished.out) == (2, "")
        assert f"no [[evse]] has the uid E9; there are: {', '.join(EVSES)}" in finished.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sessions",), "nobody has charged here yet\n"),
        (("sessions", "--running"), "no session is running\n"),
        (("cdrs", "list"), "there is no CDR here yet\n"),
        (("cdrs", "list", "--parked"), "there is no such CDR here\n"),
        (("sessions", "--json"), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_nothing_charged_yet_is_said_in_words_alone(books: Books, words: tuple[str, ...], said: str) -> None:
    await books.empty()
    assert await books.command(*words) == Finished(0, said, "")


@pytest.mark.parametrize(
    "words",
    [("sessions",), ("sessions", "show", "1"), ("cdrs", "list"), ("cdrs", "resend", "1"), ("cdrs", "credit", "1")],
    ids=" ".join,
)
async def test_command_before_there_is_a_file_says_so_and_makes_none(books: Books, words: tuple[str, ...]) -> None:
    finished = await books.command(*words)
    assert (finished.code, finished.out) == (1, "")
    assert "not there yet; " in finished.err
    assert list(books.storage.iterdir()) == []


async def test_option_of_the_list_before_a_subcommand_is_no_option_without_effect(books: Books) -> None:
    await books.empty()
    finished = await books.command("sessions", "--json", "show", "1")
    assert (finished.code, finished.out) == (2, "")
    assert "--json belongs after the word show" in finished.err


async def test_session_that_its_peer_rejected_is_listed_with_what_it_had_against_it(books: Books) -> None:
    await books.run()
    async with books.opened() as (_, store):
        await store.session_rejected(1, 1, "OCPI 2001: no such token")
    assert "told to emsp, which rejected it: OCPI 2001: no such token; " in (await books.command("sessions")).out


# ---- sessions show


@pytest.mark.parametrize("name", ["1", "#1", FIRST, FIRST[:8]])
async def test_session_is_shown_by_number_or_id_with_all_that_is_known(books: Books, name: str) -> None:
    await books.charge()
    await told(books)
    finished = await books.command("sessions", "show", name)
    assert (finished.code, finished.err) == (0, "")
    assert f"session          #1 {FIRST}\n" in finished.out
    assert "energy           10.000 kWh, register at 60000 Wh\n" in finished.out
    assert f"reference        {REFERENCE}\n" in finished.out
    assert "bill             CDR #1 acknowledged by emsp\n" in finished.out
    assert "period           12:00:00Z to 13:00:00Z charging" in finished.out


async def test_session_in_json_holds_the_objects_as_they_are_sent(books: Books) -> None:
    session = await books.run()
    await books.charge(session_id=SECOND)
    shown = (await books.command("sessions", "show", "1", "--json")).out
    [billed] = objects(await books.command("sessions", "show", "2", "--json"))
    assert session.object is not None
    assert f'"object":{session.object.decode()}' in shown
    assert f'"account":{session.account.decode()}' in shown
    assert billed["cdr_objects"] == [json.loads(cdr_object(CDR, SECOND))]


async def test_session_that_is_not_there_is_an_error(books: Books) -> None:
    await books.empty()
    finished = await books.command("sessions", "show", "77")
    assert (finished.code, finished.out) == (1, "")
    assert "there is no session 77: " in finished.err


# ---- sessions stop


@asynccontextmanager
async def agent_that_says(books: Books, outcome: str) -> AsyncIterator[list[StopRequest]]:
    """Who holds the databases and answers the first request; yields what it was asked."""
    asked: list[StopRequest] = []
    with alone_in(books.storage):
        async with books.opened() as (_, store):
            answering = asyncio.create_task(_answer(store, asked, outcome))
            yield asked
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def _answer(store: SessionStore, asked: list[StopRequest], outcome: str) -> None:
    while not asked:
        asked += await store.stop_requests()
        await asyncio.sleep(0.01)
    await store.stopped(asked[0].number, outcome)


@pytest.mark.parametrize(
    ("outcome", "code", "stopped"), [("stopped", 0, True), ("nothing runs there", 1, False)], ids=["runs", "idle"]
)
async def test_running_agent_is_asked_to_stop_and_its_answer_told(
    books: Books, outcome: str, code: int, *, stopped: bool
) -> None:
    await books.empty()
    async with agent_that_says(books, outcome) as asked:
        finished = await books.command("sessions", "stop", EVSES[0], "--json")
    assert (finished.code, finished.err) == (code, "")
    assert json.loads(finished.out) == {"evse_uid": EVSES[0], "stopped": stopped, "outcome": outcome}
    assert [request.evse_uid for request in asked] == [EVSES[0]]


async def test_stop_where_no_agent_runs_says_so_and_leaves_no_request(books: Books) -> None:
    await books.run()
    finished = await books.command("sessions", "stop", EVSES[0])
    assert (finished.code, finished.out) == (1, "")
    assert "no agent is running on this configuration's databases" in finished.err
    async with books.opened() as (_, store):
        assert await store.stop_requests() == []


async def test_agent_that_does_not_answer_is_not_waited_for_for_ever_and_asked_no_longer(books: Books) -> None:
    await books.empty()
    with alone_in(books.storage), pytest.raises(AgentError, match=r"has not answered within 0 s, "):
        await stop(load(books.config), EVSES[0], as_json=False, answer_s=0.0)
    async with books.opened() as (_, store):
        assert await store.stop_requests() == []


# ---- cdrs


async def test_cdrs_are_listed_with_what_became_of_them(books: Books) -> None:
    await books.charge()
    await told(books, acknowledged=False)
    await books.charge(OTHER_CDR, session_id=SECOND)
    finished = await books.command("cdrs", "list")
    assert (finished.code, finished.err) == (0, "")
    amounts = "10.000 kWh, 4.10 EUR excl. VAT, 4.879 incl."
    assert finished.out.splitlines() == [
        f"#2 session #2 2026-03-01 12:00:00Z {amounts}",
        "    CDR #2 due to emsp",
        f"#1 session #1 2026-03-01 12:00:00Z {amounts}",
        "    CDR #1 parked, emsp rejected it: OCPI 2001: no such token",
    ]


async def test_cdrs_are_narrowed_to_pending_and_to_parked(books: Books) -> None:
    await books.charge()
    await told(books, acknowledged=False)
    await books.charge(OTHER_CDR, session_id=SECOND)
    parked = objects(await books.command("cdrs", "list", "--parked", "--json"))
    pending = objects(await books.command("cdrs", "list", "--pending", "--json"))
    assert [(cdr["id"], cdr["state"], cdr["problem"]) for cdr in parked] == [
        (CDR, "parked", "OCPI 2001: no such token")
    ]
    assert [(cdr["id"], cdr["state"], cdr["session_id"]) for cdr in pending] == [(OTHER_CDR, "due", SECOND)]


async def test_cdr_is_shown_byte_by_byte_as_it_is_sent(books: Books) -> None:
    await books.charge()
    finished = await books.command("cdrs", "show", CDR[:8], "--json")
    assert finished == Finished(0, cdr_object(CDR, FIRST).decode() + "\n", "")


async def test_cdr_laid_out_for_reading_keeps_every_digit(books: Books) -> None:
    await books.charge()
    finished = await books.command("cdrs", "show", "1")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith("CDR #1 due to emsp\n{\n")
    assert '"excl_vat": 4.10,\n    "incl_vat": 4.8790\n' in finished.out


async def test_rejected_cdr_is_due_again_when_it_is_resent(books: Books) -> None:
    await books.charge()
    await told(books, acknowledged=False)
    finished = await books.command("cdrs", "resend", "#1")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith(f"CDR #1 {CDR}: due again; ")
    async with books.opened() as (_, store):
        assert [report.object for report in await store.due()] == [cdr_object(CDR, FIRST)]


async def test_acknowledged_cdr_is_due_again_when_it_is_resent(books: Books) -> None:
    await books.charge()
    await told(books)
    finished = await books.command("cdrs", "resend", CDR)
    assert finished.out.startswith(f"CDR #1 {CDR}: due again, although it is acknowledged; ")
    async with books.opened() as (_, store):
        assert [report.revision for report in await store.due()] == [1]


async def test_resend_shows_as_pending_in_the_list(books: Books) -> None:
    await books.charge()
    await told(books)
    await books.command("cdrs", "resend", CDR)
    [pending] = objects(await books.command("cdrs", "list", "--pending", "--json"))
    assert (pending["id"], pending["state"]) == (CDR, "due")


@pytest.mark.parametrize("verb", ["show", "resend", "credit"])
async def test_cdr_that_is_not_there_is_an_error(books: Books, verb: str) -> None:
    await books.charge()
    finished = await books.command("cdrs", verb, "77")
    assert (finished.code, finished.out) == (1, "")
    assert "there is no CDR 77: " in finished.err


# ---- cdrs credit


async def test_credit_writes_the_cdr_that_takes_another_back(books: Books) -> None:
    await books.charge()
    await told(books)
    finished = await books.command("cdrs", "credit", "1")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith(f"CDR #2 {CDR}-C: takes back CDR #1 {CDR}, -4.10 EUR excl. VAT, -4.879 incl.; ")
    [written] = objects(await books.command("cdrs", "show", "2", "--json"))
    assert (written["credit"], written["credit_reference_id"]) == (True, CDR)
    assert written["total_cost"] == {"excl_vat": -4.1, "incl_vat": -4.879}
    [session] = objects(await books.command("sessions", "--json"))
    assert isinstance(session["cdr"], dict)
    assert isinstance(session["credit"], dict)
    assert (session["cdr"]["credited_by"], session["credit"]["state"]) == (f"{CDR}-C", "due")


@pytest.mark.parametrize(
    ("cdr", "complaint"),
    [("1", "was taken back already, by "), ("2", "is a credit itself, of ")],
    ids=["twice", "credit"],
)
async def test_credit_of_what_can_not_be_credited_changes_nothing(books: Books, cdr: str, complaint: str) -> None:
    await books.charge()
    await told(books)
    await books.command("cdrs", "credit", "1")
    finished = await books.command("cdrs", "credit", cdr)
    assert (finished.code, finished.out) == (1, "")
    assert complaint in finished.err
    assert len(objects(await books.command("cdrs", "list", "--json"))) == 2


async def test_credit_of_what_is_not_acknowledged_says_so_and_changes_nothing(books: Books) -> None:
    await books.charge()
    finished = await books.command("cdrs", "credit", "1")
    assert (finished.code, finished.out) == (1, "")
    assert f"CDR #1 {CDR} is not acknowledged by emsp yet: it can be taken back once it is" in finished.err
    assert len(objects(await books.command("cdrs", "list", "--json"))) == 1


async def test_credit_of_what_its_peer_has_rejected_says_so_and_changes_nothing(books: Books) -> None:
    await books.charge()
    async with books.opened() as (_, store):
        await store.park(1, "OCPI 2001")
    finished = await books.command("cdrs", "credit", "1")
    assert (finished.code, finished.out) == (1, "")
    assert f"CDR #1 {CDR} was rejected by emsp: there is nothing to take back" in finished.err
    assert len(objects(await books.command("cdrs", "list", "--json"))) == 1


async def test_credit_at_a_terminal_asks_and_does_nothing_on_no(books: Books) -> None:
    await books.charge()
    await told(books)
    finished = await books.command_on_terminal("n\n", "cdrs", "credit", "1")
    assert finished.code == 1
    assert f"Take back CDR #1 {CDR}, 4.10 EUR excl. VAT, 4.879 incl.? This can't be undone [y/N]" in finished.err
    assert len(objects(await books.command("cdrs", "list", "--json"))) == 1


async def test_credit_at_a_terminal_is_written_on_yes(books: Books) -> None:
    await books.charge()
    await told(books)
    finished = await books.command_on_terminal("y\n", "cdrs", "credit", "1")
    assert finished.code == 0
    assert len(objects(await books.command("cdrs", "list", "--json"))) == 2


# ---- authorizations


async def test_authorization_is_shown_with_its_session_and_cdr(books: Books) -> None:
    await books.charge()
    finished = await books.command("authorizations")
    assert finished.out.splitlines()[-1] == "    session #1: 10.000 kWh; CDR #1 due to emsp"


async def test_authorization_of_a_clock_that_was_not_set_says_so(books: Books) -> None:
    await books.accept(tapped_at=datetime(1970, 1, 1, 0, 2, 3, tzinfo=UTC))
    await books.accept(tapped_at=datetime(2026, 12, 1, 8, 2, 3, tzinfo=UTC))
    later, earlier = [line for line in (await books.command("authorizations")).out.splitlines() if line[0] == "#"]
    assert earlier.startswith(f"#1 1970-01-01 00:02:03Z (clock not set) {EVSES[0]} ")
    assert later.startswith(f"#2 2026-12-01 08:02:03Z {EVSES[0]} ")


async def test_session_that_ended_by_such_a_clock_waits_for_its_cdr(books: Books) -> None:
    await books.charge(clock_known=False, object=None, peer=None)
    finished = await books.command("authorizations")
    assert finished.out.splitlines()[-1] == "    session #1: 10.000 kWh; CDR when the clock has been set"


async def test_authorization_in_json_has_its_session_or_null(books: Books) -> None:
    await books.charge()
    await books.accept()
    without, charged = objects(await books.command("authorizations", "--json"))
    assert without["session"] is None
    assert isinstance(charged["session"], dict)
    assert (charged["session"]["id"], charged["session"]["session_id"]) == (1, FIRST)
    assert (charged["session"]["energy_wh"], charged["session"]["cdr"]["state"]) == (10_000, "due")


# ---- all


@pytest.mark.parametrize(
    "words",
    [
        ("sessions",),
        ("sessions", "--json"),
        ("sessions", "show", "1"),
        ("sessions", "show", "1", "--json"),
        ("cdrs", "list"),
    ],
    ids=" ".join,
)
async def test_what_a_peer_wrote_moves_nothing_on_the_terminal(books: Books, words: tuple[str, ...]) -> None:
    evil = "no\x1b]0;owned\x07\x1b[2J\n#9 FAKE\x9b31m\u202e\x7f"
    await books.charge()
    async with books.opened() as (_, store):
        for report in await store.due():
            await store.problem(report, evil)
    finished = await books.command(*words)
    assert finished.code == 0
    assert "\\u001b]0;owned\\u0007" in finished.out
    assert [c for c in finished.out if not c.isprintable() and c != "\n"] == []
    assert not any(line.startswith("#9") for line in finished.out.splitlines())


async def test_commands_that_read_leave_the_file_as_it_is(books: Books) -> None:
    await books.charge()
    state = books.storage / "state.db"
    state.chmod(0o640)
    before = state.read_bytes()
    for words in (("sessions",), ("sessions", "show", "1"), ("cdrs", "list"), ("cdrs", "show", "1")):
        assert (await books.command(*words)).code == 0
    assert state.read_bytes() == before
    assert state.stat().st_mode & 0o777 == 0o640
