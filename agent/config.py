"""One TOML file into typed, frozen values, or one error that says where it is wrong and what was expected.

`docs/configuration.toml` is the reference: every key with its default. Values are passed on from here one by
one; nothing but the composition root sees a `Config`. Nothing is started before all of it was read.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, urlsplit

import msgspec

from agent.errors import ConfigError
from agent.model import LateRefusal, Policy, Prefer, UnknownTokens, Verdict
from agent.ports import Charset

Positive = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
CountryCode = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}$")]
PartyId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]{3}$")]
Owner = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2}-[A-Za-z0-9]{3}$")]
CiString36 = Annotated[str, msgspec.Meta(min_length=1, max_length=36, pattern=r"^[\x21-\x7e]+$")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: a key that it does not know is an error."""


class PartySection(_Section, frozen=True, kw_only=True):
    """Who we are towards the peers: OCPI 2.2.1 credentials, CredentialsRole."""

    country_code: CountryCode
    party_id: PartyId


class LocationSection(_Section, frozen=True, kw_only=True):
    """Where this charge point stands, in the operator's own ids, and the language of its texts."""

    id: CiString36
    language: Literal["en", "de", "nl", "fr"] = "en"


class StorageSection(_Section, frozen=True, kw_only=True):
    """The directory of `whitelist.db` and `state.db`."""

    directory: str


class LogSection(_Section, frozen=True, kw_only=True):
    """How much is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class PolicySection(_Section, frozen=True, kw_only=True):
    """See `agent.model.Policy`."""

    prefer: Prefer = Prefer.WHITELIST
    always_invalid: Literal["accept", "refuse"] = "refuse"
    stale_offline: Literal["accept", "refuse"] = "accept"
    unknown_tokens: UnknownTokens = UnknownTokens.ASK
    unknown_offline: Literal["accept", "refuse"] = "refuse"
    max_age_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 7
    late_refusal: LateRefusal = LateRefusal.KEEP
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=120)] = 5.0
    reserve_s: Positive = 0.25
    late_window_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 30.0
    stop_after_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 3.0


class BreakerSection(_Section, frozen=True, kw_only=True):
    """When a peer is taken for down, and how it is found again."""

    failures: Count = 3
    probe_every_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 30.0
    retry_first_s: Annotated[float, msgspec.Meta(ge=0.05, le=86_400)] = 2.0
    retry_most_s: Positive = 60.0


class SyncSection(_Section, frozen=True, kw_only=True):
    """How often the tokens are pulled."""

    every_min: Annotated[float, msgspec.Meta(gt=0, le=525_600)] = 360.0
    full_every_h: Annotated[float, msgspec.Meta(gt=0, le=8_760)] = 24.0
    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 600.0


class PeerSection(_Section, frozen=True, kw_only=True):
    """An eMSP, a hub or a CPO backend: whoever offers the Tokens sender interface."""

    name: Name
    country_code: CountryCode
    party_id: PartyId
    versions_url: str | None = None
    tokens_url: str | None = None
    token: str | None = None
    token_file: str | None = None
    token_credential: Name | None = None
    token_encoding: Literal["base64", "plain"] = "base64"  # noqa: S105  names an encoding
    ca_file: str | None = None
    allow_http: bool = False
    hub: bool = False
    owners: tuple[Owner, ...] = ()
    page_size: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 250


class ReaderSection(_Section, frozen=True, kw_only=True):
    """A card reader on a serial line."""

    name: Name
    kind: Literal["rdm6300", "id12la"]
    port: Annotated[str, msgspec.Meta(min_length=1)]
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=921600)] = 9600
    uid_bytes: Annotated[int, msgspec.Meta(ge=1, le=5)] = 5
    uid_reversed: bool = False
    uid_decimal_digits: Annotated[int, msgspec.Meta(ge=10, le=13)] | None = None
    removal_s: Positive = 1.0
    reopen_s: Positive = 1.0


class RelaySection(_Section, frozen=True, kw_only=True):
    """A relay on a GPIO pin, in Broadcom numbering."""

    gpio: Annotated[int, msgspec.Meta(ge=0, le=53)]
    active_high: bool = True


class DisplaySection(_Section, frozen=True, kw_only=True):
    """What the driver reads."""

    kind: Literal["console"] = "console"
    columns: Annotated[int, msgspec.Meta(ge=8, le=80)] = 20
    rows: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2
    charset: Charset = Charset.UNICODE


class EvseSection(_Section, frozen=True, kw_only=True):
    """One EVSE: its readers, its relay, its display."""

    uid: CiString36
    readers: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    relay: RelaySection
    display: DisplaySection = DisplaySection()
    language: Literal["en", "de", "nl", "fr"] | None = None


class Config(_Section, frozen=True, kw_only=True):
    """The whole file."""

    party: PartySection
    location: LocationSection
    storage: StorageSection
    policy: PolicySection = PolicySection()
    breaker: BreakerSection = BreakerSection()
    sync: SyncSection = SyncSection()
    log: LogSection = LogSection()
    peer: tuple[PeerSection, ...] = ()
    reader: tuple[ReaderSection, ...] = ()
    evse: Annotated[tuple[EvseSection, ...], msgspec.Meta(min_length=1)]


def load(path: Path) -> Config:
    """Read and check the whole file. Raises ConfigError naming file, key and what was expected."""
    return parse(_text(path), path)


def _text(path: Path, errors: str = "strict") -> str:
    try:
        return path.read_text(encoding="utf-8", errors=errors)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name the configuration with --config FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error


def parse(text: str, path: Path) -> Config:
    """The same for a text that is already in memory; `path` is for the messages and relative file names."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error))}") from error
    _check_uniqueness(config, path)
    _check_peers(config, path)
    if config.policy.reserve_s >= config.policy.deadline_s:
        expected = f"less than policy.deadline_s ({config.policy.deadline_s:g}), for the peers need time too"
        raise ConfigError(f"{path}: policy.reserve_s: expected {expected}")
    if config.breaker.retry_first_s > config.breaker.retry_most_s:
        expected = f"at most breaker.retry_most_s ({config.breaker.retry_most_s:g})"
        raise ConfigError(f"{path}: breaker.retry_first_s: expected {expected}")
    return config


