"""The list of the `million` figures: tokens as a large eMSP has them, and their pages as JSON. Written by hand.

Cards come from many batches, so that the order in which they were issued says nothing about the order of their uids:
every page hits the whitelist's index all over, as in the field.
"""

from collections.abc import Iterator

from agent.model import Uid
from tests.bench.cards import OWNER

PAGE = 1000
"""Tokens a page."""

_SPREAD = 0x9E37_79B9_7F4B
"""Odd, so that multiplying by it modulo 2**48 gives every position a uid of its own, far from its neighbours'."""

_TOKEN = (
    '{{"country_code":"{}","party_id":"{}","uid":"{}","type":"RFID","contract_id":"{}-{}-C{:08}-K",'
    '"visual_number":"{:016}","issuer":"Example Mobility GmbH","valid":{},"whitelist":"{}","language":"de",'
    '"last_updated":"2024-{:02}-{:02}T{:02}:{:02}:{:02}Z"}}'
)
_WHITELISTS = ("ALLOWED", "ALLOWED", "ALLOWED", "ALLOWED_OFFLINE", "ALWAYS", "NEVER")


def uid(position: int) -> Uid:
    """The uid of a token of the list, counted from 0: seven bytes."""
    return Uid(f"04{position * _SPREAD % (1 << 48):012X}")


def pages(tokens: int) -> Iterator[bytes]:
    """The list in pages, each a JSON array."""
    for start in range(0, tokens, PAGE):
        yield f"[{','.join(map(_token, range(start, min(start + PAGE, tokens))))}]".encode()


def _token(position: int) -> str:
    country, party = OWNER
    minute, second = divmod(position, 60)
    when = (1 + position % 12, 1 + position % 28, minute // 60 % 24, minute % 60, second)
    valid = "true" if position % 50 else "false"
    how = _WHITELISTS[position % len(_WHITELISTS)]
    return _TOKEN.format(country, party, uid(position), country, party, position, position, valid, how, *when)
