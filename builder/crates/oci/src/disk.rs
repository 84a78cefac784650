//! An image's root as a disk that is kept: an EROFS image, and the names in it, by which a later start knows what it needs to know without
//! reading the layers. What such a disk is made of decides on its key, so that one that is kept is never stale.

use std::path::{Path, PathBuf};

use archive::tree::{Content, Entry, Kind, OnConflict};
use base::{
    IoContext,
    atomic_file::{AtomicFile, write_file},
    cache::{Cache, Check},
    digest::{digest, file_digest},
};

use super::{
    blob::Digest,
    erofs::{self, Draft},
    image::{Image, Root},
    inject::Inject,
    lower,
    merge::Merge,
};
use crate::{Error, Result};

/// The cache's room for disks.
const ROOM: &str = "oci-disk";
/// Bytes that disks may take in the cache before those that were used longest ago go.
const ROOM_MAX: u64 = 20 << 30;
/// A disk that was used so recently stays.
const RECENT: std::time::Duration = std::time::Duration::from_secs(3600);
/// Changes whenever the same parts give another disk.
const RECIPE: &str = "1";
/// The EROFS image.
const FILE: &str = "root.erofs";
/// The names in it: kind, path and a link's target, a NUL behind each.
const NAMES: &str = "names";

/// Everything that decides on the content of a disk, beside the image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    /// Patterns of the names that are left out (`--exclude`).
    pub exclude: &'a [String],
    /// Files and directories of the host that are added (`--inject`).
    pub inject: &'a [Inject],
    /// The program that sees to the network, where that is put in.
    pub network: Option<&'a [u8]>,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// The EROFS image.
    pub file: PathBuf,
    /// Its names, without contents and attributes.
    pub names: Merge,
    /// Devices and attributes left out because overlayfs would obey them, as text for messages; empty for a disk found in the cache.
    pub taken: Vec<String>,
    /// True where it was there before.
    pub is_kept: bool,
}

/// Returns the key of the disk that is made of `image` and `parts`; none for an image whose layers have no digests, and so nothing to be
/// known by.
///
/// # Errors
/// [`Error::Io`] and [`Error::Usage`] for what is to be put in.
pub fn key(image: &Image, parts: &Parts<'_>) -> Result<Option<String>> {
    let Root::Layers(layers) = &image.root else { return Ok(None) };
    let digests: Option<Vec<String>> = layers
        .iter()
        .map(|layer| layer.diff_id.as_ref().or(layer.blob.digest.as_ref()).map(Digest::to_string))
        .collect();
    let Some(mut all) = digests else { return Ok(None) };
    all.insert(0, RECIPE.to_owned());
    // The file itself says which image it is of.
    all.push(format!("image {}", image.digest.as_ref().map(Digest::to_string).unwrap_or_default()));
    let volumes = image.config.iter().flat_map(|config| &config.config.volumes);
    all.extend(volumes.map(|volume| format!("volume {volume:?}")));
    all.extend(parts.exclude.iter().map(|glob| format!("exclude {glob:?}")));
    for inject in parts.inject {
        // Where it goes depends on the image's links; what it is does not.
        let mut merge = Merge::default();
        inject.apply(&mut merge)?;
        all.push(format!("inject {inject:?}"));
        for node in merge.tree.iter() {
            let content = match &node.entry.kind {
                Kind::File(Content::Host { path, .. }) => file_digest(path)?,
                kind => format!("{kind:?}"),
            };
            all.push(format!("{:?} {:o} {:?} {content}", node.path, node.entry.mode, node.entry.mtime));
        }
    }
    all.extend(parts.network.map(|program| format!("network {}", digest(program))));
    Ok(Some(digest(all.join("\n").as_bytes()).get(..32).unwrap_or_default().to_owned()))
}

/// Returns the disk of that key in the cache, where it is there and was not changed since it was made.
#[must_use]
pub fn find(cache: &Cache, key: &str) -> Option<Disk> {
    let entry = cache.find(ROOM, key, Check::Stamps)?;
    let names = read_names(&entry.join(NAMES)).ok()?;
    cache.touch(&entry);
    Some(Disk { file: entry.join(FILE), names, taken: Vec::new(), is_kept: true })
}

