"""What a run of the tests may be told: options must be known before any folder's own conftest is read.

`--hardware=FILE` with its equals sign: pytest takes a word of its own for a folder with tests, and looks there for us.
"""

from pathlib import Path

import pytest

# Here, not in a folder's conftest: with several processes the one that prints the table loads no other.
pytest_plugins = ("tests.contract.plugin",)


def pytest_addoption(parser: pytest.Parser) -> None:
    hardware = parser.getgroup("hardware", "real devices, with a person beside them")
    hardware.addoption(
        "--hardware",
        type=Path,
        metavar="FILE",
        help="run the contract suites, and nothing else, on the readers, displays, lights and buzzers that this "
        "configuration names, asking a person for what only a person can do",
    )
    hardware.addoption(
        "--hardware-relays",
        action="store_true",
        help="with --hardware: on the relays, too. They will close: nothing may be wired to them",
    )
