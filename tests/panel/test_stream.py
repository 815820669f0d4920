"""Who watches gets the newest state, and costs no more than one that is pending, however slow or dead he is."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from agent.ocpi.server.asgi import Message
from agent.panel.exchange import json_bytes
from agent.panel.stream import Stream
from tests.panel.panels import HANG_S, HEADERS, Served, event, hung_up, log_in, logins, served, until


@dataclass
class Client:
    """One that takes what it is sent when the test says so."""

    sent: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    is_offered: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        body = message.get("body", b"")
        if body.startswith(b"data: "):
            self.is_offered.set()
            await self.takes.wait()
            self.sent.append(body)


@dataclass
class Source:
    """The states of a test: each look gives the number that stands there."""

    number: int = 0
    looks: int = 0
    fails: bool = False

    async def look(self) -> bytes:
        self.looks += 1
        if self.fails:
            raise KeyError("a record that nobody foresaw")
        return b'"n":%d}' % self.number


@asynccontextmanager
async def stream_of(source: Source, *, every_s: float = 0.001, look_s: float = HANG_S) -> AsyncIterator[Stream]:
    stream = Stream(source.look, every_s=every_s, look_s=look_s)
    running = asyncio.create_task(stream.run())
    try:
        async with asyncio.timeout(HANG_S):
            yield stream
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def watching(stream: Stream, client: Client, head: bytes | None = b'{"h":1,') -> AsyncIterator[None]:
    serving = asyncio.create_task(stream.serve(lambda: head, client.receive, client.send))
    try:
        yield
    finally:
        client.takes.set()
        client.gone.set()
        await serving


def newest_is(client: Client, number: int) -> bool:
    return client.sent[-1].endswith(b'"n":%d}\n\n' % number)


def has_looked(panel: Served, looks: int) -> bool:
    return panel.shown.looks > looks


# ---- one client


async def test_a_client_gets_the_state_at_once_and_each_change() -> None:
    source, client = Source(), Client()
    client.takes.set()
    async with stream_of(source) as stream, watching(stream, client):
        await until(lambda: b'data: {"h":1,"n":0}\n\n' in client.sent)
        source.number = 1
        stream.changed()
        await until(lambda: client.sent[-1] == b'data: {"h":1,"n":1}\n\n')


async def test_a_client_that_takes_nothing_has_one_state_pending_and_then_the_newest() -> None:
    source, slow, quick = Source(), Client(), Client()
    quick.takes.set()
    async with stream_of(source) as stream, watching(stream, slow), watching(stream, quick):
        await slow.is_offered.wait()
        for number in range(1, 9):
            source.number = number
            stream.changed()
            await until(partial(newest_is, quick, number))
        assert slow.sent == []
        slow.takes.set()
        await until(lambda: len(slow.sent) == 2)
    assert slow.sent[0].endswith(b'"n":0}\n\n')
    assert slow.sent[1].endswith(b'"n":8}\n\n')


async def test_a_client_that_hangs_up_is_forgotten() -> None:
    source, client = Source(), Client()
    client.takes.set()
    async with stream_of(source) as stream, watching(stream, client):
        await until(lambda: stream.clients == 1)
        client.gone.set()
        await until(lambda: stream.clients == 0)


async def test_a_client_that_may_not_watch_gets_nothing() -> None:
    source, client = Source(), Client()
    client.takes.set()
    async with stream_of(source) as stream, watching(stream, client, head=None):
        await until(lambda: stream.clients == 0 and source.looks > 0)
    assert client.sent == []


async def test_a_client_is_told_that_what_it_is_sent_is_as_before() -> None:
    source, client = Source(number=7), Client()
    client.takes.set()
    async with stream_of(source) as stream, watching(stream, client):
        await until(lambda: bool(client.sent))
        source.fails = True
        stream.changed()
        await until(lambda: b'data: {"h":1,"n":7,"fault":"' in client.sent[-1])
        source.fails, source.number = False, 8
        stream.changed()
        await until(lambda: newest_is(client, 8))


# ---- when it looks


async def test_nothing_is_looked_at_while_nobody_watches() -> None:
    source, client = Source(), Client()
    client.takes.set()
    async with stream_of(source, look_s=0.001) as stream:
        stream.changed()
        async with watching(stream, client):
            await until(lambda: source.looks > 3)
        looks = source.looks
        for _ in range(50):
            stream.changed()
            await asyncio.sleep(0)
        assert source.looks <= looks + 1  # one may have been under way


async def test_however_much_changes_and_whoever_comes_there_is_a_pause_between_two_states() -> None:
    source, first, second = Source(), Client(), Client()
    first.takes.set()
    second.takes.set()
    async with stream_of(source, every_s=10 * HANG_S) as stream, watching(stream, first):
        await until(lambda: len(first.sent) == 1)
        async with watching(stream, second):
            for _ in range(100):
                stream.changed()
                await asyncio.sleep(0)
            assert (source.looks, len(first.sent), second.sent) == (1, 1, [])


async def test_a_state_goes_on_by_itself_while_somebody_watches() -> None:
    source, client = Source(), Client()
    client.takes.set()
    async with stream_of(source, look_s=0.01) as stream, watching(stream, client):
        await until(lambda: len(client.sent) > 5)


async def test_who_asks_again_and_again_is_given_the_same_state() -> None:
    source = Source()
    stream = Stream(source.look)
    texts = await asyncio.gather(*(stream.newest() for _ in range(100)))
    assert set(texts) == {b'"n":0}'}
    assert source.looks == 1


async def test_the_end_of_the_panel_is_told_to_every_client() -> None:
    source, client = Source(), Client()
    client.takes.set()
    async with stream_of(source) as stream:
        serving = asyncio.create_task(stream.serve(lambda: b"{", client.receive, client.send))
        await until(lambda: bool(client.sent))
    await asyncio.wait_for(serving, HANG_S)
    assert (stream.clients, stream.has_room) == (0, False)


# ---- over sockets


async def test_an_open_page_is_sent_events_that_a_browser_reads() -> None:
    async with served() as panel:
        reader, writer = await panel.watch()
        async with asyncio.timeout(HANG_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        first = await event(reader)
        panel.shown.value["number"] = 1
        panel.stream.changed()
        while (await event(reader))["number"] != 1:
            pass
        await hung_up(writer)
        await until(lambda: panel.stream.clients == 0)
    assert head.startswith("http/1.1 200")
    assert "content-type: text/event-stream" in head
    assert all(f"{name}: {value}".lower() in head for name, value in HEADERS.items())
    assert first["login"] == {"needed": False, "user": None}


async def test_one_page_too_many_is_told_so_and_the_others_stay() -> None:
    async with served(most=2) as panel, panel.client() as browser:
        pages = [await panel.watch() for _ in range(2)]
        for reader, _ in pages:
            await event(reader)
        answer = await browser.get("/events")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        await hung_up(pages[0][1])
        await until(lambda: panel.stream.clients == 1)
        reader, writer = await panel.watch()
        await event(reader)
        await hung_up(writer)
        await hung_up(pages[1][1])


async def test_a_page_is_closed_when_its_user_logs_out(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        cookie = (await log_in(browser)).headers["set-cookie"].partition(";")[0]
        reader, writer = await panel.watch(cookie)
        assert (await event(reader))["login"]["user"] == "anna"
        await browser.post(
            "/logout",
            headers={
                "origin": panel.origin,
                "x-panel-token": (await browser.get("/state")).json()["token"],
            },
        )
        await until(lambda: panel.stream.clients == 0)
        await hung_up(writer)


async def test_an_open_page_does_not_hold_up_the_end() -> None:
    async with served() as panel:
        reader, writer = await panel.watch()
        await event(reader)
    async with asyncio.timeout(HANG_S):
        assert (await reader.read()).endswith(b"0\r\n\r\n")
    await hung_up(writer)


async def test_pages_that_stall_are_cut_and_make_room() -> None:
    async with served(drain_s=0.2, most=5) as panel:
        panel.shown.value["filler"] = "x" * 100_000
        stalled = [await panel.watch() for _ in range(5)]
        for _, writer in stalled:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
        await until(lambda: panel.stream.clients == 5)
        await until(lambda: panel.stream.clients == 0)
        del panel.shown.value["filler"]
        reader, writer = await panel.watch()
        assert (await event(reader))["number"] == 0
        for one in (writer, *(writer for _, writer in stalled)):
            await hung_up(one)


async def test_the_kernel_keeps_a_few_states_for_a_page_that_stalls_and_no_more() -> None:
    """Left to itself it would keep megabytes for each: here that is dozens of states, of 100 kB each."""
    async with served() as panel:
        panel.shown.value["filler"] = "x" * 100_000
        reader, writer = await panel.watch()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
        await until(lambda: panel.stream.clients == 1)
        for number in range(1, 61):
            panel.shown.value["number"] = number
            looks = panel.shown.looks
            panel.stream.changed()
            await until(partial(has_looked, panel, looks))
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        taken = b""
        async with asyncio.timeout(HANG_S):
            while b'"number":60' not in taken:
                taken += await reader.read(1 << 20)
        await hung_up(writer)
    assert 2 <= taken.count(b"data: ") <= 12


@pytest.mark.parametrize("clients", [10, 50])
async def test_a_page_that_stalls_costs_no_more_than_a_state_or_two(clients: int) -> None:
    """The state has 100 kB here, many times what it has; the kernel's part is bounded by the socket's own buffer."""
    async with served() as panel:
        panel.shown.value["filler"] = "x" * 100_000
        size = len(json_bytes(panel.shown.value))
        tracemalloc.start()
        try:
            stalled = [await panel.watch() for _ in range(clients)]
            for _, writer in stalled:
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
            await until(lambda: panel.stream.clients == clients)
            before = panel.shown.looks
            await until(lambda: panel.shown.looks > before + 30)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for _, writer in stalled:
            await hung_up(writer)
    # The clients are in this process, too: each has read ahead what asyncio lets it.
    assert held < clients * (3 * size + 256 * 1024)
