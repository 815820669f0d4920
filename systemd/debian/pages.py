"""Write the man page and the completions of the command.

Called as `pages.py STAGE`, with the Python of the environment that holds it.
"""  # noqa: INP001  a script of the package's build

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import BashComplete, ZshComplete

from agent import __version__
from agent.cli import main

NAME = "chargepoint-agent"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, each with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, below in sorted(command.commands.items()):
        yield from commands(below, (*path, name))


def roff(text: str) -> str:
    """`text` as roff takes it: what would be a command or another character is neither."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in escaped.split("\n"))


def described(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """One command's part of the page."""
    context = click.Context(command, info_name=" ".join(path))
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f".SS {roff(' '.join(path))} {roff(pieces)}"
    yield from (f".PP\n{roff(' '.join(block.split()))}" for block in (command.help or "").split("\n\n"))
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1] and parameter.name != "help":
            yield f".TP\n.B {roff(record[0])}\n{roff(record[1])}"


def page(source: str) -> str:
    """The whole man page: `source`, with every command in the place of its mark."""
    listed = "\n".join(line for path, command in commands(main) for line in described(path, command))
    return source.replace("@VERSION@", __version__).replace("@COMMANDS@", listed)


def write(stage: Path, source: Path) -> None:
    """All of it where Debian's tools look for it."""
    variable = "_" + NAME.replace("-", "_").upper() + "_COMPLETE"
    files = {
        f"man/man8/{NAME}.8": page(source.read_text(encoding="utf-8")),
        f"bash-completion/completions/{NAME}": BashComplete(main, {}, NAME, variable).source(),
        f"zsh/vendor-completions/_{NAME}": ZshComplete(main, {}, NAME, variable).source(),
    }
    for name, text in files.items():
        path = stage / "usr/share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)  # nothing of who builds may show
    write(Path(sys.argv[1]), Path("systemd/chargepoint-agent.8"))
