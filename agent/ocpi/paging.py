"""Where a paginated list goes on: OCPI 2.2.1 transport_and_format, Paginated Response; RFC 8288 for the header."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx

_LINK = re.compile(r"<([^<>]*)>((?:\s*;(?:\"[^\"]*\"|[^,\"])*)?)")
_PARAMETER = re.compile(r";\s*([^\s=;]+)\s*(?:=\s*(?:\"([^\"]*)\"|([^\s;\"]*)))?")

_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(?!.{254})(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|[0-9a-f:.]*:[0-9a-f:.]*")
"""A name that a resolver takes (RFC 1035, 2.3.4; some have underscores), or an address."""


def next_url(links: Iterable[str], base: str) -> str | None:
    """The target of the first `rel="next"`, absolute; None on the last page.

    A header may hold several links, in any order, with the relation quoted or not or among others. A target that
    is no URL comes back as it is, for that is not the end of the list: `same_origin` is False for it.
    """
    for target, relations in _links(links):
        if "next" in relations and target.strip():
            return joined(base, target)
    return None


def joined(base: str, url: str) -> str:
    """A peer's `url` made absolute, without a fragment; what is no URL stays what it is. Never raises."""
    url = url.strip()
    try:
        # urljoin would drop a line break in silence.
        return urldefrag(urljoin(base, url)).url if url.isprintable() else url
    except ValueError:
        return url


def _links(headers: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for header in headers:
        for target, parameters in _LINK.findall(header):
            rels = [quoted or bare for name, quoted, bare in _PARAMETER.findall(parameters) if name.lower() == "rel"]
            # RFC 8288, 3.3: only the first rel of a link counts.
            yield target, rels[0].lower().split() if rels else []


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port, comparable. Raises ValueError, with the reason, for what no request can be sent to."""
    try:
        # Both must be able to read it: one builds on it, and the other is what the request goes through.
        urlsplit(url)
        sent = httpx.URL(url)
        host, port = sent.raw_host.decode("ascii"), sent.port
        _ = sent.host  # raises for an xn-- that stands for nothing
    except (httpx.InvalidURL, ValueError):
        raise ValueError("not readable as one") from None
    if sent.scheme not in _PORTS or not host:
        raise ValueError("not an http or https URL with a host")
    if not _HOST.fullmatch(host):
        raise ValueError("not one with a host that can be looked up")
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError("not one with a port from 1 to 65535")
    return sent.scheme, host, port or _PORTS[sent.scheme]


def same_origin(url: str, other: str) -> bool:
    """Whether both lead to the same server: credentials go nowhere else. What is no URL leads nowhere."""
    try:
        return origin(url) == origin(other)
    except ValueError:
        return False


def server(url: str) -> str:
    """The part of a URL that may be shown: without user, path and query. Never raises."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "what is no URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
