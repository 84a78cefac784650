//! A directory of finished inits, for machines without a compiler: a manifest, the inits that it lists, each with its SHA-256, and the pinned
//! BusyBox of each target as a cache keeps it.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use base::{IoContext, cache::Cache, digest::file_digest, environment::variable};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    target::Target,
    toolchain::{
        Crate, Init, Rust,
        repair::{self, Tool},
    },
};

/// The variable that names the directory.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_INITS";

/// The name of the directory, beside the command.
pub const DIRECTORY: &str = "inits";

/// The name of the manifest in it.
pub const MANIFEST: &str = "manifest.json";

/// The version of the manifest's format.
const FORMAT: u32 = 1;

/// The contents of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The version of the inits.
    pub version: String,
    /// The version of the Rust that compiled them.
    pub rust_release: String,
    /// The commit of that Rust.
    pub rust_commit: String,
    /// The inits.
    pub inits: Vec<Listed>,
}

/// An init in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its target.
    pub target: String,
    /// The features that it was compiled with, with commas between.
    pub features: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The crates that are compiled in.
    pub crates: Vec<Crate>,
}

impl Manifest {
    /// Returns a manifest without inits.
    pub fn new(version: &str, rust: &Rust) -> Self {
        Self {
            format: FORMAT,
            version: version.to_owned(),
            rust_release: rust.release.clone(),
            rust_commit: rust.commit().to_owned(),
            inits: Vec::new(),
        }
    }

    /// Returns it as JSON.
    ///
    /// # Errors
    /// [`Error::Base`], where a string is none that JSON can hold.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from).at("write", MANIFEST)?;
        text.push(b'\n');
        Ok(text)
    }
}

impl Listed {
    /// Returns the name of its file.
    pub fn file(&self) -> String {
        format!("init-{}-{}", self.target, self.features.replace(',', "+"))
    }

    fn is(&self, target: &Target, features: &str) -> bool {
        let set = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
        self.target == target.name && set(&self.features) == set(features)
    }
}

/// A directory of inits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    root: PathBuf,
    /// Its list of inits.
    pub manifest: Manifest,
}

