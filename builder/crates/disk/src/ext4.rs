//! ext4 filesystems in files, without root and without mounting: `mke2fs` makes an empty one, a script for `debugfs`
//! fills it in a fixed order with fixed times and owners. (`mke2fs -d` would take the order of the directory and the
//! inode times of this machine.) The features are those that Linux 6.1 knows.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use base::{
    IoContext,
    program::{self, Program},
};
use uuid::Uuid;

use crate::{Error, Result};

use super::{
    content::{Entry, Kind},
    size::{GIB, KIB, MIB},
};

/// The program that makes ext4 filesystems.
pub const MKE2FS: Program = Program { name: "mke2fs", package: "e2fsprogs" };
/// Writes into filesystems that are not mounted.
pub const DEBUGFS: Program = Program { name: "debugfs", package: "e2fsprogs" };

/// The whole configuration of `mke2fs`, so that the machine's `/etc/mke2fs.conf` has no say.
const CONFIGURATION: &str = "\
[defaults]
\tbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
\tdefault_mntopts = acl,user_xattr
\tenable_periodic_fsck = 0
\tblocksize = 4096
\tinode_size = 256
[fs_types]
\text4 = {
\t\tfeatures = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
\t}
\tappliance = {
\t\tblocksize = 4096
\t}
";

/// Bytes of a block.
const BLOCK: u64 = 4 * KIB;
/// The smallest filesystem made: the smallest journal, 4 MiB, may not be more than half of it.
const SMALLEST: u64 = 16 * MIB;

/// The settings of a filesystem.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Label, at most 16 bytes.
    pub label: String,
    /// Identity.
    pub uuid: Uuid,
    /// Seed of the directories' hashes, random unless given.
    pub hash_seed: Uuid,
    /// Bytes of the filesystem.
    pub size: u64,
    /// Bytes of the filesystem for each inode (`mke2fs -i`).
    pub bytes_per_inode: u64,
    /// Every time stamp: seconds since 1970, at least 1 as 0 means "now" to `mke2fs`.
    pub time: u64,
}

/// Returns the bytes of the journal of a filesystem of `size` bytes: what `mke2fs` takes by itself, written down so that no version changes it.
fn journal(size: u64) -> u64 {
    match size {
        s if s < 128 * MIB => 4 * MIB,
        s if s < GIB => 16 * MIB,
        s if s < 2 * GIB => 32 * MIB,
        _ => 64 * MIB,
    }
}

/// Returns the bytes that files can surely take in a filesystem of `size` bytes: without journal, inode tables (256 bytes each),
/// descriptors with room to grow (1 % holds for every size up to 16 TiB) and 1 MiB for directories and bitmaps.
pub fn room(size: u64, bytes_per_inode: u64) -> u64 {
    let inodes = size.div_ceil(bytes_per_inode) * 256;
    // Each of the groups, 128 MiB, rounds its table up to a block.
    let rounding = size.div_ceil(128 * MIB) * 4 * BLOCK;
    size.saturating_sub(journal(size) + inodes + rounding + size / 100 + MIB)
}

/// Returns the smallest size, in whole MiB, with [`room`] for `content` bytes.
pub fn size_for(content: u64, bytes_per_inode: u64) -> u64 {
    // The journal grows in steps, so a sum is not enough: grow until it fits.
    let mut size = content.next_multiple_of(MIB).max(SMALLEST);
    while room(size, bytes_per_inode) < content {
        size += (content - room(size, bytes_per_inode)).next_multiple_of(MIB);
    }
    size
}

/// Returns the bytes that a mounted filesystem of `size` bytes keeps back from everybody: a fiftieth, at most 4096 blocks (kernel,
/// fs/ext4/super.c, ext4_set_resv_clusters).
fn withheld(size: u64) -> u64 {
    (size / BLOCK / 50).min(4096) * BLOCK
}

/// Returns the smallest size, in whole MiB, in which a machine can write `content` bytes.
pub fn size_for_writing(content: u64, bytes_per_inode: u64) -> u64 {
    let mut size = size_for(content, bytes_per_inode);
    while room(size, bytes_per_inode).saturating_sub(withheld(size)) < content {
        size += MIB;
    }
    size
}

/// Returns the bytes that `entries` take, rounded up to blocks.
pub fn content_size(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(|entry| match entry.kind {
            Kind::File { size, .. } => size.next_multiple_of(BLOCK),
            Kind::Directory => BLOCK,
            _ => 0,
        })
        .sum()
}

