"""The disk that every contender boots from: the product's own, in the state that a former boot leaves it in."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from failure import BenchError, run
from product import Product

#: Small, so that each boot can have a copy; a power of two, because QEMU wants that of an SD card.
SIZES = ("--disk-size", "128M", "--size", "boot=16M,img=40M,newimg=24M,overlay=40M")

#: What init finds in `overlay` from the second boot on, `persistent` being empty.
USED_OVERLAY = """\
mkdir upper
mkdir persistent
mkdir work
mkdir work/work
set_inode_field work mode 040700
set_inode_field work/work mode 040000
"""


@dataclass(frozen=True)
class Disk:
    """A disk's file and its partitions' numbers by label."""

    path: Path
    partitions: dict[str, int]


def make_disk(product: Product, path: Path, root_init: Path) -> Disk:
    """Makes the disk with `initramfs-overlay disk`: `boot`, `img`, `newimg` and `overlay`, `root_init` in the image."""
    root = path.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("dev", "etc", "proc", "run", "sbin", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(root_init, root / "sbin/init")
    os.chmod(root / "sbin/init", 0o755)
    (root / "etc/os-release").write_text('NAME="boot bench"\nID=bench\n')
    made = product.run("disk", path, "--root", root, "--root-owned", "--table", "mbr", *SIZES, "--force", "--json")
    shutil.rmtree(root)
    partitions = {one["label"]: one for one in json.loads(made.output)["partitions"]}

    script = path.with_suffix(".debugfs")
    script.write_text(USED_OVERLAY)
    done = run(["debugfs", "-w", "-f", str(script), f"{path}?offset={partitions['overlay']['offset']}"])
    # debugfs exits with 0 whatever happens; all it says on standard error when nothing does is its version.
    if len(done.errors.splitlines()) > 1:
        raise BenchError(f"{path}: debugfs: {done.errors}")
    return Disk(path, {label: one["number"] for label, one in partitions.items()})
