//! An initramfs, read as `inspect` does.

use std::{io::Write, path::Path};

use archive::{
    compress::Compression,
    listing,
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};

/// Checks that a listing has the size of the input, and no more files than the entries it counts.
pub fn run(data: &[u8]) {
    if let Ok(contents) = listing::read(data, Path::new("fuzz")) {
        assert_eq!(contents.size, data.len() as u64);
        let entries: u64 = contents.segments.iter().map(|segment| segment.entries).sum();
        assert!(contents.files.len() as u64 <= entries);
    }
}

/// Returns a tree in every compression, two archives in one file, and one that is cut short.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut tree = Tree::new();
    for (path, entry) in [
        ("bin", Entry::directory(0o755)),
        ("dev", Entry::directory(0o755)),
        ("dev/console", Entry::char_device(0o600, 5, 1)),
        ("bin/a", Entry::file(0o755, Content::Bytes(b"#!/bin/sh\n".into()))),
        ("init", Entry::symlink("bin/a")),
        ("etc", Entry::directory(0o755)),
        ("etc/initrd-release", Entry::file(0o644, Content::Bytes(b"NAME=initramfs-overlay\nVERSION=0.1.0\n".into()))),
    ] {
        tree.insert(path, entry, OnConflict::Refuse).expect("a name");
    }
    tree.link("bin/a", "bin/b", OnConflict::Refuse).expect("a name");
    let packed = |compression: Compression| {
        let mut encoder = compression.encoder(Vec::new()).expect("an encoder");
        newc::write(&tree, Properties::default(), &mut encoder).expect("an archive");
        encoder.finish().expect("memory")
    };
    let mut seeds = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Xz, Compression::Lz4] {
        seeds.push((compression.name().to_owned(), packed(compression)));
    }
    let mut two = packed(Compression::None);
    two.write_all(&packed(Compression::Gzip)).expect("memory");
    seeds.push(("cut".to_owned(), two[..two.len() - 30].to_vec()));
    seeds.push(("two".to_owned(), two));
    seeds
}
