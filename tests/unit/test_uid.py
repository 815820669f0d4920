"""Uids: bytes become text once, and are compared without regard to case (OCPI 2.2.1 types, CiString)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.uid import MAX_LENGTH, UidFormat, canonical, masked

CARD = bytes.fromhex("04A1B2FF80")


@pytest.mark.parametrize(
    ("settings", "uid"),
    [
        (UidFormat(), "04A1B2FF80"),
        (UidFormat(reverse=True), "80FFB2A104"),
        (UidFormat(keep_last=4), "A1B2FF80"),
        (UidFormat(keep_last=9), "04A1B2FF80"),
        (UidFormat(keep_last=4, reverse=True), "80FFB2A1"),
        (UidFormat(decimal_digits=13), "0019892731776"),
        (UidFormat(keep_last=3, decimal_digits=8), "11730816"),
        (UidFormat(keep_last=4, reverse=True, decimal_digits=10), "2164241057"),
        (UidFormat(keep_last=3, facility_digits=(3, 5)), "17865408"),
        (UidFormat(keep_last=3, reverse=True, facility_digits=(3, 5)), "12865458"),
        (UidFormat(keep_last=4, facility_digits=(5, 5)), "4139465408"),
        (UidFormat(keep_last=2, decimal_digits=5), "65408"),
    ],
)
def test_card_under_each_setting_gets_its_uid(settings: UidFormat, uid: str) -> None:
    assert settings.to_uid(CARD) == uid


@given(st.binary(min_size=1, max_size=18))
def test_any_bytes_in_hex_keep_every_byte(raw: bytes) -> None:
    assert bytes.fromhex(UidFormat().to_uid(raw)) == raw


@given(st.binary(min_size=1, max_size=10))
def test_reversing_twice_gives_the_card_back(raw: bytes) -> None:
    assert bytes.fromhex(UidFormat(reverse=True).to_uid(raw))[::-1] == raw


@pytest.mark.parametrize(
    ("settings", "raw", "text"),
    [
        (UidFormat(), b"", "without any bytes"),
        (UidFormat(), bytes(19), "38 characters; OCPI allows 36"),
        (UidFormat(decimal_digits=3), b"\x80\x80", "2 bytes needs more than decimal_digits = 3"),
        (UidFormat(facility_digits=(3, 5)), CARD, r"3 bytes needs more than facility_digits = \(3, 5\)"),
        (UidFormat(facility_digits=(3, 5)), b"\x80\x80", "2 bytes has no facility"),
        (UidFormat(keep_last=2, facility_digits=(3, 5)), CARD, "2 bytes has no facility"),
    ],
)
def test_bytes_that_are_no_uid_are_refused_with_the_reason(settings: UidFormat, raw: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        settings.to_uid(raw)


@pytest.mark.parametrize(
    "settings",
    [
        {"keep_last": 0},
        {"keep_last": -4},
        {"decimal_digits": 0},
        {"decimal_digits": 37},
        {"facility_digits": (2, 5)},
        {"facility_digits": (3, 4)},
        {"facility_digits": (3, 34)},
        {"facility_digits": (3, 5), "decimal_digits": 8},
    ],
)
def test_impossible_setting_is_refused_by_name(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        UidFormat(**settings)  # type: ignore[arg-type]  # the names come from the table


@pytest.mark.parametrize(
    "text", ["04a1b2c3", "04:A1:B2:C3", "04-a1-b2-c3", "04 A1 B2 C3", "04a1 b2c3", "04A1:B2C3", "  04A1B2C3\n"]
)
def test_every_spelling_of_the_same_bytes_is_one_uid(text: str) -> None:
    assert canonical(text) == "04A1B2C3"


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("de-abc-c12345-1", "DE-ABC-C12345-1"),  # no bytes between the hyphens
        ("de-ab-c12345", "DE-AB-C12345"),  # even, and hex, but not written byte by byte
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479", "F47AC10B-58CC-4372-A567-0E02B2C3D479"),
        ("04:A1-B2", "04:A1-B2"),
        ("04:A1:B", "04:A1:B"),
        ("#user 7", "#USER 7"),
    ],
)
def test_uid_of_another_kind_keeps_its_separators(text: str, uid: str) -> None:
    assert canonical(text) == uid


@given(st.text(alphabet="0123456789abcdefABCDEFxyz:- ", min_size=1, max_size=MAX_LENGTH).filter(str.strip))
def test_canonical_form_is_its_own_canonical_form(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize("text", ["", "  \t", "04A1\x00B2", "04\nA1", "04Ä1", "ß", "A" * 37])
def test_text_that_is_no_uid_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the uid ") as refusal:
        canonical(text)
    assert not text.strip() or text not in str(refusal.value)


@pytest.mark.parametrize(
    ("uid", "shown"),
    [
        ("04A1B2C3D4E59F", "04A1…9F"),
        ("04A1B2C3D4E5F6A7B89F", "04A1…9F"),
        ("0415AB6F9F", "…9F"),
        ("A1B2C39F", "…9F"),
        ("A19F", "…"),
        ("", "…"),
    ],
)
def test_masked_uid_shows_too_little_to_copy_a_card(uid: str, shown: str) -> None:
    assert masked(uid) == shown


@pytest.mark.parametrize("byte", range(0x80, 0x100))
def test_byte_that_a_signed_char_would_turn_negative_is_itself_in_every_form(byte: int) -> None:
    raw = bytes([0x04, byte, 0xB2])  # a published driver made 04FFA1FFB2 of 04A1B2
    assert UidFormat().to_uid(raw) == f"04{byte:02X}B2"
    assert UidFormat(reverse=True).to_uid(raw) == f"B2{byte:02X}04"
    assert UidFormat(keep_last=2).to_uid(raw) == f"{byte:02X}B2"
    assert UidFormat(decimal_digits=8).to_uid(raw) == f"{0x04 * 65536 + byte * 256 + 0xB2:08}"
    assert UidFormat(facility_digits=(3, 5)).to_uid(raw) == f"004{byte * 256 + 0xB2:05}"
    assert UidFormat(facility_digits=(3, 5), reverse=True).to_uid(raw) == f"178{byte * 256 + 0x04:05}"


def test_card_with_its_numbers_printed_on_it_gets_each_of_them() -> None:
    raw = bytes.fromhex("01005C6F2E")  # 0006057774 092,28462, the two forms in which shops print an EM4100 card
    assert UidFormat(keep_last=4, decimal_digits=10).to_uid(raw) == "0006057774"
    assert UidFormat(keep_last=3, facility_digits=(3, 5)).to_uid(raw) == "09228462"


@given(st.integers(0, 255), st.integers(0, 65535), st.integers(0, 255), st.integers(0, 65535))
def test_two_wiegand_cards_never_share_a_uid(facility: int, number: int, other_facility: int, other: int) -> None:
    cards = {bytes([f]) + n.to_bytes(2, "big") for f, n in ((facility, number), (other_facility, other))}
    assert len({UidFormat(facility_digits=(3, 5)).to_uid(card) for card in cards}) == len(cards)


@given(st.binary(min_size=2, max_size=10), st.data())
def test_cut_uid_is_never_that_of_the_whole_card(raw: bytes, data: st.DataObject) -> None:
    cut = raw[: data.draw(st.integers(1, len(raw) - 1))]
    assert UidFormat().to_uid(cut) != UidFormat().to_uid(raw)
    assert UidFormat(reverse=True).to_uid(cut) != UidFormat(reverse=True).to_uid(raw)
