"""Registered peers, from the command line to the card: over TLS with a private authority, in both directions."""

import asyncio
import io
import json
import os
import pty
import socket
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from agent.config import load
from agent.main import Agent, agent_of
from agent.model import Reason, Uid, Verdict
from agent.runtime.charge_point import Settled
from agent.serving import serving_alone_in
from fakes.emsp import FakeEmsp, Part, Slash
from fakes.pins import mock_pins
from fakes.serial_line import SerialLine
from tests.scenario.world import HANG_S, REMOVAL_S, Finished, configuration, until

LISTED, ASKED = "0A1B2C3D4E", "0A1B2C3D4F"
"""Two cards of the eMSP: one is on its list and may be decided from there, the other is always asked about."""


@dataclass
class Site:
    """A charge point whose OCPI server can be reached, and an eMSP beside it. Both trust one private authority."""

    folder: Path
    config: Path
    ca_file: Path
    port: int
    emsp: FakeEmsp
    line: SerialLine
    settled: "asyncio.Queue[Settled]"

    async def command(self, *arguments: str, token_a: str | None = None, given: str = "") -> Finished:
        """`chargepoint-agent` with these arguments and this configuration."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from agent.cli import main; main()", *arguments, "--config", str(self.config)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "GPIOZERO_PIN_FACTORY": "mock",
                **({"CHARGEPOINT_AGENT_TOKEN_A": token_a} if token_a else {}),
            },
        )
        async with asyncio.timeout(HANG_S):
            out, err = await process.communicate(given.encode())
        return Finished(process.returncode, out.decode(), err.decode())

    async def registers(self, *more: str) -> Finished:
        """We register with the eMSP, with a token A that it gives us."""
        arguments = ("peers", "register", "acme", "--versions-url", self.emsp.versions_url)
        return await self.command(*arguments, "--ca-file", str(self.ca_file), *more, token_a=self.emsp.invite())

    async def invites(self) -> Finished:
        """The eMSP registers with us, with a token A that we give it."""
        invited = await self.command("peers", "invite", "acme", "--ca-file", str(self.ca_file))
        response = await self.emsp.register_with(shown(invited, "versions URL"), shown(invited, "token A"))
        assert response.status == 201
        return invited

    def forgive(self, complaint: str) -> None:
        """Take out what the eMSP was bound to complain of."""
        left = [text for text in self.emsp.complaints if complaint not in text]
        assert len(left) < len(self.emsp.complaints)
        self.emsp.complaints[:] = left

    async def tap(self, uid: str) -> Settled:
        """Hold a card to the reader, and wait for what comes of it. A charge that begins is ended by the same card."""
        settled = await self._held(uid)
        if settled.entry.verdict is Verdict.ACCEPTED:
            await self._held(uid)
        return settled

    async def _held(self, uid: str) -> Settled:
        assert self.line.present(uid), "nobody has the line open"
        async with asyncio.timeout(HANG_S):
            settled = await self.settled.get()
        await until(lambda: asyncio.get_running_loop().time() > settled.tap.at + REMOVAL_S)
        return settled

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        """The agent, running."""
        mock_pins(lambda _pin, _level: None)
        making = agent_of(
            load(self.config), self.config, on_settled=self.settled.put_nowait, display_stream=io.StringIO()
        )
        async with making as agent:
            running = asyncio.create_task(agent.run())
            try:
                async with asyncio.timeout(HANG_S):
                    await self.line.wait_opened()
                yield agent
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def site_in(folder: Path, *, tls: bool = True, server: str = "", **device: Any) -> AsyncIterator[Site]:
    """Such a site. On the way out the eMSP must have had nothing to complain of."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    shown, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=ca_file)
    issued.configure_cert(shown)
    port = free_port()
    scheme = "https" if tls else "http"
    more = f"""
        [breaker]
        failures = 0
        [ocpi.server]
        enabled = true
        port = {port}
        public_url = "{scheme}://127.0.0.1:{port}/ocpi/cpo"
        {'tls_certificate = "server.pem"' if tls else ""}
        {server}
    """
    async with AsyncExitStack() as stack:
        making = FakeEmsp(tls=shown if tls else None, trust=trust if tls else None, lenient_rotation=True, **device)
        emsp = await stack.enter_async_context(making)
        emsp.device.credentials_token = ""
        emsp.card(LISTED, whitelist="ALLOWED")
        emsp.card(ASKED, whitelist="NEVER")
        line = stack.enter_context(SerialLine(folder, name="reader-1"))
        config = folder / "config.toml"
        config.write_text(configuration(folder, [], [line], policy="deadline_s = 30.0", more=more))
        yield Site(folder, config, ca_file, port, emsp, line, asyncio.Queue())
        assert emsp.complaints == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_in(tmp_path) as site:
        yield site


