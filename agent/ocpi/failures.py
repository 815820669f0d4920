"""What a peer's failure is called, and what the installer reads of it. Pure.

The texts hold a peer's own words, so they are made harmless here: printable, short, without uid or credentials.
"""

import os
import re
import ssl
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import h11
import httpx

from agent.model import Outcome

_LONGEST = 120
"""Characters of a peer's own words: one line of a log, whatever it sends."""

_MOST_LOOKED_AT = 4096
"""Characters of them that are gone through: the words of a large answer would hold up every tap."""

_SHORTEST_SECRET = 4
"""Shorter, it would stand in every other text, `HTTP 404` included."""

_SSL_DECORATION = re.compile(r"^\[SSL[^\]]*\]\s*|\s*\(_ssl\.c:\d+\)$")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a peer gave no usable answer. A value: refusal and silence are no exceptions."""

    outcome: Outcome
    detail: str
    """For the installer: `HTTP 503`. Never a secret, never a uid."""
    retry_after_s: float | None = None
    """How long the peer asks to be left alone."""


def harmless(text: str, secrets: Sequence[str] = ()) -> str:
    """`text` as one printable line of at most 120 characters, with each secret replaced, in whatever case it stands."""
    if len(text) > _MOST_LOOKED_AT:
        # Less whatever the cut may have left of a secret, which would not be found any more.
        text = text[: _MOST_LOOKED_AT - (_MOST_APART + 1) * max(map(len, secrets), default=0)]
    whole = _plain(text)
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET and _plain(secret) in whole:  # hardly ever, and a large text takes a while
            text = _without(text, secret)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


_SHORTEST_SPELLED = 6
_SHORTEST_NUMBER = 8
"""Shorter ones are looked for as they stand: `10:00` is a time, and `10.00` an amount."""
_APART = re.compile("[^0-9A-Za-z]+")
_MOST_APART = 3
"""Characters between two of a secret's own, as people write a card's number: `04:A1:B2`, `04 A1`."""


def _without(text: str, secret: str) -> str:
    """Not by `re`, which keeps what it has looked for: a secret would stay in memory after its rotation."""
    wanted, where = _plain(secret), _plain(text)
    if len(wanted) < (_SHORTEST_NUMBER if wanted.isdigit() else _SHORTEST_SPELLED):
        return _without_exactly(text, secret)
    places = [at for at, character in enumerate(text) if character.isascii() and character.isalnum()]
    kept, begin, at = [], 0, where.find(wanted)
    while at >= 0:
        of_it = places[at : at + len(wanted)]
        if all(after - before <= _MOST_APART + 1 for before, after in pairwise(of_it)):
            kept.append(text[begin : of_it[0]])
            begin, at = of_it[-1] + 1, where.find(wanted, at + len(wanted))
        else:
            at = where.find(wanted, at + 1)
    return "***".join([*kept, text[begin:]])


def _without_exactly(text: str, secret: str) -> str:
    wanted, where, kept, begin = secret.translate(_LOWER), text.translate(_LOWER), [], 0
    while (at := where.find(wanted, begin)) >= 0:
        kept.append(text[begin:at])
        begin = at + len(wanted)
    return "***".join([*kept, text[begin:]])


def _plain(text: str) -> str:
    """Its letters and digits, whatever their case."""
    return _APART.sub("", text).translate(_LOWER)


def of_http(status: int, words: str, retry_after_s: float | None) -> Failure | None:
    """The failure that an HTTP status stands for; None for success.

    `words` is what the OCPI envelope beside it said. OCPI 2.2.1 mod_tokens, POST: 404 is "unknown token".
    """
    detail = f"HTTP {status}, {words}" if words else f"HTTP {status}"
    match status:
        case _ if 200 <= status < 300:
            return None
        case 404:
            outcome = Outcome.UNKNOWN
        case 401 | 403:
            outcome = Outcome.UNAUTHORIZED
        case 429:
            outcome = Outcome.RATE_LIMITED
        case _ if 400 <= status < 500:
            outcome = Outcome.REJECTED
        case _ if 500 <= status < 600:
            outcome = Outcome.SERVER_ERROR
        case _ if 300 <= status < 400:
            outcome, detail = Outcome.MALFORMED, f"HTTP {status}: redirects are not followed, configure the final URL"
        case _:
            outcome, detail = Outcome.MALFORMED, f"HTTP {status} is no answer"
    asks_to_wait = outcome in {Outcome.RATE_LIMITED, Outcome.SERVER_ERROR}
    return Failure(outcome, detail, retry_after_s if asks_to_wait else None)


def of_status_code(code: int, words: str) -> Failure | None:
    """The failure that an OCPI status code stands for (OCPI 2.2.1 status_codes); None for success."""
    match code // 1000:
        case 1:
            return None
        case 2 if code == 2004:
            return Failure(Outcome.UNKNOWN, words)
        case 2:
            return Failure(Outcome.REJECTED, words)
        case 3 | 4:
            return Failure(Outcome.OCPI_ERROR, words)
        case _:
            return Failure(Outcome.MALFORMED, f"{words}: no status code of OCPI")


def of_transport(error: httpx.HTTPError | httpx.InvalidURL | OSError | UnicodeError | OverflowError) -> Failure:
    """What went wrong below the answer."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Failure(Outcome.TIMEOUT, "no connection in time")
        case httpx.TimeoutException():
            return Failure(Outcome.TIMEOUT, "no answer in time")
        case httpx.RemoteProtocolError() if not hung_up(error):
            return Failure(Outcome.MALFORMED, f"the answer is no HTTP: {harmless(str(error))}")
        case (
            httpx.InvalidURL()
            | httpx.UnsupportedProtocol()
            | httpx.LocalProtocolError()
            | UnicodeError()
            | OverflowError()
        ):
            return Failure(Outcome.MALFORMED, "the URL or a header can't be sent")
        case _:
            return Failure(Outcome.UNREACHABLE, _cause(error))


def hung_up(error: BaseException) -> bool:
    """Whether the peer closed the connection instead of answering. What h11 complains of is an answer, if a bad one."""
    match error:
        case httpx.RemoteProtocolError():
            return not any(isinstance(cause, h11.RemoteProtocolError) for cause in _causes(error))
        case httpx.ReadError() | httpx.WriteError():
            return True
        case _:
            return False


def _cause(error: BaseException) -> str:
    """The sentence of the deepest cause that has one: `Connection refused`, `certificate verify failed: …`."""
    text = str(error)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return harmless(_SSL_DECORATION.sub("", _SSL_DECORATION.sub("", str(cause))))
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio puts its own words and the address there; a name that can't be resolved has a negative number.
            text = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
    return harmless(text or "the connection broke")


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        nested = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = nested or cause.__cause__ or cause.__context__
    return chain
