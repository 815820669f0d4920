"""No credentials token, of either side, as it stands or in base64, in any log record, error or repr."""

from collections.abc import Awaitable

import pytest

from agent.errors import AgentError
from agent.model import LocationReferences
from agent.ocpi.addressing import addressing
from agent.ocpi.client import OcpiClient, tls_context
from agent.ocpi.server.ports import Access, Caller
from agent.runtime.exchange import explore
from agent.runtime.peer_check import CheckedPeer, check_peer
from agent.store.peers import Exchanged
from fakes.emsp import FakeEmsp, Kind, Part
from fakes.emsp.discovery import ExchangeFailedError
from tests.ocpi.scripted import ScriptedPeer
from tests.ocpi_server.hostile import TOKEN_A, TOKEN_C, credentials, enveloped, role
from tests.ocpi_server.site import NAME, Site, card, client_of, header

WRONG = "a-token-that-nobody-knows"


@pytest.fixture
def site(served_site: Site) -> Site:
    return served_site


@pytest.fixture
def issued(emsp: FakeEmsp, site: Site, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Every token of either side, while everything is logged that can be."""
    caplog.set_level(1)
    make = emsp.device.make_token

    def remembered() -> str:
        site.issued.append(make())
        return site.issued[-1]

    emsp.device.make_token = remembered
    site.issued += [WRONG, TOKEN_A, TOKEN_C]
    return site.issued


def shown_in(text: str, tokens: list[str]) -> list[str]:
    return [token for token in tokens if token in text or header(token)["Authorization"][6:] in text]


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join([caplog.text, *(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)])


async def error_of(doing: Awaitable[object]) -> str:
    """What is to be read of an exchange that fails, its causes included."""
    with pytest.raises((AgentError, ExchangeFailedError)) as raised:
        await doing
    texts = []
    error: BaseException | None = raised.value
    while error is not None:
        texts.append(f"{error} {error!r} {error.args}")
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


@pytest.mark.parametrize("plain", [False, True])
async def test_log_of_every_exchange_in_both_directions_holds_no_token(
    site: Site, emsp: FakeEmsp, issued: list[str], caplog: pytest.LogCaptureFixture, *, plain: bool
) -> None:
    emsp.device.plain_credentials = plain
    await site.registrar.register(NAME, emsp.versions_url, emsp.invite())
    assert (await emsp.put_token(card())).succeeded
    await site.registrar.rotate(NAME)
    assert (await emsp.rotate()).succeeded
    await site.registrar.settle(NAME)
    relation = await site.store.relation(NAME)
    assert relation is not None
    assert relation.their_token is not None
    client = OcpiClient(
        NAME,
        token=relation.their_token,
        us=("NL", "CPO"),
        them=("DE", "ABC"),
        versions_url=relation.versions_url,
        encoding=relation.encoding,
    )
    await client.probe()
    await client.authorize("04A1B2C3", LocationReferences("LOC", ("EVSE",)), correlation_id="tap")
    await client.aclose()
    checked = CheckedPeer(
        NAME, relation.their_token, us=("NL", "CPO"), them=("DE", "ABC"), versions_url=relation.versions_url
    )
    found = await check_peer(checked, tls=tls_context())
    await site.registrar.unregister(NAME)
    invitation = await site.registrar.invite(NAME)
    await emsp.register_with(invitation.versions_url, invitation.token)
    await emsp.unregister()
    shown = everything_logged(caplog) + repr(
        (relation, client, checked, found, invitation, await site.store.relations())
    )
    assert len(issued) >= 12
    assert {"agent.runtime.registration", "agent.runtime.exchange"} <= {record.name for record in caplog.records}
    assert shown_in(shown, issued) == []
    assert "04A1B2C3" not in shown


async def test_errors_of_exchanges_that_fail_hold_no_token(
    site: Site, emsp: FakeEmsp, scripted: ScriptedPeer, issued: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    errors = [await error_of(site.registrar.register(NAME, emsp.versions_url, WRONG))]
    for kind in (Kind.DOWN, Kind.CUT_OFF, Kind.WRONG_SHAPE, Kind.GARBAGE, Kind.SERVER_ERROR):
        emsp.set_weather(kind, **({} if kind is Kind.DOWN else {"on": Part.VERSIONS}))
        errors.append(await error_of(site.registrar.register(NAME, emsp.versions_url, emsp.invite())))
        emsp.set_weather(Kind.FINE)
    emsp.device.call_back_fails = True
    errors.append(await error_of(site.registrar.register(NAME, emsp.versions_url, emsp.invite())))
    for answer in (
        credentials(scripted, token=f"{TOKEN_C} ", roles=[]),
        credentials(scripted, url="http://peer.example/"),
        credentials(scripted, roles=[role("EMSP", "NL", "CPO")]),
    ):
        scripted.says("/credentials", enveloped(answer))
        errors.append(await error_of(site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A)))
    assert shown_in("\n".join(errors) + everything_logged(caplog), issued) == []


async def test_peer_that_repeats_what_it_was_sent_has_it_shown_nowhere(
    site: Site, emsp: FakeEmsp, scripted: ScriptedPeer, issued: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    make = site.registrar._make_token

    def remembered() -> str:
        """As developers do it: the whole request in the error's message, and in a header."""
        token = make()
        words = " ".join(f"{one} {header(one)['Authorization']}" for one in (token, TOKEN_A))
        echo = f"X-Echo: {words}\r\n"
        scripted.says("/credentials", {"status_code": 2001, "status_message": words}, headers=echo)
        return token

    site.registrar._make_token = remembered
    error = await error_of(site.registrar.register(NAME, f"{scripted.url}/versions", TOKEN_A))
    assert "***" in error
    assert shown_in(error + everything_logged(caplog), issued) == []


async def test_refusals_that_we_answer_hold_no_token(
    site: Site, emsp: FakeEmsp, issued: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    invitation = await site.registrar.invite(NAME)
    emsp.device.withheld_endpoints = {"tokens"}
    errors = [await error_of(emsp.register_with(invitation.versions_url, invitation.token))]
    errors.append(await error_of(emsp.register_with(invitation.versions_url, WRONG)))
    async with client_of(site, invitation.token) as client:
        for body in (b"{", b'{"token":"' + WRONG.encode() + b'"}', b"[]"):
            answer = await client.post("/2.2.1/credentials", content=body)
            errors.append(answer.text)
        errors.append((await client.get("/2.2.1/tokens/DE/ABC/04A1B2C3")).text)
    assert shown_in("\n".join(errors) + everything_logged(caplog), issued) == []


async def test_values_that_hold_a_token_do_not_show_it(site: Site, emsp: FakeEmsp) -> None:
    exchanged = Exchanged("https://e/", "2.2.1", "base64", TOKEN_C, TOKEN_A, (), ())
    caller = Caller(NAME, Access.EVERYTHING, TOKEN_A)
    platform = site.connect(NAME, TOKEN_A, "base64", None)
    async with platform:
        offer = await explore(lambda _: platform, "http://127.0.0.1:9/versions")
    address = addressing(NAME, TOKEN_A, "base64", us=("NL", "CPO"), them=("DE", "ABC"), hub=False)
    shown = repr(
        (exchanged, caller, offer, platform, address, site.us.credentials(TOKEN_C), site.registrar, site.reception)
    )
    assert shown_in(shown, [TOKEN_A, TOKEN_C]) == []
