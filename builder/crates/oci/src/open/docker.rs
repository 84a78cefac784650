//! Reader of archives written by `docker save`: `manifest.json` names a config and uncompressed layers. Only the config's name
//! contains a digest; the config holds those of the layers.

use serde::Deserialize;

use super::archive::Members;
use crate::{
    Result,
    blob::{Blob, Digest},
    config::or_default,
    image::{Image, Layer, Root},
    json,
    manifest::{check_layers, parse_config, refusal},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<String>,
}

pub(super) fn open(name: &str, members: &Members, tag: Option<&str>) -> Result<Image> {
    let place = members.get("manifest.json").ok_or_else(|| {
        let reason = if members.get("repositories").is_some() {
            "there is no manifest.json in it: a Docker before 1.10 has saved it; load it into a later one and save it again"
        } else {
            "there is no manifest.json in it, so `docker save` has not written it"
        };
        refusal(name, reason)
    })?;
    let bytes = Blob { place, digest: None }.document(name)?;
    let saved: Vec<Saved> = json::parse(&bytes, &json::SAVED)
        .map_err(|error| refusal(name, format!("its manifest.json is damaged: {error}")))?;
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    // `alpine` is `docker.io/library/alpine:latest` to Docker.
    let short = |text: &str| {
        let text = text.strip_prefix("docker.io/").unwrap_or(text);
        let text = text.strip_prefix("library/").unwrap_or(text);
        text.strip_suffix(":latest").unwrap_or(text).to_owned()
    };
    let matches = |there: &str, wanted: &str| short(there) == short(wanted);
    let all = || saved.iter().flat_map(tags).collect::<Vec<_>>().join(", ");
    let chosen = match (tag, saved.as_slice()) {
        (_, []) => return Err(refusal(name, "it holds no image")),
        // The same image under several names is one image.
        (None, [one, others @ ..])
            if others.iter().all(|other| (&other.config, &other.layers) == (&one.config, &one.layers)) =>
        {
            one
        }
        (None, _) => {
            let reason =
                format!("it holds several images; name one of {}, or by its place: @0 to @{}", all(), saved.len() - 1);
            return Err(refusal(name, reason));
        }
        // As skopeo has it; no name begins so.
        (Some(wanted), _) if wanted.starts_with('@') => {
            let index = wanted.get(1..).and_then(|digits| digits.parse::<usize>().ok());
            index.and_then(|index| saved.get(index)).ok_or_else(|| {
                let reason =
                    format!("it has no image `{}`; its images are @0 to @{}", wanted.escape_debug(), saved.len() - 1);
                refusal(name, reason)
            })?
        }
        (Some(wanted), _) => saved
            .iter()
            .find(|saved| tags(saved).iter().any(|there| matches(there, wanted)))
            .ok_or_else(|| refusal(name, format!("it has no image `{}`; there is {}", wanted.escape_debug(), all())))?,
    };
    let member = |path: &str, what: &str| {
        members.get(path).ok_or_else(|| refusal(name, format!("its {what} `{}` is not there", path.escape_debug())))
    };
    // `<digits>.json`, or `blobs/sha256/<digits>` since Docker 25.
    let digits = chosen.config.rsplit('/').next().unwrap_or_default();
    let digest = Digest::parse(&format!("sha256:{}", digits.strip_suffix(".json").unwrap_or(digits)));
    let config = parse_config(name, &Blob { place: member(&chosen.config, "config")?, digest })?;
    let diff_ids = check_layers(name, chosen.layers.len(), &config)?;
    let layers = chosen.layers.iter().zip(diff_ids).map(|(path, diff_id)| {
        Ok(Layer {
            blob: Blob { place: member(path, "layer")?, digest: None },
            diff_id: Some(diff_id),
            urls: Vec::new(),
        })
    });
    Ok(Image {
        name: name.to_owned(),
        digest: None,
        platforms: vec![config.platform.clone()],
        root: Root::Layers(layers.collect::<Result<_>>()?),
        config: Some(config),
        remote: None,
        resolved: None,
        unpacked: None,
    })
}
