//! `oci --erofs`: what the kernel finds in the image that is written here, and what erofs-utils thinks of it. A test whose programs or
//! rights are missing says so and is skipped.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base::digest::digest;
use disk::image::check;
use serde_json::Value;
use tar::{Builder, EntryType, Header};

mod support;

use support::{noise, skip};

/// The attributes expected of each name: mode with its type, user, group, links, time; digest, target or device numbers; and extended
/// attributes in hexadecimal.
type Listed = BTreeMap<String, (u32, u32, u32, u64, i64, String, BTreeMap<String, String>)>;

/// A root in the making, as a tar file, and what it must be.
struct Root {
    builder: Builder<fs::File>,
    listed: Listed,
}

impl Root {
    fn add(&mut self, name: &str, kind: EntryType, mode: u32, content: &[u8], attributes: &[(&str, &[u8])]) {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(70_000);
        header.set_gid(5);
        header.set_mtime(1_234_567_890);
        header.set_size(0);
        if !attributes.is_empty() {
            let records: Vec<_> =
                attributes.iter().map(|(key, value)| (format!("SCHILY.xattr.{key}"), *value)).collect();
            self.builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value))).unwrap();
        }
        let (bits, what) = match kind {
            EntryType::Regular => {
                header.set_size(content.len() as u64);
                (0o100_000, digest(content))
            }
            EntryType::Directory => (0o040_000, String::new()),
            EntryType::Symlink => (0o120_000, String::from_utf8(content.to_vec()).unwrap()),
            EntryType::Char => (0o020_000, "300:70000".to_owned()),
            EntryType::Block => (0o060_000, "300:70000".to_owned()),
            _ => (0o010_000, String::new()),
        };
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(300).unwrap();
            header.set_device_minor(70_000).unwrap();
        }
        match kind {
            EntryType::Symlink | EntryType::Link => {
                self.builder.append_link(&mut header, name, str::from_utf8(content).unwrap()).unwrap();
            }
            _ => self.builder.append_data(&mut header, name, content).unwrap(),
        }
        let name = name.trim_end_matches('/').to_owned();
        if kind == EntryType::Link {
            let first = str::from_utf8(content).unwrap();
            let mut both = self.listed[first].clone();
            both.3 += 1;
            self.listed.insert(first.to_owned(), both.clone());
            self.listed.insert(name, both);
            return;
        }
        let mode = if kind == EntryType::Symlink { 0o777 } else { mode };
        let hex = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), hex(value))).collect();
        let links = if kind == EntryType::Directory { 2 } else { 1 };
        if let Some((parent, _)) = name.rsplit_once('/').filter(|_| kind == EntryType::Directory) {
            self.listed.get_mut(parent).unwrap().3 += 1;
        }
        self.listed.insert(name, (bits | mode, 70_000, 5, links, 1_234_567_890, what, attributes));
    }
}

