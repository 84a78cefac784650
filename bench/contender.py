"""The contenders: each an initramfs that takes the same kernel and disk to the same root.

The floor and the shell init are put together here, ours by the product's own command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import archive
from disk import Disk
from failure import BenchError, run
from machine import Machine, Target
from modules import ON_DEMAND, Module, cut_signature, module_name
from product import Product

FLOOR, FLOOR_UNSIGNED, SHELL, OURS, OURS_STRIPPED = NAMES = ("floor", "floor-unsigned", "shell", "ours", "ours-stripped")

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


def compile_c(zig: Path, target: Target, source: str, out: Path, defines: dict[str, str]) -> None:
    """Compiles one file of this folder as a static program of the target's processor."""
    options = ["-static", "-fno-pie", "-no-pie", "-Os", "-s", "-Wall", "-Wextra", "-Werror"]
    macros = [f"-D{name}={value}" for name, value in defines.items()]
    processor = ["-target", target.zig_target, f"-mcpu={target.zig_cpu}"]
    run([str(zig), "cc", *processor, *options, *macros, "-o", str(out), str(HERE / source)])


def make_floor(
    zig: Path, machine: Machine, disk: Disk, modules: list[Module], folder: Path, name: str
) -> Contender:
    """The floor with these modules, compiled into its list in this order."""
    program = folder / f"{name}.elf"
    defines = {
        "MODULES": ",".join(f'"/modules/{module.name}.ko"' for module in modules),
        "IMG_DEVICE": f'"{machine.target.partition(disk.partitions["img"])}"',
        "OVERLAY_DEVICE": f'"{machine.target.partition(disk.partitions["overlay"])}"',
    }
    compile_c(zig, machine.target, "floor.c", program, defines)
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


def is_program(given: Path) -> bool:
    """Whether a file is an init, and no artifact."""
    try:
        with given.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError as error:
        raise BenchError(f"{given}: {error.strerror}; expected an init or an artifact with modules") from error


def make_ours(
    product: Product, machine: Machine, modules: list[Module], given: Path | None, folder: Path, name: str
) -> Contender:
    """Ours: built from the source tree, or with a given init, or a given artifact as it is."""
    stripped = name == OURS_STRIPPED
    if given and not is_program(given):
        image = given
    else:
        out = folder / name
        out.mkdir(exist_ok=True)
        image = product.build(machine, out, given, stripped)
    _check_modules(image, modules)
    return Contender(name, image)


def _check_modules(image: Path, modules: list[Module]) -> None:
    """A figure counts only with the same modules: one more or less is most of any difference."""
    wanted = {module.name for module in modules}
    seen = {module_name(Path(entry.name).name) for entry in archive.read(image) if ".ko" in Path(entry.name).name}
    if seen - ON_DEMAND != wanted:
        surplus, missing = ", ".join(sorted(seen - wanted - ON_DEMAND)) or "none", ", ".join(sorted(wanted - seen)) or "none"
        raise BenchError(f"{image}: other modules than the floor's: more: {surplus}; missing: {missing}")


def without_signatures(modules: list[Module]) -> list[Module]:
    """The same modules, the signature cut off."""
    return [
        Module(module.name, module.path, module.depends, cut_signature(module.content)) for module in modules
    ]