/// Makes the filesystem in the new file `name` in the directory `work`, with `entries`, parents first, whose sources are
/// absolute paths. The tools run in `work`, so that a `?` in its path is not taken for an option.
///
/// # Errors
/// [`Error::Program`] where the tools fail (no space left, say), [`Error::Usage`] for a name they cannot take.
pub fn make(work: &Path, name: &str, settings: &Settings, entries: &[Entry]) -> Result<()> {
    let image = work.join(name);
    let file = File::create_new(&image).at("create", &image)?;
    file.set_len(settings.size).at("grow", &image)?;
    let configuration = work.join("mke2fs.conf");
    std::fs::write(&configuration, CONFIGURATION).at("write", &configuration)?;
    let mut command = MKE2FS.command()?;
    command.current_dir(work).env("MKE2FS_CONFIG", &configuration);
    // E2FSPROGS_FAKE_TIME is heeded by every version; from 1.47.1 on SOURCE_DATE_EPOCH is as well.
    command.env("E2FSPROGS_FAKE_TIME", settings.time.to_string());
    command.env("SOURCE_DATE_EPOCH", settings.time.to_string());
    program::run(command.args(mke2fs_arguments(settings)).arg(name))?;

    let values = work.join(name);
    let script = script(entries, settings.time, &values)?;
    for (index, (_, value)) in entries.iter().flat_map(|entry| &entry.attributes).enumerate() {
        let path = value_file(&values, index);
        std::fs::write(&path, value).at("write", &path)?;
    }
    let script_file = work.join("debugfs.script");
    std::fs::write(&script_file, script).at("write", &script_file)?;
    let mut command = DEBUGFS.command()?;
    let written = program::run(command.current_dir(work).args(["-w", "-f", "debugfs.script", name]))?;
    // debugfs ends with 0 whatever its commands did. What went wrong is on standard error, after a line with its version.
    let complaints: Vec<&str> = written.stderr.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
    if complaints.is_empty() {
        Ok(())
    } else {
        let status = "some of its commands failed".to_owned();
        Err(program::failure("debugfs".as_ref(), status, &complaints.join("\n")).into())
    }
}

/// Returns the file with the value of the attribute number `index`.
fn value_file(values: &Path, index: usize) -> PathBuf {
    values.with_extension(format!("attribute-{index}"))
}

fn mke2fs_arguments(settings: &Settings) -> Vec<String> {
    let journal = journal(settings.size) / MIB;
    // An inode table that the kernel would clear in the first minutes after the first boot is cleared here, where it is a hole.
    let extended =
        format!("hash_seed={},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard", settings.hash_seed);
    let mut arguments: Vec<String> =
        ["-q", "-F", "-t", "ext4", "-T", "appliance", "-b", "4096", "-m", "0"].map(str::to_owned).to_vec();
    for (option, value) in [
        ("-L", settings.label.clone()),
        ("-U", settings.uuid.to_string()),
        ("-i", settings.bytes_per_inode.to_string()),
        ("-J", format!("size={journal}")),
        ("-E", extended),
    ] {
        arguments.extend([option.to_owned(), value]);
    }
    arguments
}

