//! The cache's location.

use std::path::PathBuf;

use base::{IoContext, cache::Cache, environment::variable};
use oci::reference::Reference;

use crate::{Error, Result};

/// Names the cache directory; see [`open`].
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_CACHE";

/// Opens the cache at `$INITRAMFS_OVERLAY_CACHE`, else in `$XDG_CACHE_HOME` or `~/.cache` under `initramfs-overlay`.
///
/// # Errors
/// [`Error::Usage`] where none of these variables is set, and for a cache that other users may write to.
pub fn open() -> Result<Cache> {
    let root = variable(VARIABLE).or_else(|| {
        let parent = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        Some(parent?.join("initramfs-overlay"))
    });
    let root: PathBuf = root.ok_or_else(|| {
        Error::Usage(format!("there is no cache directory: neither {VARIABLE} nor HOME is set; set one of them"))
    })?;
    let cache = Cache::at(std::path::absolute(&root).at("find", root)?);
    match cache.objection() {
        None => Ok(cache),
        Some((reason, remedy)) => Err(Error::Usage(format!(
            "the cache is not used: {reason}, so what is in it may be anybody's. If it is yours alone: {remedy}; or name another directory with \
             {VARIABLE}"
        ))),
    }
}

/// Opens the cache for an image, where that is in a registry.
///
/// # Errors
/// As [`open`]. A name that is none needs no cache; whoever opens the image says what is wrong with it.
pub fn of_image(text: &str) -> Result<Option<Cache>> {
    matches!(Reference::parse(text), Ok(Reference::Registry(_))).then(open).transpose()
}
