//! The init of each image: the one that the user gives, else compiled. Says what it was made of, for the bill of materials.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::source::Place;
use crate::{
    Error, Result,
    cache::{Cache, digest},
    elf,
    error::IoContext,
    progress::Progress,
    target::Target,
};

/// An init, ready to be put into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Where the inits of a build come from.
#[derive(Debug)]
pub struct Programs {
    given: Program,
}

impl Programs {
    /// Checks the program `given`.
    ///
    /// # Errors
    /// [`Error::Usage`] where one program is given for several targets, [`Error::WrongProgram`] where it is none for the
    /// target.
    pub fn new(
        given: Option<&Path>,
        _place: &Place,
        targets: &[&'static Target],
        _cache: &Cache,
        _progress: Progress,
    ) -> Result<Self> {
        let Some(path) = given else {
            return Err(Error::Usage("name a finished init with --init FILE".to_owned()));
        };
        let [target] = targets else {
            return Err(Error::Usage(format!(
                "--init gives one program, which runs on one target, and {} were asked for; name it with --target",
                targets.len()
            )));
        };
        Ok(Self { given: read(path, target)? })
    }

    /// The init for `target`, with a shell or without.
    ///
    /// # Errors
    /// What compiling it says.
    pub fn get(&mut self, _target: &'static Target, _shell: bool) -> Result<Program> {
        Ok(self.given.clone())
    }
}

/// The program at `path`, if it is one for `target`.
fn read(path: &Path, target: &Target) -> Result<Program> {
    let bytes = fs::read(path).at("read", path)?;
    match elf::objection(&bytes, target.elf) {
        Some(reason) => {
            Err(Error::WrongProgram { path: path.to_owned(), what: format!("init for {}", target.name), reason })
        }
        None => Ok(Program { path: path.to_owned(), size: bytes.len() as u64, sha256: digest(&bytes) }),
    }
}
