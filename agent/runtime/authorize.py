"""Asks peers about one tap, all at once, until the deadline; what comes later still comes out.

The scatter knows three things: whom to ask, until when, and that the first ALLOWED ends the wait. What an
answer means for the driver is `agent.core.decide`'s business.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

from agent.core.decide import is_final
from agent.model import Answer, Answers, Outcome, Question, Target
from agent.ports import Backend
from agent.runtime.peer import Peer


class _Asked(NamedTuple):
    peer: Peer
    target: Target | None


_Pending = dict[asyncio.Task[Answer], _Asked]


class PeerBackend:
    """The backend that asks OCPI peers. `close` gives up what is still outstanding."""

    def __init__(self, peers: Sequence[Peer], *, late_window_s: float) -> None:
        """`late_window_s`: how long after the deadline an answer is still waited for."""
        self._peers = {peer.name: peer for peer in peers}
        self._late_window_s = late_window_s
        self._outstanding: set[asyncio.Task[Answer]] = set()

    async def ask(self, question: Question, until: float) -> Answers:
        """Ask, and return at the first ALLOWED, when all have answered, or by loop time `until`.

        Cancelling leaves the questions running until `close`, as if the deadline had come.
        """
        given, pending = self._start(question)
        loop = asyncio.get_running_loop()
        while pending and not any(is_final(answer) for answer in given):
            done, _ = await asyncio.wait(
                pending, timeout=max(0.0, until - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                given += [_missed(asked) for asked in pending.values()]
                break
            # A set has no order of arrival; the peers' own order at least is the same every time.
            given += [_taken(task, pending.pop(task)) for task in list(pending) if task in done]
        late = self._late(pending, until + self._late_window_s) if pending else None
        return Answers(tuple(given), late)

    async def close(self) -> None:
        """Give up every question that is still outstanding."""
        outstanding = list(self._outstanding)
        for task in outstanding:
            task.cancel()
        await asyncio.gather(*outstanding, return_exceptions=True)

    def _start(self, question: Question) -> tuple[list[Answer], _Pending]:
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
                given.append(Answer(name, Outcome.NO_PEER, "it is no longer configured", target=target))
            elif not peer.is_asked:
                why = "not asked: it has been silent and is being probed"
                given.append(Answer(name, Outcome.BREAKER_OPEN, why, target=target))
            else:
                task = asyncio.get_running_loop().create_task(peer.authorize(question, target))
                pending[task] = _Asked(peer, target)
                self._outstanding.add(task)
                task.add_done_callback(self._outstanding.discard)
        return given, pending

    async def _late(self, pending: _Pending, until: float) -> AsyncGenerator[Answer, None]:
        """What still comes, until loop time `until`; then the rest is given up."""
        loop = asyncio.get_running_loop()
        waiting: Mapping[asyncio.Task[Answer], _Asked] = pending
        try:
            while waiting and (left := until - loop.time()) > 0:
                done, _ = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                waiting = {task: asked for task, asked in waiting.items() if task not in done}
                for task in done:
                    if not task.cancelled():  # given up by `close`: no answer, and no reason to cancel who waits
                        yield task.result()
        finally:
            for task in waiting:
                task.cancel()


def _taken(task: asyncio.Task[Answer], asked: _Asked) -> Answer:
    answer = task.result()
    asked.peer.answered(answer)
    return answer


def _missed(asked: _Asked) -> Answer:
    asked.peer.missed_deadline()
    return Answer(asked.peer.name, Outcome.TIMEOUT, "no answer by the deadline", target=asked.target)


def _fits(backend: PeerBackend) -> Backend:
    return backend
