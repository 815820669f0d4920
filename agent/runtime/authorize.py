"""Asks peers about one tap, all at once, until the deadline; what comes later still comes out.

The scatter knows three things: whom to ask, until when, and that the first ALLOWED ends the wait. What an
answer means for the driver is `agent.core.decide`'s business.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import NamedTuple

from agent.core.decide import is_final
from agent.model import Answer, Answers, Outcome, Question, Target
from agent.ports import Backend
from agent.runtime.peer import Peer


class _Asked(NamedTuple):
    peer: Peer
    target: Target | None


SHORTEST_S = 0.02
"""Less than this is not enough for any peer; the question would only leave an authorization behind that nobody uses."""

_Pending = dict[asyncio.Task[Answer], _Asked]


class PeerBackend:
    """The backend that asks OCPI peers. `close` gives up what is still outstanding."""

    def __init__(self, peers: Mapping[str, Peer], *, late_window_s: float, fair_share_s: float = 0.0) -> None:
        """`peers` by their names, as they are at each tap: they come and go.

        `late_window_s`: how long after the deadline an answer is still waited for. `fair_share_s`: a peer that had less
        time than this has not failed: the card had waited behind others.
        """
        self._fair_share_s = fair_share_s
        self._peers = peers
        self._late_window_s = late_window_s
        self._outstanding: set[asyncio.Task[Answer]] = set()

    def use(self, *, late_window_s: float, fair_share_s: float) -> None:
        """From the next question on."""
        self._late_window_s, self._fair_share_s = late_window_s, fair_share_s

    async def ask(self, question: Question, until: float) -> Answers:
        """Ask, and return at the first ALLOWED, when all have answered, or by loop time `until`.

        Cancelling leaves the questions running until `close`, as if the deadline had come.
        """
        loop = asyncio.get_running_loop()
        had_s = until - loop.time()
        given, pending = self._start(question, had_s)
        while pending and not any(is_final(answer) for answer in given):
            done, _ = await asyncio.wait(
                pending, timeout=max(0.0, until - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                given += [_missed(asked, fair=had_s >= self._fair_share_s) for asked in pending.values()]
                break
            # A set has no order of arrival; the peers' own order at least is the same every time.
            given += [_taken(task, pending.pop(task)) for task in list(pending) if task in done]
        return Answers(tuple(given), self._late(pending, until + self._late_window_s) if pending else None)

    async def close(self) -> None:
        """Give up every question that is still outstanding."""
        outstanding = list(self._outstanding)
        for task in outstanding:
            task.cancel()
        await asyncio.gather(*outstanding, return_exceptions=True)

    def _start(self, question: Question, had_s: float) -> tuple[list[Answer], _Pending]:
        """The answers that need no peer, and the questions that are on their way."""
        given: list[Answer] = []
        pending: _Pending = {}
        targets: list[tuple[str, Target | None]] = (
            [(name, None) for name in self._peers]
            if question.targets is None
            else [(target.peer, target) for target in question.targets]
        )
        for name, target in targets:
            peer = self._peers.get(name)
            if peer is None:
                given.append(Answer(name, Outcome.NO_PEER, "there is no peer of this name", target=target))
            elif had_s < SHORTEST_S:
                given.append(Answer(name, Outcome.TIMEOUT, "not asked: no time was left for it", target=target))
            elif not peer.lets_through():
                given.append(peer.not_asked(target))
            else:
                task = asyncio.get_running_loop().create_task(peer.authorize(question, target))
                pending[task] = _Asked(peer, target)
                self._outstanding.add(task)
                task.add_done_callback(self._outstanding.discard)
        return given, pending

    def _late(self, pending: _Pending, until: float) -> AsyncGenerator[Answer, None]:
        """What still comes, until loop time `until`; then the rest is given up, whether anybody listens or not."""
        asyncio.get_running_loop().call_at(until, _give_up, tuple(pending))
        return _as_they_come(set(pending))


async def _as_they_come(waiting: set[asyncio.Task[Answer]]) -> AsyncGenerator[Answer, None]:
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():  # given up: no answer, and no reason to cancel who waits
                yield task.result()


def _give_up(tasks: Iterable[asyncio.Task[Answer]]) -> None:
    for task in tasks:
        task.cancel()


def _taken(task: asyncio.Task[Answer], asked: _Asked) -> Answer:
    answer = task.result()
    asked.peer.answered(answer)
    return answer


def _missed(asked: _Asked, *, fair: bool) -> Answer:
    if fair:
        asked.peer.missed_deadline()
    return Answer(asked.peer.name, Outcome.TIMEOUT, "no answer by the deadline", target=asked.target)


def _fits(backend: PeerBackend) -> Backend:
    return backend
