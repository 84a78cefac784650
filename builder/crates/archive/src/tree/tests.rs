//! Tables of what the tree takes and what it refuses.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{Content, Entry, Kind, OnConflict, Tree};
use crate::Error;

fn file(text: &str) -> Entry {
    Entry::file(0o644, Content::Bytes(text.into()))
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.iter().map(|node| String::from_utf8(node.path.to_vec()).unwrap()).collect()
}

#[test]
fn a_directory_comes_before_what_it_holds() {
    let mut tree = Tree::new();
    for path in ["a/b/c", "a-b", "a/b.c", "z"] {
        tree.create_parents(path).unwrap();
        tree.insert(path, file("x"), OnConflict::Refuse).unwrap();
    }
    assert_eq!(paths(&tree), ["a", "a-b", "a/b", "a/b.c", "a/b/c", "z"]);
    tree.check_parents().unwrap();
}

#[test]
fn a_taken_name() {
    let (old, new) = (file("old"), file("new"));
    for (on_conflict, expected) in
        [(OnConflict::Refuse, None), (OnConflict::Keep, Some(&old)), (OnConflict::Replace, Some(&new))]
    {
        let mut tree = Tree::new();
        tree.insert("name", old.clone(), OnConflict::Refuse).unwrap();
        let result = tree.insert("name", new.clone(), on_conflict);
        match expected {
            None => assert!(matches!(result, Err(Error::Clash { old: "file", new: "file", .. }))),
            Some(_) => result.unwrap(),
        }
        assert_eq!(tree.get("name"), Some(expected.unwrap_or(&old)));
        assert_eq!(tree.len(), 1);
    }
}

#[test]
fn directories_meet() {
    let mut tree = Tree::new();
    tree.insert("tmp", Entry::directory(0o1777), OnConflict::Refuse).unwrap();
    tree.insert("tmp/x", file("x"), OnConflict::Refuse).unwrap();
    tree.insert("tmp", Entry::directory(0o1777), OnConflict::Refuse).unwrap();
    assert!(tree.insert("tmp", Entry::directory(0o755), OnConflict::Refuse).is_err());
    assert!(tree.insert("tmp", file("x"), OnConflict::Replace).is_err(), "tmp/x would have lost its parent");
    tree.insert("tmp", Entry::directory(0o755), OnConflict::Replace).unwrap();
    assert_eq!(tree.get("tmp"), Some(&Entry::directory(0o755)));
    tree.remove("tmp/x");
    tree.insert("tmp", file("x"), OnConflict::Replace).unwrap();
}

#[test]
fn hard_links_share_one_entry() {
    let mut tree = Tree::new();
    tree.insert("b", file("x"), OnConflict::Refuse).unwrap();
    tree.link("b", "a", OnConflict::Refuse).unwrap();
    tree.link("a", "c", OnConflict::Refuse).unwrap();
    tree.link("c", "a", OnConflict::Refuse).unwrap();
    let links = |tree: &Tree| tree.iter().map(|node| tree.links(&node)).collect::<Vec<_>>();
    assert_eq!(links(&tree), [3, 3, 3]);
    tree.insert("b", file("other"), OnConflict::Replace).unwrap();
    assert_eq!(links(&tree), [2, 1, 2]);
    assert!(tree.remove("a"));
    assert!(!tree.remove("a"));
    assert_eq!(tree.get("c"), Some(&file("x")));

    tree.insert("d", Entry::directory(0o755), OnConflict::Refuse).unwrap();
    tree.insert("l", Entry::symlink("c"), OnConflict::Refuse).unwrap();
    for existing in ["d", "l", "missing"] {
        assert!(matches!(tree.link(existing, "new", OnConflict::Refuse), Err(Error::BadEntry { .. })), "{existing}");
    }
}

#[test]
fn a_directory_counts_its_subdirectories() {
    let mut tree = Tree::new();
    tree.create_parents("a/b/c/x").unwrap();
    tree.create_parents("a/d/x").unwrap();
    tree.insert("a/file", file(""), OnConflict::Refuse).unwrap();
    let links: Vec<_> = tree.iter().map(|node| (node.path, tree.links(&node))).collect();
    assert_eq!(links, [(&b"a"[..], 4), (b"a/b", 3), (b"a/b/c", 2), (b"a/d", 2), (b"a/file", 1)]);
}

#[test]
fn a_parent_must_be_a_directory() {
    let mut tree = Tree::new();
    tree.insert("bin/sh", file("x"), OnConflict::Refuse).unwrap();
    let error = tree.check_parents().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot archive `bin/sh`: its parent `bin` is not in the tree, and must be a directory"
    );
    tree.insert("bin", Entry::symlink("usr/bin"), OnConflict::Refuse).unwrap();
    let error = tree.check_parents().unwrap_err().to_string();
    assert!(error.contains("`bin` is a symlink"), "{error}");
    assert!(tree.create_parents("bin/sh").is_err());
}

