"""Whom a request is from and for: credentials, message ids, routing headers, and the URLs it goes to. Pure."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from agent import __version__
from agent.errors import ConfigError
from agent.ocpi.paging import origin

Party = tuple[str, str]
"""`(country_code, party_id)`."""

Encoding = Literal["base64", "plain"]
"""How a peer wants the credentials token: OCPI 2.2.1 transport_and_format, Authorization header, and its note."""

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Addressing:
    """The headers of every request to one peer."""

    us: Party
    them: Party
    hub: bool
    secrets: tuple[str, ...] = field(repr=False)
    """The credentials token in every form: never to be shown."""
    common: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    def platform(self, correlation_id: str) -> Headers:
        """For versions: never routed (OCPI 2.2.1 transport_and_format, Message Routing).

        X-Request-ID is missing here: it is the connection's, as every attempt is a request of its own.
        """
        return [*self.common, (b"X-Correlation-ID", correlation_id.encode())]

    def routed(self, correlation_id: str, to: Party | None) -> Headers:
        """For functional modules, to the party `to`.

        Without it to the peer itself; or, if that is a hub, to whomever it finds (Open Routing Request).
        """
        headers = self.platform(correlation_id)
        headers += _party("from", self.us)
        receiver = to or (None if self.hub else self.them)
        if receiver is not None:
            headers += _party("to", receiver)
        return headers


def addressing(peer: str, token: str, encoding: Encoding, *, us: Party, them: Party, hub: bool) -> Addressing:
    """How `peer` is addressed. Raises ConfigError for a credentials token that no header can carry."""
    forms = token_forms(token)
    if not token or (encoding == "plain" and not (token.isascii() and token.isprintable())):
        raise ConfigError(f'peer "{peer}": expected a credentials token of printable ASCII')
    sent = forms[encoding == "base64"]
    common = (
        (b"Authorization", b"Token " + sent.encode()),
        (b"Accept", b"application/json"),
        (b"Accept-Encoding", b"identity"),
        (b"User-Agent", f"chargepoint-agent/{__version__}".encode()),
    )
    return Addressing(us, them, hub, forms, common)


def token_forms(token: str) -> tuple[str, str]:
    """A credentials token as it stands and in base64: what is not to be shown of it."""
    return token, b64encode(token.encode()).decode()


def check_url(text: str) -> str | None:
    """What is wrong with a configured URL, for its key to be put in front; None for one that requests can go to."""
    try:
        origin(text)
    except ValueError as error:
        return f"expected a URL, but it is {error}"
    return None


def authorize_url(tokens_url: str, uid: str, *, trailing_slash: bool = False) -> str:
    """Where a token is authorized in real time: OCPI 2.2.1 mod_tokens, POST. The uid stays one path segment."""
    parts = urlsplit(tokens_url)
    path = f"{parts.path.rstrip('/')}/{quote(uid, safe='')}/authorize{'/' if trailing_slash else ''}"
    return with_query(urlunsplit(parts._replace(path=path)), "type=RFID")


def with_query(url: str, query: str) -> str:
    """`url` with `query` added to what it has of one."""
    parts = urlsplit(url)
    joined = f"{parts.query}&{query}" if parts.query else query
    return urlunsplit(parts._replace(query=joined, fragment=""))


def slashed(url: str) -> str:
    """`url` with a slash at the end of its path; what is no URL stays what it is."""
    try:
        parts = urlsplit(url)
        return url if parts.path.endswith("/") else urlunsplit(parts._replace(path=f"{parts.path}/"))
    except ValueError:
        return url


def _party(direction: str, party: Party) -> Headers:
    country_code, party_id = (field.encode() for field in party)
    return [
        (f"OCPI-{direction}-country-code".encode(), country_code),
        (f"OCPI-{direction}-party-id".encode(), party_id),
    ]
