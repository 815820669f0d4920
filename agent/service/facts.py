"""How a running agent stands, as plain values: for systemd's status line, for metrics, for whoever watches.

`Lookout.facts` takes microseconds and touches no disk. What only a database knows is refreshed by `Lookout.count`, in
connections of its own, so that no tap waits for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.charges import Backlog
from agent.core.evse_state import Authorizing, Charging, Faulted, Suspended, WaitingForPlug, WaitingForUnplug
from agent.ports import Reader, ReaderState
from agent.runtime.charge_point import EvseTapLoop
from agent.runtime.outlets import Outlets
from agent.runtime.peer import Peer
from agent.store.whitelist import LastSync, TokenCount

PHASES = ("available", "authorizing", "waiting-for-plug", "charging", "suspended", "waiting-for-unplug", "faulted")
"""What `EvseFacts.phase` may be: the phases of `agent.core.evse_state`."""

_NAMES = {
    Authorizing: "authorizing",
    WaitingForPlug: "waiting-for-plug",
    Charging: "charging",
    Suspended: "suspended",
    WaitingForUnplug: "waiting-for-unplug",
    Faulted: "faulted",
}


@dataclass(frozen=True, slots=True)
class EvseFacts:
    """One EVSE."""

    uid: str
    phase: str
    is_live: bool
    """Whether a card held to it now would be decided."""
    relay_closed: bool
    """Whether current is meant to flow."""
    relay_fault: str
    """Why its relay or contactor is out of order; empty when it is not."""
    lost: tuple[str, ...]
    """The devices that are lost: reader, relay, plug, meter."""


@dataclass(frozen=True, slots=True)
class ReaderFacts:
    """One reader; `state` is None until it has first spoken."""

    name: str
    state: ReaderState | None
    advice: str
    bad_frames: int


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """One peer; `tokens` and `synced_at` are as of the last count."""

    name: str
    is_asked: bool
    """False while its breaker is open."""
    rejects_credentials: bool
    tokens: int
    """Valid ones of it in the whitelist."""
    synced_at: datetime | None
    """The end of its last complete sync."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it, at one moment."""

    evses: tuple[EvseFacts, ...]
    readers: tuple[ReaderFacts, ...]
    peers: tuple[PeerFacts, ...]
    backlog: Backlog
    """What the peers have still to be told, as of the last count."""

    @property
    def is_ready(self) -> bool:
        """Whether a card held to any EVSE would be decided: every loop works and every reader has spoken."""
        return all(evse.is_live for evse in self.evses) and all(reader.state for reader in self.readers)


class CountsTokens(Protocol):
    """`agent.store.whitelist.Whitelist` has it."""

    async def count(self) -> dict[str, TokenCount]:
        """By peer. Raises StoreError."""
        ...

    async def sync_states(self) -> dict[str, LastSync]:
        """By peer. Raises StoreError."""
        ...


class CountsReports(Protocol):
    """`agent.store.sessions.SessionStore` has it."""

    async def backlog(self) -> Backlog:
        """What is due, and what waits for somebody. Raises StoreError."""
        ...


class Lookout:
    """Looks at the parts of a running agent."""

    def __init__(
        self,
        evses: Sequence[EvseTapLoop],
        readers: Sequence[tuple[Reader, Outlets]],
        peers: Mapping[str, Peer],
        whitelist: CountsTokens,
        sessions: CountsReports,
    ) -> None:
        """All parts are the agent's own; `peers` may change while it runs."""
        self._evses = tuple(evses)
        self._readers = tuple(readers)
        self._peers = peers
        self._whitelist = whitelist
        self._sessions = sessions
        self._tokens: Mapping[str, TokenCount] = {}
        self._synced: Mapping[str, LastSync] = {}
        self._backlog = Backlog()

    async def count(self) -> None:
        """Look into the databases anew. Raises StoreError, and keeps what was counted before."""
        self._tokens = await self._whitelist.count()
        self._synced = await self._whitelist.sync_states()
        self._backlog = await self._sessions.backlog()

    def facts(self) -> Facts:
        """How it stands now."""
        return Facts(
            evses=tuple(_evse(evse) for evse in self._evses),
            readers=tuple(_reader(reader, outlets) for reader, outlets in self._readers),
            peers=tuple(self._peer(peer) for peer in self._peers.values()),
            backlog=self._backlog,
        )

    def _peer(self, peer: Peer) -> PeerFacts:
        tokens, synced = self._tokens.get(peer.name), self._synced.get(peer.name)
        return PeerFacts(
            name=peer.name,
            is_asked=peer.is_asked,
            rejects_credentials=peer.rejects_credentials,
            tokens=tokens.valid if tokens else 0,
            synced_at=synced.completed_at if synced else None,
        )


def _evse(evse: EvseTapLoop) -> EvseFacts:
    state = evse.state
    return EvseFacts(
        uid=evse.evse_uid,
        phase=_NAMES.get(type(state.phase), "available") if evse.is_live else "faulted",
        is_live=evse.is_live,
        relay_closed=state.relay_closed,
        relay_fault=evse.relay_fault,
        lost=tuple(sorted(device.value for device in state.lost)),
    )


def _reader(reader: Reader, outlets: Outlets) -> ReaderFacts:
    state, advice = outlets.reader_state or (None, "")
    return ReaderFacts(reader.name, state, advice, reader.bad_frames)
