"""Frames of the PN532 and the cards in them, against streams that were cut, spliced, flipped and chopped.

The frames here are put together by hand from UM0701-02, 6.2.1.
"""

import random
import time
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.readers.pn532_cards import AnswerError, Card, cards_found, firmware_version
from hw.readers.pn532_frames import ACK, NACK, FrameParser, Sign, information

UIDS = {4: "04A1B2FF", 7: "8004FFFEC3D4E5", 10: "80FF00FEC3D4E5F67788"}
ERROR = bytes.fromhex("0000FF01FF7F8100")
NOISE = 1_000_000


def frame(data: bytes) -> bytes:
    return b"\x00\x00\xff" + bytes([len(data), 256 - len(data)]) + data + bytes([-sum(data) % 256, 0])


def extended(data: bytes) -> bytes:
    high, low = divmod(len(data), 256)
    return b"\x00\x00\xff\xff\xff" + bytes([high, low, -(high + low) % 256]) + data + bytes([-sum(data) % 256, 0])


def found(*uids: str) -> bytes:
    """The answer that lists these cards, TFI first."""
    cards = [
        bytes([number, 0x00, 0x44, 0x20, len(uid) // 2]) + bytes.fromhex(uid) for number, uid in enumerate(uids, 1)
    ]
    return bytes([0xD5, 0x4B, len(uids)]) + b"".join(cards)


def parse(*chunks: bytes) -> list[Sign | bytes]:
    parser = FrameParser()
    return [content for chunk in chunks for content in parser.push(chunk)]


def uids_in(stream: bytes) -> list[str]:
    """What a driver would take for cards, were each frame the answer to its search."""
    uids = []
    for content in parse(stream):
        if isinstance(content, bytes) and content[:2] == b"\xd5\x4b":
            try:
                uids += [card.uid.hex().upper() for card in cards_found(content[1:])]
            except AnswerError:
                continue
    return uids


def test_frames_of_the_user_manual_are_read() -> None:
    # UM0701-02, 6.2.1 and 7.2.2: ACK, NACK, the answer to GetFirmwareVersion, the error frame
    stream = bytes.fromhex("0000FF00FF00 0000FFFF0000 0000FF06FAD50332010607E800 0000FF01FF7F8100")
    assert parse(stream) == [Sign.ACK, Sign.NACK, bytes.fromhex("D50332010607"), Sign.ERROR]


def test_commands_are_framed_as_in_the_user_manual() -> None:
    assert information(bytes.fromhex("D402")) == bytes.fromhex("0000FF02FED4022A00")
    assert information(bytes.fromhex("D44A0200")) == bytes.fromhex("0000FF04FCD44A0200E000")
    assert (bytes.fromhex("0000FF00FF00"), bytes.fromhex("0000FFFF0000")) == (ACK, NACK)


@pytest.mark.parametrize("length", [1, 2, 254, 255, 256, 264, 265])
def test_frame_of_every_kind_of_length_is_read(length: int) -> None:
    data = bytes(0x80 | byte % 128 for byte in range(length))
    by_hand = frame(data) if length <= 255 else extended(data)
    assert information(data) == by_hand
    assert parse(by_hand) == [data]


@pytest.mark.parametrize("length", [0, 266])
def test_frame_that_no_chip_could_hold_is_not_made(length: int) -> None:
    with pytest.raises(ValueError, match="don't fit"):
        information(bytes(length))


@pytest.mark.parametrize("length", [0, 266, 4096, 65535])
def test_extended_length_that_no_chip_could_hold_is_bad_at_once(length: int) -> None:
    high, low = divmod(length, 256)
    parser = FrameParser()
    broken = b"\x00\x00\xff\xff\xff" + bytes([high, low, -(high + low) % 256])
    assert parser.push(broken + ACK) == [Sign.ACK]
    assert parser.bad == 1


@pytest.mark.parametrize("place", ["LEN", "LCS", "data", "DCS", "postamble"])
def test_wrong_byte_makes_a_bad_frame(place: str) -> None:
    whole = frame(found(UIDS[7]))
    at = {"LEN": 3, "LCS": 4, "data": 12, "DCS": len(whole) - 2, "postamble": len(whole) - 1}[place]
    parser = FrameParser()
    assert parser.push(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :]) == []
    parser.reset()
    assert (parser.good, parser.bad) == (0, 1)


def test_good_frame_behind_every_cut_of_another_is_not_lost() -> None:
    cut, whole = frame(found(UIDS[7])), frame(found(UIDS[4]))
    for length in range(1, len(cut)):
        parser = FrameParser()
        # Behind a cut, the first of two good ones may be needed to see that it is one.
        assert parser.push(cut[:length] + whole + whole)[-1:] == [found(UIDS[4])]


def test_frame_begun_within_a_broken_one_is_read() -> None:
    broken = b"\x00\x00\xff\x08\xf8\xd5"
    assert parse(broken + frame(found(UIDS[4]))) == [found(UIDS[4])]


def test_half_frame_is_dropped_and_counted_at_a_reset() -> None:
    parser = FrameParser()
    parser.push(frame(found(UIDS[4]))[:-3])
    parser.reset()
    assert parser.push(frame(found(UIDS[4]))[-3:]) == []
    assert (parser.good, parser.bad) == (0, 1)


CONTENTS = st.one_of(
    st.sampled_from([(Sign.ACK, ACK), (Sign.NACK, NACK), (Sign.ERROR, ERROR)]),
    st.binary(min_size=1, max_size=255).filter(lambda data: data[0] != 0x7F).map(lambda data: (data, frame(data))),
    st.binary(min_size=256, max_size=265).filter(lambda data: data[0] != 0x7F).map(lambda data: (data, extended(data))),
)


@given(st.lists(CONTENTS, max_size=6), st.data())
def test_frames_in_any_portions_are_the_same(contents: list[tuple[Sign | bytes, bytes]], data: st.DataObject) -> None:
    stream = b"".join(raw for _, raw in contents)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*chunks) == parse(stream) == [content for content, _ in contents]


