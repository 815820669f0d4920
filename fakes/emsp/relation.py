"""What the device knows of its one client, a CPO: the tokens of both directions, and where the client is.

Until a registration changes it, the relation is one that two operators have agreed on by mail: a token that the
client sends, nothing to call the client with. OCPI 2.2.1 credentials, Registration.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

Party = tuple[str, str]
"""`(country_code, party_id)`."""


class Standing(Enum):
    """What a caller's credentials token opens."""

    INVITED = auto()
    """TOKEN_A: versions and credentials alone, to register with."""
    PENDING = auto()
    """A TOKEN_B whose registration is under way: versions and credentials alone, to call back with."""
    REGISTERED = auto()
    """Everything."""


@dataclass(slots=True)
class Relation:
    """The tokens that the client may send, the one that the device sends, and what the client said of itself."""

    our_token: str = ""
    """What the client sends now; empty when nothing is agreed."""
    previous_token: str = ""
    """Good beside `our_token` until that has been used: lenient rotation alone."""
    pending_token: str = ""
    """Sent by the device in a POST or PUT that has not succeeded, so far as the device knows."""
    pending_registration: bool = False
    """Whether the pending token is of a POST and so no good for functional modules yet."""
    invitation: str = ""
    """TOKEN_A, until it is spent."""
    their_token: str = ""
    """What the device sends; empty for a relation agreed on by mail."""
    versions_url: str = ""
    details_url: str = ""
    endpoints: dict[tuple[str, str], str] = field(default_factory=dict)
    """`(identifier, role)` to the URL."""
    roles: list[dict[str, Any]] = field(default_factory=list)
    """As in the client's credentials object."""

    @property
    def client(self) -> Party:
        """Whom requests are sent to: the client's first CPO role, or its first. Raises RuntimeError without roles."""
        roles = sorted(self.roles, key=lambda role: role["role"] != "CPO")
        if not roles:
            raise RuntimeError("the client has told no role yet: register first, or set `relation.roles`")
        return roles[0]["country_code"], roles[0]["party_id"]

    @property
    def tokens(self) -> dict[str, Standing]:
        """Every token that a client may send, and what it opens."""
        pending = Standing.PENDING if self.pending_registration else Standing.REGISTERED
        opened = {
            self.invitation: Standing.INVITED,
            self.pending_token: pending,
            self.previous_token: Standing.REGISTERED,
            self.our_token: Standing.REGISTERED,
        }
        return {token: standing for token, standing in opened.items() if token}

    def endpoint(self, identifier: str, role: str = "") -> str:
        """The URL of one of the client's endpoints. Raises RuntimeError when it named none.

        Without `role` any will do: that of credentials means nothing (OCPI 2.2.1 version_information_endpoint).
        """
        for (its_identifier, its_role), url in self.endpoints.items():
            if its_identifier == identifier and role in {"", its_role}:
                return url
        raise RuntimeError(f"the client has named no {identifier} {role} endpoint: register first".replace("  ", " "))

    def settle(
        self, versions_url: str, details_url: str, endpoints: dict[tuple[str, str], str], roles: list[dict[str, Any]]
    ) -> None:
        """Know where the client is and who it is."""
        self.versions_url, self.details_url = versions_url, details_url
        self.endpoints, self.roles = endpoints, roles

    def agree(self, ours: str, theirs: str, *, keep_previous: bool = False) -> None:
        """Have these two tokens from now on: what was pending is settled, and an invitation is spent."""
        self.previous_token = self.our_token if keep_previous else ""
        self.our_token, self.their_token = ours, theirs
        self.pending_token = self.invitation = ""

    def end(self) -> None:
        """Know nothing of the client any more: no token of either side is good."""
        self.our_token = self.previous_token = self.pending_token = self.invitation = self.their_token = ""
        self.versions_url = self.details_url = ""
        self.endpoints, self.roles = {}, []
