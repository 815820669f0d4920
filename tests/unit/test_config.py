"""What a configuration may say, and that a mistake is named with its place and what was expected there."""

import re
from pathlib import Path

import pytest

from agent.config import (
    Config,
    RelaySection,
    RelaysFound,
    credentials_token,
    load,
    load_relays,
    parse,
    policy_of,
)
from agent.errors import ConfigError
from agent.model import Policy

REFERENCE = Path(__file__).parents[2] / "docs" / "configuration.toml"
PATH = Path("charger.toml")

MINIMAL = """
[party]
country_code = "DE"
party_id = "EXA"
[location]
id = "LOC1"
[storage]
directory = "state"
[[peer]]
name = "acme"
country_code = "DE"
party_id = "ABC"
tokens_url = "https://emsp.example.com/tokens"
token = "secret-token"
[[reader]]
name = "left"
kind = "rdm6300"
port = "/dev/ttyUSB0"
[[reader]]
name = "right"
kind = "id12la"
port = "/dev/ttyUSB1"
[[evse]]
uid = "E1"
readers = ["left"]
relay = { gpio = 17 }
[[evse]]
uid = "E2"
readers = ["right"]
relay = { gpio = 18 }
"""


def changed(old: str, new: str) -> Config:
    assert MINIMAL.count(old) >= 1
    return parse(MINIMAL.replace(old, new, 1), PATH)


def test_reference_configuration_loads() -> None:
    config = load(REFERENCE)
    assert config.evse[0].uid == "DE*EXA*E1"


def test_reference_configuration_shows_the_defaults() -> None:
    reference, minimal = load(REFERENCE), parse(MINIMAL, PATH)
    for section in ("policy", "breaker", "sync", "log"):
        assert getattr(reference, section) == getattr(minimal, section)
    assert reference.evse[0].display == minimal.evse[0].display
    assert policy_of(reference.policy) == Policy()


def test_reference_configuration_names_every_key() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    sections = [Config, *(s for s in vars(__import__("agent.config").config).values() if _is_section(s))]
    missing = [
        f"{section.__name__}.{key}"
        for section in sections
        for key in section.__struct_fields__
        if not re.search(rf"\b{key}\b", text)
    ]
    assert missing == []


def _is_section(thing: object) -> bool:
    return isinstance(thing, type) and hasattr(thing, "__struct_fields__") and thing.__name__.endswith("Section")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "LOC1"', 'id = "LOC1"\nlanguge = "de"', "location.languge: unknown key; did you mean language?"),
        ('name = "left"', 'name = "left"\nbaud = 9600', "reader #1: baud: unknown key"),
        ("gpio = 17", "pin = 17", "evse #1: relay.pin: unknown key; known here: gpio, active_high"),
        ("gpio = 18", 'gpio = "18"', "evse #2: relay.gpio: expected `int`, got `str`"),
        ("gpio = 18", "gpio = 99", "evse #2: relay.gpio: expected `int` <= 53"),
        ('party_id = "EXA"', "", "party.party_id: missing; this key is required"),
        ("[party]", "[party", "not valid TOML"),
        ("gpio = 18", "gpio = 17", 'evse: relay.gpio: "17" stands twice; one relay serves one EVSE'),
        ('uid = "E2"', 'uid = "e1"', 'evse: uid: "e1" stands twice'),
        ("/dev/ttyUSB1", "/dev/ttyUSB0", 'reader: port: "/dev/ttyUSB0" stands twice'),
        ('name = "right"', 'name = "left"', 'reader: name: "left" stands twice'),
        ('["right"]', '["middle"]', 'evse #2: readers: no [[reader]] is named "middle"; there are: left, right'),
        ('["right"]', '["left"]', 'evse: readers: "left" stands twice; one reader serves one EVSE'),
        ('[[evse]]\nuid = "E2"\nreaders = ["right"]\nrelay = { gpio = 18 }\n', "", 'no [[evse]] names "right" among'),
        ('["right"]', "[]", "evse #2: readers: expected `array` of length >= 1"),
        ("https://", "http://", 'peer "acme": tokens_url: expected https://'),
        ("https://", "ftp://", 'peer "acme": tokens_url: expected a URL that begins with https://'),
        ("https://", "https://user:word@", "expected no user or password in the URL"),
        ("https://emsp.example.com", "https://[::1", 'peer "acme": tokens_url: expected a URL: Invalid IPv6 URL'),
        ("https://emsp.example.com/", "https://a:99999/", "tokens_url: expected a URL: Port out of range"),
        ("https://emsp.example.com/", "https://a:b/", "tokens_url: expected a URL: Port could not be cast"),
        ("https://emsp.example.com/", "https://a:0/", "expected a URL with a port from 1 to 65535"),
        ("example.com/", r"example.com/\r\nX-Evil: 1", "expected a URL without blanks and control characters"),
        ("example.com/", r"example.com/\u0000", "expected a URL without blanks and control characters"),
        ("https://emsp.example.com/tokens", "", "tokens_url: expected a URL that begins with https://"),
        ("[location]", "[breaker]\nprobe_every_s = 0.5\n[location]", "breaker.probe_every_s: expected `float` >= 1"),
        (
            "[location]",
            "[breaker]\nretry_first_s = 0.01\n[location]",
            "breaker.retry_first_s: expected `float` >= 0.05",
        ),
        (
            "[location]",
            "[breaker]\nretry_most_s = 1.0\n[location]",
            "retry_first_s: expected at most breaker.retry_most_s",
        ),
        ('token = "secret-token"', 'token = "t"\nowners = ["DEABC"]', "peer #1: owners #1: expected `str` matching"),
        ('token = "secret-token"', "", "expected one of token, token_file and token_credential"),
        ('token = "secret-token"', 'token = "t"\ntoken_file = "f"', "expected one of token, token_file"),
        ('tokens_url = "https://emsp.example.com/tokens"', "", "expected one of versions_url and tokens_url"),
        ('country_code = "DE"', 'country_code = "DEU"', "party.country_code: expected `str` matching regex"),
        ("[location]", "[policy]\ndeadline_s = 0.2\n[location]", "policy.reserve_s: expected less than"),
        ("[location]", '[policy]\nprefer = "both"\n[location]', "policy.prefer: expected one of whitelist, realtime"),
        ("[location]", '[log]\nlevel = "loud"\n[location]', "log.level: expected one of debug, info, warning, error"),
    ],
)
def test_mistake_is_named_with_file_key_and_what_was_expected(old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(old, new)
    assert str(caught.value).startswith("charger.toml: ")
    assert says in str(caught.value)


def test_no_evse_is_an_error() -> None:
    with pytest.raises(ConfigError, match="evse: missing; this key is required"):
        parse(MINIMAL[: MINIMAL.index("[[evse]]")], PATH)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_http_is_fine_on_this_machine(host: str) -> None:
    config = changed("https://emsp.example.com", f"http://{host}:8080")
    assert config.peer[0].tokens_url == f"http://{host}:8080/tokens"


def test_plain_http_elsewhere_needs_consent() -> None:
    config = changed('https://emsp.example.com/tokens"', 'http://emsp.example.com/tokens"\nallow_http = true')
    assert config.peer[0].allow_http


def test_token_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "acme.token").write_text("from-a-file\n", encoding="utf-8")
    config = changed('token = "secret-token"', 'token_file = "acme.token"')
    assert credentials_token(config.peer[0], tmp_path / "charger.toml") == "from-a-file"


