//! The init of each image: the one that the user gives, else compiled. Says what it was made of, for the bill of materials.

use std::path::{Path, PathBuf};

use base::{IoContext, bounded, cache::Cache, digest::digest, elf, progress::Progress};
use clap::ValueEnum;
use contract::names;
use sources::{
    bundle::Bundle,
    target::Target,
    toolchain::{self, Crate, Toolchain, repair::Tool},
};

use super::source::{self, Place};
use crate::{Error, Result, variant::Variant};

/// An init, ready to be put into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The build that it comes from; `None` where the user gave it.
    pub build: Option<Build>,
}

/// The features, crates and compiler of an init, apart from its own source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The features of init that it was compiled with, by name with commas between.
    pub features: String,
    /// The crates that are compiled in.
    pub crates: Vec<Crate>,
    /// Rust's version.
    pub rust_release: String,
    /// The commit of that Rust.
    pub rust_commit: String,
}

impl Build {
    /// Returns true if libblkid is linked into it.
    pub fn has_libblkid(&self) -> bool {
        toolchain::links_libblkid(&self.features)
    }
}

/// A boot mode that an init can be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum BootMode {
    /// Partitions, an image and a writable layer
    Overlay,
    /// A directory of the host
    Virtiofs,
    /// The initramfs itself is the root
    Ram,
}

impl BootMode {
    fn feature(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Virtiofs => "virtiofs",
            Self::Ram => "ram",
        }
    }
}

/// The origin of a build's inits.
#[derive(Debug)]
pub enum Programs<'a> {
    /// The user's.
    Given(Program),
    /// Finished ones.
    Bundled(&'a Bundle),
    /// Compiled.
    Compiled(Box<Toolchain<'a>>),
}

impl<'a> Programs<'a> {
    /// Checks the program `given`, else takes the bundle, else looks for the source and the machine's Rust. Compiles nothing yet.
    ///
    /// # Errors
    /// [`Error::Usage`] where one program is given for several targets or there is no source, [`sources::Error::WrongProgram`]
    /// where the given one is none for the target, [`Error::Missing`] where there is no Rust.
    pub fn new(
        given: Option<&Path>,
        place: &'a Place,
        targets: &[&'static Target],
        cache: &'a Cache,
        progress: Progress,
    ) -> Result<Self> {
        let path = match (given, place) {
            (Some(path), _) => path,
            (None, Place::Bundled(bundle)) => return Ok(Self::Bundled(bundle)),
            (None, _) => return Ok(Self::Compiled(Box::new(Toolchain::new(place.source()?, cache, progress)?))),
        };
        let [target] = targets else {
            return Err(Error::Usage(format!(
                "--init-program gives one program, which runs on one target, and {} were asked for; name it with --target",
                targets.len()
            )));
        };
        Ok(Self::Given(Program::read(path.to_owned(), target, None)?))
    }

    /// Returns the init for `target` and this variant with what is demanded. A given one serves for all, but it must verify signatures where
    /// that is demanded, and have a shell only in the debug variant.
    ///
    /// # Errors
    /// Any of the compilation's; [`Error::Usage`] for a given one that breaks these rules.
    pub fn get(&self, target: &'static Target, variant: Variant, demands: Demands) -> Result<Program> {
        self.get_for(target, &[BootMode::Overlay], variant, demands)
    }

    /// Returns an init that knows these boot modes; else as [`Self::get`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_for(
        &self,
        target: &'static Target,
        modes: &[BootMode],
        variant: Variant,
        demands: Demands,
    ) -> Result<Program> {
        let shell = variant.has_shell();
        match self {
            Self::Given(program) if !shell && has(&program.path, names::PROMPT)? => {
                let path = program.path.display();
                return Err(Error::Usage(format!(
                    "--init-program {path} has a shell, which only the debug variant may have; give one that was built without the feature \
                     `shell`, or ask for --variant debug alone"
                )));
            }
            Self::Given(program) if demands.trust && !has(&program.path, names::OLD_SIGNATURE)? => {
                let path = program.path.display();
                return Err(Error::Usage(format!(
                    "--init-program {path} boots any image, but --trust asks for signed ones only; give an init that was built with the \
                     feature `trust`, or let it be compiled"
                )));
            }
            _ => {}
        }
        self.with(target, &features(modes, variant, demands))
    }

    /// Returns the programs of the debug variant that repair a disk; none where the init is given and nothing is compiled.
    ///
    /// # Errors
    /// Any of the compilation's, and of [`Bundle::repair_tools`].
    pub fn repair_tools(&self, target: &Target) -> Result<Vec<Tool>> {
        match self {
            Self::Given(_) => Ok(Vec::new()),
            Self::Bundled(bundle) => Ok(bundle.repair_tools(target)?),
            Self::Compiled(toolchain) => Ok(toolchain.repair_tools(target)?),
        }
    }

    /// Returns the init for `target`, compiled with these features, now or for the bundle; a given one is returned as it is.
    ///
    /// # Errors
    /// Any of the compilation's, of [`Bundle::init`] and of [`Program::read`].
    pub fn with(&self, target: &'static Target, features: &str) -> Result<Program> {
        let (init, rust_release, rust_commit) = match self {
            Self::Given(program) => return Ok(program.clone()),
            Self::Bundled(bundle) => {
                let manifest = &bundle.manifest;
                (bundle.init(target, features)?, &*manifest.rust_release, &*manifest.rust_commit)
            }
            Self::Compiled(toolchain) => {
                let rust = toolchain.rust();
                (toolchain.init(target, features)?, &*rust.release, rust.commit())
            }
        };
        let build = Build {
            features: features.to_owned(),
            crates: init.crates,
            rust_release: rust_release.to_owned(),
            rust_commit: rust_commit.to_owned(),
        };
        Program::read(init.path, target, Some(build))
    }
}

/// Returns the init at `given`, else of the bundle, else compiled from the tree `source` or the one that is found, and its version.
///
/// # Errors
/// As [`Programs::new`] and [`Programs::with`].
pub fn one(
    target: &'static Target,
    features: &str,
    given: Option<&Path>,
    source: Option<&Path>,
    progress: Progress,
) -> Result<(Program, String)> {
    if let Some(path) = given {
        return Ok((Program::read(path.to_owned(), target, None)?, env!("CARGO_PKG_VERSION").to_owned()));
    }
    let place = source::locate(source)?;
    let cache = crate::cache::open()?;
    let program = Programs::new(None, &place, &[target], &cache, progress)?.with(target, features)?;
    Ok((program, place.version().to_owned()))
}

/// Features of an init that follow from what is baked in beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demands {
    /// Images, layers and modules have to be signed.
    pub trust: bool,
    /// There is a menu, which asks for a password. The debug variant has its own, without one.
    pub menu: bool,
}

