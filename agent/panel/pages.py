"""The page's own files, read once: what is asked for is looked up by its name and never becomes a path."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from agent.errors import ConfigError
from agent.panel.exchange import Answer, Request

FOLDER = Path(__file__).parent / "static"

INDEX = "index.html"

_KINDS: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file."""

    body: bytes
    content_type: str
    etag: str

    def answer(self, request: Request) -> Answer:
        """The file, or that the browser has it (RFC 9110, 13.1.2)."""
        headers = {"etag": self.etag, "cache-control": "no-cache"}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.etag in known:
            return Answer(HTTPStatus.NOT_MODIFIED, headers=headers)
        return Answer(HTTPStatus.OK, self.body, self.content_type, headers)


def pages_of(folder: Path = FOLDER) -> dict[str, Page]:
    """By the path that they are asked for: `/` and `/panel.css`. Raises ConfigError for a broken installation."""
    try:
        files = [file for file in sorted(folder.iterdir()) if file.suffix in _KINDS and file.is_file()]
        pages = {f"/{file.name}": _page(file) for file in files}
        pages["/"] = pages.pop(f"/{INDEX}")
    except (OSError, KeyError) as error:
        raise ConfigError(f"panel: {folder}: the page is not there; install the agent anew: {error}") from error
    return pages


def _page(file: Path) -> Page:
    body = file.read_bytes()
    return Page(body, _KINDS[file.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
