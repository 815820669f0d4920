"""What helps against each way in which a peer deviates: the setting by its name, a command, or its operator. Pure.

A peer of the configuration has settings; of a registered one, what the handshake found is found again by another.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.model import Outcome
from agent.ocpi.addressing import Encoding
from agent.ocpi.failures import Failure

OPERATOR = "ask its operator"
NONE_NEEDED = "none needed"

_REJECTED = frozenset({401, 403})
_OUT_OF_REACH = frozenset({Outcome.UNREACHABLE, Outcome.TIMEOUT})

_VERIFY_FAILED = "certificate verify failed"
_ANOTHER_AUTHORITY = ("self-signed", "self signed", "unable to get")
"""What OpenSSL says of a certificate whose authority is not known; the rest is the certificate's own fault."""

_OBJECTS_ANYWAY = 2000
"""Of a page, the client takes so many whatever it asked for, and four times as many as that."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """What can be done about one peer."""

    name: str
    registered: bool
    hub: bool
    renewal: str
    """How our credentials token is renewed."""

    def no_answer(self, failure: Failure) -> str:
        """For a request that got none."""
        if failure.detail.startswith(_VERIFY_FAILED):
            if not any(words in failure.detail for words in _ANOTHER_AUTHORITY):
                return f"{OPERATOR}: its certificate has expired, or is another host's"
            private = "if its authority is a private one"
            return f"{self._anew} with --ca-file, {private}" if self.registered else f"ca_file in [[peer]], {private}"
        if failure.outcome in _OUT_OF_REACH:
            return f"check the network and its URL; else {OPERATOR}"
        return OPERATOR

    def refused(self, http_status: int) -> str:
        """For an answer that is an error."""
        if http_status in _REJECTED:
            return f"renew our credentials token: {self.renewal}"
        if http_status == 429 or http_status >= 500:
            return f"try again later; else {OPERATOR}"
        if not self.registered and (http_status == 404 or 300 <= http_status < 400):
            return f"check its URL in [[peer]]; else {OPERATOR}"
        return OPERATOR

    def encoding(self, takes: Encoding) -> str:
        """For a peer that takes its credentials token in this one only."""
        return self._anew if self.registered else f'token_encoding = "{takes}"'

    def slash(self, *, wanted: bool) -> str:
        """For a peer that answers on the other kind of path only."""
        if self.registered:
            return f"chargepoint-agent peers rotate {self.name}"
        return f"trailing_slash = {str(wanted).lower()}"

    def owners(self, foreign: Iterable[str]) -> str:
        """For a peer that brings the tokens of these parties, which are skipped."""
        if self.registered:
            return f'if it may bring them: bring_for_others = ["{self.name}"] in [ocpi.server]'
        named = ", ".join(f'"{owner}"' for owner in foreign)
        if self.hub:
            return f"if it may bring them: owners = [{named}] in [[peer]], besides those there are, or no owners at all"
        return f"if it may bring them: owners = [{named}] in [[peer]], or hub = true for a hub"

    def many(self, count: int) -> str:
        """For a page of `count` objects, though a few were asked for."""
        if count <= _OBJECTS_ANYWAY:
            return f"{NONE_NEEDED}: page_size has no effect"
        return self._larger_pages

    @property
    def oversized(self) -> str:
        """For a page that is too large to be looked at."""
        return f"{NONE_NEEDED} unless `tokens sync {self.name}` fails, too; then: {self._larger_pages}"

    @property
    def _larger_pages(self) -> str:
        # A page may be the larger the more was asked for.
        return OPERATOR if self.registered else "page_size = 2000 in [[peer]]"

    @property
    def _anew(self) -> str:
        return "unregister it and register anew"
