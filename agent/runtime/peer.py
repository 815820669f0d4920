"""One peer as the agent lives with it: asked about taps, watched in the background, given up and found again."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from agent.core.decide import outcome_at
from agent.model import SILENCES, Answer, DisplayText, LocationReferences, Outcome, Question, Target
from agent.ocpi.client import AuthorizeReply, Failure
from agent.ocpi.tokens import AllowedType, AuthorizationInfo, token_of
from agent.runtime.breaker import Breaker

log = logging.getLogger(__name__)


class Client(Protocol):
    """What a peer needs of an OCPI client: `agent.ocpi.client.OcpiClient` has it."""

    async def authorize(
        self,
        uid: str,
        location: LocationReferences,
        *,
        correlation_id: str,
        to: tuple[str, str] | None = None,
        listed: bool = False,
    ) -> AuthorizeReply:
        """Ask in real time. Never raises for what the peer does."""
        ...

    async def probe(self) -> Failure | None:
        """A cheap request; None when the peer answers it well."""
        ...


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """When a peer is looked at in the background, in seconds."""

    every_s: float
    """While it answers: finds an outage before a driver does, and keeps the connection warm."""
    retry_first_s: float
    retry_most_s: float
    timeout_s: float
    """A probe that takes longer has failed: a peer that can't answer a tap in time is of no use to one."""


