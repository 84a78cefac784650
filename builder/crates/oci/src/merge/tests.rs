use super::*;

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

type Row = (&'static str, EntryType, &'static str);

fn put(merge: &mut Merge, layer: u32, rows: &[Row]) -> Result<(), String> {
    merge.begin_layer();
    for (number, (path, kind, link)) in (0..).zip(rows) {
        merge.add(&Member::plain(path.as_bytes(), *kind, link.as_bytes()), layer, number)?;
    }
    Ok(())
}

/// Returns each name with a letter for what it is, and the layer where a file is from.
fn merged(layers: &[&[Row]]) -> Result<Vec<String>, String> {
    let mut merge = Merge::default();
    for (layer, rows) in (0..).zip(layers) {
        put(&mut merge, layer, rows)?;
    }
    merge.tree.check_parents().map_err(|error| error.to_string())?;
    let shown = merge.tree.iter().map(|node| {
        let path = String::from_utf8_lossy(node.path);
        match &node.entry.kind {
            Kind::Directory => format!("{path}/"),
            Kind::Symlink(target) => format!("{path}@{}", String::from_utf8_lossy(target)),
            Kind::File(Content::Member { layer, .. }) => format!("{path} {layer}"),
            other => format!("{path} {}", other.word()),
        }
    });
    Ok(shown.collect())
}

/// Reads `directory/`, `link@TARGET`, `name=HARD LINK`, `device c` and names of files, separated by commas.
fn rows(text: &'static str) -> Vec<Row> {
    let row = |name: &'static str| match (name.split_once('@'), name.split_once('=')) {
        (Some((name, target)), _) => (name, LINK, target),
        (_, Some((name, other))) => (name, HARD, other),
        _ if name.ends_with('/') || name.ends_with("/..") => (name, DIR, ""),
        _ => name.strip_suffix(" c").map_or((name, FILE, ""), |name| (name, EntryType::Char, "")),
    };
    text.split(", ").map(row).collect()
}

const BASE: &str = "./, d/, d/a, d/b, d/e/f, l@nowhere";

