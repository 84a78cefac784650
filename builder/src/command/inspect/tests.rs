//! Tests of the printed text, word for word.

use archive::{
    compress::Compression,
    listing::{self, Listing},
    manifest::{Name, Record, Type},
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};

use super::{about, json_text, mode, table};
use std::path::Path;

fn contents() -> Listing {
    let mut tree = Tree::new();
    let mut insert = |path: &[u8], entry| {
        tree.create_parents(path).unwrap();
        tree.insert(path, entry, OnConflict::Refuse).unwrap();
    };
    insert(
        b"etc/initrd-release",
        Entry::file(
            0o644,
            Content::Bytes(
                b"ID=initramfs-overlay\nNAME=initramfs-overlay\nVERSION=0.1.0\nVARIANT=debug\nARCH=armv6l\n".into(),
            ),
        ),
    );
    insert(b"bin/busybox", Entry::file(0o755, Content::Bytes(vec![7; 2_000_000])));
    insert(b"bin/sh", Entry::symlink("busybox"));
    insert(b"bin/\xff\n", Entry::fifo(0o600));
    insert(b"dev/console", Entry::char_device(0o622, 5, 1));
    tree.link("bin/busybox", "bin/ls", OnConflict::Refuse).unwrap();
    let mut bytes = Vec::new();
    newc::write(&tree, Properties::default(), &mut bytes).unwrap();
    let mut encoder = Compression::Gzip.encoder(bytes).unwrap();
    newc::write(&tree, Properties::default(), &mut encoder).unwrap();
    listing::read(encoder.finish().unwrap().as_slice(), Path::new("x")).unwrap()
}

#[test]
fn the_table() {
    let mut contents = contents();
    // Compressed sizes are the library's affair.
    contents.segments[1].size = 2048;
    contents.size = 4096;
    contents.files.truncate(10);
    let text = table(&Name::new(b"init\x1b.gz"), &contents, true);
    let expected = "\
init\\u{1b}.gz: an initramfs of 4.00 KiB
initramfs-overlay 0.1.0 (debug, armv6l) (from etc/initrd-release)

segment      offset  compression        size    unpacked  entries
      1           0  none           1.91 MiB    1.91 MiB        9  and 104 zero bytes
      2     2001408  gzip           2.00 KiB    1.91 MiB        9

largest      1.91 MiB  bin/busybox
                 84 B  etc/initrd-release

drwxr-xr-x  0:0            bin
-rwxr-xr-x  0:0  1.91 MiB  bin/busybox
-rwxr-xr-x  0:0            bin/ls (the same file as bin/busybox)
lrwxrwxrwx  0:0            bin/sh -> busybox
prw-------  0:0            bin/\\xff\\n
drwxr-xr-x  0:0            dev
crw--w--w-  0:0       5:1  dev/console
drwxr-xr-x  0:0            etc
-rw-r--r--  0:0      84 B  etc/initrd-release
drwxr-xr-x  0:0            bin

4 directories, 2 files, 1 hard link, 1 symbolic link, 1 device, 1 other; 1.91 MiB of content.
";
    assert_eq!(text, expected);
    assert!(!table(&Name::new(b"x"), &contents, false).contains("bin/ls"));
}

#[test]
fn the_json_holds_everything() {
    let contents = contents();
    let value: serde_json::Value = serde_json::from_str(&json_text(&Name::new(b"x"), &contents)).unwrap();
    assert_eq!(value["release"]["fields"]["VARIANT"], "debug");
    assert_eq!(value["segments"][1]["compression"], "gzip");
    assert_eq!(value["totals"]["files"], 4);
    let file = &value["files"][4];
    assert_eq!(
        (&file["segment"], &file["path_hex"], &file["type"]),
        (&0.into(), &"62696e2fff0a".into(), &"fifo".into())
    );
    let busybox = &value["files"][1];
    assert_eq!(busybox["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(value["problems"], serde_json::json!([]));
}

#[test]
fn versions_of_others() {
    let about_file = |path: &str, text: &str| {
        let mut tree = Tree::new();
        tree.create_parents(path).unwrap();
        tree.insert(path, Entry::file(0o644, Content::Bytes(text.into())), OnConflict::Refuse).unwrap();
        let mut bytes = Vec::new();
        newc::write(&tree, Properties::default(), &mut bytes).unwrap();
        about(listing::read(bytes.as_slice(), Path::new("x")).unwrap().release.as_ref(), true)
    };
    assert_eq!(
        about_file("usr/lib/initrd-release", "NAME=\"Fedora Linux\"\nPRETTY_NAME=\"Fedora Linux 41 dracut-102\"\n"),
        "Fedora Linux 41 dracut-102 (from usr/lib/initrd-release)"
    );
    assert_eq!(about_file("etc/os-release", "ID=arch\nVERSION_ID=1\x1b\n"), "arch 1\\u{1b} (from etc/os-release)");
    assert!(about_file("etc/motd", "x").starts_with("It does not say"));
    assert!(about(None, false).starts_with("What could be read"));
}

#[test]
fn modes_as_ls_shows_them() {
    for (kind, bits, text) in [
        (Type::File, 0o4755, "-rwsr-xr-x"),
        (Type::File, 0o6644, "-rwSr-Sr--"),
        (Type::Directory, 0o1777, "drwxrwxrwt"),
        (Type::BlockDevice, 0o1660, "brw-rw---T"),
        (Type::Unknown, 0, "?---------"),
    ] {
        let record = Record {
            path: Name::new(b"x"),
            kind,
            mode: bits,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: None,
            sha256: None,
            target: None,
            device: None,
            hard_link: None,
        };
        assert_eq!(mode(&record), text);
    }
}
