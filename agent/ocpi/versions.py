"""Which OCPI versions a peer offers, and where its modules are."""

from typing import Final

import msgspec

VERSION: Final = "2.2.1"
"""The one that we speak."""


class Version(msgspec.Struct):
    """OCPI 2.2.1 version_information_endpoint, Version."""

    version: str
    url: str


class Endpoint(msgspec.Struct):
    """OCPI 2.2.1 version_information_endpoint, Endpoint. Modules and roles that we don't know are no mistake."""

    identifier: str
    url: str
    role: str = ""

    def serves(self, module: str, role: str) -> bool:
        """Whether this is where `module` is served in `role`; some peers write either in another case."""
        return self.identifier.lower() == module and self.role.upper() == role


class VersionDetails(msgspec.Struct):
    """OCPI 2.2.1 version_information_endpoint, Version details."""

    endpoints: list[Endpoint]
    version: str = ""


VERSIONS = msgspec.json.Decoder(list[Version], strict=False)
DETAILS = msgspec.json.Decoder(VersionDetails, strict=False)
