"""What the driver reads: our wordings over their whole product, the peer's words, and any string on any display."""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core import texts
from agent.core.evse_effects import Text
from agent.core.glyphs import MAX_TEXT, can_show, fit, fits, has_glyphs, lay_out, sanitise
from agent.core.texts import LANGUAGES, notice, text_for
from agent.model import (
    REFUSALS,
    SILENCES,
    Decision,
    DisplayText,
    Outcome,
    Reason,
    Source,
    Token,
    TokenType,
    Verdict,
    WhitelistType,
)
from agent.ports import Charset

on_a_slow_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SHAPES = ((16, 2), (20, 2), (20, 4))
DISPLAYS = [
    pytest.param(language, *shape, charset.value, id=f"{language}-{shape[0]}x{shape[1]}-{charset}")
    for language, shape, charset in product(LANGUAGES, SHAPES, Charset)
]
ANY_TEXT = st.one_of(
    st.text(alphabet=st.characters(), max_size=120),
    st.text(alphabet="ab \u00e4\u2026\u2013\u20ac\u0301\u200b\u202e\u6f22\x1b[31m\n\ud800\ufdfa\u00bd", max_size=80),
)
"""All of Unicode, lone surrogates included, and a brew of what is known to be hard."""
STARTS = (None, Text.PLUG_IN, Text.CHARGING, Text.CHARGING_WITHOUT_READER)
"""What may follow from an accepted card, where nothing is in its way."""
ANY_CHARSET = st.sampled_from([charset.value for charset in Charset])


def columns_of(line: str) -> int:
    """Counted apart from the code under test: wide characters two, marks none, everything else one."""
    marks = sum(unicodedata.category(c) in {"Mn", "Me"} for c in line)
    return len(line) - marks + sum(unicodedata.east_asian_width(c) in {"W", "F"} for c in line)


def decided(reason: Reason, verdict: Verdict, **more: object) -> Decision:
    return Decision(verdict, reason, **{"source": Source.LOCAL, **more})  # type: ignore[arg-type]


def answered(text: str, outcome: Outcome = Outcome.BLOCKED, verdict: Verdict = Verdict.REFUSED) -> Decision:
    return Decision(verdict, Reason(outcome), Source.REALTIME, info=DisplayText("xx", text))


def show(
    decision: Decision,
    language: str = "en",
    columns: int = 20,
    rows: int = 4,
    charset: str = "utf-8",
    then: Text | None = None,
) -> str:
    return " | ".join(text_for(decision, then=then, language=language, columns=columns, rows=rows, charset=charset))


def tell(what: Text, language: str = "en", columns: int = 20, rows: int = 2, drivers: str | None = None) -> str:
    return " | ".join(notice(what, drivers=drivers, language=language, columns=columns, rows=rows, charset="utf-8"))


def speaks(language: str | None) -> Token:
    return Token(
        country_code="DE",
        party_id="ABC",
        uid="04A1B2C3",
        type=TokenType.RFID,
        contract_id="DE-ABC-C1",
        issuer="Example",
        valid=True,
        whitelist=WhitelistType.ALLOWED,
        last_updated=datetime(2026, 1, 1, tzinfo=UTC),
        language=language,
    )


def our_words(charset: str) -> set[str]:
    """Every whole word of every wording, as a display of that charset spells it."""
    accepted = [by_reason for _, by_reason in texts._ACCEPTED.values()]
    tables = (*accepted, texts._REFUSED, texts._EITHER_WAY)
    said = [*texts._TEXTS.values(), *(by_language for table in tables for by_language in table.values())]
    wordings = [wording for by_language in said for in_one in by_language.values() for wording in in_one]
    return {fit(word, 80, 1, charset)[0] for wording in wordings for word in wording.replace("|", " ").split()}


def everything_we_say(language: str, columns: int, rows: int, charset: str) -> Iterator[tuple[str, ...]]:
    display = {"language": language, "columns": columns, "rows": rows, "charset": charset}
    for reason, verdict, then in product(Reason, Verdict, (None, *Text)):
        yield text_for(decided(reason, verdict), then=then, **display)  # type: ignore[arg-type]
    for what in Text:
        yield notice(what, **display)  # type: ignore[arg-type]


# Our own words


