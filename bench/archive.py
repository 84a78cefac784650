"""Initramfs archives: newc written for the contenders that are no product of the builder, and read to compare modules.

The format is the kernel's (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from failure import BenchError

FOLDERS = ("dev", "proc", "run", "sys", "sysroot")
MAGIC = b"070701"
HEADER = 110


@dataclass(frozen=True)
class Entry:
    """One file of an archive."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    """A node's numbers, major and minor."""


def folder(name: str) -> Entry:
    """A directory, mode 0755."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, content: bytes, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(name, stat.S_IFREG | mode, content)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Entry:
    """A node of a character device, mode 0600."""
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def with_parents(entries: list[Entry]) -> list[Entry]:
    """Adds every missing directory in front: the kernel drops a file silently whose parent it has not seen."""
    folders = {name: folder(name) for name in FOLDERS}
    for entry in entries:
        for parent in list(Path(entry.name).parents)[:-1]:
            folders.setdefault(str(parent), folder(str(parent)))
    given = {entry.name for entry in entries}
    return [folders[name] for name in sorted(folders) if name not in given] + entries


def newc(entries: list[Entry]) -> bytes:
    """The archive's bytes: owner root, time 0."""
    out = bytearray()
    for inode, entry in enumerate([*with_parents(entries), Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
        for part in (MAGIC + b"".join(b"%08x" % field for field in fields) + name, entry.content):
            out += part + b"\0" * (-len(part) % 4)
    return bytes(out)


def write(path: Path, entries: list[Entry]) -> None:
    """Writes the archive as gzip -9."""
    path.write_bytes(gzip.compress(newc(entries), 9, mtime=0))


def read(path: Path) -> Iterator[Entry]:
    """The entries of an archive: plain, gzip or xz, one compressed stream."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    elif content[:6] == b"\xfd7zXZ\0":
        content = lzma.decompress(content)
    offset = 0
    while content[offset : offset + 6] == MAGIC:
        fields = [int(content[offset + start : offset + start + 8], 16) for start in range(6, HEADER, 8)]
        mode, size, device, length = fields[1], fields[6], (fields[9], fields[10]), fields[11]
        name = content[offset + HEADER : offset + HEADER + length - 1].decode()
        data = offset + HEADER + length
        data += -data % 4
        if name == "TRAILER!!!":
            return
        yield Entry(name, mode, content[data : data + size], device)
        offset = data + size
        offset += -offset % 4
    raise BenchError(f"{path}: expected a newc archive, plain or compressed by gzip or xz")
