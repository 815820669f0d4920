"""The configuration read anew while the agent runs (SIGHUP): what can change does, what can't is named.

A file that can't be used changes nothing. Devices, places and prices belong to what runs on them: they need a restart,
which a running session survives where the EVSE has a plug sensor.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import msgspec

from agent.config import Config, load, policy_of, slowdown_of
from agent.errors import ConfigError
from agent.model import Policy
from agent.peering import PeerTerms, configured
from agent.runtime.authorize import PeerBackend
from agent.runtime.charge_point import EvseTapLoop
from agent.runtime.membership import Member, Membership
from agent.runtime.outlets import Outlets
from agent.runtime.sync_schedule import SyncSchedule
from agent.service.changes import changed_keys

log = logging.getLogger(__name__)

LIVE = ("log.level", "policy.", "slowdown.", "sync.every_min", "peer ")
"""How the keys begin that take effect at once; `docs/operate.md` has the list."""


@dataclass(frozen=True, slots=True)
class Changeable:
    """What of a running agent takes new settings."""

    evses: Sequence[EvseTapLoop]
    outlets: Sequence[Outlets]
    backend: PeerBackend
    membership: Membership
    schedule: SyncSchedule
    member_of: Callable[[PeerTerms, Config], Member]
    """Raises ConfigError."""
    on_policy: Callable[[Policy], None] = lambda _: None
    """Called with each that is taken over."""
    reloading: Callable[[], AbstractContextManager[None]] = nullcontext
    """Entered while the configuration is read anew."""


class Reload:
    """Takes what is new in the file into what runs."""

    def __init__(self, config: Config, path: Path, terms: Sequence[PeerTerms], parts: Changeable) -> None:
        """`config` and `terms` are what the agent has started with, read from `path`."""
        self._started_with = config
        self._config = config
        self._path = path
        self._terms = {each.name: each for each in terms}
        self._parts = parts
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Read the file and take in what can be, one reload at a time. The log says what was done, and what not."""
        async with self._turn:
            with self._parts.reloading():
                await self._reload()

    async def _reload(self) -> None:
        try:
            config = load(self._path)
            terms = {each.name: each for each in configured(config, self._path)}
            members = await self._members_of(
                {name: each for name, each in terms.items() if self._terms.get(name) != each}, self._as_it_runs(config)
            )
        except ConfigError as error:
            log.error("the configuration is not taken over, all stays as it was: %s", error)
            return
        gone = self._terms.keys() - terms.keys()
        changed = [key for key in changed_keys(self._config, config) if _is_live(key) and not _is_peer(key)]
        self._take_over(config)
        for name, member in members.items():
            await self._parts.membership.change_fixed(name, member)
        for name in gone:
            await self._parts.membership.remove_fixed(name)
        self._config, self._terms = config, terms
        changed += [f"peer {name}" for name in sorted({*members, *gone})]
        self._tell(changed, [key for key in changed_keys(self._started_with, config) if not _is_live(key)])

    def _as_it_runs(self, config: Config) -> Config:
        """What takes effect of the file: a peer that is new must not be spoken to as somebody whom we are not yet."""
        return msgspec.structs.replace(self._started_with, peer=config.peer, policy=config.policy)

    async def _members_of(self, terms: Mapping[str, PeerTerms], config: Config) -> dict[str, Member]:
        """New ones, of whoever has changed. Raises ConfigError, and has made none then."""
        members: dict[str, Member] = {}
        try:
            for name, each in terms.items():
                members[name] = self._parts.member_of(each, config)
        except ConfigError:
            for member in members.values():
                await member.close()
            raise
        return members

    def _take_over(self, config: Config) -> None:
        policy, parts = policy_of(config.policy), self._parts
        logging.getLogger().setLevel(config.log.level.upper())
        for evse in parts.evses:
            settings = replace(evse.settings, stop_after_s=policy.stop_after_s, late_refusal=policy.late_refusal)
            evse.use(policy, settings)
        for outlets in parts.outlets:
            outlets.use(slowdown_of(config.slowdown))
        parts.backend.use(late_window_s=policy.late_window_s, fair_share_s=policy.fair_share_s)
        parts.membership.use(linger_s=policy.linger_s, answer_within_s=policy.peers_have_s)
        parts.on_policy(policy)
        if config.sync.every_min != self._config.sync.every_min:
            parts.schedule.use(timedelta(minutes=config.sync.every_min))

    def _tell(self, changed: Sequence[str], waiting: Sequence[str]) -> None:
        done = ", ".join(changed) or "nothing that takes effect at once has changed"
        log.info("the configuration was read anew: %s", done)
        if waiting:
            log.warning("these settings need a restart of the agent to take effect: %s", ", ".join(waiting))


def _is_live(key: str) -> bool:
    return key.startswith(LIVE)


def _is_peer(key: str) -> bool:
    return key.startswith("peer ")
