//! Properties of what is written and read: whatever the tree, the archive says the same; whatever the bytes, the reader
//! says something and comes back.

use std::{io::Write, path::Path};

use initramfs_overlay_archive::{
    compress::Compression,
    listing, manifest,
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};
use proptest::{collection::vec, prelude::*, sample};

/// Returns few names and odd ones, so that clashes, links and directories in directories happen.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let part =
        sample::select(vec![&b"a"[..], b"b", b"a-b", b"new\nline", b"\xff\xfe", "größe".as_bytes(), b"...", b" "]);
    vec(part, 1..4).prop_map(|parts| parts.join(&b'/'))
}

fn entry() -> impl Strategy<Value = Entry> {
    let bytes = vec(any::<u8>(), 0..40);
    let kind = prop_oneof![
        Just(Entry::directory(0)),
        bytes.prop_map(|bytes| Entry::file(0, Content::Bytes(bytes))),
        path().prop_map(Entry::symlink),
        (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Entry::char_device(0, major, minor)),
        (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Entry::block_device(0, major, minor)),
        Just(Entry::fifo(0)),
    ];
    (kind, 0..=0o7777_u32, any::<u32>(), any::<u32>(), any::<Option<u32>>())
        .prop_map(|(entry, mode, uid, gid, mtime)| Entry { mode, uid, gid, mtime, ..entry })
}

/// Returns a tree, and its names with their entries and what they are hard links of, to put it together once more.
fn tree() -> impl Strategy<Value = Tree> {
    (vec((path(), entry()), 0..12), vec((any::<sample::Index>(), path()), 0..6)).prop_map(|(entries, links)| {
        let mut tree = Tree::new();
        for (path, entry) in entries {
            // What clashes is left out.
            if tree.create_parents(&path).is_ok() {
                let _ = tree.insert(path, entry, OnConflict::Keep);
            }
        }
        for (index, path) in links {
            let names: Vec<_> = tree.iter().map(|node| node.path.to_vec()).collect();
            if !names.is_empty() && tree.create_parents(&path).is_ok() {
                let _ = tree.link(index.get(&names), path, OnConflict::Keep);
            }
        }
        tree
    })
}

fn bytes(tree: &Tree, mtime: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = newc::write(tree, Properties { mtime, ..Properties::default() }, &mut bytes).unwrap();
    assert_eq!(length, bytes.len() as u64);
    assert!(bytes.len().is_multiple_of(512));
    bytes
}

/// Compresses as quickly as can be: the reader is tested, not the level. Setting up zstd's highest takes a tenth of a second.
fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        _ => {
            let mut encoder = compression.encoder(Vec::new()).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Returns the same names, entries and links, inserted in the order that `order` says.
fn put_together_again(tree: &Tree, order: &[usize]) -> Tree {
    let nodes: Vec<_> = tree.iter().collect();
    let mut again = Tree::new();
    for index in order {
        let node = nodes[*index];
        let sibling = nodes.iter().find(|other| other.inode == node.inode && again.get(other.path).is_some());
        match sibling {
            Some(sibling) => again.link(sibling.path, node.path, OnConflict::Refuse).unwrap(),
            None => again.insert(node.path, node.entry.clone(), OnConflict::Refuse).unwrap(),
        }
    }
    again
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(tree in tree(), mtime in any::<u32>()) {
        let contents = listing::read(bytes(&tree, mtime).as_slice(), Path::new("x")).unwrap();
        prop_assert_eq!(contents.problems, vec![]);
        prop_assert_eq!(contents.notes, Vec::<String>::new());
        let read: Vec<_> = contents.files.into_iter().map(|file| file.record).collect();
        prop_assert_eq!(read, manifest::records(&tree, mtime).unwrap());
    }

    #[test]
    fn the_order_of_insertion_does_not_show(
        (tree, order) in tree().prop_flat_map(|tree| {
            let order: Vec<_> = (0..tree.len()).collect();
            (Just(tree), Just(order).prop_shuffle())
        })
    ) {
        let again = put_together_again(&tree, &order);
        prop_assert_eq!(bytes(&tree, 0), bytes(&again, 0));
        prop_assert_eq!(tree, again);
    }

    #[test]
    fn no_bytes_are_too_odd(head in sample::select(MAGICS.to_vec()), tail in vec(any::<u8>(), 0..2000)) {
        let bytes = [head, &tail].concat();
        let _ = listing::read(bytes.as_slice(), Path::new("x"));
    }

    #[test]
    fn no_damage_is_too_odd(
        tree in tree(),
        which in any::<sample::Index>(),
        flips in vec((any::<sample::Index>(), any::<u8>()), 1..6),
        cut in any::<sample::Index>(),
        inside in any::<bool>(),
    ) {
        let compression = *which.get(&Compression::ALL);
        let damage = |mut bytes: Vec<u8>| {
            for (index, byte) in &flips {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes.truncate(cut.index(bytes.len() * 2));
            bytes
        };
        let plain = bytes(&tree, 0);
        let damaged = match inside {
            true => compressed(compression, &damage(plain)),
            false => damage(compressed(compression, &plain)),
        };
        if let Ok(contents) = listing::read(damaged.as_slice(), Path::new("x")) {
            prop_assert_eq!(contents.size, damaged.len() as u64);
            for segment in &contents.segments {
                prop_assert!(segment.offset + segment.size + segment.padding <= contents.size);
            }
        }
    }
}

const MAGICS: [&[u8]; 12] = [
    b"",
    b"070701",
    b"07070100000001000081A400000000000000000000000100000000000000000000000000000000000000000000000000000002",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff",
    b"BZh91AY&SY",
    b"\x5d\x00\x00\x10\x00",
    b"\xfd7zXZ\x00\x00\x01\x69\x22\xde\x36",
    b"\x02\x21\x4c\x18",
    b"\x02\x21\x4c\x18\x10\x00\x00\x00",
    b"\x28\xb5\x2f\xfd\x04",
    b"\x28\xb5\x2f\xfd\x04\xff",
    b"\0\0\0\0",
];
