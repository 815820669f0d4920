"""A process of its own: charges one car after the other, tells what is on record, and ends by being killed.

A line is `begun ID`, `persisted ID KWH` or `ended ID`, written once the call has returned.
"""

import asyncio
import sys
from pathlib import Path

from tests.store.charge_samples import State, cdr, opened, over, session, stop

PERSISTS = 3


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def charge(state: State, evse_uid: str) -> None:
    authorization_id = await state.begun(tell=True, evse_uid=evse_uid, energy_wh=0, account=b"0")
    tell("begun", authorization_id)
    for energy_wh in range(1, PERSISTS + 1):
        consumed = {"energy_wh": energy_wh, "account": b"%d" % energy_wh, "object": b"o" * 900 * energy_wh}
        await state.sessions.put(session(authorization_id, **consumed), tell=energy_wh % 2 == 0)
        tell("persisted", authorization_id, energy_wh)
    done = over(authorization_id, energy_wh=9, account=b"9")
    await state.sessions.end(done, cdr(authorization_id), stop(authorization_id))
    tell("ended", authorization_id)


async def main(path: Path) -> None:
    async def evse(number: int) -> None:
        while True:
            await charge(state, f"EVSE {number}")

    async with opened(path) as state:
        await asyncio.gather(*(evse(number) for number in range(4)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
