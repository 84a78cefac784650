"""Runs a machine and reads its serial console up to a line, a panic, its end or a deadline."""

from __future__ import annotations

import os
import select
import subprocess
import time
from dataclasses import dataclass
from functools import partial

from failure import BenchError

LAST_LINES = 15


@dataclass(frozen=True)
class Line:
    """A line of the console and when the host had read it to its end (its monotonic clock, seconds)."""

    text: str
    arrived: float


def _fail(reason: str, lines: list[Line]) -> BenchError:
    tail = "\n".join(f"    {line.text}" for line in lines[-LAST_LINES:])
    return BenchError(f"{reason}; the console's last lines:\n{tail}")


#: Real-time priorities of the machine and, above it, of this program, whose reading must not come late.
MACHINE, READER = 1, 2


def _run_first(priority: int) -> None:
    """Gives this process and what it starts the processor before all that runs as usual, where the user may.

    Another load on the host would be in the stopwatch's figure, and a little of it in guest time too: while the guest
    waits for its disk, guest time goes on as the host's does. A real-time class and not a nice value, because with
    automatic groups (kernel.sched_autogroup_enabled) a nice value counts only among the programs of one session.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))
    except PermissionError:
        pass


def boot(command: list[str], end: str, timeout: float) -> list[Line]:
    """Runs the command until a line begins with `end`, then ends it: not every machine can power itself off.

    Raises `BenchError` with the last lines when the kernel panics, the command ends or `timeout` seconds pass first.
    """
    lines: list[Line] = []
    rest = b""
    deadline = time.monotonic() + timeout
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    _run_first(READER)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=partial(_run_first, MACHINE),
    ) as process:
        assert process.stdout is not None
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    raise _fail(f"no line {end!r} within {timeout:.0f} s", lines)
                chunk = os.read(process.stdout.fileno(), 65536)
                arrived = time.monotonic()
                if not chunk:
                    raise _fail(f"the machine ended before the line {end!r}", lines)
                *whole, rest = (rest + chunk).split(b"\n")
                for raw in whole:
                    line = Line(raw.decode("utf-8", "replace").rstrip("\r"), arrived)
                    lines.append(line)
                    if line.text.startswith(end):
                        return lines
                    if "Kernel panic - not syncing" in line.text:
                        raise _fail("the kernel panicked", lines)
        finally:
            process.kill()
            os.sched_setscheduler(0, *usual)
