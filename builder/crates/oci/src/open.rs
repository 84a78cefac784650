//! From a reference to an image. The modules below know the forms in which images come.

use std::path::Path;

use ::archive::tree::{Kind, Tree};
use base::{IoContext, escape::shown};

use super::{
    blob::{Blob, Place},
    image::{Image, Layer, Root},
    manifest::refusal,
    platform::Platform,
    reference::Reference,
    registry::{self, Access},
};
use crate::{Error, Result};

mod archive;
mod docker;
mod layout;

impl Image {
    /// Finds the image that `text` names, for the machine `platform`; in a registry with the passwords that `docker login` keeps.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(text: &str, platform: &Platform) -> Result<Self> {
        Self::open_with(text, platform, &Access::default())
    }

    /// Finds the image that `text` names, for the machine `platform`. Layers are neither read nor fetched.
    ///
    /// # Errors
    /// [`Error::Usage`] for a reference that cannot be, [`Error::Image`] for an image that is not there, is for other platforms or
    /// contradicts itself, [`Error::Registry`], [`Error::Io`].
    pub fn open_with(text: &str, platform: &Platform, access: &Access) -> Result<Self> {
        let reference = Reference::parse(text).map_err(|error| of_file(text, error))?;
        if access.lock.is_some() && !matches!(reference, Reference::Registry(_)) {
            return Err(Error::Usage(format!(
                "--lock keeps what a name in a registry stands for, and `{text}` is in none; leave --lock out"
            )));
        }
        let image = match reference {
            Reference::Registry(name) => {
                registry::open(text, name, platform, access).map_err(|error| of_file(text, error))?
            }
            Reference::Layout { directory, tag } => {
                directory.metadata().at("read", &directory)?;
                layout::open(text, &layout::Layout { directory }, tag.as_deref(), platform)?
            }
            Reference::LayoutArchive { file, tag } => {
                let members = archive::Members::list(text, &file)?;
                let image = layout::open(text, &members, tag.as_deref(), platform)?;
                Self { unpacked: members.unpacked, ..image }
            }
            Reference::DockerArchive { file, tag } => {
                let members = archive::Members::list(text, &file)?;
                let image = docker::open(text, &members, tag.as_deref())?;
                Self { unpacked: members.unpacked, ..image }
            }
            Reference::Directory(directory) => {
                if !directory.metadata().at("read", &directory)?.is_dir() {
                    return Err(refusal(text, format!("{} is not a directory", shown(&directory))));
                }
                if let Some(reason) = no_root(&directory) {
                    return Err(refusal(text, reason));
                }
                Self::plain(text, Root::Directory(directory))
            }
            Reference::Tar(file) => {
                let blob = Blob { place: Place::file(file)?, digest: None };
                Self::plain(text, Root::Layers(vec![Layer { blob, diff_id: None, urls: Vec::new() }]))
            }
        };
        if let Some(config) = &image.config
            && platform.rank(&config.platform).is_none()
        {
            return Err(refusal(
                text,
                format!(
                    "it is for {}, and does not run on {platform}; name another image, or another machine with --platform",
                    config.platform
                ),
            ));
        }
        Ok(image)
    }
}

/// Returns the reason why a directory holds an image and is no root.
fn no_root(directory: &Path) -> Option<String> {
    let shown = shown(directory);
    let is_file = |name: &str| directory.join(name).is_file();
    if is_file("oci-layout") && is_file("index.json") {
        return Some(format!("it is an image in the OCI layout and not a root: write oci:{shown}"));
    }
    if !is_file("version") || !is_file("manifest.json") {
        return None;
    }
    // skopeo's form of a directory.
    let version = base::bounded::read(&directory.join("version"), base::bounded::TEXT_MAX).ok()?;
    version.starts_with(b"Directory Transport Version:").then(|| {
        format!("it is an image in skopeo's own form and not a root: `skopeo copy dir:{shown} oci:DIR`, then oci:DIR")
    })
}

/// Returns the reason why a tree that was read from a tar file holds an image and is no root.
pub(super) fn no_tree(tree: &Tree, file: &str) -> Option<String> {
    let is_file = |name: &str| matches!(tree.get(name).map(|entry| &entry.kind), Some(Kind::File(_)));
    let scheme = if is_file("oci-layout") && is_file("index.json") {
        "oci-archive"
    } else if is_file("manifest.json")
        && (is_file("repositories") || tree.iter().any(|node| node.path.ends_with(b"/layer.tar")))
    {
        "docker-archive"
    } else {
        return None;
    };
    Some(format!("it is an archive of an image and not a root: write {scheme}:{file}"))
}

/// Returns `error` about a name in a registry, with the references that name a file or directory of this machine called so.
fn of_file(text: &str, error: Error) -> Error {
    let (kind, schemes) = match Path::new(text).metadata() {
        Ok(metadata) if metadata.is_dir() => ("directory", &["dir:", "oci:"][..]),
        Ok(_) => ("file", &["tar:", "oci-archive:", "docker-archive:"][..]),
        Err(_) => return error,
    };
    let forms = schemes.iter().map(|scheme| format!("{scheme}{text}")).collect();
    let source = match error {
        Error::Registry { source, .. } => source,
        other => Box::new(other),
    };
    Error::NameOfFile { image: text.to_owned(), kind, forms, source }
}

#[cfg(test)]
mod tests;
