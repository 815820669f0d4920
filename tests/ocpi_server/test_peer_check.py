"""What `peers check` finds in a good peer, and in each bad one."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.ocpi.client import tls_context
from agent.runtime.peer_check import CheckedPeer, Finding, Level, check_peer
from fakes.emsp import FakeEmsp, Kind, Part
from fakes.emsp.device import Slash


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
