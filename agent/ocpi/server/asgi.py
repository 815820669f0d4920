"""What of ASGI the server speaks: one HTTP request and its answer (asgi.readthedocs.io, HTTP Connection Scope)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

WELCOME = "agent.welcome"
"""An extension of ours, by which `welcome` reaches the server."""


def welcome(scope: Scope) -> None:
    """Say that whoever sends this request has proved who it is: its connection is kept before those of strangers.

    A good answer alone does not tell: anybody gets some. Does nothing where the server does not ask for it.
    """
    note: Callable[[], None] | None = (scope.get("extensions") or {}).get(WELCOME)
    if note is not None:
        note()
