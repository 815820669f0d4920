"""The page's files, without a browser: what its policy and its contract with the agent ask of them."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from agent.model import Reason, Signal, Source
from agent.panel.pages import FOLDER
from agent.service.facts import PHASES

FILES = sorted(file for file in FOLDER.iterdir() if file.is_file())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]

_IDS_OF_SCRIPTS = re.compile(r'byId\("([^"]+)"\)')
_IMPORTS = re.compile(r'(?:from|import) "([^"]+)"')
_ELSEWHERE = re.compile(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", re.IGNORECASE)
_NAMES_ONLY = "http://www.w3.org/2000/svg"
"""It is the name of a vocabulary; nothing is fetched from there."""


class Tags(HTMLParser):
    """Every tag of a document with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.seen.append((tag, dict(attrs)))

    def values(self, name: str) -> Iterator[str]:
        """Of an attribute, wherever it stands."""
        return (attributes[name] or "" for _, attributes in self.seen if name in attributes)


@pytest.fixture
def tags() -> Tags:
    """Those of the page."""
    return Tags((FOLDER / "index.html").read_text(encoding="utf-8"))


def words_of(table: str) -> set[str]:
    """The keys of a table in words.js."""
    text = (FOLDER / "words.js").read_text(encoding="utf-8")
    body = text.partition(f"const {table} = {{")[2].partition("\n};")[0]
    return {key.strip('"') for key in re.findall(r'^  ("[\w-]+"|\w+):', body, re.MULTILINE)}


def test_the_page_has_no_inline_script_style_or_handler(tags: Tags) -> None:
    assert [tag for tag, attributes in tags.seen if tag == "script" and "src" not in attributes] == []
    assert [tag for tag, attributes in tags.seen if tag == "style" or "style" in attributes] == []
    assert [name for _, attributes in tags.seen for name in attributes if name.startswith("on")] == []


def test_everything_the_page_loads_is_its_own_and_there(tags: Tags) -> None:
    loaded = [*tags.values("src"), *(href for href in tags.values("href") if not href.startswith("#"))]
    assert {FOLDER / path.removeprefix("/") for path in loaded} <= set(FILES)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_a_script_imports_only_what_is_there(script: Path) -> None:
    imported = _IMPORTS.findall(script.read_text(encoding="utf-8"))
    assert {(FOLDER / path).resolve() for path in imported} <= {file.resolve() for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_names_another_host(file: Path) -> None:
    assert _ELSEWHERE.findall(file.read_text(encoding="utf-8").replace(_NAMES_ONLY, "")) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_no_script_makes_markup_or_code_of_text(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "cssText")
    assert [name for name in forbidden if name in text] == []


def test_every_part_that_a_script_looks_for_is_on_the_page_once(tags: Tags) -> None:
    looked_for = {name for script in SCRIPTS for name in _IDS_OF_SCRIPTS.findall(script.read_text(encoding="utf-8"))}
    ids = list(tags.values("id"))
    assert looked_for <= set(ids)
    assert len(ids) == len(set(ids))


def test_everything_the_agent_may_say_has_words() -> None:
    assert words_of("SIGNALS") >= {signal.value for signal in Signal}
    assert words_of("REASONS") >= {reason.value for reason in Reason}
    assert words_of("SOURCES") >= {source.value for source in Source}


def test_every_phase_of_an_evse_has_words() -> None:
    text = (FOLDER / "chargers.js").read_text(encoding="utf-8")
    assert [phase for phase in PHASES if not re.search(rf'^  "?{phase}"?: "', text, re.MULTILINE)] == []


@pytest.mark.parametrize("signal", list(Signal))
def test_no_light_flashes_more_than_three_times_a_second(signal: Signal) -> None:
    """WCAG 2.2, 2.3.1: nobody's seizure is caused by a charge point on a page."""
    css = (FOLDER / "panel.css").read_text(encoding="utf-8")
    played = re.search(rf'\[data-signal="{signal.value}"\] \.ring-lit {{ animation: ([\w-]+) ([\d.]+)s(.*); }}', css)
    name, length_s, rest = played.groups() if played else ("", "1", "")
    assert played or signal is Signal.READY
    lit = re.findall(
        r"([\d.%, ]+) { opacity: (?:1|var\(--full, 1\)); }",
        css.partition(f"@keyframes {name} {{")[2].partition("\n")[0],
    )
    onsets = sorted(float(at.strip(" %")) / 100 for group in lit for at in group.split(","))
    if not rest.endswith(" 1"):
        onsets += [onset + 1 for onset in onsets[:1]]
    assert all((after - before) * float(length_s) >= 1 / 3 for before, after in pairwise(onsets))


def test_the_whole_page_is_small_enough_for_a_slow_link() -> None:
    assert sum(file.stat().st_size for file in FILES) < 100_000
