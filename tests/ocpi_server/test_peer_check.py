"""What `peers check` finds in a good peer, and in each bad one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent.commands.peers import check
from agent.config import Config, parse
from agent.model import Outcome
from agent.ocpi.client import tls_context
from agent.ocpi.failures import Failure
from agent.runtime.peer_check import CheckedPeer, Finding, Level, check_peer
from agent.runtime.peer_remedies import Remedies
from fakes.emsp import FakeEmsp, Kind, Part
from fakes.emsp.device import Slash
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi.test_tls import server_context
from tests.ocpi_server.hostile import enveloped
from tests.ocpi_server.site import Site


async def findings(emsp: FakeEmsp, **settings: Any) -> list[Finding]:
    if "tokens_url" not in settings:
        settings["versions_url"] = emsp.versions_url
    peer = CheckedPeer("emsp", emsp.credentials_token, us=("NL", "CPO"), them=("DE", "ABC"), **settings)
    return await check_peer(peer, tls=tls_context())


@pytest.fixture(name="agreed")
async def agreed_emsp(emsp: FakeEmsp) -> FakeEmsp:
    emsp.device.credentials_token = "agreed-by-mail"
    emsp.populate(3)
    return emsp


async def test_good_peer_is_found_good(agreed: FakeEmsp) -> None:
    found = await findings(agreed)
    assert [finding for finding in found if finding.level is not Level.GOOD] == []
    assert [finding.what for finding in found] == [
        "versions",
        "version details",
        "endpoints",
        "list of tokens",
        "authorization of an unknown card",
        "a credentials token that it does not know",
    ]


def plain(emsp: FakeEmsp) -> None:
    emsp.device.plain_credentials = True


def old(emsp: FakeEmsp) -> None:
    emsp.device.versions = ("2.1.1",)


def no_tokens(emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"tokens"}


def no_credentials(emsp: FakeEmsp) -> None:
    emsp.device.withheld_endpoints = {"credentials"}


def html(emsp: FakeEmsp) -> None:
    emsp.set_weather(Kind.HTML_200, on=Part.AUTHORIZE)


@pytest.mark.parametrize(
    ("spoil", "level", "deviation"),
    [
        (plain, Level.DEVIATES, "in plain only"),
        (old, Level.BROKEN, "2.1.1, and not 2.2.1"),
        (no_tokens, Level.BROKEN, "no tokens module"),
        (no_credentials, Level.DEVIATES, "no credentials module"),
        (html, Level.BROKEN, "no OCPI envelope"),
    ],
)
async def test_deviation_is_named(
    agreed: FakeEmsp, spoil: Callable[[FakeEmsp], None], level: Level, deviation: str
) -> None:
    spoil(agreed)
    bad = [finding for finding in await findings(agreed) if finding.level is not Level.GOOD]
    assert [(finding.level, deviation in finding.deviation) for finding in bad] == [(level, True)]
    assert all(finding.remedy for finding in bad)


async def test_silent_peer_is_one_finding(agreed: FakeEmsp) -> None:
    agreed.set_weather(Kind.DOWN)
    [finding] = await findings(agreed)
    assert (finding.level, finding.what) == (Level.BROKEN, "versions")


async def test_peer_that_names_its_trailing_slashes_needs_no_setting(agreed: FakeEmsp) -> None:
    agreed.device.slash = Slash.LISTED
    assert [finding.level for finding in await findings(agreed)] == [Level.GOOD] * 6


SLASH = "trailing_slash = true"
PLAIN = 'token_encoding = "plain"'


@pytest.mark.parametrize("by", ["versions_url", "tokens_url"])
@pytest.mark.parametrize(
    ("slash", "plain", "helpful"),
    [
        (Slash.DEMANDED, False, {SLASH}),
        (Slash.NONE, True, {PLAIN}),
        (Slash.DEMANDED, True, {SLASH, PLAIN}),
    ],
)
async def test_setting_that_helps_is_named_and_everything_is_gone_through_with_it(
    agreed: FakeEmsp, by: str, slash: Slash, *, plain: bool, helpful: set[str]
) -> None:
    agreed.device.slash, agreed.device.plain_credentials = slash, plain
    found = await findings(agreed, **{by: getattr(agreed, by)})
    assert {finding.remedy for finding in found if finding.level is Level.DEVIATES} == helpful
    assert [finding.what for finding in found if finding.level is Level.GOOD][-3:] == [
        "list of tokens",
        "authorization of an unknown card",
        "a credentials token that it does not know",
    ]


async def test_peer_is_found_good_with_the_settings_that_were_named(agreed: FakeEmsp) -> None:
    agreed.device.slash, agreed.device.plain_credentials = Slash.DEMANDED, True
    found = await findings(agreed, trailing_slash=True, encoding="plain")
    assert [finding.level for finding in found] == [Level.GOOD] * 6
    assert agreed.requests[-2].path.endswith("/authorize/")


async def test_setting_that_harms_is_named(agreed: FakeEmsp) -> None:
    found = await findings(agreed, trailing_slash=True, encoding="plain")
    remedies = {finding.remedy for finding in found if finding.level is Level.DEVIATES}
    assert remedies == {"trailing_slash = false", 'token_encoding = "base64"'}


async def test_findings_show_no_token(agreed: FakeEmsp) -> None:
    agreed.device.credentials_token = "another"
    peer = CheckedPeer("emsp", "secret", us=("NL", "CPO"), them=("DE", "ABC"), versions_url=agreed.versions_url)
    assert "secret" not in repr((peer, await check_peer(peer, tls=tls_context())))


ROTATE = "chargepoint-agent peers rotate emsp; if that fails, unregister it and register anew"


async def remedies(emsp: FakeEmsp, **settings: Any) -> list[tuple[str, str]]:
    found = await findings(emsp, **settings)
    return [(finding.what, finding.remedy) for finding in found if finding.level is not Level.GOOD]


@pytest.mark.parametrize(
    ("registered", "helpful"),
    [
        (False, "ca_file in [[peer]], if its authority is a private one"),
        (True, "unregister it and register anew with --ca-file, if its authority is a private one"),
    ],
)
async def test_certificate_of_an_unknown_authority_names_the_setting_for_it(*, registered: bool, helpful: str) -> None:
    async with FakeEmsp(tls=server_context(trustme.CA())) as emsp:
        assert await remedies(emsp, registered=registered) == [("versions", helpful)]


@pytest.mark.parametrize("words", ["certificate has expired", "Hostname mismatch, certificate is not valid for 'x'."])
def test_certificate_with_a_fault_of_its_own_is_its_operators(words: str) -> None:
    failure = Failure(Outcome.UNREACHABLE, f"certificate verify failed: {words}")
    remedy = Remedies("emsp", registered=False, hub=False, renewal="").no_answer(failure)
    assert remedy == "ask its operator: its certificate has expired, or is another host's"


@pytest.mark.parametrize(
    ("settings", "helpful"),
    [
        ({}, 'if it may bring them: owners = ["NL-TNM"] in [[peer]], or hub = true for a hub'),
        (
            {"hub": True},
            'if it may bring them: owners = ["NL-TNM"] in [[peer]], besides those there are, or no owners at all',
        ),
        ({"registered": True}, 'if it may bring them: bring_for_others = ["emsp"] in [ocpi.server]'),
    ],
)
async def test_tokens_of_other_owners_name_the_setting_that_lets_them_in(
    agreed: FakeEmsp, settings: dict[str, Any], helpful: str
) -> None:
    agreed.card("04A1B2C3", country_code="NL", party_id="TNM")
    found = await findings(agreed, owners=frozenset({("DE", "ABC")}), **settings)
    [finding] = [finding for finding in found if finding.level is not Level.GOOD]
    assert finding.deviation == "1 of 4 tokens are of NL-TNM, and are skipped"
    assert (finding.level, finding.remedy) == (Level.DEVIATES, helpful)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (3, "3 of 6 tokens are of NL-TN0, NL-TN1, NL-TN2, and are skipped"),
        (5, "5 of 8 tokens are of NL-TN0, NL-TN1, NL-TN2 and others, and are skipped"),
    ],
)
async def test_many_other_owners_are_not_all_named(agreed: FakeEmsp, number: int, said: str) -> None:
    for one in range(number):
        agreed.card(f"04A1B2C{one}", country_code="NL", party_id=f"TN{one}")
    found = await findings(agreed, owners=frozenset({("DE", "ABC")}))
    [finding] = [finding for finding in found if finding.level is not Level.GOOD]
    assert finding.deviation == said


async def test_tokens_of_everybody_are_good_where_they_may_be_brought(agreed: FakeEmsp) -> None:
    agreed.card("04A1B2C3", country_code="nl", party_id="tnm")
    assert await remedies(agreed, owners=None) == []
    assert await remedies(agreed, owners=frozenset({("DE", "ABC"), ("NL", "TNM")})) == []


@pytest.mark.parametrize(
    ("settings", "helpful"),
    [
        ({}, "renew our credentials token: ask its operator"),
        ({"registered": True, "renewal": ROTATE}, f"renew our credentials token: {ROTATE}"),
    ],
)
async def test_rejected_token_names_how_it_is_renewed(agreed: FakeEmsp, settings: dict[str, Any], helpful: str) -> None:
    agreed.set_weather(Kind.UNAUTHORIZED, on=Part.VERSIONS)
    assert await remedies(agreed, **settings) == [("versions", helpful)]


@pytest.mark.parametrize(
    ("kind", "settings", "helpful"),
    [
        (Kind.DOWN, {}, "check the network and its URL; else ask its operator"),
        (Kind.SERVER_ERROR, {}, "try again later; else ask its operator"),
        (Kind.RATE_LIMITED, {}, "try again later; else ask its operator"),
        (Kind.NOT_FOUND_BARE, {}, "check its URL in [[peer]]; else ask its operator"),
        (Kind.NOT_FOUND_BARE, {"registered": True}, "ask its operator"),
        (Kind.GARBAGE, {}, "ask its operator"),
    ],
)
async def test_remedy_is_chosen_by_the_kind_of_failure(
    agreed: FakeEmsp, kind: Kind, settings: dict[str, Any], helpful: str
) -> None:
    agreed.set_weather(kind, on=None if kind is Kind.DOWN else Part.VERSIONS)
    assert await remedies(agreed, **settings) == [("versions", helpful)]


async def test_registered_peer_that_changed_its_ways_is_not_told_of_settings_it_has_not(agreed: FakeEmsp) -> None:
    agreed.device.slash, agreed.device.plain_credentials = Slash.DEMANDED, True
    found = dict(await remedies(agreed, registered=True))
    assert found == {
        "Authorization header": "unregister it and register anew",
        "paths": "chargepoint-agent peers rotate emsp",
    }


async def list_finding(peer: ScriptedPeer, **settings: Any) -> Finding:
    checked = CheckedPeer(
        "emsp", "secret", us=("NL", "CPO"), them=("DE", "ABC"), tokens_url=f"{peer.url}/tokens", **settings
    )
    return next(finding for finding in await check_peer(checked, tls=tls_context()) if finding.what == "paging")


@pytest.mark.parametrize(
    ("count", "settings", "helpful"),
    [
        (26, {}, "none needed: page_size has no effect"),
        (2000, {}, "none needed: page_size has no effect"),
        (2001, {}, "page_size = 2000 in [[peer]]"),
        (2001, {"registered": True}, "ask its operator"),
    ],
)
async def test_page_that_ignores_limit_names_page_size_where_that_helps(
    scripted: ScriptedPeer, count: int, settings: dict[str, Any], helpful: str
) -> None:
    scripted.says("/tokens", enveloped([{}] * count), headers=f"X-Total-Count: {count}\r\nX-Limit: 25\r\n")
    finding = await list_finding(scripted, **settings)
    assert finding.deviation == f"it ignores limit: {count} objects where 25 were asked for"
    assert (finding.level, finding.remedy) == (Level.DEVIATES, helpful)


async def test_page_as_large_as_it_was_asked_for_is_good(agreed: FakeEmsp) -> None:
    agreed.populate(25)
    assert await remedies(agreed) == []


async def test_page_too_large_to_be_looked_at_names_page_size_and_the_rest_is_gone_through(
    scripted: ScriptedPeer,
) -> None:
    scripted.says("/tokens", enveloped(["x" * (1 << 20)]))
    finding = await list_finding(scripted)
    assert finding.deviation == "the answer is larger than 1 MiB, for limit=25"
    assert finding.remedy == "none needed unless `tokens sync emsp` fails, too; then: page_size = 2000 in [[peer]]"
    assert scripted.requests[0] == scripted.requests[-1] == "GET /tokens"
    assert {request.split()[0] for request in scripted.requests[1:-1]} == {"POST"}


async def test_refusal_with_words_reads_as_a_sentence(scripted: ScriptedPeer) -> None:
    scripted.says("/versions", {"status_code": 2001, "status_message": "Invalid", "timestamp": "2026-03-01T12:00:00Z"})
    peer = CheckedPeer("emsp", "secret", us=("NL", "CPO"), them=("DE", "ABC"), versions_url=f"{scripted.url}/versions")
    [finding] = await check_peer(peer, tls=tls_context())
    assert finding.deviation == "HTTP 200, OCPI 2001, no data: Invalid"


def configuration(folder: Path, more: str) -> Config:
    text = f"""
        party = {{ country_code = "NL", party_id = "CPO" }}
        location.id = "LOC1"
        storage.directory = "{folder}"
        {more}
        [[reader]]
        name = "left"
        kind = "rdm6300"
        port = "/dev/ttyUSB0"
        [[evse]]
        uid = "E1"
        readers = ["left"]
        relay = {{ gpio = 17 }}
    """
    return parse(text, folder / "config.toml")


async def test_command_tells_whose_tokens_a_configured_peer_may_bring(
    agreed: FakeEmsp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    them = f'name = "emsp", country_code = "DE", party_id = "XYZ", versions_url = "{agreed.versions_url}"'
    config = configuration(tmp_path, f'peer = [{{ {them}, token = "{agreed.credentials_token}" }}]')
    assert await check(config, tmp_path / "config.toml", "emsp")
    assert 'owners = ["DE-ABC"] in [[peer]]' in capsys.readouterr().out


async def test_command_tells_how_a_registered_peers_ways_are_changed(
    served_site: Site, emsp: FakeEmsp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await served_site.registrar.register("acme", emsp.versions_url, emsp.invite())
    emsp.card("04A1B2C3", country_code="NL", party_id="TNM")
    config = configuration(tmp_path, "")
    assert await check(config, tmp_path / "config.toml", "acme")
    assert 'bring_for_others = ["acme"] in [ocpi.server]' in capsys.readouterr().out
    emsp.set_weather(Kind.UNAUTHORIZED)
    assert not await check(config, tmp_path / "config.toml", "acme")
    assert "renew our credentials token: chargepoint-agent peers rotate acme" in capsys.readouterr().out
