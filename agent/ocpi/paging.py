"""Where a paginated list goes on: OCPI 2.2.1 transport_and_format, Paginated Response; RFC 8288 for the header."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, urldefrag, urljoin, urlsplit

_LINK = re.compile(r"<([^<>]*)>((?:\s*;(?:\"[^\"]*\"|[^,\"])*)?)")
_PARAMETER = re.compile(r";\s*([^\s=;]+)\s*(?:=\s*(?:\"([^\"]*)\"|([^\s;\"]*)))?")

_PORTS = {"http": 80, "https": 443}


def next_url(links: Iterable[str], base: str) -> str | None:
    """The target of the first `rel="next"`, absolute; None on the last page.

    A header may hold several links, in any order, with the relation quoted or not or among others.
    """
    for target, relations in _links(links):
        if "next" in relations and target.strip():
            return urldefrag(urljoin(base, target.strip())).url
    return None


def _links(headers: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for header in headers:
        for target, parameters in _LINK.findall(header):
            rels = [quoted or bare for name, quoted, bare in _PARAMETER.findall(parameters) if name.lower() == "rel"]
            # RFC 8288, 3.3: only the first rel of a link counts.
            yield target, rels[0].lower().split() if rels else []


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port, comparable. Raises ValueError for what is no URL to an HTTP server."""
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an http or https URL with a host")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def same_origin(url: str, other: str) -> bool:
    """Whether both lead to the same server: credentials go nowhere else. What is no URL leads nowhere."""
    try:
        return origin(url) == origin(other)
    except ValueError:
        return False


def server(url: str) -> str:
    """The part of a URL that may be shown: without user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