#[test]
fn entries_no_archive_can_hold() {
    let mut tree = Tree::new();
    let sparse = tempfile::NamedTempFile::new().unwrap();
    sparse.as_file().set_len(u64::from(u32::MAX) + 1).unwrap();
    let large = Entry::file(0o644, Content::host(sparse.path()).unwrap());
    tree.insert("big", large, OnConflict::Refuse).unwrap();
    let error = tree.check_archive().unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 0x1_0000_0000, .. }), "{error}");
    tree.remove("big");
    for entry in [
        Entry::symlink(""),
        Entry::symlink("a\0b"),
        Entry::symlink([b'x'; 4096]),
        Entry::char_device(0o600, 4096, 0),
        Entry::block_device(0o600, 0, 1 << 20),
    ] {
        assert!(matches!(tree.insert("x", entry, OnConflict::Refuse), Err(Error::BadEntry { .. })));
    }
    assert!(matches!(tree.insert("../x", file(""), OnConflict::Refuse), Err(Error::BadEntry { .. })));
    assert!(tree.is_empty());
}

#[test]
fn the_order_of_insertion_makes_no_difference() {
    let (mut a, mut b) = (Tree::new(), Tree::new());
    a.insert("x", file("1"), OnConflict::Refuse).unwrap();
    a.link("x", "y", OnConflict::Refuse).unwrap();
    a.insert("z", file("1"), OnConflict::Refuse).unwrap();
    b.insert("z", file("1"), OnConflict::Refuse).unwrap();
    b.insert("y", file("1"), OnConflict::Refuse).unwrap();
    b.link("y", "x", OnConflict::Refuse).unwrap();
    assert_eq!(a, b);
    b.insert("y", file("1"), OnConflict::Replace).unwrap();
    assert_ne!(a, b, "y is no hard link any more");
}

#[test]
fn a_directory_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("etc/deep")).unwrap();
    fs::create_dir(at("tmp")).unwrap();
    fs::set_permissions(at("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(at("etc/new\nline"), "text").unwrap();
    fs::write(at("etc/run"), "#!/bin/sh").unwrap();
    fs::set_permissions(at("etc/run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(at("etc/run"), at("etc/deep/again")).unwrap();
    std::os::unix::fs::symlink("/nowhere", at("link")).unwrap();
    fs::write(at("etc/init"), "not at the top").unwrap();

    let mut tree = Tree::new();
    tree.insert("etc", Entry::directory(0o700), OnConflict::Refuse).unwrap();
    tree.include(directory.path(), OnConflict::Refuse).unwrap();
    assert_eq!(
        paths(&tree),
        ["etc", "etc/deep", "etc/deep/again", "etc/init", "etc/new\nline", "etc/run", "link", "tmp"]
    );
    let mode = |path: &str| tree.get(path).unwrap().mode;
    assert_eq!(mode("etc"), 0o700, "a directory that was there keeps its mode");
    assert_eq!([mode("etc/new\nline"), mode("etc/run"), mode("etc/deep"), mode("tmp")], [0o644, 0o755, 0o755, 0o1777]);
    assert_eq!(tree.get("link"), Some(&Entry::symlink("/nowhere")));
    let again = tree.iter().find(|node| node.path == b"etc/deep/again").unwrap();
    assert_eq!(tree.links(&again), 2);
    assert!(matches!(&again.entry.kind, Kind::File(content) if content.size() == 9));

    // Once more over itself: nothing may be replaced without being asked.
    assert!(matches!(tree.include(directory.path(), OnConflict::Refuse), Err(Error::Clash { .. })));
    let before = tree.clone();
    tree.include(directory.path(), OnConflict::Replace).unwrap();
    assert_eq!(tree, before);
}

#[test]
fn directories_that_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    assert!(Tree::new().include(&missing, OnConflict::Refuse).unwrap_err().to_string().contains("missing"));
    fs::write(&missing, "now a file").unwrap();
    assert!(Tree::new().include(&missing, OnConflict::Refuse).is_err());

    fs::write(directory.path().join("init"), "mine").unwrap();
    let error = Tree::new().include(directory.path(), OnConflict::Replace).unwrap_err();
    assert!(matches!(error, Error::ShadowsInit { .. }));
    fs::remove_file(directory.path().join("init")).unwrap();

    let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    let error = Tree::new().include(directory.path(), OnConflict::Refuse).unwrap_err().to_string();
    assert!(error.contains("`socket`"), "{error}");
}

/// Runs `work` on a thread that is not root: root may read everything. The other threads stay what they are.
fn without_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = directory.path().join("secret");
    for make_file in [true, false] {
        if make_file {
            fs::write(&secret, "x").unwrap();
        } else {
            fs::remove_file(&secret).unwrap();
            fs::create_dir(&secret).unwrap();
        }
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
        let error = without_root(|| Tree::new().include(directory.path(), OnConflict::Refuse).unwrap_err());
        assert_eq!(error.to_string(), format!("cannot read {}", secret.display()));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("ermission denied"), "{cause}");
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).unwrap();
}