@pytest.mark.parametrize(("language", "columns", "rows", "charset"), DISPLAYS)
def test_our_texts_on_every_display_are_shown_whole(language: str, columns: int, rows: int, charset: str) -> None:
    whole = our_words(charset)
    shown = list(everything_we_say(language, columns, rows, charset))
    assert len(shown) == len(Reason) * len(Verdict) * (1 + len(Text)) + len(Text)
    assert [lines for lines in shown if not set(" ".join(lines).split()) <= whole] == []
    assert [lines for lines in shown if len(lines) > rows or max(map(columns_of, lines)) > columns] == []


@pytest.mark.parametrize(("language", "columns", "rows", "charset"), DISPLAYS)
def test_our_texts_on_every_display_are_never_cut(language: str, columns: int, rows: int, charset: str) -> None:
    asking = notice(Text.ASKING, language=language, columns=columns, rows=rows, charset=charset)
    shown = set(everything_we_say(language, columns, rows, charset)) - {asking}
    assert [lines for lines in shown if lines[-1].endswith(("…", "..."))] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", sorted(SILENCES))
def test_a_silence_that_accepts_reads_differently_from_one_that_refuses(language: str, outcome: Outcome) -> None:
    accepted, refused = (decided(Reason(outcome), verdict, source=Source.FALLBACK) for verdict in Verdict)
    assert show(accepted, language, 16, 2) != show(refused, language, 16, 2)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", sorted(map(Reason, {*REFUSALS, *SILENCES})))
def test_every_refusal_reads_differently_from_a_plain_accept(language: str, reason: Reason) -> None:
    plain = show(decided(Reason.WHITELISTED, Verdict.ACCEPTED), language, 16, 2)
    assert show(decided(reason, Verdict.REFUSED), language, 16, 2) != plain


@pytest.mark.parametrize(
    ("reason", "verdict", "expected"),
    [
        (Reason.WHITELISTED, Verdict.ACCEPTED, "Card accepted | Please plug in"),
        (Reason.ALLOWED, Verdict.ACCEPTED, "Card accepted | Please plug in"),
        (Reason.UNREACHABLE, Verdict.ACCEPTED, "Backend unreachable | Card accepted"),
        (Reason.UNREACHABLE, Verdict.REFUSED, "Backend unreachable | Can't check card"),
        (Reason.BREAKER_OPEN, Verdict.ACCEPTED, "Backend unreachable | Card accepted"),
        (Reason.TIMEOUT, Verdict.ACCEPTED, "No answer | Card accepted"),
        (Reason.SERVER_ERROR, Verdict.REFUSED, "Backend fault | Can't check card"),
        (Reason.UNAUTHORIZED, Verdict.REFUSED, "Set-up fault | Please call"),
        (Reason.NO_PEER, Verdict.REFUSED, "This card can't be | checked here"),
        (Reason.BLOCKED, Verdict.REFUSED, "Card blocked"),
        (Reason.EXPIRED, Verdict.REFUSED, "Card expired"),
        (Reason.NO_CREDIT, Verdict.REFUSED, "No credit"),
        (Reason.NOT_ALLOWED, Verdict.REFUSED, "Not allowed at this | location"),
        (Reason.OTHER_EVSE, Verdict.REFUSED, "Please use another | charging point"),
        (Reason.UNKNOWN, Verdict.REFUSED, "Card not known"),
        (Reason.NOT_LISTED, Verdict.REFUSED, "Card not known here"),
        (Reason.INVALID, Verdict.REFUSED, "Card not valid"),
        (Reason.INVALID, Verdict.ACCEPTED, "Card accepted | Please plug in"),
        (Reason.STOPPED_SAME_CARD, Verdict.ACCEPTED, "Charging stopped"),
        (Reason.STOPPED_GROUP_CARD, Verdict.ACCEPTED, "Charging stopped"),
        (Reason.IN_USE, Verdict.REFUSED, "In use by another | card"),
        (Reason.STORAGE_FAULT, Verdict.REFUSED, "Out of order | Please call"),
        (Reason.RELAY_FAULT, Verdict.REFUSED, "Out of order | Please call"),
        (Reason.TOO_LATE, Verdict.REFUSED, "That took too long | Please try again"),
        (Reason.RANDOM_UID, Verdict.REFUSED, "Phones can't be used | Please use a card"),
        (Reason.TOO_MANY_REFUSED, Verdict.REFUSED, "Too many cards | Please wait"),
        (Reason.INTERLOCKED, Verdict.REFUSED, "Other socket in use | Please wait"),
    ],
)
def test_decision_on_two_lines_of_twenty_says_it_in_english(reason: Reason, verdict: Verdict, expected: str) -> None:
    assert show(decided(reason, verdict), "en", 20, 2) == expected


