"""An eMSP and we, each a process of its own, and two operators who do what a note of ours says."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from tests.ocpi_server.lives import Life, Mother, Refused, held_port

Party = Literal["ours", "theirs"]


class Pair:
    """Both parties, alive unless one has just been killed. Every act raises Refused, and Died."""

    def __init__(self, mother: Mother, settings: dict[Party, dict[str, Any]], variant: int) -> None:
        self.variant = variant
        """Chooses between what may come in either order, and between ways that a note leaves open."""
        self.token_a = ""
        """What their operator has given to ours last."""
        self.invitation: dict[str, str] = {}
        """What our operator has given to theirs last."""
        self.silence = ""
        """Why they did not talk."""
        self._mother = mother
        self._settings = settings
        self._lives: dict[Party, Life] = {}

    async def rise(self, party: Party, state: Any = None) -> None:
        """Start a party: ours on its files, theirs with what it knew."""
        given = self._settings[party] if party == "ours" else self._settings[party] | {"relation": state}
        self._lives[party] = await self._mother.life(party, **given)

    async def end(self) -> None:
        """Kill both."""
        for life in self._lives.values():
            await life.end()

    def __getitem__(self, party: Party) -> Life:
        return self._lives[party]

    # ---- acts

    async def we_are_invited(self) -> None:
        self.token_a = await self["theirs"].do("invite")

    async def we_register(self) -> None:
        await self["ours"].do(
            "register", f"http://127.0.0.1:{self._settings['theirs']['port']}/ocpi/versions", self.token_a
        )

    async def we_rotate(self) -> None:
        await self["ours"].do("rotate")

    async def we_unregister(self) -> None:
        await self["ours"].do("unregister")

    async def they_are_invited(self) -> None:
        self.invitation = await self["ours"].do("invite")

    async def they_register(self) -> None:
        await self["theirs"].do("register_with", self.invitation["versions_url"], self.invitation["token"])

    async def they_rotate(self) -> None:
        await self["theirs"].do("rotate")

    async def they_unregister(self) -> None:
        await self["theirs"].do("unregister")

    async def they_put(self) -> None:
        await self["theirs"].do("put")

    async def registered_by_us(self) -> None:
        await self.we_are_invited()
        await self.we_register()

    async def registered_by_them(self) -> None:
        await self.they_are_invited()
        await self.they_register()

    async def registered_by_them_and_in_use(self) -> None:
        await self.registered_by_them()
        await self.they_put()

    # ---- what became of it

    async def our_relation(self) -> tuple[str, str]:
        """Status and note, empty where there is none."""
        found = await self["ours"].do("relation") or {"status": "", "note": ""}
        return found["status"], found["note"]

    async def they_are_registered(self) -> bool:
        found: bool = await self["theirs"].do("registered")
        return found

    async def talking(self) -> bool:
        """Whether each gets through to the other. Who begins depends on the variant: it may settle something."""
        if not await self.they_are_registered():
            return False
        ways: list[Act] = [Pair.we_talk, Pair.they_put]
        try:
            for way in ways if self.variant & 2 else reversed(ways):
                await way(self)
        except Refused as refused:
            self.silence = str(refused)
            return False
        return True

    async def we_talk(self) -> None:
        await self["ours"].do("talk")


Act = Callable[[Pair], Awaitable[None]]


@asynccontextmanager
async def pair_in(folder: Path, mother: Mother, *, lenient: bool, variant: int) -> AsyncIterator[Pair]:
    """Both alive, and strangers to each other; our files are in `folder`."""
    with held_port() as our_port, held_port() as their_port:
        settings: dict[Party, dict[str, Any]] = {
            "ours": {"folder": str(folder), "port": our_port},
            "theirs": {"port": their_port, "lenient": lenient},
        }
        pair = Pair(mother, settings, variant)
        try:
            await pair.rise("ours")
            await pair.rise("theirs")
            yield pair
        finally:
            await pair.end()


# ---- what our note says, done by the two operators


async def register_again_with_the_same_token(pair: Pair) -> None:
    try:
        await pair.we_register()
    except Refused:
        _, note = await pair.our_relation()
        assert "let its operator end it there and give you a new token, or let it update its credentials" in note
        if pair.variant & 1 and await pair.they_are_registered():
            await pair.they_rotate()
        else:
            await register_anew(pair)


async def rotate_again(pair: Pair) -> None:
    try:
        await pair.we_rotate()
    except Refused:
        _, note = await pair.our_relation()
        assert "unregister here and there, and register anew" in note
        await pair["ours"].do("unregister", {"force": True})
        await register_anew(pair)


async def register_anew(pair: Pair) -> None:
    await pair["theirs"].do("end")
    await pair.registered_by_us()


async def unregister_again(pair: Pair) -> None:
    with suppress(Refused):
        await pair.we_unregister()
    await register_anew(pair)


async def invite_anew(pair: Pair) -> None:
    await pair["theirs"].do("end")
    await pair.registered_by_them()


NOTES: Sequence[tuple[str, Act]] = (
    ("register again with the same token", register_again_with_the_same_token),
    ("rotate again", rotate_again),
    ("unregister again", unregister_again),
    ("let it try again, with a new invitation", invite_anew),
    ("let it try again", Pair.they_rotate),
    ("the peer has ended the relation", invite_anew),
)
"""Words of a note, and what they ask for; the first that are found count."""


async def go_on(pair: Pair) -> str:
    """Get two that do not talk to talk again, as our operator would; returns what that took.

    Raises AssertionError where they disagree about that and no note says how to go on.
    """
    status, note = await pair.our_relation()
    they_are_registered = await pair.they_are_registered()
    if status in {"", "invited", "unregistered"} and not they_are_registered:
        await (Pair.they_register if status == "invited" else register_anew)(pair)
        return "nobody is registered"
    known = next(((words, act) for words, act in NOTES if words in note), None)
    assert known is not None, f"we are {status!r}, they are registered: {they_are_registered}; {pair.silence}: {note!r}"
    words, act = known
    await act(pair)
    return words
