"""The cards that lie beside the demo's charge points: what is printed on each, and what the eMSP believes of it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_UNHEARD_OF = None


@dataclass(frozen=True, slots=True)
class WalletCard:
    """One card, or a phone that passes for one."""

    uid: str
    label: str
    """A person reads it on the card."""
    what: str
    """What it is there to show."""
    beliefs: Mapping[str, Any] | None = field(default_factory=lambda: MappingProxyType({}))
    """As `FakeEmsp.card` takes them; None: the eMSP has never heard of it."""
    is_phone: bool = False
    """Its uid is another one each time; `uid` only names it here."""

    def drawn_uid(self) -> str:
        """What it tells the reader this time: a phone 08 and three random bytes (ISO/IEC 14443-3)."""
        return f"08{secrets.token_hex(3).upper()}" if self.is_phone else self.uid


WALLET = (
    WalletCard(
        "04A1B2C3D4E580", "Anna", "ALWAYS: the whitelist decides, whatever the weather", {"whitelist": "ALWAYS"}
    ),
    WalletCard(
        "04A1B2C3D4E581", "Ben", "ALLOWED: the whitelist decides while it is fresh", {"whitelist": "ALLOWED"}
    ),
    WalletCard(
        "04A1B2C3D4E582", "Chiara", "ALLOWED_OFFLINE: asked first, accepted when nobody answers",
        {"whitelist": "ALLOWED_OFFLINE"},
    ),
    WalletCard(
        "04A1B2C3D4E583", "David", "NEVER: only its owner may say, so no charge in an outage", {"whitelist": "NEVER"}
    ),
    WalletCard(
        "04A1B2C3D4E584", "Lost card", "the eMSP says BLOCKED, in its own words",
        {"whitelist": "NEVER", "allowed": "BLOCKED", "info": ("en", "Card reported lost. Call us.")},
    ),
    WalletCard(
        "04A1B2C3D4E585", "Last year's card", "the eMSP says EXPIRED", {"whitelist": "NEVER", "allowed": "EXPIRED"}
    ),
    WalletCard(
        "04A1B2C3D4E586", "Empty prepaid", "the eMSP says NO_CREDIT", {"whitelist": "NEVER", "allowed": "NO_CREDIT"}
    ),
    WalletCard("04A1B2C3D4E587", "Library card", "on no list, and nobody has heard of it", _UNHEARD_OF),
    WalletCard(
        "08000000", "A phone", "a random uid, another one each time: no list can know it", _UNHEARD_OF, is_phone=True
    ),
    WalletCard(
        "04A1B2C3D4E588", "Jürgen", "ALLOWED, and its driver reads German",
        {"whitelist": "ALLOWED", "language": "de"},
    ),
)  # fmt: skip
"""The wallet."""


def card_of(uid: str) -> WalletCard | None:
    """The card of the wallet with this uid, in any case; None for another's."""
    return next((card for card in WALLET if card.uid == uid.upper()), None)
