"""A /dev and a /sys as the kernel and udev lay them out, in a folder of a test's own."""

from pathlib import Path

from hw.discovery_sysfs import Roots

KEYBOARD_KEYS = "10000 7 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"
POWER_BUTTON_KEYS = "10000000000000 0"


class Machine:
    """A /dev and a /sys of our own. Nodes are plain files: what would open one would not notice, so none may."""

    def __init__(self, folder: Path) -> None:
        self.roots = Roots(folder / "dev", folder / "sys")
        self.roots.dev.mkdir()
        self.roots.sys.mkdir()

    def usb(self, place: str, usb_id: str, **described: str) -> Path:
        """A device on USB; returns its folder."""
        folder = self.roots.sys / "devices/usb1" / place
        vendor, product = usb_id.split(":")
        self._write(folder, {"idVendor": vendor, "idProduct": product, **described})
        self._link(self.roots.sys / "bus/usb/devices" / place, folder)
        return folder

    def tty(self, name: str, device: Path, *, kind: str = "0", by_id: str = "", by_path: str = "") -> None:
        """A serial port at a device."""
        folder = self.roots.sys / "class/tty" / name
        self._write(folder, {} if kind == "0" else {"type": kind})
        self._link(folder / "device", device)
        self.node(name)
        if by_id:
            self._link(self.roots.dev / "serial/by-id" / by_id, self.roots.dev / name)
        if by_path:
            self._link(self.roots.dev / "serial/by-path" / by_path, self.roots.dev / name)

    def input(
        self,
        name: str,
        usb_id: str,
        title: str,
        keys: str,
        *,
        by_id: str = "",
        by_path: str = "",
        at: Path | None = None,
    ) -> None:
        """An input device; `at` is the folder of the USB device that it belongs to."""
        vendor, product = usb_id.split(":")
        device = {"name": title, "id/vendor": vendor, "id/product": product, "capabilities/key": keys}
        folder = self.roots.sys / "class/input" / name / "device"
        if at is not None:
            (at / "input").mkdir()
            self._link(folder, at / "input")
        self._write(folder, device)
        self.node(f"input/{name}")
        if by_id:
            self._link(self.roots.dev / "input/by-id" / by_id, self.roots.dev / "input" / name)
        if by_path:
            self._link(self.roots.dev / "input/by-path" / by_path, self.roots.dev / "input" / name)

    def node(self, name: str) -> Path:
        """A device node."""
        path = self.roots.dev / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def write(self, name: str, content: str) -> None:
        """A file under /sys."""
        self._write(self.roots.sys, {name: content})

    def _write(self, folder: Path, files: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{content}\n")

    def _link(self, link: Path, target: Path) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
