"""What ends the measurement: the one error of the bench, and the tools that may give it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass


class BenchError(Exception):
    """Something that ends the measurement. Its text is all the user sees: what, where, what was expected."""


@dataclass(frozen=True)
class Done:
    """What a tool that succeeded said."""

    output: str
    errors: str


def run(command: list[str], **environment: str) -> Done:
    """Runs a tool to its end, `environment` added to its own; when it fails, what it said is in the error."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
    except OSError as error:
        raise BenchError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return Done(done.stdout, done.stderr)