/// Makes the disk of the root that `merge` puts together, with the contents in the draft, and keeps it under `key`. Nothing is kept of one
/// that fails.
///
/// # Errors
/// As [`write`].
pub fn keep<E: From<Error> + From<base::Error>>(
    cache: &Cache,
    key: &str,
    image: &Image,
    merge: impl FnOnce(&mut Draft) -> Result<Merge, E>,
) -> Result<Disk, E> {
    let mut made = None;
    // Nobody takes away what is being made.
    let reading = cache.reading(ROOM);
    let entry = cache.entry(ROOM, key, Check::Stamps, |directory| {
        made = Some(write(image, directory, merge)?);
        Ok::<_, E>(())
    })?;
    drop(reading);
    let _ = cache.shrink(ROOM, ROOM_MAX, RECENT);
    let is_kept = made.is_none();
    let (names, taken) = match made {
        Some(made) => made,
        // Another command was quicker.
        None => (read_names(&entry.join(NAMES))?, Vec::new()),
    };
    Ok(Disk { file: entry.join(FILE), names, taken, is_kept })
}

/// Makes the disk of the root that `merge` puts together, with the contents in the draft, in `directory`.
///
/// # Errors
/// As [`write`].
pub fn make<E: From<Error> + From<base::Error>>(
    image: &Image,
    directory: &Path,
    merge: impl FnOnce(&mut Draft) -> Result<Merge, E>,
) -> Result<Disk, E> {
    let (names, taken) = write(image, directory, merge)?;
    Ok(Disk { file: directory.join(FILE), names, taken, is_kept: false })
}

/// Takes the disks that were used longest ago out of the cache, until those that are left have at most `kept` bytes.
///
/// # Errors
/// [`Error::Usage`] while another command reads there, [`Error::Io`].
pub fn prune(cache: &Cache, kept: u64) -> Result<base::cache::Shrunk> {
    super::registry::shrink(cache, ROOM, kept)
}

/// Writes the image and its names. Returns the root, and what an overlay would obey and so was left out.
///
/// # Errors
/// As `merge` and [`erofs::write`].
fn write<E: From<Error> + From<base::Error>>(
    image: &Image,
    directory: &Path,
    merge: impl FnOnce(&mut Draft) -> Result<Merge, E>,
) -> Result<(Merge, Vec<String>), E> {
    let mut draft = Draft::new(AtomicFile::create(directory.join(FILE))?)?;
    let merge = merge(&mut draft)?;
    let (lower, taken) = lower::tame(&merge);
    erofs::write(&lower, image, 0, erofs::Ends::Blocks, &mut draft)?;
    draft.commit()?;
    let mut names = Vec::new();
    for node in lower.tree.iter() {
        let (kind, target): (&[u8], Option<&[u8]>) = match &node.entry.kind {
            Kind::Directory => (b"d", None),
            Kind::Symlink(target) => (b"l", Some(target)),
            _ => (b"-", None),
        };
        for part in [Some(kind), Some(node.path), target].into_iter().flatten() {
            names.extend_from_slice(part);
            names.push(0);
        }
    }
    write_file(directory.join(NAMES), &names)?;
    drop(lower);
    Ok((merge, taken))
}

