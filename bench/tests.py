"""Tables for the pure parts of the bench: `python3 -m unittest discover -s bench -p tests.py`."""

from __future__ import annotations

import gzip
import stat
import struct
import tempfile
import unittest
from pathlib import Path

import archive
import modules
import stage
import table
from console import Line
from failure import BenchError
from machine import Clock


def console(*texts: str) -> list[Line]:
    return [Line(text, number / 10) for number, text in enumerate(texts)]


RUN_INIT = "bench-log: 6,10,1000000,-;Run /init as init process"
STARTED = "bench-log: 14,11,1250000,-;boot-bench: root's init started"
MOUNTS = [f"bench-mount: some {point} {kind} rw,relatime 0 0" for point, kind in stage.MOUNTS.items()]


class StageTest(unittest.TestCase):
    def test_the_two_stamps_are_subtracted(self) -> None:
        lines = console("noise", RUN_INIT, STARTED, *MOUNTS, "bench-writable: yes")
        seen = stage.read_stage(lines)
        self.assertEqual(seen.seconds, 0.25)
        self.assertIsNone(seen.clock_ratio)
        self.assertEqual(seen.log[0], " 0.000000: Run /init as init process")

    def test_ticks_compare_the_clocks(self) -> None:
        ticks = ["bench-tick: 5000000000", "bench-tick: 5200000000"]
        lines = console(*ticks, RUN_INIT, STARTED, *MOUNTS, "bench-writable: yes")
        ratio = stage.read_stage(lines).clock_ratio
        assert ratio is not None
        self.assertAlmostEqual(ratio, 0.5)

    def test_another_root_is_no_result(self) -> None:
        for dropped in MOUNTS:
            kept = [line for line in MOUNTS if line != dropped]
            with self.assertRaisesRegex(BenchError, "the new root has nothing at /"):
                stage.read_stage(console(RUN_INIT, STARTED, *kept, "bench-writable: yes"))
        with self.assertRaisesRegex(BenchError, "cannot be written to"):
            stage.read_stage(console(RUN_INIT, STARTED, *MOUNTS, "bench-writable: no"))

    def test_a_missing_stamp_is_no_result(self) -> None:
        for only in (RUN_INIT, STARTED):
            with self.assertRaisesRegex(BenchError, "the kernel log lacks"):
                stage.read_stage(console(only, *MOUNTS, "bench-writable: yes"))


class TableTest(unittest.TestCase):
    ROWS = [
        table.Row("x86_64", Clock.ICOUNT, "floor", (1.0, 3.0, 2.0), 2048),
        table.Row("x86_64", Clock.ICOUNT, "ours", (2.2, 2.4, 2.3), 4096),
        table.Row("x86_64", Clock.ICOUNT, "ours-stripped", (1.2,), 1024),
        table.Row("i686", Clock.ICOUNT, "ours", (2.0,), 1024),
    ]

    def test_ratios_are_of_medians_on_the_same_machine(self) -> None:
        ratios = [table.ratio(row, self.ROWS) for row in self.ROWS]
        self.assertEqual(ratios, [1.0, 1.15, 0.6, None])

    def test_bars_stand_beside(self) -> None:
        text = table.as_text(self.ROWS)
        self.assertIn("1.150  <= 1.15 met", text)
        self.assertIn("0.600  <= 0.5 MISSED", text)
        self.assertEqual([row["bar"] for row in table.as_json(self.ROWS)], [None, 1.15, 0.5, 1.15])


class ModulesTest(unittest.TestCase):
    def test_a_signature_is_cut(self) -> None:
        signature = b"s" * 300
        signed = b"code" + signature + struct.pack(">8xI", len(signature)) + modules.SIGNATURE_END
        self.assertEqual(modules.cut_signature(signed), b"code")
        self.assertEqual(modules.cut_signature(b"code"), b"code")

    def test_modinfo_is_pairs(self) -> None:
        pairs = modules.parse_modinfo(b"license=GPL\0softdep=pre: a b\0\0depends=\0")
        self.assertEqual(pairs, [("license", "GPL"), ("softdep", "pre: a b"), ("depends", "")])

    def test_a_section_is_found_in_both_word_sizes(self) -> None:
        names = b"\0.modinfo\0.shstrtab\0"
        for wide, layout, start in ((True, "<II16xQQ24x", 64), (False, "<II8xII16x", 52)):
            content = b"depends=x\0"
            table_at = start + len(content) + len(names)
            header = bytearray(start)
            header[:5] = b"\x7fELF" + bytes([2 if wide else 1])
            entry = struct.calcsize(layout)
            struct.pack_into("<40xQ10xHHH" if wide else "<32xI10xHHH", header, 0, table_at, entry, 3, 2)
            header[:5] = b"\x7fELF" + bytes([2 if wide else 1])
            headers = struct.pack(layout, 0, 0, 0, 0)
            headers += struct.pack(layout, 1, 1, start, len(content))
            headers += struct.pack(layout, 10, 3, start + len(content), len(names))
            elf = bytes(header) + content + names + headers
            self.assertEqual(modules.section(elf, ".modinfo"), content)
            with self.assertRaisesRegex(BenchError, "no section .text"):
                modules.section(elf, ".text")

    def test_names_are_the_kernels(self) -> None:
        for file in ("crc32c_generic.ko", "crc32c-generic.ko.xz", "crc32c-generic"):
            self.assertEqual(modules.module_name(file), "crc32c_generic")


class ArchiveTest(unittest.TestCase):
    def test_parents_stand_before_what_is_in_them(self) -> None:
        names = [entry.name for entry in archive.with_parents([archive.file("lib/modules/x.ko", b"")])]
        self.assertEqual(names, ["dev", "lib", "lib/modules", "proc", "run", "sys", "sysroot", "lib/modules/x.ko"])

    def test_what_is_written_is_read_back(self) -> None:
        entries = [archive.file("init", b"program", 0o755), archive.link("bin/sh", "busybox"), archive.file("odd", b"abc")]
        entries.append(archive.character_device("dev/console", 5, 1))
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "image.gz"
            archive.write(path, entries)
            seen = list(archive.read(path))
            self.assertEqual(seen, archive.with_parents(entries))
            self.assertTrue(any(stat.S_ISLNK(entry.mode) for entry in seen))
            path.write_bytes(gzip.compress(b"no archive"))
            with self.assertRaisesRegex(BenchError, "expected a newc archive"):
                list(archive.read(path))


if __name__ == "__main__":
    unittest.main()
