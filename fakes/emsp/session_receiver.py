"""The receiver of the Sessions module: keeps every session that it is told of, as the client last told it.

OCPI 2.2.1 mod_sessions, Receiver Interface: `{url}/{country_code}/{party_id}/{session_id}`.
"""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import unquote

from fakes.emsp.faults import Fault, body_faults, invalid, is_ci_string
from fakes.emsp.messages import Reply, Request
from fakes.emsp.report_rules import SESSION, Object, in_decimal, object_faults, parsed

_KEY = ("country_code", "party_id", "id")


class SessionReceiver:
    """Answers GET, PUT and PATCH of one session, and says what is wrong with them."""

    def __init__(self) -> None:
        self.sessions: dict[str, Object] = {}
        """By id, with numbers that have a point as Decimal."""
        self.rejections: dict[str | None, Reply] = {}
        """What a PUT or PATCH of these sessions, or of every one (None), is answered with in place of being done."""
        self._seen: set[str] = set()

    def faults(self, request: Request) -> Iterator[Fault]:
        """What OCPI holds against the request, credentials and routing aside."""
        key = _key_of(request)
        if not all(is_ci_string(part, longest) for part, longest in zip(key, (2, 3, 36), strict=True)):
            yield invalid("the path is no country_code, party_id and id of a session")
        sender = request.headers.get("ocpi-from-country-code"), request.headers.get("ocpi-from-party-id")
        if [part.upper() for part in key[:2]] != [(part or "").upper() for part in sender]:
            yield Fault("the path names another owner than OCPI-from")
        if request.method == "GET":
            return
        faults = [*body_faults(request)]
        yield from faults
        if not any(fault.reply for fault in faults):
            yield from self._content(key, request)

    def answer(self, request: Request) -> Reply:
        """The answer to a request that has been found in order."""
        session_id = _key_of(request)[2]
        known = self.sessions.get(session_id)
        if request.method != "PUT" and known is None:
            return Reply(404, status_code=2000, message="Unknown Session")
        if request.method == "GET":
            return Reply(data=in_decimal(known))
        rejection = self.rejections.get(session_id, self.rejections.get(None))
        if rejection is not None:
            return rejection
        body = parsed(request.body)
        self.sessions[session_id] = _patched(known, body) if known and request.method == "PATCH" else _present(body)
        self._seen.add(session_id)
        return Reply(201 if known is None else 200)

    def _content(self, key: tuple[str, str, str], request: Request) -> Iterator[Fault]:
        try:
            body = parsed(request.body)
        except ValueError:
            yield Fault("a body that is no JSON", Reply(http_status=400, status_code=2001, message="Invalid JSON"))
            return
        patch = request.method == "PATCH"
        faults = [*object_faults(body, SESSION, "Session", part_of_it=patch)]
        if patch and isinstance(body, dict) and "last_updated" not in body:
            faults.append(invalid("Session.last_updated is missing: every PATCH has it"))
        yield from faults
        if any(fault.reply for fault in faults):
            return
        for name, in_path in zip(_KEY, key, strict=True):
            if body.get(name, in_path) != in_path:
                yield invalid(f"Session.{name} is not that of the path")
        known = self.sessions.get(key[2])
        if patch and known is None and key[2] not in self._seen:
            yield Fault("a session that was never PUT")
        if not patch or known is not None:
            yield from _faults_of_change(known, _patched(known, body) if known and patch else _present(body))


def period_faults(periods: list[Object]) -> Iterator[Fault]:
    """What is wrong with charging periods one after the other; one PATCH sent twice shows here."""
    starts = [moment(period["start_date_time"]) for period in periods]
    if starts != sorted(starts):
        yield Fault("a charging period begins before the one that it follows")
    if any(period in periods[:place] for place, period in enumerate(periods)):
        yield Fault("the same charging period is there twice")


def duration_faults(value: Object) -> Iterator[Fault]:
    """What is wrong with the beginning and the end of a session or CDR."""
    if "end_date_time" in value and moment(value["end_date_time"]) < moment(value["start_date_time"]):
        yield Fault("end_date_time is before start_date_time")


def moment(text: str) -> datetime:
    """A DateTime, comparable."""
    return datetime.fromisoformat(text.removesuffix("Z"))


def _faults_of_change(known: Object | None, now: Object) -> Iterator[Fault]:
    yield from period_faults(now.get("charging_periods", []))
    yield from duration_faults(now)
    if now["status"] == "COMPLETED" and "end_date_time" not in now:
        yield Fault("a COMPLETED session without end_date_time")
    if known is None or now == known:
        return
    if moment(now["last_updated"]) < moment(known["last_updated"]):
        yield Fault("last_updated is earlier than it was: reports are out of order")
    if known["status"] == "COMPLETED":
        text = "a COMPLETED session is changed"
        yield invalid(f"{text}, to less energy") if now["kwh"] < known["kwh"] else Fault(text)
    elif now["status"] == "COMPLETED" and now["kwh"] < known["kwh"]:
        yield Fault("a session is COMPLETED with less energy than was reported before")


def _patched(known: Object, body: Object) -> Object:
    """OCPI 2.2.1 mod_sessions, PATCH: charging periods are added, everything else is replaced."""
    periods = [*known.get("charging_periods", []), *(body.get("charging_periods") or [])]
    return _present({**known, **body, "charging_periods": periods or None})


def _present(body: Object) -> Object:
    return {name: value for name, value in body.items() if value is not None}


def _key_of(request: Request) -> tuple[str, str, str]:
    country_code, party_id, session_id = request.path.rstrip("/").rsplit("/", 3)[1:]
    return unquote(country_code), unquote(party_id), unquote(session_id)
