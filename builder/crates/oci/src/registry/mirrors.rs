//! The places where an image is asked for: the mirrors that the machine's `registries.conf` names, then the registry itself
//! (containers-registries.conf(5), version 2). Which rule fits and what a name becomes is decided without looking at anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base::{bounded, environment::variable};
use serde::Deserialize;

use super::name::Name;
use crate::{Error, Result};

/// A place that may have the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// The image's name there.
    pub(super) name: Name,
    /// It may be asked without encryption.
    pub(super) insecure: bool,
    /// It stands in for the registry.
    pub(super) is_mirror: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Rules {
    #[serde(default)]
    registry: Vec<Rule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

/// Returns the places of the image `name`, in the order in which they are asked.
///
/// # Errors
/// [`Error::WrongFile`] for a file that cannot be understood, [`Error::Usage`] for a registry that is blocked.
pub(super) fn of(name: &Name) -> Result<Vec<Location>> {
    let mut rules = Vec::new();
    for path in files(&variable) {
        match bounded::read_text(&path) {
            Ok(text) => rules.extend(parse(&text, &path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(wrong(&path, &error)),
        }
    }
    locations(name, &rules)
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::WrongFile { path: path.to_owned(), reason: format!("{error}; repair it (containers-registries.conf(5))") }
}

/// Lists the files: the one that the user names, else the user's own or the system's, and those beside it.
fn files(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let named = variable("CONTAINERS_REGISTRIES_CONF");
    let home = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let own = home.map(|home| home.join("containers"));
    let system = PathBuf::from("/etc/containers");
    let main = named.clone().or_else(|| own.as_ref().map(|own| own.join("registries.conf")).filter(|own| own.exists()));
    let mut all = vec![main.unwrap_or_else(|| system.join("registries.conf"))];
    let directories = match (variable("CONTAINERS_REGISTRIES_CONF_DIR"), named) {
        (Some(directory), _) => vec![directory],
        (None, Some(_)) => Vec::new(),
        (None, None) => {
            [Some(system), own].into_iter().flatten().map(|directory| directory.join("registries.conf.d")).collect()
        }
    };
    for directory in directories {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut beside: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
        beside.sort();
        all.extend(beside);
    }
    all
}

fn parse(text: &str, path: &Path) -> Result<Vec<Rule>> {
    let rules: Rules = toml::from_str(text).map_err(|error| wrong(path, &error.message()))?;
    for rule in &rules.registry {
        if rule.prefix.is_empty() && rule.location.is_empty() {
            return Err(wrong(path, &"a [[registry]] has neither a prefix nor a location"));
        }
    }
    Ok(rules.registry)
}

/// Returns the part of `whole` behind the rule's prefix, with the separator; `None` where the rule is for others.
fn rest<'a>(rule: &Rule, whole: &'a str) -> Option<&'a str> {
    let prefix = if rule.prefix.is_empty() { &rule.location } else { &rule.prefix };
    if let Some(domain) = prefix.strip_prefix("*.") {
        let (host, _) = whole.split_once('/')?;
        let under = host.split(':').next()?.strip_suffix(domain)?;
        return under.ends_with('.').then(|| whole.get(host.len()..)).flatten();
    }
    whole.strip_prefix(prefix.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn locations(name: &Name, rules: &[Rule]) -> Result<Vec<Location>> {
    let own = Location { name: name.clone(), insecure: false, is_mirror: false };
    let whole = format!("{}/{}", name.registry, name.repository);
    // The longest prefix counts, and of the same one the last: a file beside the main one comes before it.
    let fitting = rules.iter().filter_map(|rule| Some((rule, rest(rule, &whole)?)));
    let Some((rule, rest)) = fitting.min_by_key(|(rule, rest)| (rule.prefix.starts_with("*."), rest.len())) else {
        return Ok(vec![own]);
    };
    if rule.blocked {
        return Err(Error::Usage(format!("{name}: registries.conf blocks `{}`", own.name.registry)));
    }
    let renamed = |location: &str| {
        let text = [location, rest].concat();
        let mut renamed = Name::parse(&text)
            .map_err(|reason| Error::Usage(format!("{name}: registries.conf makes `{text}` of it: {reason}")))?;
        renamed.tag.clone_from(&name.tag);
        renamed.digest.clone_from(&name.digest);
        Ok::<_, Error>(renamed)
    };
    let is_wanted = |mirror: &&Mirror| match mirror.pull_from_mirror.as_str() {
        "digest-only" => name.digest.is_some(),
        "tag-only" => name.digest.is_none(),
        _ => !rule.mirror_by_digest_only || name.digest.is_some(),
    };
    let mut all: Vec<Location> = rule
        .mirror
        .iter()
        .filter(is_wanted)
        .map(|mirror| Ok(Location { name: renamed(&mirror.location)?, insecure: mirror.insecure, is_mirror: true }))
        .collect::<Result<_>>()?;
    let itself = if rule.location.is_empty() { name.clone() } else { renamed(&rule.location)? };
    all.push(Location { name: itself, insecure: rule.insecure, is_mirror: false });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        unqualified-search-registries = ["docker.io"]
        short-name-mode = "enforcing"
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.test:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "other.test"
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "docker.io/me"
        insecure = true
        [[registry]]
        prefix = "*.corp.test"
        location = "inside.test/all"
        [[registry]]
        prefix = "old.corp.test/team"
        location = "new.test/group"
        [[registry]]
        location = "bad.test"
        blocked = true
    "#;

    fn places(image: &str) -> Result<Vec<String>> {
        let rules = parse(TEXT, Path::new("registries.conf"))?;
        let shown =
            |location: Location| format!("{}{}", location.name, if location.insecure { " insecure" } else { "" });
        Ok(locations(&Name::parse(image).unwrap(), &rules)?.into_iter().map(shown).collect())
    }

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_counts() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        for (image, expected) in [
            (
                "alpine:3",
                vec![
                    "mirror.test:5000/hub/library/alpine:3 insecure".to_owned(),
                    "docker.io/library/alpine:3".to_owned(),
                ],
            ),
            (
                &format!("alpine{digest}"),
                vec![
                    format!("mirror.test:5000/hub/library/alpine{digest} insecure"),
                    format!("other.test/library/alpine{digest}"),
                    format!("docker.io/library/alpine{digest}"),
                ],
            ),
            ("me/app", vec!["docker.io/me/app:latest insecure".into()]),
            ("mex/app", vec!["mirror.test:5000/hub/mex/app:latest insecure".into(), "docker.io/mex/app:latest".into()]),
            ("a.corp.test/x", vec!["inside.test/all/x:latest".into()]),
            ("a.corp.test:5000/x", vec!["inside.test/all/x:latest".into()]),
            ("old.corp.test/team/x", vec!["new.test/group/x:latest".into()]),
            ("old.corp.test/teams/x", vec!["inside.test/all/teams/x:latest".into()]),
            ("corp.test/x", vec!["corp.test/x:latest".into()]),
        ] {
            assert_eq!(places(image).unwrap(), expected, "{image}");
        }
        assert!(places("bad.test/x").unwrap_err().to_string().contains("registries.conf blocks `bad.test`"));
        for bad in ["[[registry]]\ninsecure = true", "[[registry]", "registry = 1"] {
            let error = parse(bad, Path::new("/x/registries.conf")).unwrap_err().to_string();
            assert!(error.contains("/x/registries.conf"), "{error}");
        }
    }

    #[test]
    fn files_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("containers/registries.conf.d")).unwrap();
        for name in ["b.conf", "a.conf", "c.txt"] {
            fs::write(at("containers/registries.conf.d").join(name), "").unwrap();
        }
        let of = |variables: &[(&str, PathBuf)]| {
            let found = files(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()));
            found.into_iter().filter(|path| !path.starts_with("/etc")).collect::<Vec<_>>()
        };
        let beside = ["a.conf", "b.conf"].map(|name| at("containers/registries.conf.d").join(name));
        let own = [("XDG_CONFIG_HOME", directory.path().to_owned())];
        assert_eq!(of(&own), beside);
        fs::write(at("containers/registries.conf"), "").unwrap();
        assert_eq!(of(&own), [&[at("containers/registries.conf")][..], &beside].concat());
        assert_eq!(of(&[("CONTAINERS_REGISTRIES_CONF", at("named"))]), [at("named")]);
    }
}
