//! From an index to one image: the manifest for the platform, its config and its layers, checked against each other as far as that is
//! possible before the layers are read. Where the documents come from is the affair of a [`Store`].

use serde::Deserialize;

use super::{
    blob::{Blob, Digest, Place},
    config::{Config, or_default},
    image::{Image, Layer, Root},
    json,
    platform::Platform,
    registry::authorization::shown,
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
    /// Other places that have it: those of a layer that may not be in every registry.
    #[serde(default, deserialize_with = "or_default")]
    urls: Vec<String>,
}

impl Descriptor {
    pub(super) fn new(media_type: String, digest: Digest, size: u64) -> Self {
        let annotations = std::collections::BTreeMap::new();
        Self { media_type, digest, size, platform: None, artifact_type: String::new(), annotations, urls: Vec::new() }
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
    #[serde(default, deserialize_with = "candidates")]
    pub(super) manifests: Option<Vec<Candidate>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// An entry of an index: a descriptor, or the reason why it is none.
pub(super) type Candidate = std::result::Result<Descriptor, String>;

/// Reads the entries of an index one by one: one that is of no use, with a digest of an unknown kind for example, hides no others.
fn candidates<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Vec<Candidate>>, D::Error> {
    let list: Option<Vec<serde_json::Value>> = Option::deserialize(deserializer)?;
    let read = |entry: serde_json::Value| {
        let digest = entry.get("digest").and_then(serde_json::Value::as_str).unwrap_or("an entry").to_owned();
        Descriptor::deserialize(entry)
            .map_err(|error| format!("{} of its index is damaged: {error}", digest.escape_debug()))
    };
    Ok(list.map(|list| list.into_iter().map(read).collect()))
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
/// Types that registries gave configs by mistake (distribution issue 1621); moby and containerd take them for images.
const MISTAKEN_CONFIGS: [&str; 3] = ["application/octet-stream", "application/json", "text/html"];

/// Indexes in indexes deeper than this are a trap and no image.
const DEPTH_MAX: u32 = 4;
/// More layers than any builder makes (Docker's limit is 127).
const LAYERS_MAX: usize = 1024;

/// More addresses of a layer are not asked.
pub(super) const URLS_MAX: usize = 8;

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
    /// True where a second image that fits as well makes the choice a guess: `index.json` lists what is in a layout, an index the
    /// platforms of one image.
    pub(super) is_alone: bool,
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
        let parsed: Document = match json::parse(&bytes, &json::DOCUMENT) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(format!("the manifest {} is damaged: {error}", descriptor.digest)),
        };
        let digest = &descriptor.digest;
        if parsed.fs_layers.is_some() || parsed.schema_version == 1 {
            return self
                .refuse(format!("its manifest {digest} is of Docker's schema 1, which is obsolete; push it again"));
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
            return self.refuse(format!("more than {DEPTH_MAX} indexes are nested"));
        }
        self.choose(manifests, depth, seen)
    }

    /// Returns the image for the platform among `manifests`.
    pub(super) fn image(&self, manifests: &[Candidate]) -> Result<Image> {
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
    fn choose(&self, manifests: &[Candidate], depth: u32, seen: &mut Seen) -> Result<Option<Found>> {
        let mut candidates: Vec<(u32, &Descriptor)> = Vec::new();
        for candidate in manifests {
            let descriptor = match candidate {
                Ok(descriptor) => descriptor,
                Err(reason) => {
                    seen.others.push(reason.clone());
                    continue;
                }
            };
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
        let mut best: Option<(u32, Found)> = None;
        for (rank, descriptor) in candidates {
            if best.as_ref().is_some_and(|(found, _)| depth > 0 || !self.is_alone || rank > *found) {
                break;
            }
            let kind = descriptor.media_type.as_str();
            let is_image = kind.is_empty() || INDEXES.contains(&kind) || MANIFESTS.contains(&kind);
            let kind = if descriptor.artifact_type.is_empty() { kind } else { &descriptor.artifact_type };
            if !is_image || !descriptor.artifact_type.is_empty() {
                if best.is_none() {
                    seen.others.push(format!("{} is `{}` and not an image", descriptor.digest, kind.escape_debug()));
                }
                continue;
            }
            let Some((_, found)) = &best else {
                best = self.find(descriptor, depth + 1, seen)?.map(|found| (rank, found));
                continue;
            };
            // One that is broken is no other choice.
            if let Ok(Some(other)) = self.find(descriptor, depth + 1, &mut Seen::default())
                && other.digest != found.digest
            {
                return self.refuse(format!(
                    "it holds several images for {}: {} and {}; name one by its tag or by its digest",
                    self.platform, found.digest, other.digest
                ));
            }
        }
        Ok(best.map(|(_, found)| found))
    }

    /// Reads the image of a manifest; returns the reason where it is none.
    fn manifest(&self, descriptor: &Descriptor, document: Document) -> Result<Result<Found, String>> {
        let digest = &descriptor.digest;
        let Some(config) = document.config else {
            let lacks = "it has no `manifests`, or no `config` and `layers`";
            return Ok(Err(format!("{digest} is neither an index nor a manifest: {lacks}")));
        };
        if !document.artifact_type.is_empty() {
            return Ok(Err(format!("{digest} is `{}` and not an image", document.artifact_type.escape_debug())));
        }
        let kind = config.media_type.as_str();
        let no_image = || Ok(Err(format!("{digest} is not an image: its config is `{}`", kind.escape_debug())));
        let is_mistaken = MISTAKEN_CONFIGS.contains(&kind);
        if !kind.is_empty() && !CONFIGS.contains(&kind) && !is_mistaken {
            return no_image();
        }
        let layers = document.layers.unwrap_or_default();
        if let Some(layer) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
            return Ok(Err(format!(
                "its layer {} is `{}`, which is not known",
                layer.digest,
                layer.media_type.escape_debug()
            )));
        }
        let mut parsed = match parse_config(self.name, &self.blob(&config, Role::Config)?) {
            Ok(parsed) if is_mistaken && parsed.rootfs.diff_ids.is_empty() => return no_image(),
            Err(_) if is_mistaken => return no_image(),
            parsed => parsed?,
        };
        if let Some(said) = &descriptor.platform {
            parsed.platform.complete(said);
        }
        let diff_ids = check_layers(self.name, layers.len(), &parsed)?;
        let count = layers.len();
        let layers = (1..).zip(layers).zip(diff_ids).map(|((number, layer), diff_id)| {
            if let [_, ..] = layer.urls.as_slice()
                && self.store.blob(&layer, Role::Layer)?.is_none()
            {
                return self.refuse(elsewhere(number, count, &layer));
            }
            Ok(Layer { blob: self.blob(&layer, Role::Layer)?, diff_id: Some(diff_id), urls: layer.urls })
        });
        Ok(Ok(Found { digest: digest.clone(), layers: layers.collect::<Result<_>>()?, config: parsed }))
    }
}

/// Returns the reason why an image cannot be used whose layer is neither here nor in a registry.
fn elsewhere(number: usize, count: usize, Descriptor { digest, urls, .. }: &Descriptor) -> String {
    let urls: Vec<String> = urls.iter().take(URLS_MAX).map(|url| shown(url)).collect();
    format!(
        "its layer {number} of {count} ({digest}) is not there: its builder leaves it to be fetched from {}; put that file at \
         blobs/{}/{}, or name the image in its registry",
        urls.join(" or "),
        digest.algorithm(),
        digest.digits()
    )
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