class Peer:
    """Asks one peer, and stops asking while its breaker is open."""

    def __init__(
        self,
        name: str,
        client: Client,
        *,
        breaker: Breaker,
        times: WatchTimes,
        renewal: str = "ask its operator for a new one and put it into the configuration",
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`renewal`: how our credentials token is renewed, for whoever reads that it is rejected.

        `spread` gives 0 to 1 and keeps a fleet from probing in step.
        """
        self.name = name
        self._client = client
        self._breaker = breaker
        self._times = times
        self._renewal = renewal
        self._spread = spread
        self._opened = asyncio.Event()
        self._failed_probes = 0
        self._credentials_rejected = False
        self._last_silence = "nothing yet"
        self._successor: Callable[[Peer], Awaitable[Peer | None]] | None = None

    def succeeded_by(self, successor: "Callable[[Peer], Awaitable[Peer | None]]") -> None:
        """Say who knows the peer that has taken this one's place, once our credentials token is rejected."""
        self._successor = successor

    def use(self, *, answer_within_s: float) -> None:
        """A probe that takes longer has failed, from the next one on."""
        self._times = replace(self._times, timeout_s=answer_within_s)

    @property
    def is_asked(self) -> bool:
        """False while its breaker is open."""
        return not self._breaker.is_open

    @property
    def rejects_credentials(self) -> bool:
        """Whether its last answer was that it does not know our credentials token."""
        return self._credentials_rejected

    def not_asked(self, target: Target | None) -> Answer:
        """What a tap gets while the peer is not asked: the last cause, which an installer needs to know.

        Rejected credentials stay what they are: it is not the peer that is away.
        """
        outcome = Outcome.UNAUTHORIZED if self._credentials_rejected else Outcome.BREAKER_OPEN
        return Answer(self.name, outcome, f"not asked again yet; last: {self._last_silence}", target=target)

    def lets_through(self) -> bool:
        """Whether to put a question to it now; one that is let through an open breaker is its trial."""
        return self._breaker.lets_through(asyncio.get_running_loop().time())

    async def authorize(self, question: Question, target: Target | None) -> Answer:
        """Ask about one tap. Whatever goes wrong is the answer's outcome; cancelling gives the connection up."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        to = (target.country_code, target.party_id) if target else None
        try:
            reply = await self._client.authorize(
                question.uid,
                question.location,
                correlation_id=question.correlation_id,
                to=to,
                listed=target is not None,
            )
            if self._is_rejection(reply) and self._successor is not None:
                successor = await self._successor(self)
                if successor is not None:
                    return await successor.authorize(question, target)
            answer = self._answer(reply, question, loop.time() - began)
        except Exception:
            # Whatever a peer can send was meant to become a Failure. Where we overlooked something, the driver still
            # gets the fallback, and the operator the trace.
            log.exception("peer %s sent something that the agent can't cope with; taken for no answer", self.name)
            answer = Answer(self.name, Outcome.MALFORMED, "the agent can't cope with the answer; see the log")
        return replace(answer, target=target)

    def answered(self, answer: Answer) -> None:
        """Take an answer that came in time into account: an operator must hear of rejected credentials."""
        self._note_credentials(answer.outcome)
        if answer.outcome in SILENCES:
            self._silent(answer.outcome, answer.detail)
        elif self._breaker.answered():
            log.info("peer %s answers again", self.name)

    def missed_deadline(self) -> None:
        """It was asked and had not answered when the tap had to be decided."""
        self._silent(Outcome.TIMEOUT, "no answer by the deadline")

    async def watch(self) -> None:
        """Probe until cancelled: rarely while all is well, soon after it went down, then ever more rarely."""
        while True:
            await self._probe()
            await self._pause()

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._times.timeout_s):
                failure = await self._client.probe()
        except TimeoutError:
            failure = Failure(Outcome.TIMEOUT, f"no answer to a probe within {self._times.timeout_s:g} s")
        if failure is not None:
            self._failed_probes += 1
            self._note_credentials(failure.outcome)
            opened = self._breaker.probe_failed(asyncio.get_running_loop().time())
            self._note_silence(failure.outcome, failure.detail, opened=opened)
            return
        self._failed_probes = 0
        self._note_credentials(Outcome.ALLOWED)
        if self._breaker.probed():
            log.info("peer %s answers a probe again and is asked at the next tap", self.name)

    async def _pause(self) -> None:
        """Until the next probe is due; a breaker that opens meanwhile brings it forward."""
        self._opened.clear()
        spread = 0.8 + 0.4 * self._spread()
        if not self._breaker.is_open:
            try:
                async with asyncio.timeout(self._times.every_s * spread):
                    await self._opened.wait()
            except TimeoutError:
                return
        longer = self._times.retry_first_s * 2 ** min(self._failed_probes, 16)
        await asyncio.sleep(min(longer, self._times.retry_most_s) * spread)

    def _silent(self, outcome: Outcome, detail: str) -> None:
        opened = self._breaker.silent(asyncio.get_running_loop().time())
        self._note_silence(outcome, detail, opened=opened)

    def _note_silence(self, outcome: Outcome, detail: str, *, opened: bool) -> None:
        self._last_silence = f"{outcome}, {detail}"
        log.debug("peer %s: %s", self.name, self._last_silence)
        if opened:
            self._opened.set()
            log.warning(
                "peer %s is asked only now and then from here on; other taps are decided without it. Last: %s",
                self.name, self._last_silence,
            )  # fmt: skip

    def _note_credentials(self, outcome: Outcome) -> None:
        """Say once that our credentials are broken, and once that they work again."""
        rejected = outcome is Outcome.UNAUTHORIZED
        if rejected and not self._credentials_rejected:
            log.error(
                "ALARM peer %s rejects our credentials token: every question to it goes unanswered. What to do: %s",
                self.name, self._renewal,
            )  # fmt: skip
        elif self._credentials_rejected and not rejected and outcome not in SILENCES:
            log.info("peer %s takes our credentials token again", self.name)
            self._credentials_rejected = False
        self._credentials_rejected = self._credentials_rejected or rejected

    def _is_rejection(self, reply: AuthorizeReply) -> bool:
        return isinstance(reply, Failure) and reply.outcome is Outcome.UNAUTHORIZED

    def _answer(self, reply: AuthorizeReply, question: Question, elapsed_s: float) -> Answer:
        if isinstance(reply, Failure):
            detail = f"{reply.detail} after {elapsed_s * 1000:.0f} ms"
            return Answer(self.name, reply.outcome, detail, elapsed_s=elapsed_s)
        return Answer(
            self.name,
            outcome_at(_OUTCOMES[reply.allowed], _location(reply), question.location.evse_uids[0]),
            f"answered in {elapsed_s * 1000:.0f} ms",
            token=token_of(reply),
            authorization_reference=reply.authorization_reference,
            info=_info(reply),
            elapsed_s=elapsed_s,
        )


_OUTCOMES = {
    AllowedType.ALLOWED: Outcome.ALLOWED,
    AllowedType.BLOCKED: Outcome.BLOCKED,
    AllowedType.EXPIRED: Outcome.EXPIRED,
    AllowedType.NO_CREDIT: Outcome.NO_CREDIT,
    AllowedType.NOT_ALLOWED: Outcome.NOT_ALLOWED,
}


def _location(reply: AuthorizationInfo) -> LocationReferences | None:
    if reply.location is None:
        return None
    return LocationReferences(reply.location.location_id, tuple(reply.location.evse_uids or ()))


def _info(reply: AuthorizationInfo) -> DisplayText | None:
    if reply.info is None:
        return None
    return (
        DisplayText("", reply.info)
        if isinstance(reply.info, str)
        else DisplayText(reply.info.language, reply.info.text)
    )
