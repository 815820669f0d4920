"""What the page is sent: every field, every uid masked, and nothing that is no JSON."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.charges import Backlog, CdrRecord, Charge, NewCdr, SessionRecord
from agent.core.evse_state import Plug
from agent.model import (
    Answer,
    Answers,
    EndReason,
    Entry,
    ListedToken,
    LocationReferences,
    Outcome,
    Policy,
    Question,
    Reason,
    Recorded,
    Signal,
    Source,
    Tap,
    Token,
    TokenType,
    Uid,
    Verdict,
    WhitelistType,
)
from agent.panel.board import About, Books, Glass, Outlet, Runs, SeenTap, board, veil_of
from agent.panel.exchange import json_bytes
from agent.panel.explain import explained
from agent.panel.watch import TAPS, Watch
from agent.ports import Charset, ReaderState
from agent.runtime.cards import Settled, TapTimes
from agent.service.facts import EvseFacts, Facts, PeerFacts, ReaderFacts

AT = datetime(2027, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC)
UID = Uid("04A1B2C3D4E59F")
EVSE = EvseFacts("DE*EXA*E1", "charging", is_live=True, relay_closed=True, relay_fault="", lost=("meter",))
READER = ReaderFacts("door", ReaderState.READY, "", bad_frames=2)
PEER = PeerFacts("emsp", is_asked=True, rejects_credentials=False, tokens=3, synced_at=AT - timedelta(seconds=90))
FACTS = Facts((EVSE,), (READER,), (PEER,), Backlog())
ABOUT = About("0.1.0", 12.7, "1 EVSE: DE*EXA*E1 charging", 5000.0)
ENTRY = Entry(
    evse_uid="DE*EXA*E1",
    uid=UID,
    reader="door",
    tapped_at=AT,
    verdict=Verdict.ACCEPTED,
    reason=Reason.ALLOWED,
    source=Source.REALTIME,
    detail="emsp allows",
    text="Card accepted\nPlease plug in",
    relay_closed=True,
    latency_ms=23.0,
    deadline_ms=5000.0,
    correlation_id="c",
    peer="emsp",
    authorization_reference="REF-1",
)
TIMES = TapTimes(0.1, 0.4, 23.004, 0.8, 0.1)
SESSION_OBJECT = (
    b'{"start_date_time":"2027-06-01T11:00:00Z","currency":"EUR","kwh":1.234,'
    b'"total_cost":{"excl_vat":0.5185,"incl_vat":0.617}}'
)
SESSION = SessionRecord(
    authorization_id=7,
    session_id="5e551010",
    evse_uid="DE*EXA*E1",
    peer="emsp",
    started_at=AT,
    changed_at=AT,
    account=b"{}",
    object=SESSION_OBJECT,
    energy_wh=1234,
    register_wh=None,
    boot_id="b",
    monotonic_s=1.0,
    clock_known=True,
)
CHARGE = Charge(SESSION, Recorded(7, ENTRY))
CDR = NewCdr("CDR-1", 7, "emsp", SESSION_OBJECT, AT)


def made(
    *, outlets: tuple[Outlet, ...] = (), taps: tuple[SeenTap, ...] = (), books: Books | None = None, **facts: Any
) -> dict[str, Any]:
    """As the page reads it."""
    latency_ms = {"emsp": 23.44}
    value = board(
        AT, ABOUT, replace(FACTS, **facts), outlets=outlets, taps=taps, latency_ms=latency_ms, books=books or Books()
    )
    read: dict[str, Any] = json.loads(json_bytes(value))
    return read


# ---- the parts


def test_the_agent_and_its_peers_are_told() -> None:
    state = made(books=Books((), Backlog(1, 2, 3, AT)))
    assert state["at"] == "2027-06-01T12:00:00.250Z"
    assert state["agent"] == {
        "version": "0.1.0",
        "uptime_s": 12,
        "status": "1 EVSE: DE*EXA*E1 charging",
        "policy": {"deadline_ms": 5000.0},
    }
    assert state["readers"] == [{"name": "door", "state": "ready", "advice": "", "bad_frames": 2}]
    assert state["peers"] == [
        {
            "name": "emsp",
            "up": True,
            "breaker": "closed",
            "rejects_credentials": False,
            "latency_ms": 23.4,
            "tokens": 3,
            "synced_at": "2027-06-01T11:58:30.250Z",
        }
    ]
    assert state["whitelist"] == {"tokens": 3, "oldest_sync_s": 90}
    assert state["outbox"] == {"sessions": 1, "cdrs": 2, "parked": 3}


@pytest.mark.parametrize(
    ("changes", "up", "breaker"),
    [({}, True, "closed"), ({"is_asked": False}, False, "open"), ({"rejects_credentials": True}, False, "closed")],
)
def test_a_peer_is_up_while_it_is_asked_and_knows_us(changes: dict[str, Any], up: bool, breaker: str) -> None:  # noqa: FBT001
    [peer] = made(peers=(replace(PEER, **changes),))["peers"]
    assert (peer["up"], peer["breaker"]) == (up, breaker)


def test_what_is_not_known_yet_is_null() -> None:
    never = PeerFacts("hub", is_asked=True, rejects_credentials=False, tokens=0, synced_at=None)
    state = made(peers=(never,), readers=(replace(READER, state=None),))
    assert state["peers"][0]["synced_at"] is None
    assert state["peers"][0]["latency_ms"] is None
    assert state["whitelist"]["oldest_sync_s"] is None
    assert state["readers"][0]["state"] is None


def test_an_evse_is_told_with_its_display_light_and_charge() -> None:
    outlet = Outlet(EVSE, Plug.IN, Glass(("Lädt", "1,2 kWh"), 20, 4), Signal.CHARGING, Runs(7, AT, 1234, 11_000.0))
    [evse] = made(outlets=(outlet,), books=Books((CHARGE,)))["evses"]
    assert evse == {
        "uid": "DE*EXA*E1",
        "phase": "charging",
        "live": True,
        "display": {"lines": ["Lädt", "1,2 kWh"], "columns": 20, "rows": 4},
        "signal": "charging",
        "plug": "in",
        "relay": "closed",
        "relay_fault": "",
        "lost": ["meter"],
        "session": {
            "id": 7,
            "energy_wh": 1234,
            "power_w": 11_000.0,
            "cost": "0.62 EUR",
            "since": "2027-06-01T12:00:00.250Z",
        },
    }


@pytest.mark.parametrize("power_w", [math.nan, math.inf, -math.inf, None])
def test_a_power_that_is_no_number_is_null(power_w: float | None) -> None:
    outlet = Outlet(EVSE, Plug.UNKNOWN, Glass(), None, Runs(7, None, None, power_w))
    [evse] = made(outlets=(outlet,))["evses"]
    assert evse["session"] == {"id": 7, "energy_wh": None, "power_w": None, "cost": None, "since": None}
    assert evse["signal"] is None


# ---- taps


def test_a_tap_is_told_with_where_its_time_went() -> None:
    [tap] = made(taps=(SeenTap(12, ENTRY, TIMES, 24.404),))["taps"]
    assert tap == {
        "id": 12,
        "recorded": True,
        "at": "2027-06-01T12:00:00.250Z",
        "evse": "DE*EXA*E1",
        "reader": "door",
        "uid": "04A1…9F",
        "verdict": "accepted",
        "reason": "allowed",
        "why": "emsp allows",
        "source": "realtime",
        "text": "Card accepted\nPlease plug in",
        "peer": "emsp",
        "reference": "REF-1",
        "deadline_ms": 5000.0,
        "times_ms": {"waiting": 0.1, "whitelist": 0.4, "peer": 23.0, "record": 0.8, "relay": 0.1, "total": 24.4},
    }


def test_the_newest_tap_goes_first() -> None:
    taps = made(taps=(SeenTap(1, ENTRY), SeenTap(-5, ENTRY), SeenTap(2, ENTRY)))["taps"]
    assert [(tap["id"], tap["recorded"], tap["times_ms"]) for tap in taps] == [
        (2, True, None),
        (-5, False, None),
        (1, True, None),
    ]


def test_a_reference_that_came_late_is_shown_once_it_is_on_record() -> None:
    early = replace(ENTRY, authorization_reference=None)
    late = replace(CHARGE, authorization=Recorded(7, replace(ENTRY, authorization_reference="REF-LATE")))
    [before] = made(taps=(SeenTap(7, early),))["taps"]
    [after] = made(taps=(SeenTap(7, early),), books=Books((late,)))["taps"]
    assert (before["reference"], after["reference"]) == (None, "REF-LATE")


@pytest.mark.parametrize("uid", ["04A1B2C3D4E59F", "04A1B2C3", "DE-ABC-C12345678-X", "9876", "A" * 36])
def test_no_uid_is_in_clear_anywhere(uid: str) -> None:
    taps = (SeenTap(12, replace(ENTRY, uid=uid), TIMES, 1.0),)
    charge = replace(CHARGE, authorization=Recorded(7, replace(ENTRY, uid=uid)), cdrs=(CdrRecord(1, CDR),))
    text = json.dumps(made(taps=taps, books=Books((charge,))))
    assert uid not in text


# ---- sessions


@pytest.mark.parametrize(
    ("changes", "delivery"),
    [
        ({"untold": True}, "due"),
        ({"untold": True, "problem": "HTTP 503"}, "due"),
        ({"problem": "2001: no"}, "rejected"),
        ({}, "told"),
        ({"session": replace(SESSION, peer=None)}, None),
        ({"session": replace(SESSION, object=None)}, None),
    ],
)
def test_a_session_says_what_its_peer_knows(changes: dict[str, Any], delivery: str | None) -> None:
    [session] = made(books=Books((replace(CHARGE, **changes),)))["sessions"]
    assert (session["delivery"], session["problem"]) == (delivery, changes.get("problem"))


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (CdrRecord(1, CDR, problem="HTTP 503"), "due"),
        (CdrRecord(1, CDR, acknowledged_at=AT), "acknowledged"),
        (CdrRecord(1, CDR, parked=True, problem="2001: no"), "parked"),
    ],
)
def test_a_cdr_says_what_became_of_it(record: CdrRecord, state: str) -> None:
    credit = CdrRecord(2, replace(CDR, cdr_id="CDR-1-credit", credits="CDR-1"))
    [session] = made(books=Books((replace(CHARGE, cdrs=(credit, record)),)))["sessions"]
    assert session["cdr"] == {"id": "CDR-1", "state": state, "problem": record.problem, "credited_by": None}


def test_a_session_that_has_ended_says_when_and_why_it_gets_no_cdr() -> None:
    over = replace(SESSION, ended_at=AT, ended_because=EndReason.UNPLUGGED, no_cdr="no meter", object=None)
    [session] = made(books=Books((replace(CHARGE, session=over),)))["sessions"]
    assert (session["state"], session["ended_at"], session["ended_because"]) == (
        "ended",
        "2027-06-01T12:00:00.250Z",
        "unplugged",
    )
    assert (session["cdr"], session["no_cdr"], session["cost"]) == (None, "no meter", None)


def test_a_document_that_can_not_be_read_costs_the_page_no_more_than_the_price() -> None:
    spoilt = replace(CHARGE, session=replace(SESSION, object=b"{"))
    [session] = made(books=Books((spoilt,)))["sessions"]
    assert (session["cost"], session["energy_wh"]) == (None, 1234)


# ---- cards in peers' words

LONG = Uid("04A1B2C3D4E59F112233")


def shown(entry: Entry, *lines: str, columns: int = 16, rows: int = 4, card: str | None = None) -> list[str]:
    """What the page's glass has of these lines, with that card's tap among the last ones."""
    outlet = Outlet(EVSE, Plug.OUT, Glass(lines, columns, rows, card), Signal.REFUSED, None)
    lines_shown: list[str] = made(outlets=(outlet,), taps=(SeenTap(12, entry),))["evses"][0]["display"]["lines"]
    return lines_shown


@pytest.mark.parametrize(
    "spelled",
    [
        "04A1B2C3D4E59F", "04a1b2c3d4e59f", "04.A1.B2.C3.D4.E5.9F", "04_A1_B2_C3_D4_E5_9F", "0x04A1B2C3D4E59F",
        "04, A1, B2, C3, D4, E5, 9F", "04  A1  B2  C3  D4  E5  9F", "04 - A1 - B2 - C3 - D4 - E5 - 9F",
        "04\u00a0A1\u00a0B2\u00a0C3\u00a0D4\u00a0E5\u00a09F", "04\u2013A1\u2013B2\u2013C3\u2013D4\u2013E5\u20139F",
        "04A1B2C3\nD4E59F",
    ],
)  # fmt: skip
def test_a_number_is_masked_however_it_is_spelled(spelled: str) -> None:
    [tap] = made(taps=(SeenTap(12, replace(ENTRY, detail=f"no card {spelled} here")),))["taps"]
    assert "B2" not in tap["why"].upper()
    assert tap["why"].startswith("no card ")
    assert tap["why"].endswith(" here")


def test_what_only_looks_like_a_number_stays() -> None:
    veil = veil_of([replace(ENTRY, uid="04A1B2C3"), replace(ENTRY, uid="12-34")])
    assert veil("04 A1 B2 and then C3; 12-34") == "04 A1 B2 and then C3; 12-34"


def test_a_number_of_letters_that_fold_in_no_other_alphabet_is_all_that_is_masked() -> None:
    veil = veil_of([replace(ENTRY, uid="KISSES")])
    assert veil("kisses, \u212aISSES, ki\u017f\u017fes") == "…ES, \u212aISSES, ki\u017f\u017fes"


def test_what_a_peer_says_of_a_cdr_is_masked_as_what_it_says_of_a_session() -> None:
    said = "2001: Token 04 A1 B2 C3 D4 E5 9F is not one of ours"
    rejected = replace(CHARGE, cdrs=(CdrRecord(1, CDR, parked=True, problem=said),))
    [session] = made(books=Books((rejected,)))["sessions"]
    assert session["cdr"]["problem"] == "2001: Token 04A1…9F is not one of ours"


@pytest.mark.parametrize(
    ("uid", "lines", "veiled"),
    [
        (Uid("0104A1B2C3"), ("Your card 01 04", "A1 B2 C3 is", "blocked"), ["Your card …", "…C3 is", "blocked"]),
        (LONG, ("Card", "04A1B2C3D4E59F11", "2233 is blocked"), ["Card", "04A1…33", "… is blocked"]),
        (LONG, ("04 A1 B2", "C3 D4 E5", "9F 11 22", "33"), ["04A1…33", "…", "…", "…"]),
        (Uid("04A1B2C3"), ("Card 04A1B2C3", "04A1B2C3"), ["Card …C3", "…C3"]),
        (UID, ("04A1B", "2C3D4", "E59F"), ["…", "…", "…"]),
    ],
)
def test_a_number_that_runs_over_lines_is_masked_in_each_and_the_lines_stay(
    uid: Uid, lines: tuple[str, ...], veiled: list[str]
) -> None:
    entry = replace(ENTRY, uid=uid, text="\n".join(lines))
    assert shown(entry, *lines) == veiled
    assert made(taps=(SeenTap(12, entry),))["taps"][0]["text"].split("\n") == veiled
    assert all(len(after) <= len(before) for before, after in zip(lines, veiled, strict=True))


@pytest.mark.parametrize("at", range(3))
def test_a_number_of_which_a_part_has_scrolled_away_is_masked_in_what_is_left(at: int) -> None:
    lines = ("Blocked: 04 A1", "B2 C3 D4 E5 9F", "Please call", "0800 123456")
    window = lines[at : at + 2]
    entry = replace(ENTRY, text="\n".join(lines))
    assert shown(entry, *window, rows=2) == ["Blocked: …", "04A1…9F", *lines[2:]][at : at + 2]


def test_a_glass_of_which_nobody_knows_more_is_shown_as_it_is() -> None:
    assert shown(ENTRY) == []
    assert shown(ENTRY, "Charging", "", "0.1 kWh") == ["Charging", "", "0.1 kWh"]


def test_a_number_is_masked_on_the_glass_while_its_tap_is_not_over() -> None:
    assert shown(replace(ENTRY, uid="AABBCCDDEEFF00"), "Blocked:", UID) == ["Blocked:", UID], "of nobody's card"
    assert shown(replace(ENTRY, uid="AABBCCDDEEFF00"), "Blocked:", UID, card=UID) == ["Blocked:", "04A1…9F"]


def test_the_same_cards_are_looked_for_without_beginning_anew() -> None:
    assert veil_of([ENTRY]) is veil_of([ENTRY, ENTRY])
    assert veil_of([ENTRY], under_way=[None, UID]) is veil_of([ENTRY])


# ---- what it is made into


@pytest.mark.parametrize("said", ["</script><script>alert(1)", "line\nend", "\u2028\u2029", "\x00\x1b[31m", "\ud800"])
def test_whatever_a_card_or_a_peer_says_ends_neither_line_nor_string(said: str) -> None:
    text = json_bytes(board_of(said))
    assert b"\n" not in text
    assert text.isascii()
    assert json.loads(text)["taps"][0]["why"] == said


def board_of(said: str) -> dict[str, Any]:
    taps = (SeenTap(12, replace(ENTRY, detail=said, text=said), TIMES, 1.0),)
    return board(AT, ABOUT, FACTS, outlets=(), taps=taps, latency_ms={}, books=Books())


# ---- what is noted on a tap's way


class RealDisplay:
    """What stands at the kerb."""

    columns, rows, charset = 16, 2, Charset.HD44780_A00

    def __init__(self) -> None:
        self.shown: list[tuple[str, ...]] = []
        self.closed_within: float | None = None

    def show(self, lines: Any) -> None:
        self.shown.append(tuple(lines))

    def close(self, wait_s: float) -> None:
        self.closed_within = wait_s


class Changes:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def settled(uid: str, number: int | None) -> Settled:
    return Settled(Tap(Uid(uid), 10.0, "door"), replace(ENTRY, uid=uid), number, 10.025, TIMES)


def test_a_watched_display_shows_as_before_and_the_page_the_same() -> None:
    real, changes = RealDisplay(), Changes()
    watch = Watch(changes)
    display = watch.displays("E1", real)
    assert watch.glass("E1") == Glass((), 16, 2)
    display.show(["Hold card", "to reader"])
    display.close(0.5)
    assert (display.columns, display.rows, display.charset) == (16, 2, Charset.HD44780_A00)
    assert (real.shown, real.closed_within) == ([("Hold card", "to reader")], 0.5)
    assert watch.glass("E1") == Glass(("Hold card", "to reader"), 16, 2)
    assert changes.count == 1


def test_a_light_for_the_page_is_told_what_the_others_are() -> None:
    changes = Changes()
    watch = Watch(changes)
    watch.indicators("E1").indicate(Signal.ASKING)
    assert (watch.signal("E1"), watch.signal("E2"), changes.count) == (Signal.ASKING, None, 1)


def test_the_last_taps_are_kept_and_no_more() -> None:
    watch = Watch(Changes())
    for number in range(1, 100):
        watch.settled(settled(UID, number))
    assert [tap.id for tap in watch.taps] == list(range(100 - TAPS, 100))
    assert watch.tap(99) is not None
    assert watch.tap(1) is None
    assert watch.taps[-1].total_ms == pytest.approx(25.0)


def test_taps_that_are_not_on_record_have_names_of_their_own() -> None:
    watch = Watch(Changes())
    watch.settled(settled("04A1", None))
    watch.settled(settled("04A2", None))
    first, second = watch.taps
    assert second.id < first.id < -1_000_000
    found = watch.tap(second.id)
    assert found is not None
    assert found.entry.uid == "04A2"


def test_taps_of_an_earlier_life_go_before_those_of_this_one() -> None:
    watch = Watch(Changes())
    watch.settled(settled(UID, 30))
    watch.recall([Recorded(number, ENTRY) for number in range(30, 0, -1)])
    assert [tap.id for tap in watch.taps] == list(range(11, 31))
    assert (watch.taps[0].times, watch.taps[-1].times) == (None, TIMES)


class AnsweringBackend:
    async def ask(self, question: Question, until: float) -> Answers:
        return Answers(
            (
                Answer("emsp", Outcome.ALLOWED, elapsed_s=0.023),
                Answer("hub", Outcome.BREAKER_OPEN),
                Answer("slow", Outcome.TIMEOUT, elapsed_s=4.75),
            )
        )


async def test_how_long_a_peer_took_is_noted_and_its_answer_passed_on() -> None:
    watch = Watch(Changes())
    answers = await watch.backend(AnsweringBackend()).ask(Question(UID, LocationReferences("LOC1"), "c"), 1.0)
    assert len(answers.given) == 3
    assert watch.latency_ms == pytest.approx({"emsp": 23.0}), "what never answered has no latency"


def test_uid_that_a_peer_writes_is_masked_wherever_it_stands() -> None:
    entry = replace(
        ENTRY, uid="04A1B2C3D4E5F6", detail="emsp: card 04a1b2c3d4e5f6", authorization_reference="R-04A1B2C3D4E5F6"
    )
    veil = veil_of([entry])
    assert veil("Card 04:A1:B2:C3:D4:E5:F6 ok, 04 a1 b2 c3 d4 e5 f6") == "Card 04A1…F6 ok, 04A1…F6"
    assert veil("no number, 1234 Wh") == "no number, 1234 Wh"
    assert veil_of([replace(ENTRY, uid="1234")])("1234 Wh") == "1234 Wh"


async def test_card_that_is_asked_about_is_noted_at_its_evse_before_the_answer() -> None:
    watch = Watch(Changes())
    display = watch.displays("E1", RealDisplay())
    display.show(["One moment"])
    noted: list[Glass] = []

    class Asked(AnsweringBackend):
        async def ask(self, question: Question, until: float) -> Answers:
            noted.extend((watch.glass("E1"), watch.glass("E2")))
            return await super().ask(question, until)

    await watch.backend(Asked()).ask(Question(UID, LocationReferences("LOC1", ("E1",)), "c"), 1.0)
    display.show(["Blocked:", UID])
    assert noted == [Glass(("One moment",), 16, 2, UID), Glass()]
    assert watch.glass("E1") == Glass(("Blocked:", UID), 16, 2, UID)


def test_tap_that_was_recalled_before_it_was_over_is_kept_once() -> None:
    watch = Watch(Changes())
    watch.recall([Recorded(8, ENTRY), Recorded(7, ENTRY)])
    watch.settled(settled(UID, 7))
    assert [(tap.id, tap.times) for tap in watch.taps] == [(7, TIMES), (8, None)]


def test_fault_in_taking_note_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("a bug of the page")

    watch = Watch(broken)
    watch.settled(settled(UID, 1))
    watch.indicators("E1").indicate(Signal.READY)
    assert sum("the charge point goes on" in record.message for record in caplog.records) == 2


# ---- what would happen to a card


def listed(whitelist: WhitelistType, *, valid: bool = True, peer: str = "emsp") -> ListedToken:
    token = Token("DE", "ABC", UID, TokenType.RFID, "C1", "ABC", valid, whitelist, AT)
    return ListedToken(token, peer, AT)


def test_a_card_that_needs_no_asking_is_decided_at_once() -> None:
    told = explained(UID, [listed(WhitelistType.ALWAYS)], Policy(), AT, peers={"emsp": True}, refuse_random={})
    assert told["uid"] == "04A1…9F"
    assert told["listed"] == [
        {"owner": "DE-ABC", "peer": "emsp", "whitelist": "ALWAYS", "valid": True, "withdrawn": False, "fresh": True}
    ]
    assert (told["at_once"]["verdict"], told["at_once"]["source"]) == ("accepted", "whitelist")
    assert (told["asked"], told["outcomes"]) == ([], [])


def test_a_card_that_must_be_asked_about_has_an_outcome_for_every_answer() -> None:
    told = explained(
        UID, [listed(WhitelistType.NEVER)], Policy(), AT, peers={"emsp": False, "hub": True}, refuse_random={"r1": True}
    )
    assert told["at_once"] is None
    assert told["asked"] == [{"peer": "emsp", "now": False}]
    assert {one["when"]: one["verdict"] for one in told["outcomes"]} == {
        "allows": "accepted",
        "refuses": "refused",
        "unknown": "refused",
        "silent": "refused",
    }


def test_a_card_that_nobody_lists_is_asked_of_everybody() -> None:
    told = explained(UID, [], Policy(), AT, peers={"emsp": True, "hub": True}, refuse_random={})
    assert [one["peer"] for one in told["asked"]] == ["emsp", "hub"]
    assert len(told["outcomes"]) == 4


def test_a_card_of_a_peer_that_is_gone_is_decided_at_once() -> None:
    told = explained(UID, [listed(WhitelistType.ALLOWED_OFFLINE)], Policy(), AT, peers={}, refuse_random={})
    assert told["at_once"]["source"] == "fallback"
    assert UID not in json.dumps(told["asked"])


PHONE = Uid("08A1B2C3")


def test_a_random_uid_that_every_reader_refuses_is_refused_whatever_list_it_is_on() -> None:
    told = explained(PHONE, [], Policy(), AT, peers={"emsp": True}, refuse_random={"left": True, "right": True})
    assert (told["at_once"]["verdict"], told["at_once"]["reason"]) == ("refused", "random-uid")
    assert (told["refused_at"], told["asked"]) == (["left", "right"], [])


def test_a_random_uid_that_one_reader_takes_is_explained_for_that_one() -> None:
    told = explained(PHONE, [], Policy(), AT, peers={"emsp": True}, refuse_random={"left": True, "right": False})
    assert (told["refused_at"], told["at_once"]) == (["left"], None)
    assert [one["peer"] for one in told["asked"]] == ["emsp"]


def test_a_short_number_makes_no_uid_of_a_time() -> None:
    veil = veil_of([replace(ENTRY, uid=Uid("100000"))])
    assert veil("from 10:00:00 on, card 100000") == "from 10:00:00 on, card …00"
