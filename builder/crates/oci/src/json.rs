//! JSON documents as Go's programs read them: the letter case of a known name does not count. Two names that differ only in that are an
//! error, because one program takes the first and another the last.

use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Error, Result, Value};

/// The names of an object that are known, with those of the objects below them, in lists or not.
pub(super) struct Shape(pub(super) &'static [(&'static str, Shape)]);

const NONE: Shape = Shape(&[]);
const PLATFORM: Shape = Shape(&[("os", NONE), ("architecture", NONE), ("variant", NONE)]);
const DESCRIPTOR: Shape = Shape(&[
    ("mediaType", NONE),
    ("digest", NONE),
    ("size", NONE),
    ("platform", PLATFORM),
    ("artifactType", NONE),
    ("annotations", NONE),
    ("urls", NONE),
]);
/// An index or a manifest.
pub(super) const DOCUMENT: Shape = Shape(&[
    ("schemaVersion", NONE),
    ("mediaType", NONE),
    ("artifactType", NONE),
    ("manifests", DESCRIPTOR),
    ("config", DESCRIPTOR),
    ("layers", DESCRIPTOR),
    ("fsLayers", NONE),
]);
const RUN: Shape = Shape(&[
    ("Entrypoint", NONE),
    ("Cmd", NONE),
    ("Env", NONE),
    ("WorkingDir", NONE),
    ("User", NONE),
    ("StopSignal", NONE),
    ("Hostname", NONE),
    ("ExposedPorts", NONE),
    ("Volumes", NONE),
]);
/// The config of an image.
pub(super) const CONFIG: Shape = Shape(&[
    ("os", NONE),
    ("architecture", NONE),
    ("variant", NONE),
    ("config", RUN),
    ("rootfs", Shape(&[("diff_ids", NONE)])),
]);
/// `manifest.json` of `docker save`.
pub(super) const SAVED: Shape = Shape(&[("Config", NONE), ("RepoTags", NONE), ("Layers", NONE)]);

/// Reads a document whose known names are those of `shape`.
///
/// # Errors
/// The parser's error; a name that is there twice.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], shape: &Shape) -> Result<T> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    // The text itself has the places that errors name, and shows names that are there twice.
    if rename(&mut value, shape)? { serde_json::from_value(value) } else { serde_json::from_slice(bytes) }
}

/// Gives known names the letter case that they have in the specification; returns whether one had another.
fn rename(value: &mut Value, shape: &Shape) -> Result<bool> {
    let mut renamed = false;
    match value {
        Value::Array(list) => {
            for value in list {
                renamed |= rename(value, shape)?;
            }
        }
        Value::Object(map) => {
            for (name, below) in shape.0 {
                let mut same = map.keys().filter(|key| key.eq_ignore_ascii_case(name));
                let Some(first) = same.next().cloned() else { continue };
                if let Some(second) = same.next() {
                    return Err(Error::custom(format!(
                        "it has both `{first}` and `{second}`, which programs read differently"
                    )));
                }
                if first != *name
                    && let Some(value) = map.remove(&first)
                {
                    map.insert((*name).to_owned(), value);
                    renamed = true;
                }
                if let Some(value) = map.get_mut(*name) {
                    renamed |= rename(value, below)?;
                }
            }
        }
        _ => {}
    }
    Ok(renamed)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn the_case_of_known_names_does_not_count() {
        let text =
            br#"{"OS":"linux","Architecture":"arm","CONFIG":{"entrypoint":["/a"],"env":["A=b"],"volumes":{"/Data":{}}},
            "rootFS":{"diff_IDs":[]}}"#;
        let config = Config::parse(text).unwrap();
        assert_eq!((config.platform.os.as_str(), config.platform.architecture.as_str()), ("linux", "arm"));
        assert_eq!((config.config.entrypoint, config.config.env), (vec!["/a".to_owned()], vec!["A=b".to_owned()]));
        assert_eq!(config.config.volumes, ["/Data"]);
        for twice in [
            r#"{"config":{"Entrypoint":["/a"],"entrypoint":["/b"]}}"#,
            r#"{"config":{},"Config":{}}"#,
            r#"{"rootfs":{"diff_ids":[],"Diff_ids":[]}}"#,
        ] {
            let error = Config::parse(twice.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("it has both"), "{error}");
        }
        assert!(Config::parse(br#"{"config":{},"config":{}}"#).unwrap_err().to_string().contains("duplicate field"));
        let place = Config::parse(b"{\n\"config\": 3}").unwrap_err();
        assert_eq!((place.line(), place.column()), (2, 11));
    }
}
