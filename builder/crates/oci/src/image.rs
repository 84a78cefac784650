//! An image that was found: its config, and its layers or the directory that its files are in.

use std::{fmt::Debug, path::PathBuf, sync::Arc};

use base::{cleanup::TempDir, escape::shown, progress::Progress};

use super::{
    blob::{Blob, Digest},
    config::Config,
    platform::Platform,
};
use crate::Result;

/// An image that was found.
#[derive(Debug, Clone)]
pub struct Image {
    /// As the user wrote it.
    pub name: String,
    /// The digest of its manifest, where it has one.
    pub digest: Option<Digest>,
    /// Its config, where it has one.
    pub config: Option<Config>,
    /// The platforms that there are to choose from.
    pub platforms: Vec<Platform>,
    /// The location of its files.
    pub root: Root,
    /// The registry that has its layers, where they are not on this machine from the start.
    pub remote: Option<Arc<dyn Remote>>,
    /// The digest of what its name in the registry stands for: an index, or the manifest itself.
    pub resolved: Option<Digest>,
    /// Keeps the unpacked archive of images as long as they are read, where that was compressed.
    pub unpacked: Option<Arc<TempDir>>,
}

/// The location of an image's files.
#[derive(Debug, Clone)]
pub enum Root {
    /// Layers, the lowest first.
    Layers(Vec<Layer>),
    /// A directory of the host.
    Directory(PathBuf),
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its bytes, compressed or not.
    pub blob: Blob,
    /// The digest of what they unpack to.
    pub diff_id: Option<Digest>,
    /// Addresses that have it where the registry does not.
    pub urls: Vec<String>,
}

impl Layer {
    /// Returns its name for tables and errors: its digest, else the path of the file that holds it.
    #[must_use]
    pub fn label(&self) -> String {
        let digest = self.blob.digest.as_ref().or(self.diff_id.as_ref());
        digest.map_or_else(|| shown(&self.blob.place.path).to_string(), Digest::to_string)
    }
}

/// The registry that an image was found in.
pub trait Remote: Debug + Send + Sync {
    /// Fetches into the cache the layers that are not in it, a few at the same time. Together they may have `max_size` bytes.
    ///
    /// # Errors
    /// [`crate::Error::Registry`], [`crate::Error::Image`], [`crate::Error::Io`]. The layers that came whole stay in the cache; of
    /// others nothing does.
    fn fetch(&self, layers: &[Layer], max_size: u64, progress: Progress) -> Result<()>;

    /// Takes a damaged blob out of the cache, so that the next run fetches it again.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    fn forget(&self, digest: &Digest) -> Result<()>;

    /// Notes what the name stood for, where there is a file for that.
    ///
    /// # Errors
    /// [`crate::Error::WrongFile`] for a file that holds something else, [`crate::Error::Io`].
    fn write_lock(&self, resolved: &Digest) -> Result<()>;
}

impl Image {
    /// Returns an image of files without a manifest.
    pub(super) fn plain(name: &str, root: Root) -> Self {
        Self {
            name: name.to_owned(),
            digest: None,
            config: None,
            platforms: Vec::new(),
            root,
            remote: None,
            resolved: None,
            unpacked: None,
        }
    }

    /// Returns an image without layers, named `name`, for a root whose contents come from elsewhere.
    #[must_use]
    pub fn without_layers(name: &str) -> Self {
        Self::plain(name, Root::Layers(Vec::new()))
    }

    /// Returns its layers; none for a directory.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        match &self.root {
            Root::Layers(layers) => layers,
            Root::Directory(_) => &[],
        }
    }
}
