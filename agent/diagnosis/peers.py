"""Whether each peer can be reached and takes our credentials token: one small request each, all at once."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import aiosqlite

from agent.config import Config
from agent.diagnosis.databases import read_only_uri
from agent.diagnosis.finding import Finding, bad, good, warning
from agent.errors import ConfigError
from agent.model import Outcome
from agent.ocpi.failures import Failure
from agent.peering import PeerTerms, client_of, configured, registered
from agent.store.database import ReadOnlyDatabase
from agent.store.failures import explained
from agent.store.peers import Relations
from hw.patience import begun

P = ParamSpec("P")
T = TypeVar("T")

LIMIT_S = 10.0
"""For each peer, looking up its modules and its list: a driver would not wait half as long."""


def terms_of_peers(config: Config, path: Path) -> list[PeerTerms]:
    """Everybody who is asked about cards. Raises ConfigError, StoreError."""
    return [*configured(config, path), *registered_terms(config)]


def registered_terms(config: Config) -> list[PeerTerms]:
    """Those of the registrations. Raises StoreError."""
    state = Path(config.storage.directory) / "state.db"
    return asyncio.run(_registered(config, state)) if state.exists() else []


async def _registered(config: Config, state: Path) -> list[PeerTerms]:
    with explained(state, "open"):
        kept = ReadOnlyDatabase(state, await aiosqlite.connect(read_only_uri(state), uri=True))
    try:
        return registered(await Relations(kept).relations(), config)
    finally:
        await kept.close()


def peer_findings(
    terms: Sequence[PeerTerms], config: Config, *, tokens: int, limit_s: float = LIMIT_S
) -> list[Finding]:
    """One for each, within `limit_s`. `tokens`: how many cards could be decided without them."""
    return asyncio.run(_all_asked(terms, config, tokens, limit_s))


def no_peer_finding(*, tokens: int) -> Finding:
    """That there is nobody to ask, and how much is left then."""
    advice = "[[peer]] in the configuration, or chargepoint-agent peers register"
    if not tokens:
        return bad("peers", "there is none, and no list has a token, so no card can be accepted", advice)
    return warning("peers", f"there is none: no card but those of {tokens} imported tokens can be accepted", advice)


class _Lookups(ThreadPoolExecutor):
    """Looks names up, each in a thread that nobody waits for.

    Where no name server answers that takes half a minute, and neither the loop's end nor the program's would come
    before it with the threads that a loop has of its own.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Executor.submit`."""
        return begun(lambda: call(*args, **kwargs), "look up")


async def _all_asked(terms: Sequence[PeerTerms], config: Config, tokens: int, limit_s: float) -> list[Finding]:
    asyncio.get_running_loop().set_default_executor(_Lookups())
    failures = await asyncio.gather(*(_asked(each, config, limit_s) for each in terms))
    nobody = all(failures) and not tokens
    return [_finding(each, failure, nobody=nobody) for each, failure in zip(terms, failures, strict=True)]


async def _asked(terms: PeerTerms, config: Config, limit_s: float) -> Failure | None:
    try:
        client = client_of(terms, config)
    except ConfigError as error:
        return Failure(Outcome.UNREACHABLE, str(error))
    try:
        async with asyncio.timeout(limit_s):
            return await client.probe()
    except TimeoutError:
        return Failure(Outcome.TIMEOUT, f"no answer within {limit_s:g} s, from it or from the network's name server")
    finally:
        await client.aclose()


def _finding(terms: PeerTerms, failure: Failure | None, *, nobody: bool) -> Finding:
    subject = f"peer {terms.name}"
    if failure is None:
        return good(subject, "answers, and takes our credentials token")
    if failure.outcome is Outcome.UNAUTHORIZED:
        return bad(subject, f"does not take our credentials token: {failure.detail}", terms.renewal)
    remedy = f"check the network and its URL; chargepoint-agent peers check {terms.name} goes through all of it"
    if nobody:
        return bad(subject, f"{failure.detail}; and no list has a token, so no card can be accepted", remedy)
    return warning(subject, f"{failure.detail}: cards are decided from its list", remedy)
