"""Builds what keeps the books: of each EVSE, of what an earlier life left open or unsealed, and of what is old."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.charges import Open
from agent.config import Config, EvseSection
from agent.core.account import Pricing
from agent.core.evse_state import Settings
from agent.errors import StoreError
from agent.model import EndReason
from agent.runtime.aftermath import SHUT_DOWN_S
from agent.runtime.clock import Clock
from agent.runtime.housekeeping import Housekeeping
from agent.runtime.ledger import Ledger, LedgerSettings
from agent.runtime.sealing import DocumentsBy, Sealing
from agent.storage import Stores

if TYPE_CHECKING:
    from agent.ocpi.tariffs import Tariff
    from agent.runtime.documents import Documents

log = logging.getLogger(__name__)


def pricing_of(config: Config) -> Pricing:
    """By what a session is accounted that nobody is billed for."""
    return Pricing(None, ZoneInfo(config.location.time_zone))


def evse_settings(config: Config, section: EvseSection) -> Settings:
    """How an EVSE is fitted, and how its charges begin, pause and end."""
    session = config.session
    return Settings(
        has_plug_sensor=section.plug is not None,
        has_meter=section.meter is not None,
        connection_timeout_s=session.connection_timeout_s,
        stop_after_s=config.policy.stop_after_s,
        suspended_below_w=session.suspended_below_w,
        suspended_after_s=session.suspended_after_s,
        resume_within_s=session.resume_within_s,
        late_refusal=config.policy.late_refusal,
    )


def ledger_of(
    config: Config, section: EvseSection, tariff: "Tariff | None", stores: Stores, clock: Clock
) -> Callable[[Callable[[int], None]], Ledger]:
    """Keeps the books of one EVSE. Raises ConfigError for what no CDR can say."""
    documents, session = None if tariff is None else _documents_of(config, section, tariff), config.session
    settings = LedgerSettings(
        has_meter=section.meter is not None,
        persist_energy_wh=session.persist_energy_wh,
        persist_every_s=session.persist_every_s,
    )
    if config.billing is not None:
        settings = replace(
            settings,
            report_energy_wh=config.billing.report_energy_wh,
            report_every_s=config.billing.report_every_s,
        )
    return lambda on_unrecorded: Ledger(
        section.uid,
        journal=stores.journal,
        sessions=stores.sessions,
        documents=documents,
        pricing=pricing_of(config),
        clock=clock,
        settings=settings,
        on_unrecorded=on_unrecorded,
        documents_by=lambda began_with: _documents_by(config, section, began_with),
    )


def sealing_of(config: Config, stores: Stores, clock: Clock) -> Sealing:
    """Bills what ended before the clock was set, also when nothing new is billed any more."""
    sections = {section.uid: section for section in config.evse}

    def documents(evse_uid: str, tariff: bytes) -> "Documents | str":
        section = sections.get(evse_uid)
        return _no_longer(evse_uid) if section is None else _documents_by(config, section, tariff)

    return Sealing(stores.sessions, documents, clock)


def housekeeping_of(config: Config, stores: Stores, clock: Clock) -> Housekeeping:
    """Deletes what need not be kept any longer."""
    keep = timedelta(days=config.storage.keep_days) if config.storage.keep_days else None
    return Housekeeping(stores.sessions, stores.journal, keep=keep, clock=clock)


async def owes(stores: Stores) -> bool:
    """Whether something is to be told to a peer, or soon will be, from when something was billed. Raises StoreError."""
    if await stores.sessions.due(1) or await stores.sessions.unsealed():
        return True
    return any(left.session is not None and left.session.tariff is not None for left in await stores.sessions.open())


async def left_open(config: Config, stores: Stores, clock: Clock) -> dict[str, Open]:
    """By EVSE, what the last start left open there; what nobody can take up is ended on record. Raises StoreError.

    What the disk refuses to have ended now is found again by the next start: cards are refused with a text until then,
    which says more than an agent that does not start.
    """
    found: dict[str, Open] = {}
    sections = {section.uid: section for section in config.evse}
    for left in await stores.sessions.open():
        evse_uid = left.authorization.entry.evse_uid
        before = found.get(evse_uid)
        if evse_uid not in sections:
            await _end_left(left, stores, config, clock, lambda _, uid=evse_uid: _no_longer(uid))  # type: ignore[misc]
        elif before is None:
            found[evse_uid] = left
        else:
            # The newer: nobody is accepted before the one before has ended, though that may not have come to disk.
            found[evse_uid], drop = left, before
            section = sections[evse_uid]
            await _end_left(drop, stores, config, clock, lambda tariff, of=section: _documents_by(config, of, tariff))  # type: ignore[misc]
    try:
        await stores.journal.settle_open_check()
    except StoreError as error:
        log.warning("the next start will take longer to find what is open: %s", error)
    if found:
        log.warning("%d authorization(s) were running when the agent last ended", len(found))
    return found


def _no_longer(evse_uid: str) -> str:
    return f"EVSE {evse_uid} is no longer configured"


async def _end_left(left: Open, stores: Stores, config: Config, clock: Clock, documents: DocumentsBy) -> None:
    ledger = Ledger(
        left.authorization.entry.evse_uid,
        journal=stores.journal,
        sessions=stores.sessions,
        documents=None,
        pricing=pricing_of(config),
        clock=clock,
        settings=LedgerSettings(),
        documents_by=documents,
    )
    if not ledger.found(left):
        pass  # it can't be read, and is ended already
    elif left.session is None:
        ledger.end_authorization(left.authorization.id, EndReason.RESTART)
    else:
        ledger.end(None, left.session.register_wh, EndReason.RESTART)
    await ledger.stop(SHUT_DOWN_S)


def _documents_of(config: Config, evse: EvseSection, tariff: "Tariff") -> "Documents | None":
    from agent.billing import documents_of  # noqa: PLC0415  for those who bill

    return documents_of(config, evse, tariff)


def _documents_by(config: Config, evse: EvseSection, tariff: bytes) -> "Documents | str":
    from agent.billing import documents_by  # noqa: PLC0415  for those who bill

    return documents_by(config, evse, tariff)
