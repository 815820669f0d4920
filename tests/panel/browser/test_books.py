"""Taps, peers, whitelist, sessions and CDRs, in an operator's words."""

from playwright.async_api import Browser, expect

from tests.panel.browser.boards import board, busy, peer, tap
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served

ASKED = {
    "uid": "04D1…03",
    "listed": [
        {"owner": "DE-EXA", "peer": "emsp", "whitelist": "NEVER", "valid": True, "withdrawn": False, "fresh": True}
    ],
    "refused_at": [],
    "at_once": None,
    "asked": [{"peer": "emsp", "now": False}],
    "outcomes": [
        {"when": "allows", "verdict": "accepted", "reason": "allowed", "source": "realtime", "why": "emsp allows it"},
        {
            "when": "silent",
            "verdict": "refused",
            "reason": "timeout",
            "source": "fallback",
            "why": "NEVER: no fallback",
        },
    ],
}


async def test_a_tap_tells_verdict_reason_source_and_reference(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        newest = page.locator(".tap").first
        await expect(newest.locator(".verdict")).to_have_text("accepted")
        await expect(newest.locator(".why")).to_contain_text("its owner was asked")
        await expect(newest.locator(".tap-source")).to_have_text(
            "allowed · decided by its owner, in real time (emsp) · reference a1f9c0de-77"
        )
        assert await page.locator(".tap .uid").all_text_contents() == ["04D1…03", "04FA…05", "0401…06", "04A1…F6"]


async def test_a_tap_shows_where_its_time_went_against_the_deadline(browser: Browser) -> None:
    times = {"whitelist": 100.0, "peer": 2000.0, "record": 300.0, "relay": 50.0, "total": 2500.0}
    async with (
        served(Script(board(taps=[tap(times_ms=times, source="realtime")]))) as script,
        opened(browser, script.url) as (page, _),
    ):
        await expect(page.locator(".tap-times")).to_have_text(
            "2.50 s of 5.00 s: reader 50 ms, whitelist 100 ms, peer 2.00 s, record 300 ms, relay 50 ms"
        )
        used = await page.locator(".against").evaluate("a => a.firstChild.offsetWidth / a.offsetWidth")
        assert abs(used - 0.5) < 0.02
        widths = await page.locator(".bar span").evaluate_all("s => s.map(one => one.getBoundingClientRect().width)")
        assert abs(widths[2] / sum(widths) - 0.8) < 0.02


async def test_a_tap_whose_time_nobody_has_measured_has_no_bar(browser: Browser) -> None:
    async with served(Script(board(taps=[tap(times_ms=None)]))) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator(".tap")).to_be_visible()
        await expect(page.locator(".bar")).to_be_hidden()
        await expect(page.locator(".tap-times")).to_be_hidden()


async def test_a_new_tap_goes_first_and_the_others_stay_the_same_elements(browser: Browser) -> None:
    async with served(Script(board(taps=[tap(id=1)]))) as script, opened(browser, script.url) as (page, _):
        await page.locator(".tap").first.evaluate("tap => { tap.wasHere = true }")
        script.board["taps"] = [tap(id=-1, recorded=False, verdict="refused"), tap(id=1)]
        await expect(page.locator(".tap")).to_have_count(2)
        await expect(page.locator(".tap").first.locator(".tap-source")).to_contain_text("not on record")
        assert await page.locator(".tap").nth(1).evaluate("tap => tap.wasHere") is True


async def test_older_taps_are_shown_to_whoever_asks(browser: Browser) -> None:
    many = [tap(id=number) for number in range(9, 0, -1)]
    async with served(Script(board(taps=many))) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator(".tap:visible")).to_have_count(6)
        await page.get_by_role("button", name="Show older cards").click()
        await expect(page.locator(".tap:visible")).to_have_count(9)
        await page.get_by_role("button", name="Show the newest only").click()
        await expect(page.locator(".tap:visible")).to_have_count(6)


async def test_a_peer_shows_state_latency_and_breaker(browser: Browser) -> None:
    rejecting = peer(name="third", rejects_credentials=True, up=False)
    async with (
        served(Script(board(peers=[*busy()["peers"], rejecting]))) as script,
        opened(browser, script.url) as (page, _),
    ):
        emsp, hub, third = (page.locator("#peers .row").nth(number) for number in range(3))
        await expect(emsp).to_contain_text("reachable")
        await expect(emsp).to_contain_text("23 ms")
        await expect(emsp).to_contain_text("3 min ago")
        await expect(hub).to_contain_text("not reachable")
        await expect(hub).to_contain_text("open: not asked")
        await expect(third).to_contain_text("rejects our credentials")


