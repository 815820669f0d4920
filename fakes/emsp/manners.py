"""How an answer's bytes go out when they do not go out properly: late, byte by byte, without end, or torn off.

Every manner runs as a task of its connection, which cancels it when the client goes.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from fakes.emsp.weather import Kind, Weather

_BLOCK = b"A" * 65_536
_MIB = 1 << 20
_OPENING = b'{"status_code":1000,"timestamp":"2026-01-01T00:00:00Z","data":"'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x0a\x00\x80\xfe SSH-2.0-OpenSSH_9.9\r\n\r\n"


class Line(Protocol):
    """What a manner may do with its connection."""

    @property
    def served(self) -> int:
        """Requests that this connection has brought, the one being answered included."""
        ...

    def write(self, data: bytes) -> None:
        """Send as the kernel takes it."""
        ...

    async def drained(self) -> None:
        """Return when what was written has left for the most part: a client that does not read is not written to."""
        ...

    def hang_up(self) -> None:
        """Close once what was written has left."""
        ...

    def reset(self) -> None:
        """Close with RST, as a crashed machine or a firewall does."""
        ...


async def _slow(line: Line, weather: Weather, answer: bytes) -> bool:
    await asyncio.sleep(weather.seconds)
    line.write(answer)
    return True


async def _held(line: Line, weather: Weather, answer: bytes) -> bool:
    if weather.until is not None:
        await weather.until.wait()
    line.write(answer)
    return True


async def _silent(_line: Line, _weather: Weather, _answer: bytes) -> bool:
    await asyncio.Event().wait()
    return False


async def _drip(line: Line, weather: Weather, answer: bytes) -> bool:
    for at in range(len(answer)):
        line.write(answer[at : at + 1])
        await asyncio.sleep(weather.seconds)
    return True


async def _endless_chunked(line: Line, _weather: Weather, _answer: bytes) -> bool:
    line.write(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(_OPENING))
    await _forever(line, _chunk(_BLOCK))
    return False


async def _endless_length(line: Line, _weather: Weather, _answer: bytes) -> bool:
    line.write(_HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40) + _OPENING)
    await _forever(line, _BLOCK)
    return False


async def _gzip_bomb(line: Line, weather: Weather, _answer: bytes) -> bool:
    """One gzip stream: several members would unpack to the first alone in most clients."""
    content = b"A" * _MIB
    packed = _deflated(content, zlib.Z_FULL_FLUSH)
    line.write(_HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    line.write(_chunk(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + _deflated(_OPENING, zlib.Z_FULL_FLUSH)))
    check = zlib.crc32(_OPENING)
    for _ in range(weather.mebibytes):
        check = zlib.crc32(content, check)
        line.write(_chunk(packed))
        await line.drained()
    check = zlib.crc32(b'"}', check)
    length = (len(_OPENING) + weather.mebibytes * _MIB + 2) & 0xFFFF_FFFF
    trailer = check.to_bytes(4, "little") + length.to_bytes(4, "little")
    line.write(_chunk(_deflated(b'"}', zlib.Z_FINISH) + trailer) + b"0\r\n\r\n")
    line.hang_up()
    return False


async def _reset(line: Line, _weather: Weather, answer: bytes) -> bool:
    line.write(answer[: len(answer) * 3 // 4])
    line.reset()
    return False


async def _garbage(line: Line, _weather: Weather, _answer: bytes) -> bool:
    line.write(_NOT_HTTP)
    line.hang_up()
    return False


async def _drops_idle(line: Line, _weather: Weather, answer: bytes) -> bool:
    line.write(answer)
    line.hang_up()
    return True


async def _drops_reused(line: Line, _weather: Weather, answer: bytes) -> bool:
    if line.served > 1:
        line.hang_up()
        return False
    line.write(answer)
    return True


Manner = Callable[[Line, Weather, bytes], Awaitable[bool]]
"""Sends an answer in its way. Returns whether the whole answer went out."""

MANNERS: dict[Kind, Manner] = {
    Kind.SLOW: _slow,
    Kind.HELD: _held,
    Kind.SILENT: _silent,
    Kind.DRIP: _drip,
    Kind.ENDLESS_CHUNKED: _endless_chunked,
    Kind.ENDLESS_LENGTH: _endless_length,
    Kind.GZIP_BOMB: _gzip_bomb,
    Kind.RESET: _reset,
    Kind.GARBAGE: _garbage,
    Kind.DROPS_IDLE: _drops_idle,
    Kind.DROPS_REUSED: _drops_reused,
}
"""Every kind that is not simply written out at once."""


async def _forever(line: Line, data: bytes) -> None:
    while True:
        line.write(data)
        await line.drained()
        # A client that reads as fast as we write must not keep the loop to itself.
        await asyncio.sleep(0)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _deflated(data: bytes, flush: int) -> bytes:
    """A piece of a raw deflate stream; full flushes let pieces be put together."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(flush)
