"""A process of its own: records tap after tap, tells each id once it is acknowledged, and ends by being killed."""

import asyncio
import sys
from pathlib import Path

from agent.store.journal import Journal
from tests.store.samples import entry


async def main(path: Path) -> None:
    journal = await Journal.open(path)

    async def evse(number: int) -> None:
        while True:
            authorization_id = await journal.record(entry(evse_uid=f"EVSE {number}"))
            sys.stdout.write(f"{authorization_id}\n")
            sys.stdout.flush()

    await asyncio.gather(*(evse(number) for number in range(4)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
