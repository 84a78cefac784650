//! `SHA256SUMS`: the digest of every image of one version in a directory, with its manifest and its bill of materials, as
//! sha256sum(1) reads it.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use archive::compress::Compression;
use base::{IoContext, atomic_file::AtomicFile, digest::file_digest};

use super::{
    bare,
    description::{BILL, MANIFEST},
};
use crate::{Result, variant::Variant};
use clap::ValueEnum;

/// The file's name.
pub const FILE_NAME: &str = "SHA256SUMS";

/// Returns the list for the directory `output`, with the digests of the files made now, by name, and of those that were there; `None`
/// where it stands there already.
///
/// # Errors
/// [`Error::Io`].
pub fn update(output: &Path, version: &str, made: Vec<(String, String)>) -> Result<Option<AtomicFile>> {
    let mut digests: BTreeMap<String, String> = made.into_iter().collect();
    for entry in fs::read_dir(output).at("read", output)? {
        let entry = entry.at("read", output)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if is_artifact(&name, version) && !digests.contains_key(&name) {
            digests.insert(name, file_digest(&entry.path())?);
        }
    }
    let text: String = digests.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let path = output.join(FILE_NAME);
    if fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(None);
    }
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes()).map_err(|source| archive::Error::WriteArchive { source })?;
    Ok(Some(file))
}

/// Returns true if `name` is that of an image of this version, of its manifest or of its bill of materials, or of a bundle.
fn is_artifact(name: &str, version: &str) -> bool {
    let bundle =
        name.strip_prefix(&format!("initramfs-overlay-{version}-")).and_then(|rest| rest.strip_suffix(".tar.gz"));
    if let Some(target) = bundle {
        return !target.contains('-');
    }
    let image = name.strip_suffix(MANIFEST).or_else(|| name.strip_suffix(BILL)).unwrap_or(name);
    let Some((stem, suffix)) = image.rsplit_once('.') else { return false };
    if suffix != bare::SUFFIX && !Compression::ALL.iter().any(|compression| compression.suffix() == suffix) {
        return false;
    }
    if let Some(target) = stem.strip_prefix(&format!("diskless-{version}-")) {
        return !target.contains('-');
    }
    let Some(rest) = stem.strip_prefix(&format!("init-{version}-")) else { return false };
    // `init-1.0-rc1-i686` is no image of version 1.0 for a target `rc1-i686`: targets have no `-` in their names.
    let target = rest.split_once('-').map_or(rest, |(target, _)| target);
    let variant = &rest[target.len()..];
    Variant::value_variants().iter().any(|known| known.file_suffix() == variant)
}

#[cfg(test)]
mod tests {
    use super::is_artifact;

    #[test]
    fn only_this_versions_images_are_listed() {
        for name in [
            "init-1.0-i686.gz",
            "init-1.0-armv6l-slim.zst.manifest.json",
            "init-1.0-x86_64-debug.cpio.spdx.json",
            "init-1.0-i686.elf",
            "init-1.0-x86_64-debug.elf.manifest.json",
            "diskless-1.0-i686.xz",
            "diskless-1.0-i686.gz.spdx.json",
            "initramfs-overlay-1.0-x86_64.tar.gz",
        ] {
            assert!(is_artifact(name, "1.0"), "{name}");
        }
        for name in [
            "init-1.0.1-i686.gz",
            "initramfs-overlay-1.0-rc1-x86_64.tar.gz",
            "diskless-1.0.1-i686.gz",
            "diskless-1.0-rc1-i686.gz",
            "init-1.0-rc1-i686.gz",
            "init-1.0-i686-other.gz",
            "init-1.0-i686.txt",
            "SHA256SUMS",
            ".initramfs-overlay-x.part",
            "init-1.0-i686.gz.part",
        ] {
            assert!(!is_artifact(name, "1.0"), "{name}");
        }
    }
}
