//! The layout of the OCI image specification (`image-layout.md`): `oci-layout`, `index.json` and blobs by digest, in a directory or in a
//! tar file.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    Error, Result,
    blob::{Blob, Place},
    image::Image,
    json,
    manifest::{Candidate, Descriptor, Document, Role, Search, Store, refusal},
    platform::Platform,
};

/// A directory.
pub(super) struct Layout {
    pub(super) directory: PathBuf,
}

/// Something with files by name.
pub(super) trait Files: Store {
    /// Returns the file of that name at the top.
    fn top(&self, name: &str) -> Result<Option<Place>>;
}

impl Files for Layout {
    fn top(&self, name: &str) -> Result<Option<Place>> {
        match Place::file(self.directory.join(name)) {
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
/// The annotation in which containerd and BuildKit note the whole name; their tag alone may be that of several images.
const NAME: &str = "io.containerd.image.name";

pub(super) fn open(name: &str, files: &impl Files, tag: Option<&str>, platform: &Platform) -> Result<Image> {
    let Some(version) = files.top("oci-layout")? else {
        return Err(refusal(name, "there is no file oci-layout in it, so it is not an image in the OCI layout"));
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
    let index: Document = json::parse(&bytes, &json::DOCUMENT)
        .map_err(|error| refusal(name, format!("its index.json is damaged: {error}")))?;
    let manifests = index.manifests.unwrap_or_default();
    let chosen = tagged(name, &manifests, tag)?;
    Search { name, store: files, platform, is_alone: true }.image(&chosen)
}

/// Returns the manifests of that tag, which is also a digest or the whole name that containerd notes; without one all of them, where they
/// are one image under however many tags. What cannot be read is none of a tag's.
fn tagged(name: &str, manifests: &[Candidate], tag: Option<&str>) -> Result<Vec<Candidate>> {
    let note = |descriptor: &Descriptor, key: &str| descriptor.annotations.get(key).cloned().flatten();
    let known = || manifests.iter().filter_map(|candidate| candidate.as_ref().ok());
    let mut tags: Vec<String> = known().filter_map(|descriptor| note(descriptor, TAG)).collect();
    tags.sort();
    tags.dedup();
    let listed = || if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
    let of = |key: &str, tag: &str| -> Vec<Candidate> {
        known().filter(|descriptor| note(descriptor, key).as_deref() == Some(tag)).cloned().map(Ok).collect()
    };
    let digests =
        |tag: &String| of(TAG, tag).into_iter().flatten().map(|descriptor| descriptor.digest).collect::<BTreeSet<_>>();
    let Some(tag) = tag else {
        return match tags.iter().map(digests).collect::<BTreeSet<_>>().len() {
            0 | 1 => Ok(manifests.to_vec()),
            _ => Err(refusal(name, format!("it holds several images; name one by its tag: {}", listed()))),
        };
    };
    let by_digest = || known().filter(|descriptor| descriptor.digest.to_string() == tag).cloned().map(Ok).collect();
    let ways = [of(TAG, tag), of(NAME, tag), by_digest()];
    ways.into_iter()
        .find(|chosen: &Vec<Candidate>| !chosen.is_empty())
        .ok_or_else(|| refusal(name, format!("it has no tag `{}`; its tags: {}", tag.escape_debug(), listed())))
}
