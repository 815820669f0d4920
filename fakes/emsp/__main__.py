"""`python -m fakes.emsp`: the fake as a process of its own, for benchmarks. Ends on SIGTERM or SIGINT.

Prints one line of JSON once it listens: `versions_url`, `details_url`, `tokens_url`, `port`, `credentials_token`,
`country_code`, `party_id`, `tokens`; with `--invite` also `token_a`, to register with.
"""

import argparse
import asyncio
import json
import signal
import sys

from fakes.emsp import FakeEmsp, slow


async def run(
    *,
    port: int,
    tokens: int,
    latency_s: float,
    credentials_token: str | None,
    page_size: int,
    invite: bool,
    reports: bool,
) -> None:
    """Serve until the process is told to end."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with FakeEmsp(port=port, credentials_token=credentials_token, remember=False, reports=reports) as emsp:
        emsp.populate(tokens)
        emsp.page_size = page_size
        if latency_s:
            emsp.set_weather(slow(latency_s))
        where = {
            "versions_url": emsp.versions_url,
            "details_url": emsp.details_url,
            "tokens_url": emsp.tokens_url,
            "port": emsp.port,
            "credentials_token": emsp.credentials_token,
            "country_code": emsp.device.country_code,
            "party_id": emsp.device.party_id,
            "tokens": tokens,
            **({"token_a": emsp.invite()} if invite else {}),
        }
        sys.stdout.write(json.dumps(where) + "\n")
        sys.stdout.flush()
        await over.wait()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m fakes.emsp", description="A fake eMSP on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--tokens", type=int, default=0, help="how many tokens it knows and lists")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long each answer takes")
    parser.add_argument("--credentials-token", default=None, help="what clients must send; made up if left out")
    parser.add_argument("--page-size", type=int, default=1000, help="the most tokens on a page")
    parser.add_argument("--invite", action="store_true", help="hand out a token that a CPO can register with")
    parser.add_argument("--reports", action="store_true", help="take sessions and CDRs as well")
    given = parser.parse_args()
    asyncio.run(
        run(
            port=given.port,
            tokens=given.tokens,
            latency_s=given.latency_ms / 1000,
            credentials_token=given.credentials_token,
            page_size=given.page_size,
            invite=given.invite,
            reports=given.reports,
        )
    )


if __name__ == "__main__":
    main()
