"""The fuzzer finds what a server does wrong: its own judges, on answers that are spoiled."""

import json

import pytest

from tests.fuzz.answers import answers_in
from tests.fuzz.corpus import GOOD
from tests.fuzz.stored import stored_otherwise

BODY = b'{"status_code":1000,"timestamp":"2026-03-01T12:00:00Z"}'
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-ID: a\r\nX-Correlation-ID: b\r\n"
    b"Content-Length: %d\r\n\r\n"
)
WHOLE = HEAD % len(BODY) + BODY
NO_BODY = HEAD % 0


def found(got: bytes, sent: bytes = b"GET /ocpi/versions HTTP/1.1\r\n") -> list[list[str]]:
    """What is wrong with each answer."""
    answers, rest = answers_in(got, sent)
    assert rest == b""
    return [answer.problems for answer in answers]


def test_whole_answers_are_good() -> None:
    assert found(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE * 2) == [[], []]


def test_answer_without_a_body_is_found_wherever_it_is() -> None:
    assert [len(wrong) for wrong in found(NO_BODY + WHOLE + NO_BODY)] == [1, 0, 1]


def test_announced_body_that_does_not_come_is_found() -> None:
    assert "500 bytes of 500 are missing" in found(HEAD % 500)[0]


def test_body_that_breaks_off_is_found() -> None:
    assert found(WHOLE[:-1])[0][-1] == f"1 bytes of {len(BODY)} are missing"


def test_body_that_the_next_answer_has_to_fill_is_found() -> None:
    assert found(HEAD % len(WHOLE) + WHOLE)[0] != []


def test_answer_without_its_length_is_found() -> None:
    assert "Content-Length: None" in found(WHOLE.replace(b"Content-Length", b"Length")[: -len(BODY)])[0]


@pytest.mark.parametrize("rest", [b"", WHOLE])
def test_answer_to_a_head_has_no_body_and_the_next_one_has(rest: bytes) -> None:
    wrong = found(HEAD % len(BODY) + rest, b"HEAD /ocpi/versions HTTP/1.1\r\n")
    assert not any(wrong)
    assert len(wrong) == 1 + bool(rest)


def test_body_after_the_answer_to_a_head_is_found() -> None:
    assert answers_in(WHOLE, b"HEAD /ocpi/versions HTTP/1.1\r\n")[1] == BODY


def test_token_that_is_stored_as_it_was_sent_is_good() -> None:
    sent = json.loads(GOOD)
    assert not list(stored_otherwise({**sent, "group_id": None, "extra": 1}, sent))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"whitelist": "NEVER"},
        {"type": "OTHER"},
        {"language": "de"},
        {"last_updated": "2026-03-01T12:00:01Z"},
        {"valid": False},
        {"country_code": "NL"},
        {"party_id": "XYZ"},
        {"default_profile_type": "GREEN"},
        {"energy_contract": {"supplier_name": "S"}},
        {"issuer": None},
        {"more": 1},
    ],
    ids=str,
)
def test_field_that_is_stored_otherwise_is_found(spoiled: dict[str, object]) -> None:
    sent = json.loads(GOOD)
    assert len(list(stored_otherwise(sent, sent | spoiled))) == 1


def test_field_that_is_lost_is_found() -> None:
    sent = json.loads(GOOD)
    stored = {name: value for name, value in sent.items() if name != "whitelist"}
    assert list(stored_otherwise(sent, stored)) == ["whitelist was stored as None"]
