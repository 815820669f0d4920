"""Where the panel listens, and what has to be fitted before others than this machine may look."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError

_ADDRESS_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>localhost|[0-9.]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """An IP address and a port, and by what it is guarded."""

    host: str
    port: int
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    login_file: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.tls_certificate else "http"

    def url(self, port: int | None = None) -> str:
        """What a browser is given; `port` is the one that it really has.

        Where it listens on every address, this machine's name stands for them.
        """
        host = socket.gethostname() if ipaddress.ip_address(self.host).is_unspecified else self.host
        host = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{host}:{port or self.port}/"


def place_of(
    listen: str,
    *,
    allow_remote: bool = False,
    login_file: Path | None = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    allow_http: bool = False,
) -> Place:
    """What `[panel]` means: `listen` is `IPv4:port` or `[IPv6]:port`; port 0 takes a free one.

    Raises ConfigError, also for an address that other machines reach unless `allow_remote`, with a login and TLS;
    `allow_http` stands for the latter where something else encrypts, as a VPN.
    """
    match = _ADDRESS_AND_PORT.fullmatch(listen)
    address = match and _ip(match["v6"], match["v4"])
    if match is None or address is None or int(match["port"]) >= 1 << 16:
        raise ConfigError(f"panel.listen: {listen!r}: expected an address and a port, as 127.0.0.1:8470 or [::1]:8470")
    if tls_key is not None and tls_certificate is None:
        raise ConfigError("panel.tls_key: without tls_certificate it is of no use")
    place = Place(str(address), int(match["port"]), tls_certificate, tls_key, login_file)
    if not address.is_loopback:
        _check_remote(place, allow_remote=allow_remote, allow_http=allow_http)
    return place


def _check_remote(place: Place, *, allow_remote: bool, allow_http: bool) -> None:
    needs = []
    if not allow_remote:
        needs.append("allow_remote = true")
    if place.login_file is None:
        needs.append("login_file, which this makes: chargepoint-agent panel password USER")
    if place.tls_certificate is None and not allow_http:
        needs.append("tls_certificate, or allow_http = true where something else encrypts it")
    if needs:
        there = f"panel.listen: other machines reach {place.host}, and the panel tells when somebody charges"
        raise ConfigError(f"{there}: take 127.0.0.1; or that needs: {'; '.join(needs)}")


def _ip(v6: str | None, v4: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for what is no address. Names but localhost are not looked up: that could take the taps' time."""
    try:
        return ipaddress.IPv6Address(v6) if v6 else ipaddress.IPv4Address("127.0.0.1" if v4 == "localhost" else v4)
    except ValueError:
        return None
