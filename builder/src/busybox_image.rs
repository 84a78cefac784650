//! The BusyBox that the user names: a directory, or an OCI image that has it. The image is named by what it holds, so that the same
//! build is the same tomorrow: by its digest in a registry, or as a file of this machine.

use std::path::Path;

use base::{cache::Cache, environment::variable, progress::Progress};
use oci::{
    self, exclude::Exclude, image::Image, merge::Merge, platform::Platform, reference::Reference, registry::Access,
};
use sources::{
    Substitute,
    bundle::Bundle,
    busybox::{self, Busybox, Origin, SourceImage, VARIABLE},
    target::Target,
};

use crate::{Error, Result, cache::of_image};

/// Path of BusyBox in an OCI image; it is also reached where `/bin` is a link.
const PROGRAM: &str = "bin/busybox";
/// The most that an image for this may unpack to, in bytes: the official ones have a few megabytes.
const IMAGE_MAX: u64 = 1 << 30;

/// Gets BusyBox for `target`: from the directory or the image `given` (or `$INITRAMFS_OVERLAY_BUSYBOX`), else Debian's.
///
/// # Errors
/// As [`busybox::get`]; for an image as [`Image::open_with`].
pub fn get(
    target: &Target,
    given: Option<&Path>,
    cache: &Cache,
    substitute: Substitute,
    progress: &Progress,
) -> Result<Busybox> {
    let given = given.map(Path::to_owned).or_else(|| variable(VARIABLE));
    if let Some(text) = given.as_deref().filter(|path| !path.is_dir()).and_then(Path::to_str)
        && is_named_by(text)?
    {
        let (bytes, image) = program(text, target, *progress)?;
        return Ok(busybox::examine(bytes, Path::new(text), target, Some(Origin::Image(image)))?);
    }
    // The pinned bytes are the same wherever they are.
    if given.is_none()
        && let Some(bundle) = Bundle::find()?
        && let Some(busybox) = busybox::pinned(target, &bundle.cache())?
    {
        return Ok(busybox);
    }
    Ok(busybox::get(target, given.as_deref(), cache, substitute, progress)?)
}

/// Returns true where `text` names an image, and not a directory.
///
/// # Errors
/// [`Error::Usage`] for an image that can be another one tomorrow.
fn is_named_by(text: &str) -> Result<bool> {
    let has_scheme =
        ["oci:", "oci-archive:", "docker-archive:", "docker://"].iter().any(|scheme| text.starts_with(scheme));
    if !has_scheme && !text.contains("@sha256:") {
        return Ok(false);
    }
    match Reference::parse(text)? {
        Reference::Registry(name) if name.digest.is_none() => Err(Error::Usage(format!(
            "--busybox {text}: a tag can be another image tomorrow; name it by its digest, {name}@sha256:… (`oci inspect` shows it)"
        ))),
        _ => Ok(true),
    }
}

/// Returns the program in the image `text` for `target`, and which image that is.
fn program(text: &str, target: &Target, progress: Progress) -> Result<(Vec<u8>, SourceImage)> {
    let platform = Platform::parse(target.oci.first().map_or("", String::as_str))?;
    let image = Image::open_with(text, &platform, &Access { cache: of_image(text)?, progress, ..Access::default() })?;
    let merge: Merge = oci::merge(&image, &Exclude::default(), IMAGE_MAX, progress)?;
    let program = oci::read_file(&image, &merge, PROGRAM.as_bytes())?.ok_or_else(|| oci::Error::Image {
        image: text.to_owned(),
        reason: format!("it has no file /{PROGRAM} to take as BusyBox for {}", target.name),
    })?;
    // The name of a file of this machine says nothing to anybody else.
    let name = match Reference::parse(text)? {
        Reference::Registry(name) => Some(format!("{}/{}", name.registry, name.repository)),
        _ => None,
    };
    Ok((program, SourceImage { name, digest: image.digest.map(|digest| digest.to_string()) }))
}

#[cfg(test)]
mod tests {
    use super::is_named_by;

    #[test]
    fn a_directory_is_no_image() {
        for (text, image) in [
            ("busybox", false),
            ("/a/b", false),
            ("a:b", false),
            ("oci:busybox", true),
            ("oci-archive:b.tar", true),
            (&format!("busybox@sha256:{}", "0".repeat(64)), true),
            (&format!("docker://a.b/c:d@sha256:{}", "0".repeat(64)), true),
        ] {
            assert_eq!(is_named_by(text).unwrap(), image, "{text}");
        }
        for text in ["docker://busybox:musl", "busybox@sha256:12", "oci:"] {
            assert!(is_named_by(text).is_err(), "{text}");
        }
    }
}
