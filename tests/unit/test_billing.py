"""What bills are written from: a mistake in it is named by its key before anything is billed."""

from pathlib import Path

import pytest

from agent.billing import documents_of, tariff_of
from agent.config import parse
from agent.errors import ConfigError

ROOT = Path(__file__).parents[2]
TEXT = """
    party = { country_code = "DE", party_id = "EXA" }
    storage = { directory = "state" }
    billing = { tariff_file = "docs/tariff.json" }
    [location]
    id = "LOC1"
    address = "Market Street 1"
    city = "Exampleton"
    country = "DEU"
    latitude = "52.51631"
    longitude = "13.37770"
    [[reader]]
    name = "left"
    kind = "rdm6300"
    port = "/dev/ttyUSB0"
    [[evse]]
    uid = "E1"
    id = "DE*EXA*E1"
    connector = { standard = "IEC_62196_T2", format = "SOCKET", power_type = "AC_3_PHASE" }
    readers = ["left"]
    relay = { gpio = 17 }
"""


def test_unknown_connector_standard_is_named_with_those_that_there_are() -> None:
    path = ROOT / "config.toml"
    config = parse(TEXT.replace("IEC_62196_T2", "TYPE2"), path)
    with pytest.raises(ConfigError, match=r'evse E1: connector\.standard: "TYPE2" is none of OCPI\'s: .*IEC_62196_T2'):
        documents_of(config, config.evse[0], tariff_of(config, path))


def test_example_tariff_bills() -> None:
    path = ROOT / "config.toml"
    config = parse(TEXT, path)
    documents = documents_of(config, config.evse[0], tariff_of(config, path))
    assert documents is not None
    assert documents.pricing.tariff is not None
    assert documents.pricing.tariff.id == "STANDARD"
