//! The folder that a build belongs to: where init's source is, what is included by default and where images go. Only
//! finds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, cache::variable, error::IoContext};

/// Names the source tree where --source does not.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_SOURCE";

/// The source tree that this command was built from; it may be gone, or on another machine.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A folder of the source tree that goes into every image, and where images go.
const INCLUDE: &str = "src";
const OUTPUT: &str = "target";

/// Where a build takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The source tree, where there is one.
    pub source: Option<Source>,
}

/// A source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its top folder.
    pub root: PathBuf,
    /// The version in its `Cargo.toml`.
    pub version: String,
    /// Whether it was neither named nor stood in: then nothing is written into it.
    pub elsewhere: bool,
}

impl Place {
    /// The version of init and of the images.
    pub fn version(&self) -> &str {
        self.source.as_ref().map_or(env!("CARGO_PKG_VERSION"), |source| &source.version)
    }

    /// The user's files, where they are in the source tree.
    pub fn default_include(&self) -> Vec<PathBuf> {
        let own = self.source.iter().filter(|source| !source.elsewhere).map(|source| source.root.join(INCLUDE));
        own.filter(|folder| folder.exists()).collect()
    }

    /// Where images go.
    pub fn default_output(&self) -> PathBuf {
        match &self.source {
            Some(source) if !source.elsewhere => source.root.join(OUTPUT),
            _ => PathBuf::from(OUTPUT),
        }
    }
}

/// The source tree `given` (or `$INITRAMFS_OVERLAY_SOURCE`), else the one that the current folder is in, else the one this
/// command was built from.
///
/// # Errors
/// [`Error::Usage`] where the given one is none.
pub fn locate(given: Option<&Path>) -> Result<Place> {
    if let Some(root) = given.map(Path::to_owned).or_else(|| variable(VARIABLE)) {
        let source = tree_at(&root)?.ok_or_else(|| {
            Error::Usage(format!(
                "--source {}: it is no source tree of initramfs-overlay, which has a Cargo.toml with the members init and \
                 builder",
                root.display()
            ))
        })?;
        return Ok(Place { source: Some(source) });
    }
    let here = env::current_dir().at("find", ".")?;
    for folder in here.ancestors() {
        if let Some(source) = tree_at(folder)? {
            return Ok(Place { source: Some(source) });
        }
    }
    let source = tree_at(Path::new(BUILT_FROM))?.map(|source| Source { elsewhere: true, ..source });
    Ok(Place { source })
}

/// The source tree whose top folder is `root`, if it is one.
fn tree_at(root: &Path) -> Result<Option<Source>> {
    // A folder that this user may not look into is not the tree he works in.
    let Ok(text) = fs::read_to_string(root.join("Cargo.toml")) else { return Ok(None) };
    let Some(version) = version_in(&text) else { return Ok(None) };
    let root = root.canonicalize().at("find", root)?;
    Ok(Some(Source { root, version, elsewhere: false }))
}

/// The version in a workspace's `Cargo.toml`, if it is ours.
fn version_in(text: &str) -> Option<String> {
    let table = text.parse::<toml::Table>().ok()?;
    let workspace = table.get("workspace")?;
    let members: Vec<&str> =
        workspace.get("members")?.as_array()?.iter().filter_map(|member| member.as_str()).collect();
    let is_ours = members.contains(&"init") && members.contains(&"builder");
    is_ours.then_some(())?;
    Some(workspace.get("package")?.get("version")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_workspace_is_a_source_tree() {
        let ours = "[workspace]\nmembers = [\"init\", \"builder\"]\n[workspace.package]\nversion = \"1.2.3\"\n";
        assert_eq!(version_in(ours).as_deref(), Some("1.2.3"));
        for other in ["[package]\nname = \"init\"\n", "[workspace]\nmembers = [\"init\"]\n", "not toml ["] {
            assert_eq!(version_in(other), None, "{other}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Cargo.toml"), ours).unwrap();
        let place = locate(Some(folder.path())).unwrap();
        assert_eq!((place.version(), place.default_include()), ("1.2.3", Vec::new()));
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(place.default_output(), root.join("target"));
        fs::create_dir(root.join("src")).unwrap();
        assert_eq!(place.default_include(), [root.join("src")]);
        let error = locate(Some(&root.join("src"))).unwrap_err().to_string();
        assert!(error.contains("no source tree"), "{error}");
    }
}
