//! libblkid for a target: from util-linux's pinned tarball with `zig cc` to a directory that `libblkid-rs` links from. The
//! sources are compiled directly, with the answers of `configure` written down in `libblkid-config.h`: seconds instead
//! of minutes, and no make, no pkg-config and no libtool on the machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base::{
    IoContext,
    cache::{Cache, Check},
    digest::digest,
    progress::Progress,
};

use super::{c, tools::Tools};
use crate::{Error, Result, fetch::Pinned, target::Target};

/// The version of util-linux, and so of libblkid.
pub const VERSION: &str = "2.41.5";

/// The day of that release, as its `configure.ac` has it.
pub const DATE: &str = "16-Jun-2026";

/// The source of libblkid: LGPL-2.1-or-later.
pub const SOURCE: Pinned = Pinned {
    what: "the source of libblkid (util-linux 2.41.5)",
    name: "util-linux_2.41.5.orig.tar.xz",
    sha256: "f586e35d320ff537aab3ffeca37e9ecd482ccbe013590db4429a414d8aa6a728",
    variable: "INITRAMFS_OVERLAY_UTIL_LINUX",
    upstream: "https://www.kernel.org/pub/linux/utils/util-linux/v2.41/util-linux-2.41.5.tar.xz",
    debian_source: ("util-linux", "trixie"),
};

const CONFIG: &str = include_str!("libblkid-config.h");

/// C that takes the place of parts of the C library.
const LIBC: &str = include_str!("libblkid-libc.c");

/// Included before everything else. libblkid's debugging messages, which only an environment variable could turn on, are left
/// out: a quarter of the library is these messages. What it reads goes to the heap: a mapping of its own for each block, made
/// read-only afterwards, is three system calls and a page fault more.
const PRELUDE: &str = r#"#include "config.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "debug.h"
#undef __UL_DBG
#undef __UL_DBG_CALL
#undef __UL_DBG_FLUSH
#undef __UL_INIT_DEBUG_FROM_STRING
#define __UL_DBG(l, p, m, x) do { } while (0)
#define __UL_DBG_CALL(l, p, m, x) do { } while (0)
#define __UL_DBG_FLUSH(l, p) do { } while (0)
#define __UL_INIT_DEBUG_FROM_STRING(lib, pref, mask, str) do { (void)(str); lib ## _debug_mask |= pref ## INIT; } while (0)
static inline void *heap_block(size_t length) { void *block = malloc(length); return block ? block : MAP_FAILED; }
#define mmap(address, length, ...) heap_block(length)
#define mprotect(address, length, protection) 0
#define munmap(address, length) free(address)
"#;

/// C that takes the place of libcommon's questions to sysfs. Init lists the block devices itself, and a device mapper's private volumes and
/// CD-ROM drives, which libblkid would ask about for each device, are none of its business.
const SYSFS: &str = r#"#include "sysfs.h"
int sysfs_devno_is_dm_private(dev_t devno, char **uuid) { return 0; }
int sysfs_devno_to_wholedisk(dev_t devno, char *name, size_t size, dev_t *disk) { return -1; }
struct path_cxt *ul_new_sysfs_path(dev_t devno, struct path_cxt *parent, const char *prefix) { return NULL; }
char *sysfs_devno_to_devpath(dev_t devno, char *path, size_t size) { return NULL; }
char *sysfs_chrdev_devno_to_devname(dev_t devno, char *name, size_t size) { return NULL; }
"#;

/// C that takes the place of libcommon's reader of sysfs, which nobody gets one of ([`SYSFS`]): it would bring all of scanf along.
const PATH: &str = r#"#include "path.h"
void ul_unref_path(struct path_cxt *pc) { }
int ul_path_access(struct path_cxt *pc, int mode, const char *path) { return -1; }
DIR *ul_path_opendir(struct path_cxt *pc, const char *path) { return NULL; }
int ul_path_read_string(struct path_cxt *pc, char **str, const char *path) { return -1; }
int ul_path_read_s64(struct path_cxt *pc, int64_t *res, const char *path) { return -1; }
int ul_path_read_u64(struct path_cxt *pc, uint64_t *res, const char *path) { return -1; }
int ul_path_read_u32(struct path_cxt *pc, uint32_t *res, const char *path) { return -1; }
int ul_path_readf_u64(struct path_cxt *pc, uint64_t *res, const char *path, ...) { return -1; }
"#;