async def test_a_peer_that_was_asked_in_vain_is_not_called_one_that_nobody_has_asked(browser: Browser) -> None:
    async with (
        served(Script(board(peers=[peer(latency_ms=None)]))) as script,
        opened(browser, script.url) as (page, _),
    ):
        await expect(page.locator("#peers .row")).to_contain_text("no answer to a card yet")


async def test_a_list_that_was_never_synced_is_named_beside_the_age_of_the_others(browser: Browser) -> None:
    peers = [peer(), peer(name="hub", synced_at=None), peer(name="roaming", synced_at=None)]
    async with served(Script(board(peers=peers))) as script, opened(browser, script.url) as (page, _):
        state = page.locator("#list-state")
        await expect(state).to_have_text("1,234 cards · oldest list 3 min old · never synced completely: hub, roaming")
        script.board["peers"] = [peer()]
        await expect(state).to_have_text("1,234 cards · oldest list 3 min old")
        script.board |= {"peers": peers[1:], "whitelist": {"tokens": 0, "oldest_sync_s": None}}
        await expect(state).to_have_text("0 cards · never synced completely")


async def test_a_tap_that_comes_twice_in_a_state_is_shown_once(browser: Browser) -> None:
    twice = [tap(id=12), tap(id=11), tap(id=12), tap(id=10)]
    async with served(Script(board(taps=twice))) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator(".tap")).to_have_count(3)
        for version in ("0.2.0", "0.3.0"):
            script.board["agent"]["version"] = version
            await expect(page.locator("#agent")).to_contain_text(version)
            assert await page.locator(".tap").evaluate_all("all => all.map(one => one.dataset.key)") == [
                "12",
                "11",
                "10",
            ]


async def test_sessions_show_delivery_and_reference(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        running, told, due = (page.locator(".session").nth(number) for number in range(3))
        await expect(running).to_contain_text("when it ends")
        await expect(told).to_contain_text("acknowledged")
        await expect(told).to_contain_text("a1f9c0de-71")
        await expect(due).to_contain_text("to be sent")
        await expect(page.locator("#outbox")).to_have_text("Waiting to be sent: 1 session report and 1 CDR.")


async def test_a_search_explains_what_would_happen_to_a_card(browser: Browser) -> None:
    script = Script(busy())
    script.card = ASKED
    async with served(script), opened(browser, script.url) as (page, _):
        await page.get_by_label("What would happen to a card?").fill("04d1e2f3a4b503")
        await page.get_by_role("button", name="Explain").click()
        answer = page.locator("#lookup-answer")
        await expect(answer).to_contain_text("NEVER, valid, of DE-EXA through emsp; the list is fresh")
        await expect(answer).to_contain_text("which cannot be reached now")
        await expect(answer).to_contain_text("If nobody answers: refused")
        assert script.searched == ["04d1e2f3a4b503"]


async def test_a_search_for_no_uid_says_what_is_wrong_and_asks_nobody(browser: Browser) -> None:
    script = Script(busy())
    async with served(script), opened(browser, script.url) as (page, _):
        for no_uid in (" ", "04A", "my card", "04A1" * 10):
            await page.get_by_label("What would happen to a card?").fill(no_uid)
            await page.get_by_role("button", name="Explain").click()
            answer = page.locator("#lookup-answer")
            await expect(answer).to_have_text("This is no uid of a card: 4 to 36 digits, hexadecimal or decimal.")
            await answer.evaluate("(answer) => answer.replaceChildren()")
    assert script.searched == []


async def test_what_the_charge_point_says_of_a_uid_that_it_does_not_take_is_shown(browser: Browser) -> None:
    script = Script(busy())
    script.card = ValueError("the uid is all zeros")
    async with served(script), opened(browser, script.url) as (page, _):
        await page.get_by_label("What would happen to a card?").fill("00 00 00 00")
        await page.get_by_role("button", name="Explain").click()
        await expect(page.locator("#lookup-answer")).to_have_text("The uid is all zeros.")


async def test_a_random_uid_says_which_readers_refuse_it(browser: Browser) -> None:
    script = Script(busy())
    script.card = {**ASKED, "uid": "…C3", "listed": [], "refused_at": ["left", "right"]}
    async with served(script), opened(browser, script.url) as (page, _):
        await page.get_by_label("What would happen to a card?").fill("08 A1 B2 C3")
        await page.get_by_role("button", name="Explain").click()
        answer = page.locator("#lookup-answer")
        await expect(answer).to_contain_text("refused at left and right. Elsewhere:")
        await expect(answer).to_contain_text("If nobody answers: refused")
