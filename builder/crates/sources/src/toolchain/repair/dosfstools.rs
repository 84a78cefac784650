//! dosfstools: FAT is what `boot`, sticks and SD cards have.

use std::path::Path;

use super::package::{Package, Program, fill_in};
use crate::{Result, fetch::Pinned};

const VERSION: &str = "4.2";
const DATE: &str = "2021-01-31";

/// The package.
pub const PACKAGE: Package = Package {
    name: "dosfstools",
    version: VERSION,
    licence: "GPL-3.0-or-later",
    source: Pinned {
        what: "the source of dosfstools 4.2",
        name: "dosfstools_4.2.orig.tar.gz",
        sha256: "64926eebf90092dca21b14259a5301b7b98e7b1943e8a201c7d726084809b527",
        variable: "INITRAMFS_OVERLAY_DOSFSTOOLS",
        upstream: "https://github.com/dosfstools/dosfstools/releases/download/v4.2/dosfstools-4.2.tar.gz",
        debian_source: ("dosfstools", "trixie"),
    },
    unpacked: &["src", "COPYING"],
    written: &[("src/config.h", include_str!("dosfstools-config.h"))],
    prepare,
    flags: &["-include", "src/config.h", "-Isrc", "-Isrc/blkdev"],
    library: &["src/boot.c", "src/charconv.c", "src/common.c", "src/fat.c", "src/io.c"],
    programs: &[
        Program {
            name: "fsck.fat",
            links: &["fsck.vfat", "fsck.msdos", "dosfsck"],
            files: &["src/check.c", "src/file.c", "src/fsck.fat.c", "src/lfn.c"],
        },
        Program { name: "fatlabel", links: &["dosfslabel"], files: &["src/fatlabel.c"] },
        Program {
            name: "mkfs.fat",
            links: &["mkfs.vfat", "mkfs.msdos", "mkdosfs"],
            files: &["src/mkfs.fat.c", "src/device_info.c", "src/blkdev/blkdev.c", "src/blkdev/linux_version.c"],
        },
    ],
};

fn prepare(source: &Path) -> Result<()> {
    fill_in(source, "src/version.h.in", "src/version.h", &[("@PACKAGE_VERSION@", VERSION), ("@RELEASE_DATE@", DATE)])
}
