"""Who may log in, how often somebody may try, and when a session ends."""

import asyncio
import logging
import os
import resource
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest

from agent.errors import AgentError, ConfigError
from agent.panel.aside import Aside
from agent.panel.attempts import ALL_IN_MINUTE, FREE, MOST_HERE_S, MOST_S, Attempts, origin_of
from agent.panel.exchange import Request
from agent.panel.login import IDLE_S, WHOLE_S, Login
from agent.panel.passwords import Credential, credential_for, nobody, read_logins, set_password
from tests.panel.panels import PASSWORD, Served, log_in, logins, post, quick, served, token_of, until

# ---- the file


def test_a_password_is_recognised_and_another_is_not() -> None:
    credential = credential_for("anna", PASSWORD)
    assert credential.matches(PASSWORD)
    assert not credential.matches(PASSWORD + " ")
    assert PASSWORD not in str(credential)


def test_the_same_password_has_another_line_each_time() -> None:
    first, second = credential_for("anna", PASSWORD), credential_for("anna", PASSWORD)
    assert first.salt != second.salt
    assert first.hash != second.hash


def test_a_line_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    credential = credential_for("anna", "grün • 10 characters")
    assert set_password(tmp_path / "logins", credential) is False
    assert read_logins(tmp_path / "logins") == {"anna": credential}
    assert str(credential).startswith("anna:scrypt:16384:8:5:")


