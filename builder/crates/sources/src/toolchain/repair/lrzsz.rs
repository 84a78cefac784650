//! lrzsz: files over a serial line, where there is nothing else (ZMODEM).

use std::path::Path;

use super::package::{Package, Program};
use crate::{Result, fetch::Pinned};

const VERSION: &str = "0.12.21rc";

/// The package.
pub const PACKAGE: Package = Package {
    name: "lrzsz",
    version: VERSION,
    licence: "GPL-2.0-or-later",
    source: Pinned {
        what: "the source of lrzsz 0.12.21rc",
        name: "lrzsz_0.12.21rc.orig.tar.gz",
        sha256: "4d845f239ddcd86735b5dbf01f3869b072ffb6f6c8aa24c346dc4a3c95453c55",
        variable: "INITRAMFS_OVERLAY_LRZSZ",
        upstream: "https://www.ohse.de/uwe/releases/lrzsz-0.12.21rc.tar.gz",
        debian_source: ("lrzsz", "trixie"),
    },
    unpacked: &["src", "lib", "COPYING"],
    written: &[("config.h", include_str!("lrzsz-config.h"))],
    prepare,
    flags: &[
        "-std=gnu89", "-DHAVE_CONFIG_H", "-DNFGVMIN", "-DLOCALEDIR=\"\"", "-DOS=\"linux\"", "-I.", "-Isrc", "-Ilib",
    ],
    library: &[
        "lib/error.c", "lib/long-options.c", "lib/xstrtol.c", "lib/xstrtoul.c", "src/canit.c", "src/crctab.c",
        "src/lsyslog.c", "src/protname.c", "src/rbsb.c", "src/tcp.c", "src/timing.c", "src/zm.c", "src/zperr.c",
        "src/zreadline.c",
    ],
    programs: &[
        Program { name: "rz", links: &["rx", "rb"], files: &["src/lrz.c"] },
        Program { name: "sz", links: &["sx", "sb"], files: &["src/lsz.c"] },
    ],
};

fn prepare(_source: &Path) -> Result<()> {
    Ok(())
}
