"""Pictures of the panel for the documentation: `python -m tests.panel.screenshots docs/pictures/panel`.

The state is written by hand, so that the pictures change only where the page does. Debian's fonts-inter makes them
look as on most desks; without it they come in the system's own face.
"""

import asyncio
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser

from fakes.world import WALLET
from tests.panel.browser.boards import LEFT, RIGHT, WORLD, busy
from tests.panel.browser.chrome import opened, started
from tests.panel.browser.scripted import Script, served

SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 1552}, "color_scheme": "light", "device_scale_factor": 2},
}


async def pictures(folder: Path) -> list[Path]:
    """Make them all, in a folder that is there; returns where they are."""
    async with started() as browser:
        return [await _picture(browser, folder / f"{name}.png", size) for name, size in SIZES.items()]


async def _picture(browser: Browser, file: Path, size: dict[str, Any]) -> Path:
    async with (
        served(_script(is_phone=size["viewport"]["width"] < 640)) as script,
        opened(browser, script.url, reduced_motion="reduce", **size) as (page, _),
    ):
        await page.locator("#wallet button").first.wait_for()
        taken = await page.screenshot(full_page=size["viewport"]["width"] > 640)
    _smaller(taken).save(file, optimize=True)
    return file


def _smaller(taken: bytes) -> Image.Image:
    """With 256 colours: half of the size, and hardly to be told from the original."""
    with Image.open(BytesIO(taken)) as picture:
        return picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)


def _script(*, is_phone: bool) -> Script:
    """The middle of a day with the demo's own wallet; a phone has room for one EVSE, and its car is plugged in."""
    wallet = [{"uid": card.uid, "label": card.label, "what": card.what} for card in WALLET]
    evses = [{"uid": LEFT, "plugged": True}, {"uid": RIGHT, "plugged": False}]
    shown, count = busy(), 1 if is_phone else 2
    if is_phone:
        shown["agent"]["status"] = "1 EVSE: charging"
    return Script(shown | {"evses": shown["evses"][:count]}, WORLD | {"wallet": wallet, "evses": evses[:count]})


def main() -> None:
    """Say what was made."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tests.panel.screenshots FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file in asyncio.run(pictures(folder)):
        print(f"{file} ({file.stat().st_size // 1024} KiB)")


if __name__ == "__main__":
    main()
