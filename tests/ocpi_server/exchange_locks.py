"""The right to an exchange with one peer, over all processes of a site, as the agent and its commands have it."""

from contextlib import AbstractContextManager
from pathlib import Path

from agent.errors import BusyError
from agent.runtime.sync_lock import locked


class Locks:
    """A file beside the stores for each peer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def alone(self, name: str) -> AbstractContextManager[None]:
        return locked(self._folder / f"exchange-{name}.lock", f"another exchange with peer {name} is under way")

    def is_held(self, name: str) -> bool:
        try:
            with self.alone(name):
                return False
        except BusyError:
            return True
