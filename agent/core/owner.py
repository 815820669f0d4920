"""Whose card it was: what the list said, or else the peer that allowed it late."""

from dataclasses import replace

from agent.model import Outcome, Recorded


def owned(recorded: Recorded) -> Recorded:
    """The same, with the owner of a card that no list named: the peer that allowed it late, and said whose it is."""
    entry = recorded.entry
    tokens = [late.answer for late in recorded.late if late.joined and late.answer.outcome is Outcome.ALLOWED]
    answer = next((answer for answer in tokens if answer.token is not None), None)
    if entry.contract_id or answer is None or answer.token is None:
        return recorded
    token = answer.token
    known = replace(
        entry,
        peer=answer.peer,
        country_code=token.country_code,
        party_id=token.party_id,
        contract_id=token.contract_id,
        token_uid=token.uid,
    )
    return replace(recorded, entry=known)
