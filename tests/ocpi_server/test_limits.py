"""How deep a body is nested, as it is counted eight brackets at a time."""

import json

import pytest

from agent.ocpi.server.limits import is_nested_too_deep


def nested(levels: int, opening: str = "[", closing: str = "]", inside: str = "") -> bytes:
    return (opening * levels + inside + closing * levels).encode()


@pytest.mark.parametrize("before", range(9))
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"[": ', "}]")])
def test_thirty_two_levels_are_taken_and_one_more_is_not(opening: str, closing: str, before: int) -> None:
    levels = 32 // sum(bracket in "[{" for bracket in opening.replace('"["', ""))
    # Whole objects before it, so that the deepest level is at any place among eight.
    for_all = b"[" + b"[]," * 40 + b"[]," * before
    assert not is_nested_too_deep(for_all + nested(levels, opening, closing, "0")[1:-1] + b"]")
    assert is_nested_too_deep(for_all + nested(levels, opening, closing, "0") + b"]")


@pytest.mark.parametrize("text", ["[" * 40, '"[' * 40, "\\[" * 40, '\\"[' * 40, "[\\\\" * 40, "[\\", '["' * 40 + "\\"])
def test_brackets_of_a_text_do_not_count(text: str) -> None:
    assert not is_nested_too_deep(json.dumps({text: [text, {text: text}], "b": [[]] * 40}).encode())
    assert is_nested_too_deep(json.dumps([text, text]).encode() + nested(33) + json.dumps(text).encode())


@pytest.mark.parametrize("broken", [b"]" * 100, b"[]" * 100, b'"' + b"[" * 100, b"[]]" * 100, b"", b'\\"' * 100])
def test_what_is_no_json_is_not_deep_for_that(broken: bytes) -> None:
    assert not is_nested_too_deep(broken)
