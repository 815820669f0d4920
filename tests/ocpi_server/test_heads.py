"""Odd requests: refused before h11 splits them into lines, and whatever is in order passes. With and without TLS."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.ocpi_server.clients import GOOD, LONG_S, Clients, asked, clients_of

BEGUN = b"GET /good HTTP/1.1\r\nHost: x\r\n"
LAST = b"GET /good HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = b"PUT /good HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def counting(_scope: Any, receive: Any, send: Any) -> None:
    """Answers with how long the body was."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    body = b"%d bytes" % length
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    async with clients_of(tls=request.param) as clients:
        yield clients


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
async def counted(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    async with clients_of(counting, tls=request.param) as clients:
        yield clients


@pytest.mark.parametrize(
    "sent",
    [
        BEGUN + b"a:\r\n" * 99 + b"\r\n",
        BEGUN + b"a:\n" * 99 + b"\n",
        BEGUN + b"a:\r\n" * 99,
        BEGUN + b"a:\r\n" * 15_000 + b"\r\n",
        BEGUN + b"a:" + b"x" * (16 << 10),
        BEGUN + b"a:" + b"x" * (16 << 10) + b"\r\n\r\n",
        BEGUN + b"a:" + b"x" * (1 << 20),
        b"x" * (16 << 10) + b"x",
    ],
    ids=["101 lines", "bare feeds", "unfinished", "15 000 lines", "a line", "whole", "a MiB", "no line"],
)
async def test_head_that_is_too_large_is_431_and_the_connection_ends(clients: Clients, sent: bytes) -> None:
    reader, writer = await clients.ready()
    writer.write(sent)
    async with asyncio.timeout(LONG_S):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert b"\r\nconnection: close\r\n" in head.lower()


async def test_refusal_of_a_head_says_what_may_be(clients: Clients) -> None:
    answer = await clients.said(BEGUN + b"a:\r\n" * 99 + b"\r\n")
    envelope = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert envelope["status_code"] == 2000
    assert envelope["status_message"] == "the head of a request has 16 KiB and 100 lines at most"


async def test_head_that_comes_in_pieces_is_counted_as_one(clients: Clients) -> None:
    reader, writer = await clients.ready()
    writer.write(BEGUN)
    for _ in range(99):
        writer.write(b"a:\r\n")
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(LONG_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_head_that_comes_in_pieces_is_read(clients: Clients, step: int) -> None:
    reader, writer = await clients.ready()
    sent = BEGUN + b"a: b\r\n" * 30 + b"\r\n"
    for begin in range(0, len(sent), step):
        writer.write(sent[begin : begin + step])
        await writer.drain()
        await asyncio.sleep(0)
    await asked(reader, writer, b"")


@pytest.mark.parametrize(
    "head",
    [BEGUN + b"a:\r\n" * 97 + b"\r\n", (BEGUN + b"a: ").ljust((16 << 10) - 4, b"x") + b"\r\n\r\n"],
    ids=["100 lines", "16 KiB"],
)
async def test_largest_heads_are_read_again_and_again(clients: Clients, head: bytes) -> None:
    reader, writer = await clients.ready()
    for _ in range(3):
        await asked(reader, writer, head)


async def test_heads_that_come_together_are_counted_each(clients: Clients) -> None:
    answers = await clients.said((BEGUN + b"a: b\r\n" * 60 + b"\r\n") * 50 + LAST)
    assert answers.count(b"HTTP/1.1 200") == 51


async def test_second_head_that_is_too_large_does_not_spoil_the_first(clients: Clients) -> None:
    answers = await clients.said(GOOD + BEGUN + b"a:\r\n" * 99 + b"\r\n")
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"431"]


async def test_lines_of_a_body_are_none_of_the_head(counted: Clients) -> None:
    sent = b"PUT /good HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b"\r\n\r\na:" * 15_000 + LAST
    answers = await counted.said(sent)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert b"90000 bytes" in answers


async def test_lines_of_chunks_are_none_of_the_head(counted: Clients) -> None:
    chunk = b"1000\r\n" + b"\r\n\r\n" * 1024 + b"\r\n"
    answers = await counted.said((CHUNKED + chunk * 20 + b"0\r\n\r\n") * 2 + LAST)
    assert answers.count(b"HTTP/1.1 200") == 3
    assert answers.count(b"81920 bytes") == 2


@pytest.mark.parametrize(("chunks", "of"), [(2000, 1), (300, 200), (3000, 1024)])
async def test_body_that_a_peer_writes_piece_by_piece_is_read(counted: Clients, chunks: int, of: int) -> None:
    chunk = f"{of:x}\r\n".encode() + b"x" * of + b"\r\n"
    answers = await counted.said(CHUNKED + chunk * chunks + b"0\r\n\r\n" + LAST)
    assert f"{chunks * of} bytes".encode() in answers


async def test_who_is_refused_for_a_bound_is_told_which(counted: Clients) -> None:
    answer = await counted.said(CHUNKED + b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n")
    assert b"the body comes in more than 2048 chunks of less than 1024 bytes" in answer


async def test_many_chunks_of_some_size_are_read(counted: Clients) -> None:
    chunk = b"800\r\n" + b"x" * 0x800 + b"\r\n"
    assert b"1024000 bytes" in await counted.said(CHUNKED + chunk * 500 + b"0\r\n\r\n" + LAST)


async def test_next_head_begins_behind_the_last_chunk(counted: Clients) -> None:
    large = LAST[:-2] + b"a: b\r\n" * 90 + b"\r\n"
    assert (await counted.said(CHUNKED + b"0\r\n\r\n" + large)).count(b"HTTP/1.1 200") == 2


async def test_trailer_is_read(counted: Clients) -> None:
    assert b"5 bytes" in await counted.said(CHUNKED + b"5\r\nabcde\r\n0\r\nDigest: x\r\n\r\n" + LAST)


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (b"0\r\n" + b"a:\r\n" * 101 + b"\r\n", b"431"),
        (b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n", b"400"),
        (b"1;" + b"a" * 300 + b"\r\nx\r\n0\r\n\r\n", b"400"),
        (b"1;" + b"a" * 300, b"400"),
    ],
    ids=["trailer", "chunks", "extension", "unfinished extension"],
)
async def test_body_that_costs_more_than_its_bytes_is_refused(counted: Clients, broken: bytes, status: bytes) -> None:
    assert (await counted.said(CHUNKED + broken)).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("end", [b"\x00", b"\x0b", b"\x0c", b"\rx"])
async def test_blanks_before_what_is_no_text_hold_nobody_up(clients: Clients, end: bytes) -> None:
    """h11's pattern takes a second for each of these: all of them together would be a hang."""
    sent = BEGUN + b"a:" + b" " * 16_000 + end + b"\r\n\r\n"
    async with asyncio.timeout(LONG_S):
        for _ in range(40):
            assert (await clients.said(sent)).startswith(b"HTTP/1.1 400")


async def test_blanks_before_what_is_no_text_hold_nobody_up_in_a_trailer(counted: Clients) -> None:
    sent = CHUNKED + b"0\r\na:" + b" " * 16_000 + b"\x00\r\n\r\n"
    async with asyncio.timeout(LONG_S):
        for _ in range(40):
            assert (await counted.said(sent)).startswith(b"HTTP/1.1 400")
