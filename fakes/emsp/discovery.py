"""Finding out where the client's endpoints are: versions, version details, and what the device expects of them.

OCPI 2.2.1 version_information_endpoint; credentials, Required endpoints not available.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fakes.emsp.calls import Calls, Response
from fakes.emsp.device import VERSION
from fakes.emsp.http_client import NoAnswer
from fakes.emsp.registration_rules import details_faults, versions_faults


class ExchangeFailedError(Exception):
    """An exchange of credentials came to nothing, and nothing of it is kept."""

    def __init__(self, text: str, *, status_code: int = 3001, response: Response | None = None) -> None:
        super().__init__(text)
        self.status_code = status_code
        """What a receiver of credentials answers (OCPI 2.2.1 status_codes, 3xxx)."""
        self.response = response
        """The answer that was no good, if one was."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a system is."""

    versions_url: str
    details_url: str
    endpoints: dict[tuple[str, str], str]
    """`(identifier, role)` to the URL."""

    @property
    def credentials_url(self) -> str:
        """Where credentials are exchanged: the role of this endpoint means nothing."""
        return next(url for (identifier, _), url in self.endpoints.items() if identifier == "credentials")


async def discover(calls: Calls, versions_url: str, token: str, expects: set[tuple[str, str]]) -> Found:
    """Ask with `token` for versions and version details. Raises ExchangeFailedError with 3001, 3002 or 3003."""
    versions = await _asked(calls, versions_url, token, "versions", versions_faults)
    details_url = next((version["url"] for version in versions if version["version"] == VERSION), None)
    if details_url is None:
        raise ExchangeFailedError(f"versions: {VERSION} is not among them", status_code=3002)
    details = await _asked(calls, details_url, token, "version details", details_faults)
    endpoints = {(endpoint["identifier"], endpoint["role"]): endpoint["url"] for endpoint in details["endpoints"]}
    missing = [f"{identifier} {role}" for identifier, role in sorted(expects - endpoints.keys())]
    if not any(identifier == "credentials" for identifier, _ in endpoints):
        missing.append("credentials")
    if missing:
        raise ExchangeFailedError(f"version details: no endpoint {', '.join(missing)}", status_code=3003)
    return Found(versions_url, details_url, endpoints)


async def _asked(calls: Calls, url: str, token: str, what: str, faults: Callable[[object], Iterator[str]]) -> Any:  # noqa: ANN401  (data of the other party, checked by `faults`)
    try:
        response = await calls.call("GET", url, token=token, routing=False)
    except NoAnswer as silent:
        raise ExchangeFailedError(f"{what}: no answer, {silent}") from silent
    if not response.succeeded:
        raise ExchangeFailedError(f"{what}: {response}", response=response)
    if fault := next(faults(response.data), None):
        raise ExchangeFailedError(f"{what}: {fault}", response=response)
    return response.data
