//! A package of programs, as a table of what is compiled.

use std::{fs, path::Path};

use base::IoContext;

use crate::{Result, fetch::Pinned};

/// Lists C files by their names without `.c`, those of each directory behind it.
macro_rules! files {
    ($($directory:literal: $($name:literal)+;)+) => { &[$($(concat!($directory, "/", $name, ".c")),+),+] };
}
pub(super) use files;

/// A package of programs, and how it is compiled.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The licence of its programs, an SPDX expression.
    pub licence: &'static str,
    /// Its tarball.
    pub source: Pinned,
    /// Files and directories of the tarball that are needed.
    pub(super) unpacked: &'static [&'static str],
    /// Files that are written beside them: answers of `configure`, headers.
    pub(super) written: &'static [(&'static str, &'static str)],
    /// Makes further files from those of the tarball.
    pub(super) prepare: fn(&Path) -> Result<()>,
    /// Flags for every file.
    pub(super) flags: &'static [&'static str],
    /// Files that all programs may call, each with flags of its own.
    pub(super) library: &'static [&'static str],
    /// The programs.
    pub(super) programs: &'static [Program],
}

/// A program of a package.
#[derive(Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Other names that it answers to.
    pub links: &'static [&'static str],
    /// The files of its own, each with flags of its own.
    pub(super) files: &'static [&'static str],
}

/// Replaces words in a file of the source tree, in `to` where that is another one.
pub fn fill_in(source: &Path, template: &str, to: &str, words: &[(&str, &str)]) -> Result<()> {
    let path = source.join(template);
    let text = fs::read_to_string(&path).at("read", &path)?;
    let text = words.iter().fold(text, |text, (word, with)| text.replace(word, with));
    fs::write(source.join(to), text).at("write", source.join(to))?;
    Ok(())
}
