"""Runs a machine and reads its serial console up to a line, a panic, its end or a deadline."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from failure import BenchError

LAST_LINES = 15
#: The nice value that goes before all others.
MOST = -20


@dataclass(frozen=True)
class Line:
    """A line of the console and when the host had read it to its end (its monotonic clock, seconds)."""

    text: str
    arrived: float


def _fail(reason: str, lines: list[Line]) -> BenchError:
    tail = "\n".join(f"    {line.text}" for line in lines[-LAST_LINES:])
    return BenchError(f"{reason}; the console's last lines:\n{tail}")


def _put_before_others() -> None:
    """Gives this process and what it starts nearly all of the processors that it can use, where the user may.

    Another load on the host would be in the stopwatch's figure, and a little of it in guest time too: while the guest
    waits for its disk, guest time goes on as the host's does. The nice value counts among the programs of a session,
    the one of the automatic group (kernel.sched_autogroup_enabled) among the sessions. A real-time class would keep
    QEMU's own threads from each other: the guest's timer came too late for the kernel to find it.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, MOST)
        Path("/proc/self/autogroup").write_text(str(MOST))
    except OSError:
        pass


@contextmanager
def _reading_at_once() -> Iterator[None]:
    """Puts this process into a real-time class for a while, so that a line is stamped when it comes; it waits mostly."""
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass
    try:
        yield
    finally:
        os.sched_setscheduler(0, *usual)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_put_before_others,
    )


def wait_until(command: list[str], is_last: Callable[[str], bool], awaited: str, timeout: float) -> float:
    """Runs the command until `is_last` is true of all that it has said, then ends it; the seconds that took.

    Raises `BenchError` as `boot` does, and calls what did not come `awaited` there.
    """
    said = ""
    start = time.monotonic()
    with _start(command) as process, _reading_at_once():
        assert process.stdout is not None
        try:
            while not is_last(said):
                left = start + timeout - time.monotonic()
                ready = left > 0 and select.select([process.stdout], [], [], left)[0]
                chunk = os.read(process.stdout.fileno(), 65536) if ready else b""
                if not chunk:
                    reason = "the machine ended before" if ready else f"within {timeout:.0f} s came no"
                    raise _fail(f"{reason} {awaited}", [Line(text, 0) for text in said.splitlines()])
                said += chunk.decode("utf-8", "replace")
            return time.monotonic() - start
        finally:
            process.kill()


def boot(command: list[str], end: str, timeout: float) -> list[Line]:
    """Runs the command until a line begins with `end`, then ends it: not every machine can power itself off.

    Raises `BenchError` with the last lines when the kernel panics, the command ends or `timeout` seconds pass first.
    """
    lines: list[Line] = []
    rest = b""
    deadline = time.monotonic() + timeout
    with _start(command) as process, _reading_at_once():
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
