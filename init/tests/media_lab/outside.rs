//! A picture of a directory tree, and how two of them differ.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

/// Bytes of a file that are compared.
const COMPARED: u64 = 4 << 20;

/// Every name in a tree, with what it stands for.
pub type Picture = BTreeMap<String, String>;

/// Looks at everything below some names in `root` that is on the same filesystem as `root`; no name stands for all.
pub fn look(root: &Path, names: &[&str]) -> Picture {
    let mut picture = Picture::new();
    let device = fs::symlink_metadata(root).unwrap().dev();
    let names: &[&str] = if names.is_empty() { &[""] } else { names };
    for name in names {
        walk(root, name, device, &mut picture);
    }
    picture
}

fn walk(root: &Path, name: &str, device: u64, picture: &mut Picture) {
    let path = if name.is_empty() { root.to_path_buf() } else { root.join(name) };
    let Ok(metadata) = fs::symlink_metadata(&path) else { return };
    if metadata.dev() != device {
        return;
    }
    let kind = metadata.file_type();
    let mut text = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
    if kind.is_symlink() {
        text.push_str(&format!(" -> {}", fs::read_link(&path).unwrap().display()));
    } else if kind.is_file() {
        text.push_str(&format!(" {} bytes", metadata.size()));
        if metadata.size() <= COMPARED {
            let mut hasher = DefaultHasher::new();
            fs::read(&path).unwrap_or_default().hash(&mut hasher);
            text.push_str(&format!(" {:x}", hasher.finish()));
        }
    } else if kind.is_block_device() || kind.is_char_device() {
        text.push_str(&format!(" device {:x}", metadata.rdev()));
    }
    picture.insert(if name.is_empty() { ".".into() } else { name.into() }, text);
    if kind.is_dir() {
        let mut names: Vec<String> = fs::read_dir(&path)
            .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        names.sort();
        for below in names {
            let below = if name.is_empty() { below } else { format!("{name}/{below}") };
            walk(root, &below, device, picture);
        }
    }
}

/// Returns what differs between two pictures, a line each, the first few.
pub fn differences(before: &Picture, after: &Picture) -> Vec<String> {
    const SHOWN: usize = 4;
    let mut all = Vec::new();
    for (name, text) in before {
        match after.get(name) {
            None => all.push(format!("{name} is gone")),
            Some(other) if other != text => all.push(format!("{name} has changed: {text} became {other}")),
            Some(_) => {}
        }
    }
    for (name, text) in after {
        if !before.contains_key(name) {
            all.push(format!("{name} is new: {text}"));
        }
    }
    all.truncate(SHOWN);
    all
}
