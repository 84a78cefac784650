//! The machine's Rust: which compiler it is, and whether std's sources are there, which are compiled for each target.
//! Only std's sources are ever added, and only by rustup.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use base::{IoContext, program, progress::Progress};

use super::environment;
use crate::{Error, Result};

/// The Rust that a source tree is built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rust {
    /// `1.95.0`.
    pub release: String,
    /// The output of `rustc -vV`, which identifies the compiler exactly.
    pub identity: String,
    source: PathBuf,
}

impl Rust {
    /// Finds the compiler that cargo would use in the directory `source`, which must be the pinned one.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is none or another one.
    pub fn of(source: &Path) -> Result<Self> {
        let pinned = pinned_release(source)?;
        let missing = |found: String| Error::Missing {
            what: format!("Rust {pinned}, which {} pins", source.join("rust-toolchain.toml").display()),
            tried: vec![found],
            remedy: format!(
                "install rustup, then run: rustup toolchain install {pinned} --profile minimal --component rust-src"
            ),
        };
        let output = program::output(rustc(source).arg("-vV")).map_err(|error| missing(format!("rustc: {error}")))?;
        if !output.status.success() {
            return Err(missing(program::last_words(&output)));
        }
        let identity = String::from_utf8_lossy(&output.stdout).into_owned();
        let release = identity.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or_default().to_owned();
        if release != pinned {
            return Err(missing(format!("rustc here is {release}")));
        }
        Ok(Self { release, identity, source: source.to_owned() })
    }

    /// Returns the commit that the compiler and std were built from.
    pub fn commit(&self) -> &str {
        self.identity.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown")
    }

    /// Returns the directory of the tool chain, with std's sources in it; added where they are not.
    ///
    /// # Errors
    /// [`Error::Missing`] with how to add them by hand.
    pub fn sysroot_with_std(&self, progress: &Progress) -> Result<PathBuf> {
        let output = program::run(rustc(&self.source).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(output.stdout.trim_end());
        let library = sysroot.join("lib/rustlib/src/rust/library");
        let is_there = || library.join("Cargo.lock").is_file() && library.join("std/Cargo.toml").is_file();
        if is_there() {
            return Ok(sysroot);
        }
        let step = progress.step("fetching std's sources (rustup component add rust-src)");
        let mut rustup = base::program::command("rustup");
        rustup.current_dir(&self.source).args(["component", "add", "rust-src"]);
        let tried = match program::output(&mut rustup) {
            Err(_) => "rustup is not installed".to_owned(),
            Ok(output) if output.status.success() && is_there() => {
                step.finish("");
                return Ok(sysroot);
            }
            Ok(output) => format!("rustup: {}", program::last_words(&output)),
        };
        Err(Error::Missing {
            what: format!("the sources of Rust's standard library {}", self.release),
            tried: vec![tried],
            remedy: format!(
                "add the component rust-src, or copy {} from a machine that has it (Debian's package rust-src of the same \
                 version holds the same tree)",
                library.display()
            ),
        })
    }
}

fn rustc(source: &Path) -> Command {
    let mut command = Command::new("rustc");
    environment::clean(&mut command);
    // Where it runs decides which tool chain rustup takes.
    command.current_dir(source);
    command
}

fn pinned_release(source: &Path) -> Result<String> {
    let path = source.join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&path).at("read", &path)?;
    let table: toml::Table =
        text.parse().map_err(|error| Error::WrongFile { path: path.clone(), reason: format!("{error}") })?;
    let channel = table.get("toolchain").and_then(|toolchain| toolchain.get("channel")).and_then(toml::Value::as_str);
    channel
        .map(str::to_owned)
        .ok_or_else(|| Error::WrongFile { path, reason: "it has no toolchain.channel".to_owned() })
}
