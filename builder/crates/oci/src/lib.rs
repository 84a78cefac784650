//! OCI images as initramfs: found where the user says, their layers merged in memory, written as an archive whose contents stream from
//! the layers. Nothing of an image is ever put on the host's filesystem, and nothing of the host is reached through an image.
//!
//! The modules, in the order in which an image goes through them: `reference` and `platform` say what is wanted, `open` finds it (and
//! `registry` fetches it), `manifest` and `image` are what it is, `layer` and `tarball` read it (`decoder` unpacks, `ahead` of them), `merge` puts it together, `inject` and
//! `exclude` change it, `ram` makes it run by itself (with a `network`), `pack` writes it, and `squashfs` and `erofs` in other forms,
//! behind `lower`; `lost` says which attributes a form cannot hold; `disk` keeps one.
//!
//! ```
//! use base::progress::Progress;
//! use initramfs_overlay_oci::{exclude::Exclude, image::Image, merge, platform::Platform};
//!
//! # fn main() -> initramfs_overlay_oci::Result<()> {
//! # let directory = std::env::temp_dir().join(format!("oci-example-{}", std::process::id()));
//! # std::fs::create_dir_all(directory.join("etc")).expect("a directory");
//! # std::fs::write(directory.join("etc/motd"), "hello").expect("a file");
//! let image = Image::open(&format!("dir:{}", directory.display()), &Platform::of_this_machine())?;
//! let merged = merge(&image, &Exclude::default(), 1 << 30, Progress::none())?;
//! assert!(merged.tree.get("etc/motd").is_some());
//! # let _ = std::fs::remove_dir_all(directory);
//! # Ok(())
//! # }
//! ```

mod ahead;
pub mod blob;
pub mod config;
mod decoder;
pub mod directory;
pub mod disk;
pub mod erofs;
mod error;
pub mod exclude;
pub mod image;
pub mod inject;
pub mod inventory;
mod json;
pub mod layer;
pub mod lost;
pub mod lower;
mod manifest;
pub mod merge;
pub mod network;
mod open;
pub mod pack;
pub mod platform;
pub mod ram;
pub mod reference;
pub mod registry;
pub mod squashfs;
pub mod tarball;

use archive::tree::Content;
use base::progress::Progress;

use erofs::Draft;
pub use error::{Error, Result};
use exclude::Exclude;
use image::{Image, Root};
use layer::Located;
use merge::Merge;

/// Reads all layers of an image, checks them, and puts them on each other, then takes away what `exclude` leaves out. Together they may
/// unpack to `max_size` bytes.
///
/// # Errors
/// [`Error::Layer`] with the layer and the entry, [`Error::Registry`], [`Error::Io`].
pub fn merge(image: &Image, exclude: &Exclude, max_size: u64, progress: Progress) -> Result<Merge> {
    merge_into(None, image, exclude, max_size, progress)
}

/// Does the same as [`merge`], and puts the contents of the layers into `draft` as they come, so that each layer is unpacked once.
///
/// # Errors
/// As [`merge`], and the error of the draft's file.
pub fn merge_into(
    mut draft: Option<&mut Draft>,
    image: &Image,
    exclude: &Exclude,
    max_size: u64,
    progress: Progress,
) -> Result<Merge> {
    let mut merge = Merge::default();
    match &image.root {
        Root::Directory(directory) => directory::read(&image.name, directory, exclude, &mut merge, max_size, progress)?,
        Root::Layers(layers) => {
            if let Some(remote) = &image.remote {
                remote.fetch(layers, max_size, progress)?;
            }
            let mut budget = max_size;
            let step = progress.step(format!("{}: reading {} layers", image.name, layers.len()));
            for (index, layer) in layers.iter().enumerate() {
                step.detail(&format!("{} of {}", index + 1, layers.len()));
                Located { image, index, layer }.merge_into(&mut merge, draft.as_deref_mut(), &mut budget)?;
            }
            step.finish(&format!("{} names", merge.tree.len()));
            if let Some(file) = image.name.strip_prefix("tar:")
                && let Some(reason) = open::no_tree(&merge.tree, file)
            {
                return Err(Error::Image { image: image.name.clone(), reason });
            }
            write_lock(image)?;
        }
    }
    exclude.apply(&mut merge);
    Ok(merge)
}

/// Notes what the name of an image from a registry stood for, where there is a file for that: all of it was read, now or before.
///
/// # Errors
/// [`Error::WrongFile`] for a file that holds something else, [`Error::Io`].
pub fn write_lock(image: &Image) -> Result<()> {
    match (&image.remote, &image.resolved) {
        (Some(remote), Some(resolved)) => remote.write_lock(resolved),
        _ => Ok(()),
    }
}

/// Returns the content of the file that `path` leads to in the merged root, links followed inside it; `None` where there is no file.
///
/// # Errors
/// As [`merge`] for a layer that has changed, [`Error::Io`].
pub fn read_file(image: &Image, merge: &Merge, path: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(content) = merge.file(path) else { return Ok(None) };
    let mut bytes = Vec::new();
    match content {
        Content::Member { layer, number, size } => {
            let index = *layer as usize;
            let Some(layer) = image.layers().get(index) else { return Ok(None) };
            Located { image, index, layer }.members()?.copy(*number, *size, &mut bytes)?;
        }
        content => content.copy_to(&mut bytes)?,
    }
    Ok(Some(bytes))
}
