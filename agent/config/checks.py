"""What no single key can say: that names are unique, and that what belongs together is there together."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from agent.config.sections import Config
from agent.errors import ConfigError


def check_uniqueness(config: Config, path: Path) -> None:
    """Names stand once, and what is named is there. Raises ConfigError."""
    unique([p.name for p in config.peer], path, "peer", "name")
    unique([r.name for r in config.reader], path, "reader", "name")
    unique([e.uid.casefold() for e in config.evse], path, "evse", "uid")
    known = {r.name for r in config.reader}
    for number, evse in enumerate(config.evse, 1):
        for name in evse.readers:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise ConfigError(
                    f'{path}: evse #{number}: readers: no [[reader]] is named "{name}"; there are: {names}'
                )
    unused = sorted(known - {name for evse in config.evse for name in evse.readers})
    if unused:
        raise ConfigError(
            f'{path}: reader: name: no [[evse]] names "{unused[0]}" among its readers: it would do nothing'
        )


def unique(values: list[str], path: Path, table: str, key: str, why: str = "each needs its own") -> None:
    """Each of the values stands once. Raises ConfigError."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ConfigError(f'{path}: {table}: {key}: "{value}" stands twice; {why}')


def check_peers(config: Config, path: Path) -> None:
    """Each has one URL and one credentials token, which does not go over the network in clear unless that is allowed.

    Raises ConfigError.
    """
    for peer in config.peer:
        where = f'{path}: peer "{peer.name}"'
        if (peer.versions_url is None) == (peer.tokens_url is None):
            raise ConfigError(f"{where}: expected one of versions_url and tokens_url")
        if [peer.token, peer.token_file, peer.token_credential].count(None) != 2:
            raise ConfigError(f"{where}: expected one of token, token_file and token_credential")
        key = "versions_url" if peer.versions_url is not None else "tokens_url"
        urls = {key: peer.versions_url or peer.tokens_url, "sessions_url": peer.sessions_url, "cdrs_url": peer.cdrs_url}
        schemes = set()
        for name, address in urls.items():
            if address is not None:
                url = _web_address(address, f"{where}: {name}")
                schemes.add(url.scheme)
                if url.scheme == "http" and not _is_loopback(url.hostname) and not peer.allow_http:
                    need = "set allow_http = true to accept that"
                    raise ConfigError(f"{where}: {name}: expected https://; {_RISK}; {need}")
        if len(schemes) > 1:
            raise ConfigError(f"{where}: expected its URLs to begin all with https://, or all with http://")


def check_server(config: Config, path: Path) -> None:
    """What is needed to serve is there, and no peer sends its credentials token in clear unless that is allowed.

    Raises ConfigError.
    """
    server, where = config.ocpi.server, f"{path}: ocpi.server"
    if not server.enabled:
        return
    if server.public_url is None:
        raise ConfigError(f"{where}: public_url: missing; it is the address under which the peers reach this server")
    url = _web_address(server.public_url, f"{where}: public_url")
    if url.query or url.fragment:
        raise ConfigError(f"{where}: public_url: expected a URL without ? and #, for paths are added to it")
    if server.tls_key is not None and server.tls_certificate is None:
        raise ConfigError(f"{where}: tls_key: expected tls_certificate beside it")
    if server.tls_certificate is not None and url.scheme != "https":
        raise ConfigError(f"{where}: public_url: expected https://, for tls_certificate is set")
    if server.allow_http:
        return
    if url.scheme == "http" and not _is_loopback(url.hostname):
        raise ConfigError(f"{where}: public_url: expected https://; {_RISK}; set allow_http = true to accept that")
    if server.tls_certificate is None and not _is_loopback(server.host):
        need = "set tls_certificate; or listen on 127.0.0.1 behind a proxy; or set allow_http = true to accept that"
        raise ConfigError(f"{where}: host: {server.host} is reached from outside: {_RISK}; {need}")


def check_times(config: Config, path: Path) -> None:
    """Times that bound each other are in order. Raises ConfigError."""
    if config.policy.reserve_s >= config.policy.deadline_s:
        expected = f"less than policy.deadline_s ({config.policy.deadline_s:g}), for the peers need time too"
        raise ConfigError(f"{path}: policy.reserve_s: expected {expected}")
    if config.breaker.retry_first_s > config.breaker.retry_most_s:
        expected = f"at most breaker.retry_most_s ({config.breaker.retry_most_s:g})"
        raise ConfigError(f"{path}: breaker.retry_first_s: expected {expected}")
    if config.slowdown.pause_s > config.slowdown.most_pause_s:
        expected = f"at most slowdown.most_pause_s ({config.slowdown.most_pause_s:g})"
        raise ConfigError(f"{path}: slowdown.pause_s: expected {expected}")
    billing = config.billing
    if billing is not None and billing.retry_first_s > billing.retry_most_s:
        expected = f"at most billing.retry_most_s ({billing.retry_most_s:g})"
        raise ConfigError(f"{path}: billing.retry_first_s: expected {expected}")


_RISK = "over plain HTTP anybody on the way reads the credentials tokens"


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def _web_address(text: str, where: str) -> SplitResult:
    try:
        url = _split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    if url.scheme not in {"https", "http"} or not url.hostname:
        raise ConfigError(f"{where}: expected a URL that begins with https://")
    if url.username or url.password:
        raise ConfigError(f"{where}: expected no user or password in the URL")
    return url


def _split(text: str) -> SplitResult:
    """The parts of a URL. Raises ValueError for what is none, in words that don't repeat it."""
    # urlsplit drops line ends and tabs silently: what is checked would not be what is sent.
    if not text.isprintable() or " " in text:
        raise ValueError("expected a URL without blanks and control characters")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from error
    if port == 0:
        raise ValueError("expected a URL with a port from 1 to 65535, or none")
    return url
