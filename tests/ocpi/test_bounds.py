"""Answers that would keep the event loop, and with it a card, waiting: refused before h11 reads them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.model import Outcome
from agent.ocpi.bounds import HEAD_BYTES, HEAD_LINES
from agent.ocpi.connection import Connection, Reply
from agent.ocpi.failures import Failure

HANG_S = 60.0
MOST = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"Content-Length: 2\r\n\r\n{}"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def asking(*answers: bytes, step: int = 1 << 20) -> AsyncIterator[list[Reply | Failure]]:
    """What a client makes of these answers, one after the other over a connection, sent `step` bytes at a time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            try:
                await reader.readuntil(b"\r\n\r\n")
                answer = left.pop(0)
                for at in range(0, len(answer), step):
                    writer.write(answer[at : at + step])
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                break
        writer.close()

    left = list(answers)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = Connection()
    async with server, asyncio.timeout(HANG_S):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield [await connection.send("GET", url, [(b"host", b"peer")], most_bytes=MOST) for _ in answers]
        await connection.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"X: " + b" " * 90_000 + b"\x00\r\n" + BODY,
        OK + b"X: " + b"\t" * 600 + b"a\r\n" + BODY,
        OK + b"X: a\x0bb\r\n" + BODY,
        OK + b"X: a\rb\r\n" + BODY,
        OK + b"X: a\r\n" * HEAD_LINES + BODY,
        OK + b"a:\r\n" * 20_000 + BODY,
        OK + b"X: " + b"a" * HEAD_BYTES + b"\r\n" + BODY,
        OK + b"X: " + b"a" * (1 << 20),
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 2000 + OK + BODY,
        OK + CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b" " * 90_000 + b"\x00\r\n\r\n",
    ],
    ids=[
        "blanks and a NUL", "blanks", "a tab of another kind", "a lone CR", "lines", "short lines", "a long line",
        "no end", "many before it", "behind the last chunk",
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1 << 20, 1000])
async def test_answer_that_would_take_long_to_read_is_malformed(answer: bytes, step: int) -> None:
    async with asking(answer, step=step) as [came]:
        assert isinstance(came, Failure)
        assert came.outcome is Outcome.MALFORMED


@pytest.mark.parametrize(
    "answer",
    [
        OK + BODY,
        OK + b"X: a\r\n" * (HEAD_LINES - 10) + BODY,
        OK + b"Link: <" + b"a" * (HEAD_BYTES - 200) + b">\r\n" + BODY,
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 3 + OK + BODY,
        OK.replace(b"\r", b"") + BODY.replace(b"\r", b""),
        OK + CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    ],
    ids=["plain", "lines", "long", "interim", "bare LF", "chunks"],
)
@pytest.mark.parametrize("step", [1 << 20, 1])
async def test_answer_as_peers_send_it_is_read_in_whatever_pieces_it_comes(answer: bytes, step: int) -> None:
    async with asking(answer, answer, step=step) as came:
        assert [isinstance(reply, Reply) and reply.body for reply in came] == [b"{}", b"{}"]


async def test_body_is_anything_in_as_many_pieces_as_it_takes() -> None:
    body = bytes(range(256)) * 2000 + b"\n" * 2000 + b" " * 100_000
    answer = OK + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    async with asking(answer, OK + BODY, step=7000) as came:
        assert [isinstance(reply, Reply) and reply.body for reply in came] == [body, b"{}"]


async def test_many_small_chunks_leave_the_loop_to_others_in_between() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    chunks = 40_000
    async with asking(OK + CHUNKED + b"1\r\na\r\n" * chunks + b"0\r\n\r\n") as [came]:
        assert isinstance(came, Reply)
        assert len(came.body) == chunks
    beside.cancel()
    assert turns > chunks * 6 / (16 << 10)


async def test_error_whose_body_is_padded_keeps_its_status() -> None:
    body = b"<html>" + b" " * 600 + b"</html>"
    padded = b"HTTP/1.1 401 Unauthorized\r\n" + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    chunked = b"HTTP/1.1 404 Not Found\r\n" + CHUNKED + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    async with asking(padded, chunked, OK + BODY) as came:
        assert [isinstance(reply, Reply) and reply.status for reply in came] == [401, 404, 200]
