//! e2fsprogs: check, tuning and making of ext4, with the libraries of its own that these programs call.

use std::{fmt::Write, fs, path::Path};

use base::IoContext;

use super::{
    error_table,
    package::{Package, Program, files, fill_in},
};
use crate::{Error, Result, fetch::Pinned};

const VERSION: &str = "1.47.2";

/// The package.
pub const PACKAGE: Package = Package {
    name: "e2fsprogs",
    version: VERSION,
    licence: "GPL-2.0-only AND LGPL-2.0-only AND BSD-3-Clause AND MIT",
    source: Pinned {
        what: "the source of e2fsprogs 1.47.2",
        name: "e2fsprogs_1.47.2.orig.tar.gz",
        sha256: "6dcd67ff9d8b13274ba3f088e4318be4f5b71412cd863524423fc49d39a6371f",
        variable: "INITRAMFS_OVERLAY_E2FSPROGS",
        upstream: "https://www.kernel.org/pub/linux/kernel/people/tytso/e2fsprogs/v1.47.2/e2fsprogs-1.47.2.tar.gz",
        debian_source: ("e2fsprogs", "trixie"),
    },
    unpacked: &["debugfs", "e2fsck", "lib", "misc", "version.h", "NOTICE"],
    written: &[("lib/config.h", include_str!("e2fsprogs-config.h")), ("lib/dirpaths.h", PATHS)],
    prepare,
    flags: &["-DHAVE_CONFIG_H", "-DCRC_LE_BITS=8", "-DCRC_BE_BITS=1", "-I.", "-Ilib", "-Ie2fsck", "-Imisc"],
    library: LIBRARY,
    programs: &[
        Program { name: "e2fsck", links: &["fsck.ext2", "fsck.ext3", "fsck.ext4"], files: E2FSCK },
        Program {
            name: "tune2fs",
            links: &["e2label"],
            files: &[
                "misc/tune2fs.c", "misc/util.c", "debugfs/journal.c -DDEBUGFS", "e2fsck/recovery.c -DDEBUGFS",
                "e2fsck/revoke.c -DDEBUGFS",
            ],
        },
        Program {
            name: "mke2fs",
            links: &["mkfs.ext2", "mkfs.ext3", "mkfs.ext4"],
            files: &[
                "misc/mke2fs.c", "misc/util.c", "misc/default_profile.c", "misc/mk_hugefiles.c", "misc/create_inode.c",
                "misc/create_inode_libarchive.c",
            ],
        },
    ],
};

const PATHS: &str = "#define LOCALEDIR \"/usr/share/locale\"\n#define ROOT_SYSCONFDIR \"/etc\"\n";

const E2FSCK: &[&str] = files! {
    "e2fsck": "badblocks" "dirinfo" "dx_dirinfo" "e2fsck" "ea_refcount" "ehandler" "encrypted_files" "extents" "journal"
        "logfile" "message" "pass1" "pass1b" "pass2" "pass3" "pass4" "pass5" "problem" "quota" "readahead" "recovery"
        "region" "rehash" "revoke" "sigcatcher" "super" "unix" "util";
};

/// The libraries: of ext4 itself, of messages, UUIDs, the kinds of filesystems, settings and quotas.
const LIBRARY: &[&str] = files! {
    "lib/blkid": "cache" "dev" "devname" "devno" "getsize" "llseek" "probe" "read" "resolve" "save" "tag" "version";
    "lib/e2p": "crypto_mode" "encoding" "errcode" "feature" "fgetflags" "fgetproject" "fgetversion" "fsetflags"
        "fsetproject" "fsetversion" "getflags" "getversion" "hashstr" "iod" "ljs" "ls" "mntopts" "ostype" "parse_num"
        "pe" "percent" "pf" "ps" "setflags" "setversion" "uuid";
    "lib/et": "com_err" "com_right" "error_message" "et_name" "init_et";
    "lib/ext2fs": "alloc" "alloc_sb" "alloc_stats" "alloc_tables" "atexit" "badblocks" "bb_inode" "bitmaps" "bitops"
        "blkmap64_ba" "blkmap64_rb" "blknum" "block" "bmap" "check_desc" "closefs" "crc16" "crc32c" "csum" "dblist"
        "dblist_dir" "dir_iterate" "dirblock" "dirhash" "expanddir" "ext2_err" "ext_attr" "extent" "fallocate" "fileio"
        "finddev" "flushb" "freefs" "gen_bitmap" "gen_bitmap64" "get_num_dirs" "get_pathname" "getenv" "getsectsize"
        "getsize" "hashmap" "i_block" "icount" "ind_block" "initialize" "inline" "inline_data" "inode" "io_manager"
        "ismounted" "link" "llseek" "lookup" "mkdir" "mkjournal" "mmp" "namei" "native" "newdir" "nls_utf8" "openfs"
        "orphan" "progress" "punch" "qcow2" "rbtree" "read_bb" "read_bb_file" "res_gdt" "rw_bitmaps" "sha512"
        "sparse_io" "swapfs" "symlink" "undo_io" "unix_io" "unlink" "valid_blk" "version";
    "lib/support": "cstring" "devname" "dict" "mkquota" "parse_qtype" "plausible" "print_fs_flags" "prof_err" "profile"
        "profile_helpers" "quotaio" "quotaio_tree" "quotaio_v2";
    "lib/uuid": "clear" "compare" "copy" "gen_uuid" "isnull" "pack" "parse" "unpack" "unparse" "uuid_time";
};

