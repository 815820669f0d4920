"""What every driver's work has in common, whatever the device."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Work = Callable[[], Awaitable[None]]
"""A part that works until cancelled."""


@contextmanager
def lost_when_it_fails(lost: Callable[[], None]) -> Iterator[None]:
    """A driver that breaks down says nothing more: its last word must not stand until somebody looks."""
    try:
        yield
    except (Exception, SystemExit):
        lost()
        raise
