"""One TOML file into typed, frozen values, or one error that says where it is wrong and what was expected.

`docs/configuration.toml` is the reference: every key with its default. Values are passed on from here one by
one; nothing but the composition root sees a `Config`. Nothing is started before all of it was read.
"""

import os
import tomllib
from datetime import timedelta
from pathlib import Path

import msgspec

from agent.config.charge_checks import check_billing, check_inputs
from agent.config.checks import check_peers, check_server, check_times, check_uniqueness
from agent.config.device_checks import check_devices
from agent.config.explain import explain
from agent.config.input_sections import (
    FeedbackSection,
    MeterSection,
    ModbusMeterSection,
    PlugSection,
    S0MeterSection,
)
from agent.config.kinds import name_kinds
from agent.config.output_sections import (
    BuzzerSection,
    CharacterDisplaySection,
    ConsoleDisplaySection,
    DisplaySection,
    GpioRelaySection,
    HidRelaySection,
    LcusRelaySection,
    LightSection,
    PictureDisplaySection,
    RelaySection,
    SerialDisplaySection,
)
from agent.config.reader_sections import (
    Id12laSection,
    KeyboardSection,
    LineReaderSection,
    PcscSection,
    Pn532Section,
    Rdm6300Section,
    ReaderSection,
    ReaderSettings,
    SerialReaderSection,
    WiegandSection,
)
from agent.config.reading import text_of
from agent.config.relays import RelaysFound, load_relays
from agent.config.sections import (
    BillingSection,
    BreakerSection,
    ClockSection,
    Config,
    EvseSection,
    LocationSection,
    LogSection,
    MonitoringSection,
    OcpiSection,
    PanelSection,
    PartySection,
    PeerSection,
    PolicySection,
    ServerSection,
    SessionSection,
    SlowdownSection,
    StorageSection,
    SyncSection,
)
from agent.core.slowdown import Slowdown
from agent.errors import ConfigError
from agent.model import Policy, Verdict

__all__ = [
    "BillingSection",
    "BreakerSection",
    "BuzzerSection",
    "CharacterDisplaySection",
    "ClockSection",
    "Config",
    "ConsoleDisplaySection",
    "DisplaySection",
    "EvseSection",
    "FeedbackSection",
    "GpioRelaySection",
    "HidRelaySection",
    "Id12laSection",
    "KeyboardSection",
    "LcusRelaySection",
    "LightSection",
    "LineReaderSection",
    "LocationSection",
    "LogSection",
    "MeterSection",
    "ModbusMeterSection",
    "MonitoringSection",
    "OcpiSection",
    "PanelSection",
    "PartySection",
    "PcscSection",
    "PeerSection",
    "PictureDisplaySection",
    "PlugSection",
    "Pn532Section",
    "PolicySection",
    "Rdm6300Section",
    "ReaderSection",
    "ReaderSettings",
    "RelaySection",
    "RelaysFound",
    "S0MeterSection",
    "SerialDisplaySection",
    "SerialReaderSection",
    "ServerSection",
    "SessionSection",
    "SlowdownSection",
    "StorageSection",
    "SyncSection",
    "WiegandSection",
    "credentials_token",
    "is_out_of_reach",
    "load",
    "load_relays",
    "parse",
    "policy_of",
    "slowdown_of",
]


def load(path: Path) -> Config:
    """Read and check the whole file. Raises ConfigError naming file, key and what was expected."""
    return parse(text_of(path), path)


def parse(text: str, path: Path) -> Config:
    """The same for a text that is already in memory; `path` is for the messages and relative file names."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    name_kinds(raw)
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {explain(str(error), raw)}") from error
    # Beside the file, as every other path in it: a command may be given from anywhere.
    directory = str(path.parent / config.storage.directory)
    storage = msgspec.structs.replace(config.storage, directory=directory)
    config = msgspec.structs.replace(config, storage=storage)
    for check in (check_uniqueness, check_peers, check_server, check_times, check_devices, check_inputs, check_billing):
        check(config, path)
    return config


def policy_of(section: PolicySection) -> Policy:
    """The section as the value that the core decides by."""
    return Policy(
        prefer=section.prefer,
        always_invalid=_VERDICTS[section.always_invalid],
        stale_offline=_VERDICTS[section.stale_offline],
        unknown_tokens=section.unknown_tokens,
        unknown_offline=_VERDICTS[section.unknown_offline],
        max_age=timedelta(days=section.max_age_days),
        late_refusal=section.late_refusal,
        deadline_s=section.deadline_s,
        reserve_s=section.reserve_s,
        late_window_s=section.late_window_s,
        stop_after_s=section.stop_after_s,
    )


def slowdown_of(section: SlowdownSection) -> Slowdown | None:
    """The section as the value that a reader's taps are paced by; None where it is switched off."""
    if section.refusals == 0:
        return None
    return Slowdown(
        refusals=section.refusals,
        within_s=section.within_s,
        pause_s=section.pause_s,
        most_pause_s=section.most_pause_s,
    )


def is_out_of_reach(peer: PeerSection) -> bool:
    """Whether its credentials token is one that systemd gives to the running service alone, and this is none."""
    return peer.token_credential is not None and not os.environ.get("CREDENTIALS_DIRECTORY")


def credentials_token(peer: PeerSection, path: Path) -> str:
    """The peer's credentials token, from wherever the file says it stands. Raises ConfigError without showing it."""
    if peer.token is not None:
        token, where = peer.token, "token"
    elif peer.token_file is not None:
        token, where = _secret(path.parent / peer.token_file, path, f'peer "{peer.name}": token_file'), "token_file"
    else:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        key = f'peer "{peer.name}": token_credential'
        if not folder:
            raise ConfigError(f"{path}: {key}: systemd gives no credentials here (LoadCredential= in the unit)")
        file = Path(folder) / str(peer.token_credential)
        if not file.exists():
            raise ConfigError(
                f"{path}: {key}: {peer.token_credential} is not among what systemd has handed over at the start of the "
                "service (LoadCredential= in the unit; /etc/chargepoint-agent/credentials): put it there, and restart"
            )
        token, where = _secret(file, path, key), "token_credential"
    if not token or not token.isascii() or not token.isprintable() or len(token) > 64:
        expected = "expected 1 to 64 printable ASCII characters (OCPI 2.2.1 credentials)"
        raise ConfigError(f'{path}: peer "{peer.name}": {where}: {expected}')
    return token


_VERDICTS = {"accept": Verdict.ACCEPTED, "refuse": Verdict.REFUSED}


def _secret(file: Path, path: Path, key: str) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {key}: can't be read: {error}") from error
