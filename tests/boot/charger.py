"""A charger in a machine of its own: the installed agent as its service, and devices that are not there.

`prepare` writes what an installer would write, and the stand-ins' unit; `deb` is what dpkg gets.
"""

import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.boot.journal import Entry, message
from tests.boot.machine import Machine

UNIT = "chargepoint-agent.service"
USER = "chargepoint-agent"
COMMAND = "/usr/bin/chargepoint-agent"
PYTHON = "/usr/lib/chargepoint-agent/bin/python3"
CONFIG = "/etc/chargepoint-agent/chargepoint-agent.toml"
STATE = "/var/lib/chargepoint-agent"
STAND_INS = "/run/stand-ins"

SERIAL_CARDS = ("0100A1B2C3", "0200A1B2C3", "0300A1B2C3", "0400A1B2C3", "0500A1B2C3")
PCSC_CARDS = ("04A1B2FF80C3E1", "04A1B2FF80C3E2", "04A1B2FF80C3E3", "04A1B2FF80C3E4", "04A1B2FF80C3E5")

AT_SERIAL, AT_PCSC = "DE*EXA*E1", "DE*EXA*E2"
CHANNEL = {AT_SERIAL: 1, AT_PCSC: 2}

HANG_S = 60.0
_LOOK_S = 0.02

T = TypeVar("T")

CONFIGURATION = f"""
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
address = "Market Street 1"
city = "Exampleton"
country = "DEU"
latitude = "52.51631"
longitude = "13.37770"
[storage]
directory = "{STATE}"
[clock]
trusted = true      # who sets the clock of a container's host can't be seen in it
[policy]
deadline_s = 30.0   # the machine may be slow, and no test is about that
stop_after_s = 0.0
[billing]
tariff_file = "tariff.json"
[[peer]]
name = "nobody"
country_code = "DE"
party_id = "EMS"
versions_url = "http://127.0.0.1:9/ocpi/versions"
token_credential = "peers_nobody"
allow_http = true
[[reader]]
name = "serial"
kind = "rdm6300"
port = "{STAND_INS}/card-reader"
reopen_s = 0.1
[[reader]]
name = "desk"
kind = "pcsc"
reopen_s = 0.1
removal_s = 0.1
[[evse]]
uid = "{AT_SERIAL}"
id = "{AT_SERIAL}"
readers = ["serial"]
connector = {{ standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
relay = {{ kind = "lcus", port = "{STAND_INS}/relays", channel = 1 }}
[[evse]]
uid = "{AT_PCSC}"
id = "{AT_PCSC}"
readers = ["desk"]
connector = {{ standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }}
relay = {{ kind = "lcus", port = "{STAND_INS}/relays", channel = 2 }}
"""

# Plugged in before the agent looks, as what is screwed down in a charger; at a boot as well.
STAND_INS_UNIT = f"""
[Unit]
Description=Devices that are not there
Before={UNIT}
[Service]
Type=notify
RuntimeDirectory=stand-ins
ExecStart={PYTHON} -m fakes.stand_ins {STAND_INS}
[Install]
WantedBy=multi-user.target
"""

TARIFF = {
    "country_code": "DE",
    "party_id": "EXA",
    "id": "STANDARD",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "FLAT", "price": 1.0, "step_size": 1}]}],
    "last_updated": "2026-01-01T00:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Move:
    """A relay that moved; `at` by the monotonic clock of both machines."""

    at: float
    channel: int
    closed: bool


