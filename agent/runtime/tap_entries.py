"""What is written of a card at one EVSE: the record's own words, for a decision, a refusal without one, and a stop."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from agent.core.evse_effects import Refusal, Text
from agent.core.evse_state import Device
from agent.model import Decision, EndReason, Entry, Policy, Reason, Source, Tap, Verdict
from agent.runtime.clock import Clock
from agent.runtime.driver_display import DriverDisplay

_STOPPED = {EndReason.SAME_CARD: Reason.STOPPED_SAME_CARD, EndReason.GROUP_CARD: Reason.STOPPED_GROUP_CARD}


class TapEntries:
    """Writes the records of one EVSE; what the driver reads goes into them as the display shows it."""

    def __init__(self, evse_uid: str, policy: Policy, display: DriverDisplay, clock: Clock) -> None:
        self._evse_uid = evse_uid
        self._policy = policy
        self._display = display
        self._clock = clock

    def use(self, policy: Policy) -> None:
        """Name this one's deadline from now on."""
        self._policy = policy

    def decided(self, tap: Tap, decision: Decision, correlation_id: str, then: Text | None = None) -> Entry:
        """Of a decision, as of now; `then` is what an acceptance leads to."""
        token = decision.token
        latency_s = self._clock.monotonic() - tap.at
        starts = decision.verdict is Verdict.ACCEPTED and decision.source is not Source.LOCAL
        return Entry(
            evse_uid=self._evse_uid,
            uid=tap.uid,
            reader=tap.reader,
            tapped_at=self._clock.now() - timedelta(seconds=latency_s),
            verdict=decision.verdict,
            reason=decision.reason,
            source=decision.source,
            detail=decision.detail,
            text="\n".join(self._display.lines(decision, then if starts else None)),
            relay_closed=starts,
            latency_ms=latency_s * 1000,
            deadline_ms=self._policy.deadline_s * 1000,
            correlation_id=correlation_id,
            peer=decision.peer,
            country_code=token.country_code if token else None,
            party_id=token.party_id if token else None,
            contract_id=token.contract_id if token else None,
            group_id=token.group_id if token else None,
            authorization_reference=decision.authorization_reference,
            token_uid=token.uid if token and token.uid != tap.uid else None,
        )

    def refused(
        self, tap: Tap, because: Refusal, lost: frozenset[Device], running: int | None, *, why: str | None = None
    ) -> Entry:
        """Of a card that the machine refuses, with what is lost and the authorization that runs.

        `why` says what is wrong with the relay, where somebody knows better than that it did not obey.
        """
        if because is Refusal.IN_USE:
            decision = refusal(Reason.IN_USE, f"authorization {running} of another card is running")
            return replace(self.decided(tap, decision, str(uuid4())), text=self._shown(Text.IN_USE))
        if Device.RELAY in lost:
            detail = why or "the relay has not opened since it was last told to, or did not close"
            decision = refusal(Reason.RELAY_FAULT, detail)
        else:
            missing = ", ".join(sorted(lost)) or "the agent, which stops"
            decision = refusal(Reason.OUT_OF_ORDER, f"nothing may begin while this is missing: {missing}")
        return self.decided(tap, decision, str(uuid4()))

    def stopped(self, tap: Tap, authorization_id: int, because: EndReason, begun: Entry, *, had_session: bool) -> Entry:
        """Of a card that ends what it or another one began: the record names whose that was."""
        detail = f"ends authorization {authorization_id}"
        stop = Decision(Verdict.ACCEPTED, _STOPPED[because], Source.LOCAL, detail)
        return replace(
            self.decided(tap, stop, str(uuid4())),
            text=self._shown(Text.STOPPED if had_session else Text.CANCELLED),
            ends=authorization_id,
            end_reason=because,
            peer=begun.peer,
            country_code=begun.country_code,
            party_id=begun.party_id,
            contract_id=begun.contract_id,
            group_id=begun.group_id,
            authorization_reference=begun.authorization_reference,
        )

    def _shown(self, text: Text) -> str:
        return "\n".join(self._display.notice(text))


def refusal(reason: Reason, detail: str, instead_of: Decision | None = None) -> Decision:
    """The EVSE's own refusal; in place of a decision it keeps what that said of the card."""
    token, peer = (instead_of.token, instead_of.peer) if instead_of else (None, None)
    reference = instead_of.authorization_reference if instead_of else None
    return Decision(Verdict.REFUSED, reason, Source.LOCAL, detail, token, peer, authorization_reference=reference)
