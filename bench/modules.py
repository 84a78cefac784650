"""Kernel modules for the floor and the shell init: which ones, in which order, with or without their signature.

What a module needs is read from its `.modinfo` section, because Debian's packages carry no `modules.dep`.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass
from pathlib import Path

from failure import BenchError

#: What the overlay root needs, by what the disk hangs on, in the order in which it comes to need it: what a user names.
NAMED = {
    "virtio": ("virtio_pci", "virtio_blk", "ext4", "loop", "squashfs", "overlay"),
    "sd": ("ext4", "loop", "squashfs", "overlay"),
}

#: What `depends` does not know: ext4 asks the crypto layer for it by name (`softdep: pre: crypto-crc32c`).
HIDDEN = {"ext4": ("crc32c_generic",)}

#: What the command brings for filesystems with quota, and init loads for those alone: the disk here has none.
ON_DEMAND = {"quota_tree", "quota_v2"}

#: Ends a signed module; before it stands a `struct module_signature` (12 bytes), whose last four are the length of the
#: signature before that, big endian. Linux: include/linux/module_signature.h.
SIGNATURE_END = b"~Module signature appended~\n"
SIGNATURE_HEADER = 12


@dataclass(frozen=True)
class Module:
    """One module file."""

    name: str
    path: str
    """Below `lib/modules/<kernel-version>/`."""
    depends: tuple[str, ...]
    content: bytes


def module_name(file: str) -> str:
    """The kernel's name for a module, from its file's name or a dependency's."""
    return file.partition(".ko")[0].replace("-", "_")


def section(elf: bytes, wanted: str) -> bytes:
    """The bytes of an ELF section, 32 or 64 bit, little endian (all targets are)."""
    if elf[:4] != b"\x7fELF":
        raise BenchError("not an ELF file")
    if elf[4] == 2:
        table, entry, count, names = struct.unpack_from("<40xQ10xHHH", elf)
        layout = "<I4x16xQQ"
    else:
        table, entry, count, names = struct.unpack_from("<32xI10xHHH", elf)
        layout = "<I12xII"
    headers = [struct.unpack_from(layout, elf, table + index * entry) for index in range(count)]
    strings = headers[names][1]
    for name, offset, size in headers:
        end = elf.index(b"\0", strings + name)
        if elf[strings + name : end].decode() == wanted:
            return elf[offset : offset + size]
    raise BenchError(f"no section {wanted}")


def parse_modinfo(content: bytes) -> list[tuple[str, str]]:
    """The `key=value` pairs of a `.modinfo` section."""
    pairs = []
    for field in content.split(b"\0"):
        key, separator, value = field.decode("utf-8", "replace").partition("=")
        if separator:
            pairs.append((key, value))
    return pairs


def read_module(tree: Path, path: Path) -> Module:
    """Reads one module file of a tree `lib/modules/<kernel-version>`."""
    content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    try:
        info = parse_modinfo(section(content, ".modinfo"))
    except (BenchError, struct.error, ValueError, IndexError) as error:
        raise BenchError(f"{path}: expected a kernel module, uncompressed or xz: {error}") from error
    return Module(
        name=module_name(path.name),
        path=str(path.relative_to(tree)).removesuffix(".xz"),
        depends=tuple(module_name(name) for key, value in info if key == "depends" for name in value.split(",") if name),
        content=content,
    )


def closure(tree: Path, named: tuple[str, ...]) -> list[Module]:
    """The named modules and all they depend on, each behind what it needs. What is built in is left out."""
    files = {module_name(path.name): path for path in tree.glob("kernel/**/*.ko*")}
    builtin = {module_name(Path(line).name) for line in (tree / "modules.builtin").read_text().splitlines()}
    ordered: dict[str, Module] = {}

    def visit(name: str, asker: str) -> None:
        if name in ordered or name in builtin:
            return
        if name not in files:
            raise BenchError(f"{tree}: no module {name}, which {asker} needs")
        module = read_module(tree, files[name])
        for dependency in (*HIDDEN.get(name, ()), *module.depends):
            visit(dependency, name)
        ordered[name] = module

    for name in named:
        visit(name, "the overlay root")
    return list(ordered.values())


def cut_signature(content: bytes) -> bytes:
    """A module without the signature at its end."""
    if not content.endswith(SIGNATURE_END):
        return content
    header = len(content) - len(SIGNATURE_END) - SIGNATURE_HEADER
    (length,) = struct.unpack_from(">8xI", content, header)
    return content[: header - length]
