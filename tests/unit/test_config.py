"""What a configuration may say, and that a mistake is named with its place and what was expected there."""

import re
from pathlib import Path

import pytest

from agent.config import (
    Config,
    GpioRelaySection,
    RelaysFound,
    credentials_token,
    input_sections,
    load,
    load_relays,
    output_sections,
    parse,
    policy_of,
    reader_sections,
    sections,
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
    for section in ("policy", "breaker", "sync", "clock", "log", "ocpi"):
        assert getattr(reference, section) == getattr(minimal, section)
    assert reference.evse[0].display == minimal.evse[0].display
    assert policy_of(reference.policy) == Policy()


def test_reference_configuration_names_every_key() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    modules = (sections, reader_sections, input_sections, output_sections)
    tables = [Config, *(table for module in modules for table in filter(_is_section, vars(module).values()))]
    missing = [
        f"{section.__name__}.{key}"
        for section in tables
        for key in section.__struct_fields__
        if not re.search(rf"\b{key}\b", text)
    ]
    assert missing == []


def _is_section(thing: object) -> bool:
    return (
        isinstance(thing, type)
        and hasattr(thing, "__struct_fields__")
        and thing.__name__.endswith(("Section", "Settings"))
    )


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such file"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "LOC1"', 'id = "LOC1"\nlanguge = "de"', "location.languge: unknown key; did you mean language?"),
        ('name = "left"', 'name = "left"\nbaud = 9600', "reader #1: baud: unknown key"),
        ("gpio = 17", "pin = 17", "evse #1: relay.pin: unknown key; known here: feedback, interlock, min_off_s, gpio"),
        ("gpio = 17", 'kind = "usb", port = "x"', "evse #1: relay.kind: expected one of gpio, lcus, hid"),
        (
            "gpio = 17",
            'kind = "lcus", gpio = 17',
            "evse #1: relay.gpio: unknown key; known here: feedback, interlock, min_off_s, port",
        ),
        ('kind = "rdm6300"', 'kind = "pcsc"', "reader #1: port: unknown key; known here: name, "),
        ("gpio = 18", 'gpio = "18"', "evse #2: relay.gpio: expected `int`, got `str`"),
        ("gpio = 18", "gpio = 99", "evse #2: relay.gpio: expected `int` <= 53"),
        ('party_id = "EXA"', "", "party.party_id: missing; this key is required"),
        ("[party]", "[party", "not valid TOML"),
        ("gpio = 18", "gpio = 17", "evse #2: relay.gpio: pin 17 is taken by evse #1: relay.gpio"),
        ("gpio = 18 }", "gpio = 18 }\nplug = { gpio = 17 }", "evse #2: plug.gpio: pin 17 is taken by evse #1: relay"),
        (
            "gpio = 18 }",
            "gpio = 18 }\nlight = { red = 5, green = 6, blue = 5 }",
            "light.blue: pin 5 is taken by evse #2: li",
        ),
        ("gpio = 18 }", "gpio = 18, feedback = { gpio = 18 } }", "relay.feedback.gpio: pin 18 is taken by evse #2"),
        ("gpio = 18 }", 'gpio = 18, interlock = "hall" }', 'relay.interlock: only this EVSE names "hall"'),
        ("gpio = 18", 'kind = "lcus", port = "/dev/ttyUSB0"', 'port: /dev/ttyUSB0 is taken by reader "left"'),
        (
            'kind = "id12la"',
            'kind = "id12la"\nuid_facility_digits = [3, 5]\nuid_decimal_digits = 8',
            'reader "right": ',
        ),
        ('kind = "id12la"', 'kind = "line"\npattern = "(["', 'reader "right": pattern: expected a regular expression'),
        ('kind = "id12la"\nport = "/dev/ttyUSB1"', 'kind = "keyboard"', "expected one of device, usb and title"),
        (
            'kind = "id12la"\nport = "/dev/ttyUSB1"',
            'kind = "keyboard"\nusb = "8ff:9"',
            "usb: expected as lsusb shows it",
        ),
        ("[location]", "[slowdown]\npause_s = 20\nmost_pause_s = 10\n[location]", "slowdown.pause_s: expected at most"),
        ("gpio = 18 }", 'gpio = 18 }\nmeter = "m"', 'evse #2: meter: no [[meter]] is named "m"; there are: none'),
        (
            "[location]",
            '[[meter]]\nname = "m"\nkind = "s0"\ngpio = 4\npulses_per_kwh = 1000\n[location]',
            'meter: name: no [[evse]] names "m" as its meter',
        ),
        ('id = "LOC1"', 'id = "LOC1"\ntime_zone = "Mars/Olympus"', 'time_zone: "Mars/Olympus" is not known here'),
        ("[location]", '[billing]\ntariff_file = "t.json"\n[location]', "location: address: missing; every CDR has to"),
        (
            "[location]",
            '[[meter]]\nname = "m"\nkind = "modbus"\nport = "p"\nmodel = "x"\nstopbits = 3\n[location]',
            "meter #1: stopbits: expected one of 1, 2",
        ),
        (
            "[location]",
            '[[meter]]\nname = "m"\nkind = "modbus"\nport = "p"\nmodel = "x"\ninterval_s = 61\n[location]',
            "meter #1: interval_s: expected `float` <= 60.0",
        ),
        (
            "[location]",
            '[[meter]]\nname = "m"\nkind = "s0"\ngpio = 4\npulse = 1\n[location]',
            "meter #1: pulse: unknown key; known here: name, gpio, pulses_per_kwh",
        ),
        ("[location]", '[[meter]]\nname = "m"\nkind = "s1"\n[location]', "meter #1: kind: expected one of modbus, s0"),
        (
            'token = "secret-token"',
            'token = "t"\ncdrs_url = "http://emsp.example.com/cdrs"',
            'peer "acme": cdrs_url: expected https://',
        ),
        ('E2"\nreaders = ["right"]', 'E2"\nreaders = ["right", "left"]', 'evse #1: plug: missing; reader "left"'),
        ("[location]", "[billing]\nretry_first_s = 1.0\n[location]", "billing.tariff_file: missing"),
        (
            "[location]",
            '[billing]\ntariff_file = "t"\nretry_most_s = 1.0\n[location]',
            "billing.retry_first_s: expected at most billing.retry_most_s",
        ),
        ('uid = "E2"', 'uid = "e1"', 'evse: uid: "e1" stands twice'),
        ("/dev/ttyUSB1", "/dev/ttyUSB0", 'reader "right": port: /dev/ttyUSB0 is taken by reader "left"'),
        ('name = "right"', 'name = "left"', 'reader: name: "left" stands twice'),
        ('name = "acme"', r'name = "acme\n"', "peer #1: name: expected `str` matching"),
        ('["right"]', '["middle"]', 'evse #2: readers: no [[reader]] is named "middle"; there are: left, right'),
        ('["right"]', '["left"]', 'reader: name: no [[evse]] names "right" among its readers'),
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
        ('country_code = "DE"', 'country_code = "DEU"', "party.country_code: expected two letters, as DE"),
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


SEVENTEEN, EIGHTEEN = GpioRelaySection(gpio=17), GpioRelaySection(gpio=18)


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
    assert (found.relays, found.faults, found.directory) == ((SEVENTEEN, EIGHTEEN), (), tmp_path / "state")


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
    assert relays(tmp_path, text).relays == (GpioRelaySection(gpio=17, active_high=False), EIGHTEEN)


def test_file_without_a_relay_has_none_and_one_that_is_spoilt_is_an_error(tmp_path: Path) -> None:
    without = MINIMAL[: MINIMAL.index("[[evse]]")]
    assert relays(tmp_path, without).relays == ()
    with pytest.raises(ConfigError, match=r"no \[\[evse\]\] with a relay is there, and it is not valid TOML"):
        relays(tmp_path, without + "[[evse")


SERVER = """
[ocpi.server]
enabled = true
host = "0.0.0.0"
public_url = "https://cp1.example.com/ocpi"
tls_certificate = "server.pem"
"""


def test_server_with_a_certificate_is_good() -> None:
    server = parse(MINIMAL + SERVER, PATH).ocpi.server
    assert (server.host, server.port, server.tls_certificate) == ("0.0.0.0", 8443, "server.pem")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('host = "0.0.0.0"', 'host = "127.0.0.1"'),
        ('host = "0.0.0.0"', 'host = "::1"'),
        ('host = "0.0.0.0"', "allow_http = true"),
        ("https://cp1.example.com", "http://localhost:8443"),
    ],
)
def test_server_without_a_certificate_is_good_where_nobody_can_listen_in(old: str, new: str) -> None:
    text = SERVER.replace('tls_certificate = "server.pem"', "").replace('host = "0.0.0.0"', 'host = "127.0.0.1"')
    assert parse(MINIMAL + text.replace(old, new), PATH).ocpi.server.enabled