def test_a_new_password_takes_the_old_ones_place_and_leaves_the_others(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna", "bert")
    assert set_password(file, quick("anna", "another password")) is True
    read = read_logins(file)
    assert read["anna"].matches("another password")
    assert read["bert"].matches(PASSWORD)
    assert [line.partition(":")[0] for line in file.read_text().splitlines()] == ["anna", "bert"]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["logins"]


@pytest.mark.parametrize("mode", [0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = logins(tmp_path, "anna")
    file.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 640, or 600"):
        read_logins(file)


@pytest.mark.parametrize(
    "line",
    [
        "anna",
        "anna:bcrypt:2:1:1:c2FsdHNhbHQ=:aGFzaA==",
        "anna:scrypt:3:1:1:c2FsdHNhbHQ=:" + "QUFB" * 10 + "QUE=",
        "anna:scrypt:1073741824:8:1:c2FsdHNhbHQ=:" + "QUFB" * 10 + "QUE=",
        "anna:scrypt:16384:8:1000:c2FsdHNhbHQ=:" + "QUFB" * 10 + "QUE=",
        "anna:scrypt:16384:0:1:c2FsdHNhbHQ=:" + "QUFB" * 10 + "QUE=",
        "anna:scrypt:16384:8:1:!:" + "QUFB" * 10 + "QUE=",
        "anna:scrypt:16384:8:1:c2FsdHNhbHQ=:QUFB",
        "anna:scrypt:16384:8:1::" + "QUFB" * 10 + "QUE=",
        "an na:scrypt:16384:8:1:c2FsdHNhbHQ=:" + "QUFB" * 10 + "QUE=",
    ],
)
def test_a_line_that_is_none_is_named_without_its_hash(tmp_path: Path, line: str) -> None:
    file = logins(tmp_path, "bert")
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ConfigError, match="line 2") as raised:
        read_logins(file)
    assert "QUFB" not in str(raised.value)


def test_a_file_that_is_not_there_is_refused_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="panel password USER"):
        read_logins(tmp_path / "nowhere")


@pytest.mark.parametrize("user", ["", "an:na", "anna\n", "a" * 33, "../anna", "änna"])
def test_a_name_that_would_spoil_the_file_is_refused(user: str) -> None:
    with pytest.raises(ConfigError, match="a user's name"):
        credential_for(user, PASSWORD)


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_a_password_that_is_no_good_is_refused_without_showing_it(password: str) -> None:
    with pytest.raises(ConfigError, match="10 to 256") as raised:
        credential_for("anna", password)
    assert not password or password not in str(raised.value)


def test_a_folder_that_is_not_there_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="left as it was"):
        set_password(tmp_path / "nowhere" / "logins", quick("anna"))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_not_replaced(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna")
    file.write_text("spoilt\n")
    with pytest.raises(ConfigError, match="line 1"):
        set_password(file, quick("anna"))
    assert file.read_text() == "spoilt\n"


def test_nobodys_password_matches_nothing_and_costs_as_much() -> None:
    unknown, real = nobody(), credential_for("anna", PASSWORD)
    assert not unknown.matches("")
    assert (unknown.n, unknown.r, unknown.p) == (real.n, real.r, real.p)


# ---- how often


def test_a_few_wrong_passwords_cost_nothing_and_then_each_doubles_the_wait() -> None:
    attempts, now, waits = Attempts(), 1000.0, []
    for _ in range(FREE + 5):
        now += attempts.wait_s("192.0.2.1", now)
        attempts.failed("192.0.2.1", now)
        waits.append(attempts.wait_s("192.0.2.1", now))
    assert waits == [0, 0, 0, 2, 4, 8, 16, 32]


def test_the_wait_has_an_end() -> None:
    attempts, now = Attempts(), 1000.0
    for _ in range(40):
        now += attempts.wait_s("192.0.2.1", now)
        attempts.failed("192.0.2.1", now)
    assert attempts.wait_s("192.0.2.1", now) == MOST_S
    assert attempts.wait_s("192.0.2.1", now + 3600.0) == 0


def test_another_address_does_not_wait_for_the_first() -> None:
    attempts = Attempts()
    for _ in range(10):
        attempts.failed("192.0.2.1", 1000.0)
    assert attempts.wait_s("192.0.2.1", 1000.0) > 0
    assert attempts.wait_s("192.0.2.2", 1000.0) == 0


def test_the_right_password_makes_up_for_the_wrong_ones() -> None:
    attempts = Attempts()
    for _ in range(FREE + 1):
        attempts.failed("192.0.2.1", 1000.0)
    attempts.succeeded("192.0.2.1")
    assert attempts.wait_s("192.0.2.1", 1000.0) == 0


def test_the_right_password_makes_up_for_nobody_elses_wrong_ones() -> None:
    attempts, now = Attempts(), 1000.0
    for _ in range(FREE + 1):
        attempts.failed("192.0.2.1", now, "anna")
        attempts.succeeded("192.0.2.1", "mallory")
    assert attempts.wait_s("192.0.2.1", now) > 0
    for number in range(50):
        attempts.failed("192.0.2.1", now, f"user-{number}")
    assert len(attempts._of["192.0.2.1"].users) <= 4


def test_all_addresses_together_have_a_limit_and_the_charger_itself_is_not_kept_out() -> None:
    attempts = Attempts()
    for number in range(ALL_IN_MINUTE):
        attempts.failed(f"192.0.2.{number}", 1000.0)
    next_s = 60 // ALL_IN_MINUTE
    assert attempts.wait_s("198.51.100.1", 1000.0) == next_s
    assert attempts.wait_s("127.0.0.1", 1000.0) == 0
    assert attempts.wait_s("198.51.100.1", 1000.0 + next_s) == 0


def test_guesses_from_this_machine_are_one_clients_whatever_its_addresses_and_keep_nobody_out_for_long() -> None:
    attempts = Attempts()
    for number in range(200):
        attempts.failed(f"127.{number}.0.1", 1000.0)
    attempts.failed("::1", 1000.0)
    assert {attempts.wait_s(address, 1000.0) for address in ("127.0.0.1", "127.200.0.1", "::1")} == {int(MOST_HERE_S)}


def test_addresses_are_not_remembered_without_end() -> None:
    attempts = Attempts()
    for number in range(5000):
        attempts.failed(f"10.0.{number // 256}.{number % 256}", 1000.0 + 10 * number)
    assert len(attempts._of) == 1024


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::2%eth0", "fe80::2"),
        ("::1", "127.0.0.1"),
        ("127.1.2.3", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("", ""),
    ],
)
def test_one_client_is_one_origin(address: str, origin: str) -> None:
    assert origin_of(address) == origin


