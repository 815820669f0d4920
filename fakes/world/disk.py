"""What a power cut leaves of the databases: what was committed by that moment, and nothing that came after it.

An agent that lives in this process can't be killed. It is taken down in good order, and what it writes on its way out
is thrown away: the databases are put back as they were when the power went.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

_COMPANIONS = ("-wal", "-shm")
_MODE = 0o600
"""As the agent makes its own."""


class Disk:
    """The databases in a folder. `keep` while their owner has them open, `put_back` once it has not."""

    def __init__(self, folder: Path) -> None:
        """Copies are made beside the folder, not in it: what lies in there is the agent's."""
        self._folder = folder
        self._copies = folder.with_name(f"{folder.name}-at-power-cut")

    def keep(self) -> None:
        """Note what is committed at this moment. Blocks, for milliseconds: a power cut waits for nobody."""
        self._copies.mkdir(mode=0o700, exist_ok=True)
        for database in self._folder.glob("*.db"):
            copy = self._copies / database.name
            copy.unlink(missing_ok=True)
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE))
            # SQLite's own backup: it sees one committed state. Opening the file itself would drop its owner's locks.
            with (
                closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)

    def put_back(self) -> None:
        """Let the folder hold what was noted."""
        for copy in self._copies.glob("*.db"):
            for companion in _COMPANIONS:
                (self._folder / f"{copy.name}{companion}").unlink(missing_ok=True)
                copy.with_name(f"{copy.name}{companion}").unlink(missing_ok=True)
            copy.replace(self._folder / copy.name)
