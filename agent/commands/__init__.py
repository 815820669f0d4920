"""What the commands do, one module a noun. Each opens what it needs, prints, and closes it again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import click


@asynccontextmanager
async def closed_by(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Await `close` on every way out."""
    try:
        yield
    finally:
        await close()


def say_if_cut(shown: int, limit: int) -> None:
    """Say on standard error that there may be more than what was shown: a list that ends silently looks whole."""
    if shown == limit:
        click.echo(f"only the first {limit} are shown; --limit shows more", err=True)