def test_accepted_card_whose_relay_failed_is_not_asked_to_plug_in() -> None:
    assert show(decided(Reason.RELAY_FAULT, Verdict.ACCEPTED), rows=2) == "Out of order | Please call"


def test_larger_display_shows_the_fuller_wording() -> None:
    offline = decided(Reason.UNREACHABLE, Verdict.ACCEPTED)
    assert show(offline, columns=20, rows=4) == "Backend unreachable | Card accepted | Please plug in"
    assert show(offline, columns=16, rows=2) == "No connection | Card accepted"


def test_display_with_one_long_line_gets_the_clauses_in_one_line() -> None:
    plain = decided(Reason.WHITELISTED, Verdict.ACCEPTED)
    assert show(plain, columns=40, rows=1) == "Card accepted - Please plug in"


def test_display_too_small_for_any_wording_gets_the_shortest_one_cut() -> None:
    assert show(decided(Reason.BLOCKED, Verdict.REFUSED), columns=8, rows=1) == "Card bl…"


TEXTS_IN_ENGLISH = {
    Text.IDLE: "Please hold your | card to the reader",
    Text.TAP_CARD: "Plugged in | Please tap card",
    Text.ASKING: "One moment… | Checking your card",
    Text.REFUSED: "Card not accepted",
    Text.NOT_RECORDED: "Out of order | Please call",
    Text.TOO_LATE: "That took too long | Please try again",
    Text.PLUG_IN: "Please plug in",
    Text.CHARGING: "Charging | Tap card to stop",
    Text.CHARGING_WITHOUT_READER: "Charging | Unplug to stop",
    Text.SUSPENDED: "Charging paused | Tap card to stop",
    Text.IN_USE: "In use by another | card",
    Text.CANCELLED: "Charging cancelled",
    Text.STOPPED: "Charging stopped",
    Text.STOPPED_LATE: "Charging stopped | Card refused",
    Text.STOPPED_BY_OPERATOR: "Charging stopped | by the operator",
    Text.UNPLUGGED: "Charging stopped | Cable unplugged",
    Text.UNPLUG: "Charging stopped | Please unplug",
    Text.CONNECTION_TIMEOUT: "Not plugged in | Tap card again",
    Text.OUT_OF_ORDER: "Out of order | Please call",
    Text.RESTARTING: "Restarting | Please wait a moment",
    Text.RESUMED: "Power is back | Charging resumed",
    Text.POWER_LOST: "Power failure | Charging stopped",
}


@pytest.mark.parametrize("what", Text)
def test_text_on_two_lines_of_twenty_says_it_in_english(what: Text) -> None:
    assert tell(what) == TEXTS_IN_ENGLISH[what]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_reads_differently_from_every_other_but_for_faults(language: str) -> None:
    assert len({tell(what, language, 16, 2) for what in set(Text) - {Text.NOT_RECORDED}}) == len(Text) - 1


def test_lost_reader_is_named_where_there_is_room() -> None:
    assert tell(Text.CHARGING_WITHOUT_READER, rows=4) == "Charging | Card reader out of | order | Unplug to stop"


# What follows from a decision


@pytest.mark.parametrize(
    ("reason", "then", "expected"),
    [
        (Reason.WHITELISTED, None, "Card accepted | Please plug in"),
        (Reason.WHITELISTED, Text.PLUG_IN, "Card accepted | Please plug in"),
        (Reason.WHITELISTED, Text.CHARGING, "Card accepted | Charging"),
        (Reason.WHITELISTED, Text.CHARGING_WITHOUT_READER, "Card accepted | Charging"),
        (Reason.INVALID, Text.CHARGING, "Card accepted | Charging"),
        (Reason.TIMEOUT, Text.CHARGING, "No answer from | backend | Card accepted | Charging"),
        (Reason.ALLOWED, Text.OUT_OF_ORDER, "Out of order | Please call the | operator"),
        (Reason.STOPPED_SAME_CARD, Text.STOPPED, "Charging stopped"),
        (Reason.STOPPED_SAME_CARD, Text.CANCELLED, "Charging cancelled"),
        (Reason.RELAY_FAULT, Text.CHARGING, "Out of order | Please call the | operator"),
    ],
)
def test_accepted_card_reads_what_follows(reason: Reason, then: Text | None, expected: str) -> None:
    assert show(decided(reason, Verdict.ACCEPTED), then=then) == expected


