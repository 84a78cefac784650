//! From an index to one image: the manifest for the platform, its config and its layers, checked against each other as far as that is
//! possible before the layers are read. Where the documents come from is the affair of a [`Store`].

use serde::Deserialize;

use super::{
    blob::{Blob, Digest, Place},
    config::{Config, or_default},
    image::{Image, Layer, Root},
    platform::Platform,
};
use crate::{Error, Result};

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
    pub(super) annotations: std::collections::BTreeMap<String, Option<String>>,
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
pub(super) struct Document {
    #[serde(default, deserialize_with = "or_default")]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    artifact_type: String,
    #[serde(default)]
    pub(super) manifests: Option<Vec<Descriptor>>,
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
pub(super) const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];
const COMPRESSIONS: [&str; 4] = ["", "gzip", "zstd", "x-gzip"];
pub(super) const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Indexes in indexes deeper than this are a trap and no image.
const DEPTH_MAX: u32 = 4;
/// More layers than any builder makes (Docker's limit is 127).
const LAYERS_MAX: usize = 1024;

/// The role of a blob in an image.
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

/// A source of blobs: a layout, an archive or a registry.
pub(super) trait Store {
    /// Returns the blob that `descriptor` names; `None` where it is not there.
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
    /// Reasons why the other candidates are not images.
    others: Vec<String>,
}

/// An image on the way from its manifest.
struct Found {
    digest: Digest,
    config: Config,
    layers: Vec<Layer>,
}

pub(super) fn refusal(image: &str, reason: impl Into<String>) -> Error {
    Error::Image { image: image.to_owned(), reason: reason.into() }
}

impl Search<'_> {
    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(refusal(self.name, reason))
    }

    /// Returns the blob that `descriptor` names, whose size must be what it says.
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

    /// Returns the image for the platform among `manifests`.
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

    /// Chooses the best of several. What is no image is passed by: signatures, bills of materials, attestations and other artifacts stand
    /// beside images, and not always behind them.
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

pub(super) fn parse_config(image: &str, blob: &Blob) -> Result<Config> {
    Config::parse(&blob.document(image)?).map_err(|error| refusal(image, format!("its config is damaged: {error}")))
}

/// Checks that there are as many layers as the config has digests of what they unpack to, and not absurdly many.
pub(super) fn check_layers(image: &str, layers: usize, config: &Config) -> Result<Vec<Digest>> {
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