async def wrong(panel: Served, times: int) -> list[int]:
    async with panel.client() as browser:
        return [(await log_in(browser, password="wrong " * 3)).status_code for _ in range(times)]


async def test_who_guesses_is_made_to_wait_and_nothing_more_is_hashed(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel:
        assert await wrong(panel, FREE + 3) == [401] * (FREE + 1) + [429] * 2
        async with panel.client() as browser:
            right = await log_in(browser)
            assert (right.status_code, right.headers["retry-after"]) == (429, "2")
            assert panel.login.sessions == 0
            panel.time.now += 2.0
            assert (await log_in(browser)).status_code == 200


async def test_who_guesses_many_at_once_gets_no_more_of_them(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel:
        results = await asyncio.gather(*(wrong(panel, 1) for _ in range(30)))
    statuses = [status for result in results for status in result]
    assert statuses.count(401) <= FREE + 1
    assert set(statuses) <= {401, 429}


async def test_strangers_that_wait_keep_nobody_at_the_charger_out(tmp_path: Path) -> None:
    credential = quick("anna")
    login = Login(logins(tmp_path, "anna"), secure=False, time=lambda: 1000.0, failed_s=0.0)
    is_held, may_go = asyncio.Event(), threading.Event()

    async def log_in_from(address: str, password: str = PASSWORD) -> int:
        request = Request("POST", "/login", b"", {}, address)
        body = urlencode({"user": credential.user, "password": password}).encode()
        return (await login.log_in(request, body)).status

    async def hold_up() -> None:
        is_held.set()
        await login._aside.do(may_go.wait)

    holding = asyncio.create_task(hold_up())
    await is_held.wait()
    strangers = [asyncio.create_task(log_in_from(f"192.0.2.{number % 8}", "wrong " * 3)) for number in range(64)]
    await asyncio.sleep(0)
    here = [asyncio.create_task(log_in_from("127.0.0.1")) for _ in range(3)]
    await asyncio.sleep(0)
    may_go.set()
    await holding
    refused, accepted = await asyncio.gather(*strangers), await asyncio.gather(*here)
    assert (refused.count(401), refused.count(429)) == (4, 60)
    assert sorted(accepted) == [200, 200, 429]


async def test_an_address_that_a_client_makes_up_does_not_get_round_the_limit(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        statuses = [
            (
                await post(
                    browser,
                    "/login",
                    data={"user": "anna", "password": "wrong " * 3},
                    headers={"x-forwarded-for": f"192.0.2.{number}"},
                )
            ).status_code
            for number in range(FREE + 5)
        ]
    assert statuses == [401] * (FREE + 1) + [429] * 4


async def test_a_wrong_password_is_answered_no_sooner_than_a_set_time(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna"), failed_s=0.2) as panel:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await wrong(panel, 1) == [401]
        assert loop.time() - began >= 0.19


async def test_an_unknown_name_is_answered_as_a_wrong_password_is(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        known = await log_in(browser, "anna", "wrong " * 3)
        unknown = await log_in(browser, "nobody", PASSWORD)
        empty = await log_in(browser, "", PASSWORD)
    assert known.status_code == unknown.status_code == empty.status_code == 401
    assert known.content == unknown.content == empty.content


async def test_no_password_and_no_name_of_a_client_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agent")
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        await log_in(browser, "mallory\r\nWARNING all is well", "wrong " * 3)
        await log_in(browser)
    assert "mallory" not in caplog.text
    assert "wrong wrong" not in caplog.text
    assert PASSWORD not in caplog.text
    assert "a wrong name or password came from 127.0.0.1" in caplog.text
    assert "anna has logged in from 127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    "body",
    [b"", b"user=anna", b"user=anna&user=bert&password=x", b"{}", b"\xff", b"user=anna&password=" + b"x" * 300],
)
async def test_a_form_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        answer = await post(browser, "/login", content=body)
    assert answer.status_code == 400


async def test_where_nobody_can_log_in_there_is_no_login() -> None:
    async with served() as panel, panel.client() as browser:
        answer = await log_in(browser)
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers


async def test_what_takes_a_processors_second_has_what_the_taps_leave() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    there = await Aside().do(
        lambda: (os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), threading.get_ident())
    )
    assert there[0] == 19
    assert there[1] != threading.get_ident()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


# ---- sessions


async def test_a_login_gives_a_cookie_that_no_script_and_no_other_site_gets(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        answer = await log_in(browser)
    assert answer.json() == {"user": "anna"}
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith("panel=")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict"}


async def test_a_session_that_a_browser_brings_along_is_not_taken_over(tmp_path: Path) -> None:
    """Session fixation: whoever planted the cookie would be logged in with his victim."""
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        planted = "planted-by-somebody-else-0123456789abcdefghij"
        answer = await post(
            browser,
            "/login",
            data={"user": "anna", "password": PASSWORD},
            headers={"cookie": f"panel={planted}"},
        )
        assert answer.status_code == 200
        assert planted not in answer.headers["set-cookie"]
        async with panel.client() as attacker:
            seen = await attacker.get("/state", headers={"cookie": f"panel={planted}"})
    assert seen.json()["login"]["user"] is None


async def test_a_cookie_that_another_port_puts_before_ours_ends_no_session(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        cookie = (await log_in(browser)).headers["set-cookie"].partition(";")[0]
        async with panel.client() as other:
            seen = await other.get("/state", headers={"cookie": f"panel=planted; panel=; {cookie}"})
    assert seen.json()["login"]["user"] == "anna"


async def test_logging_in_anew_ends_the_session_before(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        first = (await log_in(browser)).headers["set-cookie"].partition(";")[0]
        second = (await log_in(browser)).headers["set-cookie"].partition(";")[0]
        assert panel.login.sessions == 1
        async with panel.client() as other:
            seen = await other.get("/state", headers={"cookie": first})
    assert first != second
    assert seen.json()["login"]["user"] is None


async def test_the_token_is_another_one_once_logged_in(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        before = await token_of(browser)
        await log_in(browser)
        after = await token_of(browser)
        refused = await post(browser, "/reveal", json={"tap": 12}, headers={"x-panel-token": before})
    assert before != after
    assert refused.status_code == 403
    assert panel.shown.revealed == []


async def test_logging_out_ends_the_session_and_takes_the_cookie(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        cookie = (await log_in(browser)).headers["set-cookie"].partition(";")[0]
        answer = await post(browser, "/logout")
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert panel.login.sessions == 0
        async with panel.client() as other:
            seen = await other.get("/state", headers={"cookie": cookie})
    assert seen.json()["login"]["user"] is None


async def test_a_session_ends_when_nobody_uses_it(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        await log_in(browser)
        panel.time.now += IDLE_S - 1
        assert (await browser.get("/state")).json()["login"]["user"] == "anna"
        panel.time.now += IDLE_S
        assert (await browser.get("/state")).json()["login"]["user"] is None
        assert panel.login.sessions == 0


async def test_a_session_ends_with_the_working_day_however_busy_it_is(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel, panel.client() as browser:
        await log_in(browser)
        for _ in range(int(WHOLE_S // (IDLE_S - 1))):
            panel.time.now += IDLE_S - 1
            assert (await browser.get("/state")).json()["login"]["user"] == "anna"
        panel.time.now += IDLE_S - 1
        assert (await browser.get("/state")).json()["login"]["user"] is None


async def test_who_has_another_password_now_is_logged_out_and_the_others_stay(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna", "bert")
    async with served(login_file=file) as panel, panel.client() as annas, panel.client() as berts:
        await log_in(annas, "anna")
        await log_in(berts, "bert")
        set_password(file, quick("anna", "another password"))
        assert (await annas.get("/state")).json()["login"]["user"] is None
        assert (await berts.get("/state")).json()["login"]["user"] == "bert"
        assert (await log_in(annas)).status_code == 401
        assert (await log_in(annas, password="another password")).status_code == 200


async def test_a_password_that_is_replaced_while_it_is_checked_lets_nobody_in(tmp_path: Path) -> None:
    file = logins(tmp_path, "bert")
    set_password(file, credential_for("anna", PASSWORD))  # it takes its time
    async with served(login_file=file) as panel, panel.client() as browser, panel.client() as other:
        await log_in(other, "bert")
        logging_in = asyncio.create_task(log_in(browser))
        await until(lambda: panel.login._waiting == 1 or logging_in.done())
        set_password(file, quick("anna", "another password"))
        await token_of(other)
        await logging_in
        assert (await browser.get("/state")).json()["login"]["user"] is None


async def test_a_login_file_that_is_spoilt_lets_nobody_in(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna")
    async with served(login_file=file) as panel, panel.client() as browser:
        await log_in(browser)
        file.write_text("spoilt\n")
        assert (await browser.get("/state")).json()["login"] == {"needed": True, "user": None}
        assert (await log_in(browser)).status_code == 503


async def test_a_login_file_that_has_gone_lets_nobody_in(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna")
    async with served(login_file=file) as panel, panel.client() as browser:
        await log_in(browser)
        file.unlink()
        assert (await browser.get("/state")).json()["login"] == {"needed": True, "user": None}


async def test_sessions_are_not_kept_without_end(tmp_path: Path) -> None:
    async with served(login_file=logins(tmp_path, "anna")) as panel:
        for _ in range(66):
            panel.time.now += 1
            async with panel.client() as browser:
                assert (await log_in(browser)).status_code == 200
        assert panel.login.sessions == 64


def test_the_file_of_another_user_is_kept_his(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    file = logins(tmp_path, "anna")
    os.chown(file, 12345, 12346)
    set_password(file, quick("bert"))
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o600)


def test_a_pipe_in_the_place_of_the_login_file_is_refused_and_waited_for_by_nobody(tmp_path: Path) -> None:
    pipe = tmp_path / "logins"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConfigError, match=r"panel\.login_file: .*logins"):
        read_logins(pipe)


async def test_a_moment_without_a_free_descriptor_logs_nobody_out(tmp_path: Path) -> None:
    file = logins(tmp_path, "anna")
    async with served(login_file=file) as panel, panel.client() as browser:
        await log_in(browser)
        session = next(iter(panel.login._sessions.values()))
        file.touch()
        free = os.dup(0)
        os.close(free)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            kept = panel.login.keep(session)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert kept
        assert (await browser.get("/state")).json()["login"]["user"] == "anna"
        file.write_text("")
        assert not panel.login.keep(session)


@pytest.mark.parametrize(("n", "r", "fits"), [(1 << 15, 1, True), (1 << 16, 1, False), (1 << 19, 1, False)])
def test_a_cost_that_no_scrypt_has_is_found_when_the_file_is_read(tmp_path: Path, n: int, r: int, fits: bool) -> None:  # noqa: FBT001
    file = tmp_path / "logins"
    file.write_text(f"{Credential('anna', n, r, 1, b'salt-of-a-test', bytes(32))}\n")
    file.chmod(0o600)
    if fits:
        assert not read_logins(file)["anna"].matches(PASSWORD)
    else:
        with pytest.raises(ConfigError, match="set this password anew"):
            read_logins(file)
