"""The agent as a process of its own on mock pins, whose levels go out through a pipe: what `test_kill` kills.

    python -m tests.scenario.agent_process CONFIG FD [EXIT]

With EXIT, showing that a card is accepted calls for the end of the process: a fault that no part of it foresees.
"""

import asyncio
import io
import logging
import sys
from pathlib import Path


class Leaves(io.StringIO):
    """A display's stream that would take the process along."""

    def write(self, text: str) -> int:
        if "accepted" in text:
            raise SystemExit(3)
        return super().write(text)


def main(config_path: str, fd: str, leaves: str = "") -> None:
    """Run until told to stop."""
    if leaves:
        sys.stdout = Leaves()
    from agent.config import load  # noqa: PLC0415  a display binds its stream at import
    from agent.main import run_agent  # noqa: PLC0415
    from fakes.pins import mock_pins, write_levels  # noqa: PLC0415

    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    mock_pins(write_levels(int(fd)))
    asyncio.run(run_agent(load(Path(config_path)), Path(config_path)))


if __name__ == "__main__":
    main(*sys.argv[1:])
