"""Who sends the fuzzed requests, and how a used-up relation is made anew."""

from base64 import b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from tests.fuzz.call_back import WELL, CallBack
from tests.fuzz.served import Served

OWNER = ("DE", "ABC")
"""The party of `main`."""


class As(StrEnum):
    """What the Authorization header says."""

    REGISTERED = "registered"
    PLAIN = "registered, plain token"
    INVITED = "invited"
    NOBODY = "no token"
    WRONG = "wrong token"
    MALFORMED = "malformed header"


KNOWN = (As.REGISTERED, As.PLAIN, As.INVITED)
UNKNOWN = (As.NOBODY, As.WRONG, As.MALFORMED)

_MALFORMED = (
    *("", "Token", "Token ", "Bearer abc", "Basic dXNlcjpwYXNz", "Token =", "Token \u00ff\u00fe", "\u00ff", "Token\t"),
    *("Token /", "Token " + "A" * 5000, "Token " + "\u0080" * 60, "Token AA==AA==", "token,token", 'Token "x"'),
)


@dataclass
class Callers:
    """The peers of a server: `main` stays registered, `fickle` is replaced, `guest` holds an invitation."""

    served: Served
    call_back: CallBack
    tokens: set[str]
    """Every credentials token that there was."""
    _current: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._invite("guest")
        for name in ("main", "fickle"):
            self._register(name)

    def name(self, caller: As, *, changes_credentials: bool) -> str:
        """Which peer it is that sends a request."""
        if caller is As.INVITED:
            return "guest"
        return "fickle" if changes_credentials else "main"

    def token(self, name: str) -> str:
        """What this peer's credentials token is now."""
        return self._current[name]

    def header(self, caller: As, name: str, number: int) -> str | None:
        """The Authorization header; `number` chooses among the malformed ones."""
        match caller:
            case As.NOBODY:
                return None
            case As.WRONG:
                return _header(f"wrong-{number}")
            case As.MALFORMED:
                return _MALFORMED[number % len(_MALFORMED)]
            case As.PLAIN:
                return f"Token {self._current[name]}"
            case _:
                return _header(self._current[name])

    def exchanged(self, name: str, method: str, data: Any) -> None:
        """A request has changed what this peer's token is."""
        if name == "fickle" and method == "PUT":
            self._keep(name, data["token"])
        elif name == "fickle":
            self._register(name)
        else:
            with httpx.Client(headers={"Authorization": _header(data["token"])}) as client:
                assert client.delete(f"{self.served.url}/2.2.1/credentials").status_code == 200
            self.tokens.add(data["token"])
            self._invite(name)

    def _invite(self, name: str) -> None:
        self._keep(name, self.served.invite(name))

    def _register(self, name: str) -> None:
        self._invite(name)
        party = OWNER if name == "main" else ("DE", "FCK")
        role = {"role": "EMSP", "country_code": party[0], "party_id": party[1], "business_details": {"name": name}}
        theirs = {"token": f"token-of-{name}", "url": self.call_back.versions_url(WELL), "roles": [role]}
        with httpx.Client(headers={"Authorization": _header(self._current[name])}) as client:
            answer = client.post(f"{self.served.url}/2.2.1/credentials", json=theirs)
        assert answer.status_code == 201, answer.text
        self._keep(name, answer.json()["data"]["token"])

    def _keep(self, name: str, token: str) -> None:
        self.tokens.add(token)
        self._current[name] = token


def _header(token: str) -> str:
    return f"Token {b64encode(token.encode()).decode()}"
