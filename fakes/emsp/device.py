"""What the device is: who, where, and what it insists on. Set at any time."""

import base64
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any
from uuid import uuid4

from fakes.emsp.messages import Part
from fakes.emsp.relation import Relation, Standing

VERSION = "2.2.1"


class Slash(StrEnum):
    """Whether the addresses of the device's endpoints end with a slash. Without it, where it belongs, they are 404."""

    NONE = "none"
    LISTED = "listed"
    """Every address that the device gives ends with one."""
    DEMANDED = "demanded"
    """No address that the device gives ends with one, and every path has to: its framework appends slashes."""


class Dies(Enum):
    """Where in an exchange of credentials the device dies: it closes the connection and forgets what it was doing.

    It is well again at once, with what it had stored until then.
    """

    BEFORE_CALL_BACK = auto()
    """Receiving: it has read the request and done nothing. Sending: before the POST, PUT or DELETE is sent."""
    BEFORE_STORING = auto()
    """Receiving: after the call-back. Sending: the answer is there, nothing of it is stored."""
    AFTER_STORING = auto()
    """Receiving: everything is stored, nothing is answered. Sending: everything is stored."""


def _fresh_token() -> str:
    return f"emsp-{uuid4()}"


@dataclass(slots=True)
class Device:
    """The settings of an eMSP's or a hub's OCPI system."""

    country_code: str
    party_id: str
    relation: Relation
    prefix: str = ""
    """Before every path: `/roaming`."""
    versions: tuple[str, ...] = (VERSION,)
    """What the versions endpoint lists; Tokens come with 2.2.1 alone."""
    hub: bool = False
    """A hub takes any OCPI-to, and none: an open routing request."""
    plain_credentials: bool = False
    """Wants, and sends, the credentials token without base64, as many 2.1.1 and 2.2 systems do."""
    location_references: bool = True
    """Answers 2002 to an authorization without them."""
    extra_endpoints: list[dict[str, str]] = field(default_factory=list)
    """Endpoints that the version details name before the device's own: a receiver role, a custom module."""
    withheld_endpoints: set[str] = field(default_factory=set)
    """Identifiers of its own endpoints that the version details do not name."""
    expects: set[tuple[str, str]] = field(default_factory=lambda: {("tokens", "RECEIVER")})
    """Endpoints that a client has to offer beside credentials; 3003 without."""
    reports: bool = False
    """Has the receiver interfaces of sessions and CDRs."""
    slash: Slash = Slash.NONE
    lenient_rotation: bool = False
    """Takes the old token beside the new one until the new one has been used; else it is refused at once."""
    call_back_fails: bool = False
    """Never reaches its client in a POST or PUT: 3001."""
    credentials_answer: bytes | None = None
    """JSON that a GET, POST or PUT of credentials is answered with in place of a credentials object."""
    dies: Dies | None = None
    """Once; it is None again when it has happened."""
    make_token: Callable[[], str] = _fresh_token
    """Makes up each credentials token that it gives out."""
    patience_s: float = 30.0
    """How long it waits for an answer to a request of its own."""
    port: int = 0
    tls: ssl.SSLContext | None = None
    """The certificate that it shows; None is plain HTTP."""
    trust: ssl.SSLContext | None = None
    """Whom it trusts when it calls; None for the authorities of the system."""

    @property
    def credentials_token(self) -> str:
        """What the client has to send now; empty when nothing is agreed."""
        return self.relation.our_token

    @credentials_token.setter
    def credentials_token(self, token: str) -> None:
        self.relation.our_token = token

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """Origin and prefix."""
        return f"{self.origin}{self.prefix}"

    @property
    def root(self) -> str:
        """The path under which everything lies."""
        return f"{self.prefix}/ocpi"

    @property
    def tokens_path(self) -> str:
        """The path of the Tokens sender interface, without a slash."""
        return f"{self.prefix}/ocpi/emsp/{VERSION}/tokens"

    @property
    def tokens_url(self) -> str:
        """The Tokens sender interface."""
        return f"{self.origin}{self.tokens_path}{self._end}"

    @property
    def sessions_path(self) -> str:
        """The path of the Sessions receiver interface, without a slash."""
        return f"{self.prefix}/ocpi/emsp/{VERSION}/sessions"

    @property
    def sessions_url(self) -> str:
        """The Sessions receiver interface."""
        return f"{self.origin}{self.sessions_path}{self._end}"

    @property
    def cdrs_path(self) -> str:
        """The path of the CDRs receiver interface, without a slash."""
        return f"{self.prefix}/ocpi/emsp/{VERSION}/cdrs"

    @property
    def cdrs_url(self) -> str:
        """The CDRs receiver interface."""
        return f"{self.origin}{self.cdrs_path}{self._end}"

    def cdr_url(self, place: int) -> str:
        """The address of a stored CDR."""
        return f"{self.origin}{self.cdrs_path}/{place}{self._end}"

    @property
    def versions_url(self) -> str:
        """What the operator is given (OCPI 2.2.1 version_information_endpoint)."""
        return f"{self.base_url}/ocpi/versions{self._end}"

    def details_url(self, version: str) -> str:
        """The version details of `version`."""
        return f"{self.base_url}/ocpi/{version}{self._end}"

    def credentials_url(self, version: str) -> str:
        """Where credentials are exchanged."""
        return f"{self.base_url}/ocpi/emsp/{version}/credentials{self._end}"

    @property
    def _end(self) -> str:
        return "/" if self.slash is Slash.LISTED else ""

    def credentials(self, token: str) -> dict[str, Any]:
        """The device's credentials object with `token` (OCPI 2.2.1 credentials, Credentials object)."""
        role = {
            "role": "HUB" if self.hub else "EMSP",
            "business_details": {"name": "Fake eMSP"},
            "party_id": self.party_id,
            "country_code": self.country_code,
        }
        return {"token": token, "url": self.versions_url, "roles": [role]}

    def header(self, token: str) -> str:
        """The Authorization header with `token` (OCPI 2.2.1 transport_and_format, Authorization header)."""
        if self.plain_credentials:
            return f"Token {token}"
        return "Token " + base64.b64encode(token.encode()).decode()

    @property
    def authorization(self) -> str:
        """The Authorization header that the client has to send now."""
        return self.header(self.relation.our_token) if self.relation.our_token else ""

    def caller(self, authorization: str) -> tuple[str, Standing] | None:
        """Whose request it is, by its Authorization header: the token and what it opens; None for nobody's."""
        for token, standing in self.relation.tokens.items():
            if self.header(token) == authorization:
                return token, standing
        return None

    def admits(self, authorization: str | None, part: Part | None) -> bool:
        """Whether `part` is open to whoever sends this header.

        A token that is not of a complete registration opens versions and credentials alone
        (OCPI 2.2.1 transport_and_format, Authorization header).
        """
        if not authorization:
            return False
        if authorization == self.authorization:
            return True
        caller = self.caller(authorization)
        return caller is not None and (caller[1] is Standing.REGISTERED or part in {Part.VERSIONS, Part.CREDENTIALS})

    def falls(self, moment: Dies) -> bool:
        """Whether the device dies here; asked at each place where it could."""
        if self.dies is not moment:
            return False
        self.dies = None
        return True
