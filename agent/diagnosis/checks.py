"""Which checks make up one round through a charge point, in the order in which they are printed."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.config import Config, PcscSection, is_out_of_reach
from agent.diagnosis.clock import clock_finding
from agent.diagnosis.configuration import configuration_finding
from agent.diagnosis.databases import database_findings
from agent.diagnosis.doors import Door, door_finding, doors_of
from agent.diagnosis.finding import Finding
from agent.diagnosis.outputs import display_findings, meter_findings, relay_findings
from agent.diagnosis.pins import pin_findings
from agent.diagnosis.readers import pcsc_findings, reader_findings
from agent.diagnosis.rights import user_finding
from agent.diagnosis.rounds import Check, asked_once
from agent.diagnosis.site import Site
from agent.diagnosis.storage import agent_finding, agent_runs_in, folder_findings
from agent.diagnosis.whitelist import tokens_in, whitelist_findings
from agent.errors import AgentError
from hw.discovery_sysfs import Roots

if TYPE_CHECKING:
    from agent.peering import PeerTerms


def checks_of(site: Site, roots: Roots, *, offline: bool) -> Iterator[Check]:
    """All that can be looked at with what could be read of the configuration. `offline`: no peer is asked."""
    runs = asked_once(lambda: agent_runs_in(site.folder))
    yield Check("configuration", lambda: [configuration_finding(site)])
    yield Check("user", lambda: [user_finding()])
    if site.folder is not None:
        folder = site.folder
        yield Check("agent", lambda: [agent_finding(runs=runs())])
        yield Check("storage", partial(folder_findings, folder))
        yield Check("databases", partial(database_findings, folder))
    trusted = site.config is not None and site.config.clock.trusted
    yield Check("clock", lambda: [clock_finding(trusted=trusted)])
    yield from _device_checks(site, roots, lambda: runs() is True)
    if site.config is not None:
        for door in doors_of(site.config, site.path):
            yield Check(door.subject, partial(_of_door, door, runs))
        yield from _peer_checks(site.config, site.path, offline=offline)


def _of_door(door: Door, agent_runs: Callable[[], bool | None]) -> list[Finding]:
    return [door_finding(door, agent_runs=agent_runs)]


def _device_checks(site: Site, roots: Roots, runs: Callable[[], bool]) -> Iterator[Check]:
    for reader in site.readers:
        yield Check(f"reader {reader.name}", partial(reader_findings, reader, roots, agent_runs=runs))
    pcsc = [reader for reader in site.readers if isinstance(reader, PcscSection)]
    yield Check("pcscd", partial(pcsc_findings, pcsc, roots))
    yield Check("GPIO", partial(pin_findings, site))
    for subject, relay in site.relays:
        yield Check(subject, partial(relay_findings, subject, relay, roots))
    yield Check("meters", partial(meter_findings, site.meters, agent_runs=runs))
    for evse in site.evses:
        yield Check(f"display of {evse.uid}", partial(display_findings, evse, roots))


def _peer_checks(config: Config, path: Path, *, offline: bool) -> Iterator[Check]:
    """Each peer's list, and the peer itself: how bad it is that nobody answers depends on the lists."""
    folder = Path(config.storage.directory)
    within_reach = [peer for peer in config.peer if not is_out_of_reach(peer)]

    @asked_once
    def terms() -> "list[PeerTerms]":
        from agent.diagnosis.peers import terms_of_peers  # noqa: PLC0415  a fifth of a second of HTTP

        return terms_of_peers(msgspec.structs.replace(config, peer=tuple(within_reach)), path)

    def lists() -> list[Finding]:
        try:
            peers = [each.name for each in terms()]
        except AgentError:
            return []  # the peers' own check says it
        max_age = timedelta(days=config.policy.max_age_days)
        return whitelist_findings(folder, peers, max_age)

    def asked() -> list[Finding]:
        from agent.diagnosis.peers import no_peer_finding, peer_findings  # noqa: PLC0415  as above

        if not terms() and config.peer == tuple(within_reach):
            return [no_peer_finding(tokens=tokens_in(folder))]
        return [] if offline else peer_findings(terms(), config, tokens=tokens_in(folder))

    yield Check("whitelist", lists)
    yield Check("peers", asked)
