"""The receiver of the CDRs module: takes each CDR once, and gives it an address of its own making.

OCPI 2.2.1 mod_cdrs, Receiver Interface. The address does not hold the CDR's id: a client has to take it from Location.
"""

from collections.abc import Iterator
from enum import StrEnum

from fakes.emsp.device import Device
from fakes.emsp.faults import Fault, body_faults, invalid
from fakes.emsp.messages import Reply, Request
from fakes.emsp.report_rules import CDR, Object, in_decimal, object_faults, parsed
from fakes.emsp.session_receiver import duration_faults, period_faults


class RepeatedCdr(StrEnum):
    """What a CDR that is there already is answered with when the very same is posted again. It is kept once.

    OCPI leaves it open. With another content under the same id it is always 2001, for a CDR can't be replaced.
    """

    OK = "ok"
    """HTTP 200 and the same address."""
    CREATED = "created"
    """HTTP 201 and the same address."""
    CONFLICT = "conflict"
    """HTTP 409, without an address."""


class CdrReceiver:
    """Answers POST of a CDR and GET of a stored one, and says what is wrong with them."""

    def __init__(self, device: Device) -> None:
        self.cdrs: dict[str, Object] = {}
        """By id, with numbers that have a point as Decimal."""
        self.rejections: dict[str | None, Reply] = {}
        """What a POST of these CDRs, or of every one (None), is answered with in place of being done."""
        self.repeated = RepeatedCdr.OK
        self._device = device
        self._places: dict[str, int] = {}
        self._billed: dict[str, str] = {}

    def url(self, cdr_id: str) -> str:
        """The address of a stored CDR. Raises KeyError when there is none of this id."""
        return self._device.cdr_url(self._places[cdr_id])

    def faults(self, request: Request) -> Iterator[Fault]:
        """What OCPI holds against the request, credentials and routing aside."""
        if request.method != "POST":
            return
        faults = [*body_faults(request)]
        yield from faults
        if any(fault.reply for fault in faults):
            return
        try:
            cdr = parsed(request.body)
        except ValueError:
            yield Fault("a body that is no JSON", Reply(http_status=400, status_code=2001, message="Invalid JSON"))
            return
        faults = [*object_faults(cdr, CDR, "CDR")]
        yield from faults
        if not any(fault.reply for fault in faults):
            yield from self._content(request, cdr)

    def answer(self, request: Request) -> Reply:
        """The answer to a request that has been found in order."""
        if request.method == "GET":
            stored = self._stored(request.path.rstrip("/").rpartition("/")[2])
            return Reply(404, status_code=2000, message="Unknown CDR") if stored is None else Reply(data=stored)
        cdr = parsed(request.body)
        rejection = self.rejections.get(cdr["id"], self.rejections.get(None))
        if rejection is not None:
            return rejection
        known = cdr["id"] in self.cdrs
        if known and self.repeated is RepeatedCdr.CONFLICT:
            return Reply(409, status_code=2000, message="This CDR exists already")
        if not known:
            self._keep(cdr)
        created = not known or self.repeated is RepeatedCdr.CREATED
        return Reply(201 if created else 200, headers=(("Location", self.url(cdr["id"])),))

    def _stored(self, place: str) -> bytes | None:
        found = next((cdr_id for cdr_id, its_place in self._places.items() if str(its_place) == place), "")
        return in_decimal(self.cdrs[found]) if found in self.cdrs else None

    def _keep(self, cdr: Object) -> None:
        self.cdrs[cdr["id"]] = cdr
        self._places.setdefault(cdr["id"], len(self._places))
        if cdr.get("credit"):
            self._billed = {session: by for session, by in self._billed.items() if by != cdr["credit_reference_id"]}
        elif "session_id" in cdr:
            self._billed[cdr["session_id"]] = cdr["id"]

    def _content(self, request: Request, cdr: Object) -> Iterator[Fault]:
        sender = request.headers.get("ocpi-from-country-code", ""), request.headers.get("ocpi-from-party-id", "")
        if (cdr["country_code"].upper(), cdr["party_id"].upper()) != (sender[0].upper(), sender[1].upper()):
            yield Fault("the CDR names another owner than OCPI-from")
        known = self.cdrs.get(cdr["id"])
        if known is not None:
            if known != cdr:
                yield invalid("another CDR has this id already")
            return
        yield from period_faults(cdr["charging_periods"])
        yield from duration_faults(cdr)
        yield from self._credit(cdr) if cdr.get("credit") else self._debit(cdr)

    def _debit(self, cdr: Object) -> Iterator[Fault]:
        if len(cdr["id"]) > 36:
            yield invalid("CDR.id is no CiString(36), as it has to be on what is no credit CDR")
        if "credit_reference_id" in cdr:
            yield invalid("CDR.credit_reference_id stands on what is no credit CDR")
        if self._billed.get(cdr.get("session_id", "")) in self.cdrs:
            yield Fault("a second CDR for a session that is billed already")

    def _credit(self, cdr: Object) -> Iterator[Fault]:
        if "credit_reference_id" not in cdr:
            yield invalid("CDR.credit_reference_id is missing on a credit CDR")
            return
        original = self.cdrs.get(cdr["credit_reference_id"])
        if original is None:
            yield Fault("a credit CDR for a CDR that was never posted")
            return
        negative = {name: -amount for name, amount in original["total_cost"].items()}
        if cdr["total_cost"] != negative:
            yield Fault("a credit CDR's total_cost is not the negative of the original's")
        own = {"id", "credit", "credit_reference_id", "total_cost", "last_updated"}
        if {name for name in cdr.keys() | original.keys() if cdr.get(name) != original.get(name)} - own:
            yield Fault("a credit CDR differs from the original in more than total_cost")
