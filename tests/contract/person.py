"""The person who is the world side of real devices: asked on a terminal, or scripted through pipes."""

import asyncio
import threading
from contextlib import suppress
from typing import TextIO

import pytest

PERSON = "person"
"""The thread that waits for an answer."""

SKIP = "s"
"""What to answer instead of doing what was asked for."""


class Person:
    """Reads one question a line and answers with a line: Enter for done, `s` for what can't be done here."""

    def __init__(self, hears: TextIO, says: TextIO) -> None:
        """`hears` is what the person reads, and `says` where the answers come from: not pytest's, which captures."""
        self.hears = hears
        self._says = says

    async def does(self, what: str) -> None:
        """Ask for a deed and wait until it is done; the drivers work on meanwhile."""
        self._checked(await self._answer(f"{what}, then press Enter"))

    async def confirms(self, what: str) -> bool:
        """Ask whether something is so."""
        return self._agrees(await self._answer(f"{what}? [y/n]"))

    async def describes(self, what: str) -> str:
        """Ask for a few words; none where there is nothing to tell."""
        return self._checked(await self._answer(f"{what}? In a few words, just Enter for nothing"))

    def sees(self, what: str) -> bool:
        """Ask whether something is so, and let everything wait for the answer."""
        self._ask(f"{what}? [y/n]")
        return self._agrees(self._says.readline())

    async def _answer(self, question: str) -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def hand_over(line: str) -> None:
            if not answer.done():
                answer.set_result(line)

        def listen() -> None:
            line = self._says.readline()
            with suppress(RuntimeError):  # the test is over, and its loop with it
                loop.call_soon_threadsafe(hand_over, line)

        self._ask(question)
        # A daemon: somebody who went home does not keep the run from ending.
        threading.Thread(target=listen, name=PERSON, daemon=True).start()
        return await answer

    def _ask(self, question: str) -> None:
        self.hears.write(f">>> {question}\n")
        self.hears.flush()

    def _checked(self, line: str) -> str:
        if not line.endswith("\n"):
            pytest.fail("nobody answers: standard input has ended", pytrace=False)
        words = line.strip().lower()
        if words == SKIP:
            pytest.skip("the person could not do that here")
        return words

    def _agrees(self, line: str) -> bool:
        return self._checked(line) in {"y", "yes"}
