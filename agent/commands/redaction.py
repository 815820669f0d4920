"""Takes out of a text what may not leave the charge point: secrets, and whose card it was.

By value where the value is known, and by the look of the line where it is not: a configuration that can't be read is
just what a supporter wants to see.
"""

import base64
import re
from collections.abc import Iterable

from agent.core.uid import masked

REMOVED = "(removed)"

_SECRET_KEY = re.compile(
    r"""(?im)^(?P<key>[^\n]*?\b[\w-]*(?:token|passw(?:or)?d|pass|secret|api_?key)["']?\s*=\s*)"""
    r"""(?P<value>\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|[^\n]*)$"""
)
"""`token = "…"`, also in an inline table, a comment or over several lines; `token_file` and `token_credential` only say
where one is."""
_AUTHORIZATION = re.compile(r"(?i)(?P<key>\bauthorization['\"]?\s*[:=]\s*['\"]?(?:token|bearer|basic)\s+)\S+")
_IN_URL = re.compile(r"(?i)(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s\"'<>@]*@")
_IN_QUERY = re.compile(r"(?i)(?P<key>[?&][^=&\s]*(?:key|token|secret|auth|sig)[^=&\s]*=)[^&\s\"']+")
_OF_A_UNIT = re.compile(r"(?im)^(?P<key>\s*(?:Environment=|Set(?:Encrypted)?Credential=[^:\n]*:)).*$")
"""What a unit's drop-in may hold."""
_WORD = re.compile(r"[0-9A-Za-z]{6,}")
"""What a uid could be, in hex or decimal."""

SHORTEST = 4
"""Of a secret that is looked for by its value: a shorter one would tear ordinary words apart, and is no secret."""


class Redaction:
    """Knows some secrets and some cards, and takes them out of whatever it is given."""

    def __init__(self, secrets: Iterable[str] = (), uids: Iterable[str] = ()) -> None:
        """`secrets` are removed as they are and as OCPI sends them, in base64; of `uids` their ends stay."""
        known = {secret for secret in secrets if len(secret) >= SHORTEST}
        known |= {base64.b64encode(secret.encode()).decode() for secret in known}
        by_length = sorted(known, key=len, reverse=True)  # one may be part of another
        self._secrets = re.compile("|".join(map(re.escape, by_length))) if by_length else None
        self._uids = {uid.upper() for uid in uids}

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._secrets is not None:
            text = self._secrets.sub(REMOVED, text)
        text = _SECRET_KEY.sub(rf"\g<key>{REMOVED}", text)
        text = _AUTHORIZATION.sub(rf"\g<key>{REMOVED}", text)
        text = _IN_URL.sub(rf"\g<scheme>{REMOVED}@", text)
        for kind in (_IN_QUERY, _OF_A_UNIT):
            text = kind.sub(rf"\g<key>{REMOVED}", text)
        return _WORD.sub(lambda word: masked(word[0]) if word[0].upper() in self._uids else word[0], text)