@pytest.mark.parametrize("then", [None, *Text])
def test_refused_card_reads_why_whatever_follows(then: Text | None) -> None:
    assert show(decided(Reason.BLOCKED, Verdict.REFUSED), then=then) == "Card blocked"


@pytest.mark.parametrize("language", LANGUAGES)
def test_charge_that_has_begun_does_not_ask_for_the_plug(language: str) -> None:
    plain = decided(Reason.WHITELISTED, Verdict.ACCEPTED)
    asking, charging = (show(plain, language, 16, 2, then=then) for then in (Text.PLUG_IN, Text.CHARGING))
    assert charging != asking
    assert charging.partition(" | ")[2] == tell(Text.CHARGING, language, 16, 2).partition(" | ")[0]


# The driver's language


@pytest.mark.parametrize(
    ("drivers", "default", "expected"),
    [
        ("de", "en", "Karte gesperrt"),
        ("DE", "en", "Karte gesperrt"),
        ("de-DE", "en", "Karte gesperrt"),
        ("de_AT", "en", "Karte gesperrt"),
        ("nl", "de", "Pas geblokkeerd"),
        ("fr", "de", "Carte bloquée"),
        ("en", "de", "Card blocked"),
        (None, "fr", "Carte bloquée"),
        ("", "fr", "Carte bloquée"),
        ("pl", "nl", "Pas geblokkeerd"),
        ("deu", "nl", "Pas geblokkeerd"),
        ("pl", "cs", "Card blocked"),
        (None, "", "Card blocked"),
    ],
)
def test_language_is_the_drivers_then_the_default_then_english(
    drivers: str | None, default: str, expected: str
) -> None:
    assert show(decided(Reason.BLOCKED, Verdict.REFUSED, token=speaks(drivers)), default) == expected


def test_notice_in_a_language_we_do_not_speak_is_english() -> None:
    assert notice(Text.OUT_OF_ORDER, language="fi", columns=20, rows=2, charset="ascii")[0] == "Out of order"


@pytest.mark.parametrize(
    ("drivers", "default", "expected"),
    [("de-DE", "en", "Laden beendet"), ("pl", "nl", "Laden gestopt"), (None, "fr", "Charge terminée")],
)
def test_texts_language_is_the_drivers_then_the_default(drivers: str | None, default: str, expected: str) -> None:
    assert tell(Text.STOPPED, default, drivers=drivers) == expected


# The peer's words


@pytest.mark.parametrize("outcome", sorted(REFUSALS - {Outcome.OTHER_EVSE}))
def test_peer_refuses_with_a_text_shows_the_peers_text(outcome: Outcome) -> None:
    assert show(answered("Zadzwoń do nas", outcome)) == "Zadzwoń do nas"


def test_peer_allows_with_a_text_shows_the_peers_text() -> None:
    assert show(answered("Welcome back!", Outcome.ALLOWED, Verdict.ACCEPTED)) == "Welcome back!"


@pytest.mark.parametrize("then", STARTS)
def test_peers_welcome_is_shown_whatever_begins(then: Text | None) -> None:
    assert show(answered("Welcome back!", Outcome.ALLOWED, Verdict.ACCEPTED), then=then) == "Welcome back!"


@pytest.mark.parametrize("then", [Text.OUT_OF_ORDER, Text.NOT_RECORDED, Text.TOO_LATE, Text.CANCELLED])
def test_peers_welcome_is_not_shown_where_nothing_came_of_it(then: Text) -> None:
    welcomed = answered("Welcome!", Outcome.ALLOWED, Verdict.ACCEPTED)
    assert show(welcomed, rows=2, then=then) == TEXTS_IN_ENGLISH[then]


def test_peers_text_for_a_card_meant_for_another_evse_is_not_shown() -> None:
    assert show(answered("Welcome!", Outcome.OTHER_EVSE)) == "Please use another | charging point"


def test_peers_text_is_not_shown_where_the_fallback_decided() -> None:
    decision = decided(Reason.TIMEOUT, Verdict.REFUSED, source=Source.FALLBACK, info=DisplayText("en", "Welcome!"))
    assert "Welcome" not in show(decision)


def test_peers_welcome_is_not_shown_to_a_driver_who_is_refused() -> None:
    assert show(answered("Welcome!", Outcome.ALLOWED, Verdict.REFUSED)) == "Card not accepted"


