"""What OCPI demands of the objects that a registration is made of: credentials, versions, version details.

OCPI 2.2.1 credentials, version_information_endpoint. No complaint quotes a credentials token.
"""

import re
from collections.abc import Iterator
from typing import Any

from fakes.emsp.device import VERSION
from fakes.emsp.faults import Fault, invalid, is_ci_string, is_string, is_url

_TOKEN = re.compile(r"[!-~]{1,64}")
_ROLES = frozenset({"CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP"})
_INTERFACE_ROLES = frozenset({"SENDER", "RECEIVER"})


def credentials_faults(value: object) -> Iterator[Fault]:
    """What is wrong with a credentials object; a fault without a reply does not make it useless."""
    if not isinstance(value, dict):
        yield invalid("the credentials are no object")
        return
    token = value.get("token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        yield invalid("token is missing, or no string of 1 to 64 printable ASCII characters without blanks")
    if not is_url(value.get("url")):
        yield invalid("url is missing, or no URL of http or https")
    roles = value.get("roles")
    if isinstance(roles, list) and roles:
        yield from _roles_faults(roles)
    else:
        yield invalid("roles are missing, or no list of at least one")
    if unknown := sorted(value.keys() - {"token", "url", "roles"}):
        yield Fault(f"credentials know no {', '.join(unknown)}")


def _roles_faults(roles: list[Any]) -> Iterator[Fault]:
    faults = [fault for role in roles for fault in _role_faults(role)]
    yield from faults
    if faults:
        return
    named = {(role["role"], role["country_code"].upper(), role["party_id"].upper()) for role in roles}
    if len(named) < len(roles):
        yield invalid("a role is named twice with the same country_code and party_id")
    if len(roles) > 1 and any(role["role"] == "HUB" for role in roles):
        yield Fault("a hub names other roles beside its own")


def _role_faults(role: object) -> Iterator[Fault]:
    if not isinstance(role, dict):
        yield invalid("a role is no object")
        return
    if role.get("role") not in _ROLES:
        yield invalid(f"role is {role.get('role')!r}, which is no Role")
    for name, length in (("country_code", 2), ("party_id", 3)):
        if not is_ci_string(role.get(name), length) or len(role[name]) != length:
            yield invalid(f"a role's {name} is {role.get(name)!r}, expected {length} characters")
    business = role.get("business_details")
    if not isinstance(business, dict) or not is_string(business.get("name"), 100):
        yield invalid("a role's business_details are missing, or have no name of 1 to 100 characters")
    elif business.get("website") is not None and not is_url(business["website"]):
        yield invalid("the website in a role's business_details is no URL")
    if unknown := sorted(role.keys() - {"role", "country_code", "party_id", "business_details"}):
        yield Fault(f"a role knows no {', '.join(unknown)}")


def versions_faults(value: object) -> Iterator[str]:
    """What is wrong with a list of versions."""
    if not isinstance(value, list) or not value:
        yield "versions are no list of at least one"
        return
    for version in value:
        if not isinstance(version, dict) or not is_string(version.get("version"), 20) or not is_url(version.get("url")):
            yield "a version lacks its version or its url"


def details_faults(value: object) -> Iterator[str]:
    """What is wrong with version details."""
    if not isinstance(value, dict) or not isinstance(value.get("endpoints"), list):
        yield "version details are no object with a list of endpoints"
        return
    if value.get("version") != VERSION:
        yield f"version details are of version {value.get('version')!r}, expected {VERSION}"
    for endpoint in value["endpoints"]:
        if not isinstance(endpoint, dict):
            yield "an endpoint is no object"
        elif not is_string(endpoint.get("identifier"), 36) or endpoint.get("role") not in _INTERFACE_ROLES:
            yield "an endpoint lacks its identifier, or its role is neither SENDER nor RECEIVER"
        elif not is_url(endpoint.get("url")):
            yield f"the endpoint {endpoint['identifier']} lacks its url"
