"""What an Authorization header may mean. Pure."""

from base64 import b64decode
from binascii import Error as Base64Error

from agent.ocpi.credentials import MOST_TOKEN

_LONGEST = 4 * MOST_TOKEN
"""Characters of a header's token: base64 makes 88 of 64. Longer ones are nobody's and not worth a hash."""


def candidates(header: str | None) -> list[str]:
    """The tokens that a header may carry: decoded and as it stands; empty for one that OCPI does not know.

    OCPI 2.2.1 transport_and_format, Authorization header: `Token`, a space, base64. Its note: many send it plain.
    """
    scheme, _, sent = (header or "").strip().partition(" ")
    sent = sent.strip()
    if scheme.lower() != "token" or not sent or len(sent) > _LONGEST:
        return []
    decoded = _decoded(sent)
    return [sent] if decoded is None or decoded == sent else [decoded, sent]


def _decoded(sent: str) -> str | None:
    try:
        # The chapter's own example encodes a token with the line feed of the shell that it was made in.
        text = b64decode(sent.encode("ascii"), validate=True).decode().rstrip("\r\n")
    except (Base64Error, UnicodeError):
        return None
    return text or None
