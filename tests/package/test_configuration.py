"""The configuration as it is installed: it starts nothing, and each line can be used once its sign is taken away."""

import re
from pathlib import Path

import pytest

from agent.config import load
from agent.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "systemd" / "chargepoint-agent.toml"


def test_as_shipped_it_is_refused_by_what_only_the_owner_knows() -> None:
    with pytest.raises(ConfigError, match=r"party\.country_code: missing"):
        load(SHIPPED)


def test_filled_in_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peers_example-emsp").write_text("a-token", "utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    filled_in = tmp_path / "chargepoint-agent.toml"
    filled_in.write_text(_filled_in(SHIPPED.read_text("utf-8")), "utf-8")

    config = load(filled_in)

    assert [evse.uid for evse in config.evse] == ["DE*EXA*E1"]
    assert [reader.name for reader in config.reader] == ["left"]
    assert [peer.token_credential for peer in config.peer] == ["peers_example-emsp"]


def _filled_in(text: str) -> str:
    """With every line that is a setting behind a comment's sign, and no other."""
    return re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", text)
