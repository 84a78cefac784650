//! Extraction against GNU cpio, and against archives that want to get out. Owners and devices are compared as root only.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use initramfs_overlay_archive::{
    Error,
    cat::{Found, cat},
    extract::{Extracted, extract},
};

#[path = "../../../tests/support/described.rs"]
mod described;

use described::described;

fn sh(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a root with everything in it, and its archive as `cpio` and `find` make it.
fn make(directory: &Path) {
    let owners = if is_root() {
        "chown 5:6 root/etc root/etc/a; chown -h 7:8 root/sbin; mknod root/dev/null c 1 3; mknod root/dev/sda b 8 0; chmod 640 root/dev/sda"
    } else {
        ":"
    };
    sh(
        directory,
        &format!(
            "mkdir -p root/etc root/usr/bin root/usr/lib root/dev root/run root/early/kernel/x86/microcode
             echo hello > root/etc/a; ln root/etc/a root/etc/b; ln root/etc/a root/usr/c; printf '' > root/etc/empty
             ln -s usr/bin root/bin; ln -s /usr/lib root/lib; ln -s gone root/sbin; mkfifo root/run/fifo
             head -c 300000 /dev/urandom > root/usr/bin/large; printf x > 'root/etc/a b'
             {owners}
             chmod 4755 root/usr/bin/large; chmod 555 root/usr/lib; chmod 1777 root/run; chmod 600 root/etc/b
             find root -depth -exec touch -h -d @1000000007 {{}} +
             echo micro > root/early/kernel/x86/microcode/GenuineIntel.bin
             (cd root/early && find . | sort | cpio -o -H newc --quiet) > early
             rm -r root/early; touch -d @1000000007 root
             (cd root && find . | sort | cpio -o -H newc --quiet) > main
             gzip -9nk main; xz -k --check=crc32 main; zstd -q -k main"
        ),
    );
}

fn by_cpio(directory: &Path, archives: &[&str], into: &str) {
    let parts = archives.iter().map(|archive| format!("cpio -idm --quiet < ../{archive};")).collect::<String>();
    sh(directory, &format!("mkdir {into}; cd {into}; umask 0; {parts}"));
}

fn ours(directory: &Path, file: &str, into: &str) -> Extracted {
    let path = directory.join(file);
    extract(fs::File::open(&path).unwrap(), &path, &directory.join(into)).unwrap()
}

#[test]
fn it_is_as_cpio_unpacks_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    make(at);
    for (number, (name, file)) in [
        ("initramfs-tools'", "cat early main.zst > f"),
        ("dracut's", "cat early > f; truncate -s %512 f; cat main.gz >> f"),
        ("mkinitcpio's", "cat early main.xz > f"),
        ("one archive", "cat main > f"),
    ]
    .into_iter()
    .enumerate()
    {
        let (cpio, own) = (format!("cpio{number}"), format!("own{number}"));
        sh(at, file);
        let archives: &[&str] = if name == "one archive" { &["main"] } else { &["early", "main"] };
        by_cpio(at, archives, &cpio);
        let told = ours(at, "f", &own);
        assert_eq!(told.refused, [""; 0], "{name}");
        assert!(told.devices == 0 && told.entries > 12, "{name}: {told:?}");
        let (cpio, own) = (described(&at.join(&cpio)), described(&at.join(&own)));
        assert!(own.len() > 12, "{own:?}");
        if is_root() {
            assert_eq!(own, cpio, "{name}");
        }
        let time = fs::metadata(at.join(format!("own{number}/usr/bin"))).unwrap().mtime();
        assert_eq!(time, 1_000_000_007, "{name}: the time of a directory");
        let mut content = Vec::new();
        for (path, found, length) in [
            ("etc/a", Found::File, 6),
            ("/usr/c", Found::File, 6),
            ("usr/bin/large", Found::File, 300_000),
            ("bin", Found::Link(b"usr/bin".to_vec()), 0),
            ("etc", Found::Other, 0),
            ("etc/none", Found::Nothing, 0),
        ] {
            content.clear();
            assert_eq!(cat(&at.join("f"), path.as_bytes(), &mut content).unwrap(), found, "{name}: {path}");
            assert_eq!(content.len(), length, "{name}: {path}");
        }
    }
}

