"""The machines that are measured: which kernel, which QEMU, which clock.

A target is what `targets/<name>.toml` says; with a kernel package unpacked in a folder it is a machine. This room turns
both into a command line for QEMU; it starts nothing.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from failure import BenchError

REPOSITORY = Path(__file__).resolve().parent.parent
TARGETS = tuple(sorted((path.stem for path in (REPOSITORY / "targets").glob("*.toml")), reverse=True))


class Clock(StrEnum):
    """How time is measured, and so how QEMU is started."""

    ICOUNT = "icount"
    """One guest instruction is one nanosecond. Knows no caches, no other load on the host; repeats within 1 %."""

    STOPWATCH = "stopwatch"
    """The host's time under plain TCG, one CPU."""

    SMP2 = "smp2"
    """The host's time with two CPUs, each on a thread of its own."""


@dataclass(frozen=True)
class Target:
    """The part of `targets/<name>.toml` that the bench needs."""

    name: str
    zig_target: str
    zig_cpu: str
    program: str
    arguments: tuple[str, ...]
    console: str
    append: str
    disk: str
    """What the disk hangs on: `virtio` or `sd`."""
    dtb: str | None

    @property
    def has_two_cpus(self) -> bool:
        """Whether QEMU can give it a second CPU. The machine with the SD card is a board with one core."""
        return self.disk == "virtio"

    def partition(self, number: int) -> str:
        """The device node of a partition of the only disk."""
        return f"/dev/vda{number}" if self.disk == "virtio" else f"/dev/mmcblk0p{number}"


@dataclass(frozen=True)
class Machine:
    """A target with its kernel."""

    target: Target
    kernel: Path
    dtb: Path | None
    modules: Path
    """`lib/modules/<kernel-version>` of the unpacked package."""

    @property
    def version(self) -> str:
        """The kernel's version, as `uname -r` says it."""
        return self.modules.name

    def command_line(self, clock: Clock) -> str:
        """The kernel's command line, the same for every contender.

        `quiet` keeps the serial console's cost out of the stage; `initramfs_async=0` makes the kernel finish unpacking
        before it runs /init, so that unpacking is not part of the stage either.
        """
        words = [f"console={self.target.console}", "quiet", "initramfs_async=0", "panic=-1", self.target.append]
        if clock is not Clock.ICOUNT:
            words.append("bench.ticks")
        return " ".join(word for word in words if word)

    def qemu(self, clock: Clock, initramfs: Path, disk: Path) -> list[str]:
        """The command that boots an initramfs with a disk, the serial console on standard output."""
        arguments = list(self.target.arguments)
        if "-icount" in arguments:
            place = arguments.index("-icount")
            del arguments[place : place + 2]
        if clock is Clock.ICOUNT:
            arguments += ["-icount", "shift=0"]
        elif clock is Clock.SMP2:
            arguments = ["tcg,thread=multi" if word == "tcg" else word for word in arguments] + ["-smp", "2"]
        arguments += ["-dtb", str(self.dtb)] if self.dtb else []
        arguments += ["-serial", "stdio", "-monitor", "none", "-nic", "none"]
        arguments += ["-kernel", str(self.kernel), "-initrd", str(initramfs)]
        arguments += ["-drive", f"file={disk},format=raw,if={self.target.disk},cache=unsafe"]
        return [self.target.program, *arguments, "-append", self.command_line(clock)]


def read_target(name: str) -> Target:
    """Reads `targets/<name>.toml`."""
    with (REPOSITORY / "targets" / f"{name}.toml").open("rb") as file:
        table = tomllib.load(file)
    qemu = table["qemu"]
    return Target(
        name=name,
        zig_target=table["zig-target"],
        # The programs of the measurement begin with a few instructions that Thumb has not.
        zig_cpu=table["zig-cpu"].replace("+thumb_mode", ""),
        program=qemu["program"],
        arguments=tuple(qemu["args"]),
        console=qemu["console"],
        append=qemu.get("append", ""),
        disk=qemu["disk"],
        dtb=table["kernel"].get("dtb"),
    )


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise BenchError(f"{folder}: {len(found)} files {pattern}; expected one, as in an unpacked kernel package")
    return found[0]


def find_kernel(target: Target, package: Path) -> Machine:
    """The machine with the kernel package that is unpacked in a folder."""
    return Machine(
        target=target,
        kernel=_only(package, "boot/vmlinu[xz]-*"),
        dtb=_only(package, f"usr/lib/linux-image-*/{target.dtb}") if target.dtb else None,
        modules=_only(package if (package / "lib").exists() else package / "usr", "lib/modules/*"),
    )