@pytest.mark.parametrize("text", ["", "  \n", "\x1b[2J\x07", "\u200b\u202e\ufeff", "\ud800", "\u0301", "!?…"])
def test_peers_text_without_a_letter_gives_way_to_ours(text: str) -> None:
    assert show(answered(text)) == "Card blocked"


def test_peers_text_in_a_script_that_the_display_lacks_gives_way_to_ours() -> None:
    greek = answered("\u039a\u03ac\u03c1\u03c4\u03b1 \u03c3\u03b5 \u03b1\u03c0\u03bf\u03ba")
    assert show(greek, charset="ascii") == "Card blocked"
    assert show(greek, charset="utf-8").startswith("\u039a\u03ac\u03c1\u03c4\u03b1")


def test_peers_text_with_terminal_escapes_shows_only_what_a_reader_sees() -> None:
    assert show(answered("\x1b[31mBlo\u200bcked\x1b[0m\r\n\x1b]0;title\x07call\tus")) == "Blocked call us"


def test_peers_text_with_a_bidirectional_override_cannot_turn_the_line() -> None:
    assert show(answered("ok \u202edesufer\u202c \u2066x\u2069")) == "ok desufer x"


def test_peers_long_text_is_cut_with_an_ellipsis() -> None:
    text = "Your card has been blocked because of an unpaid invoice"
    assert show(answered(text), columns=16, rows=2) == "Your card has | been blocked be\u2026"


# Texts that scroll


def test_peers_long_text_that_scrolls_is_whole() -> None:
    text = "Your card has been blocked because of an unpaid invoice"
    lines = text_for(answered(text), language="en", columns=16, rows=2, charset="utf-8", whole=True)
    assert " ".join(lines) == text
    assert len(lines) == 4


def test_our_text_that_scrolls_on_a_tiny_display_is_the_shortest_one_whole() -> None:
    assert notice(Text.OUT_OF_ORDER, language="en", columns=8, rows=1, charset="ascii", whole=True) == (
        "Out of",
        "order",
        "Please",
        "call",
    )


def test_text_that_fits_is_the_same_whether_it_scrolls() -> None:
    cut, whole = (
        notice(Text.CHARGING, language="en", columns=20, rows=2, charset="ascii", whole=whole)
        for whole in (False, True)
    )
    assert cut == whole


# Any text on any display


@on_a_slow_machine
@given(ANY_TEXT, st.integers(1, 41), ANY_CHARSET)
def test_any_text_laid_out_begins_as_the_fitted_one(text: str, columns: int, charset: str) -> None:
    lines = lay_out(text, columns, charset)
    assert fit(text, columns, len(lines) + 1, charset) == lines


@on_a_slow_machine
@given(ANY_TEXT, st.integers(1, 41), st.integers(1, 5), ANY_CHARSET)
def test_any_text_on_any_display_fits_and_harms_nothing(text: str, columns: int, rows: int, charset: str) -> None:
    lines = fit(text, columns, rows, charset)
    assert len(lines) <= rows
    assert [line for line in lines if not 0 < columns_of(line) <= columns] == []
    assert [line for line in lines if not has_glyphs(line, charset)] == []
    assert [c for line in lines for c in line if unicodedata.category(c)[0] == "C"] == []
    assert [line for line in lines if unicodedata.category(line[0])[0] == "M" or line != line.strip()] == []


@on_a_slow_machine
@given(ANY_TEXT, st.integers(-3, 41), st.integers(-3, 5), ANY_CHARSET)
def test_any_peers_text_becomes_some_text_for_the_driver(text: str, columns: int, rows: int, charset: str) -> None:
    lines = text_for(answered(text), language="de", columns=columns, rows=rows, charset=charset)
    assert bool(lines) == (columns > 0 and rows > 0)


@on_a_slow_machine
@given(ANY_TEXT)
def test_cleaning_any_text_twice_changes_nothing_more(text: str) -> None:
    once = sanitise(text)
    assert sanitise(once) == once
    assert unicodedata.is_normalized("NFC", once)


@on_a_slow_machine
@given(ANY_TEXT, st.integers(1, 41), st.integers(1, 5), ANY_CHARSET)
def test_any_text_that_fits_is_shown_without_an_ellipsis(text: str, columns: int, rows: int, charset: str) -> None:
    wide = " ".join(fit(text, 10_000, 1, charset))
    shown = " ".join(fit(text, columns, rows, charset))
    assert shown == wide or not fits(text, columns, rows, charset)


