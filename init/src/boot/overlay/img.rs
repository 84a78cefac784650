//! Names of images on `img` and how they change hands: each step leaves one whole image under the name that boots.

use contract::names::{self, img};

use crate::{
    error::{IoContext, Result},
    kernel::{Kind, Machine, exists},
    media::{self, sync},
    sidecar::signature_of,
};

/// Returns the image's name and, where it is the default, the one that the script used.
pub fn names_of(name: &str) -> impl Iterator<Item = &str> {
    [name, names::SCRIPT_IMAGE].into_iter().filter(move |candidate| *candidate == name || name == names::IMAGE)
}

/// Returns the name that an image is copied under until it is whole.
pub fn incoming(name: &str) -> String {
    format!("{name}.new")
}

/// Returns true for a regular file.
pub fn is_file(kernel: &mut dyn Machine, path: &str) -> bool {
    kernel.stat(path).is_ok_and(|stat| stat.kind == Kind::File)
}

/// Renames a file over whatever has the name.
pub fn rename_over(kernel: &mut dyn Machine, from: &str, to: &str) -> Result<()> {
    if kernel.stat(to).is_ok_and(|stat| stat.kind == Kind::Directory) {
        media::clear(kernel, to)?;
    }
    kernel.rename(from, to).at("rename", from)
}

/// Flushes the entries of `img` to disk.
pub fn sync_img(kernel: &mut dyn Machine) -> Result<()> {
    sync(kernel, names::IMG_DIR)
}

/// Removes an image from `img`, or whatever else has its name. Its signature goes first: one that stands alone means something else. What
/// `kept` stands for stays.
pub fn discard(kernel: &mut dyn Machine, image: &str, kept: &str) -> Result<()> {
    let signature = signature_of(image);
    if exists(kernel, &signature) {
        media::clear(kernel, &signature)?;
        sync_img(kernel)?;
    }
    if exists(kernel, image) {
        media::remove_image(kernel, image, kept)?;
        sync_img(kernel)?;
    }
    Ok(())
}

/// Puts the image that waits under its incoming name in the place of the current one, which stays as `keep`. At every instant one
/// of the two has the name that boots, and every image has its signature under one of the names that are looked at.
///
/// # Errors
/// The kernel's reason. Then the current image is either of the two, whole.
pub fn exchange(kernel: &mut dyn Machine, current: Option<&str>, name: &str, keep: &str) -> Result<()> {
    let image = img(name);
    if let Some(current) = current {
        let current = img(current);
        discard(kernel, keep, &current)?;
        kernel.link(&current, keep).at("keep", &current)?;
        let signature = signature_of(&current);
        if is_file(kernel, &signature) {
            kernel.link(&signature, &signature_of(keep)).at("keep", &signature)?;
        }
        sync_img(kernel)?;
    }
    let copy = img(&incoming(name));
    rename_over(kernel, &copy, &image)?;
    sync_img(kernel)?;
    let (from, to) = (signature_of(&copy), signature_of(&image));
    if exists(kernel, &from) {
        rename_over(kernel, &from, &to)?;
        sync_img(kernel)?;
    } else if exists(kernel, &to) {
        media::clear(kernel, &to)?;
        sync_img(kernel)?;
    }
    Ok(())
}