def shown(finished: Finished, what: str) -> str:
    """What an invitation says after these words."""
    [line] = [line for line in finished.out.splitlines() if line.startswith(what)]
    return line.removeprefix(what).strip()


async def joined(agent: Agent, emsp: FakeEmsp) -> None:
    """Return when the agent asks the peer, and has its list."""
    await until(lambda: "acme" in agent.peers)
    async with asyncio.timeout(HANG_S):
        while await agent.stores.whitelist.last_sync("acme") is None:  # noqa: ASYNC110  of a sync in the background
            await asyncio.sleep(0.01)
    await whitelisted(agent, LISTED)
    assert emsp.device.relation.our_token


async def whitelisted(agent: Agent, uid: str, *, withdrawn: bool = False) -> None:
    async with asyncio.timeout(HANG_S):
        while [row.withdrawn for row in await agent.stores.whitelist.find(Uid(uid))] != [withdrawn]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def is_refused(site: Site, token: str) -> bool:
    """Whether the agent's server refuses a credentials token."""
    return (
        await site.emsp.call("GET", f"https://127.0.0.1:{site.port}/ocpi/cpo/versions", token=token, routing=False)
    ).status == 401


async def test_peer_that_we_register_with_is_asked_pulled_from_and_pushes(site: Site) -> None:
    async with site.agent() as agent:
        registered = await site.registers()
        assert (registered.code, registered.err) == (0, "")
        await joined(agent, site.emsp)

        listed, asked = await site.tap(LISTED), await site.tap(ASKED)
        assert (listed.entry.verdict, listed.entry.reason) == (Verdict.ACCEPTED, Reason.WHITELISTED)
        assert asked.entry.verdict is Verdict.ACCEPTED
        assert asked.entry.authorization_reference in site.emsp.given_references[ASKED]

        pushed = await site.emsp.put_token(site.emsp.card(LISTED, valid=False, whitelist="NEVER", allowed="BLOCKED"))
        assert pushed.status == 200
        assert (await site.tap(LISTED)).entry.verdict is Verdict.REFUSED


@pytest.mark.parametrize("begins", ["we", "they"])
async def test_after_each_step_the_old_tokens_are_refused(site: Site, begins: str) -> None:
    relation = site.emsp.device.relation
    async with site.agent() as agent:
        await (site.registers() if begins == "we" else site.invites())
        await joined(agent, site.emsp)
        ours, theirs = relation.our_token, relation.their_token

        rotated = await site.command("peers", "rotate", "acme")
        assert (rotated.code, rotated.err) == (0, "")
        assert relation.our_token != ours
        assert relation.their_token != theirs
        assert (await site.emsp.put_token(site.emsp.card(LISTED))).status == 200  # with its new token
        assert await is_refused(site, theirs)
        asked = await site.tap(ASKED)
        assert asked.entry.verdict is Verdict.ACCEPTED

        ours, theirs = relation.our_token, relation.their_token
        await site.emsp.rotate()
        assert (await site.emsp.put_token(site.emsp.card(LISTED))).status == 200
        assert await is_refused(site, theirs)

        theirs = relation.their_token
        ended = await site.command("peers", "unregister", "acme")
        assert (ended.code, ended.err) == (0, "")
        assert relation.our_token == ""
        assert await is_refused(site, theirs)
        await until(lambda: "acme" not in agent.peers)
        await whitelisted(agent, LISTED, withdrawn=True)
        assert (await site.tap(LISTED)).entry.verdict is Verdict.REFUSED