/// Returns an entry of a newc archive.
fn entry(name: &str, mode: u32, inode: u32, links: u32, content: &[u8]) -> Vec<u8> {
    let size = content.len();
    let numbers = [inode, mode, 0, 0, links, 9, u32::try_from(size).unwrap(), 0, 0, 0, 0, name.len() as u32 + 1, 0];
    let mut bytes = b"070701".to_vec();
    numbers.iter().for_each(|number| bytes.extend(format!("{number:08x}").bytes()));
    bytes.extend(name.bytes().chain([0]));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DIRECTORY: u32 = 0o040_755;

#[test]
fn nothing_gets_out() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let outside = at.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let out = outside.to_str().unwrap();
    let precious = format!("{out}/precious");
    let archive = [
        entry("../outside/precious", FILE, 1, 1, b"bad"),
        entry(&precious, FILE, 2, 1, b"bad"),
        entry("a/../../outside/new", FILE, 3, 1, b"bad"),
        // A link that leads out, and files through it and in its place.
        entry("out", LINK, 4, 1, out.as_bytes()),
        entry("out/precious", FILE, 5, 1, b"bad"),
        entry("up", LINK, 6, 1, b"../outside"),
        entry("up/precious", FILE, 7, 1, b"bad"),
        entry("file", LINK, 8, 1, precious.as_bytes()),
        entry("file", FILE, 9, 1, b"replaced"),
        // A hard link whose first name became a link that leads out.
        entry("first", FILE, 10, 2, b"mine"),
        entry("first", LINK, 11, 1, precious.as_bytes()),
        entry("second", FILE, 10, 2, b"bad"),
        // A directory that is replaced by a link before its mode is set.
        entry("dir", DIRECTORY, 12, 1, b""),
        entry("up/dir", 0o040_000, 13, 1, b""),
        entry("dir/sub", 0o040_000, 14, 1, b""),
        entry("proc", LINK, 15, 1, b"/proc/self/root"),
        entry("proc/tmp/x", FILE, 16, 1, b"bad"),
        entry("TRAILER!!!", 0, 0, 1, b""),
    ]
    .concat();
    let told = extract(archive.as_slice(), Path::new("x"), &at.join("in")).unwrap();
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(at.join("in/file")).unwrap(), "replaced");
    assert!(told.refusals >= 5 && told.refused.iter().any(|text| text.contains("leads out of the root")), "{told:?}");
    let names: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn links_that_were_there_are_not_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("precious"), "precious").unwrap();
    fs::create_dir(at.join("in")).unwrap();
    symlink("../precious", at.join("in/file")).unwrap();
    symlink("..", at.join("in/dir")).unwrap();
    fs::hard_link(at.join("precious"), at.join("in/hard")).unwrap();
    let archive = ["file", "hard", "dir/precious"].map(|name| entry(name, FILE, 1, 1, b"bad")).concat();
    extract([archive, entry("TRAILER!!!", 0, 0, 1, b"")].concat().as_slice(), Path::new("x"), &at.join("in")).unwrap();
    assert_eq!(fs::read_to_string(at.join("precious")).unwrap(), "precious");
    assert_eq!(fs::read_to_string(at.join("in/precious")).unwrap(), "bad");
}

#[test]
fn what_came_before_the_damage_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let whole = [entry("ro", 0o040_500, 1, 1, b""), entry("ro/a", FILE, 2, 1, b"all"), entry("b", FILE, 3, 1, b"rest")];
    let whole = whole.concat();
    let error = extract(&whole[..whole.len() - 3], Path::new("x"), directory.path()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("in `b`")), "{error}");
    assert_eq!(fs::read_to_string(directory.path().join("ro/a")).unwrap(), "all");
    assert_eq!(fs::metadata(directory.path().join("ro")).unwrap().permissions().mode() & 0o777, 0o500);
    for bytes in [&b"hello"[..], b""] {
        assert!(matches!(extract(bytes, Path::new("x"), directory.path()), Err(Error::NotInitramfs { .. })));
    }
}

#[test]
fn a_large_file_passes_through_little_memory() {
    /// Gives a header, then zeros.
    struct Large(io::Cursor<Vec<u8>>, u64);
    impl Read for Large {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let head = self.0.read(buffer)?;
            if head > 0 {
                return Ok(head);
            }
            let length = self.1.min(buffer.len() as u64) as usize;
            buffer[..length].fill(0);
            self.1 -= length as u64;
            Ok(length)
        }
    }
    let mut head = entry("large", FILE, 1, 1, b"");
    let size: u32 = 1 << 30;
    head[54..62].copy_from_slice(format!("{size:08x}").as_bytes());
    let directory = tempfile::tempdir().unwrap();
    let peak = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = peak();
    let told = extract(Large(io::Cursor::new(head), 64 << 20), Path::new("x"), directory.path());
    assert!(matches!(told, Err(Error::Damaged { .. })), "{told:?}");
    assert!(peak() - before < 20_000, "{} KiB", peak() - before);
}
