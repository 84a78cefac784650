//! Tests that other programs read our archives: GNU cpio and the compressors' own commands. A test whose program is not
//! installed says so and is skipped.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use initramfs_overlay_archive::{
    compress::Compression,
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};

#[path = "../../../tests/support/mod.rs"]
mod support;

use support::installed;

/// Runs a command with `input`; its output, if it succeeded without a word on stderr.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {}: {errors}", output.status);
    output.stdout
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut insert = |path: &[u8], entry| {
        tree.create_parents(path).unwrap();
        tree.insert(path, entry, OnConflict::Refuse).unwrap();
    };
    insert(b"tmp", Entry::directory(0o1777));
    insert(b"bin/busybox", Entry::file(0o4755, Content::Bytes(b"busybox".repeat(1000))));
    insert(b"etc/empty", Entry::file(0o600, Content::Bytes(Vec::new())));
    insert(
        b"etc/owned",
        Entry { uid: 1, gid: 2, mtime: Some(86_400), ..Entry::file(0o640, Content::Bytes(b"x".into())) },
    );
    insert(b"bin/sh", Entry::symlink("busybox"));
    insert(b"odd/new\nline", Entry::file(0o644, Content::Bytes(b"newline".into())));
    insert(b"odd/\xff\xfe", Entry::file(0o644, Content::Bytes(b"no UTF-8".into())));
    insert(b"dev/console", Entry::char_device(0o622, 5, 1));
    insert(b"dev/nvme0n1p1", Entry::block_device(0o660, 259, 70_000));
    insert(b"run/pipe", Entry::fifo(0o600));
    for (existing, path) in [("bin/busybox", "bin/zcat"), ("bin/busybox", "a"), ("etc/empty", "etc/nothing")] {
        tree.link(existing, path, OnConflict::Refuse).unwrap();
    }
    tree
}

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    newc::write(&tree(), Properties { mtime: 1_000_000_000, ..Properties::default() }, &mut bytes).unwrap();
    bytes
}

#[test]
fn cpio_lists_it() {
    if !installed("cpio") {
        return;
    }
    let listing =
        run(Command::new("cpio").args(["-itv", "-n", "--quiet"]).env("TZ", "UTC").env("LC_ALL", "C"), &bytes());
    let listing = String::from_utf8_lossy(&listing);
    let expected = "\
-rwsr-xr-x   3 0        0            7000 Sep  9  2001 a
drwxr-xr-x   2 0        0               0 Sep  9  2001 bin
-rwsr-xr-x   3 0        0               0 Sep  9  2001 bin/busybox
lrwxrwxrwx   1 0        0               7 Sep  9  2001 bin/sh -> busybox
-rwsr-xr-x   3 0        0               0 Sep  9  2001 bin/zcat
drwxr-xr-x   2 0        0               0 Sep  9  2001 dev
crw--w--w-   1 0        0          5,   1 Sep  9  2001 dev/console
brw-rw----   1 0        0        259, 70000 Sep  9  2001 dev/nvme0n1p1
drwxr-xr-x   2 0        0               0 Sep  9  2001 etc
-rw-------   2 0        0               0 Sep  9  2001 etc/empty
-rw-------   2 0        0               0 Sep  9  2001 etc/nothing
-rw-r-----   1 1        2               1 Jan  2  1970 etc/owned
drwxr-xr-x   2 0        0               0 Sep  9  2001 odd
-rw-r--r--   1 0        0               7 Sep  9  2001 odd/new
line
-rw-r--r--   1 0        0               8 Sep  9  2001 odd/\u{fffd}\u{fffd}
drwxr-xr-x   2 0        0               0 Sep  9  2001 run
prw-------   1 0        0               0 Sep  9  2001 run/pipe
drwxrwxrwt   2 0        0               0 Sep  9  2001 tmp
";
    assert_eq!(listing, expected);
}