impl Bundle {
    /// Opens the directory that `$INITRAMFS_OVERLAY_INITS` names, else the one beside the command, where there is one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn find() -> Result<Option<Self>> {
        match Self::named()? {
            Some(bundle) => Ok(Some(bundle)),
            None => Self::beside_command(),
        }
    }

    /// Opens the directory that `$INITRAMFS_OVERLAY_INITS` names.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn named() -> Result<Option<Self>> {
        variable(VARIABLE).map(|root| Self::open(&root)).transpose()
    }

    /// Opens the directory `inits/` beside the program that runs, where it holds a manifest.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn beside_command() -> Result<Option<Self>> {
        let root = env::current_exe().ok().and_then(|command| Some(command.parent()?.join(DIRECTORY)));
        root.filter(|root| root.join(MANIFEST).is_file()).map(|root| Self::open(&root)).transpose()
    }

    /// Opens the bundle in the directory `root`.
    ///
    /// # Errors
    /// [`Error::Base`] where its manifest cannot be read, [`Error::WrongFile`] for one that this command does not know.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(MANIFEST);
        let text = fs::read(&path).at("read", &path)?;
        let wrong = |reason| Error::WrongFile { path: path.clone(), reason };
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("its format is {}, and this command knows {FORMAT}", manifest.format)));
        }
        if manifest.version != env!("CARGO_PKG_VERSION") {
            return Err(wrong(format!(
                "its inits have version {}, and this command {}",
                manifest.version,
                env!("CARGO_PKG_VERSION")
            )));
        }
        Ok(Self { root: root.to_owned(), manifest })
    }

    /// Returns the init for `target` with these features.
    ///
    /// # Errors
    /// [`Error::Missing`] where it has none, [`Error::WrongDigest`] for one that was changed.
    pub fn init(&self, target: &Target, features: &str) -> Result<Init> {
        let listed = self.manifest.inits.iter().find(|listed| listed.is(target, features));
        let listed = listed.ok_or_else(|| self.missing(target, features))?;
        let path = self.root.join(listed.file());
        let found = file_digest(&path)?;
        if found != listed.sha256 {
            return Err(Error::WrongDigest { path, expected: listed.sha256.clone(), found });
        }
        Ok(Init { path, crates: listed.crates.clone() })
    }

    fn missing(&self, target: &Target, features: &str) -> Error {
        let of_target: Vec<&str> = self
            .manifest
            .inits
            .iter()
            .filter(|listed| listed.target == target.name)
            .map(|listed| listed.features.as_str())
            .collect();
        let targets: BTreeSet<&str> = self.manifest.inits.iter().map(|listed| listed.target.as_str()).collect();
        let there = match of_target.as_slice() {
            [] => format!("has none for this target, only for {}", targets.into_iter().collect::<Vec<_>>().join(", ")),
            found => format!("has for it only: {}", found.join("; ")),
        };
        let make = if of_target.is_empty() {
            format!(
                "make a bundle for it in a clone of initramfs-overlay (./build.sh --bundle --target {})",
                target.name
            )
        } else {
            "let it be compiled (--source TREE, with Rust)".to_owned()
        };
        Error::Missing {
            what: format!("init for {} with {features}", target.name),
            tried: vec![format!("the bundle {} {there}", self.root.display())],
            remedy: format!("{make}, or give a finished program with --init-program"),
        }
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the programs of the debug variant that repair a disk, for `target`.
    ///
    /// # Errors
    /// [`Error::Missing`] where they are not there or not whole.
    pub fn repair_tools(&self, target: &Target) -> Result<Vec<Tool>> {
        repair::kept(target, &self.cache())?.ok_or_else(|| Error::Missing {
            what: format!("programs of the debug variant for {}", target.name),
            tried: vec![format!("the bundle {} has none that are whole", self.root.display())],
            remedy: "make the bundle again, or let them be compiled (--source TREE, with Rust)".into(),
        })
    }

    /// Returns the part of it that is kept as in a cache: BusyBox, and the programs that repair a disk.
    pub fn cache(&self) -> Cache {
        Cache::at(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use base::digest::digest;

    use super::*;
    use crate::target;

    fn bundle(directory: &Path, version: &str) {
        let listed = |features: &str| Listed {
            target: "i686".to_owned(),
            features: features.to_owned(),
            size: 4,
            sha256: digest(b"init"),
            crates: Vec::new(),
        };
        let manifest = Manifest {
            format: FORMAT,
            version: version.to_owned(),
            rust_release: "1".to_owned(),
            rust_commit: "2".to_owned(),
            inits: vec![listed("overlay"), listed("overlay,shell")],
        };
        for init in &manifest.inits {
            fs::write(directory.join(init.file()), "init").unwrap();
        }
        fs::write(directory.join(MANIFEST), manifest.to_json().unwrap()).unwrap();
    }

    #[test]
    fn an_init_is_found_by_the_set_of_its_features() {
        let directory = tempfile::tempdir().unwrap();
        bundle(directory.path(), env!("CARGO_PKG_VERSION"));
        let bundle = Bundle::open(directory.path()).unwrap();
        let find = |target: &str, features: &str| bundle.init(target::named(target).unwrap(), features);
        assert_eq!(find("i686", "shell,overlay").unwrap().path, directory.path().join("init-i686-overlay+shell"));
        for (target, features, words) in [
            ("i686", "ram", ["init for i686 with ram", "has for it only: overlay; overlay,shell", "--source TREE"]),
            ("armhf", "overlay", ["init for armv7l", "only for i686", "./build.sh --bundle --target armv7l"]),
        ] {
            let error = find(target, features).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        bundle(directory.path(), "0.0.0");
        let error = Bundle::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("its inits have version 0.0.0, and this command"), "{error}");
        bundle(directory.path(), env!("CARGO_PKG_VERSION"));
        fs::write(directory.path().join("init-i686-overlay"), "tini").unwrap();
        let bundle = Bundle::open(directory.path()).unwrap();
        let error = bundle.init(target::named("i686").unwrap(), "overlay").unwrap_err().to_string();
        assert!(error.contains("init-i686-overlay has SHA-256"), "{error}");
        fs::write(directory.path().join(MANIFEST), r#"{"format": 2}"#).unwrap();
        assert!(Bundle::open(directory.path()).unwrap_err().to_string().contains(MANIFEST));
    }
}
