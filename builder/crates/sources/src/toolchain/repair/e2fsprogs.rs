//! e2fsprogs: check, tuning and making of ext4, with the libraries of its own that these programs call.

use std::{fmt::Write, fs, path::Path};

use base::IoContext;

use super::{
    error_table,
    package::{Package, Program, fill_in},
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

const E2FSCK: &[&str] = &[
    "e2fsck/badblocks.c", "e2fsck/dirinfo.c", "e2fsck/dx_dirinfo.c", "e2fsck/e2fsck.c", "e2fsck/ea_refcount.c",
    "e2fsck/ehandler.c", "e2fsck/encrypted_files.c", "e2fsck/extents.c", "e2fsck/journal.c", "e2fsck/logfile.c",
    "e2fsck/message.c", "e2fsck/pass1.c", "e2fsck/pass1b.c", "e2fsck/pass2.c", "e2fsck/pass3.c", "e2fsck/pass4.c",
    "e2fsck/pass5.c", "e2fsck/problem.c", "e2fsck/quota.c", "e2fsck/readahead.c", "e2fsck/recovery.c",
    "e2fsck/region.c", "e2fsck/rehash.c", "e2fsck/revoke.c", "e2fsck/sigcatcher.c", "e2fsck/super.c", "e2fsck/unix.c",
    "e2fsck/util.c",
];

/// The libraries: of ext4 itself, of messages, UUIDs, the kinds of filesystems, settings and quotas.
const LIBRARY: &[&str] = &[
    "lib/blkid/cache.c", "lib/blkid/dev.c", "lib/blkid/devname.c", "lib/blkid/devno.c", "lib/blkid/getsize.c",
    "lib/blkid/llseek.c", "lib/blkid/probe.c", "lib/blkid/read.c", "lib/blkid/resolve.c", "lib/blkid/save.c",
    "lib/blkid/tag.c", "lib/blkid/version.c", "lib/e2p/crypto_mode.c", "lib/e2p/encoding.c", "lib/e2p/errcode.c",
    "lib/e2p/feature.c", "lib/e2p/fgetflags.c", "lib/e2p/fgetproject.c", "lib/e2p/fgetversion.c",
    "lib/e2p/fsetflags.c", "lib/e2p/fsetproject.c", "lib/e2p/fsetversion.c", "lib/e2p/getflags.c",
    "lib/e2p/getversion.c", "lib/e2p/hashstr.c", "lib/e2p/iod.c", "lib/e2p/ljs.c", "lib/e2p/ls.c", "lib/e2p/mntopts.c",
    "lib/e2p/ostype.c", "lib/e2p/parse_num.c", "lib/e2p/pe.c", "lib/e2p/percent.c", "lib/e2p/pf.c", "lib/e2p/ps.c",
    "lib/e2p/setflags.c", "lib/e2p/setversion.c", "lib/e2p/uuid.c", "lib/et/com_err.c", "lib/et/com_right.c",
    "lib/et/error_message.c", "lib/et/et_name.c", "lib/et/init_et.c", "lib/ext2fs/alloc.c", "lib/ext2fs/alloc_sb.c",
    "lib/ext2fs/alloc_stats.c", "lib/ext2fs/alloc_tables.c", "lib/ext2fs/atexit.c", "lib/ext2fs/badblocks.c",
    "lib/ext2fs/bb_inode.c", "lib/ext2fs/bitmaps.c", "lib/ext2fs/bitops.c", "lib/ext2fs/blkmap64_ba.c",
    "lib/ext2fs/blkmap64_rb.c", "lib/ext2fs/blknum.c", "lib/ext2fs/block.c", "lib/ext2fs/bmap.c",
    "lib/ext2fs/check_desc.c", "lib/ext2fs/closefs.c", "lib/ext2fs/crc16.c", "lib/ext2fs/crc32c.c",
    "lib/ext2fs/csum.c", "lib/ext2fs/dblist.c", "lib/ext2fs/dblist_dir.c", "lib/ext2fs/dir_iterate.c",
    "lib/ext2fs/dirblock.c", "lib/ext2fs/dirhash.c", "lib/ext2fs/expanddir.c", "lib/ext2fs/ext2_err.c",
    "lib/ext2fs/ext_attr.c", "lib/ext2fs/extent.c", "lib/ext2fs/fallocate.c", "lib/ext2fs/fileio.c",
    "lib/ext2fs/finddev.c", "lib/ext2fs/flushb.c", "lib/ext2fs/freefs.c", "lib/ext2fs/gen_bitmap.c",
    "lib/ext2fs/gen_bitmap64.c", "lib/ext2fs/get_num_dirs.c", "lib/ext2fs/get_pathname.c", "lib/ext2fs/getenv.c",
    "lib/ext2fs/getsectsize.c", "lib/ext2fs/getsize.c", "lib/ext2fs/hashmap.c", "lib/ext2fs/i_block.c",
    "lib/ext2fs/icount.c", "lib/ext2fs/ind_block.c", "lib/ext2fs/initialize.c", "lib/ext2fs/inline.c",
    "lib/ext2fs/inline_data.c", "lib/ext2fs/inode.c", "lib/ext2fs/io_manager.c", "lib/ext2fs/ismounted.c",
    "lib/ext2fs/link.c", "lib/ext2fs/llseek.c", "lib/ext2fs/lookup.c", "lib/ext2fs/mkdir.c", "lib/ext2fs/mkjournal.c",
    "lib/ext2fs/mmp.c", "lib/ext2fs/namei.c", "lib/ext2fs/native.c", "lib/ext2fs/newdir.c", "lib/ext2fs/nls_utf8.c",
    "lib/ext2fs/openfs.c", "lib/ext2fs/orphan.c", "lib/ext2fs/progress.c", "lib/ext2fs/punch.c", "lib/ext2fs/qcow2.c",
    "lib/ext2fs/rbtree.c", "lib/ext2fs/read_bb.c", "lib/ext2fs/read_bb_file.c", "lib/ext2fs/res_gdt.c",
    "lib/ext2fs/rw_bitmaps.c", "lib/ext2fs/sha512.c", "lib/ext2fs/sparse_io.c", "lib/ext2fs/swapfs.c",
    "lib/ext2fs/symlink.c", "lib/ext2fs/undo_io.c", "lib/ext2fs/unix_io.c", "lib/ext2fs/unlink.c",
    "lib/ext2fs/valid_blk.c", "lib/ext2fs/version.c", "lib/support/cstring.c", "lib/support/devname.c",
    "lib/support/dict.c", "lib/support/mkquota.c", "lib/support/parse_qtype.c", "lib/support/plausible.c",
    "lib/support/print_fs_flags.c", "lib/support/prof_err.c", "lib/support/profile.c", "lib/support/profile_helpers.c",
    "lib/support/quotaio.c", "lib/support/quotaio_tree.c", "lib/support/quotaio_v2.c", "lib/uuid/clear.c",
    "lib/uuid/compare.c", "lib/uuid/copy.c", "lib/uuid/gen_uuid.c", "lib/uuid/isnull.c", "lib/uuid/pack.c",
    "lib/uuid/parse.c", "lib/uuid/unpack.c", "lib/uuid/unparse.c", "lib/uuid/uuid_time.c",
];

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
