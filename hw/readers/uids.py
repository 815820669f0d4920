"""What a card's raw uid says about itself. Pure: whole bytes in, as the reader had them, no port, no clock.

ISO/IEC 14443-3, 6.4.4 (the contents of the uid and its cascade levels). Only of ISO 14443 type A uids may this be
asked: the 5 bytes of a 125 kHz card and the 8 of an ISO 15693 tag mean something else and are never either.
"""

_RANDOM = 0x08
_CASCADE_TAG = 0x88


def is_random(raw: bytes) -> bool:
    """Whether the card made this uid up and will name another one next time: four bytes beginning 08.

    Phones and some identity cards do so, to not be followed. The order is the card's: ask before any reversal.
    """
    return len(raw) == 4 and raw[0] == _RANDOM


def is_cut(raw: bytes) -> bool:
    """Whether the reader gave only the first part of a longer uid: four bytes beginning with the cascade tag, 88.

    The tag announces that more of the uid follows and is never part of it. Three bytes are the maker's and the head
    of the number, the same for many cards: to take them for a uid would let one card in for another.
    """
    return len(raw) == 4 and raw[0] == _CASCADE_TAG
