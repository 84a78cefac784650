//! The crates that are compiled into `init` for a target: for the bill of materials, and to know the directories of
//! their sources. Asks cargo; decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base::{IoContext, program};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A crate that is compiled into `init`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as its `Cargo.toml` says it: an SPDX expression.
    pub licence: Option<String>,
    /// SHA-256 of the published archive, from `Cargo.lock`; none for a crate of this source tree.
    pub sha256: Option<String>,
    /// The address of its upstream repository.
    pub repository: Option<String>,
}

/// The fields that are read of `cargo metadata` (its format version 1).
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<PackageTarget>,
}

#[derive(Deserialize)]
struct PackageTarget {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// None is a normal dependency; else `build` or `dev`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Returns the crates in init for `triple` with these features, by name, and the directories that sources from registries are in. `cargo` is
/// cargo, ready to run in the source tree `root`.
///
/// # Errors
/// [`Error::Program`] where cargo fails, [`Error::WrongFile`] where it says something unknown.
pub fn of_init(cargo: &mut Command, root: &Path, triple: &str, features: &str) -> Result<(Vec<Crate>, Vec<PathBuf>)> {
    // Not offline: it also wants what only this machine's tests are made of, which nobody may have fetched yet.
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", triple]);
    // Of a whole workspace cargo tells every feature that any of its crates asks for.
    cargo.args(["--no-default-features", "--features", features, "--manifest-path", "init/Cargo.toml"]);
    let text = program::run(cargo)?.stdout;
    let wrong = |path: &Path, reason: String| Error::WrongFile { path: path.to_owned(), reason };
    let metadata =
        serde_json::from_str(&text).map_err(|error| wrong(Path::new("cargo metadata"), error.to_string()))?;
    let lock = root.join("Cargo.lock");
    let text = fs::read_to_string(&lock).at("read", &lock)?;
    let locked: Lock = toml::from_str(&text).map_err(|error| wrong(&lock, error.to_string()))?;
    Ok((compiled_in(&metadata, &locked), registries(&metadata)))
}

/// Returns init's normal dependencies, and theirs. Macros run in the compiler and build scripts beside it: neither ends up in
/// the binary.
fn compiled_in(metadata: &Metadata, lock: &Lock) -> Vec<Crate> {
    let packages: HashMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: HashMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let checksums: BTreeMap<(&str, &str), Option<&String>> =
        lock.package.iter().map(|locked| ((&*locked.name, &*locked.version), locked.checksum.as_ref())).collect();
    let mut waiting: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.name == "initramfs-overlay-init")
        .map(|package| &*package.id)
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let Some(package) = packages.get(id).filter(|package| !is_macro(package)) else { continue };
        if seen.insert(id)
            && let Some(node) = nodes.get(&*package.id)
        {
            let normal =
                node.deps.iter().filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            waiting.extend(normal.map(|dependency| &*dependency.pkg));
        }
    }
    let mut crates: Vec<Crate> = seen
        .into_iter()
        .filter_map(|id| packages.get(id))
        .map(|package| Crate {
            name: package.name.clone(),
            version: package.version.clone(),
            licence: package.license.clone(),
            sha256: checksums.get(&(&*package.name, &*package.version)).copied().flatten().cloned(),
            repository: package.repository.clone(),
        })
        .collect();
    crates.sort();
    crates
}

fn is_macro(package: &Package) -> bool {
    package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
}

fn registries(metadata: &Metadata) -> Vec<PathBuf> {
    let from_registry = metadata.packages.iter().filter(|package| package.source.is_some());
    let directories = from_registry.filter_map(|package| Some(package.manifest_path.parent()?.parent()?.to_owned()));
    directories.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_up_in_the_binary_is_listed() {
        let package = |id: &str, kind: &str, source: &str| {
            format!(
                r#"{{"id":"{id}","name":"{id}","version":"1.0.0","license":"MIT","repository":null,"source":{source},
                    "manifest_path":"/registry/{id}-1.0.0/Cargo.toml","targets":[{{"kind":["{kind}"]}}]}}"#
            )
        };
        let dependency = |id: &str, kind: &str| format!(r#"{{"pkg":"{id}","dep_kinds":[{{"kind":{kind}}}]}}"#);
        let node = |id: &str, deps: &[String]| format!(r#"{{"id":"{id}","deps":[{}]}}"#, deps.join(","));
        let packages = [
            package("initramfs-overlay-init", "bin", "null"),
            package("nix", "lib", "\"registry\""),
            package("libc", "lib", "\"registry\""),
            package("macro", "proc-macro", "\"registry\""),
            package("parser", "lib", "\"registry\""),
            package("bindgen", "lib", "\"registry\""),
            package("proptest", "lib", "\"registry\""),
        ];
        let nodes = [
            node(
                "initramfs-overlay-init",
                &[dependency("nix", "null"), dependency("macro", "null"), dependency("proptest", "\"dev\"")],
            ),
            node("nix", &[dependency("libc", "null"), dependency("bindgen", "\"build\"")]),
            node("macro", &[dependency("parser", "null")]),
            node("libc", &[]),
        ];
        let text = format!(r#"{{"packages":[{}],"resolve":{{"nodes":[{}]}}}}"#, packages.join(","), nodes.join(","));
        let metadata: Metadata = serde_json::from_str(&text).unwrap();
        let lock: Lock =
            toml::from_str("[[package]]\nname = \"nix\"\nversion = \"1.0.0\"\nchecksum = \"aa\"\n").unwrap();
        let crates = compiled_in(&metadata, &lock);
        let names: Vec<&str> = crates.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["initramfs-overlay-init", "libc", "nix"]);
        assert_eq!(crates[2].sha256.as_deref(), Some("aa"));
        assert_eq!(registries(&metadata), [PathBuf::from("/registry")]);
    }
}
