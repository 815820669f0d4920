"""What every table of the file is, and the types that several of them use."""

from typing import Annotated

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
CountryCode = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}\Z", description="two letters, as DE")]
PartyId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{3}\Z", description="three letters or digits, as EXA")]
Owner = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}-[A-Za-z0-9]{3}\Z")]
CiString36 = Annotated[str, msgspec.Meta(min_length=1, max_length=36, pattern=r"^[\x21-\x7e]+\Z")]
NonEmpty = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]+\Z", description="text without control characters")]
Gpio = Annotated[int, msgspec.Meta(ge=0, le=53)]
"""Broadcom numbering."""
Baudrate = Annotated[int, msgspec.Meta(ge=300, le=921_600)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: a key that it does not know is an error."""
