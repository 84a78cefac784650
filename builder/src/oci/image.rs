//! From a reference to one image: its config and its layers, checked against each other as far as that is possible before the layers
//! are read. The rooms below know the forms in which images come; what is in common, the index and the manifest, is here.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    blob::{Blob, Digest, Place},
    config::Config,
    platform::Platform,
    reference::Reference,
    registry::{self, Access, Remote},
};
use crate::{Error, Result};

mod archive;
mod docker;
mod layout;

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
    /// Where its files are.
    pub root: Root,
    /// The registry that has its layers, where they are not on this machine from the start.
    pub remote: Option<Remote>,
    /// The digest of what its name in the registry stands for: an index, or the manifest itself.
    pub resolved: Option<Digest>,
}

/// Where an image's files are.
#[derive(Debug, Clone)]
pub enum Root {
    /// In layers, the lowest first.
    Layers(Vec<Layer>),
    /// In a folder of the host.
    Folder(PathBuf),
}

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its bytes, compressed or not.
    pub blob: Blob,
    /// The digest of what they unpack to.
    pub diff_id: Option<Digest>,
}

impl Layer {
    /// What it is known by in tables and errors.
    #[must_use]
    pub fn label(&self) -> String {
        let digest = self.blob.digest.as_ref().or(self.diff_id.as_ref());
        digest.map_or_else(|| self.blob.place.path.display().to_string(), Digest::to_string)
    }
}

/// A reference from one document to another (`descriptor.md`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn new(media_type: String, digest: Digest, size: u64) -> Self {
        Self { media_type, digest, size, platform: None, annotations: std::collections::BTreeMap::new() }
    }
}

/// An index or a manifest; which one is told by what it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

pub(super) const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
pub(super) const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const LAYERS: [&str; 8] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Indexes in indexes deeper than this are a trap and no image.
const DEPTH_MAX: u32 = 4;
/// More layers than any builder makes (Docker's limit is 127).
const LAYERS_MAX: usize = 1024;

/// What a blob is to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A manifest or an index.
    Manifest,
    Config,
    Layer,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
        })
    }
}

/// Where blobs are looked up.
pub(super) trait Store {
    /// The blob that `descriptor` names; `None` where it is not there.
    fn blob(&self, descriptor: &Descriptor, role: Role) -> Result<Option<Place>>;
}

/// A search through indexes for the image of one platform.
pub(super) struct Search<'a> {
    pub(super) name: &'a str,
    pub(super) store: &'a dyn Store,
    pub(super) platform: &'a Platform,
}

/// An image on the way from its manifest.
struct Found {
    digest: Digest,
    config: Config,
    layers: Vec<Layer>,
}

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
    /// [`Error::Usage`] for a reference that cannot be, [`Error::OciImage`] for an image that is not there, is for other platforms or
    /// contradicts itself, [`Error::Registry`], [`Error::Io`].
    pub fn open_with(text: &str, platform: &Platform, access: &Access) -> Result<Self> {
        let reference = Reference::parse(text)?;
        if access.lock.is_some() && !matches!(reference, Reference::Registry(_)) {
            return Err(Error::Usage(format!(
                "--lock keeps what a name in a registry stands for, and `{text}` is in none; leave --lock out"
            )));
        }
        let image = match reference {
            Reference::Registry(name) => registry::open(text, name, platform, access)?,
            Reference::Layout { folder, tag } => {
                layout::open(text, &layout::Layout { folder }, tag.as_deref(), platform)?
            }
            Reference::LayoutArchive { file, tag } => {
                layout::open(text, &archive::Members::list(text, &file)?, tag.as_deref(), platform)?
            }
            Reference::DockerArchive { file, tag } => {
                docker::open(text, &archive::Members::list(text, &file)?, tag.as_deref())?
            }
            Reference::Folder(folder) => {
                if !folder.is_dir() {
                    return Err(refusal(text, format!("{} is no folder", folder.display())));
                }
                plain(text, Root::Folder(folder))
            }
            Reference::Tar(file) => {
                let blob = Blob { place: Place::file(file)?, digest: None };
                plain(text, Root::Layers(vec![Layer { blob, diff_id: None }]))
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

    /// One that has nothing: what is written in its name has its contents elsewhere.
    #[must_use]
    pub fn without_layers(name: &str) -> Self {
        plain(name, Root::Layers(Vec::new()))
    }

    /// Its layers; none for a folder.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        match &self.root {
            Root::Layers(layers) => layers,
            Root::Folder(_) => &[],
        }
    }
}

