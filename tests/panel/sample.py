"""The panel on values that are made up, for whoever works on its page: `python -m tests.panel.sample [PORT] [--login]`.

The page's files are read anew for each request. With `--login` the user is `anna` and the password `correct horse`.
"""

import asyncio
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from agent.ocpi.server.asgi import Receive, Scope, Send
from agent.panel.app import PanelApp
from agent.panel.exchange import json_bytes
from agent.panel.guard import Guard
from agent.panel.login import Login
from agent.panel.pages import pages_of
from agent.panel.passwords import credential_for, set_password
from agent.panel.place import place_of
from agent.panel.server import PanelServer
from agent.panel.stream import Stream

STARTED = datetime.now(UTC)
PHASES = (
    ("available", "ready", "out", "open", ("Hold card to", "the reader", "", "")),
    ("authorizing", "asking", "out", "open", ("One moment, asking", "your provider …", "", "")),
    ("waiting-for-plug", "plug-in", "out", "open", ("Accepted", "Plug in the cable", "", "")),
    ("charging", "charging", "in", "closed", ("Charging", "{kwh} kWh  11.0 kW", "€ {cost}", "")),
    ("suspended", "paused", "in", "closed", ("Paused by the car", "{kwh} kWh", "", "")),
    ("waiting-for-unplug", "done", "in", "open", ("Finished: {kwh} kWh", "Unplug the cable", "", "")),
    ("faulted", "fault", "unknown", "open", ("Out of order", "Störung · en panne", "", "")),
)


