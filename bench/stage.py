"""What one boot's console says: how long the stage took, and whether the root is the one that was asked for.

Pure: lines in, values out. The root's init (`root_init.c`) writes the lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from console import Line
from failure import BenchError

START = "Run /init as init process"
END = "boot-bench: root's init started"
LAST_LINE = "bench-end"

#: Every contender must end in the same place: mount point → filesystem.
MOUNTS = {
    "/": "overlay",
    "/dev": "devtmpfs",
    "/proc": "proc",
    "/sys": "sysfs",
    "/run": "tmpfs",
    "/run/initramfs/img": "ext4",
    "/run/initramfs/image": "squashfs",
    "/run/initramfs/overlay": "ext4",
}


@dataclass(frozen=True)
class Stage:
    """One measured boot."""

    seconds: float
    """From the kernel's `Run /init` to the root's init, both stamped by printk."""
    clock_ratio: float | None
    """Host seconds a guest second, where the boot ticked; `None` under icount."""
    log: tuple[str, ...]
    """The kernel log of the stage, `seconds since its start: text`."""
    report: str
    """/run/initramfs/report.json, empty where the contender writes none."""


def _after(lines: list[Line], mark: str) -> list[tuple[str, float]]:
    return [(line.text.removeprefix(mark), line.arrived) for line in lines if line.text.startswith(mark)]


def _records(lines: list[Line]) -> list[tuple[int, str]]:
    """(microseconds, text) of the log lines, as /dev/kmsg gives them: `level,sequence,microseconds,flags;text`."""
    records = []
    for text, _ in _after(lines, "bench-log: "):
        fields, _, message = text.partition(";")
        records.append((int(fields.split(",")[2]), message))
    return records


def _check_mounts(lines: list[Line]) -> None:
    mounts = {}
    for text, _ in _after(lines, "bench-mount: "):
        _, point, kind, options, *_ = text.split(" ")
        mounts[point] = (kind, options.split(","))
    for point, kind in MOUNTS.items():
        seen = mounts.get(point, ("nothing", []))[0]
        if seen != kind:
            raise BenchError(f"the new root has {seen} at {point}, expected {kind}")
    if [text for text, _ in _after(lines, "bench-writable: ")] != ["yes"]:
        raise BenchError("the new root cannot be written to")


def _clock_ratio(lines: list[Line]) -> float | None:
    ticks = _after(lines, "bench-tick: ")
    if len(ticks) != 2:
        return None
    (first, first_arrived), (second, second_arrived) = ticks
    return (second_arrived - first_arrived) / ((int(second) - int(first)) / 1e9)


def read_stage(lines: list[Line]) -> Stage:
    """Reads one boot's console. Raises `BenchError` when it is not a boot into the overlay root."""
    for text, _ in _after(lines, "bench-error: "):
        raise BenchError(text)
    records = _records(lines)
    starts = [stamp for stamp, text in records if text.startswith(START)]
    ends = [stamp for stamp, text in records if text == END]
    if not starts or not ends:
        raise BenchError(f"the kernel log lacks {START!r} or {END!r}")
    _check_mounts(lines)
    return Stage(
        seconds=(ends[0] - starts[0]) / 1e6,
        clock_ratio=_clock_ratio(lines),
        log=tuple(f"{(stamp - starts[0]) / 1e6:9.6f}: {text}" for stamp, text in records if stamp <= ends[0]),
        report="\n".join(text for text, _ in _after(lines, "bench-report: ")),
    )