/// Returns the features of an init of this variant with these boot modes.
pub fn features(modes: &[BootMode], variant: Variant, demands: Demands) -> String {
    // The appliance's own init has what people in front of it need; a machine of a host's has none, and the smallest image neither. A menu
    // that nobody has a password for is 7 KB for nothing.
    let is_full = variant != Variant::Slim;
    let appliance = is_full && modes == [BootMode::Overlay];
    let extras = [
        ("blackbox", is_full && modes.contains(&BootMode::Overlay)),
        ("button", appliance),
        ("parameters", appliance),
        ("qr", appliance),
        ("recover", appliance && (demands.menu || variant.has_shell())),
        ("shell", variant.has_shell()),
        ("trust", demands.trust),
    ];
    let extras = extras.into_iter().filter_map(|(feature, wanted)| wanted.then_some(feature));
    modes.iter().map(|mode| mode.feature()).chain(extras).collect::<Vec<_>>().join(",")
}

/// Returns the boot modes of an init that is written alone, where nobody says which.
pub fn bare_modes(trust: bool) -> Vec<BootMode> {
    let modes = [BootMode::Overlay, BootMode::Virtiofs];
    modes.into_iter().filter(|mode| !trust || *mode == BootMode::Overlay).collect()
}

/// Returns true if the init at `path` contains `words`, a text that only an init with a certain feature has.
fn has(path: &Path, words: &str) -> Result<bool> {
    let bytes = bounded::read(path, bounded::PROGRAM_MAX).at("read", path)?;
    Ok(bytes.windows(words.len()).any(|window| window == words.as_bytes()))
}

impl Program {
    /// Returns the program at `path`, if it is one for `target`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`sources::Error::WrongProgram`] with what it is instead.
    pub fn read(path: PathBuf, target: &Target, build: Option<Build>) -> Result<Self> {
        let bytes = bounded::read(&path, bounded::PROGRAM_MAX).at("read", &path)?;
        match elf::objection(&bytes, target.elf) {
            Some(reason) => {
                let what = format!("init for {}", target.name);
                Err(sources::Error::WrongProgram { path, what, reason }.into())
            }
            None => Ok(Self { path, size: bytes.len() as u64, sha256: digest(&bytes), build }),
        }
    }
}
