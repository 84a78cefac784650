//! Changes on a directory, and on a filesystem that is full.

use super::*;
use crate::filesystem::Directory;
use std::{fs, io::Read};

fn directory() -> (tempfile::TempDir, Layer) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("a/b")).unwrap();
    fs::write(directory.path().join("a/b/file"), "deep").unwrap();
    fs::write(directory.path().join("one"), vec![1; 5000]).unwrap();
    fs::hard_link(directory.path().join("one"), directory.path().join("two")).unwrap();
    let layer = Layer::new(Rc::new(Alone(Directory::new(directory.path().to_owned()))));
    (directory, layer)
}

/// A directory whose room nobody else takes or gives back, as other programs do on the disk below it.
struct Alone(Directory);

impl Filesystem for Alone {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        self.0.stat(path)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Content>> {
        self.0.open(path)
    }

    fn identity(&self, path: &str) -> Option<String> {
        self.0.identity(path)
    }

    fn links(&self, path: &str) -> u64 {
        self.0.links(path)
    }

    fn capacity(&self) -> Capacity {
        Capacity { total: 1 << 20, free: 1 << 19, withheld: 0, inodes: 100, block: 4096 }
    }
}

fn text(layer: &Layer, path: &str) -> String {
    let mut text = String::new();
    layer.source(path).unwrap().open().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_moved_directory_takes_along_what_is_in_it() {
    let (_directory, mut layer) = directory();
    layer.put("a/b/new", Source::Bytes(Rc::from(*b"new"))).unwrap();
    layer.rename("a", "c").unwrap();
    assert_eq!(layer.list("").unwrap(), ["c", "one", "two"]);
    assert_eq!(layer.list("c/b").unwrap(), ["file", "new"]);
    assert_eq!((text(&layer, "c/b/file"), text(&layer, "c/b/new")), ("deep".into(), "new".into()));
    assert_eq!(layer.stat("a/b/file").unwrap_err().kind(), io::ErrorKind::NotFound);
    layer.make_dir("a", 0o700).unwrap();
    assert!(layer.list("a").unwrap().is_empty());
    assert_eq!(layer.rename("one", "c").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(layer.make_dir("c", 0o755).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(layer.put("nowhere/x", Source::Bytes(Rc::from(*b""))).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(layer.stat("one/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn room_comes_back_with_the_last_name() {
    let (_directory, mut layer) = directory();
    let before = layer.capacity();
    let free = |layer: &Layer| (layer.capacity().free, layer.capacity().inodes);
    layer.remove("one").unwrap();
    assert_eq!(layer.capacity(), before, "two is the same file");
    layer.rename("two", "three").unwrap();
    assert_eq!(layer.capacity(), before);
    layer.put("copy", Source::Bytes(Rc::from(vec![0; 4097]))).unwrap();
    layer.link("copy", "again").unwrap();
    assert_eq!(free(&layer), (before.free - before.taken(4097), before.inodes - 1));
    layer.remove("three").unwrap();
    assert_eq!(free(&layer), (before.free - before.taken(4097) + before.taken(5000), before.inodes));
    layer.rename("a", "b").unwrap();
    layer.remove("b/b/file").unwrap();
    layer.remove_dir("b/b").unwrap();
    assert_eq!(layer.capacity().inodes, before.inodes + 2);
}

/// A filesystem with room for so much.
struct Full(Capacity);

impl Filesystem for Full {
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(vec!["old".into()])
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        match path {
            "" => Ok(Stat { kind: Kind::Directory, mode: 0o755, size: 0 }),
            "old" => Ok(Stat { kind: Kind::File, mode: 0o644, size: 10_000 }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn identity(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }

    fn capacity(&self) -> Capacity {
        self.0
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let full = |free, withheld, inodes| {
        Layer::new(Rc::new(Full(Capacity { total: 1 << 20, free, withheld, inodes, block: 4096 })))
    };
    let bytes = |size: usize| Source::Bytes(Rc::from(vec![0; size]));
    let code = |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    assert_eq!(code(full(8192, 0, 1).put("new", bytes(8192))), None);
    assert_eq!(code(full(8192, 1, 1).put("new", bytes(8192))), Some(ENOSPC), "the last block is kept back");
    assert_eq!(code(full(8192, 0, 0).put("new", bytes(1))), Some(ENOSPC), "no inode");
    assert_eq!(code(full(8192, 0, 0).make_dir("new", 0o755)), Some(ENOSPC), "no inode");
    assert_eq!(code(full(4095, 0, 1).make_dir("new", 0o755)), Some(ENOSPC), "no block");
    assert_eq!(code(full(8192, 0, 0).put("old", bytes(1))), None, "the name and its inode are there");
    assert_eq!(code(full(0, 0, 0).link("old", "new")), None);
    let mut layer = full(0, 0, 0);
    layer.remove("old").unwrap();
    assert_eq!((layer.capacity().free, layer.capacity().inodes), (12_288, 1));
    assert_eq!(code(layer.put("new", bytes(12_288))), None);
    assert_eq!(code(layer.make_dir("another", 0o755)), Some(ENOSPC));
}