async def test_without_a_running_agent_the_command_answers_the_call_back_itself(site: Site) -> None:
    registered = await site.registers()
    assert (registered.code, registered.err) == (0, "")
    assert "acme: registered, OCPI 2.2.1, DE-ABC EMSP" in registered.out
    assert "tokens sync acme" in registered.out
    synced = await site.command("tokens", "sync", "acme")
    assert (synced.code, synced.err) == (0, "")
    assert "full synchronisation complete: 2 tokens" in synced.out
    rotated = await site.command("peers", "rotate", "acme")
    assert (rotated.code, rotated.err) == (0, "")
    ended = await site.command("peers", "unregister", "acme")
    assert (ended.code, ended.err) == (0, "")
    assert "2 tokens that it had brought are withdrawn" in ended.out
    async with site.agent() as agent:
        assert dict(agent.peers) == {}
        assert (await site.tap(LISTED)).entry.verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("odd", "tried_first"),
    [
        ("plain", "GET versions: wrong Authorization header"),
        ("slash", "GET of a path that the device never named"),
        ("prefix", None),
    ],
)
async def test_odd_peer_is_registered_pulled_from_and_asked(tmp_path: Path, odd: str, tried_first: str | None) -> None:
    async with site_in(tmp_path, prefix="/roaming/v2" if odd == "prefix" else "") as site:
        site.emsp.device.plain_credentials = odd == "plain"
        site.emsp.device.slash = Slash.DEMANDED if odd == "slash" else Slash.NONE
        async with site.agent() as agent:
            registered = await site.registers()
            assert (registered.code, registered.err) == (0, "")
            if tried_first is not None:
                site.forgive(tried_first)
            await joined(agent, site.emsp)
            assert (await site.tap(LISTED)).entry.verdict is Verdict.ACCEPTED
            assert (await site.tap(ASKED)).entry.verdict is Verdict.ACCEPTED
            assert (await site.emsp.put_token(site.emsp.card(LISTED))).status == 200
        [listed] = [json.loads(line) for line in (await site.command("peers", "list", "--json")).out.splitlines()]
        assert (listed["token_encoding"] == "plain", listed["trailing_slash"]) == (odd == "plain", odd == "slash")


async def test_check_goes_through_a_good_peer_without_a_complaint(site: Site) -> None:
    await site.registers()
    checked = await site.command("peers", "check", "acme")
    assert (checked.code, checked.err) == (0, "")
    assert "0 deviate, 0 broken" in checked.out
    site.forgive("GET list: wrong Authorization header")  # it looks whether any token would do


async def test_check_names_what_is_broken(site: Site) -> None:
    await site.registers()
    site.emsp.device.withheld_endpoints.add("tokens")
    checked = await site.command("peers", "check", "acme")
    assert checked.code == 1
    assert "broken    endpoints: no tokens module in the role SENDER" in checked.out


async def test_peer_that_was_down_when_the_agent_started_is_asked_once_it_is_back(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        await site.registers()
        await site.emsp.stop()
        async with site.agent() as agent:
            assert list(agent.peers) == ["acme"]
            refused = await site.tap(ASKED)
            assert refused.entry.verdict is Verdict.REFUSED
            await site.emsp.start()
            assert (await site.tap(ASKED)).entry.verdict is Verdict.ACCEPTED


async def test_invitation_is_good_for_one_registration(site: Site) -> None:
    first = await site.command("peers", "invite", "acme")
    async with site.agent():
        await site.command("peers", "invite", "acme", "--ca-file", str(site.ca_file))  # in place of the first one
        assert await is_refused(site, shown(first, "token A"))
        invited = await site.invites()
        assert await is_refused(site, shown(invited, "token A"))


async def test_tokens_are_shown_to_nobody_but_who_is_invited(site: Site) -> None:
    async with site.agent():
        said = [await site.registers(), await site.command("peers", "rotate", "acme")]
        relation = site.emsp.device.relation
        tokens = [relation.our_token, relation.their_token]
        said += [
            await site.command("peers", "list"),
            await site.command("peers", "list", "--json"),
            await site.command("peers", "check", "acme"),
            await site.command("policy"),
            await site.command("peers", "unregister", "acme"),
        ]
    site.forgive("GET list: wrong Authorization header")
    for finished in said:
        text = finished.out + finished.err
        assert finished.code == 0, finished.err
        assert not [token for token in tokens if token in text or b64encode(token.encode()).decode() in text]


@pytest.mark.parametrize("way", ["file", "standard input", "option"])
async def test_token_a_comes_from_a_file_standard_input_or_an_option(site: Site, way: str) -> None:
    token_a = site.emsp.invite()
    arguments = ["peers", "register", "acme", "--versions-url", site.emsp.versions_url, "--ca-file", str(site.ca_file)]
    if way == "file":
        (site.folder / "token").write_text(f"{token_a}\n")
        arguments += ["--token-a-file", str(site.folder / "token")]
    else:
        arguments += ["--token-a", token_a] if way == "option" else ["--token-a-file", "-"]
    registered = await site.command(*arguments, given=f"{token_a}\n" if way == "standard input" else "")
    assert registered.code == 0, registered.err
    assert token_a not in registered.out + registered.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("register", "acme", "--versions-url", "http://emsp.example.com/versions"), 2, "begins with https://"),
        (("register", "acme", "--versions-url", "https://127.0.0.1:9/versions"), 1, "peer acme: versions: "),
        (("register", "a b", "--versions-url", "https://127.0.0.1:9/versions"), 2, "expected letters, digits"),
        (("rotate", "acme"), 2, "peer acme: is not known here; there are: none"),
        (("unregister", "acme"), 2, "peer acme: is not known here; there are: none"),
        (("check", "acme"), 2, "no peer is configured or registered as acme; there are: none"),
        (("invite", "acme", "--days", "0"), 2, "0.01"),
    ],
)
async def test_command_that_can_not_be_done_says_why_in_one_line(
    site: Site, arguments: tuple[str, ...], code: int, says: str
) -> None:
    finished = await site.command("peers", *arguments, token_a="a-token")
    assert (finished.code, finished.out) == (code, "")
    assert says in finished.err
    assert "Traceback" not in finished.err
    listed = await site.command("peers", "list")
    assert "there is no peer yet" in listed.out