@pytest.mark.parametrize(
    ("charset", "expected"),
    [
        ("hd44780-a00", "Größe Ae e a C:/ 5° ->".replace("->", "→")),
        ("hd44780-a02", "Größe Ä é à C:\\ 5° →"),
    ],
)
def test_character_display_leaves_out_only_what_its_rom_lacks(charset: str, expected: str) -> None:
    assert fit("Größe Ä é à C:\\ 5° →", 40, 1, charset) == (expected,)


@pytest.mark.parametrize("size", [513, 100_000])
def test_text_longer_than_ocpi_allows_is_bounded(size: int) -> None:
    assert len(sanitise("x" * size)) == MAX_TEXT
    assert sanitise("\x1b[0m" * size) == ""


def test_marks_piled_up_on_a_letter_are_bounded() -> None:
    assert len(sanitise("x" + "\u0301\u0302\u0303" * 500)) == 4


@pytest.mark.parametrize(
    ("text", "charset", "expected"),
    [
        ("Größe ÄÖÜ", "ascii", "Groesse AeOeUe"),
        ("Größe ÄÖÜ", "latin-1", "Größe ÄÖÜ"),
        ("Gro\u0308\u00dfe", "latin-1", "Größe"),
        ("déjà vu, Noël, coördinatie", "ascii", "deja vu, Noel, cooerdinatie"),
        ("cœur, Łódź", "ascii", "coeur, Lodz"),
        ("cœur", "latin-1", "coeur"),
        ("5 € \u2013 now\u2026", "ascii", "5 EUR - now..."),
        ("5 € \u2013 now\u2026", "latin-1", "5 EUR - now..."),
        ("5 € \u2013 now\u2026", "utf-8", "5 € \u2013 now\u2026"),
        ("\u201ehier\u201c, it\u2019s", "ascii", '"hier", it\'s'),
        ("1\u00bd h", "ascii", "11/2 h"),
        ("\uff21\uff22", "ascii", "AB"),
        ("no\u00a0break", "latin-1", "no break"),
        ("x \u6f22 y", "ascii", "x ? y"),
        ("soft\u00adhyphen", "latin-1", "softhyphen"),
    ],
)
def test_character_that_the_charset_lacks_is_spelled_in_its_letters(text: str, charset: str, expected: str) -> None:
    assert fit(text, 80, 1, charset) == (expected,)


@pytest.mark.parametrize(
    ("text", "columns", "rows", "charset", "expected"),
    [
        ("one two three", 7, 2, "ascii", ("one two", "three")),
        ("one two three four", 7, 2, "utf-8", ("one two", "three…")),
        ("one two three four", 7, 2, "ascii", ("one two", "thre...")),
        ("Ladestationsbetreiber", 8, 3, "ascii", ("Ladestat", "ionsbetr", "eiber")),
        ("to Ladestationsbetreiber ok", 16, 3, "ascii", ("to", "Ladestationsbetr", "eiber ok")),
        ("\u6f22\u5b57\u6f22\u5b57", 4, 2, "utf-8", ("\u6f22\u5b57", "\u6f22\u5b57")),
        ("\u6f22\u5b57\u6f22", 5, 1, "utf-8", ("\u6f22\u5b57…",)),
        ("\u6f22", 1, 1, "utf-8", ("?",)),
        ("x\u0302x\u0302x\u0302", 3, 1, "utf-8", ("x\u0302x\u0302x\u0302",)),
        ("abc", 1, 1, "ascii", (".",)),
        ("", 16, 2, "ascii", ()),
        ("abc", 0, 2, "ascii", ()),
        ("abc", 16, 0, "ascii", ()),
    ],
)
def test_layout_of_a_text_on_a_display(
    text: str, columns: int, rows: int, charset: str, expected: tuple[str, ...]
) -> None:
    assert fit(text, columns, rows, charset) == expected


@pytest.mark.parametrize(
    ("text", "charset", "shown"),
    [("Ladies \u6f22", "ascii", True), ("a \u6f22\u5b57", "ascii", False), ("", "utf-8", False), ("…", "utf-8", False)],
)
def test_text_is_worth_showing_where_half_of_it_survives(text: str, charset: str, *, shown: bool) -> None:
    assert can_show(text, charset) is shown