def test_token_from_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme").write_text("from-systemd", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = changed('token = "secret-token"', 'token_credential = "acme"')
    assert credentials_token(config.peer[0], PATH) == "from-systemd"


def test_missing_token_file_is_named(tmp_path: Path) -> None:
    config = changed('token = "secret-token"', 'token_file = "gone.token"')
    with pytest.raises(ConfigError, match=r'peer "acme": token_file: can\'t be read'):
        credentials_token(config.peer[0], tmp_path / "charger.toml")


def test_unusable_token_is_not_shown() -> None:
    config = changed("secret-token", "geheim-ä")
    with pytest.raises(ConfigError) as caught:
        credentials_token(config.peer[0], PATH)
    assert "geheim" not in str(caught.value)


def test_owners_are_parties() -> None:
    config = changed('token = "secret-token"', 'token = "t"\nowners = ["DE-ABC", "NL-XYZ"]')
    assert config.peer[0].owners == ("DE-ABC", "NL-XYZ")


# ---- the relays of a file that is broken elsewhere


def relays(folder: Path, text: str) -> RelaysFound:
    path = folder / "charger.toml"
    path.write_text(text, encoding="utf-8")
    return load_relays(path)


SEVENTEEN, EIGHTEEN = RelaySection(gpio=17), RelaySection(gpio=18)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[location]", "[locaton]"),
        ("[location]", "[location"),
        ('id = "LOC1"', "id = LOC1"),
        ('uid = "E1"', "uid = E1"),
        ("[[evse]]", "[[evse]"),
        ('readers = ["left"]', 'readers = [\n"left",\n"middle"'),
        ("[[peer]]", "peer = 1"),
        ("[party]", "[party]\nname = 'caf\u00e9"),
    ],
)
def test_relays_are_found_whatever_else_is_wrong(tmp_path: Path, old: str, new: str) -> None:
    broken = MINIMAL.replace(old, new, 1)
    with pytest.raises(ConfigError):
        parse(broken, PATH)
    found = relays(tmp_path, broken)
    assert (found.relays, found.faults, found.directory) == ((SEVENTEEN, EIGHTEEN), (), Path("state"))


@pytest.mark.parametrize("elsewhere", ["[location]", "[location"], ids=["readable", "no TOML"])
@pytest.mark.parametrize(
    "written",
    [
        "relay = { gpio = 17, actve_high = false }",
        "relay = { gpio = 17, active_high = no }",
        "relay.gpio = 17\nrelay.actve_high = false",
        "[evse.relay]\ngpio = 17\nactve_high = false",
    ],
)
def test_relay_whose_level_is_not_clear_is_named_and_not_guessed(tmp_path: Path, written: str, elsewhere: str) -> None:
    text = MINIMAL.replace("relay = { gpio = 17 }", written).replace("[location]", elsewhere)
    found = relays(tmp_path, text)
    assert found.relays == (EIGHTEEN,)
    assert "relay #1 can't be read, and was not opened" in found.faults[0]


@pytest.mark.parametrize(
    "written",
    ["relay.gpio = 17\nrelay.active_high = false", "[evse.relay]\ngpio = 17\nactive_high = false"],
)
def test_relay_is_found_however_its_table_is_written(tmp_path: Path, written: str) -> None:
    text = MINIMAL.replace("relay = { gpio = 17 }", written).replace("[location]", "[location")
    assert relays(tmp_path, text).relays == (RelaySection(gpio=17, active_high=False), EIGHTEEN)


def test_file_without_a_relay_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \[\[evse\]\] with a relay is there"):
        relays(tmp_path, MINIMAL[: MINIMAL.index("[[evse]]")])
