//! From a reference to one image: its config and its layers, checked against each other as far as that is possible before the layers
//! are read. The rooms below know the forms in which images come; what is in common, the index and the manifest, is here.

use std::{path::PathBuf, sync::Arc};

use serde::Deserialize;

use super::{
    blob::{Blob, Digest, Place},
    config::{Config, or_default},
    platform::Platform,
    reference::Reference,
    registry::{self, Access, Remote},
};
use crate::{Error, Result, unfinished::Scratch};

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
    /// Keeps the unpacked archive of images as long as they are read, where that was compressed.
    pub unpacked: Option<Arc<Scratch>>,
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
    #[serde(default, deserialize_with = "or_default")]
    media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_default")]
    artifact_type: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: std::collections::BTreeMap<String, Option<String>>,
}

impl Descriptor {
    pub(super) fn new(media_type: String, digest: Digest, size: u64) -> Self {
        let annotations = std::collections::BTreeMap::new();
        Self { media_type, digest, size, platform: None, artifact_type: String::new(), annotations }
    }
}

/// An index or a manifest; which one is told by what it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default, deserialize_with = "or_default")]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    artifact_type: String,
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
/// Layers, without what says how they are compressed: their first bytes tell that.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];
const COMPRESSIONS: [&str; 4] = ["", "gzip", "zstd", "x-gzip"];
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

/// Candidates that were passed by.
#[derive(Default)]
struct Seen {
    /// The platforms of images.
    platforms: Vec<Platform>,
    /// Why others are no images.
    others: Vec<String>,
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
                let members = archive::Members::list(text, &file)?;
                let image = layout::open(text, &members, tag.as_deref(), platform)?;
                Self { unpacked: members.unpacked, ..image }
            }
            Reference::DockerArchive { file, tag } => {
                let members = archive::Members::list(text, &file)?;
                let image = docker::open(text, &members, tag.as_deref())?;
                Self { unpacked: members.unpacked, ..image }
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
        unpacked: None,
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

    /// Looks for the image behind `descriptor`, through as many indexes as there are.
    fn find(&self, descriptor: &Descriptor, depth: u32, seen: &mut Seen) -> Result<Option<Found>> {
        let document = self.document(descriptor)?;
        let Some(manifests) = &document.manifests else {
            let found = match self.manifest(descriptor, document)? {
                Ok(found) => found,
                Err(reason) => {
                    seen.others.push(reason);
                    return Ok(None);
                }
            };
            let platform = found.config.platform.clone();
            let fits = self.platform.rank(&platform).is_some();
            add(&mut seen.platforms, platform);
            return Ok(fits.then_some(found));
        };
        if depth >= DEPTH_MAX {
            return self.refuse(format!("more than {DEPTH_MAX} indexes are in each other"));
        }
        self.choose(manifests, depth, seen)
    }

    /// The image for the platform among `manifests`.
    pub(super) fn image(&self, manifests: &[Descriptor]) -> Result<Image> {
        let mut seen = Seen::default();
        let Some(found) = self.choose(manifests, 0, &mut seen)? else {
            return match (seen.platforms.as_slice(), seen.others.as_slice()) {
                ([], [only]) => self.refuse(only),
                (there, others) => {
                    let there: Vec<String> = there.iter().map(Platform::to_string).collect();
                    let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
                    let others: String = others.iter().map(|reason| format!("; {reason}")).collect();
                    self.refuse(format!("it has no image for {}; there is {there} (--platform){others}", self.platform))
                }
            };
        };
        Ok(Image {
            name: self.name.to_owned(),
            digest: Some(found.digest),
            config: Some(found.config),
            platforms: seen.platforms,
            root: Root::Layers(found.layers),
            remote: None,
            resolved: None,
            unpacked: None,
        })
    }

    /// The best of several. What is no image is passed by: signatures, bills of materials, attestations and other artifacts stand beside
    /// images, and not always behind them.
    fn choose(&self, manifests: &[Descriptor], depth: u32, seen: &mut Seen) -> Result<Option<Found>> {
        let mut candidates: Vec<(u32, &Descriptor)> = Vec::new();
        for descriptor in manifests {
            match &descriptor.platform {
                // BuildKit keeps papers about an image beside it, for the platform unknown/unknown.
                Some(platform)
                    if platform.os == "unknown" || descriptor.annotations.contains_key("vnd.docker.reference.type") => {
                }
                Some(platform) if platform.os.is_empty() && platform.architecture.is_empty() => {
                    candidates.push((u32::MAX, descriptor));
                }
                Some(platform) => {
                    add(&mut seen.platforms, platform.clone());
                    candidates.extend(self.platform.rank(platform).map(|rank| (rank, descriptor)));
                }
                // What does not say is looked at after what does.
                None => candidates.push((u32::MAX, descriptor)),
            }
        }
        candidates.sort_by_key(|(rank, _)| *rank);
        for (_, descriptor) in candidates {
            let kind = descriptor.media_type.as_str();
            let is_image = kind.is_empty() || INDEXES.contains(&kind) || MANIFESTS.contains(&kind);
            let kind = if descriptor.artifact_type.is_empty() { kind } else { &descriptor.artifact_type };
            if !is_image || !descriptor.artifact_type.is_empty() {
                seen.others.push(format!("{} is `{}` and no image", descriptor.digest, kind.escape_debug()));
            } else if let Some(found) = self.find(descriptor, depth + 1, seen)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads the image of a manifest; returns the reason where it is none.
    fn manifest(&self, descriptor: &Descriptor, document: Document) -> Result<Result<Found, String>> {
        let digest = &descriptor.digest;
        let Some(config) = document.config else {
            let lacks = "it has no `manifests`, or no `config` and `layers`";
            return Ok(Err(format!("{digest} is neither an index nor a manifest: {lacks}")));
        };
        if !document.artifact_type.is_empty() {
            return Ok(Err(format!("{digest} is `{}` and no image", document.artifact_type.escape_debug())));
        }
        if !config.media_type.is_empty() && !CONFIGS.contains(&config.media_type.as_str()) {
            return Ok(Err(format!("{digest} is no image: its config is `{}`", config.media_type.escape_debug())));
        }
        let layers = document.layers.unwrap_or_default();
        if let Some(layer) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
            return Ok(Err(format!(
                "its layer {} is `{}`, which is not known",
                layer.digest,
                layer.media_type.escape_debug()
            )));
        }
        let mut parsed = parse_config(self.name, &self.blob(&config, Role::Config)?)?;
        if let Some(said) = &descriptor.platform {
            parsed.platform.complete(said);
        }
        let diff_ids = check_layers(self.name, layers.len(), &parsed)?;
        let layers = layers
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| Ok(Layer { blob: self.blob(layer, Role::Layer)?, diff_id: Some(diff_id) }));
        Ok(Ok(Found { digest: digest.clone(), layers: layers.collect::<Result<_>>()?, config: parsed }))
    }
}

/// Returns true for the type of a layer, however it is compressed, and where there is none.
fn is_layer(media_type: &str) -> bool {
    media_type.is_empty()
        || LAYERS.iter().any(|layer| {
            let compression = media_type.strip_prefix(layer);
            compression.is_some_and(|rest| COMPRESSIONS.contains(&rest.trim_start_matches(['+', '.'])))
        })
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
