"""`python -m fakes.emsp`, as the benchmarks run it."""

import asyncio
import base64
import json
import signal
import sys

import httpx

from tests.fakes.emsp_client import HANG_S


async def test_process_says_where_it_is_and_ends_on_sigterm() -> None:
    arguments = ("--port", "0", "--tokens", "5", "--latency-ms", "1", "--page-size", "2", "--credentials-token", "t")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakes.emsp", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(2 * HANG_S):
        where = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient(trust_env=False, timeout=HANG_S) as http:
            response = await http.get(where["tokens_url"], headers={"Authorization": "Token dA=="})
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
    assert (code, where["tokens"], where["port"]) == (0, 5, response.url.port)
    assert (len(response.json()["data"]), response.headers["X-Total-Count"]) == (2, "5")


async def test_process_hands_out_an_invitation_when_asked() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakes.emsp", "--invite", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(2 * HANG_S):
        where = json.loads(await process.stdout.readline())
        header = "Token " + base64.b64encode(where["token_a"].encode()).decode()
        async with httpx.AsyncClient(trust_env=False, timeout=HANG_S) as http:
            response = await http.get(where["versions_url"], headers={"Authorization": header})
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert response.json()["data"] == [{"version": "2.2.1", "url": where["details_url"]}]
