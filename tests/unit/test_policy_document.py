"""The paper for the eMSP: its table is what the code decides, its sentences name every setting and every cause."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.policy_document import policy_document
from agent.core.slowdown import Slowdown
from agent.model import REFUSALS, SILENCES, LateRefusal, Outcome, Policy, Prefer, UnknownTokens, Verdict

DEFAULT = Policy()

EVERY_OTHER_SETTING = [
    replace(DEFAULT, prefer=Prefer.REALTIME),
    replace(DEFAULT, always_invalid=Verdict.ACCEPTED),
    replace(DEFAULT, stale_offline=Verdict.REFUSED),
    replace(DEFAULT, unknown_tokens=UnknownTokens.REFUSE),
    replace(DEFAULT, unknown_offline=Verdict.ACCEPTED),
    replace(DEFAULT, max_age=timedelta(hours=36)),
    replace(DEFAULT, late_refusal=LateRefusal.STOP),
    replace(DEFAULT, deadline_s=4.0),
    replace(DEFAULT, reserve_s=0.5),
    replace(DEFAULT, late_window_s=0.0),
]


def document(policy: Policy = DEFAULT, **more: object) -> str:
    site = {"party": "DE-ABC", "location_id": "LOC1", "peers": [("mobi", ["NL-TNM"])], "version": "1.2.3", **more}
    return policy_document(policy, **site)  # type: ignore[arg-type]


def decisions(policy: Policy = DEFAULT) -> list[str]:
    """The rows of the decision table, below its header and rule."""
    blocks = document(policy).split("\n\n")
    return next(block for block in blocks if block.startswith("| token in the whitelist")).splitlines()[2:]


def prose(text: str) -> str:
    """The text with its line breaks folded, so that a sentence is found wherever it wraps."""
    return " ".join(text.split())


def test_default_policy_prints_the_agreed_table() -> None:
    assert decisions() == [
        "| ALWAYS | true | any | accept, never ask | — | — | — | — |",
        "| ALWAYS | false | any | refuse, never ask | — | — | — | — |",
        "| ALLOWED | true | fresh | accept, never ask | — | — | — | — |",
        "| ALLOWED | true | stale | ask | accept | refuse | refuse | accept |",
        "| ALLOWED | false | any | ask | accept | refuse | refuse | refuse |",
        "| ALLOWED_OFFLINE | true | any | ask | accept | refuse | refuse | accept |",
        "| ALLOWED_OFFLINE | false | any | ask | accept | refuse | refuse | refuse |",
        "| NEVER | any | any | ask | accept | refuse | refuse | refuse |",
        "| *not there* | — | — | ask | accept | refuse | refuse | refuse |",
    ]


@pytest.mark.parametrize(
    ("policy", "gone", "come"),
    [
        (
            replace(DEFAULT, prefer=Prefer.REALTIME),
            {
                "| ALLOWED | true | fresh | accept, never ask | — | — | — | — |",
                "| ALLOWED | true | stale | ask | accept | refuse | refuse | accept |",
            },
            {"| ALLOWED | true | any | ask | accept | refuse | refuse | accept |"},
        ),
        (
            replace(DEFAULT, always_invalid=Verdict.ACCEPTED),
            {
                "| ALWAYS | true | any | accept, never ask | — | — | — | — |",
                "| ALWAYS | false | any | refuse, never ask | — | — | — | — |",
            },
            {"| ALWAYS | any | any | accept, never ask | — | — | — | — |"},
        ),
        (
            replace(DEFAULT, stale_offline=Verdict.REFUSED),
            {"| ALLOWED | true | stale | ask | accept | refuse | refuse | accept |"},
            {"| ALLOWED | true | stale | ask | accept | refuse | refuse | refuse |"},
        ),
        (
            replace(DEFAULT, unknown_tokens=UnknownTokens.REFUSE),
            {"| *not there* | — | — | ask | accept | refuse | refuse | refuse |"},
            {"| *not there* | — | — | refuse, never ask | — | — | — | — |"},
        ),
        (
            replace(DEFAULT, unknown_offline=Verdict.ACCEPTED),
            {"| *not there* | — | — | ask | accept | refuse | refuse | refuse |"},
            {"| *not there* | — | — | ask | accept | refuse | refuse | accept |"},
        ),
    ],
    ids=["prefer", "always_invalid", "stale_offline", "unknown_tokens", "unknown_offline"],
)
def test_setting_changes_exactly_its_rows_of_the_table(policy: Policy, gone: set[str], come: set[str]) -> None:
    before, after = set(decisions()), set(decisions(policy))
    assert before - after == gone
    assert after - before == come


@pytest.mark.parametrize("policy", EVERY_OTHER_SETTING)
def test_any_other_setting_makes_another_document(policy: Policy) -> None:
    assert document(policy) != document()


@pytest.mark.parametrize("policy", [DEFAULT, *EVERY_OTHER_SETTING])
def test_every_table_has_as_many_cells_in_each_row_as_in_its_header(policy: Policy) -> None:
    blocks = [block for block in document(policy).split("\n\n") if block.startswith("|")]
    widths = [{len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()} for block in blocks]
    assert widths == [{9}, {4}]


@pytest.mark.parametrize("policy", [DEFAULT, *EVERY_OTHER_SETTING])
def test_every_footnote_is_defined_once_and_used(policy: Policy) -> None:
    text = document(policy)
    defined = re.findall(r"^\[\^(\d)\]:", text, re.MULTILINE)
    used = re.findall(r"\[\^(\d)\](?!:)", text)
    assert sorted(defined) == sorted(set(used))


def test_document_names_operator_location_peers_and_version() -> None:
    text = document(peers=[("mobi", ["NL-TNM", "DE-MOB"]), ("hub", [])])
    assert text.startswith("# Authorization and fallback policy of DE-ABC, location LOC1\n")
    assert "- **mobi**, for NL-TNM, DE-MOB\n- **hub**\n" in text
    assert "chargepoint-agent 1.2.3" in text


def test_document_without_peers_says_that_nobody_can_be_asked() -> None:
    assert "No peer is configured" in document(peers=[])


@pytest.mark.parametrize("outcome", sorted(REFUSALS | SILENCES | {Outcome.UNKNOWN}))
def test_every_outcome_is_explained_with_its_reason_in_the_record(outcome: Outcome) -> None:
    assert len(re.findall(rf": `{outcome}`$", document(), re.MULTILINE)) == 1


def test_time_names_deadline_reserve_and_what_the_peers_get() -> None:
    text = prose(document(replace(DEFAULT, deadline_s=4.0, reserve_s=0.5)))
    assert "within 4 s of holding the card" in text
    assert "0.5 s are kept for the record and the relay" in text
    assert "when it is here 3.5 s after" in text


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (DEFAULT, "waited for in the background, for 30 s more"),
        (DEFAULT, "and a refusal that comes too late is recorded, and charging goes on."),
        (replace(DEFAULT, late_refusal=LateRefusal.STOP), "and a refusal that comes too late ends the charging."),
        (replace(DEFAULT, late_window_s=0.0), "An answer that comes later is not waited for."),
    ],
)
def test_late_answers_are_told_in_words(policy: Policy, sentence: str) -> None:
    assert sentence in prose(document(policy))


@pytest.mark.parametrize(
    ("max_age", "words"),
    [
        (timedelta(days=7), "7 days"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(seconds=61), "61 seconds"),
        (timedelta(0), "0 seconds"),
    ],
)
def test_freshness_is_told_in_the_largest_whole_unit(max_age: timedelta, words: str) -> None:
    assert f"last complete sync is more than {words} old" in document(replace(DEFAULT, max_age=max_age))


def test_record_names_what_goes_into_session_and_cdr() -> None:
    text = prose(document())
    assert "`authorization_reference` goes into Session and CDR unchanged" in text
    assert "`AUTH_REQUEST` when a peer decided, and `WHITELIST` when the whitelist or the fallback did" in text


def test_name_full_of_markdown_stays_text_and_breaks_no_table() -> None:
    text = document(peers=[("a|b*c_d`e\n# f<b>[g](h)", ["X-|"])])
    assert r"- **a\|b\*c\_d\`e \# f\<b\>\[g\](h)**, for X-\|" in text.splitlines()


def test_same_settings_print_the_same_document() -> None:
    assert document() == document()


def test_cards_that_are_refused_without_looking_are_named_with_their_settings() -> None:
    text = prose(document(slowdown=Slowdown(5, 60.0, 10.0, 300.0), refuses_random_uids=True))
    assert "begins with `08` is another one each time" in text
    assert "After 5 refused cards within 60 s a reader decides none for 10 s" in text
    assert "up to 300 s" in text


def test_device_that_looks_at_every_card_says_nothing_of_it() -> None:
    assert "without looking" not in document()