fn plain(name: &str, root: Root) -> Image {
    Image {
        name: name.to_owned(),
        digest: None,
        config: None,
        platforms: Vec::new(),
        root,
        remote: None,
        resolved: None,
    }
}

fn refusal(image: &str, reason: impl Into<String>) -> Error {
    Error::OciImage { image: image.to_owned(), reason: reason.into() }
}

impl Search<'_> {
    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(refusal(self.name, reason))
    }

    /// The blob that `descriptor` names, whose size must be what it says.
    fn blob(&self, descriptor: &Descriptor, what: Role) -> Result<Blob> {
        let Descriptor { digest, size, .. } = descriptor;
        let Some(place) = self.store.blob(descriptor, what)? else {
            return self.refuse(format!("its {what} {digest} is not there"));
        };
        if place.size != *size {
            return self
                .refuse(format!("its {what} {digest} has {} bytes, and its descriptor says {size}", place.size));
        }
        Ok(Blob { place, digest: Some(digest.clone()) })
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        let bytes = self.blob(descriptor, Role::Manifest)?.document(self.name)?;
        let parsed: Document = match serde_json::from_slice(&bytes) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(format!("the manifest {} is damaged: {error}", descriptor.digest)),
        };
        let digest = &descriptor.digest;
        if parsed.fs_layers.is_some() || parsed.schema_version == 1 {
            return self.refuse(format!(
                "its manifest {digest} is of Docker's schema 1, which nobody writes any more; push it again"
            ));
        }
        // Image specification, manifest.md: what can be read as both is an attack.
        if parsed.manifests.is_some() && (parsed.config.is_some() || parsed.layers.is_some()) {
            return self.refuse(format!("{digest} is an index and a manifest at once"));
        }
        if let Some(said) = &parsed.media_type
            && !descriptor.media_type.is_empty()
            && *said != descriptor.media_type
        {
            return self.refuse(format!(
                "{digest} says that it is `{}`, and its descriptor says `{}`",
                said.escape_debug(),
                descriptor.media_type.escape_debug()
            ));
        }
        let media_type = parsed.media_type.as_deref().unwrap_or(&descriptor.media_type);
        let kinds = if parsed.manifests.is_some() { &INDEXES } else { &MANIFESTS };
        if !media_type.is_empty() && !kinds.contains(&media_type) {
            let kind = if parsed.manifests.is_some() { "an index" } else { "a manifest" };
            return self
                .refuse(format!("{digest} is called `{}` and has the form of {kind}", media_type.escape_debug()));
        }
        Ok(parsed)
    }

    /// The image behind `descriptor`, through as many indexes as there are. `None` where it has none for the platform; the ones that
    /// it has are added to `platforms`.
    fn find(&self, descriptor: &Descriptor, depth: u32, platforms: &mut Vec<Platform>) -> Result<Option<Found>> {
        let document = self.document(descriptor)?;
        let Some(manifests) = &document.manifests else {
            let found = self.manifest(descriptor, document)?;
            let platform = found.config.platform.clone();
            let fits = self.platform.rank(&platform).is_some();
            add(platforms, platform);
            return Ok(fits.then_some(found));
        };
        if depth >= DEPTH_MAX {
            return self.refuse(format!("more than {DEPTH_MAX} indexes are in each other"));
        }
        self.choose(manifests, depth, platforms)
    }

    /// The image for the platform among `manifests`.
    pub(super) fn image(&self, manifests: &[Descriptor]) -> Result<Image> {
        let mut platforms = Vec::new();
        let Some(found) = self.choose(manifests, 0, &mut platforms)? else {
            let there: Vec<String> = platforms.iter().map(Platform::to_string).collect();
            let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
            return self.refuse(format!("it has no image for {}; there is {there} (--platform)", self.platform));
        };
        Ok(Image {
            name: self.name.to_owned(),
            digest: Some(found.digest),
            config: Some(found.config),
            platforms,
            root: Root::Layers(found.layers),
            remote: None,
            resolved: None,
        })
    }

    /// The best of several.
    fn choose(&self, manifests: &[Descriptor], depth: u32, platforms: &mut Vec<Platform>) -> Result<Option<Found>> {
        let mut candidates: Vec<(u32, &Descriptor)> = Vec::new();
        for descriptor in manifests {
            match &descriptor.platform {
                // BuildKit keeps papers about an image beside it, for the platform unknown/unknown.
                Some(platform)
                    if platform.os == "unknown" || descriptor.annotations.contains_key("vnd.docker.reference.type") => {
                }
                Some(platform) => {
                    add(platforms, platform.clone());
                    candidates.extend(self.platform.rank(platform).map(|rank| (rank, descriptor)));
                }
                // What does not say is looked at after what does.
                None => candidates.push((u32::MAX, descriptor)),
            }
        }
        candidates.sort_by_key(|(rank, _)| *rank);
        for (_, descriptor) in candidates {
            let kind = descriptor.media_type.as_str();
            if !(kind.is_empty() || INDEXES.contains(&kind) || MANIFESTS.contains(&kind)) {
                continue;
            }
            if let Some(found) = self.find(descriptor, depth + 1, platforms)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn manifest(&self, descriptor: &Descriptor, document: Document) -> Result<Found> {
        let digest = &descriptor.digest;
        let (Some(config), Some(layers)) = (document.config, document.layers) else {
            return self.refuse(format!(
                "{digest} is neither an index nor a manifest: it has no `manifests`, or no `config` and `layers`"
            ));
        };
        if !config.media_type.is_empty() && !CONFIGS.contains(&config.media_type.as_str()) {
            return self.refuse(format!("{digest} is no image: its config is `{}`", config.media_type.escape_debug()));
        }
        let parsed = parse_config(self.name, &self.blob(&config, Role::Config)?)?;
        let diff_ids = check_layers(self.name, layers.len(), &parsed)?;
        let layers = layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
            if !layer.media_type.is_empty() && !LAYERS.contains(&layer.media_type.as_str()) {
                return self.refuse(format!(
                    "its layer {} is `{}`, which is not known",
                    layer.digest,
                    layer.media_type.escape_debug()
                ));
            }
            Ok(Layer { blob: self.blob(layer, Role::Layer)?, diff_id: Some(diff_id) })
        });
        Ok(Found { digest: digest.clone(), layers: layers.collect::<Result<_>>()?, config: parsed })
    }
}

fn parse_config(image: &str, blob: &Blob) -> Result<Config> {
    Config::parse(&blob.document(image)?).map_err(|error| refusal(image, format!("its config is damaged: {error}")))
}

/// As many layers as the config has digests of what they unpack to, and no absurd number.
fn check_layers(image: &str, layers: usize, config: &Config) -> Result<Vec<Digest>> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != layers {
        return Err(refusal(image, format!("it has {layers} layers, and its config names {}", diff_ids.len())));
    }
    if layers > LAYERS_MAX {
        return Err(refusal(image, format!("it has {layers} layers, and {LAYERS_MAX} at most are read")));
    }
    Ok(diff_ids.clone())
}

fn add(platforms: &mut Vec<Platform>, platform: Platform) {
    if !platforms.contains(&platform) {
        platforms.push(platform);
    }
}

#[cfg(test)]
mod tests;
