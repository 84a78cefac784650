//! Layers that want to do harm, through the command itself: each is an error that names image, layer and entry and leaves nothing, or a
//! name of the root that reaches nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use archive::listing;
use base::digest::digest;
use serde_json::json;
use tar::{EntryType, Header};

#[path = "oci_images/gzip.rs"]
mod gzip;
#[path = "oci_images/layer.rs"]
mod layer;
#[path = "oci_images/layout.rs"]
mod made;

use gzip::gzip;
use layer::{FILE, Row, header, layer};
use made::layout;

const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;
const PAX: EntryType = EntryType::XHeader;

/// A directory with an image in it, and beside it something that no image may reach.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/secret"), "untouched").unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes an archive of an ordinary layer with these layers on it.
    fn pack(&self, layers: &[(Vec<u8>, Vec<u8>)], more: &[&str]) -> (String, Output) {
        let base: &[Row] = &[
            ("etc/", DIR, b"", 0o755),
            ("etc/passwd", FILE, b"root", 0o644),
            ("init", FILE, b"#!/bin/sh\n", 0o755),
            ("lib", LINK, b"usr/lib", 0o777),
            ("dangling", LINK, b"../../nowhere", 0o777),
        ];
        let base = layer(base);
        let all = [&[(gzip(&base), base)], layers].concat();
        let image = layout(&self.path("image"), "amd64", &json!({ "Entrypoint": ["/init"] }), &all);
        let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
            .args(["oci", &image, "--platform", "linux/amd64", "--image-init", "-o"])
            .arg(self.path("out"))
            .args(more)
            .current_dir(self.path("outside"))
            .output()
            .unwrap();
        assert_eq!(names(&self.path("outside")), ["secret"]);
        assert_eq!(fs::read(self.path("outside/secret")).unwrap(), b"untouched");
        (image, output)
    }

    /// Packs an image whose second layer is `evil`, asserts that it is refused and nothing written, and returns the reason.
    fn refuse(&self, evil: &[u8], more: &[&str]) -> String {
        let stored = gzip(evil);
        let (image, output) = self.pack(&[(stored.clone(), evil.to_vec())], more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(names(self.0.path()), ["image", "outside"], "{said}");
        let start = format!("initramfs-overlay: image {image}, layer 2 (sha256:{})", digest(&stored));
        let rest = said.lines().find_map(|line| line.strip_prefix(&start));
        rest.unwrap_or_else(|| panic!("no line begins with {start}: {said}")).to_owned()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Packs a layer and returns the archive's names, one line each: name, mode, and the target of a link.
fn packed(rows: &[Row<'_>]) -> Vec<String> {
    let place = Place::new();
    let evil = layer(rows);
    let (_, output) = place.pack(&[(gzip(&evil), evil)], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = place.path("out");
    let contents = listing::read(fs::File::open(&path).unwrap(), &path).unwrap();
    assert!(contents.problems.is_empty(), "{:?}", contents.problems);
    let mut lines: Vec<String> = contents
        .files
        .into_iter()
        .map(|listed| {
            let record = listed.record;
            let target = record.target.map(|target| format!(" -> {}", target.text)).unwrap_or_default();
            format!("{} {:o}{target}", record.path.text, record.mode)
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn layers_that_must_not_be_are_refused_with_their_place() {
    let rows: &[(&[Row], &str, &str)] = &[
        (&[("../x", FILE, b"", 0o644)], "../x", "its path has a `..`"),
        (&[("a/../../etc/passwd", FILE, b"", 0o644)], "a/../../etc/passwd", "its path has a `..`"),
        (
            &[("h", HARD, b"../outside/secret", 0o644)],
            "h",
            "it is a hard link to `../outside/secret`: its path has a `..`",
        ),
        (&[("h", HARD, b"/outside/secret", 0o644)], "h", "hard link to `/outside/secret`, which is not there"),
        (&[("h", HARD, b"etc", 0o644)], "h", "hard link to the directory `etc`"),
        (&[("init/x", FILE, b"", 0o644)], "init/x", "its parent `init` is a file and not a directory"),
        (&[("o", LINK, b"o", 0o777), ("o/x", FILE, b"", 0o644)], "o/x", "more than 40 symbolic links"),
        (&[("etc/.wh.", FILE, b"", 0)], "etc/.wh.", "a whiteout without a name"),
        (&[("etc/.wh...", FILE, b"", 0)], "etc/.wh...", "hides a name"),
        (&[(".wh.x/y", FILE, b"", 0)], ".wh.x/y", "the name of a whiteout"),
        (&[("odd", EntryType::new(b'Z'), b"", 0)], "odd", "its type is unknown (`Z`)"),
        (&[("x", PAX, b"9 uid=-1\n", 0), ("f", FILE, b"", 0o644)], "f", "PAX record `uid` is -1"),
        (&[("x", PAX, b"18 uid=4294967296\n", 0), ("f", FILE, b"", 0o644)], "f", "larger than Linux allows"),
        (&[("x", PAX, b"8 path=a\n", 0), ("f", FILE, b"", 0o644)], "x", "PAX header is damaged"),
    ];
    for (rows, entry, reason) in rows {
        let said = Place::new().refuse(&layer(rows), &[]);
        assert!(said.starts_with(&format!(", entry `{entry}`: ")) && said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn bombs_are_refused_with_their_place() {
    let large = |size: &[u8; 12]| {
        let (mut header, _) = header("huge", FILE, b"", 0o644);
        header.as_old_mut().size = *size;
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    let device = |major: u32| {
        let (mut header, _) = header("dev/x", EntryType::Block, b"", 0o600);
        header.set_device_major(major).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let deep = |name: &str| {
        let long = [name.as_bytes(), b"\0"].concat();
        layer(&[("././@LongLink", EntryType::GNULongName, &long, 0), ("short", FILE, b"", 0o644)])
    };
    let mut holes = Header::new_gnu();
    holes.set_path("holes").unwrap();
    holes.set_entry_type(EntryType::GNUSparse);
    holes.set_mode(0o644);
    holes.set_uid(0);
    holes.set_gid(0);
    holes.set_mtime(0);
    holes.set_size(0);
    let gnu = holes.as_gnu_mut().unwrap();
    gnu.realsize = *b"10000000000\0";
    // The empty piece that ends it.
    (gnu.sparse[0].offset, gnu.sparse[0].numbytes) = (gnu.realsize, *b"00000000000\0");
    holes.set_cksum();
    let zeros = layer(&[("zeros", FILE, &vec![0; 20 << 20], 0o644)]);
    let attributes = format!("{} SCHILY.xattr.user.a={}\n", 1_000_000 + 29, "x".repeat(1_000_000));
    let many: Vec<Row> =
        (0..17).flat_map(|_| [("x", PAX, attributes.as_bytes(), 0), ("f", FILE, &b""[..], 0o644)]).collect();
    for (what, evil, more, entry, reason) in [
        ("gzip", zeros, &["--max-size", "16"][..], "zeros", "more than the"),
        // A gigabyte of holes in half a kilobyte, twice.
        (
            "holes",
            [holes.as_bytes().as_slice(), holes.as_bytes()].concat(),
            &["--max-size", "1500"],
            "holes",
            "more than the",
        ),
        ("beyond the end", large(b"17777777777\0"), &[], "huge", "cut off in its content"),
        ("beyond what an archive holds", large(b"77777777777\0"), &[], "huge", "cut off in its content"),
        (
            "beyond all disks",
            large(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            &[],
            "huge",
            "cut off in its content",
        ),
        ("device", device(1 << 20), &[], "dev/x", "major numbers"),
        ("deep", deep(&("d/".repeat(10_000) + "f")), &[], &("d/".repeat(10_000) + "f"), "4095"),
        ("long", deep(&"n".repeat(300)), &[], &"n".repeat(300), "255"),
        ("attributes", layer(&many), &[], "f", "bytes of extended attributes"),
        ("header", large(b"00000000000\0")[..100].to_vec(), &[], "", "cut off in a header"),
    ] {
        let said = Place::new().refuse(&evil, more);
        let place = if entry.is_empty() { ": ".to_owned() } else { format!(", entry `{entry}`: ") };
        assert!(said.starts_with(&place) && said.contains(reason), "{what}: {}", said.get(..300).unwrap_or(&said));
    }
}

#[test]
fn links_reach_nothing_but_the_root() {
    let base = ["dangling 777 -> ../../nowhere", "etc 755", "etc/passwd 644", "init 755", "lib 777 -> usr/lib"];
    let with = |changed: &[&str], gone: &[&str]| {
        let mut lines: Vec<String> = base.iter().map(|line| (*line).to_owned()).collect();
        lines.retain(|line| !gone.iter().any(|name| line.starts_with(&format!("{name} "))));
        lines.extend(changed.iter().map(|line| (*line).to_owned()));
        lines.sort();
        lines
    };
    // What it is, the layer, what is new then, what is gone.
    type Case<'a> = (&'a str, &'a [Row<'a>], &'a [&'a str], &'a [&'a str]);
    let rows: &[Case] = &[
        (
            "written through a link that leads up",
            &[("x", LINK, b"../../../etc", 0o777), ("x/passwd", FILE, b"evil", 0o600), ("x/new", FILE, b"", 0o600)],
            &["x 777 -> ../../../etc", "etc/passwd 600", "etc/new 600"],
            &["etc/passwd"],
        ),
        ("an absolute name", &[("/etc/passwd", FILE, b"evil", 0o600)], &["etc/passwd 600"], &["etc/passwd"]),
        (
            "a mode for what a link leads to",
            &[("x", LINK, b"/etc", 0o777), ("x/", DIR, b"", 0o777), ("x/passwd", FILE, b"", 0o666)],
            &["x 777", "x/passwd 666"],
            &[],
        ),
        (
            "a directory that becomes a link between two of its files",
            &[("d/a", FILE, b"", 0o644), ("d", LINK, b"etc", 0o777), ("d/passwd", FILE, b"evil", 0o600)],
            &["d 777 -> etc", "etc/passwd 600"],
            &["etc/passwd"],
        ),
        ("a whiteout of a dangling link", &[(".wh.dangling", FILE, b"", 0)], &[], &["dangling"]),
        (
            "a whiteout through a link",
            &[("x", LINK, b"../etc", 0o777), ("x/.wh.passwd", FILE, b"", 0)],
            &["x 777 -> ../etc"],
            &["etc/passwd"],
        ),
        ("a hard link to a link that leads out", &[("h", HARD, b"dangling", 0o777)], &["h 777 -> ../../nowhere"], &[]),
        ("a link over a directory", &[("etc", LINK, b"/", 0o777)], &["etc 777 -> /"], &["etc", "etc/passwd"]),
    ];
    for (what, rows, changed, gone) in rows {
        assert_eq!(packed(rows), with(changed, gone), "{what}");
    }
}