def moment(ago_s: float = 0.0) -> str:
    """As the panel writes a time."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def state() -> dict[str, Any]:
    """A state with everything in it, which goes on with the time."""
    age_s = (datetime.now(UTC) - STARTED).total_seconds()
    wh = int(1234 + age_s * 3)
    return {
        "at": moment(),
        "agent": {
            "version": "0.1.0",
            "uptime_s": int(age_s),
            "status": "2 EVSEs: DE*EXA*E1 charging, DE*EXA*E2 available · peers: emsp up, hub down",
            "policy": {"deadline_ms": 5000.0},
        },
        "evses": [evse("DE*EXA*E1", 3, wh), evse("DE*EXA*E2", int(age_s / 6) % len(PHASES), wh)],
        "taps": [tap(number) for number in range(14, 0, -1)],
        "readers": [
            {"name": "door", "state": "ready", "advice": "", "bad_frames": 2},
            {
                "name": "side",
                "state": "missing",
                "advice": "/dev/ttyUSB1 is not there: plug the reader in",
                "bad_frames": 0,
            },
        ],
        "peers": [
            {
                "name": "emsp",
                "up": True,
                "breaker": "closed",
                "rejects_credentials": False,
                "latency_ms": 23.4,
                "tokens": 1234,
                "synced_at": moment(180 + age_s),
            },
            {
                "name": "hub",
                "up": False,
                "breaker": "open",
                "rejects_credentials": False,
                "latency_ms": None,
                "tokens": 0,
                "synced_at": None,
            },
        ],
        "whitelist": {"tokens": 1234, "oldest_sync_s": int(180 + age_s)},
        "sessions": [session(number, wh) for number in range(7, 0, -1)],
        "outbox": {"sessions": 1, "cdrs": 1, "parked": 1},
    }


def evse(uid: str, phase: int, wh: int) -> dict[str, Any]:
    """One charge point."""
    name, signal, plug, relay, lines = PHASES[phase]
    shown = [line.format(kwh=f"{wh / 1000:.2f}", cost=f"{wh * 0.0005:.2f}") for line in lines]
    is_charging = name in {"charging", "suspended"}
    return {
        "uid": uid,
        "phase": name,
        "live": True,
        "display": {"lines": shown, "columns": 20, "rows": 4},
        "signal": signal,
        "plug": plug,
        "relay": relay,
        "relay_fault": "welded: the contactor stays closed" if name == "faulted" else "",
        "lost": ["meter"] if name == "faulted" else [],
        "session": {
            "id": 7,
            "energy_wh": wh,
            "power_w": 11000.0 if name == "charging" else 0.0,
            "cost": f"{wh * 0.0005:.2f} EUR",
            "since": moment(600),
        }
        if is_charging
        else None,
    }


TAPS = (
    ("accepted", "whitelisted", "whitelist", "listed as ALWAYS by DE-ABC", 0.0, None, "Accepted\nPlug in the cable"),
    ("accepted", "allowed", "realtime", "emsp answered in 23 ms", 23.4, "emsp", "Accepted\nHello Anna"),
    ("refused", "blocked", "realtime", "emsp says BLOCKED", 31.0, "emsp", "Refused\nCard is blocked"),
    ("accepted", "timeout", "fallback", "no answer by the deadline; ALLOWED_OFFLINE", 4750.0, "emsp", "Accepted"),
    ("refused", "timeout", "fallback", "no answer by the deadline; NEVER is not accepted", 4750.0, "emsp", "Refused"),
    ("refused", "not-in-whitelist", "local", "no list names this card", 0.0, None, "Unknown card\nCall 0800 123456"),
    ("refused", "too-many-refused", "local", "5 cards were refused within 60 s", 0.0, None, "Please wait"),
)


def tap(number: int) -> dict[str, Any]:
    """One of the last."""
    verdict, reason, source, why, peer_ms, peer, text = TAPS[number % len(TAPS)]
    times = {"whitelist": 0.4, "peer": peer_ms, "record": 0.8, "relay": 0.1 if verdict == "accepted" else 0.0}
    return {
        "id": number,
        "at": moment(20 * (15 - number)),
        "evse": "DE*EXA*E1",
        "reader": "door",
        "uid": f"04A1…{number:02X}",
        "verdict": verdict,
        "reason": reason,
        "why": why,
        "source": source,
        "text": text,
        "peer": peer,
        "reference": f"REF-{number}" if peer and verdict == "accepted" else None,
        "deadline_ms": 5000.0,
        "times_ms": {**times, "total": round(sum(times.values()), 1)},
    }


def session(number: int, wh: int) -> dict[str, Any]:
    """One charge."""
    runs = number == 7
    cdrs = ("due", "acknowledged", "parked")
    problem = "HTTP 503" if number % 3 == 0 else "2001: the tariff is not known" if number % 3 == 2 else None
    return {
        "id": number,
        "session_id": f"3f2b6c1e-0000-4000-8000-00000000000{number}",
        "evse": "DE*EXA*E1",
        "state": "active" if runs else "ended",
        "started_at": moment(600 * (8 - number)),
        "ended_at": None if runs else moment(600 * (8 - number) - 300),
        "energy_wh": wh if runs else 1000 * number,
        "cost": f"{number / 2:.2f} EUR",
        "reference": f"REF-{number}" if number % 2 else None,
        "delivery": ("due", "told", "rejected")[number % 3],
        "cdr": None if runs else {"id": f"CDR-{number}", "state": cdrs[number % 3], "problem": problem},
    }


async def explained(uid: str) -> object:
    """What `/cards` says of a card that must be asked about, and of one that need not."""
    if not uid.strip():
        raise ValueError("the uid is empty")
    listed = {"owner": "DE-ABC", "peer": "emsp", "valid": True, "withdrawn": False, "fresh": True}
    if uid.strip().upper().endswith("1"):
        at_once = {"verdict": "accepted", "reason": "whitelisted", "source": "whitelist", "why": "listed as ALWAYS"}
        return {
            "uid": "04A1…F1",
            "listed": [{**listed, "whitelist": "ALWAYS"}],
            "refused_at": [],
            "at_once": at_once,
            "asked": [],
            "outcomes": [],
        }
    outcomes = (("allows", "accepted"), ("refuses", "refused"), ("unknown", "refused"), ("silent", "accepted"))
    return {
        "uid": "04A1…F2",
        "listed": [{**listed, "whitelist": "ALLOWED_OFFLINE"}],
        "refused_at": [],
        "at_once": None,
        "asked": [{"peer": "emsp", "now": True}],
        "outcomes": [
            {"when": when, "verdict": verdict, "reason": "…", "source": "realtime", "why": f"the peer {when}"}
            for when, verdict in outcomes
        ],
    }


async def revealed(tap_id: int, user: str, client: str) -> str | None:
    """Any of the taps that are shown."""
    return f"04A1B2C3D4E5{tap_id:02X}" if 0 < tap_id < 15 else None


async def main(port: int, *, with_login: bool) -> None:
    """Serve until interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "logins" if with_login else None
        if file is not None:
            set_password(file, credential_for("anna", "correct horse"))
        place = place_of(f"127.0.0.1:{port}", login_file=file)

        async def look() -> bytes:
            return json_bytes(state())[1:]

        stream = Stream(look)
        app = PanelApp(
            guard=Guard(scheme="http", is_loopback=True),
            login=Login(file, secure=False, time=monotonic),
            stream=stream,
            pages={},
            explains=explained,
            reveals=revealed,
        )

        async def fresh(scope: Scope, receive: Receive, send: Send) -> None:
            app.pages = pages_of()
            await app(scope, receive, send)

        server = PanelServer(fresh, place)
        print(f"the sample panel: {place.url(server.port)}", flush=True)
        await asyncio.gather(server.run(), stream.run())


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(words[0]) if words else 8470, with_login="--login" in sys.argv))
