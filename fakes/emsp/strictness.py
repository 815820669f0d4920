"""What OCPI device of a request, and what the device answers to one that breaks it.

Each check gives complaints that quote neither a card's uid nor a credentials token. A complaint may carry the reply
that the device then gives; the others are only written down, as most servers in the field would.
"""

import json
from collections.abc import Iterator

from fakes.emsp.device import Device
from fakes.emsp.faults import Fault, body_faults, invalid, is_ci_string, is_date_time
from fakes.emsp.messages import Part, Reply, Request
from fakes.emsp.registration_rules import credentials_faults
from fakes.emsp.relation import Standing

TOKEN_TYPES = frozenset({"AD_HOC_USER", "APP_USER", "OTHER", "RFID"})
ROUTING = ("ocpi-to-country-code", "ocpi-to-party-id", "ocpi-from-country-code", "ocpi-from-party-id")
_ROUTING_LENGTH = {"ocpi-from-country-code": 2, "ocpi-from-party-id": 3}
_LIST_PARAMETERS = frozenset({"offset", "limit", "date_from", "date_to"})


def faults_of(request: Request, device: Device) -> list[Fault]:
    """Everything that is wrong with a request whose `part` is known, the unforgivable first."""
    faults = [*identity_faults(request, device)]
    match request.part:
        case Part.AUTHORIZE:
            faults += [*routing_faults(request, device), *_authorize_target(request), *_authorize_body(request, device)]
        case Part.LIST:
            faults += [*routing_faults(request, device), *_list_query(request)]
        case _:
            present = [name for name in ROUTING if name in request.headers]
            faults += [Fault(f"{name} on a configuration module") for name in present]
    if request.part is Part.CREDENTIALS:
        faults += [*_credentials(request, device)]
    return faults


def identity_faults(request: Request, device: Device) -> Iterator[Fault]:
    headers = request.headers
    if not device.admits(headers.get("authorization"), request.part):
        what = "wrong" if "authorization" in headers else "no"
        reply = Reply(http_status=401, status_code=2000, message="Invalid or missing credentials token")
        yield Fault(f"{what} Authorization header: expected 'Token' and the credentials token as agreed", reply)
    for name in ("x-request-id", "x-correlation-id"):
        if not headers.get(name):
            yield Fault(f"no {name}")
    if request.method == "GET" and request.body:
        yield Fault("a GET with a body")


def routing_faults(request: Request, device: Device) -> Iterator[Fault]:
    headers = request.headers
    to = tuple(headers.get(name, "").upper() for name in ROUTING[:2])
    if device.hub:
        if any(to) and not all(to):
            yield Fault("half an OCPI-to")
    elif to != (device.country_code.upper(), device.party_id.upper()):
        yield Fault(f"OCPI-to is {'-'.join(to)}, expected {device.country_code}-{device.party_id}")
    for name, length in _ROUTING_LENGTH.items():
        if len(headers.get(name, "")) != length:
            yield Fault(f"{name} is {headers.get(name)!r}, expected {length} characters")


def _authorize_target(request: Request) -> Iterator[Fault]:
    query = request.query
    if not is_ci_string(request.uid):
        yield invalid("the uid in the path is no string of 1 to 36 characters")
    if unknown := sorted(query.keys() - {"type"}):
        yield Fault(f"authorize knows no parameter {', '.join(unknown)}")
    if query.get("type", "RFID") not in TOKEN_TYPES:
        yield invalid(f"type is {query['type']!r}, which is no TokenType")


def _authorize_body(request: Request, device: Device) -> Iterator[Fault]:
    if not request.body:
        reply = Reply(status_code=2002, message="LocationReferences are missing")
        yield Fault("authorize without LocationReferences", reply if device.location_references else None)
        return
    faults = [*body_faults(request)]
    yield from faults
    if any(fault.reply for fault in faults):
        return
    body = json.loads(request.body)
    if not isinstance(body, dict):
        yield invalid("LocationReferences are no object")
        return
    yield from _location_references(body)


def _location_references(body: dict[str, object]) -> Iterator[Fault]:
    if not is_ci_string(body.get("location_id")):
        yield invalid("location_id is missing, or no string of 1 to 36 characters")
    evse_uids = body.get("evse_uids", [])
    if not isinstance(evse_uids, list) or not all(map(is_ci_string, evse_uids)):
        yield invalid("evse_uids is no list of strings of 1 to 36 characters")
    if unknown := sorted(body.keys() - {"location_id", "evse_uids"}):
        yield Fault(f"LocationReferences know no {', '.join(unknown)}")


def _credentials(request: Request, device: Device) -> Iterator[Fault]:
    caller = device.caller(request.headers.get("authorization", ""))
    if caller is None:
        return
    registered = caller[1] is Standing.REGISTERED
    if request.method == "POST" and registered:
        yield _not_allowed("a POST of credentials by a client that is registered", "GET, PUT, DELETE")
    elif request.method in {"PUT", "DELETE"} and not registered:
        yield _not_allowed(f"a {request.method} of credentials by a client that is not registered", "GET, POST")
    if request.method in {"POST", "PUT"}:
        faults = [*body_faults(request)]
        yield from faults
        if not any(fault.reply for fault in faults):
            yield from credentials_faults(json.loads(request.body))


def _not_allowed(text: str, methods: str) -> Fault:
    reply = Reply(405, status_code=2000, message="Method not allowed", headers=(("Allow", methods),))
    return Fault(text, reply)


def _list_query(request: Request) -> Iterator[Fault]:
    query = request.query
    if unknown := sorted(query.keys() - _LIST_PARAMETERS):
        yield Fault(f"the list knows no parameter {', '.join(unknown)}")
    for name in ("offset", "limit"):
        if not query.get(name, "0").isdecimal():
            yield invalid(f"{name} is {query[name]!r}, expected a whole number")
    if query.get("limit", "1").strip("0") == "":
        yield invalid("limit is nothing")
    for name in ("date_from", "date_to"):
        if name in query and not is_date_time(query[name]):
            yield invalid(f"{name} is {query[name]!r}, expected a DateTime in UTC")
