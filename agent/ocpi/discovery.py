"""Where a peer keeps its modules: versions, then the details of ours. Whatever the peer does comes back as a value."""

from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from agent.model import Outcome
from agent.ocpi.addressing import Addressing, slashed
from agent.ocpi.answers import data_of, without
from agent.ocpi.connection import Connection
from agent.ocpi.failures import Failure
from agent.ocpi.paging import joined, origin, server
from agent.ocpi.versions import DETAILS, VERSION, VERSIONS, Endpoint

_SMALL = 65_536
"""Bytes of either answer: a hundred times what a peer needs."""

_T = TypeVar("_T")


class Discovery:
    """Asks one peer where its modules are: OCPI 2.2.1 version_information_endpoint."""

    def __init__(
        self, connection: Connection, addressing: Addressing, versions_url: str, *, trailing_slash: bool = False
    ) -> None:
        """With `trailing_slash` every path that is asked for ends with a slash."""
        self._connection = connection
        self._addressing = addressing
        self._versions_url = versions_url
        self._trailing_slash = trailing_slash

    async def url_of(self, module: str, role: str) -> str | Failure:
        """The address of `module` in `role`, asked anew. NO_PEER where the peer does not offer it."""
        versions = await self._get("versions", self._versions_url, VERSIONS)
        if isinstance(versions, Failure):
            return versions
        offered = {version.version.strip(): version.url for version in versions}
        if VERSION not in offered:
            named = ", ".join(sorted(offered)) or "in no version"
            return self._failure(Outcome.MALFORMED, f"offers OCPI {named}, but not {VERSION}")
        details_url = joined(self._versions_url, offered[VERSION])
        details = await self._get("version details", details_url, DETAILS)
        return details if isinstance(details, Failure) else self._pick(details_url, details.endpoints, module, role)

    def _pick(self, details_url: str, endpoints: list[Endpoint], module: str, role: str) -> str | Failure:
        for endpoint in endpoints:
            if endpoint.serves(module, role):
                url = joined(details_url, endpoint.url)
                return url if self._may_follow(url) else self._leads_astray(f"the {module} endpoint", url)
        named = ", ".join(f"{endpoint.identifier} {endpoint.role}".strip() for endpoint in endpoints) or "nothing"
        return self._failure(Outcome.NO_PEER, f"offers no {module} {role} in OCPI {VERSION}, only: {named}")

    async def _get(self, what: str, url: str, decoder: msgspec.json.Decoder[_T]) -> _T | Failure:
        if not self._may_follow(url):
            return self._leads_astray(what, url)
        headers = self._addressing.platform(str(uuid4()))
        url = slashed(url) if self._trailing_slash else url
        reply = await self._connection.send("GET", url, headers, most_bytes=_SMALL)
        # No address that was given is unknown: a bare 404 is a wrong one.
        data = data_of(reply, decoder, self._addressing.secrets, bare_404_is_answer=False)
        return replace(data, detail=f"{what}: {data.detail}") if isinstance(data, Failure) else data

    def _may_follow(self, url: str) -> bool:
        """Whether the credentials token may go there: to any server, but not in clear where it was encrypted so far."""
        try:
            scheme = origin(url)[0]
        except ValueError:
            return False
        return scheme == "https" or urlsplit(self._versions_url).scheme == "http"

    def _leads_astray(self, what: str, url: str) -> Failure:
        scheme = "http or https" if urlsplit(self._versions_url).scheme == "http" else "https"
        return self._failure(Outcome.MALFORMED, f"{what}: expected an {scheme} URL, not {server(url)}")

    def _failure(self, outcome: Outcome, detail: str) -> Failure:
        return without(Failure(outcome, detail), self._addressing.secrets)
