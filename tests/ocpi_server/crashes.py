"""Kills an exchange at one of its await points: the store and the peer's connection stop in the middle of it."""

from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The process is gone. No `except Exception` sees it."""


class Fuse:
    """Burns at each await point, before and after what is awaited, and kills at the one that it is set to."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.points = 0

    @property
    def killed(self) -> bool:
        return self.points > self.kill_at

    def burn(self) -> None:
        self.points += 1
        if self.points > self.kill_at:
            raise Killed

    def guard(self, target: Any) -> Any:
        return _Guarded(target, self)

    def guard_all(self, make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: _Guarded(make(*arguments), self)


class _Guarded:
    """The same object with every coroutine under the fuse."""

    def __init__(self, target: Any, fuse: Fuse) -> None:
        self._target = target
        self._fuse = fuse

    async def __aenter__(self) -> Any:
        await self._target.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._target.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        async def under_fuse(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            result = await found(*arguments, **named)
            self._fuse.burn()
            return result

        return under_fuse