async def test_wrong_token_a_is_one_sentence_and_stores_nothing(site: Site) -> None:
    arguments = ("--versions-url", site.emsp.versions_url, "--ca-file", str(site.ca_file))
    finished = await site.command("peers", "register", "acme", *arguments, token_a="wrong")
    assert finished.code == 1
    [sentence] = finished.err.splitlines()
    assert sentence.startswith("chargepoint-agent: peer acme: versions: ")
    assert sentence.endswith("; nothing was changed")
    site.forgive("GET versions: wrong Authorization header")
    assert "there is no peer yet" in (await site.command("peers", "list")).out


async def test_server_that_is_off_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        site.config.write_text(site.config.read_text().replace("enabled = true", "enabled = false"))
        finished = await site.registers()
        assert (finished.code, finished.out) == (2, "")
        assert "ocpi.server.enabled: expected true" in finished.err
        assert site.emsp.requests == []


async def test_agent_that_was_started_without_its_server_is_named(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        text = site.config.read_text()
        site.config.write_text(text.replace("enabled = true", "enabled = false"))
        async with site.agent():
            site.config.write_text(text)
            finished = await site.registers()
        assert finished.code == 2
        assert "the running agent does not listen on 127.0.0.1" in finished.err


async def test_port_that_is_taken_is_an_error_in_the_log_and_cards_are_decided_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site_in(tmp_path) as site:
        with socket.create_server(("127.0.0.1", site.port)):
            async with site.agent():
                assert (await site.tap(ASKED)).entry.verdict is Verdict.REFUSED
                await until(lambda: "no peer can register or push" in caplog.text)
    assert f"can't listen on 127.0.0.1 port {site.port}: Address already in use" in caplog.text


async def test_certificate_that_is_missing_keeps_no_card_from_being_decided(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site_in(tmp_path) as site:
        (tmp_path / "server.pem").unlink()
        async with site.agent():
            assert (await site.tap(ASKED)).entry.verdict is Verdict.REFUSED
            await until(lambda: "no peer can register or push" in caplog.text)
        assert (await site.command("config", "check")).code == 2
        assert (await site.registers()).code == 2


async def test_port_that_is_taken_ends_a_registration_that_needs_it(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        with socket.create_server(("127.0.0.1", site.port)):
            finished = await site.registers()
    assert finished.code == 2
    assert f"can't listen on 127.0.0.1 port {site.port}" in finished.err


async def test_while_a_command_serves_the_agent_starts_and_takes_over(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        (tmp_path / "state").mkdir()
        command = ExitStack()
        command.enter_context(serving_alone_in(tmp_path / "state"))
        command.enter_context(socket.create_server(("127.0.0.1", site.port)))
        async with site.agent() as agent:
            assert (await site.tap(ASKED)).entry.verdict is Verdict.REFUSED
            command.close()
            async with asyncio.timeout(HANG_S):
                while (await site.registers()).code != 0:
                    pass  # each takes longer than the agent waits
            await joined(agent, site.emsp)


async def test_second_command_waits_for_nobody_but_says_that_the_first_is_at_it(tmp_path: Path) -> None:
    async with site_in(tmp_path) as site:
        (tmp_path / "state").mkdir()
        with serving_alone_in(tmp_path / "state"):
            finished = await site.registers()
    assert finished.code == 1
    assert "another command is exchanging credentials" in finished.err


async def test_unregistering_a_name_that_is_configured_leaves_the_tokens_of_the_configured_peer(site: Site) -> None:
    await site.registers()
    await site.command("tokens", "sync", "acme")
    emsp = site.emsp
    section = f"""
        [[peer]]
        name = "acme"
        country_code = "DE"
        party_id = "ABC"
        tokens_url = "{emsp.tokens_url}"
        token = "mailed"
    """
    site.config.write_text(site.config.read_text() + section)
    ended = await site.command("peers", "unregister", "acme")
    assert ended.code == 0
    assert "withdrawn" not in ended.out
    assert json.loads((await site.command("tokens", "show", LISTED, "--json")).out)["withdrawn"] is False


async def test_card_of_a_peer_that_left_is_explained_as_it_is_decided(site: Site) -> None:
    await site.registers()
    await site.command("tokens", "sync", "acme")
    await site.command("peers", "unregister", "acme")
    explained = await site.command("tokens", "explain", ASKED)
    assert "asked:   nobody, for acme: no peer of this name is here: refused, no-peer, fallback" in explained.out
    async with site.agent():
        settled = await site.tap(ASKED)
        assert (settled.entry.verdict, settled.entry.reason) == (Verdict.REFUSED, Reason.NO_PEER)


async def test_relative_directory_is_beside_the_configuration(site: Site) -> None:
    text = site.config.read_text()
    site.config.write_text(text.replace(f'directory = "{site.folder / "state"}"', 'directory = "beside"'))
    assert (await site.registers()).code == 0
    assert (site.folder / "beside" / "state.db").exists()


async def test_correlation_id_is_the_same_from_the_record_to_the_hub(tmp_path: Path) -> None:
    async with site_in(tmp_path, hub=True) as site, site.agent() as agent:
        await site.registers()
        await joined(agent, site.emsp)
        settled = await site.tap("0A00000001")
        assert settled.entry.verdict is Verdict.REFUSED
        [request] = [request for request in site.emsp.requests if request.part is Part.AUTHORIZE]
        assert request.headers.get("x-correlation-id") == settled.entry.correlation_id
        assert "ocpi-to-party-id" not in request.headers
        printed = await site.command("authorizations", "--json")
        assert json.loads(printed.out.splitlines()[0])["correlation_id"] == settled.entry.correlation_id
        assert settled.entry.correlation_id in (await site.command("authorizations")).out


async def test_registered_peer_stands_in_the_policy_and_in_what_is_explained(site: Site) -> None:
    await site.registers()
    assert "DE-ABC" in (await site.command("policy")).out
    await site.command("tokens", "sync")
    assert "asked:   acme" in (await site.command("tokens", "explain", ASKED)).out
    assert "asked:   acme" in (await site.command("tokens", "explain", "0A00000001")).out


async def test_token_a_that_nobody_can_be_asked_for_is_named(site: Site) -> None:
    finished = await site.command("peers", "register", "acme", "--versions-url", site.emsp.versions_url)
    assert (finished.code, finished.out) == (2, "")
    said = "there is no terminal to ask for token A: --token-a-file FILE, or CHARGEPOINT_AGENT_TOKEN_A"
    assert finished.err == f"chargepoint-agent: {said}\n"


async def test_token_a_is_asked_for_on_a_terminal_and_not_shown(site: Site) -> None:
    token_a = site.emsp.invite()
    ours, theirs = pty.openpty()
    arguments = ("peers", "register", "acme", "--versions-url", site.emsp.versions_url, "--ca-file", str(site.ca_file))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from agent.cli import main; main()", *arguments, "--config", str(site.config)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    async with asyncio.timeout(HANG_S):
        said = await asyncio.to_thread(_type_after, ours, "Token A: ", f"{token_a}\n")
        assert await process.wait() == 0, said
    assert "acme: registered" in said
    assert token_a not in said


def _type_after(terminal: int, prompt: str, text: str) -> str:
    """Type once the prompt is there; returns all that was shown."""
    shown = ""
    while True:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # how a terminal ends when nobody has it open any more
            os.close(terminal)
            return shown
        if prompt in shown and text:
            os.write(terminal, text.encode())
            text = ""
