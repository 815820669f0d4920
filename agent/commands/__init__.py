"""What the commands do, one module a noun. Each opens what it needs, prints, and closes it again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def closed_by(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Await `close` on every way out."""
    try:
        yield
    finally:
        await close()
