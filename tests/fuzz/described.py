"""Requests made by schemathesis from our OpenAPI document: what it allows, and what it does not.

Each is sent as one of the callers and its answer is held against the document, and against what every answer of an
OCPI server has to be.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import quote, unquote

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agent.model import WhitelistType
from agent.ocpi.server.openapi import document
from tests.fuzz.call_back import KINDS, WELL, CallBack
from tests.fuzz.callers import KNOWN, OWNER, UNKNOWN, As, Callers
from tests.fuzz.corpus import token_object
from tests.fuzz.findings import HANG_S, Report, problems, said_in
from tests.fuzz.served import Served
from tests.fuzz.stored import stored_otherwise

_CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]

_UIDS = ("04A1B2C3", "04a1b2c3", "04A1B2C3D4E5F6", "a/b", "a b", "%2F", "x?y", "x" * 36, "~")
"""Some that are hit again and again."""

_AIMS = ("as generated", "own", "own", "known")
"""Generated owners are nearly always somebody else's: `own` is the caller's, `known` one of a few uids of it."""

_URLS = ("as generated", "ourselves", WELL, WELL, WELL, *KINDS)

_SAMPLE = 200
"""Requests between two looks at the server's memory."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One request."""

    case: Case[Any]
    caller: As
    aim: str
    url: str
    uid: str
    number: int


