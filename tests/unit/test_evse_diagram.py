"""The diagrams are the machine's own."""

from pathlib import Path

from agent.core.evse_diagram import FITTED, document, edges
from agent.core.evse_state import Available, Charging, Faulted, Suspended, WaitingForPlug, WaitingForUnplug


def test_diagram_in_the_docs_is_the_machines_own() -> None:
    page = Path(__file__).parents[2] / "docs" / "evse.md"
    assert document() in page.read_text(encoding="utf-8"), "print it with python -m agent.core.evse_diagram"


def test_diagram_shows_every_phase() -> None:
    shown = {phase for way in edges(FITTED["With a plug sensor and a meter"]) for phase in way}
    phases = (Available, WaitingForPlug, Charging, Suspended, WaitingForUnplug, Faulted)
    assert shown == {"[*]", "Authorizing", *(phase.__name__ for phase in phases)}
