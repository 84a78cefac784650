//! The crates that this is made of, held against `deny.toml` as cargo-deny would: licences, sources, bans. Advisories need a database, which
//! cargo-deny fetches where it is installed (`./test.sh`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;
use toml::Table;

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn rules() -> Table {
    std::fs::read_to_string(workspace().join("deny.toml")).unwrap().parse().unwrap()
}

/// Returns the packages of the graph that `deny.toml` describes.
fn packages(rules: &Table) -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace())
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--all-features"]);
    for target in rules["graph"]["targets"].as_array().unwrap() {
        cargo.args(["--filter-platform", target.as_str().unwrap()]);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let all = metadata["packages"].as_array().unwrap();
    all.iter().filter(|package| used.contains(package["id"].as_str().unwrap())).cloned().collect()
}

fn texts<'a>(list: &'a toml::Value, key: Option<&str>) -> Vec<&'a str> {
    let text = |item: &'a toml::Value| key.map_or(item, |key| &item[key]).as_str().unwrap();
    list.as_array().unwrap().iter().map(text).collect()
}

/// Returns true if an SPDX expression can be met with licences that `is_allowed`. A slash is the old form of `OR`.
fn is_met(expression: &str, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = text.split_whitespace().peekable();
    let met = any(&mut words, is_allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = all(words, is_allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, is_allowed);
    }
    met
}

fn all(words: &mut Words<'_>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(words, is_allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, is_allowed);
    }
    met
}

fn one(words: &mut Words<'_>, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.next() else { return false };
    if word == "(" {
        let met = any(words, is_allowed);
        return words.next() == Some(")") && met;
    }
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => is_allowed(&format!("{word} WITH {exception}")),
        None => is_allowed(word),
    }
}

/// Returns a line for each rule that a package breaks.
fn broken(rules: &Table, packages: &[Value]) -> Vec<String> {
    let licences = &rules["licenses"];
    let allowed = texts(&licences["allow"], None);
    let banned = texts(&rules["bans"]["deny"], Some("crate"));
    let skipped = texts(&rules["bans"]["skip"], Some("crate"));
    let mut lines = Vec::new();
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in packages {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let (name, version) = (field("name"), field("version"));
        let exceptions =
            licences["exceptions"].as_array().unwrap().iter().filter(|item| item["crate"].as_str() == Some(name));
        let own: Vec<&str> = exceptions.flat_map(|item| texts(&item["allow"], None)).collect();
        if !is_met(field("license"), &|licence| allowed.contains(&licence) || own.contains(&licence)) {
            lines.push(format!("{name} {version}: the licence `{}` is not allowed", field("license")));
        }
        if banned.contains(&name) {
            lines.push(format!("{name} {version} is banned"));
        }
        if !package["source"].is_null() && !field("source").starts_with("registry+https://github.com/rust-lang/") {
            lines.push(format!("{name} {version} is from {}", field("source")));
        }
        for dependency in
            package["dependencies"].as_array().into_iter().flatten().filter(|_| package["source"].is_null())
        {
            if dependency["req"] == "*" && dependency["path"].is_null() {
                lines.push(format!("{name} takes any version of {}", dependency["name"]));
            }
        }
        // Behind a plus is what does not count for the order of versions.
        let plain = version.split('+').next().unwrap_or_default();
        if !skipped.contains(&format!("{name}@{plain}").as_str()) {
            versions.entry(name).or_default().push(version.to_owned());
        }
    }
    let twice = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    lines.extend(twice.map(|(name, versions)| format!("{name} is there as {}", versions.join(" and "))));
    lines
}

#[test]
fn every_crate_keeps_the_rules() {
    let rules = rules();
    let packages = packages(&rules);
    assert!(packages.len() > 100, "{}", packages.len());
    assert_eq!(broken(&rules, &packages), [""; 0]);
    // A rule for nothing is one that was forgotten.
    let is_there = |text: &&str| {
        let (name, version) = text.split_once('@').unwrap_or((text, ""));
        packages
            .iter()
            .any(|package| package["name"] == name && package["version"].as_str().unwrap().starts_with(version))
    };
    let mut named = texts(&rules["licenses"]["exceptions"], Some("crate"));
    named.extend(texts(&rules["bans"]["skip"], Some("crate")));
    assert!(named.iter().all(is_there), "{named:?}");
}

#[test]
fn a_crate_that_breaks_a_rule_is_named() {
    let rules = rules();
    let package = |name: &str, version: &str, licence: &str, source: Option<&str>| serde_json::json!({"name": name, "version": version, "license": licence, "source": source, "dependencies": []});
    let registry = Some("registry+https://github.com/rust-lang/index");
    let packages = [
        package("good", "1.0.0", "MIT/Apache-2.0", registry),
        package("both", "1.0.0", "(GPL-3.0 OR MIT) AND Unicode-3.0", registry),
        package("copyleft", "1.0.0", "MIT AND GPL-3.0-only", registry),
        package("other", "1.0.0", "GPL-2.0", registry),
        package("rust-lzo", "1.0.0", "GPL-2.0", registry),
        package("silent", "1.0.0", "", None),
        package("openssl", "1.0.0", "Apache-2.0", registry),
        package("forked", "1.0.0", "MIT", Some("git+https://example.org/forked")),
        package("two", "1.0.0", "MIT", registry),
        package("two", "2.0.0", "MIT", registry),
    ];
    let lines = broken(&rules, &packages);
    let names: Vec<&str> = lines.iter().map(|line| line.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(names, ["copyleft", "other", "silent", "openssl", "forked", "two"], "{lines:?}");
}
