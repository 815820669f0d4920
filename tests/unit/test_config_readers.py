"""Which PC/SC readers of one file would tap twice for one card."""

from pathlib import Path

import pytest

from agent.config import Config, parse
from agent.errors import ConfigError
from tests.unit.test_config import MINIMAL


def with_pcsc(left: str | None, right: str | None) -> Config:
    text = MINIMAL
    for kind, port, match in (("rdm6300", "/dev/ttyUSB0", left), ("id12la", "/dev/ttyUSB1", right)):
        keys = 'kind = "pcsc"' + (f'\nmatch = "{match}"' if match is not None else "")
        text = text.replace(f'kind = "{kind}"\nport = "{port}"', keys)
    return parse(text, Path("charger.toml"))


@pytest.mark.parametrize(
    ("left", "right"),
    [(None, None), ("ACS*", None), (None, "ACS*"), ("ACS*", "acs*"), ("*", "ACS*")],
)
def test_two_readers_of_which_one_takes_the_others_cards_are_refused(left: str | None, right: str | None) -> None:
    with pytest.raises(ConfigError, match=r'reader "right": match: .* fits readers of "left", too: each card there'):
        with_pcsc(left, right)


def test_two_readers_with_a_pattern_each_are_taken() -> None:
    assert [reader.name for reader in with_pcsc("ACS*", "HID*").reader] == ["left", "right"]
