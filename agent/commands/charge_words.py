"""How a session and its CDR are put into words and into JSON, for every command that shows one.

In JSON, energy is in Wh as it was metered, amounts are numbers with every digit that they have, and times are
ISO 8601 in UTC.
"""

from decimal import Decimal

import msgspec

from agent.charges import CdrRecord, Charge
from agent.commands.terminal import harmless
from agent.runtime.documents import Figures, figures_of

_JSON = msgspec.json.Encoder(decimal_format="number")


def exact_json(value: object) -> str:
    """One line of JSON, harmless to a terminal, whose decimals are numbers: `json.dumps` would need them as floats."""
    return harmless(_JSON.encode(value).decode())


def original(charge: Charge) -> CdrRecord | None:
    """The CDR by which a session is billed, if it has one yet; not what took it back."""
    return next((record for record in charge.cdrs if record.cdr.credits is None), None)


def credit(charge: Charge) -> CdrRecord | None:
    """The credit CDR that took a session's CDR back, if one did."""
    return next((record for record in charge.cdrs if record.cdr.credits is not None), None)


def state_of(record: CdrRecord) -> str:
    """What has become of a CDR: `acknowledged`, `parked` (the peer rejected it) or `due`."""
    if record.parked:
        return "parked"
    return "due" if record.acknowledged_at is None else "acknowledged"


def figures_for(charge: Charge) -> Figures | None:
    """What a charge costs: by its CDR, or its session before there is one; None where neither can be made."""
    billed = original(charge)
    document = charge.session.object if billed is None else billed.cdr.object
    return None if document is None else figures_of(document)


def cost_in_json(figures: Figures | None) -> dict[str, object]:
    """The three keys of an amount; all null where nothing was priced."""
    if figures is None or figures.excl_vat is None:
        return dict.fromkeys(("currency", "cost_excl_vat", "cost_incl_vat"))
    return {"currency": figures.currency, "cost_excl_vat": figures.excl_vat, "cost_incl_vat": figures.incl_vat}


def cdr_in_json(record: CdrRecord | None) -> dict[str, object] | None:
    """A CDR's place and what became of it, without the object itself."""
    if record is None:
        return None
    return {
        "number": record.number,
        "id": record.cdr.cdr_id,
        "peer": record.cdr.peer,
        "state": state_of(record),
        "acknowledged_at": record.acknowledged_at.isoformat() if record.acknowledged_at else None,
        "url": record.url,
        "problem": record.problem,
        "credits": record.cdr.credits,
        "credited_by": record.credited_by,
    }


def energy_in_words(energy_wh: int | None) -> str:
    """`12.345 kWh`, to the Wh."""
    return "energy not metered" if energy_wh is None else f"{Decimal(energy_wh).scaleb(-3):.3f} kWh"


def cost_in_words(figures: Figures | None) -> str:
    """`4.20 EUR excl. VAT, 5.00 incl.`"""
    if figures is None or figures.excl_vat is None:
        return "not priced"
    including = "" if figures.incl_vat is None else f", {_amount(figures.incl_vat)} incl."
    return f"{_amount(figures.excl_vat)} {figures.currency} excl. VAT{including}"


def is_told(charge: Charge) -> bool | None:
    """Whether a session's peer knows of its last change, or has rejected it; None where nobody is told."""
    return None if charge.session.peer is None or charge.session.object is None else not charge.untold


def told_in_words(charge: Charge) -> str:
    """The same, with why not, or what the peer had against it."""
    peer, problem = charge.session.peer, charge.problem
    match is_told(charge):
        case None:
            return "told to nobody"
        case True:
            return f"told to {peer}" + (f", which rejected it: {problem}" if problem else "")
        case False:
            return f"not yet told to {peer}" + (f": {problem}" if problem else "")


def bill_in_words(charge: Charge) -> str:
    """Which CDR a session has and what became of it, or why it has none."""
    billed, taken_back = original(charge), credit(charge)
    if billed is not None:
        return cdr_in_words(billed) + (f"; taken back by {cdr_in_words(taken_back)}" if taken_back else "")
    if charge.session.ended_at is None:
        why = charge.session.no_cdr
        return f"will get no CDR: {why}" if why else "CDR when it ends"
    if charge.session.no_cdr is None and not charge.session.clock_known:
        return "CDR when the clock has been set"
    return f"no CDR: {charge.session.no_cdr or 'no reason on record'}"


def cdr_in_words(record: CdrRecord) -> str:
    """`CDR #3 acknowledged by emsp`, `CDR #3 due: HTTP 503`, `CDR #3 parked, emsp rejected it: …`."""
    peer, name = record.cdr.peer, f"CDR #{record.number}"
    match state_of(record):
        case "acknowledged":
            return f"{name} acknowledged by {peer}"
        case "parked":
            return f"{name} parked, {peer} rejected it: {record.problem or 'without a reason'}"
        case _:
            return f"{name} due to {peer}" + (f": {record.problem}" if record.problem else "")


def _amount(amount: Decimal) -> str:
    """With two decimals, or as many as it has."""
    decimals = -int(amount.normalize().as_tuple().exponent)
    return f"{amount:.{max(2, decimals)}f}"