def test_server_that_is_off_needs_nothing() -> None:
    assert not parse(MINIMAL + "[ocpi.server]\nenabled = false\nhost = '0.0.0.0'\n", PATH).ocpi.server.enabled


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('public_url = "https://cp1.example.com/ocpi"', "", "public_url: missing; it is the address"),
        ("https://cp1", "ftp://cp1", "public_url: expected a URL that begins with https://"),
        ("https://cp1", "https://me:word@cp1", "public_url: expected no user or password"),
        ("com/ocpi", "com/ocpi?a=b", "public_url: expected a URL without ? and #"),
        ("https://cp1", "http://cp1", "public_url: expected https://, for tls_certificate is set"),
        ('tls_certificate = "server.pem"', 'tls_key = "server.key"', "tls_key: expected tls_certificate beside it"),
        ('tls_certificate = "server.pem"', "", "host: 0.0.0.0 is reached from outside: over plain HTTP anybody"),
        (
            'tls_certificate = "server.pem"\n',
            "",
            "set tls_certificate; or listen on 127.0.0.1 behind a proxy; or set allow_http = true",
        ),
        ("enabled = true", "enabled = true\nport = 0", "ocpi.server.port: expected `int` >= 1"),
        ("enabled = true", "enabled = true\npublic_uri = 1", "did you mean public_url?"),
    ],
)
def test_server_setting_that_can_not_be_used_is_named(old: str, new: str, says: str) -> None:
    assert old in SERVER
    with pytest.raises(ConfigError) as caught:
        parse(MINIMAL + SERVER.replace(old, new), PATH)
    assert str(caught.value).startswith("charger.toml: ocpi.server")
    assert says in str(caught.value)


def test_public_url_over_plain_http_beyond_loopback_needs_to_be_allowed() -> None:
    plain = SERVER.replace("https://cp1", "http://cp1").replace('tls_certificate = "server.pem"', "")
    behind_proxy = plain.replace("0.0.0.0", "127.0.0.1")
    with pytest.raises(ConfigError, match="public_url: expected https://; over plain HTTP anybody"):
        parse(MINIMAL + behind_proxy, PATH)
    assert parse(MINIMAL + plain + "allow_http = true\n", PATH).ocpi.server.allow_http
