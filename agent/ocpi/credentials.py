"""The Credentials module's objects as they travel: read leniently, written with only what is set.

Lenient where nothing hangs on it (business details, roles that we don't know); strict where something does: the
token must fit a header, the URL must be one, and a role must name its party.
"""

from typing import Annotated

import msgspec

from agent.ocpi.addressing import Party, check_url

MOST_TOKEN = 64
"""Characters of a credentials token: OCPI 2.2.1 credentials, Credentials object."""


class BusinessDetails(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 mod_locations, BusinessDetails. A logo is not kept."""

    name: str
    website: str | None = None


class CredentialsRole(msgspec.Struct, omit_defaults=True):
    """OCPI 2.2.1 credentials, CredentialsRole. `role` in any case, and any word: newer versions know more."""

    role: str
    party_id: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,3}\Z")]
    country_code: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{2}\Z")]
    business_details: BusinessDetails | None = None

    @property
    def party(self) -> Party:
        """Country and party, comparable: both are CiStrings."""
        return self.country_code.upper(), self.party_id.upper()

    @property
    def name(self) -> str:
        """The name of the business, empty where the peer left it out."""
        return self.business_details.name if self.business_details else ""


class Credentials(msgspec.Struct):
    """OCPI 2.2.1 credentials, Credentials object. Its `repr` does not show the token."""

    token: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,64}\Z")]
    url: Annotated[str, msgspec.Meta(max_length=255)]
    roles: Annotated[tuple[CredentialsRole, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        wrong = check_url(self.url)
        if wrong is not None:
            raise ValueError(f"url: {wrong}")

    def __repr__(self) -> str:
        return f"Credentials(token=***, url={self.url!r}, roles={self.roles!r})"


CREDENTIALS = msgspec.json.Decoder(Credentials, strict=False)
