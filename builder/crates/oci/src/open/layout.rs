//! The layout of the OCI image specification (`image-layout.md`): `oci-layout`, `index.json` and blobs by digest, in a folder or in a
//! tar file.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    Error, Result,
    blob::{Blob, Place},
    image::Image,
    manifest::{Descriptor, Document, Role, Search, Store, refusal},
    platform::Platform,
};

/// A folder.
pub(super) struct Layout {
    pub(super) folder: PathBuf,
}

/// Something with files by name.
pub(super) trait Files: Store {
    /// Returns the file of that name at the top.
    fn top(&self, name: &str) -> Result<Option<Place>>;
}

impl Files for Layout {
    fn top(&self, name: &str) -> Result<Option<Place>> {
        match Place::file(self.folder.join(name)) {
            Err(Error::Base(base::Error::Io { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            found => found.map(Some),
        }
    }
}

impl Store for Layout {
    fn blob(&self, Descriptor { digest, .. }: &Descriptor, _: Role) -> Result<Option<Place>> {
        self.top(&format!("blobs/{}/{}", digest.algorithm(), digest.digits()))
    }
}

/// The annotation that holds an image's tag in `index.json` (`annotations.md`).
const TAG: &str = "org.opencontainers.image.ref.name";

pub(super) fn open(name: &str, files: &impl Files, tag: Option<&str>, platform: &Platform) -> Result<Image> {
    let Some(version) = files.top("oci-layout")? else {
        return Err(refusal(name, "there is no file oci-layout in it, so it is no image in the OCI layout"));
    };
    let version = Blob { place: version, digest: None }.document(name)?;
    let version: serde_json::Value = serde_json::from_slice(&version).unwrap_or_default();
    match version.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some(version) if version.starts_with("1.") => {}
        _ => return Err(refusal(name, "its file oci-layout does not name version 1 of the layout")),
    }
    let Some(index) = files.top("index.json")? else {
        return Err(refusal(name, "there is no file index.json in it"));
    };
    let bytes = Blob { place: index, digest: None }.document(name)?;
    let index: Document =
        serde_json::from_slice(&bytes).map_err(|error| refusal(name, format!("its index.json is damaged: {error}")))?;
    let manifests = index.manifests.unwrap_or_default();
    let chosen = tagged(name, &manifests, tag)?;
    Search { name, store: files, platform }.image(&chosen)
}

/// Returns the manifests of that tag; without one all of them, where they are one image under however many tags.
fn tagged(name: &str, manifests: &[Descriptor], tag: Option<&str>) -> Result<Vec<Descriptor>> {
    let tag_of = |descriptor: &Descriptor| descriptor.annotations.get(TAG).cloned().flatten();
    let mut tags: Vec<String> = manifests.iter().filter_map(tag_of).collect();
    tags.sort();
    tags.dedup();
    let listed = || if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
    let of = |tag: &str| -> Vec<Descriptor> {
        manifests.iter().filter(|descriptor| tag_of(descriptor).as_deref() == Some(tag)).cloned().collect()
    };
    let digests = |tag: &String| of(tag).into_iter().map(|descriptor| descriptor.digest).collect::<BTreeSet<_>>();
    match tag {
        None if tags.iter().map(digests).collect::<BTreeSet<_>>().len() > 1 => {
            Err(refusal(name, format!("it holds several images; name one by its tag: {}", listed())))
        }
        None => Ok(manifests.to_vec()),
        Some(tag) => {
            let chosen = of(tag);
            if chosen.is_empty() {
                return Err(refusal(name, format!("it has no tag `{}`; its tags: {}", tag.escape_debug(), listed())));
            }
            Ok(chosen)
        }
    }
}
