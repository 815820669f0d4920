"""Make a virtual environment that was filled in a package's folder be at home where it will be installed.

Called as `environment.py STAGE HOME PYTHON`: HOME is the environment's path once installed; it is built below STAGE.
"""  # noqa: INP001  a script of the package's build

import compileall
import os
import py_compile
import shutil
import sys
from pathlib import Path

BYTES_OF_THE_BUILD = ("RECORD", "REQUESTED", "INSTALLER", "direct_url.json")
"""Of a package's .dist-info, what names the build's machine or lists files that are not shipped: dpkg has the list."""

SHIPPED = ("bin", "lib")
"""Of the environment. The rest are headers, pages and links that nobody looks for here."""


def settle(stage: Path, home: Path, python: Path) -> None:
    """Leave one command, `python3`, no path of the build, and bytecode that is never written again."""
    environment = stage / home.relative_to("/")
    for entry in (environment / "bin").iterdir():
        entry.unlink()
    (environment / "bin/python3").symlink_to(python)
    for leftover in environment.iterdir():
        if leftover.name not in SHIPPED:
            _remove(leftover)
    (environment / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    for information in environment.glob("lib/python*/site-packages/*.dist-info"):
        for name in BYTES_OF_THE_BUILD:
            (information / name).unlink(missing_ok=True)
    _compile(environment / "lib", stage)


def _compile(library: Path, stage: Path) -> None:
    # "unchecked": the service may not write here, and a file's time says nothing after dpkg has unpacked it.
    whole = compileall.compile_dir(
        library,
        quiet=1,
        force=True,
        workers=os.cpu_count() or 1,
        stripdir=str(stage),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not whole:
        sys.exit(f"{library}: some modules do not compile")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    settle(*map(Path, sys.argv[1:]))