/// Writes what e2fsprogs' own build generates: headers, tables of errors, the profile of mke2fs, the table of a checksum.
fn prepare(source: &Path) -> Result<()> {
    let types = [
        ("@ASM_TYPES_HEADER@", "#include <asm/types.h>"),
        ("@PUBLIC_CONFIG_HEADER@", ""),
        ("@SIZEOF_SHORT@", "__SIZEOF_SHORT__"),
        ("@SIZEOF_INT@", "__SIZEOF_INT__"),
        ("@SIZEOF_LONG@", "__SIZEOF_LONG__"),
        ("@SIZEOF_LONG_LONG@", "__SIZEOF_LONG_LONG__"),
    ];
    for header in ["lib/ext2fs/ext2_types.h", "lib/blkid/blkid_types.h", "lib/uuid/uuid_types.h"] {
        fill_in(source, &format!("{header}.in"), header, &types)?;
    }
    for header in ["lib/blkid/blkid.h", "lib/uuid/uuid.h"] {
        fill_in(source, &format!("{header}.in"), header, &[])?;
    }
    fill_in(source, "lib/ext2fs/ext2_err.et.in", "lib/ext2fs/ext2_err.et", &[("@E2FSPROGS_VERSION@", VERSION)])?;
    for name in ["lib/ext2fs/ext2_err", "lib/support/prof_err"] {
        let [table, c, h] = ["et", "c", "h"].map(|suffix| source.join(format!("{name}.{suffix}")));
        error_table::compile(&table, &c, &h)?;
    }
    let path = source.join("misc/mke2fs.conf.in");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let profile = profile(&text).ok_or_else(|| Error::WrongFile {
        path: path.clone(),
        reason: "its features are not those that are known".to_owned(),
    })?;
    let path = source.join("misc/default_profile.c");
    fs::write(&path, profile).at("write", path)?;
    let path = source.join("lib/ext2fs/crc32c_table.h");
    fs::write(&path, crc_table()).at("write", path)?;
    Ok(())
}

/// Features that are new filesystems' by default and that kernels before 5.15 refuse to write to: a partition that is made again is
/// for the kernel that the machine has.
const NEW_FEATURES: [&str; 2] = [",metadata_csum_seed", ",orphan_file"];

/// Returns the profile as C.
fn profile(text: &str) -> Option<String> {
    let mut text = text.to_owned();
    for feature in NEW_FEATURES {
        text.contains(feature).then(|| text = text.replace(feature, ""))?;
    }
    let mut code = String::from("const char *mke2fs_default_profile =\n");
    for line in text.lines() {
        let _ = writeln!(code, "\t\"{}\\n\"", line.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t"));
    }
    code.push_str(";\n");
    Some(code)
}

/// Returns the table of CRC-32C (RFC 3720, appendix B.4), a byte at a time. That of the other byte order is not asked for.
fn crc_table() -> String {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut text = String::from("#define crc32table_be 0\nstatic const uint32_t crc32ctable_le[1][256] = {{\n");
    for byte in 0..256_u32 {
        let step = |rest: u32, _| (rest >> 1) ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
        let _ = writeln!(text, "\t{:#010x},", (0..8).fold(byte, step));
    }
    text.push_str("}};\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c() {
        let table = crc_table();
        let numbers: Vec<u32> = table
            .lines()
            .filter_map(|line| u32::from_str_radix(line.strip_prefix("\t0x")?.strip_suffix(',')?, 16).ok())
            .collect();
        assert_eq!(numbers.len(), 256);
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        let crc = (0..32).fold(!0_u32, |crc, _| (crc >> 8) ^ numbers[(crc & 255) as usize]);
        assert_eq!((!crc).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
    }

    #[test]
    fn new_filesystems_are_for_older_kernels_too() {
        let code = profile("[fs_types]\n\text4 = {\n\t\tfeatures = extent,metadata_csum_seed,64bit,orphan_file\n\t}\n")
            .unwrap();
        assert!(code.contains("\t\"\\t\\tfeatures = extent,64bit\\n\"\n"), "{code}");
        assert_eq!(profile("nothing"), None);
    }
}
