"""The machines that are measured: which kernel, which QEMU, which clock.

A machine is what `targets/<name>.toml` says, with a kernel package unpacked in a folder. This room turns both into a
command line for QEMU; it starts nothing.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from failure import BenchError

REPOSITORY = Path(__file__).resolve().parent.parent
TARGETS = ("x86_64", "i686", "armv6l")


class Clock(StrEnum):
    """How time is measured, and so how QEMU is started."""

    ICOUNT = "icount"
    """One guest instruction is one nanosecond. Knows no caches, no other load on the host; repeats within 1 %."""

    STOPWATCH = "stopwatch"
    """The host's time under plain TCG, one CPU."""

    SMP2 = "smp2"
    """The host's time with two CPUs, each on a thread of its own."""


@dataclass(frozen=True)
class Machine:
    """One target with its kernel."""

    target: str
    zig_target: str
    zig_cpu: str
    debian_arch: str
    program: str
    arguments: tuple[str, ...]
    console: str
    append: str
    disk: str
    kernel: Path
    dtb: Path | None
    modules: Path
    """`lib/modules/<kernel-version>` of the unpacked package."""

    @property
    def version(self) -> str:
        """The kernel's version, as `uname -r` says it."""
        return self.modules.name

    @property
    def has_two_cpus(self) -> bool:
        """Whether QEMU can give this machine a second CPU. The SD card machine is a board with one core."""
        return self.disk == "virtio"

    def partition(self, number: int) -> str:
        """The device node of a partition of the only disk."""
        return f"/dev/vda{number}" if self.disk == "virtio" else f"/dev/mmcblk0p{number}"

    def command_line(self, clock: Clock) -> str:
        """The kernel's command line, the same for every contender.

        `quiet` keeps the serial console's cost out of the stage; `initramfs_async=0` makes the kernel finish unpacking
        before it runs /init, so that unpacking is not part of the stage either.
        """
        words = [f"console={self.console}", "quiet", "initramfs_async=0", "panic=-1", self.append]
        if clock is not Clock.ICOUNT:
            words.append("bench.ticks")
        return " ".join(word for word in words if word)

    def qemu(self, clock: Clock, initramfs: Path, disk: Path) -> list[str]:
        """The command that boots an initramfs with a disk, the serial console on standard output."""
        arguments = list(self.arguments)
        if clock is Clock.ICOUNT:
            arguments += ["-icount", "shift=0"]
        elif clock is Clock.SMP2:
            arguments = ["tcg,thread=multi" if word == "tcg" else word for word in arguments] + ["-smp", "2"]
        if self.dtb:
            arguments += ["-dtb", str(self.dtb)]
        interface = "virtio" if self.disk == "virtio" else "sd"
        return [
            self.program,
            *arguments,
            "-nic",
            "none",
            "-kernel",
            str(self.kernel),
            "-initrd",
            str(initramfs),
            "-drive",
            f"file={disk},format=raw,if={interface},cache=unsafe",
            "-append",
            self.command_line(clock),
        ]


def cache() -> Path:
    """The builder's cache folder, found as the builder finds it (builder/src/cache.rs)."""
    if root := os.environ.get("INITRAMFS_OVERLAY_CACHE"):
        return Path(root)
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "initramfs-overlay"


def _package(target: str, kernels: Path | None) -> Path:
    """The folder a kernel package is unpacked in: `kernels/<target>` where that is given, else from the cache."""
    given = kernels or os.environ.get("INITRAMFS_OVERLAY_KERNELS")
    if given:
        return Path(given) / target
    entries = sorted((cache() / "kernel").glob(f"{target}-*"), key=lambda entry: entry.stat().st_mtime)
    if not entries:
        raise BenchError(
            f"no kernel for {target} in {cache() / 'kernel'}: "
            f"`initramfs-overlay run --target {target}` fetches one, or --kernels DIR has {target}/boot/vmlinuz-*"
        )
    return entries[-1]


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise BenchError(f"{folder}: {len(found)} files {pattern}; expected one, as in an unpacked kernel package")
    return found[0]


def read_machine(target: str, kernels: Path | None) -> Machine:
    """Reads `targets/<target>.toml` and finds its kernel, in the cache where no folder of kernels is given."""
    with (REPOSITORY / "targets" / f"{target}.toml").open("rb") as file:
        table = tomllib.load(file)
    package = _package(target, kernels)
    dtb = table["kernel"].get("dtb")
    return Machine(
        target=target,
        zig_target=table["zig-target"],
        zig_cpu=table["zig-cpu"],
        debian_arch=table["kernel"]["debian-arch"],
        program=table["qemu"]["program"],
        arguments=tuple(table["qemu"]["args"]),
        console=table["qemu"]["console"],
        append=table["qemu"].get("append", ""),
        disk=table["qemu"]["disk"],
        kernel=_only(package, "boot/vmlinuz-*"),
        dtb=_only(package, f"usr/lib/linux-image-*/{dtb}") if dtb else None,
        modules=_only(package, "lib/modules/*"),
    )