fn read_names(path: &Path) -> Result<Merge> {
    let bytes = std::fs::read(path).at("read", path)?;
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut merge = Merge::default();
    while let Some(kind) = parts.next().filter(|kind| !kind.is_empty()) {
        let name = parts.next().unwrap_or_default();
        let entry = match kind {
            b"d" => Entry::directory(0),
            b"l" => Entry::symlink(parts.next().unwrap_or_default()),
            _ => Entry::file(0, Content::Bytes(Vec::new())),
        };
        merge.tree.insert(name, entry, OnConflict::Replace)?;
    }
    Ok(merge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Layer;

    fn image(digests: &[&str]) -> Image {
        let layer = |digits: &&str| Layer {
            blob: crate::blob::Blob {
                place: crate::blob::Place { path: "layer".into(), offset: 0, size: 0 },
                digest: None,
            },
            diff_id: Digest::parse(&format!("sha256:{}", digits.repeat(64))),
            urls: Vec::new(),
        };
        Image { root: Root::Layers(digests.iter().map(layer).collect()), ..Image::without_layers("i") }
    }

    #[test]
    fn all_that_decides_on_a_disk_is_in_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let tool = directory.path().join("tool");
        std::fs::write(&tool, "1").unwrap();
        let inject = |to: &str| vec![Inject::parse(&format!("{}:{to}", tool.display())).unwrap()];
        let plain = Parts::default();
        let (one, two) = (image(&["a", "b"]), image(&["b", "a"]));
        let (docs, here, there) = (["doc".to_owned()], inject("/a"), inject("/b"));
        let keys = |image: &Image, parts: &Parts<'_>| key(image, parts).unwrap().unwrap();
        let mut all = vec![
            keys(&one, &plain),
            keys(&two, &plain),
            keys(&one, &Parts { exclude: &docs, ..plain }),
            keys(&one, &Parts { inject: &here, ..plain }),
            keys(&one, &Parts { inject: &there, ..plain }),
            keys(&one, &Parts { network: Some(b"1"), ..plain }),
            keys(&one, &Parts { network: Some(b"2"), ..plain }),
        ];
        assert_eq!(all[3], keys(&one, &Parts { inject: &here, ..plain }));
        std::fs::write(&tool, "2").unwrap();
        all.push(keys(&one, &Parts { inject: &here, ..plain }));
        let mut config = one.clone();
        config.config = Some(crate::config::Config::parse(br#"{"config":{"Volumes":{"/data":{}}}}"#).unwrap());
        all.push(keys(&config, &plain));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(key(&image(&["x"]), &plain).unwrap(), None, "a layer that nobody knows");
        let directory = Image { root: Root::Directory("/".into()), ..Image::without_layers("dir:/") };
        assert_eq!(key(&directory, &plain).unwrap(), None);
    }

    #[test]
    fn a_disk_is_kept_as_long_as_nobody_changes_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let mut merge = Merge::default();
        merge.insert(b"bin", Entry::directory(0o755)).unwrap();
        merge.insert(b"bin/sh", Entry::symlink("/bin/busybox")).unwrap();
        merge.insert(b"bin/busybox", Entry::file(0o755, Content::Bytes(vec![1; 5000]))).unwrap();
        merge.insert(b"gone", Entry::char_device(0o600, 0, 0)).unwrap();
        let image = image(&[]);
        assert!(find(&cache, "k").is_none());
        let made = keep(&cache, "k", &image, |_| {
            assert!(prune(&cache, 0).is_err(), "one in the making was taken away");
            Ok::<_, Error>(merge.clone())
        })
        .unwrap();
        assert_eq!((made.taken.len(), made.is_kept), (1, false));
        let found = find(&cache, "k").unwrap();
        assert_eq!((&found.file, found.is_kept), (&made.file, true));
        // Whoever waited for another command's disk takes that one.
        let waited = keep(&cache, "k", &image, |_| -> Result<Merge> { panic!("it is there") }).unwrap();
        assert!(waited.is_kept && waited.names.tree.len() == found.names.tree.len());
        // One that fails leaves nothing.
        let failed = keep(&cache, "other", &image, |_| Err(Error::Usage("no".to_owned())));
        assert!(failed.is_err() && find(&cache, "other").is_none());
        assert_eq!(found.names.real_path(b"bin/sh").as_deref(), Some(&b"bin/busybox"[..]));
        assert!(found.names.tree.get("gone").is_none() && found.names.tree.len() == 3);
        for change in ["the content", "the time"] {
            let bytes = std::fs::read(&made.file).unwrap();
            let file = std::fs::File::options().write(true).open(&made.file).unwrap();
            if change == "the content" {
                let time = file.metadata().unwrap().modified().unwrap();
                std::os::unix::fs::FileExt::write_at(&file, b"x", 4096).unwrap();
                // Whoever sets the time back cannot set back when that was done.
                file.set_modified(time).unwrap();
            } else {
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
            assert!(find(&cache, "k").is_none(), "{change} was changed");
            keep(&cache, "k", &image, |_| Ok::<_, Error>(merge.clone())).unwrap();
            assert!(find(&cache, "k").is_some());
            if change == "the time" {
                assert_eq!(std::fs::read(&made.file).unwrap(), bytes, "the same root, other bytes");
            }
        }
    }
}
