"""What the client reports, as a test or a person sees it: the sessions and CDRs that came in, and what is refused."""

from fakes.emsp.cdr_receiver import CdrReceiver, RepeatedCdr
from fakes.emsp.device import Device
from fakes.emsp.faults import Fault
from fakes.emsp.messages import Part, Reply, Request
from fakes.emsp.report_rules import Object
from fakes.emsp.session_receiver import SessionReceiver
from fakes.emsp.strictness import identity_faults, routing_faults


class Reports:
    """The receivers of sessions and CDRs, and what its operator makes them do.

    A report is done before it is answered. So in every weather that spoils or swallows answers (SILENT, RESET,
    CUT_OFF, DROPS_REUSED …) it is taken and the client can't know; in SERVER_ERROR, RATE_LIMITED and the like, and
    while the device is DOWN, it is not.
    """

    def __init__(self, device: Device) -> None:
        self.session_receiver = SessionReceiver()
        self.cdr_receiver = CdrReceiver(device)
        self._device = device

    @property
    def sessions(self) -> dict[str, Object]:
        """Every session by its id, as the client last told it; what has a decimal point is a Decimal."""
        return self.session_receiver.sessions

    @property
    def cdrs(self) -> dict[str, Object]:
        """Every CDR by its id, in the order in which they came."""
        return self.cdr_receiver.cdrs

    @property
    def repeated_cdr(self) -> RepeatedCdr:
        """What a CDR that is there already is answered with."""
        return self.cdr_receiver.repeated

    @repeated_cdr.setter
    def repeated_cdr(self, answer: RepeatedCdr) -> None:
        self.cdr_receiver.repeated = answer

    def cdr_url(self, cdr_id: str) -> str:
        """The address of a stored CDR. Raises KeyError when there never was one of this id."""
        return self.cdr_receiver.url(cdr_id)

    def reject(
        self,
        report: str | None = None,
        *,
        http_status: int = 200,
        status_code: int = 2001,
        message: str = "Rejected by the operator",
    ) -> None:
        """Turn away the session or CDR of this id, or every report (None), until `accept`; nothing is wrong with it."""
        reply = Reply(http_status, status_code=status_code, message=message)
        self.session_receiver.rejections[report] = self.cdr_receiver.rejections[report] = reply

    def accept(self, report: str | None = None) -> None:
        """Take back what `reject` said of the same id, or of every report (None)."""
        self.session_receiver.rejections.pop(report, None)
        self.cdr_receiver.rejections.pop(report, None)

    def faults_of(self, request: Request) -> list[Fault]:
        """Everything that is wrong with a request of these parts, the unforgivable first."""
        of_part = self.session_receiver.faults if request.part is Part.SESSIONS else self.cdr_receiver.faults
        return [*identity_faults(request, self._device), *routing_faults(request, self._device), *of_part(request)]
