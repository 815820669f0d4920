"""A charge point on the page shows what the driver sees: characters, light, plug, relay and figures."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from agent.model import Signal
from tests.panel.browser.boards import LEFT, RIGHT, board, busy, evse, showing
from tests.panel.browser.chrome import opened
from tests.panel.browser.scripted import Script, served


async def lines(page: Page, uid: str = LEFT) -> list[str]:
    """What the cells of a display hold, row by row."""
    rows = page.locator(f'.evse[data-evse="{uid}"] .glass .line')
    return [str(row) for row in await rows.evaluate_all("rows => rows.map(row => row.textContent)")]


async def test_a_display_shows_each_character_in_its_own_cell(browser: Browser) -> None:
    shown = showing("Laden läuft", "1,20 kWh      0,54 €")
    async with served(Script(board(evses=[evse(display=shown)]))) as script, opened(browser, script.url) as (page, _):
        await page.locator(".line").first.wait_for()
        assert await lines(page) == ["Laden läuft".ljust(20), "1,20 kWh      0,54 €", " " * 20, " " * 20]
        assert await page.locator(".cell").count() == 4 * 20


async def test_a_wide_character_takes_two_cells(browser: Browser) -> None:
    async with (
        served(Script(board(evses=[evse(display=showing("充電中 ok", columns=16, rows=1))]))) as script,
        opened(browser, script.url) as (page, _),
    ):
        await page.locator(".line").first.wait_for()
        assert await lines(page) == ["充電中 ok" + " " * 7]
        assert await page.locator(".cell.wide").count() == 3


async def test_markup_on_a_display_is_only_text(browser: Browser) -> None:
    hostile = showing("<img src=x onerror=1>", "<script>alert(1)</s", columns=21)
    async with (
        served(Script(board(evses=[evse(display=hostile)]))) as script,
        opened(browser, script.url) as (page, watched),
    ):
        await page.locator(".line").first.wait_for()
        assert (await lines(page))[:2] == ["<img src=x onerror=1>", "<script>alert(1)</s  "]
        assert await page.locator(".glass img, .glass script").count() == 0
        assert watched.complaints == []


async def test_a_display_reads_as_one_sentence_to_a_screen_reader(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        glass = page.get_by_role("img", name="Display: Card accepted / Please plug in")
        await expect(glass).to_be_visible()


@pytest.mark.parametrize("signal", list(Signal))
async def test_every_signal_is_told_in_words_and_as_a_rhythm(browser: Browser, signal: Signal) -> None:
    async with (
        served(Script(board(evses=[evse(signal=signal.value)]))) as script,
        opened(browser, script.url) as (page, _),
    ):
        words = page.locator(".signal-words")
        await expect(words).not_to_have_text(re.compile(r"^(|Starting)$"))
        await expect(words).not_to_have_text(signal.value)
        ring = page.locator(".facts div", has_text="Ring").locator("dd")
        await expect(ring).not_to_have_text("dark")


async def test_no_two_standing_signals_look_or_read_the_same(browser: Browser) -> None:
    evses = [evse(uid=f"DE*EXA*{signal.value}", signal=signal.value) for signal in Signal]
    async with served(Script(board(evses=evses))) as script, opened(browser, script.url) as (page, _):
        await page.locator(".evse").nth(len(evses) - 1).wait_for()
        words = await page.locator(".signal-words").all_text_contents()
        rhythms = await page.locator(".ring-lit").evaluate_all(
            "rings => rings.map(ring => { const light = getComputedStyle(ring);"
            " return [light.getPropertyValue('--ring'), light.animation].join() })"
        )
        assert len(set(words)) == len(Signal)
        assert len(set(rhythms)) == len(Signal)


async def test_with_reduced_motion_nothing_moves(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url, reduced_motion="reduce") as (page, _):
        await page.locator(".evse").first.wait_for()
        assert await page.evaluate("document.getAnimations().length") == 0


async def test_plug_and_relay_are_drawn_and_told(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        left, right = (page.locator(f'.evse[data-evse="{uid}"]') for uid in (LEFT, RIGHT))
        await expect(left.locator(".facts")).to_contain_text("plugged in")
        await expect(left.locator(".facts")).to_contain_text("closed: current may flow")
        await expect(left.locator(".cable-in .cable-line")).to_have_css("stroke-dashoffset", "0px")
        await expect(right.locator(".facts")).to_contain_text("not plugged in")
        await expect(right.locator(".facts")).to_contain_text("open: no current")
        await expect(right.locator(".cable-out .cable-line")).to_have_css("stroke-dashoffset", "0px")


async def test_energy_power_and_cost_run_with_the_states_that_come(browser: Browser) -> None:
    async with served(Script(busy())) as script, opened(browser, script.url) as (page, _):
        facts = page.locator(f'.evse[data-evse="{LEFT}"] .facts')
        await expect(facts).to_contain_text("6.418 kWh")
        await expect(facts).to_contain_text("10.9 kW")
        await expect(facts).to_contain_text("2.89 EUR")
        script.board["evses"][0]["session"] |= {"energy_wh": 6500, "cost": "2.93 EUR"}
        await expect(facts).to_contain_text("6.500 kWh")
        await expect(facts).to_contain_text("2.93 EUR")


async def test_a_fault_is_told_by_its_name(browser: Browser) -> None:
    broken = evse(phase="faulted", signal="fault", live=False, relay_fault="welded: it stays closed", lost=["meter"])
    async with served(Script(board(evses=[broken]))) as script, opened(browser, script.url) as (page, _):
        await expect(page.locator(".evse-trouble")).to_have_text("welded: it stays closed; lost: meter")
        await expect(page.locator(".evse .facts")).to_contain_text("takes no card now")


async def test_an_evse_that_has_told_nothing_yet_is_dark(browser: Browser) -> None:
    silent = evse(signal=None, live=False, plug="unknown", display=showing(columns=0, rows=0))
    async with served(Script(board(evses=[silent]))) as script, opened(browser, script.url) as (page, watched):
        await expect(page.locator(".signal-words")).to_have_text("Starting")
        await expect(page.locator(".evse .facts")).to_contain_text("no sensor tells")
        assert await lines(page) == [" " * 20] * 2
        assert watched.complaints == []


async def test_no_name_of_a_charge_point_is_taken_for_a_part_of_the_page(browser: Browser) -> None:
    named = ("template", "s", "A*1", "A-1")
    async with (
        served(Script(board(evses=[evse(uid="template")]))) as script,
        opened(browser, script.url) as (page, seen),
    ):
        await expect(page.locator(".evse")).to_have_count(1)
        script.board["evses"] = [evse(uid=uid) for uid in named]
        await expect(page.locator(".evse")).to_have_count(4)
        for uid in named:
            await expect(page.get_by_role("article", name=uid, exact=True)).to_be_visible()
        assert seen.complaints == []
