"""States of the panel as the page gets them, by hand: what a test or a picture wants to see, and nothing else."""

from copy import deepcopy
from typing import Any

Board = dict[str, Any]
"""Version 1 of the state, without what is each client's own (`version`, `token`, `login`)."""

LEFT, RIGHT = "DE*EXA*E1", "DE*EXA*E2"

AT = "2027-06-01T10:24:36.000Z"

_EVSE: Board = {
    "uid": LEFT,
    "phase": "available",
    "live": True,
    "display": {"lines": ["Please hold your", "card to the reader"], "columns": 20, "rows": 4},
    "signal": "ready",
    "plug": "out",
    "relay": "open",
    "relay_fault": "",
    "lost": [],
    "session": None,
}

_TAP: Board = {
    "id": 1,
    "at": "2027-06-01T10:24:30.000Z",
    "evse": LEFT,
    "reader": "left",
    "uid": "04A1…F6",
    "verdict": "accepted",
    "reason": "whitelisted",
    "why": "ALWAYS in the list of emsp: accepted without asking",
    "source": "whitelist",
    "text": "Card accepted\nPlease plug in",
    "peer": None,
    "reference": None,
    "deadline_ms": 5000,
    "times_ms": {"whitelist": 0.2, "peer": 0.0, "record": 0.7, "relay": 0.1, "total": 1.2},
}

_SESSION: Board = {
    "id": 1,
    "session_id": "0d7c4a52-5f0e-4a0b-9a39-52d5b1f0a6c1",
    "evse": LEFT,
    "state": "active",
    "started_at": "2027-06-01T09:48:02.000Z",
    "ended_at": None,
    "energy_wh": 1234,
    "cost": "0.62 EUR",
    "reference": None,
    "ended_because": None,
    "delivery": "told",
    "problem": None,
    "cdr": None,
    "no_cdr": None,
}

WALLET = [
    {"uid": "04A1B2C3D4E5F6", "label": "Anna", "what": "ALWAYS, valid"},
    {"uid": "04B7C1D2E3F401", "label": "Ben", "what": "ALLOWED, valid"},
    {"uid": "04C8D9EAFB0C02", "label": "Clara", "what": "ALLOWED_OFFLINE, valid"},
    {"uid": "04D1E2F3A4B503", "label": "Nora", "what": "NEVER: ask its owner"},
    {"uid": "04E9FA0B1C2D04", "label": "Emil", "what": "ALWAYS, no longer valid"},
    {"uid": "04FAB0C1D2E305", "label": "Frida's lost card", "what": "NEVER, blocked by its owner"},
    {"uid": "0401C2D3E4F506", "label": "A stranger", "what": "on no list"},
]

WORLD: Board = {
    "wallet": WALLET,
    "weather": "fine",
    "weathers": ["fine", "slow", "silent", "down", "refusing", "nonsense"],
    "evses": [{"uid": LEFT, "plugged": False}, {"uid": RIGHT, "plugged": True}],
    "power": True,
}


def evse(**changes: Any) -> Board:
    """A free charge point, but for the changes."""
    return deepcopy(_EVSE) | changes


def showing(*lines: str, columns: int = 20, rows: int = 4) -> Board:
    """A display."""
    return {"lines": list(lines), "columns": columns, "rows": rows}


def tap(**changes: Any) -> Board:
    """A whitelisted card, but for the changes."""
    return deepcopy(_TAP) | changes


def session(**changes: Any) -> Board:
    """One that runs, but for the changes."""
    return deepcopy(_SESSION) | changes


def board(**changes: Any) -> Board:
    """A charge point at rest with one EVSE, but for the changes."""
    return {
        "at": AT,
        "agent": {"version": "0.1.0", "uptime_s": 5042, "status": "", "policy": {"deadline_ms": 5000}},
        "evses": [evse()],
        "taps": [],
        "readers": [{"name": "left", "state": "ready", "advice": "", "bad_frames": 0}],
        "peers": [peer()],
        "whitelist": {"tokens": 1234, "oldest_sync_s": 180},
        "sessions": [],
        "outbox": {"sessions": 0, "cdrs": 0, "parked": 0},
    } | changes


