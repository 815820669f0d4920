"""Lines out of a pipe, as they come."""

import asyncio
import os
from collections.abc import AsyncIterator


async def lines_of(pipe: int) -> AsyncIterator[str]:
    """Each line until nobody holds the other end any more; the pipe is closed then."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        while line := await reader.readline():
            yield line.decode(errors="replace").rstrip("\n")
    finally:
        transport.close()