/// The probers of libblkid that are compiled in, by the file with their list: for what an appliance's disks and sticks may carry, and
/// for what must not be mistaken for a filesystem (members of arrays, encrypted volumes). The others cost bytes and, at boot, reads.
const PROBERS: [(&str, &[&str]); 3] = [
    (
        "libblkid/src/superblocks/superblocks.c",
        &[
            "linuxraid", "lvm2", "verity_hash", "integrity", "luks", "bitlocker", "bcache", "vfat", "swsuspend",
            "swap", "xfs", "ext4", "ext3", "ext2", "jbd", "iso9660", "ntfs", "squashfs", "btrfs", "exfat", "f2fs",
            "erofs",
        ],
    ),
    ("libblkid/src/partitions/partitions.c", &["dos_pt", "gpt_pt", "pmbr_pt"]),
    // How a disk is best written to: nothing is asked about that.
    ("libblkid/src/topology/topology.c", &[]),
];

/// Questions that init never asks, in the list of superblocks: block sizes. Label, UUID and type are told without being asked for: to ask
/// `libblkid-rs` for them takes a hash table.
const LESS: [(&str, &str); 2] = [
    (
        ".dflt_flags   = BLKID_SUBLKS_DEFAULT,",
        ".dflt_flags   = BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE,",
    ),
    ("return blkid_probe_sprintf_value(pr, \"BLOCK_SIZE\", \"%u\", block_size);", "return 0;"),
];

/// The directories of the tarball with libblkid, what it needs and its licence.
const UNPACKED: [&str; 4] = ["include", "lib", "libblkid/src", "Documentation/licenses"];

/// The files of libcommon that libblkid calls, by file name in `lib/`.
const COMMON: [&str; 19] = [
    "blkdev", "buffer", "canonicalize", "cpuset", "crc32", "crc32c", "crc64", "encode", "env", "fileutils", "libc",
    "mbsalign", "md5", "path", "sha256", "strutils", "strv", "sysfs", "xxhash",
];

/// Answers cargo's build scripts in place of pkg-config, which need not be installed and would know only the machine's
/// own libblkid. Wherever the directory is, it says where it is.
const PKG_CONFIG: &str = r#"#!/bin/sh
case " $* " in
*" --modversion "*) echo @VERSION@ ;;
*) directory=$(cd "${0%/*}" && pwd | sed 's/ /\\ /g') && echo "-I$directory/include/blkid -L$directory -lblkid" ;;
esac
"#;

/// Returns the cache key of libblkid for `target`, with a short digest of all inputs: the same key, the same bytes.
pub fn key(target: &Target) -> String {
    let parts = [
        SOURCE.sha256,
        super::tools::ZIG_VERSION,
        &target.zig_target,
        &target.zig_cpu,
        &c::FLAGS.join(" "),
        &COMMON.join(" "),
        CONFIG,
        PRELUDE,
        PATH,
        LIBC,
        SYSFS,
        &format!("{PROBERS:?}{LESS:?}"),
        PKG_CONFIG,
    ];
    format!("{}-{}-{}", target.name, VERSION, &digest(parts.join("\n").as_bytes())[..16])
}

/// Compiles it where it is not in the cache. Returns the directory with `libblkid.a`, `include/` and a `pkg-config` of its own.
///
/// # Errors
/// [`Error::Missing`] where the source cannot be had, [`Error::Program`] where it does not compile.
pub fn build(target: &Target, tools: &Tools, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    cache.entry("libblkid", &key(target), Check::Digests, |directory| {
        let tarball = SOURCE.get(cache, progress)?;
        let step = progress.step(format!("{}: compiling libblkid {VERSION}", target.name));
        let source = tempfile::tempdir_in(directory).at("create a directory in", directory)?;
        c::unpack(&tarball, source.path(), &UNPACKED)?;
        compile(source.path(), directory, target, tools, cache)?;
        source.close().at("remove the source in", directory)?;
        step.finish("");
        Ok(())
    })
}

