"""The contenders: each an initramfs that takes the same kernel and disk to the same root.

The floor and the shell init are built here. Ours is given: an artifact of `initramfs-overlay build` that holds its
modules, or a bare init (or an artifact without modules), which gets the floor's modules and the index it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import archive
from disk import Disk
from failure import BenchError, run
from machine import Machine
from modules import Module, cut_signature

#: What shell-init calls.
APPLETS = ("[", "findfs", "insmod", "mkdir", "mount", "poweroff", "rm", "sh", "switch_root", "umount")

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contender:
    """One initramfs to measure."""

    name: str
    """As the table has it."""
    initramfs: Path

    @property
    def size(self) -> int:
        """Bytes of the file that is booted."""
        return self.initramfs.stat().st_size


def compile_c(zig: list[str], machine: Machine, source: str, out: Path, defines: dict[str, str]) -> None:
    """Compiles one file of this folder as a static program of the machine's processor."""
    options = ["-static", "-fno-pie", "-no-pie", "-Os", "-s", "-Wall", "-Wextra", "-Werror"]
    macros = [f"-D{name}={value}" for name, value in defines.items()]
    target = ["-target", machine.zig_target, f"-mcpu={machine.zig_cpu}"]
    run([*zig, "cc", *target, *options, *macros, "-o", str(out), str(HERE / source)])


def make_floor(
    zig: list[str], machine: Machine, disk: Disk, modules: list[Module], folder: Path, name: str
) -> Contender:
    """The floor with these modules, compiled into its list in this order."""
    program = folder / f"{name}.elf"
    defines = {
        "MODULES": ",".join(f'"/modules/{module.name}.ko"' for module in modules),
        "IMG_DEVICE": f'"{machine.partition(disk.partitions["img"])}"',
        "OVERLAY_DEVICE": f'"{machine.partition(disk.partitions["overlay"])}"',
    }
    compile_c(zig, machine, "floor.c", program, defines)
    image = folder / f"{name}.gz"
    entries = [archive.file(f"modules/{module.name}.ko", module.content) for module in modules]
    archive.write(image, [*entries, archive.file("init", program.read_bytes(), 0o755)])
    return Contender(name, image)


def make_shell(machine: Machine, modules: list[Module], busybox: Path, folder: Path, name: str) -> Contender:
    """The shell init with a static BusyBox and these modules."""
    paths = [f"/lib/modules/{machine.version}/{module.path}" for module in modules]
    entries = [archive.file(path[1:], module.content) for path, module in zip(paths, modules)]
    image = folder / f"{name}.gz"
    archive.write(
        image,
        [
            *entries,
            archive.file("modules", "".join(f"{path}\n" for path in paths).encode()),
            archive.file("bin/busybox", busybox.read_bytes(), 0o755),
            *(archive.link(f"bin/{applet}", "busybox") for applet in APPLETS),
            archive.file("init", (HERE / "shell-init").read_bytes(), 0o755),
        ],
    )
    return Contender(name, image)


def module_index(modules: list[Module]) -> str:
    """The index that init reads beside its modules (init/src/modules/index.rs), for a bare init under trial."""
    names = {module.name for module in modules}
    lines = []
    for module in modules:
        # ext4 asks for a crypto algorithm by alias; what serves it here is the generic implementation.
        served = [name.replace("crypto-", "") + "_generic" for name in module.softdeps]
        needs = [name for name in (*module.depends, *served) if name in names]
        fields = [module.name, module.path]
        if needs:
            fields.append("needs=" + ",".join(needs))
        fields += [f"alias={alias}" for alias in module.aliases]
        lines.append(" ".join(fields))
    return "".join(f"{line}\n" for line in lines)


def make_ours(machine: Machine, modules: list[Module], given: Path, folder: Path, name: str) -> Contender:
    """Ours: an artifact with modules is taken as it is; a bare init, or an artifact without, gets `modules`."""
    if not given.is_file():
        raise BenchError(f"{given}: expected an initramfs or an init")
    if given.read_bytes()[:4] == b"\x7fELF":
        entries = [archive.file("init", given.read_bytes(), 0o755)]
    else:
        entries = list(archive.read(given))
        if any(entry.name.removeprefix("./").endswith((".ko", ".ko.gz", ".ko.xz", ".ko.zst")) for entry in entries):
            return Contender(name, given)
    tree = f"lib/modules/{machine.version}"
    files = [archive.file(f"{tree}/{module.path}", module.content) for module in modules]
    index = archive.file(f"{tree}/initramfs.modules", module_index(modules).encode())
    image = folder / f"{name}.gz"
    archive.write(image, [*entries, *files, index])
    return Contender(name, image)


def without_signatures(modules: list[Module]) -> list[Module]:
    """The same modules, the signature cut off."""
    return [
        Module(module.name, module.path, module.depends, module.softdeps, module.aliases, cut_signature(module.content))
        for module in modules
    ]
