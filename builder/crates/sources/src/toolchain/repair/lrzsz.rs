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
    written: &[("config.h", CONFIG)],
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

/// The answers of configure.
const CONFIG: &str = "\
#define _GNU_SOURCE 1
#define PACKAGE \"lrzsz\"
#define VERSION \"0.12.21rc\"
#define PROTOTYPES 1
#define STRICT_PROTOTYPES 1
#define RETSIGTYPE void
#define STDC_HEADERS 1
#define TIME_WITH_SYS_TIME 1
#define ENABLE_MKDIR 1
#define HAVE_ALLOCA 1
#define HAVE_ALLOCA_H 1
#define HAVE_ERRNO_DECLARATION 1
#define HAVE_MMAP 1
#define HAVE_ST_RDEV 1
#define HAVE_STRUCT_UTIMBUF 1
#define HAVE_TIMEZONE_VAR 1
#define HAVE_GETCWD 1
#define HAVE_GETPAGESIZE 1
#define HAVE_GETTIMEOFDAY 1
#define HAVE_MEMCPY 1
#define HAVE_MKDIR 1
#define HAVE_MKTIME 1
#define HAVE_MUNMAP 1
#define HAVE_PUTENV 1
#define HAVE_SELECT 1
#define HAVE_SETENV 1
#define HAVE_SETLOCALE 1
#define HAVE_SIGINTERRUPT 1
#define HAVE_STPCPY 1
#define HAVE_STRCASECMP 1
#define HAVE_STRCHR 1
#define HAVE_STRDUP 1
#define HAVE_STRERROR 1
#define HAVE_STRFTIME 1
#define HAVE_STRPBRK 1
#define HAVE_STRSTR 1
#define HAVE_STRTOL 1
#define HAVE_STRTOUL 1
#define HAVE_TIMES 1
#define HAVE_UTIME 1
#define HAVE_VASPRINTF 1
#define HAVE_VPRINTF 1
#define HAVE_ARPA_INET_H 1
#define HAVE_FCNTL_H 1
#define HAVE_LIMITS_H 1
#define HAVE_LOCALE_H 1
#define HAVE_MALLOC_H 1
#define HAVE_STRING_H 1
#define HAVE_STRINGS_H 1
#define HAVE_SYS_IOCTL_H 1
#define HAVE_SYS_MMAN_H 1
#define HAVE_SYS_PARAM_H 1
#define HAVE_SYS_SELECT_H 1
#define HAVE_SYS_TIME_H 1
#define HAVE_SYS_TIMES_H 1
#define HAVE_TERMIOS_H 1
#define HAVE_UNISTD_H 1
#define HAVE_UTIME_H 1
";

fn prepare(_source: &Path) -> Result<()> {
    Ok(())
}