def peer(**changes: Any) -> Board:
    """One that answers, but for the changes."""
    return {
        "name": "emsp",
        "up": True,
        "breaker": "closed",
        "rejects_credentials": False,
        "latency_ms": 23.4,
        "tokens": 1234,
        "synced_at": "2027-06-01T10:21:36.000Z",
    } | changes


def busy() -> Board:
    """A charge point in the middle of a day: one EVSE charges, the other waits for its plug."""
    about = {"status": "2 EVSEs: 1 charging, 1 waiting for its plug", "policy": {"deadline_ms": 5000}}
    return board(
        agent={"version": "0.1.0", "uptime_s": 5042, **about},
        evses=[_charging(), _waiting()],
        taps=_taps(),
        readers=[
            {"name": "left", "state": "ready", "advice": "", "bad_frames": 0},
            {"name": "right", "state": "ready", "advice": "", "bad_frames": 2},
        ],
        peers=[
            peer(),
            peer(
                name="hub", up=False, breaker="open", latency_ms=None, tokens=87, synced_at="2027-05-30T22:02:10.000Z"
            ),
        ],
        whitelist={"tokens": 1321, "oldest_sync_s": 130946},
        sessions=_sessions(),
        outbox={"sessions": 1, "cdrs": 1, "parked": 0},
    )


def _charging() -> Board:
    runs = {"id": 7, "energy_wh": 6418, "power_w": 10870.0, "cost": "2.89 EUR", "since": "2027-06-01T09:48:02.000Z"}
    shown = showing("Charging", "6.418 kWh   2.89 EUR", "Hold your card to", "the reader to stop")
    return evse(phase="charging", signal="charging", plug="in", relay="closed", display=shown, session=runs)


def _waiting() -> Board:
    shown = showing("Card accepted", "Please plug in", columns=16, rows=2)
    return evse(uid=RIGHT, phase="waiting-for-plug", signal="plug-in", display=shown)


def _taps() -> list[Board]:
    right = {"evse": RIGHT, "reader": "right", "peer": "emsp"}
    return [
        tap(
            **right, id=12, uid="04D1…03", reason="allowed", source="realtime", reference="a1f9c0de-77",
            why="NEVER in the list of emsp: its owner was asked, and answered ALLOWED after 23 ms",
            times_ms={"whitelist": 0.3, "peer": 23.4, "record": 0.9, "relay": 0.1, "total": 25.6},
        ),
        tap(
            **right, id=11, uid="04FA…05", verdict="refused", reason="blocked", source="realtime",
            at="2027-06-01T10:23:58.000Z", text="Card reported lost. Call us.",
            why='its owner answered BLOCKED after 31 ms: "Card reported lost. Call us."',
            times_ms={"whitelist": 0.3, "peer": 31.2, "record": 0.8, "relay": 0.0, "total": 33.0},
        ),
        tap(
            **right, id=10, uid="0401…06", verdict="refused", reason="timeout", source="fallback",
            at="2027-06-01T10:19:11.000Z",
            text="No answer\nCan't check card",
            why="on no list; emsp did not answer within 4750 ms, and unknown cards are refused then",
            times_ms={"whitelist": 0.4, "peer": 4750.3, "record": 1.1, "relay": 0.0, "total": 4752.4},
        ),
        tap(id=9, at="2027-06-01T09:48:01.000Z"),
    ]  # fmt: skip


def _sessions() -> list[Board]:
    return [
        session(id=7, energy_wh=6418, cost="2.89 EUR"),
        session(
            id=6, session_id="7b1d9f30-0c55-4a7e-8a07-2f3d0f5a9b12", evse=RIGHT, state="ended",
            started_at="2027-06-01T07:12:44.000Z", ended_at="2027-06-01T08:40:10.000Z", ended_because="unplugged",
            energy_wh=15872, cost="7.14 EUR", reference="a1f9c0de-71",
            cdr={"id": "CDR-000006", "state": "acknowledged", "problem": None, "credited_by": None},
        ),
        session(
            id=5, session_id="c6f7fb64-1db5-49a4-9c0b-4b9fb0f1b5aa", state="ended",
            started_at="2027-05-31T18:02:00.000Z", ended_at="2027-05-31T19:31:27.000Z", ended_because="same-card",
            energy_wh=9410, cost="4.23 EUR", delivery="due",
            cdr={"id": "CDR-000005", "state": "due", "problem": None, "credited_by": None},
        ),
    ]  # fmt: skip