/// Makes a root with everything that a root can have, as a tar file.
fn root(path: &Path) -> Listed {
    let mut root = Root { builder: Builder::new(fs::File::create(path).unwrap()), listed: Listed::new() };
    let noise = noise(80_000);
    root.add("./", EntryType::Directory, 0o1711, b"", &[("user.root", b"own")]);
    root.add("bin/", EntryType::Directory, 0o755, b"", &[]);
    for size in [0, 1, 4095, 4096, 4097, 80_000] {
        root.add(&format!("bin/file{size}"), EntryType::Regular, 0o644, &noise[..size], &[]);
    }
    root.add(
        "bin/su",
        EntryType::Regular,
        0o4755,
        b"suid",
        &[("security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), ("user.colour", b"red")],
    );
    root.add("bin/alias", EntryType::Link, 0, b"bin/su", &[]);
    root.add("bin/empty", EntryType::Regular, 0o600, b"x", &[("user.long", &noise[..3000]), ("trusted.a", b"b")]);
    root.add("dev/", EntryType::Directory, 0o1777, b"", &[("user.dir", b"yes")]);
    for (name, kind) in [("c", EntryType::Char), ("b", EntryType::Block), ("p", EntryType::Fifo)] {
        root.add(&format!("dev/{name}"), kind, 0o620, b"", &[]);
    }
    root.add("lib", EntryType::Symlink, 0, b"usr/lib", &[]);
    root.add("long", EntryType::Symlink, 0, "t/".repeat(1500).as_bytes(), &[]);
    // Names that sort before the dots and after them, in more than one block, and a directory in a directory.
    root.add("many/", EntryType::Directory, 0o700, b"", &[]);
    root.add("many/deep/", EntryType::Directory, 0o755, b"", &[]);
    for number in 0..400 {
        root.add(&format!("many/!{number:0>100}"), EntryType::Regular, 0o444, &noise[..number], &[]);
        root.add(&format!("many/größe{number}"), EntryType::Symlink, 0, &[b'x'; 200][..=number % 200], &[]);
    }
    root.builder.finish().unwrap();
    // Its own name and that in itself, and one in each of its directories.
    root.listed.get_mut(".").unwrap().3 = 5;
    root.listed
}

fn write(tar: &Path, image: &Path, more: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .arg("oci")
        .arg(format!("tar:{}", tar.display()))
        .arg("--json")
        .arg("--erofs")
        .arg(image)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Mounts the image in a namespace of its own, and tells what is in it.
const LIST: &str = r#"
import hashlib, json, os, stat, subprocess, sys
image, place = sys.argv[1:]
done = subprocess.run(["mount", "-t", "erofs", "-o", "loop,ro", image, place], capture_output=True, text=True)
if done.returncode != 0:
    sys.exit("mount: " + done.stderr)
listed = {}
for directory, directories, files in os.walk(place):
    for name in directories + files + ([""] if directory == place else []):
        path = os.path.join(directory, name)
        found = os.lstat(path)
        what = ""
        if stat.S_ISREG(found.st_mode):
            what = hashlib.sha256(open(path, "rb").read()).hexdigest()
        elif stat.S_ISLNK(found.st_mode):
            what = os.readlink(path)
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            what = "%d:%d" % (os.major(found.st_rdev), os.minor(found.st_rdev))
        attributes = {key: os.getxattr(path, key, follow_symlinks=False).hex() for key in os.listxattr(path, follow_symlinks=False)}
        listed[os.path.relpath(path, place)] = [found.st_mode, found.st_uid, found.st_gid, found.st_nlink, int(found.st_mtime), what, attributes]
print(json.dumps(listed))
"#;

#[test]
fn the_kernel_finds_what_was_put_in() {
    finds(&[]);
}

#[test]
fn the_kernel_finds_what_was_put_in_with_tails() {
    finds(&["--erofs-tails"]);
}

fn finds(options: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let expected = root(&path("root.tar"));
    let (image, place) = (path("image"), path("place"));
    let told = write(&path("root.tar"), &image, options);
    assert_eq!(told["erofs"]["size"], fs::metadata(&image).unwrap().len());
    assert_eq!(check(&image).unwrap().format.name(), "erofs");
    write(&path("root.tar"), &path("again"), options);
    assert!(fs::read(&image).unwrap() == fs::read(path("again")).unwrap(), "another image from the same root");

    if Command::new("fsck.erofs").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        let output = Command::new("fsck.erofs").arg("--extract").arg(&image).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    } else {
        skip("fsck.erofs is not installed");
    }
    for program in ["unshare", "python3"] {
        if Command::new(program).arg("--version").stdout(Stdio::null()).status().is_err() {
            return skip(&format!("{program} is not installed"));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return skip("mounting an EROFS image needs root");
    }
    if !fs::read_to_string("/proc/filesystems").unwrap().contains("\terofs") {
        return skip("this kernel has no EROFS");
    }
    fs::create_dir(&place).unwrap();
    let output = Command::new("unshare").args(["-m", "python3", "-c", LIST]).arg(&image).arg(&place).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("loop device") || said.contains("permission denied") {
        return skip(&format!("no EROFS image can be mounted here: {said}"));
    }
    assert!(output.status.success(), "{said}");
    let found: Listed = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in &expected {
        assert_eq!(&found[name], expected, "{name}");
    }
}

#[test]
fn an_attribute_without_a_place_is_left_out_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let (tar, image) = (directory.path().join("tar"), directory.path().join("image"));
    let mut builder = Builder::new(fs::File::create(&tar).unwrap());
    let mut header = Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_pax_extensions([("SCHILY.xattr.btrfs.x", &b"1"[..])]).unwrap();
    builder.append_data(&mut header, "file", &b""[..]).unwrap();
    builder.finish().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .args(["oci", &format!("tar:{}", tar.display()), "--erofs", image.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lost = "EROFS cannot hold these extended attributes: `btrfs.x` (of `file`); left out of it";
    assert!(output.status.success() && said.contains(lost), "{said}");
    assert!(image.exists());
}

/// Counts the blocks of `new` that are nowhere in `old`: those that a delta by blocks sends.
fn new_blocks(old: &Path, new: &Path) -> usize {
    let old = fs::read(old).unwrap();
    let known: std::collections::HashSet<&[u8]> = old.chunks(4096).collect();
    fs::read(new).unwrap().chunks(4096).filter(|block| !known.contains(block)).count()
}

/// Makes a root like a distribution's: many small files, some large ones.
fn distribution(directory: &Path, release: usize) {
    let mut state = 5_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for number in 0..1500 {
        let place = directory.join(format!("usr/share/d{}", number % 40));
        fs::create_dir_all(&place).unwrap();
        // From a few bytes to some ten thousand, most of them small.
        let length = (next() % 200 + 1) * (next() % 200 + 1);
        let noise: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        let mut text = noise;
        if number % 30 == 0 {
            text.splice(0..0, format!("release {release}").into_bytes());
        }
        fs::write(place.join(format!("f{number}")), text).unwrap();
    }
}

#[test]
fn tails_make_the_image_as_small_as_mkfs_erofs_makes_it() {
    let has_tool = Command::new("mkfs.erofs").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !has_tool {
        return skip("mkfs.erofs is not installed");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let size = |name: &str| fs::metadata(path(name)).unwrap().len();
    for release in [1, 2] {
        let root = path(&format!("root{release}"));
        distribution(&root, release);
        for (name, options) in [("blocks", &[][..]), ("tails", &["--erofs-tails"])] {
            let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
                .args(["oci", &format!("dir:{}", root.display()), "--erofs"])
                .arg(path(&format!("{name}{release}")))
                .args(options)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let output = Command::new("mkfs.erofs").arg(path("theirs")).arg(path("root1")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (tails, theirs, blocks) = (size("tails1"), size("theirs"), size("blocks1"));
    let (of_blocks, of_tails) =
        (new_blocks(&path("blocks1"), &path("blocks2")), new_blocks(&path("tails1"), &path("tails2")));
    eprintln!(
        "EROFS: mkfs.erofs {theirs}, with tails {tails}, with whole blocks {blocks} bytes; 50 of 1500 files changed: {of_blocks} blocks new \
         with whole blocks, {of_tails} with tails"
    );
    assert!(tails * 100 <= theirs * 102, "{tails} bytes, and mkfs.erofs needs {theirs}");
    assert!(tails < blocks && of_blocks < of_tails);
}
