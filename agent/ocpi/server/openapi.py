"""What the server offers as an OpenAPI 3.1 document: `python -m agent.ocpi.server.openapi > docs/openapi.json`.

Written by hand from the chapters, not made from the structs: those read leniently, the document says what is right.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

from agent import __version__
from agent.ocpi.server import openapi_charges
from agent.ocpi.versions import VERSION

_Object = dict[str, Any]

_HEADERS: dict[str, _Object] = {
    "X-Request-ID": {"type": "string"},
    "X-Correlation-ID": {"type": "string"},
    "OCPI-from-country-code": {"type": "string"},
    "OCPI-from-party-id": {"type": "string"},
    "Retry-After": {"type": "integer", "minimum": 1, "description": "Seconds"},
    "X-Total-Count": {"type": "integer", "minimum": 0, "description": "All that match, on whatever page"},
    "X-Limit": {"type": "integer", "minimum": 1, "description": "The most objects that a page can have"},
    "Link": {"type": "string", "description": 'The next page: `<URL>; rel="next"`. None on the last one'},
}
"""What answers carry."""

_OF_PAGES = ("X-Total-Count", "X-Limit", "Link")
"""Not on a refusal, which is HTTP 200 as well."""

_MOST = 10**15 - 1
"""Of a number in a query."""


def document(public_url: str = "https://cpo.example.com/ocpi") -> _Object:
    """The whole document, with `public_url` as the server that it describes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chargepoint-agent, OCPI 2.2.1 server",
            "version": __version__,
            "description": "Versions, Credentials, the receiver interface of Tokens, and, where the charge point bills,"
            " the sender interfaces of Sessions and CDRs. Every answer is an envelope.",
        },
        "servers": [{"url": public_url}],
        "security": [{"credentialsToken": []}],
        "paths": {
            "/versions": {"get": _operation("The versions that we speak", {"200": _list_of("Version")})},
            f"/{VERSION}": {"get": _operation("Our modules", {"200": _data("VersionDetails")})},
            f"/{VERSION}/credentials": _credentials(),
            f"/{VERSION}/tokens/{{country_code}}/{{party_id}}/{{token_uid}}": _tokens(),
            f"/{VERSION}/sessions": {"get": _pages("The sessions that are the caller's to know of", "Session")},
            f"/{VERSION}/cdrs": {"get": _pages("The CDRs that are the caller's to pay", "CDR")},
        },
        "components": {
            "securitySchemes": {
                "credentialsToken": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token`, a space, and the credentials token in base64",
                }
            },
            "headers": {
                name: {"required": name not in _OF_PAGES, "schema": schema} for name, schema in _HEADERS.items()
            },
            "schemas": _schemas(),
        },
    }


def rendered() -> str:
    """The document as `docs/openapi.json` holds it."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _credentials() -> _Object:
    agreed = {"200": _data("Credentials")}
    created = {"200": _refusal("Not agreed: see status_code"), "201": _data("Credentials")}
    return {
        "get": _operation("Our credentials for the caller", agreed),
        "post": _operation("Register", created | _not_allowed(), body="Credentials"),
        "put": _operation("New credentials, or a new version", agreed | _not_allowed(), body="Credentials"),
        "delete": _operation("Unregister", {"200": _refusal("Done")} | _not_allowed()),
    }


def _tokens() -> _Object:
    unknown = {"404": _refusal("Not known here, or not the caller's")}
    created = {"200": _refusal("Updated, or refused: see status_code"), "201": _refusal("Created")}
    return {
        "parameters": [
            _parameter("country_code", "path", {"$ref": "#/components/schemas/CountryCode"}),
            _parameter("party_id", "path", {"$ref": "#/components/schemas/PartyId"}),
            _parameter("token_uid", "path", {"$ref": "#/components/schemas/CiString36"}),
            _parameter("type", "query", {"$ref": "#/components/schemas/TokenType", "default": "RFID"}),
        ],
        "get": _operation("The token as it is stored", {"200": _data("Token")} | unknown, routed=True),
        "put": _operation("Create or replace the token", created | unknown, body="Token", routed=True),
        "patch": _operation(
            "Change some of its fields",
            {"200": _refusal("Changed, or refused")} | unknown,
            body="TokenPatch",
            routed=True,
        ),
    }


def _pages(summary: str, of: str) -> _Object:
    """OCPI 2.2.1 transport_and_format, Pagination."""
    moment = {"$ref": "#/components/schemas/DateTime"}
    part = [
        _parameter("date_from", "query", moment),
        _parameter("date_to", "query", moment),
        _parameter("offset", "query", {"type": "integer", "minimum": 0, "maximum": _MOST, "default": 0}),
        _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": _MOST, "default": 100}),
    ]
    operation = _operation(summary, {"200": _list_of(of)}, routed=True)
    operation["parameters"] += part
    operation["responses"]["200"]["headers"] |= _named_headers(_OF_PAGES)
    return operation


def _operation(summary: str, responses: _Object, body: str | None = None, *, routed: bool = False) -> _Object:
    everywhere = {
        "400": _refusal("No HTTP, or no JSON"),
        "401": _refusal("No credentials token that is known here, or one that does not open this"),
        "408": _refusal("The body came too slowly"),
        "413": _refusal("The body is too large"),
        "429": _refusal("Too many requests: see Retry-After"),
        "500": _refusal("Our storage failed, or our program: nothing was changed"),
    }
    headers = ["X-Request-ID", "X-Correlation-ID"]
    answered = headers + (["OCPI-from-country-code", "OCPI-from-party-id"] if routed else [])
    if routed:
        headers += [f"OCPI-{way}-{part}" for way in ("from", "to") for part in ("country-code", "party-id")]
    operation: _Object = {
        "summary": summary,
        "parameters": [_parameter(name, "header", {"type": "string"}) for name in headers],
        "responses": {
            status: answer | {"headers": _headers(status, answered)}
            for status, answer in sorted((responses | everywhere).items())
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json({"$ref": f"#/components/schemas/{body}"})}
    return operation


def _headers(status: str, names: list[str]) -> _Object:
    if status == "400":
        # What is no HTTP is answered before anybody knows where it was meant to go.
        names = [name for name in names if name.startswith("X-")]
    if status == "429":
        names = [*names, "Retry-After"]
    return _named_headers(names)


def _named_headers(names: Iterable[str]) -> _Object:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameter(name: str, where: str, schema: _Object) -> _Object:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _json(schema: _Object) -> _Object:
    return {"application/json": {"schema": schema}}


def _data(name: str) -> _Object:
    return _envelope(name, {"$ref": f"#/components/schemas/{name}"})


def _list_of(name: str) -> _Object:
    return _envelope(f"A list of {name}", {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}})


def _envelope(description: str, data: _Object) -> _Object:
    """An answer with `data` where it succeeds; one that is refused has none."""
    schema = {"allOf": [{"$ref": "#/components/schemas/Envelope"}, {"properties": {"data": data}}]}
    return {"description": description, "content": _json(schema)}


def _refusal(description: str) -> _Object:
    return {"description": description, "content": _json({"$ref": "#/components/schemas/Envelope"})}


def _not_allowed() -> _Object:
    return {"405": _refusal("Registered already, or not yet")}


def _text(most: int) -> _Object:
    return {"type": "string", "maxLength": most}


def _schemas() -> _Object:
    return {
        "Envelope": _object(
            {
                "status_code": {"type": "integer", "minimum": 1000, "maximum": 4999},
                "status_message": {"type": "string"},
                "timestamp": {"$ref": "#/components/schemas/DateTime"},
                "data": {},
            },
            "status_code timestamp",
        ),
        "DateTime": {"type": "string", "format": "date-time", "maxLength": 25, "description": "In UTC"},
        "CountryCode": {"type": "string", "pattern": "^[A-Za-z]{2}$"},
        "PartyId": {"type": "string", "pattern": "^[A-Za-z0-9]{1,3}$"},
        "CiString36": {"type": "string", "pattern": "^[!-~]([ -~]{0,34}[!-~])?$"},
        "TokenType": {"type": "string", "enum": ["AD_HOC_USER", "APP_USER", "OTHER", "RFID"]},
        "Version": _object({"version": {"type": "string"}, "url": {"type": "string", "format": "uri"}}, "version url"),
        "VersionDetails": _object(
            {
                "version": {"type": "string"},
                "endpoints": {"type": "array", "items": {"$ref": "#/components/schemas/Endpoint"}, "minItems": 1},
            },
            "version endpoints",
        ),
        "Endpoint": _object(
            {
                "identifier": {"type": "string"},
                "role": {"type": "string", "enum": ["SENDER", "RECEIVER"]},
                "url": {"type": "string", "format": "uri"},
            },
            "identifier role url",
        ),
        **_credentials_schemas(),
        **_token_schemas(),
        **openapi_charges.schemas(),
    }


def _credentials_schemas() -> _Object:
    return {
        "Credentials": _object(
            {
                "token": {"type": "string", "pattern": "^[!-~]{1,64}$"},
                "url": {"type": "string", "format": "uri", "maxLength": 255},
                "roles": {"type": "array", "items": {"$ref": "#/components/schemas/CredentialsRole"}, "minItems": 1},
            },
            "token url roles",
        ),
        "CredentialsRole": _object(
            {
                "role": {"type": "string"},
                "party_id": {"$ref": "#/components/schemas/PartyId"},
                "country_code": {"$ref": "#/components/schemas/CountryCode"},
                "business_details": _object({"name": _text(100), "website": {"type": "string"}}, "name"),
            },
            "role party_id country_code business_details",
        ),
    }


def _token_schemas() -> _Object:
    required = "country_code party_id uid type contract_id issuer valid whitelist last_updated"
    fields: _Object = {
        "country_code": {"$ref": "#/components/schemas/CountryCode"},
        "party_id": {"$ref": "#/components/schemas/PartyId"},
        "uid": {"$ref": "#/components/schemas/CiString36"},
        "type": {"$ref": "#/components/schemas/TokenType"},
        "contract_id": _text(36),
        "visual_number": _text(64),
        "issuer": _text(64),
        "group_id": _text(36),
        "valid": {"type": "boolean"},
        "whitelist": {"type": "string", "enum": ["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"]},
        "language": _text(2),
        "default_profile_type": {"type": "string"},
        "energy_contract": _object({"supplier_name": _text(64), "contract_id": _text(64)}, "supplier_name"),
        "last_updated": {"$ref": "#/components/schemas/DateTime"},
    }
    clearable = {
        name: schema if name in required.split() else {"anyOf": [schema, {"type": "null"}]}
        for name, schema in fields.items()
    }
    return {"Token": _object(fields, required), "TokenPatch": _object(clearable, "last_updated")}


def _object(properties: _Object, required: str) -> _Object:
    return {"type": "object", "properties": properties, "required": required.split()}


if __name__ == "__main__":
    sys.stdout.write(rendered())
