"""Which readers pcscd offers, asked once, and why there are none where there are none.

pyscard is an extra: without it this module can be imported and says so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hw.patience import answered_within
from hw.readers.pcsc_trouble import NO_READERS_AVAILABLE, SUCCESS, Trouble, trouble_of

SOCKET: Final = Path("/run/pcscd/pcscd.comm")
"""Where pcscd, or systemd for it, listens."""
POLKIT_ACTION: Final = "org.debian.pcsc-lite.access_pcsc"
POLICY_FILE: Final = Path("usr/share/polkit-1/actions/org.debian.pcsc-lite.policy")
"""Where it is, pcscd was built to ask polkit who may use it."""
RULE_FOLDERS: Final = tuple(
    Path(folder) for folder in ("etc/polkit-1/rules.d", "run/polkit-1/rules.d", "usr/share/polkit-1/rules.d")
)


@dataclass(frozen=True, slots=True)
class PcscFound:
    """What pcscd said."""

    readers: tuple[str, ...] = ()
    trouble: Trouble | None = None
    """Why it tells of no readers."""
    advice: str = ""
    """The sentence that goes with it."""


NOTHING_SAID: Final = PcscFound()
"""No reader, and nothing against it."""


ANSWER_S: Final = 5.0
"""A daemon that works answers within milliseconds, one that systemd has to start first within a second."""


def pcsc_readers(limit_s: float = ANSWER_S) -> PcscFound:
    """Ask pcscd, and wait no longer than `limit_s` for it."""
    try:
        return answered_within(limit_s, _ask, "pcscd")
    except TimeoutError as error:
        return _failed(Trouble.STUCK, str(error))


def _ask() -> PcscFound:
    try:
        from smartcard import scard  # noqa: PLC0415  an extra, see the top
    except ImportError as error:
        return _failed(Trouble.NO_LIBRARY, str(error))
    code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    at_start = code != SUCCESS
    names: list[str] = []
    if not at_start:
        try:
            code, names = scard.SCardListReaders(context, [])
        finally:
            scard.SCardReleaseContext(context)
    code &= 0xFFFFFFFF  # the library hands it over with a sign
    if code in {SUCCESS, NO_READERS_AVAILABLE}:
        return PcscFound(tuple(names))
    return _failed(trouble_of(code, at_start=at_start), scard.SCardGetErrorMessage(code))


def _failed(trouble: Trouble, cause: str) -> PcscFound:
    return PcscFound((), trouble, trouble.value.format(cause=cause.strip(". ")))


def needs_rule(root: Path = Path("/")) -> bool | None:
    """Whether a user other than root lacks a polkit rule; None where that can't be told, for nobody may read them."""
    if not (root / POLICY_FILE).exists():
        return False
    hidden = False
    for folder in (root / each for each in RULE_FOLDERS):
        try:
            rules = [path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("*.rules")]
        except PermissionError:
            hidden = True
            continue
        hidden = hidden or (folder.exists() and not _may_list(folder))
        if any("org.debian.pcsc-lite" in rule for rule in rules):
            return False
    return None if hidden else True


def _may_list(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except PermissionError:
        return False
    return True