@given(st.binary(max_size=2000), st.data())
def test_any_bytes_in_any_portions_are_read_alike_and_kept_within_bounds(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    parser = FrameParser()
    contents = []
    for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        contents += parser.push(stream[a:b])
        assert len(parser._pending) <= 8 + 265 + 2
    assert contents == parse(stream)


@pytest.mark.parametrize("uids", [[UIDS[4]], [UIDS[7]], [UIDS[10]], [UIDS[4], UIDS[10]], [UIDS[7], UIDS[7]]])
def test_any_single_flipped_bit_gives_no_wrong_uid(uids: list[str]) -> None:
    whole = frame(found(*uids))
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert uids_in(bytes(flipped)) in ([], uids)


@given(st.integers(0, 21), st.integers(1, 255))
def test_any_single_wrong_byte_gives_no_wrong_uid(at: int, error: int) -> None:
    whole = bytearray(frame(found(UIDS[7])))
    whole[at] ^= error
    assert uids_in(bytes(whole)) == []


def test_double_errors_that_pass_are_those_that_a_sum_can_not_see() -> None:
    whole = frame(found(UIDS[7]))
    carrying = range(
        9, len(whole) - 1
    )  # ATQA to DCS but the uid's length: a flip elsewhere makes another command of it
    wrong = set()
    for first, second in combinations(range(len(whole) * 8), 2):
        flipped = bytearray(whole)
        flipped[first // 8] ^= 1 << first % 8
        flipped[second // 8] ^= 1 << second % 8
        if uids_in(bytes(flipped)) not in ([], [UIDS[7]]):
            wrong.add((first, second))

    def set_at(bit: int) -> bool:
        return bool(whole[bit // 8] >> bit % 8 & 1)

    predicted = {
        (first, second)
        for first, second in combinations(range(len(whole) * 8), 2)
        if first % 8 == second % 8 and (set_at(first) != set_at(second) or first % 8 == 7)
        if first // 8 in carrying and second // 8 in carrying and 12 not in {first // 8, second // 8}
        if {first // 8, second // 8} & set(range(13, 20))
    }
    pairs = len(whole) * 8 * (len(whole) * 8 - 1) // 2
    print(f"\nPN532: {len(wrong)} of {pairs} double bit errors in an answer give a wrong uid: {len(wrong) / pairs:.1%}")
    assert wrong == predicted


def test_million_bytes_of_noise_give_no_uid() -> None:
    noise = random.Random(5).randbytes(NOISE)
    began = time.process_time()
    assert uids_in(noise) == []
    print(f"\nPN532 frames: {NOISE} random bytes take {time.process_time() - began:.2f} s of CPU")


def test_million_bytes_of_noise_full_of_start_codes_give_no_uid_and_leave_the_next_frame_whole() -> None:
    rng = random.Random(6)
    pieces = [b"\x00\x00\xff", b"\xff\xff", b"\x00", b"\x0f\xf1", b"\xd5\x4b"]
    noise = b"".join(rng.choice(pieces) + rng.randbytes(rng.randrange(4)) for _ in range(NOISE // 4))
    parser = FrameParser()
    began = time.process_time()
    contents = parser.push(noise)
    print(f"\nPN532 frames: {len(noise)} bytes of start codes take {time.process_time() - began:.2f} s of CPU")
    assert not [content for content in contents if isinstance(content, bytes) and content[:2] == b"\xd5\x4b"]
    parser.reset()
    assert parser.push(frame(found(UIDS[4]))) == [found(UIDS[4])]


def test_cards_of_every_length_are_found() -> None:
    assert cards_found(found(UIDS[7], UIDS[10])[1:]) == [
        Card(atqa=0x0044, sak=0x20, uid=bytes.fromhex(UIDS[7])),
        Card(atqa=0x0044, sak=0x20, uid=bytes.fromhex(UIDS[10])),
    ]
    assert cards_found(found()[1:]) == []


@pytest.mark.parametrize(
    "answer",
    [
        "4B",
        "4B01",
        "4B03",
        "4B0101004420",
        "4B010100442004A1B2FF",
        "4B010100442005A1B2FF8001",
        "4B010100442000",
        "4B010200442004A1B2FF80",
        "4B010100442004A1B2FF8005",
        "4B000100442004A1B2FF80",
        "4B020100442004A1B2FF80",
        "4B020100442004A1B2FF800100442004A1B2FF80",
    ],
)
def test_answer_with_lengths_that_do_not_fit_is_refused(answer: str) -> None:
    with pytest.raises(AnswerError):
        cards_found(bytes.fromhex(answer))


def test_firmware_of_a_pn532_is_told() -> None:
    assert firmware_version(bytes.fromhex("0332010607")) == "1.6"


@pytest.mark.parametrize("answer", ["03", "0333010607", "03320106"])
def test_other_chip_is_told_apart(answer: str) -> None:
    with pytest.raises(AnswerError, match="no PN532"):
        firmware_version(bytes.fromhex(answer))
