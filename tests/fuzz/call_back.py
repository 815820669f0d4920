"""The platform that fuzzed credentials point to: it answers a call-back well, or in one of the ways that occur."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NONSENSE: dict[str, bytes] = {
    "nonsense": b"nonsense",
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "no-data": b'{"status_code":1000,"timestamp":"2026-03-01T12:00:00Z"}',
    "list-of-null": b'{"status_code":1000,"data":[null]}',
    "other-type": b'{"status_code":1000,"data":{"version":7}}',
    "refused": b'{"status_code":3000,"status_message":"\\u0000"}',
    "bad-utf-8": b'{"status_code":1000,"data":"\xff"}',
    "half-character": b'{"status_code":1000,"data":[{"version":"\\ud800","url":"x"}]}',
    "nested": b"[" * 50_000,
    "huge": b'{"status_code":1000,"data":[' + b"0," * 500_000 + b"0]}",
    "old": b'{"status_code":1000,"data":[{"version":"2.1.1","url":"http://127.0.0.1:9/"}]}',
    "elsewhere": b'{"status_code":1000,"data":[{"version":"2.2.1","url":"file:///etc/passwd"}]}',
}
"""What is answered to everything."""

STATUSES = {"error": 500, "forbidden": 403, "unauthorized": 401, "redirect": 302, "odd": 299}
SILENT = ("hangs-up", "stalls")
WELL = "well"
KINDS = (WELL, *NONSENSE, *STATUSES, *SILENT)


class CallBack(ThreadingHTTPServer):
    """Answers `/{kind}/versions` and what follows from it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.ended = threading.Event()

    def versions_url(self, kind: str) -> str:
        """Where credentials that are answered in this way point to."""
        return f"http://127.0.0.1:{self.server_port}/{kind}/versions"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who calls may hang up at any time."""


class _Answer(BaseHTTPRequestHandler):
    server: CallBack
    timeout = 5

    def do_GET(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        if kind == "hangs-up":
            return
        if kind == "stalls":
            self.server.ended.wait(2)
            return
        body = self._well(rest) if kind == WELL else NONSENSE.get(kind, b"{}")
        self.send_response(STATUSES.get(kind, 200))
        if kind == "redirect":
            self.send_header("Location", self.path)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is said of a request."""

    def _well(self, rest: str) -> bytes:
        root = f"http://127.0.0.1:{self.server.server_port}/{WELL}"
        endpoints = [
            {"identifier": name, "role": "SENDER", "url": f"{root}/{name}"} for name in ("credentials", "tokens")
        ]
        versions = [{"version": "2.2.1", "url": f"{root}/details"}]
        data = versions if rest == "versions" else {"version": "2.2.1", "endpoints": endpoints}
        return json.dumps({"status_code": 1000, "timestamp": "2026-03-01T12:00:00Z", "data": data}).encode()


@contextmanager
def call_back() -> Iterator[CallBack]:
    """Run it in a thread."""
    with CallBack() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