@dataclass(frozen=True, slots=True)
class RelaysFound:
    """The relays of a file that may be broken elsewhere."""

    relays: tuple[RelaySection, ...]
    faults: tuple[str, ...]
    """One sentence for each relay that is there and can't be read: a guess at its level might close it."""
    directory: Path | None
    """Of the databases, where the file says it."""


def load_relays(path: Path) -> RelaysFound:
    """Read the relays, and of the rest no more than where the databases are; it may hold any mistake.

    Raises ConfigError for a file that can't be read or names no relay.
    """
    text = _text(path, errors="replace")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        found, directory = list(_relay_lines(text)), _directory_line(text)
    else:
        evses = raw.get("evse")
        tables = evses if isinstance(evses, list) else [evses] if isinstance(evses, dict) else []
        found = [evse.get("relay") if isinstance(evse, dict) else None for evse in tables]
        storage = raw.get("storage")
        directory = storage.get("directory") if isinstance(storage, dict) else None
    relays, faults = [], []
    for number, table in enumerate(found, 1):
        try:
            relays.append(msgspec.convert(table, RelaySection))
        except msgspec.ValidationError as error:
            faults.append(f"{path}: relay #{number} can't be read, and was not opened: {error}")
    if not found:
        raise ConfigError(f"{path}: no [[evse]] with a relay is there")
    return RelaysFound(tuple(relays), tuple(faults), Path(directory) if isinstance(directory, str) else None)


_HEADER = re.compile(r"^[ \t]*(?=\[)", re.MULTILINE)
_RELAY_TABLE = re.compile(r"\[\s*evse\s*\.\s*relay\s*\]")
_RELAY_LINE = re.compile(r"^[ \t]*relay[ \t]*=.*$", re.MULTILINE)
_RELAY_DOTTED = re.compile(r"^[ \t]*relay[ \t]*\..*$", re.MULTILINE)
_DIRECTORY_LINE = re.compile(r"^[ \t]*directory[ \t]*=.*$", re.MULTILINE)


def _relay_lines(text: str) -> Iterator[object]:
    """The relays of a text that is no TOML, table by table; None for one that can't be read by itself either."""
    for part in _HEADER.split(text):
        if _RELAY_TABLE.match(part):
            # Whole: without a misspelt `active_high` the pin would be driven to the wrong level.
            yield _value(part, "evse", "relay")
            continue
        for line in _RELAY_LINE.findall(part):
            yield _value(line, "relay")
        if dotted := _RELAY_DOTTED.findall(part):
            yield _value("\n".join(dotted), "relay")


def _directory_line(text: str) -> object:
    lines = _DIRECTORY_LINE.findall(text)
    return _value(lines[0], "directory") if len(lines) == 1 else None


def _value(text: str, *keys: str) -> object:
    """What stands at the keys of a piece of TOML, or None."""
    try:
        value: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


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
        token, where = _secret(Path(folder) / str(peer.token_credential), path, key), "token_credential"
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


def _explain(message: str) -> str:
    """msgspec's message with the place as a person names it, and what would have been right there."""
    match = re.fullmatch(r"(?P<what>.*?)(?: - at `\$(?P<where>[^`]*)`)?", message, re.DOTALL)
    assert match is not None, "the pattern takes any text"
    what, steps = match["what"], re.findall(r"[^.\[\]]+", match["where"] or "")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if unknown:
        return f"{_place([*steps, unknown[1]])}: unknown key; {_known_keys(steps, unknown[1])}"
    if missing:
        return f"{_place([*steps, missing[1]])}: missing; this key is required"
    if what.startswith("Invalid enum value"):
        return f"{_place(steps)}: expected one of {', '.join(_choices_at(steps))}"
    return f"{_place(steps)}: {what[0].lower()}{what[1:]}"