class Described:
    """Sends requests to a server and reports what is wrong with the answers."""

    def __init__(self, served: Served, call_back: CallBack, report: Report) -> None:
        self._served = served
        self._call_back = call_back
        self._report = report
        self._callers = Callers(served, call_back, report.tokens)
        self._session = requests.Session()
        self._dice = random.Random(2026)
        self._put_known_uids()

    @property
    def callers(self) -> Callers:
        """Who is registered."""
        return self._callers

    def send(self, count: int) -> None:
        """About `count` requests over all operations, with good and bad data, half of them without a known token."""
        chosen = list(_operations())
        each = -(-count // (len(chosen) * 2 * 2))
        for operation in chosen:
            for mode in _modes(operation):
                for callers in (KNOWN, UNKNOWN):
                    self._send(operation, mode, callers, each)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _send(self, operation: Any, mode: GenerationMode, callers: tuple[As, ...], count: int) -> None:
        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def run(case: Case[Any]) -> None:
            # Not by hypothesis, which likes to repeat what it chose before.
            one_of = self._dice.choice
            self._one(Drawn(case, one_of(callers), one_of(_AIMS), one_of(_URLS), one_of(_UIDS), one_of(range(1000))))

        run()

    def _one(self, drawn: Drawn) -> None:
        case = drawn.case
        _aim(drawn)
        if isinstance(case.body, dict) and "/credentials" in case.path:
            self._point(drawn)
        peer = self._callers.name(drawn.caller, changes_credentials=_changes_credentials(case))
        header = self._callers.header(drawn.caller, peer, drawn.number)
        case.headers.pop("Authorization", None)
        what = f"{case.method} {case.operation.path}"
        try:
            answer = case.call(
                base_url=self._served.url,
                session=self._session,
                headers={} if header is None else {"Authorization": header},
                timeout=HANG_S,
            )
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
            self._report.count(what, drawn.caller, "can't be sent")
            return
        except requests.RequestException as error:
            self._report.found(case, f"no answer: {type(error).__name__}: {error}")
            self._report.count(what, drawn.caller, "none")
            return
        self._report.count(what, drawn.caller, said_in(answer.status_code, answer.content))
        if self._report.requests % _SAMPLE == 0:
            self._report.resident_kib.append(self._served.resident_kib())
        self._report.found(f"{what} as {drawn.caller}: {_sent(case)}", *self._wrong(drawn, answer))
        self._follow(drawn, peer, answer)

    def _wrong(self, drawn: Drawn, answer: Response) -> Iterator[str]:
        headers = {name.lower(): values[0] for name, values in answer.headers.items()}
        yield from problems(answer.status_code, headers, answer.content)
        yield from _not_echoed(drawn.case, headers)
        try:
            drawn.case.validate_response(answer, checks=_CHECKS)
        except FailureGroup as group:
            yield from (f"{type(one).__name__}: {one}" for one in group.exceptions)
        except Failure as one:
            yield f"{type(one).__name__}: {one}"
        expected = {401} if drawn.caller in UNKNOWN else _opened(drawn)
        if expected and answer.status_code not in expected:
            yield f"{answer.status_code} for {drawn.caller}, expected {expected}"

    def _follow(self, drawn: Drawn, peer: str, answer: Response) -> None:
        """After what has changed something: the token is there, or the caller has a new credentials token."""
        case = drawn.case
        said = json.loads(answer.content)
        if said["status_code"] != 1000:
            return
        if _changes_credentials(case):
            self._callers.exchanged(peer, case.method, said.get("data"))
        elif case.method == "PUT" and answer.status_code == 201:
            self._is_there(case, self._callers.header(drawn.caller, peer, 0))

    def _put_known_uids(self) -> None:
        """So that a GET or PATCH finds something, and every field is seen to come back."""
        headers = {"Authorization": self._callers.header(As.PLAIN, "main", 0) or ""}
        for uid, whitelist in zip(_UIDS, cycle(WhitelistType), strict=False):
            url = f"{self._served.url}/2.2.1/tokens/{'/'.join(OWNER)}/{quote(uid, safe='')}"
            answer = self._session.put(url, headers=headers, data=(sent := _known(uid, whitelist)), timeout=HANG_S)
            self._report.found(url, *problems(answer.status_code, answer.headers, answer.content))
            self._report.count("PUT known uids", As.PLAIN, said_in(answer.status_code, answer.content))
            stored = self._session.get(url, headers=headers, timeout=HANG_S)
            self._report.count("GET known uids", As.PLAIN, said_in(stored.status_code, stored.content))
            self._report.found(url, *stored_otherwise(json.loads(sent), stored.json().get("data") or {}))

    def _is_there(self, case: Case[Any], header: str | None) -> None:
        url = str(httpx.URL(f"{self._served.url}{case.formatted_path}", params=case.query or {}))
        got = self._session.get(url, headers={"Authorization": header or ""}, timeout=HANG_S)
        self._report.count("GET what was created", As.REGISTERED, said_in(got.status_code, got.content))
        sent: Mapping[str, Any] = case.body  # type: ignore[assignment]  # it was stored, and so is an object
        self._report.found(_sent(case), *stored_otherwise(sent, got.json().get("data") or {}))

    def _point(self, drawn: Drawn) -> None:
        """Have the call-back go to our platform, or to the server itself."""
        assert isinstance(drawn.case.body, dict)
        if drawn.url == "ourselves":
            drawn.case.body["url"] = f"{self._served.url}/versions"
        elif drawn.url != "as generated":
            drawn.case.body["url"] = self._call_back.versions_url(drawn.url)
        token = drawn.case.body.get("token")
        if isinstance(token, str) and len(token) >= 8:
            self._report.tokens.add(token)


def _known(uid: str, whitelist: WhitelistType) -> bytes:
    return token_object(
        uid=uid,
        whitelist=whitelist,
        visual_number="V",
        group_id="G",
        language="de",
        default_profile_type="GREEN",
        energy_contract={"supplier_name": "S", "contract_id": "E"},
        last_updated="2026-03-01T13:00:00.12+01:00",
    )


def _operations() -> Iterator[Any]:
    described = document()
    # It would send tokens of its own, and who sends what is ours to say.
    del described["security"], described["components"]["securitySchemes"]
    for found in schemathesis.openapi.from_dict(described).get_all_operations():
        yield found.ok()  # type: ignore[union-attr]  # raises where the document is wrong


def _modes(operation: Any) -> tuple[GenerationMode, GenerationMode]:
    """Where there are only headers, there is no wrong way: each of them may be any text."""
    wrong = operation.body or operation.path_parameters or operation.query
    return GenerationMode.POSITIVE, GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE


def _changes_credentials(case: Case[Any]) -> bool:
    return case.operation.path.endswith("/credentials") and case.method in {"POST", "PUT", "DELETE"}


def _opened(drawn: Drawn) -> set[int]:
    """What alone may be answered."""
    functional = drawn.case.operation.path.split("/")[2:3]
    if drawn.caller is As.INVITED and functional and functional[0] != "credentials":
        return {401}
    if drawn.case.operation.path.endswith("/credentials") and drawn.case.method in {"PUT", "DELETE"}:
        return {200, 400, 405} if drawn.case.method == "PUT" or drawn.caller is not As.INVITED else {405}
    return set()


def _aim(drawn: Drawn) -> None:
    """Make the path the caller's own, and the object the path's."""
    case = drawn.case
    if "/tokens/" not in case.operation.path or drawn.aim == "as generated":
        return
    named = dict(zip(("country_code", "party_id"), OWNER, strict=True))
    if drawn.aim == "known":
        named["token_uid"] = drawn.uid
    for name, value in named.items():
        case.path_parameters[name] = quote(value, safe="") if name == "token_uid" else value
    if isinstance(case.body, dict) and case.method == "PUT":
        uid = unquote(str(case.path_parameters["token_uid"]))
        case.body |= {"country_code": OWNER[0], "party_id": OWNER[1], "uid": uid}
        case.body["type"] = (case.query or {}).get("type", "RFID")


def _not_echoed(case: Case[Any], headers: Mapping[str, str]) -> Iterator[str]:
    sent: dict[str, Any] = dict(case.headers)
    for name in ("X-Request-ID", "X-Correlation-ID"):
        value = str(sent.get(name, "")).strip()
        if value and len(value) <= 256 and value.isascii() and value.isprintable() and headers[name.lower()] != value:
            yield f"{name}: {value!r} came back as {headers[name.lower()]!r}"


def _sent(case: Case[Any]) -> str:
    return f"{case.path_parameters} {case.query} {case.headers} {case.body!r}"
