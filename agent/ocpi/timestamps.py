"""OCPI's DateTime: read with any zone or none, written in UTC to the second."""

from datetime import UTC, datetime


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Without a zone it is UTC already (OCPI 2.2.1 types, DateTime).

    Raises ValueError where the zone takes it before the year 1 or after 9999.
    """
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("no such moment in UTC") from None


def to_second(moment: datetime) -> datetime:
    """The moment as structs carry it out: in UTC and cut to the second.

    With microseconds the text would have 27 characters; OCPI 2.2.1 types, DateTime, allows 25.
    """
    return as_utc(moment).replace(microsecond=0)


def wire_text(moment: datetime) -> str:
    """The moment as a query parameter: `2015-06-29T20:39:09Z`, cut to the second.

    Cutting moves `date_from` back, never forward: nothing falls between two delta syncs.
    """
    return to_second(moment).strftime("%Y-%m-%dT%H:%M:%SZ")
