"""What a PN532 is asked and what it answers: commands without their frame, and the cards in an answer. Pure.

The first byte of a command is its code; the answer's code is one more (UM0701-02, 7). Answers come here without TFI.
"""

from dataclasses import dataclass

SAM_NORMAL = bytes([0x14, 0x01, 0x00, 0x01])
"""SAMConfiguration: no SAM. The only command that a chip understands which has just been powered: it leaves the "low
VBAT" mode with it (UM0701-02, 7.2.10)."""

FIRMWARE = bytes([0x02])
"""GetFirmwareVersion."""

NO_EXTRAS = bytes([0x12, 0x00])
"""SetParameters: no automatic RATS, so that a card's answer ends with its uid and a card that fails in ISO 14443-4
is found all the same; preambles stay."""

FEW_TRIES = bytes([0x32, 0x05, 0xFF, 0x01, 0x02])
"""RFConfiguration, MaxRetries: to look for a card is tried three times. Without it the chip looks for ever and says
nothing meanwhile, like a dead one; two tries are needed for a card that was just read and first goes back to idle."""

FIELD_OFF = bytes([0x32, 0x01, 0x00])
"""RFConfiguration, RF field. The next search switches it on. A card that was found first of two is halted and answers
no search before its power was away (ISO 14443-3, 6.3); to wake it like this is what makes held cards stay found."""

FIND_TWO = bytes([0x4A, 0x02, 0x00])
"""InListPassiveTarget: at most two cards, which is all that the chip handles; 106 kbit/s type A."""

_PN532 = 0x32
_UID_LENGTHS = (4, 7, 10)
_HEAD = 5
"""Of a card: its number, ATQA (2), SAK, the uid's length."""


class AnswerError(ValueError):
    """An answer that does not fit its command, though its checksum is right."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card that a PN532 has found."""

    atqa: int
    sak: int
    uid: bytes
    """ISO 14443-3, NFCID1 without cascade tags: 4, 7 or 10 bytes."""


def firmware_version(answer: bytes) -> str:
    """As its maker writes it: "1.6". Raises AnswerError where another chip answers."""
    if len(answer) != 5 or answer[1] != _PN532:
        raise AnswerError(f"this is no PN532: its answer to GetFirmwareVersion is {answer[1:].hex(' ').upper() or '-'}")
    return f"{answer[2]}.{answer[3]}"


def cards_found(answer: bytes) -> list[Card]:
    """The cards in an answer to `FIND_TWO`. Raises AnswerError where a length does not fit: none counts then."""
    if len(answer) < 2 or answer[1] > 2:
        raise AnswerError("the answer to InListPassiveTarget has no number of cards, or one that can't be")
    cards, rest = [], answer[2:]
    for number in range(1, answer[1] + 1):
        card, rest = _card(rest, number)
        cards.append(card)
    if rest:
        raise AnswerError(f"{len(rest)} bytes are left over behind the cards")
    return cards


def _card(data: bytes, number: int) -> tuple[Card, bytes]:
    """The first card, and what is behind it."""
    end = _HEAD + (data[4] if len(data) >= _HEAD else 0)
    if len(data) < max(end, _HEAD):
        raise AnswerError(f"the data of card {number} are cut")
    if data[0] != number or data[4] not in _UID_LENGTHS:
        raise AnswerError(f"card {number} comes as number {data[0]} with a uid of {data[4]} bytes")
    return Card(atqa=int.from_bytes(data[1:3], "big"), sak=data[3], uid=data[_HEAD:end]), data[end:]
