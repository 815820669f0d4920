"""What goes over the wire for a report: a session whole or its change, a CDR for the first time or again."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from agent.charges import Report, ReportKind
from agent.model import Outcome
from agent.ocpi.cdrs import CDR, Cdr
from agent.ocpi.envelope import UNREADABLE
from agent.ocpi.failures import Failure, harmless
from agent.ocpi.reports import Posted, ReportClient
from agent.ocpi.sessions import SESSION, Session, SessionStatus, change
from agent.runtime.delivery_lane import Fate, fate_of

_MOST_KNOWN: Final = 64
"""Sessions whose last told state is kept, some KB each: more than run at once. One that is not here is PUT whole."""


_CLOCK_SET_FROM: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""A time before is that of a machine that does not know it."""


class Sending:
    """Sends reports, and remembers what must be known for the next one to be right. May be cancelled at any time."""

    def __init__(self, request_s: float) -> None:
        """A report may take `request_s` altogether."""
        self._request_s = request_s
        self._told: dict[int, Session] = {}
        """Running sessions as their peers have them."""
        self._began: datetime | None = None
        self._tried: set[int] = set()
        """CDRs that may have been posted before, and are not out of the way."""
        self._last_settled = 0
        """The highest number of a CDR that is."""

    def begin(self, at: datetime, due: Sequence[Report]) -> None:
        """These were due before anything was sent: an earlier process may have posted them. Later calls do nothing."""
        if self._began is None:
            self._began = at
            self._tried.update(report.revision for report in due if report.kind is ReportKind.CDR)

    async def send(self, client: ReportClient, report: Report) -> Posted | Failure | None:
        """Send one report. None: a session that the peer has now."""
        try:
            async with asyncio.timeout(self._request_s):
                if report.kind is ReportKind.CDR:
                    return await self._post(client, report)
                return await self._tell(client, report)
        except TimeoutError:
            return Failure(Outcome.TIMEOUT, f"not done within {self._request_s:g} s")
        except UNREADABLE as error:
            wrong = harmless(str(error))
            return Failure(Outcome.REJECTED, f"not sent: what is on record is no {report.kind} of OCPI: {wrong}")

    def settled(self, report: Report) -> None:
        """The peer has taken or refused it. Should it come back, somebody wants it sent again."""
        if report.kind is ReportKind.CDR:
            self._tried.discard(report.revision)
            self._last_settled = max(self._last_settled, report.revision)

    async def _tell(self, client: ReportClient, report: Report) -> Failure | None:
        session = SESSION.decode(report.object)
        # Not known any more until it is answered: whatever comes between, the next report is a PUT.
        known = self._told.pop(report.authorization_id, None)
        patch = change(known, session) if known is not None and known.id == session.id else None
        failure = await client.patch_session(session, patch) if patch is not None else None
        if patch is None or (failure is not None and fate_of(failure) is Fate.REFUSED):
            # A PATCH that is refused has changed nothing, and is no word against the session.
            failure = await client.put_session(session)
        if failure is None and session.status is SessionStatus.ACTIVE:
            self._told[report.authorization_id] = session
            while len(self._told) > _MOST_KNOWN:
                del self._told[next(iter(self._told))]
        return failure

    async def _post(self, client: ReportClient, report: Report) -> Posted | Failure:
        cdr, number = CDR.decode(report.object), report.revision
        # A number below one that is settled may be an old one that an operator sends again.
        again = number in self._tried or number <= self._last_settled or not self._is_of_this_process(cdr)
        self._tried.add(number)
        return await client.post_cdr(cdr, again=again)

    def _is_of_this_process(self, cdr: Cdr) -> bool:
        """Whether it was sealed in this one's time, so that no other can have posted it. In doubt it was not.

        It is in doubt where this one began without knowing the time, in 1970: then every CDR seems to be newer.
        """
        return self._began is not None and _CLOCK_SET_FROM <= self._began <= cdr.last_updated
