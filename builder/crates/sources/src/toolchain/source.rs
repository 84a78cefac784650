//! The source tree of init on this machine: where it is, its version, and a digest of all that goes into the binary.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use base::{IoContext, environment::variable};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Names the source tree; `build.sh` sets it to its own directory.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_SOURCE";

/// The source tree of init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// Its top directory.
    pub root: PathBuf,
    /// The version in its `Cargo.toml`: that of init and of the images.
    pub version: String,
}

impl SourceTree {
    /// Finds the tree at `given`, else at `$INITRAMFS_OVERLAY_SOURCE`, else the one that the current directory is in.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is none.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(root) = given.map(Path::to_owned).or_else(|| variable(VARIABLE)) {
            return Self::at(&root)?.ok_or_else(|| {
                Error::Usage(format!(
                    "{} is not the source tree of initramfs-overlay: it has no init/Cargo.toml",
                    root.display()
                ))
            });
        }
        let here = env::current_dir().at("find", ".")?;
        for directory in here.ancestors() {
            if let Some(tree) = Self::at(directory)? {
                return Ok(tree);
            }
        }
        Err(Error::Usage(format!(
            "the source of init is neither in {} nor above it; run this in a clone of initramfs-overlay, name one with \
             --source, or give a finished program with --init-program",
            here.display()
        )))
    }

    fn at(root: &Path) -> Result<Option<Self>> {
        let manifest = root.join("init/Cargo.toml");
        if !fs::read_to_string(manifest).is_ok_and(|text| text.contains("name = \"initramfs-overlay-init\"")) {
            return Ok(None);
        }
        let root = root.canonicalize().at("find", root)?;
        let path = root.join("Cargo.toml");
        let text = fs::read_to_string(&path).at("read", &path)?;
        let version = text
            .parse::<toml::Table>()
            .ok()
            .and_then(|table| Some(table.get("workspace")?.get("package")?.get("version")?.as_str()?.to_owned()));
        match version {
            Some(version) => Ok(Some(Self { root, version })),
            None => Err(Error::WrongFile { path, reason: "it has no workspace.package.version".to_owned() }),
        }
    }

    /// Returns a digest of every file that goes into the binary: names and contents, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn digest(&self) -> Result<String> {
        let mut files = vec![self.root.join("Cargo.toml"), self.root.join("Cargo.lock")];
        let not_compiled = ["tests", "benches", "examples", "fuzz"];
        let walk = |package: &str| walkdir::WalkDir::new(self.root.join(package)).sort_by_file_name().into_iter();
        let is_compiled = |entry: &walkdir::DirEntry| {
            entry.depth() != 1 || !not_compiled.iter().any(|name| entry.file_name() == *name)
        };
        for entry in ["contract", "init"].into_iter().flat_map(|package| walk(package).filter_entry(is_compiled)) {
            let entry = entry.map_err(|error| base::Error::Io {
                action: "read",
                path: error.path().unwrap_or(&self.root).to_owned(),
                source: error.into(),
            })?;
            if entry.file_type().is_file() {
                files.push(entry.into_path());
            }
        }
        let mut hasher = Sha256::new();
        for file in files {
            let name = file.strip_prefix(&self.root).unwrap_or(&file).as_os_str().as_encoded_bytes();
            let bytes = fs::read(&file).at("read", &file)?;
            for part in [name, &bytes] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        Ok(contract::hex::encode(&hasher.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("contract/src")).unwrap();
        fs::create_dir_all(directory.path().join("init/src")).unwrap();
        fs::create_dir_all(directory.path().join("init/tests")).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("Cargo.toml", "[workspace.package]\nversion = \"1.2.3\"\n");
        write("Cargo.lock", "");
        write("init/Cargo.toml", "name = \"initramfs-overlay-init\"\n");
        write("init/src/main.rs", "fn main() {}");
        directory
    }

    #[test]
    fn the_tree_is_found_with_its_version() {
        let directory = tree();
        let found = SourceTree::find(Some(directory.path())).unwrap();
        assert_eq!((found.version.as_str(), found.root), ("1.2.3", directory.path().canonicalize().unwrap()));
        let text = SourceTree::find(Some(&directory.path().join("init"))).unwrap_err().to_string();
        assert!(
            text.ends_with("init is not the source tree of initramfs-overlay: it has no init/Cargo.toml"),
            "{text}"
        );
    }

    #[test]
    fn the_digest_follows_what_is_compiled() {
        let directory = tree();
        let found = SourceTree::find(Some(directory.path())).unwrap();
        let first = found.digest().unwrap();
        fs::write(directory.path().join("init/tests/new.rs"), "").unwrap();
        assert_eq!(found.digest().unwrap(), first);
        let changes = [
            ("contract/src/lib.rs", ""),
            ("init/src/main.rs", "fn main() { }"),
            ("init/src/new.rs", ""),
            ("Cargo.lock", "x"),
        ];
        let mut seen = vec![first];
        for (name, text) in changes {
            fs::write(directory.path().join(name), text).unwrap();
            let digest = found.digest().unwrap();
            assert!(!seen.contains(&digest), "{name} made no difference");
            seen.push(digest);
        }
    }
}