class Charger:
    """What a person at the charger can do, and what a monitor sees."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    # ---- the installer

    def install(self, package: Path) -> str:
        """As `apt install ./package`, without a network. What it says."""
        self.machine.write(f"/root/{package.name}", package.read_bytes())
        done = self.machine.run(
            "env", "DEBIAN_FRONTEND=noninteractive",
            "apt-get", "install", "--yes", "--allow-downgrades", f"/root/{package.name}",
        )  # fmt: skip
        self.machine.run("rm", f"/root/{package.name}")
        return done.stdout + done.stderr

    def configure(self) -> None:
        """What an installer fills in, the devices, the cards, and the first start."""
        machine = self.machine
        machine.run("tee", CONFIG, stdin=CONFIGURATION)  # as it is: its owner and mode are the package's
        machine.write("/etc/chargepoint-agent/tariff.json", json.dumps(TARIFF))
        machine.write("/etc/chargepoint-agent/credentials/nobody", "a-token-of-a-peer-that-is-away", mode="0600")
        machine.write("/etc/systemd/system/stand-ins.service", STAND_INS_UNIT)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "enable", "--now", "--quiet", "stand-ins.service")
        tokens = "".join(json.dumps(token(uid)) + "\n" for uid in (*SERIAL_CARDS, *PCSC_CARDS))
        machine.run(COMMAND, "tokens", "import", "-", stdin=tokens, user=USER)
        self.start()

    def drop_in(self, name: str, text: str) -> None:
        """As `systemctl edit`; what runs goes on as it was started."""
        self.machine.write(f"/etc/systemd/system/{UNIT}.d/{name}.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def start(self) -> None:
        """Returns once it is ready."""
        self.machine.run("systemctl", "start", UNIT)

    def stop(self) -> None:
        """Returns once it is over."""
        self.machine.run("systemctl", "stop", UNIT)

    # ---- the driver

    def tap(self, evse: str, uid: str, *, after: str | None = None) -> Entry:
        """Hold a card to the reader of an EVSE for a moment; the agent's line about it."""
        since = after or self.machine.journal.here()
        if evse == AT_SERIAL:
            assert self._ask({"tap": uid}) == {"heard": True}
            return self.decided(evse, after=since)
        self._ask({"lay": uid})
        try:
            return self.decided(evse, after=since)
        finally:
            self._ask({"take": True})

    def decided(self, evse: str, *, after: str) -> Entry:
        """The agent's line about the next card."""
        return self.machine.journal.wait(_says_decided(evse), f"--unit={UNIT}", after=after)

    # ---- the monitor

    def shows(self, name: str) -> str:
        """A property of the unit."""
        return self.machine.says("systemctl", "show", "--value", f"--property={name}", UNIT)

    @property
    def pid(self) -> int:
        """The agent's, by the number that it has here; it must run."""
        return self.machine.pid_of(self.shows("MainPID"))

    def is_closed(self, evse: str) -> bool:
        """Whether current flows."""
        closed: Sequence[bool] = self._ask({})["closed"]
        return closed[CHANNEL[evse] - 1]

    def moves(self) -> list[Move]:
        """All that the relays have done since the machine was booted."""
        text = self.machine.read(f"{STAND_INS}/moves.jsonl")
        return [Move(**json.loads(line)) for line in text.splitlines()]

    def wait_moved(self, fits: Callable[[Move], bool], *, since: float) -> Move:
        """The first move since then that fits."""
        return self.wait_for(lambda: next((move for move in self.moves() if move.at >= since and fits(move)), None))

    def wait_for(self, seen: Callable[[], T | None]) -> T:
        """What is seen as soon as it is: of a relay's move and of a record no event comes out of the machine."""
        until = time.monotonic() + HANG_S
        while (what := seen()) is None:
            assert time.monotonic() < until, f"waited {HANG_S:.0f} s; the relays' moves were {self.moves()}"
            time.sleep(_LOOK_S)
        return what

    def lists(self, *command: str) -> list[dict[str, Any]]:
        """What a command of the agent says with --json, as root types it."""
        said = self.machine.says(COMMAND, *command, "--json")
        return [json.loads(line) for line in said.splitlines()]

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(HANG_S)
            line.connect(str(self.machine.seen_from_here(f"{STAND_INS}/control")))
            line.sendall(json.dumps(order).encode() + b"\n")
            with line.makefile() as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
        return answer


def token(uid: str) -> dict[str, object]:
    """OCPI 2.2.1 mod_tokens, Token: one that is accepted without asking anybody."""
    return {
        "country_code": "DE",
        "party_id": "EMS",
        "uid": uid,
        "type": "RFID",
        "contract_id": f"DE-EMS-C{uid[:8]}",
        "issuer": "Nobody",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": "2026-01-01T00:00:00Z",
    }


def _says_decided(evse: str) -> Callable[[Entry], bool]:
    return message(f"evse={evse} card=", " ms, ")
