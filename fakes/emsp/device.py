"""What the device is: who, where, and what it insists on. Set at any time."""

import base64
import ssl
from dataclasses import dataclass, field

VERSION = "2.2.1"


@dataclass(slots=True)
class Device:
    """The settings of an eMSP's or a hub's OCPI system."""

    country_code: str
    party_id: str
    credentials_token: str
    prefix: str = ""
    """Before every path: `/roaming`."""
    versions: tuple[str, ...] = (VERSION,)
    """What the versions endpoint lists; Tokens come with 2.2.1 alone."""
    hub: bool = False
    """A hub takes any OCPI-to, and none: an open routing request."""
    plain_credentials: bool = False
    """Wants the credentials token without base64, as many 2.1.1 and 2.2 systems do."""
    location_references: bool = True
    """Answers 2002 to an authorization without them."""
    extra_endpoints: list[dict[str, str]] = field(default_factory=list)
    """Endpoints that the version details name before the device's own: a receiver role, a custom module."""
    port: int = 0
    tls: ssl.SSLContext | None = None
    """The certificate that it shows; None is plain HTTP."""

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
        """The path of the Tokens sender interface."""
        return f"{self.prefix}/ocpi/emsp/{VERSION}/tokens"

    @property
    def tokens_url(self) -> str:
        """The Tokens sender interface."""
        return f"{self.origin}{self.tokens_path}"

    @property
    def versions_url(self) -> str:
        """What the operator is given (OCPI 2.2.1 version_information_endpoint)."""
        return f"{self.base_url}/ocpi/versions"

    def details_url(self, version: str) -> str:
        """The version details of `version`."""
        return f"{self.base_url}/ocpi/{version}"

    @property
    def authorization(self) -> str:
        """The only right Authorization header (OCPI 2.2.1 transport_and_format, Authorization header)."""
        if self.plain_credentials:
            return f"Token {self.credentials_token}"
        return "Token " + base64.b64encode(self.credentials_token.encode()).decode()
