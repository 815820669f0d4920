"""From a whole HTTP answer to what the peer said: the envelope, its data, or the failure that they stand for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import msgspec

from agent.model import Outcome
from agent.ocpi import envelope
from agent.ocpi.connection import Reply
from agent.ocpi.envelope import UNREADABLE, Envelope
from agent.ocpi.failures import Failure, harmless, of_http, of_status_code

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

_CODES = range(1000, 5000)
"""OCPI's status codes. A gateway's own JSON may have a `status_code` too, of 404."""

NOBODY_THERE = Failure(Outcome.SERVER_ERROR, "HTTP 404 without an OCPI answer: is the URL right?")
"""A proxy, or an endpoint that has moved: nobody there knows anything of tokens."""


class Decoder(Protocol[_T_co]):
    """Reads an answer's data; `msgspec.json.Decoder` is one."""

    def decode(self, buf: bytes | msgspec.Raw, /) -> _T_co:
        """Raises one of UNREADABLE."""
        ...


def envelope_of(
    reply: Reply | Failure, secrets: Sequence[str], *, bare_404_is_answer: bool = True
) -> Envelope | Failure:
    """The envelope of a success; of anything else what the HTTP status and OCPI's code stand for.

    A 404 means "unknown", and some peers send nothing with it. Where that can't be meant, `bare_404_is_answer` is
    False, and a 404 without an envelope is NOBODY_THERE.
    """
    judged = reply if isinstance(reply, Failure) else _judge(reply, bare_404_is_answer=bare_404_is_answer)
    return without(judged, secrets) if isinstance(judged, Failure) else judged


def data_of(
    reply: Reply | Failure, decoder: Decoder[_T], secrets: Sequence[str], *, bare_404_is_answer: bool = True
) -> _T | Failure:
    """What is inside the envelope of a success."""
    answer = envelope_of(reply, secrets, bare_404_is_answer=bare_404_is_answer)
    if isinstance(answer, Failure):
        return answer
    if not answer.has_data:
        return Failure(Outcome.MALFORMED, "the answer reports success, but its data is missing")
    try:
        return decoder.decode(answer.data)
    except UNREADABLE as error:
        return without(Failure(Outcome.MALFORMED, f"the answer's data can't be used: {error}"), secrets)


def without(failure: Failure, secrets: Sequence[str]) -> Failure:
    """The same failure, fit to be shown."""
    return replace(failure, detail=harmless(failure.detail, secrets))


def _judge(reply: Reply, *, bare_404_is_answer: bool) -> Envelope | Failure:
    try:
        answer = envelope.decode(reply.body)
    except UNREADABLE as error:
        if reply.status == 404 and not bare_404_is_answer:
            return NOBODY_THERE
        detail = f"the answer is no OCPI envelope: {error}" if reply.body else "the answer is empty"
        no_envelope = Failure(Outcome.MALFORMED, detail)
        return of_http(reply.status, "", reply.retry_after_s) or no_envelope
    if reply.status == 404 and answer.status_code not in _CODES and not bare_404_is_answer:
        return NOBODY_THERE
    words = f"OCPI {answer.status_code}: {answer.message}" if answer.message else f"OCPI {answer.status_code}"
    of_transport = of_http(reply.status, words, reply.retry_after_s)
    of_content = of_status_code(answer.status_code, words)
    if of_transport is None:
        return of_content or answer
    unknown = of_content is not None and of_content.outcome is Outcome.UNKNOWN
    if unknown and of_transport.outcome is Outcome.REJECTED:
        # Some peers send 2004 with HTTP 400.
        return replace(of_transport, outcome=Outcome.UNKNOWN)
    return of_transport
