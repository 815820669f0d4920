"""What has to be stored of a Token that was pushed: every field of OCPI 2.2.1 mod_tokens, Token, and no other."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_AS_SENT = (
    *("country_code", "party_id", "uid", "contract_id", "visual_number", "issuer", "group_id", "valid", "language"),
    "default_profile_type",
)
_TYPES = {"AD_HOC_USER", "APP_USER", "OTHER", "RFID"}


def stored_otherwise(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """The fields of `stored`, as the server shows it, that are not what was `sent`."""
    expected = {name: sent.get(name) for name in _AS_SENT}
    kind = str(sent.get("type")).upper()
    expected["type"] = kind if kind in _TYPES else "OTHER"
    expected["whitelist"] = str(sent.get("whitelist")).upper()
    contract = sent.get("energy_contract")
    if contract is not None:
        some = {name: contract.get(name) for name in ("supplier_name", "contract_id")}
        expected["energy_contract"] = {name: value for name, value in some.items() if value is not None}
    expected = {name: value for name, value in expected.items() if value is not None}
    shown = dict(stored)
    if _moment(shown.pop("last_updated", None)) != _moment(sent.get("last_updated")):
        yield f"last_updated was stored as {stored.get('last_updated')!r}"
    for name in sorted(expected.keys() | shown.keys()):
        if expected.get(name) != shown.get(name) or (name in expected) != (name in shown):
            yield f"{name} was stored as {shown.get(name)!r}"


def _moment(text: Any) -> datetime | None:
    """To a tenth of a millisecond: the 25 characters of OCPI 2.2.1 types, DateTime, hold no more."""
    if not isinstance(text, str):
        return None
    read = datetime.fromisoformat(text.upper())
    moment = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 100 * 100)
