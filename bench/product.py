"""What the bench takes from the product: its command, and what the command keeps in its cache (kernels, BusyBox, zig).

The cache is found, and replaced by folders of the user's own, by the same environment variables as the command's
(builder/src/cache.rs; kernel_package.rs, busybox.rs and toolchain/tools.rs in builder/crates/sources/src).
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import archive
from failure import BenchError, Done, run
from machine import REPOSITORY, Machine, Target, find_kernel
from modules import NAMED

#: The image with nothing in it but init and the modules.
VARIANT = "slim"


def cache() -> Path:
    """The cache folder; it need not exist."""
    if root := os.environ.get("INITRAMFS_OVERLAY_CACHE"):
        return Path(root)
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "initramfs-overlay"


def _newest(room: str, pattern: str) -> Path | None:
    entries = sorted((cache() / room).glob(pattern), key=lambda entry: entry.stat().st_mtime)
    return entries[-1] if entries else None


def find_zig() -> Path:
    """The zig that builds init."""
    given = os.environ.get("INITRAMFS_OVERLAY_TOOLS")
    folder = Path(given) if given else _newest("tools", "zig-*")
    for pattern in ("ziglang/zig", "lib/python3*/site-packages/ziglang/zig"):
        for zig in sorted(folder.glob(pattern)) if folder else []:
            return zig
    raise BenchError(f"no zig in {folder or cache() / 'tools'}: run ./build.sh first, or set INITRAMFS_OVERLAY_TOOLS")


@dataclass(frozen=True)
class Product:
    """The command `initramfs-overlay`."""

    command: Path

    def run(self, *arguments: str | Path) -> Done:
        """Runs it; what it says when it fails is the error."""
        return run([str(self.command), *map(str, arguments)])

    def machine(self, target: Target) -> Machine:
        """The machine with Debian's kernel; the command fetches that kernel where the cache lacks it."""
        if given := os.environ.get("INITRAMFS_OVERLAY_KERNELS"):
            return find_kernel(target, Path(given) / target.name)
        if not _newest("kernel", f"{target.name}-*"):
            self._fetch_kernel(target)
        package = _newest("kernel", f"{target.name}-*")
        if not package:
            raise BenchError(f"no kernel for {target.name} in {cache() / 'kernel'}; set INITRAMFS_OVERLAY_KERNELS")
        return find_kernel(target, package)

    def _fetch_kernel(self, target: Target) -> None:
        """Has the command plan a boot, for which it fetches a kernel; what else it makes for that is thrown away."""
        with tempfile.TemporaryDirectory(prefix="bench-kernel-") as scratch:
            initrd, disk = Path(scratch) / "initrd.gz", Path(scratch) / "disk"
            archive.write(initrd, [])
            disk.write_bytes(bytes(1 << 20))
            arguments = ["run", "--target", target.name, "--print-command", str(initrd), str(disk)]
            run([str(self.command), *arguments], TMPDIR=scratch)

    def busybox(self, machine: Machine, folder: Path) -> Path:
        """The BusyBox of the standard image; the command fetches it for one where the cache lacks it."""
        target = machine.target.name
        if given := os.environ.get("INITRAMFS_OVERLAY_BUSYBOX"):
            return Path(given) / f"busybox-{target}"
        if not _newest("busybox", f"{target}-*"):
            self.run("build", "--target", target, "--variant", "standard", "--output-dir", folder, "--source", REPOSITORY)
        entry = _newest("busybox", f"{target}-*")
        if not entry:
            raise BenchError(f"no BusyBox for {target} in {cache() / 'busybox'}; set INITRAMFS_OVERLAY_BUSYBOX")
        return entry / "busybox"

    def build(self, machine: Machine, folder: Path, init: Path | None = None, stripped: bool = False) -> Path:
        """Builds the image of the overlay root with the machine's modules; its path.

        `init` is a finished one to put in, instead of that of the source tree.
        """
        options: list[str | Path] = ["--target", machine.target.name, "--variant", VARIANT, "--output-dir", folder, "--json"]
        for name in NAMED[machine.target.disk]:
            options += ["--modules", name]
        options += ["--module-tree", machine.modules]
        options += ["--strip-modules"] if stripped else []
        options += ["--init-program", init] if init else []
        (image,) = json.loads(self.run("build", *options, "--source", REPOSITORY).output)["artifacts"]
        return folder / str(image["file"])
