//! The directory that a build belongs to: where init's source is, what is included by default and where images go. Only
//! finds it.

use std::path::{Path, PathBuf};

use base::environment::variable;
use sources::{
    bundle::Bundle,
    toolchain::{SOURCE_VARIABLE, SourceTree},
};

use crate::{Error, Result};

/// The source tree that this command was built from; it may be gone, or on another machine. The command of a bundle does not know it: its
/// bytes are the same wherever it was built.
const BUILT_FROM: Option<&str> = match option_env!("INITRAMFS_OVERLAY_STATIC") {
    None => Some(concat!(env!("CARGO_MANIFEST_DIR"), "/..")),
    Some(_) => None,
};

/// A directory of the source tree that goes into every image, and where images go.
const INCLUDE: &str = "src";
const OUTPUT: &str = "target";

/// The place of a build: in a source tree, or outside of one.
#[derive(Debug)]
pub enum Place {
    /// In a source tree that was named, or that the current directory is in.
    Inside(SourceTree),
    /// Somewhere else; the source tree that this command was built from is still there. Nothing of the user's is in it.
    Outside(SourceTree),
    /// Anywhere; the inits are finished.
    Bundled(Bundle),
    /// Without a source tree; the text says where one was looked for.
    Without(String),
}

impl Place {
    /// Returns the source tree.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is none.
    pub fn source(&self) -> Result<&SourceTree> {
        match self {
            Self::Inside(source) | Self::Outside(source) => Ok(source),
            Self::Bundled(bundle) => Err(Error::Usage(format!(
                "the inits of {} are used, and nothing is compiled; name a source tree with --source",
                bundle.root().display()
            ))),
            Self::Without(text) => Err(Error::Usage(text.clone())),
        }
    }

    /// Returns the version of init and of the images.
    pub fn version(&self) -> &str {
        match self {
            Self::Inside(source) | Self::Outside(source) => &source.version,
            Self::Bundled(bundle) => &bundle.manifest.version,
            Self::Without(_) => env!("CARGO_PKG_VERSION"),
        }
    }

    /// Returns the user's files, where they are in the source tree.
    pub fn default_include(&self) -> Vec<PathBuf> {
        match self {
            Self::Inside(source) => {
                Some(source.root.join(INCLUDE)).into_iter().filter(|directory| directory.exists()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the default output directory: `target/` of the source tree, else of the current directory.
    pub fn default_output(&self) -> PathBuf {
        match self {
            Self::Inside(source) => source.root.join(OUTPUT),
            _ => PathBuf::from(OUTPUT),
        }
    }
}

/// Returns the source tree `given`, else the bundle that `$INITRAMFS_OVERLAY_INITS` names, else the tree that `$INITRAMFS_OVERLAY_SOURCE`
/// names, else the bundle beside this command, else a tree as [`locate_tree`].
///
/// # Errors
/// [`Error::Usage`] where the given one is none; [`Error::Io`]; as [`Bundle::open`].
pub fn locate(given: Option<&Path>) -> Result<Place> {
    let bundle = match given {
        Some(_) => None,
        None if variable(SOURCE_VARIABLE).is_some() => Bundle::named()?,
        None => Bundle::find()?,
    };
    bundle.map_or_else(|| locate_tree(given), |bundle| Ok(Place::Bundled(bundle)))
}

/// Returns the source tree `given` (or `$INITRAMFS_OVERLAY_SOURCE`), else the one that the current directory is in, else the one this command
/// was built from.
///
/// # Errors
/// [`Error::Usage`] where the given one is none; [`Error::Io`].
pub fn locate_tree(given: Option<&Path>) -> Result<Place> {
    let named = given.is_some() || variable(SOURCE_VARIABLE).is_some();
    match SourceTree::find(given) {
        Ok(source) => Ok(Place::Inside(source)),
        Err(sources::Error::Usage(text)) if !named => {
            let built_from = BUILT_FROM.and_then(|path| SourceTree::find(Some(Path::new(path))).ok());
            Ok(built_from.map_or(Place::Without(text), Place::Outside))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_users_files_and_the_images_are_in_the_source_tree() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("init")).unwrap();
        fs::write(root.join("init/Cargo.toml"), "[package]\nname = \"initramfs-overlay-init\"\n").unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace.package]\nversion = \"1.2.3\"\n").unwrap();
        let place = locate(Some(&root)).unwrap();
        assert_eq!((place.version(), place.default_include()), ("1.2.3", Vec::new()));
        assert_eq!(place.default_output(), root.join("target"));
        fs::create_dir(root.join("src")).unwrap();
        assert_eq!(place.default_include(), [root.join("src")]);
        let error = locate(Some(&root.join("src"))).unwrap_err().to_string();
        assert!(error.contains("source tree"), "{error}");
    }
}
