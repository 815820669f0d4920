"""The panel's HTTP server: the OCPI server's, with less room for each client and as many as there may be streams."""

import socket
from pathlib import Path

from agent.errors import ConfigError
from agent.ocpi.server.asgi import Application
from agent.ocpi.server.certificate import Certificate
from agent.ocpi.server.serve import OcpiServer
from agent.panel.place import Place

MOST_CONNECTIONS = 128
"""Of which 64 may be streams: a page that is opened still gets in."""

MOST_TLS_CONNECTIONS = 80
"""Likewise; each of these costs 300 KiB."""

_SEND_BYTES = 64 << 10
"""Of the kernel, for what a client has not taken yet. Left to itself it gives one that stalls up to 4 MiB, and 64 of
them more than the charger has; a few states fit, and behind them one is pending."""


class PanelServer(OcpiServer):
    """Listens from the moment it is made; `run` serves until cancelled."""

    def __init__(self, app: Application, place: Place, *, drain_s: float = 15.0) -> None:
        """A client that takes nothing for `drain_s` is cut.

        Raises ConfigError for a port in use, or a certificate that can't be used.
        """
        try:
            tls = _certificate(place.tls_certificate, place.tls_key).context if place.tls_certificate else None
            most = MOST_TLS_CONNECTIONS if tls else MOST_CONNECTIONS
            super().__init__(app, host=place.host, port=place.port, tls=tls, drain_s=drain_s, most_connections=most)
        except ConfigError as error:
            raise ConfigError(str(error).replace("ocpi.server", "panel", 1)) from error
        # Not what uvicorn has put around it: a header would say whose a request is, and the panel writes that down.
        self._config.loaded_app = app
        # Connections inherit it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)


def _certificate(certificate: Path, key: Path | None) -> Certificate:
    return Certificate(certificate, key, section="panel")
