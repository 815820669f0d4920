"""The tables of the file, each a frozen value: its keys, their types and their defaults.

Readers, inputs and outputs have modules of their own beside this one.

`docs/configuration.toml` says what each key means. What two tables have to do with each other is `checks`'.
"""

from typing import Annotated, Literal

import msgspec

from agent.config.input_sections import MeterSection, PlugSection
from agent.config.output_sections import (
    BuzzerSection,
    ConsoleDisplaySection,
    DisplaySection,
    LightSection,
    RelaySection,
)
from agent.config.reader_sections import ReaderSection
from agent.config.section import CiString36, Count, CountryCode, Name, NonEmpty, Owner, PartyId, Positive, Section
from agent.model import LateRefusal, Prefer, UnknownTokens

_DEGREES = 'degrees in quotes, with five to seven decimals, as "52.51631"'


class PartySection(Section, frozen=True, kw_only=True):
    """Who we are towards the peers: OCPI 2.2.1 credentials, CredentialsRole."""

    country_code: CountryCode
    party_id: PartyId
    business_name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class LocationSection(Section, frozen=True, kw_only=True):
    """Where this charge point stands, in the operator's own ids, and the language of its texts."""

    id: CiString36
    language: Literal["en", "de", "nl", "fr"] = "en"
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "UTC"
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=45)] | None = None
    city: Annotated[str, msgspec.Meta(min_length=1, max_length=45)] | None = None
    postal_code: Annotated[str, msgspec.Meta(min_length=1, max_length=10)] | None = None
    state: Annotated[str, msgspec.Meta(min_length=1, max_length=20)] | None = None
    country: (
        Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z", description="three capital letters, as DEU")] | None
    ) = None
    latitude: Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,2}\.[0-9]{5,7}\Z", description=_DEGREES)] | None = None
    longitude: Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,3}\.[0-9]{5,7}\Z", description=_DEGREES)] | None = None


class StorageSection(Section, frozen=True, kw_only=True):
    """The directory of `whitelist.db` and `state.db`, and how long what is settled is kept."""

    directory: str
    keep_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 400


class ClockSection(Section, frozen=True, kw_only=True):
    """Whether the wall clock is taken for right, whoever has set it; see `agent.runtime.clock_source`."""

    trusted: bool = False


class LogSection(Section, frozen=True, kw_only=True):
    """How much is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class PolicySection(Section, frozen=True, kw_only=True):
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


class SessionSection(Section, frozen=True, kw_only=True):
    """How a charge begins, pauses and ends; see `agent.core.evse_state.Settings`."""

    connection_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    suspended_below_w: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 100.0
    suspended_after_s: Positive = 60.0
    resume_within_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 300.0
    persist_energy_wh: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    persist_every_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 120.0


class BillingSection(Section, frozen=True, kw_only=True):
    """By what sessions are priced, and how often their owners hear of them."""

    tariff_file: Annotated[str, msgspec.Meta(min_length=1)]
    report_every_s: Annotated[float, msgspec.Meta(ge=2, le=86_400)] = 300.0
    report_energy_wh: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    retry_first_s: Annotated[float, msgspec.Meta(ge=0.05, le=86_400)] = 5.0
    retry_most_s: Annotated[float, msgspec.Meta(ge=0.05, le=86_400)] = 3600.0


class BreakerSection(Section, frozen=True, kw_only=True):
    """When a peer is taken for down, and how it is found again."""

    failures: Count = 3
    probe_every_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 30.0
    retry_first_s: Annotated[float, msgspec.Meta(ge=0.05, le=86_400)] = 2.0
    retry_most_s: Positive = 60.0


class SyncSection(Section, frozen=True, kw_only=True):
    """How often the tokens are pulled."""

    every_min: Annotated[float, msgspec.Meta(gt=0, le=525_600)] = 360.0
    full_every_h: Annotated[float, msgspec.Meta(gt=0, le=8_760)] = 24.0
    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 600.0


class SlowdownSection(Section, frozen=True, kw_only=True):
    """When a reader at which card after card is refused pauses; see `agent.core.slowdown`."""

    refusals: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 5
    within_s: Positive = 60.0
    pause_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    most_pause_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 300.0


class PeerSection(Section, frozen=True, kw_only=True):
    """An eMSP, a hub or a CPO backend: whoever offers the Tokens sender interface."""

    name: Name
    country_code: CountryCode
    party_id: PartyId
    versions_url: str | None = None
    tokens_url: str | None = None
    sessions_url: str | None = None
    cdrs_url: str | None = None
    token: str | None = None
    token_file: str | None = None
    token_credential: Name | None = None
    token_encoding: Literal["base64", "plain"] = "base64"  # noqa: S105  names an encoding
    ca_file: str | None = None
    allow_http: bool = False
    trailing_slash: bool = False
    hub: bool = False
    owners: tuple[Owner, ...] = ()
    page_size: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 250


class ConnectorSection(Section, frozen=True, kw_only=True):
    """The EVSE's connector in OCPI's words: OCPI 2.2.1 mod_locations, Connector."""

    id: CiString36 = "1"
    standard: str
    format: Literal["SOCKET", "CABLE"]
    power_type: Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"]


class EvseSection(Section, frozen=True, kw_only=True):
    """One EVSE: its readers, its relay, its display."""

    uid: CiString36
    readers: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    relay: RelaySection
    display: DisplaySection = ConsoleDisplaySection()
    light: LightSection | None = None
    buzzer: BuzzerSection | None = None
    plug: PlugSection | None = None
    meter: Name | None = None
    id: Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,48}\Z")] | None = None
    connector: ConnectorSection | None = None
    language: Literal["en", "de", "nl", "fr"] | None = None


class ServerSection(Section, frozen=True, kw_only=True):
    """Where peers reach us, to register and to push tokens."""

    enabled: bool = False
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8443
    public_url: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    allow_http: bool = False
    body_limit_kib: Annotated[int, msgspec.Meta(ge=4, le=1024)] = 64
    requests_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 6000
    failed_logins_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 60
    bring_for_others: tuple[Name, ...] = ()


class MonitoringSection(Section, frozen=True, kw_only=True):
    """Where metrics and the health answer are to be had; see `agent.service.monitoring`."""

    listen: NonEmpty = "127.0.0.1:9469"
    allow_remote: bool = False


class PanelSection(Section, frozen=True, kw_only=True):
    """Where the page for the bench is to be had; see `agent.panel.place`."""

    listen: NonEmpty = "127.0.0.1:8470"
    allow_remote: bool = False
    login_file: NonEmpty | None = None
    tls_certificate: NonEmpty | None = None
    tls_key: NonEmpty | None = None
    allow_http: bool = False


class OcpiSection(Section, frozen=True, kw_only=True):
    """OCPI beyond the peers that have a table of their own."""

    server: ServerSection = ServerSection()


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    party: PartySection
    location: LocationSection
    storage: StorageSection
    policy: PolicySection = PolicySection()
    breaker: BreakerSection = BreakerSection()
    sync: SyncSection = SyncSection()
    slowdown: SlowdownSection = SlowdownSection()
    session: SessionSection = SessionSection()
    billing: BillingSection | None = None
    clock: ClockSection = ClockSection()
    log: LogSection = LogSection()
    monitoring: MonitoringSection | None = None
    panel: PanelSection | None = None
    ocpi: OcpiSection = OcpiSection()
    peer: tuple[PeerSection, ...] = ()
    reader: tuple[ReaderSection, ...] = ()
    meter: tuple[MeterSection, ...] = ()
    evse: Annotated[tuple[EvseSection, ...], msgspec.Meta(min_length=1)]
