//! util-linux: names and labels of disks, their tree, their tables of partitions. The tarball is that of libblkid, which is compiled here
//! as it is: with every filesystem that it knows.

use std::path::Path;

use super::package::{Package, Program, files, fill_in};
use crate::{Result, toolchain::libblkid};

/// The package.
pub const PACKAGE: Package = Package {
    name: "util-linux",
    version: libblkid::VERSION,
    licence: "GPL-2.0-or-later AND LGPL-2.1-or-later AND BSD-3-Clause",
    source: libblkid::SOURCE,
    unpacked: &[
        "disk-utils", "include", "lib", "libblkid/src", "libfdisk/src", "libmount/src", "libsmartcols/src",
        "libuuid/src", "misc-utils",
    ],
    written: &[
        ("config.h", include_str!("util-linux-config.h")),
        ("libblkid-config.h", include_str!("../libblkid-config.h")),
    ],
    prepare,
    flags: &[
        "-include", "config.h", "-Iinclude", "-Ilibblkid/src", "-Ilibfdisk/src", "-Ilibmount/src",
        "-Ilibsmartcols/src", "-Ilibuuid/src",
    ],
    library: LIBRARY,
    programs: &[
        Program { name: "blkid", links: &[], files: &["misc-utils/blkid.c"] },
        Program {
            name: "lsblk",
            links: &[],
            files: &[
                "misc-utils/lsblk-devtree.c", "misc-utils/lsblk-mnt.c", "misc-utils/lsblk-properties.c",
                "misc-utils/lsblk.c",
            ],
        },
        Program { name: "sfdisk", links: &[], files: &["disk-utils/fdisk-list.c", "disk-utils/sfdisk.c"] },
    ],
};

/// Fills in the versions that configure would.
fn prepare(source: &Path) -> Result<()> {
    let [major, minor, patch] = {
        let mut parts = libblkid::VERSION.split('.');
        [(); 3].map(|()| parts.next().unwrap_or("0"))
    };
    for name in ["blkid", "mount", "fdisk", "smartcols"] {
        let upper = name.to_uppercase();
        let words = [
            (format!("@LIB{upper}_VERSION@"), libblkid::VERSION),
            (format!("@LIB{upper}_DATE@"), libblkid::DATE),
            (format!("@LIB{upper}_MAJOR_VERSION@"), major),
            (format!("@LIB{upper}_MINOR_VERSION@"), minor),
            (format!("@LIB{upper}_PATCH_VERSION@"), patch),
        ];
        let words: Vec<(&str, &str)> = words.iter().map(|(word, with)| (word.as_str(), *with)).collect();
        let directory = format!("lib{name}/src");
        let header = if name == "blkid" { format!("{directory}/blkid.h") } else { format!("{directory}/lib{name}.h") };
        fill_in(source, &format!("{header}.in"), &header, &words)?;
    }
    Ok(())
}

/// The libraries.
const LIBRARY: &[&str] = files! {
    "lib": "blkdev" "buffer" "c_strtod" "canonicalize" "color-names" "colors" "cpuset" "crc32" "crc32c" "crc64" "encode"
        "env" "fileutils" "idcache" "ismounted" "jsonwrt" "linux_version" "loopdev" "mangle" "match" "mbsalign"
        "mbsedit" "md5" "monotonic" "path" "procfs" "pwdutils" "randutils" "sha1" "sha256" "signames" "strutils" "strv"
        "sysfs" "timeutils" "ttyutils" "xxhash";
    "libblkid/src": "cache" "config" "dev" "devname" "devno" "encode" "evaluate" "getsize" "init";
    "libblkid/src/partitions": "aix" "atari" "bsd" "dos" "gpt" "mac" "minix" "partitions" "sgi" "solaris_x86" "sun"
        "ultrix" "unixware";
    "libblkid/src": "probe" "read" "resolve" "save";
    "libblkid/src/superblocks": "adaptec_raid" "apfs" "bcache" "befs" "bfs" "bitlocker" "bluestore" "btrfs" "cramfs"
        "cs_fvault2" "ddf_raid" "drbd" "drbdmanage" "drbdproxy_datalog" "erofs" "exfat" "exfs" "ext" "f2fs" "gfs" "hfs"
        "highpoint_raid" "hpfs" "iso9660" "isw_raid" "jfs" "jmicron_raid" "linux_raid" "lsi_raid" "luks" "lvm" "minix"
        "mpool" "netware" "nilfs" "ntfs" "nvidia_raid" "ocfs" "promise_raid" "refs" "reiserfs" "romfs" "silicon_raid"
        "squashfs" "stratis" "superblocks" "swap" "sysv" "ubi" "ubifs" "udf" "ufs" "vdo" "vfat" "via_raid" "vmfs" "vxfs"
        "xfs" "zfs" "zonefs";
    "libblkid/src": "tag";
    "libblkid/src/topology": "dm" "evms" "ioctl" "lvm" "md" "sysfs" "topology";
    "libblkid/src": "verify" "version";
    "libfdisk/src": "alignment" "ask" "bsd" "context" "dos" "field" "gpt" "init" "item" "iter" "label" "partition"
        "parttype" "script" "sgi" "sun" "table" "utils" "version" "wipe";
    "libmount/src": "cache" "context" "context_mount" "context_umount" "fs" "fs_statmount" "hook_idmap" "hook_loopdev"
        "hook_mkdir" "hook_mount" "hook_mount_legacy" "hook_owner" "hook_selinux" "hook_subdir" "hook_veritydev" "hooks"
        "init" "iter" "lock" "monitor" "optlist" "optmap" "optstr" "tab" "tab_diff" "tab_listmount" "tab_parse"
        "tab_update" "utils" "version";
    "libsmartcols/src": "calculate" "cell" "column" "filter-expr" "filter-param" "filter-parser" "filter-scanner"
        "filter" "grouping" "init" "iter" "line" "print-api" "print" "symbols" "table" "version" "walk";
    "libuuid/src": "clear" "compare" "copy" "gen_uuid" "isnull" "pack" "parse" "predefined" "unpack" "unparse"
        "uuid_time";
};