#[test]
fn cpio_unpacks_it() {
    if !installed("cpio") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        let _ = writeln!(io::stderr(), "SKIPPED: only root can unpack device nodes");
        return;
    }
    run(Command::new("cpio").args(["-idm", "--quiet"]).current_dir(directory.path()), &bytes());
    let at = |name: &str| directory.path().join(name);
    let look = |name: &str| fs::symlink_metadata(at(name)).unwrap();
    assert_eq!(fs::read(at("bin/zcat")).unwrap(), b"busybox".repeat(1000));
    assert_eq!((look("a").ino(), look("a").nlink()), (look("bin/zcat").ino(), 3));
    assert_eq!((look("etc/nothing").ino(), look("etc/empty").nlink()), (look("etc/empty").ino(), 2));
    assert_eq!(look("a").permissions().mode(), 0o104_755);
    assert_eq!((look("etc/owned").uid(), look("etc/owned").gid(), look("etc/owned").mtime()), (1, 2, 86_400));
    assert_eq!(look("tmp").permissions().mode(), 0o041_777);
    assert_eq!(fs::read(at("odd/new\nline")).unwrap(), b"newline");
    assert!(look("dev/console").file_type().is_char_device());
    assert!(look("run/pipe").file_type().is_fifo());

    // And back: what was unpacked is the same tree, with the modes that a user's directory gets.
    let mut again = Tree::new();
    again.include(directory.path(), OnConflict::Refuse).unwrap();
    let names = |tree: &Tree| tree.iter().map(|node| (node.path.to_vec(), tree.links(&node))).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&tree()));
    let mut bytes = Vec::new();
    newc::write(&again, Properties::default(), &mut bytes).unwrap();
    assert!(bytes.windows(2).any(|pair| pair == b"\xff\xfe"));
}

#[test]
fn an_archive_of_gnu_cpio_reads_the_same() {
    if !installed("cpio") || !installed("find") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), "content").unwrap();
    fs::hard_link(at("dir/file"), at("again")).unwrap();
    std::os::unix::fs::symlink("dir/file", at("link")).unwrap();
    let names = run(Command::new("find").args([".", "-print0"]).current_dir(directory.path()), b"");
    let archive =
        run(Command::new("cpio").args(["-o", "-0", "-H", "newc", "--quiet"]).current_dir(directory.path()), &names);
    let contents = initramfs_overlay_archive::listing::read(archive.as_slice(), Path::new("x")).unwrap();
    assert_eq!((contents.problems, contents.notes), (vec![], vec![]));
    let mut found: Vec<_> = contents
        .files
        .iter()
        .map(|file| (file.record.path.text.as_str(), file.record.hard_link.is_some(), file.record.size))
        .collect();
    // In the order of the directory, which is the filesystem's: the first of the two names has the content.
    found.sort_unstable_by_key(|(_, is_link, size)| (*is_link, *size));
    let (links, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, is_link, _)| *is_link);
    assert_eq!(links.len(), 1);
    assert_eq!(others.len(), 4);
    assert_eq!(others.last().map(|(_, _, size)| *size), Some(Some(7)));
}

#[test]
fn the_compressors_take_it() {
    // More than one LZ4 block, and something to find in it.
    let long: Vec<u8> = (0..9_000_000_u32).map(|n| (n.wrapping_mul(n) >> 11) as u8 & 0x1f).collect();
    let cases: [(Compression, &[&str], &[&str]); 4] = [
        (Compression::Gzip, &["gzip", "-t"], &["gzip", "-dc"]),
        (Compression::Xz, &["xz", "-t", "--format=xz"], &["xz", "-dc"]),
        (Compression::Zstd, &["zstd", "-q", "-t"], &["zstd", "-q", "-dc", "--long=27"]),
        (Compression::Lz4, &["lz4", "-q", "-t"], &["lz4", "-q", "-dc"]),
    ];
    for (compression, test, unpack) in cases {
        let plain = if compression == Compression::Lz4 { &long } else { &long[..100_000] };
        let mut encoder = compression.encoder(Vec::new()).unwrap();
        encoder.write_all(plain).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(packed.len() < plain.len());
        if installed(test[0]) {
            run(Command::new(test[0]).args(&test[1..]), &packed);
            assert!(run(Command::new(unpack[0]).args(&unpack[1..]), &packed) == plain, "{compression:?}");
        }
        match compression {
            // Flags, four bytes of time and the name: none of them set (RFC 1952).
            Compression::Gzip => assert_eq!(packed[3..8], [0; 5]),
            // CRC32 (xz-file-format, 2.1.1.2), as the kernel wants it.
            Compression::Xz => assert_eq!(packed[6..8], [0, 1]),
            // A checksum, no dictionary, the window's size given: 2^23 (RFC 8878, 3.1.1.1).
            Compression::Zstd => assert_eq!(packed[4..6], [0b100, (23 - 10) << 3]),
            Compression::Lz4 | Compression::None => {}
        }
    }
}

#[test]
fn a_tree_that_cannot_be_archived_writes_nothing() {
    let mut tree = Tree::new();
    tree.insert("bin/sh", Entry::symlink("busybox"), OnConflict::Refuse).unwrap();
    let mut bytes = Vec::new();
    assert!(newc::write(&tree, Properties::default(), &mut bytes).is_err());
    assert_eq!(bytes, b"");
}

#[test]
fn a_full_disk_is_one_clear_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = newc::write(&tree(), Properties::default(), Full).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!((error.to_string().as_str(), cause.as_str()), ("cannot write the archive", "no storage space"));
}