/// Changes of a second layer, and the root that comes of it.
const CASES: [(&str, &str, &str); 27] = [
    ("a file", "d/.wh.a", "d/, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    ("a directory", ".wh.d", "l@nowhere"),
    ("a dangling link itself", ".wh.l", "d/, d/a 0, d/b 0, d/e/, d/e/f 0"),
    ("nothing", "d/.wh.z, x/.wh.z", "d/, d/a 0, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    ("a name of the same layer before it: stays", "d/a, d/.wh.a", "d/, d/a 1, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    ("a name of the same layer behind it: stays", "d/.wh.a, d/a", "d/, d/a 1, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    ("opaque first", "d/, d/.wh..wh..opq, d/n", "d/, d/n 1, l@nowhere"),
    ("opaque last", "d/n, d/e/, d/.wh..wh..opq", "d/, d/e/, d/n 1, l@nowhere"),
    ("opaque root", "n, .wh..wh..opq", "n 1"),
    ("a directory with something new in it", "d/e/n, .wh.d", "d/, d/e/, d/e/n 1, l@nowhere"),
    ("a file over a directory", "d", "d 1, l@nowhere"),
    ("a link over a directory", "d@l", "d@l, l@nowhere"),
    ("a directory over a file", "d/a/, d/a/x", "d/, d/a/, d/a/x 1, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    ("a directory over a directory", "d/", "d/, d/a 0, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    ("a directory over a link", "l/", "d/, d/a 0, d/b 0, d/e/, d/e/f 0, l/"),
    ("a hard link into the layer below", "h=d/a, d/.wh.a", "d/, d/b 0, d/e/, d/e/f 0, h 0, l@nowhere"),
    ("a hard link to a symbolic link", "h=/l", "d/, d/a 0, d/b 0, d/e/, d/e/f 0, h@nowhere, l@nowhere"),
    ("what was in a directory that is a file now", "d, d/.wh.a, d/.wh..wh..opq", "d 1, l@nowhere"),
    ("a hard link as a whiteout", "h, d/.wh.a=h", "d/, d/b 0, d/e/, d/e/f 0, h 1, l@nowhere"),
    ("a device as a whiteout", ".wh.d c", "l@nowhere"),
    ("a directory as a whiteout", ".wh.d/", "l@nowhere"),
    ("a link as a whiteout", ".wh.d@x", "l@nowhere"),
    ("a whiteout of what no layer can have", "d/.wh..wh.a, .wh..wh.d", "d/, d/a 0, d/b 0, d/e/, d/e/f 0, l@nowhere"),
    (
        "what AUFS keeps for itself",
        ".wh..wh.aufs=x, .wh..wh.plnk/, .wh..wh.plnk/1.1, .wh..wh.orph/, d/",
        "d/, d/a 0, d/b 0, d/e/, d/e/f 0, l@nowhere",
    ),
    (
        "hard links to what AUFS keeps",
        ".wh..wh.plnk/1.1, d/a=/.wh..wh.plnk/1.1, n=./.wh..wh.plnk/1.1, d/a=.wh..wh.plnk/1.1",
        "d/, d/a 1, d/b 0, d/e/, d/e/f 0, l@nowhere, n 1",
    ),
    (
        "a `..` that stays inside",
        "d/e/../n, d/h=d/../d/n, ./d/x/..",
        "d/, d/a 0, d/b 0, d/e/, d/e/f 0, d/h 1, d/n 1, l@nowhere",
    ),
    ("an absolute name", "/d//./a", "d/, d/a 1, d/b 0, d/e/, d/e/f 0, l@nowhere"),
];

#[test]
fn layers_hide_what_the_specification_says() {
    for (what, changes, expected) in CASES {
        assert_eq!(merged(&[&rows(BASE), &rows(changes)]).unwrap().join(", "), expected, "{what}");
    }
}

#[test]
fn no_link_leads_out_of_the_tree() {
    for (what, layers, expected) in [
        (
            "up",
            [("x", LINK, "../../../etc"), ("x/passwd", FILE, "")],
            ["etc/", "etc/passwd 0", "x@../../../etc"].as_slice(),
        ),
        ("absolute", [("x", LINK, "/etc"), ("x/passwd", FILE, "")], &["etc/", "etc/passwd 0", "x@/etc"]),
        ("to the root", [("x", LINK, "/"), ("x/f", FILE, "")], &["f 0", "x@/"]),
        (
            "kept as data",
            [("x", LINK, "../../../etc/passwd"), ("y", HARD, "x")],
            &["x@../../../etc/passwd", "y@../../../etc/passwd"],
        ),
        ("parent swapped", [("a/f", FILE, ""), ("a", LINK, "/tmp")], &["a@/tmp"]),
    ] {
        assert_eq!(merged(&[&layers]).unwrap(), expected, "{what}");
    }
    // The link is the one that is written through, also where it was put by a layer below.
    let shown = merged(&[
        &[("usr/lib/", DIR, ""), ("lib", LINK, "usr/lib")],
        &[("lib/new", FILE, ""), ("lib/.wh.old", FILE, "")],
    ]);
    assert_eq!(shown.unwrap(), ["lib@usr/lib", "usr/", "usr/lib/", "usr/lib/new 1"]);
}

#[test]
fn odd_entries_are_errors() {
    for (rows, part) in [
        (&[("../x", FILE, "")][..], "`..`"),
        (&[("a/../../x", FILE, "")], "`..`"),
        (&[("h", HARD, "../../etc/shadow")], "`..`"),
        (&[("h", HARD, "/etc/shadow")], "`/etc/shadow`, which is not there"),
        (&[("h", HARD, "h")], "link to itself"),
        (&[("h", HARD, "")], "link to the root"),
        (&[("d/", DIR, ""), ("h", HARD, "d")], "link to the directory"),
        (&[("f", FILE, ""), ("f/x", FILE, "")], "`f` is a file and not a directory"),
        (&[("a", LINK, "b"), ("b", LINK, "a"), ("a/x", FILE, "")], "more than 40 symbolic links"),
        (&[("", FILE, "")], "root is not a directory"),
        (&[(".wh.", FILE, "")], "whiteout without a name"),
        (&[(".wh..", FILE, "")], "`.` and `..`"),
        (&[(".wh...", FILE, "")], "`.` and `..`"),
        (&[(".wh..wh..opq/x", FILE, "")], "name of a whiteout"),
        (&[("d/.wh.a/x", FILE, "")], "name of a whiteout"),
        (&[("d/.wh..wh.plnk/x", FILE, "")], "name of a whiteout"),
        (&[("h", HARD, ".wh..wh.plnk/1.1")], "which is not there"),
        (&[("x", LINK, "d/e"), ("f", FILE, ""), ("h", HARD, "x/../f")], "after a symbolic link"),
        (&[("l", LINK, ".wh.d"), ("l/x", FILE, "")], "leads to `.wh.d`, the name of a whiteout"),
        (&[("l", LINK, "")], "needs a target"),
        (&[("x", EntryType::new(b'Z'), "")], "type is unknown (`Z`)"),
    ] {
        let error = merged(&[rows]).unwrap_err();
        assert!(error.contains(part), "{rows:?}: {error}");
    }
    let deep = "d/".repeat(10_000);
    let mut merge = Merge::default();
    let error = merge.add(&Member::plain(deep.as_bytes(), DIR, b""), 0, 0).unwrap_err();
    assert!(error.contains("4095"), "{error}");
    let bomb = Member { device: (1 << 20, 0), ..Member::plain(b"dev", EntryType::Block, b"") };
    assert!(Merge::default().add(&bomb, 0, 0).unwrap_err().contains("major numbers"));
    let large = Member { uid: 1 << 32, ..Member::plain(b"f", FILE, b"") };
    assert!(Merge::default().add(&large, 0, 0).unwrap_err().contains("larger than Linux allows"));
}

#[test]
fn attributes_go_with_their_names() {
    let with =
        |path: &[u8]| Member { xattrs: [(b"user.a".to_vec(), b"1".to_vec())].into(), ..Member::plain(path, FILE, b"") };
    let mut merge = Merge::default();
    merge.begin_layer();
    for (number, path) in (0..).zip([&b"a"[..], b"b", b"d/c"]) {
        merge.add(&with(path), 0, number).unwrap();
    }
    put(&mut merge, 1, &[("h", HARD, "a"), ("b", FILE, ""), (".wh.d", FILE, "")]).unwrap();
    assert_eq!(merge.xattrs.keys().map(Vec::as_slice).collect::<Vec<_>>(), [&b"a"[..], b"h"]);
}