/// Returns the script that makes `entries`. Values of attributes are expected in [`value_file`]s, in their order.
fn script(entries: &[Entry], time: u64, values: &Path) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    let mut line = |parts: &[&[u8]]| {
        script.extend_from_slice(&parts.concat());
        script.push(b'\n');
    };
    line(&[b"set_current_time @", time.to_string().as_bytes()]);
    // Whether names are hashed as signed characters follows the machine that runs mke2fs; 1 is signed.
    line(&[b"set_super_value flags 1"]);
    let mut links: BTreeMap<&[u8], u32> = BTreeMap::new();
    let mut attribute = 0_usize;
    for entry in entries {
        let path = quote(&[b"/", entry.path.as_slice()].concat())?;
        let (parent, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&entry.path[..slash], &entry.path[slash + 1..]),
            None => (&b""[..], entry.path.as_slice()),
        };
        let name = quote(name)?;
        line(&[b"cd ", &quote(&[b"/", parent].concat())?]);
        let type_bits: u32 = match &entry.kind {
            Kind::SameAs { path: first } => {
                line(&[b"link ", &quote(&[b"/", first.as_slice()].concat())?, b" ", &path]);
                let count = links.entry(first).or_insert(1);
                *count += 1;
                line(&[b"set_inode_field ", &path, b" links_count ", count.to_string().as_bytes()]);
                continue;
            }
            Kind::Directory => {
                line(&[b"mkdir ", &name]);
                0o040_000
            }
            Kind::File { source, .. } => {
                line(&[b"write ", &quote(source.as_os_str().as_bytes())?, b" ", &name]);
                0o100_000
            }
            Kind::Link { target } => {
                line(&[b"symlink ", &name, b" ", &quote(target)?]);
                0o120_000
            }
            Kind::Device { block, major, minor } => {
                let letter: &[u8] = if *block { b" b " } else { b" c " };
                line(&[b"mknod ", &name, letter, format!("{major} {minor}").as_bytes()]);
                if *block { 0o060_000 } else { 0o020_000 }
            }
            Kind::Pipe => {
                line(&[b"mknod ", &name, b" p"]);
                0o010_000
            }
        };
        let mode = format!("0{:o}", type_bits | entry.mode);
        let stamp = format!("@{time}");
        for (field, value) in [
            ("mode", mode),
            ("uid", entry.uid.to_string()),
            ("gid", entry.gid.to_string()),
            ("atime", stamp.clone()),
            ("ctime", stamp.clone()),
            ("mtime", stamp.clone()),
            ("crtime", stamp),
        ] {
            let mut text = String::from(" ");
            let _ = write!(text, "{field} {value}");
            line(&[b"set_inode_field ", &path, text.as_bytes()]);
        }
        for (key, _) in &entry.attributes {
            let file = value_file(values, attribute);
            attribute += 1;
            line(&[b"ea_set -f ", &quote(file.as_os_str().as_bytes())?, b" ", &path, b" ", &quote(key)?]);
        }
    }
    Ok(script)
}

/// Returns `bytes` as one word of a debugfs command: in quotes, a quote doubled.
fn quote(bytes: &[u8]) -> Result<Vec<u8>> {
    if bytes.contains(&b'\n') {
        return Err(Error::Usage(format!(
            "`{}`: a name with a line break cannot be put into an ext4 partition; rename it",
            String::from_utf8_lossy(bytes).replace('\n', "\\n")
        )));
    }
    let mut quoted = vec![b'"'];
    for byte in bytes {
        quoted.extend(if *byte == b'"' { &b"\"\""[..] } else { std::slice::from_ref(byte) });
    }
    quoted.push(b'"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_hold_what_they_promise() {
        for content in [0, 1, 5 * MIB, 100 * MIB, 127 * MIB, 900 * MIB, 3 * GIB, 40 * GIB] {
            for ratio in [16 * KIB, 64 * KIB] {
                let size = size_for(content, ratio);
                assert!(room(size, ratio) >= content, "{content} in {size}");
                assert!(size <= content + content / 20 + 75 * MIB, "{content} in {size}");
                let size = size_for_writing(content, ratio);
                assert!(
                    room(size, ratio) >= content + (size / 50 / BLOCK * BLOCK).min(16 * MIB),
                    "{content} in {size}"
                );
                assert!(size <= content + content / 16 + 92 * MIB, "{content} in {size}");
            }
        }
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(quote(b"a b").unwrap(), b"\"a b\"");
        assert_eq!(quote(b"a\"b").unwrap(), b"\"a\"\"b\"");
        assert!(quote(b"a\nb").unwrap_err().to_string().contains("a\\nb"));
    }

    #[test]
    fn the_script_makes_parents_first_and_fixes_times() {
        let file = Entry {
            path: b"persistent/etc file".to_vec(),
            mode: 0o4755,
            uid: 3,
            gid: 4,
            kind: Kind::Pipe,
            attributes: vec![(b"user.a".to_vec(), b"b".to_vec())],
        };
        let text = script(&[Entry::directory(*b"persistent"), file], 9, Path::new("/w/img.ext4")).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "set_current_time @9");
        assert_eq!(&lines[2..5], ["cd \"/\"", "mkdir \"persistent\"", "set_inode_field \"/persistent\" mode 040755"]);
        assert!(lines.contains(&"cd \"/persistent\"") && lines.contains(&"mknod \"etc file\" p"), "{text}");
        assert!(lines.contains(&"set_inode_field \"/persistent/etc file\" mode 014755"), "{text}");
        assert!(lines.contains(&"set_inode_field \"/persistent/etc file\" crtime @9"), "{text}");
        assert!(lines.contains(&"ea_set -f \"/w/img.attribute-0\" \"/persistent/etc file\" \"user.a\""), "{text}");
    }
}
