"""`python -m fakes.stand_ins FOLDER`: a charge point's devices as one process, for an agent that is a service.

A card reader and a relay board on pseudo-terminals, owned as udev would have it, and a card's place on pcscd's virtual
reader. The agent finds `card-reader` and `relays` in FOLDER; a test beside it talks to FOLDER/control, a Unix socket
that takes a JSON object a line and answers each with one. Each move of a relay goes to FOLDER/moves.jsonl at once.
"""

import argparse
import asyncio
import grp
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from fakes.relay_boards import LcusBoard
from fakes.serial_line import SerialLine
from fakes.vpcd import CardSlot

CHANNELS = 2

_LOOK_S = 0.005
"""A pseudo-terminal's other end is read when somebody looks: so late, at most, a move has its time."""

_UDEV_GROUP, _UDEV_MODE = "dialout", 0o660
"""What systemd's 50-udev-default.rules give a serial port."""


class StandIns:
    """All of them. `move` writes down what the relays do until cancelled."""

    def __init__(self, folder: Path) -> None:
        """The folder must be there."""
        self.line = SerialLine(folder)
        self.board = LcusBoard(folder, channels=CHANNELS)
        self.slot = CardSlot()
        self._moves = folder / "moves.jsonl"
        self._closed = [False] * CHANNELS

    def plug_in(self) -> None:
        """Both cables, with the rights of real ones."""
        self.line.plug()
        self.board.plug()
        for path in (self.line.path, self.board.path):
            os.chown(path, -1, grp.getgrnam(_UDEV_GROUP).gr_gid)
            path.chmod(_UDEV_MODE)

    def take_down(self) -> None:
        """Everything that would outlive the process."""
        self.slot.remove()
        self.line.unplug()
        self.board.unplug()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> list[bool]:
        """The relays, by channel: whether current flows. What has moved since the last look is written down."""
        closed = [self.board.contact_closed(channel) for channel in range(1, CHANNELS + 1)]
        moved = [number for number in range(CHANNELS) if closed[number] is not self._closed[number]]
        self._closed = closed
        if moved:
            with self._moves.open("a", encoding="utf-8") as file:
                for number in moved:
                    move = {"at": time.monotonic(), "channel": number + 1, "closed": closed[number]}
                    file.write(json.dumps(move) + "\n")
        return closed

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """One order: `{"tap": UID}` at the serial reader, `{"lay": UID}` or `{"take": true}` at the other, or none."""
        if "tap" in order:
            await self.line.wait_opened()
            return {"heard": self.line.present(order["tap"])}
        if "lay" in order:
            self.slot.present(order["lay"])
        if "take" in order:
            self.slot.remove()
        return {"closed": self.look()}


async def run(folder: Path) -> None:
    """Until SIGTERM or SIGINT. Tells systemd that it is ready where that has started it."""
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    devices = StandIns(folder)
    devices.plug_in()
    control = folder / "control"
    control.unlink(missing_ok=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await devices.obey(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    watching = asyncio.create_task(devices.watch())
    try:
        server = await asyncio.start_unix_server(serve, control)
        async with server:
            _tell_ready()
            await asyncio.wait({watching, asyncio.create_task(over.wait())}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        devices.take_down()


def _tell_ready() -> None:
    """sd_notify(3)."""
    if (address := os.environ.get("NOTIFY_SOCKET")) is not None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m fakes.stand_ins", description="Devices that are not there.")
    parser.add_argument("folder", type=Path, help="where they and their control are found")
    asyncio.run(run(parser.parse_args().folder))


if __name__ == "__main__":
    main()
