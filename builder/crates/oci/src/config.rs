//! The config of an image: its run settings and the digests of its unpacked layers. The names are those of the OCI image
//! specification (`config.md`). Configs are only read here, never written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{blob::Digest, json, platform::Platform};

/// An image's config.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Config {
    /// The machine that it is for.
    #[serde(flatten)]
    pub platform: Platform,
    /// The run settings.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Run,
    /// The unpacked layers.
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
}

/// The unpacked layers of an image.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RootFs {
    /// The digest of each layer without its compression, the lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// The run settings of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Run {
    /// The program and its first arguments.
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// More arguments; the program itself where there is no entrypoint.
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The directory that it starts in.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, …; root where it is empty.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The signal that stops the program, such as `SIGQUIT`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// The machine's name; Docker writes it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Ports that it listens on: told, not acted on.
    #[serde(deserialize_with = "keys", serialize_with = "as_list", skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// Directories that it writes to: made where they are missing; all of the root is memory.
    #[serde(deserialize_with = "keys", serialize_with = "as_list", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

/// Takes `null` for what is empty, as Go writes it.
pub(super) fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Takes `null` for no words, and a word that is `null` for an empty one, as Go does.
fn words<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words: Vec<Option<String>> = or_default(deserializer)?;
    Ok(words.into_iter().map(Option::unwrap_or_default).collect())
}

fn keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(deserializer)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn as_list<S: Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    list.serialize(serializer)
}

impl Config {
    /// Reads a config. Unknown fields are ignored, as the specification requires.
    ///
    /// # Errors
    /// The parser's error.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        json::parse(bytes, &json::CONFIG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_absences_are_empty() {
        for text in [
            &b"{}"[..],
            br#"{"os":null,"architecture":null,"variant":null,"config":null,"rootfs":null}"#,
            br#"{"rootfs":{"type":"layers","diff_ids":null}}"#,
        ] {
            let config = Config::parse(text).unwrap();
            assert!(config.platform == Platform::default() && config.rootfs.diff_ids.is_empty());
        }
        let config = Config::parse(br#"{"architecture":"arm","variant":"v6","os":"linux","config":null}"#).unwrap();
        assert_eq!(config.platform.to_string(), "linux/arm/v6");
        assert_eq!(config.config, Run::default());
        let text = br#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},"config":{
            "Cmd":["/bin/sh"],"Entrypoint":null,"Env":null,"User":"nobody","ExposedPorts":{"80/tcp":{}},"Labels":{"a":"b"}}}"#;
        let run = Config::parse(text).unwrap().config;
        assert_eq!(
            (run.cmd, run.user, run.exposed_ports),
            (vec!["/bin/sh".into()], "nobody".into(), vec!["80/tcp".into()])
        );
        let text = br#"{"config":{"Entrypoint":["/a",null],"Cmd":[null],"Env":[null,"A=b"]}}"#;
        let run = Config::parse(text).unwrap().config;
        assert_eq!((run.entrypoint, run.cmd), (vec!["/a".into(), String::new()], vec![String::new()]));
        assert_eq!(run.env, ["", "A=b"]);
        for bad in ["[]", "{\"rootfs\":{\"diff_ids\":[\"../x\"]}}", "{\"config\":{\"Cmd\":\"sh\"}}", ""] {
            assert!(Config::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