fn compile(source: &Path, directory: &Path, target: &Target, tools: &Tools, cache: &Cache) -> Result<()> {
    let write = |path: PathBuf, text: &str| fs::write(&path, text).at("write", path);
    let include = directory.join("include/blkid");
    fs::create_dir_all(&include).at("create", &include)?;
    let template = source.join("libblkid/src/blkid.h.in");
    let header = fs::read_to_string(&template).at("read", &template)?;
    write(include.join("blkid.h"), &header.replace("@LIBBLKID_VERSION@", VERSION).replace("@LIBBLKID_DATE@", DATE))?;
    write(source.join("config.h"), CONFIG)?;
    write(source.join("prelude.h"), PRELUDE)?;
    write(source.join("lib/sysfs.c"), SYSFS)?;
    write(source.join("lib/path.c"), PATH)?;
    write(source.join("lib/libc.c"), LIBC)?;
    for (file, kept) in PROBERS {
        let path = source.join(file);
        let text = fs::read_to_string(&path).at("read", &path)?;
        let shortened = keep_probers(&text, kept)
            .and_then(|text| ask_for_less(text, file))
            .map_err(|reason| Error::WrongFile { path: path.clone(), reason: reason.to_owned() })?;
        write(path, &shortened)?;
    }
    write(directory.join("pkg-config"), &PKG_CONFIG.replace("@VERSION@", VERSION))?;
    fs::set_permissions(directory.join("pkg-config"), fs::Permissions::from_mode(0o755))
        .at("make executable", directory)?;
    let licence = source.join("Documentation/licenses/COPYING.LGPL-2.1-or-later");
    fs::copy(&licence, directory.join("COPYING.LGPL-2.1-or-later")).at("copy", licence)?;

    let files = sources(source)?;
    let objects: Vec<String> = files.iter().map(|file| format!("{}.o", file.replace('/', "_"))).collect();
    let jobs: Vec<(&String, &String)> = files.iter().zip(&objects).collect();
    c::in_parallel(&jobs, |(file, object)| {
        let mut command = c::zig(tools, cache, source)?;
        command.arg("cc").args(c::target_flags(target)).args(c::FLAGS);
        command.arg(format!("-DLIBBLKID_VERSION=\"{VERSION}\"")).arg(format!("-DLIBBLKID_DATE=\"{DATE}\""));
        command.args(["-include", "prelude.h", "-Iinclude", "-Ilibblkid/src"]).arg("-I").arg(include.as_os_str());
        c::run(command.args(["-c", file, "-o", object]), &format!("compiling libblkid's {file} for {}", target.name))
    })?;
    // D: no times, owners or modes of this machine in the archive.
    let archive = directory.join("libblkid.a");
    c::run(c::zig(tools, cache, source)?.args(["ar", "rcsD"]).arg(archive).args(&objects), "archiving libblkid")
}

/// Returns the source text with only `kept` in its list of probers, in the order they stand in there.
fn keep_probers(text: &str, kept: &[&str]) -> Result<String, &'static str> {
    const START: &str = "static const struct blkid_idinfo *idinfos[] =";
    let (before, rest) = text.split_once(START).ok_or("it has no list of probers")?;
    let (list, after) = rest.split_once("};").ok_or("its list of probers has no end")?;
    let listed: Vec<&str> = list
        .split('&')
        .skip(1)
        .filter_map(|entry| entry.split_once("_idinfo").map(|(name, _)| name))
        .filter(|name| kept.contains(name))
        .collect();
    if listed.len() != kept.len() {
        return Err("its list of probers is not the one that is known");
    }
    let list: String = listed.iter().map(|name| format!("\t&{name}_idinfo,\n")).collect();
    Ok(format!("{before}{START}\n{{\n{list}}};{after}"))
}

/// Returns the list of superblocks with [`LESS`] in it.
fn ask_for_less(text: String, file: &str) -> Result<String, &'static str> {
    if !file.ends_with("/superblocks.c") {
        return Ok(text);
    }
    LESS.iter().try_fold(text, |text, (known, less)| {
        if text.contains(known) {
            Ok(text.replace(known, less))
        } else {
            Err("what it tells by itself is not what is known")
        }
    })
}