def _place(steps: list[str]) -> str:
    """`evse #2: relay.gpio`: people count tables from one, and find them by their order."""
    place = ""
    for step in steps:
        place += f" #{int(step) + 1}:" if step.isdigit() else f"{_glue(place)}{step}"
    return place.removesuffix(":") or "the file"


def _glue(place: str) -> str:
    if not place:
        return ""
    return " " if place.endswith(":") else "."


def _known_keys(steps: list[str], unknown: str) -> str:
    fields = _fields_at(steps)
    close = difflib.get_close_matches(unknown, fields, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known here: {', '.join(fields)}"


def _fields_at(steps: list[str]) -> list[str]:
    return list(_section_at(steps).__struct_fields__)


def _choices_at(steps: list[str]) -> list[str]:
    """The words that a key takes, be they a Literal's or an enum's."""
    hint = get_type_hints(_section_at(steps[:-1]))[steps[-1]]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return [str(choice) for choice in hint]
    parts = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
    return [choice for part in parts for choice in get_args(part)]


def _section_at(steps: list[str]) -> type[_Section]:
    section: type[_Section] = Config
    for step in steps:
        if not step.isdigit():
            section = next(_sections_in(get_type_hints(section)[step]))
    return section


def _sections_in(hint: object) -> Iterator[type[_Section]]:
    """The sections that a type hint holds, however deep in tuples, options and annotations."""
    if isinstance(hint, type) and issubclass(hint, _Section):
        yield hint
    for part in get_args(hint):
        yield from _sections_in(part)


def _check_uniqueness(config: Config, path: Path) -> None:
    _unique([p.name for p in config.peer], path, "peer", "name")
    _unique([r.name for r in config.reader], path, "reader", "name")
    _unique([r.port for r in config.reader], path, "reader", "port")
    _unique([e.uid.casefold() for e in config.evse], path, "evse", "uid")
    _unique([str(e.relay.gpio) for e in config.evse], path, "evse", "relay.gpio", "one relay serves one EVSE")
    known = {r.name for r in config.reader}
    for number, evse in enumerate(config.evse, 1):
        for name in evse.readers:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise ConfigError(
                    f'{path}: evse #{number}: readers: no [[reader]] is named "{name}"; there are: {names}'
                )
    _unique([name for e in config.evse for name in e.readers], path, "evse", "readers", "one reader serves one EVSE")
    unused = sorted(known - {name for evse in config.evse for name in evse.readers})
    if unused:
        raise ConfigError(
            f'{path}: reader: name: no [[evse]] names "{unused[0]}" among its readers: it would do nothing'
        )


def _unique(values: list[str], path: Path, table: str, key: str, why: str = "each needs its own") -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ConfigError(f'{path}: {table}: {key}: "{value}" stands twice; {why}')


def _check_peers(config: Config, path: Path) -> None:
    for peer in config.peer:
        where = f'{path}: peer "{peer.name}"'
        if (peer.versions_url is None) == (peer.tokens_url is None):
            raise ConfigError(f"{where}: expected one of versions_url and tokens_url")
        if [peer.token, peer.token_file, peer.token_credential].count(None) != 2:
            raise ConfigError(f"{where}: expected one of token, token_file and token_credential")
        key = "versions_url" if peer.versions_url is not None else "tokens_url"
        try:
            url = _split(peer.versions_url or peer.tokens_url or "")
        except ValueError as error:
            raise ConfigError(f"{where}: {key}: {error}") from error
        if url.scheme not in {"https", "http"} or not url.hostname:
            raise ConfigError(f"{where}: {key}: expected a URL that begins with https://")
        if url.username or url.password:
            raise ConfigError(f"{where}: {key}: expected no user or password in the URL")
        loopback = url.hostname in {"localhost", "127.0.0.1", "::1"}
        if url.scheme == "http" and not loopback and not peer.allow_http:
            risk = (
                "over plain HTTP anybody on the way reads the credentials token; set allow_http = true to accept that"
            )
            raise ConfigError(f"{where}: {key}: expected https://; {risk}")


def _split(text: str) -> SplitResult:
    """The parts of a URL. Raises ValueError for what is none, in words that don't repeat it."""
    # urlsplit drops line ends and tabs silently: what is checked would not be what is sent.
    if not text.isprintable() or " " in text:
        raise ValueError("expected a URL without blanks and control characters")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from error
    if port == 0:
        raise ValueError("expected a URL with a port from 1 to 65535, or none")
    return url
