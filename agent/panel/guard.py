"""Whether a request comes from the panel's own page: another site's, in the same browser, is turned away.

Three things each would do: the name in Host, what the browser says of where a request comes from (Fetch Metadata,
Origin), and a token that only the page can read, which the application checks.
"""

import ipaddress
import re
from http import HTTPStatus

from agent.panel.exchange import HEAD_BYTES, Answer, Request, refused

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")

_OWN = frozenset({"same-origin", "none"})
"""Of Sec-Fetch-Site: our page's doing, or the person's own, who typed the address."""


class Guard:
    """Knows under which names the panel is reached."""

    def __init__(self, *, scheme: str, is_loopback: bool) -> None:
        self._scheme = scheme
        self._is_loopback = is_loopback

    def refusal(self, request: Request) -> Answer | None:
        """Why the request is not served; None when it is."""
        if request.size > HEAD_BYTES:
            return refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {HEAD_BYTES} bytes of headers")
        host = request.headers.get("host", "")
        match = _HOST.fullmatch(host)
        if match is None or (self._is_loopback and not _is_local(match["name"])):
            # DNS rebinding: another site's name now leads here, and its page would read ours as its own.
            return refused(HTTPStatus.MISDIRECTED_REQUEST, "the panel is not reached by this name: use localhost")
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        is_own_origin = origin is None or origin == f"{self._scheme}://{host}"
        if request.method in {"GET", "HEAD"}:
            is_own = is_own_origin and (site is None or site in _OWN or _is_link(request))
        else:
            is_own = is_own_origin and site in {None, "same-origin"} and bool(site or origin)
        return None if is_own else refused(HTTPStatus.FORBIDDEN, "this does not come from the panel's own page")


def _is_link(request: Request) -> bool:
    """Somebody follows another page's link to this one: nothing but the page itself may be had so."""
    return request.path == "/" and request.headers.get("sec-fetch-mode") == "navigate"


def _is_local(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