/// Returns all that has to be compiled, relative to `source`, sorted.
fn sources(source: &Path) -> Result<Vec<String>> {
    let mut files: Vec<String> = COMMON.iter().map(|name| format!("lib/{name}.c")).collect();
    for directory in ["libblkid/src", "libblkid/src/partitions", "libblkid/src/superblocks", "libblkid/src/topology"] {
        for entry in fs::read_dir(source.join(directory)).at("read", source.join(directory))? {
            let name = entry.at("read", source.join(directory))?.file_name().to_string_lossy().into_owned();
            // The fuzzer has a main function.
            if name.ends_with(".c") && name != "fuzz.c" {
                files.push(format!("{directory}/{name}"));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Formats what the probers format with [`LIBC`] and with the C library of this machine, into room of many sizes.
    #[test]
    fn output_is_formatted_as_the_c_library_does() {
        let directory = tempfile::tempdir().unwrap();
        let (source, program) = (directory.path().join("test.c"), directory.path().join("test"));
        let renamed: String = ["vsnprintf", "snprintf", "vasprintf"]
            .iter()
            .map(|name| format!("#define {name} small_{name}\n"))
            .collect();
        let checks = r#"
            #undef snprintf
            #include <inttypes.h>
            int snprintf(char *, size_t, const char *, ...);
            #define CHECK(...) for (size_t size = 0; size < 60; size++) { \
                char ours[64], theirs[64]; \
                memset(ours, 1, 64); \
                memset(theirs, 1, 64); \
                int length = small_snprintf(ours, size, __VA_ARGS__); \
                if (length != snprintf(theirs, size, __VA_ARGS__) || memcmp(ours, theirs, 64)) return __LINE__ & 63; }
            int main(void) {
                CHECK("%u.%u.%u", 1u, 0u, 4294967295u);
                CHECK("%02X%02X-%02X%02X", 1, 0xab, 0, 255);
                CHECK("%02hhX%02hhx", (unsigned char) 7, (unsigned char) 0xfe);
                CHECK("%016" PRIX64, (uint64_t) 0xdeadbeefcafe);
                CHECK("%08x|%5u|%lu", 0x1234u, 42u, 7ul);
                CHECK("%.33s-%02x", "0123456789012345678901234567890123456789", 3);
                CHECK("%" PRIu64 "%%%jd", (uint64_t) -1, (intmax_t) 77);
                CHECK("%c%c-%s%zu", 'a', 'b', "x", (size_t) 9);
                return small_snprintf(NULL, 0, "%f", 1.0) == -1 ? 0 : 1;
            }"#;
        fs::write(&source, [&renamed, LIBC, checks].concat()).unwrap();
        let made = Command::new("cc").arg("-w").arg("-o").args([&program, &source]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert_eq!(Command::new(&program).status().unwrap().code(), Some(0));
    }

    #[test]
    fn probers_are_kept_in_their_order() {
        let text = "a\nstatic const struct blkid_idinfo *idinfos[] =\n{\n\t/* RAIDs */\n\t&luks_idinfo,\n\t&zfs_idinfo,\n\t&ext4_idinfo\n};\nb";
        assert_eq!(
            keep_probers(text, &["ext4", "luks"]),
            Ok("a\nstatic const struct blkid_idinfo *idinfos[] =\n{\n\t&luks_idinfo,\n\t&ext4_idinfo,\n};\nb"
                .to_owned())
        );
        assert!(keep_probers(text, &["ext4", "xfs"]).is_err(), "one that is not there");
        assert!(keep_probers("nothing", &[]).is_err());
    }

    #[test]
    fn the_answer_is_right_wherever_the_directory_is() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a place");
        fs::create_dir(&place).unwrap();
        let script = place.join("pkg-config");
        fs::write(&script, PKG_CONFIG.replace("@VERSION@", VERSION)).unwrap();
        let ask = |argument: &str| {
            let output = Command::new("sh").arg(&script).args([argument, "blkid"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(ask("--modversion"), format!("{VERSION}\n"));
        let escaped = place.display().to_string().replace(' ', "\\ ");
        assert_eq!(ask("--libs"), format!("-I{escaped}/include/blkid -L{escaped} -lblkid\n"));
    }

    #[test]
    fn the_key_follows_what_goes_in() {
        let targets = crate::target::all().unwrap();
        let mut other = targets[0].clone();
        other.definition.zig_cpu.push_str("+later");
        assert_ne!(key(&targets[0]), key(&other));
        assert_eq!(key(&targets[0]), key(&targets[0].clone()));
    }
}
