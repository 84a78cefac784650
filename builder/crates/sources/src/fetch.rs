//! A file known by its SHA-256, from wherever it can be had: a file the user names, the cache, its upstream address, the
//! Debian mirror. Whatever the way, contents with another digest are never used.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{IoContext, cache::Cache, digest::file_digest, environment::variable, program, progress::Progress};

use crate::{Error, Result, apt::Apt};

/// A file that is needed with exactly these contents.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// Its name for people: "util-linux 2.41.5".
    pub what: &'static str,
    /// Its file name, also in the cache.
    pub name: &'static str,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'static str,
    /// An environment variable that names the file.
    pub variable: &'static str,
    /// The address at which upstream publishes it.
    pub upstream: &'static str,
    /// The Debian source package it is the upstream tarball of, and the release that has it.
    pub debian_source: (&'static str, &'static str),
}

/// The directory of the cache where fetched files are.
const ROOM: &str = "download";

impl Pinned {
    /// Returns the file on this machine, fetched where it is not there, its digest checked just now.
    ///
    /// # Errors
    /// [`Error::WrongDigest`] for a file that the user named; [`Error::Missing`] with every way that was tried.
    pub fn get(&self, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
        if let Some(path) = variable(self.variable) {
            let found = file_digest(&path)?;
            return if found == self.sha256 { Ok(path) } else { Err(self.wrong(path, found)) };
        }
        let mut tried = Vec::new();
        let kept = cache.root().join(ROOM).join(self.name);
        if kept.exists() {
            match file_digest(&kept)? {
                found if found == self.sha256 => return Ok(kept),
                found => tried.push(format!("the cache: {}", self.wrong(kept.clone(), found))),
            }
        }
        let step = progress.step(format!("fetching {}", self.what));
        let room = cache.room(ROOM)?;
        let download = tempfile::tempdir_in(&room).at("create a directory in", &room)?;
        let file = download.path().join(self.name);
        step.detail(self.upstream);
        match download_address(self.upstream, &file).and_then(|()| self.accept(&file)) {
            Ok(()) => return keep(&file, &kept, step),
            Err(refusal) => tried.push(format!("{}: {refusal}", self.upstream)),
        }
        let (source, suite) = self.debian_source;
        step.detail("from the Debian mirror");
        match Apt::new(cache, suite, None)? {
            Err(refusal) => tried.push(format!("Debian's {source} source: {refusal}")),
            Ok(apt) => match apt.download_source(source, download.path(), progress)? {
                Err(refusal) => tried.push(format!("Debian's {source} source: {refusal}")),
                Ok(file) => match self.accept(&file) {
                    Ok(()) => return keep(&file, &kept, step),
                    Err(refusal) => tried.push(format!("Debian's {source} source: {refusal}")),
                },
            },
        }
        Err(Error::Missing {
            what: self.what.to_owned(),
            tried,
            remedy: format!(
                "download {} on a machine with a network, and copy it to {} or set {} to its path",
                self.name,
                kept.display(),
                self.variable
            ),
        })
    }

    fn accept(&self, file: &Path) -> Result<(), String> {
        match file_digest(file) {
            Ok(found) if found == self.sha256 => Ok(()),
            Ok(found) => Err(format!("the download has SHA-256 {found}, not {}", self.sha256)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn wrong(&self, path: PathBuf, found: String) -> Error {
        Error::WrongDigest { path, expected: self.sha256.to_owned(), found }
    }
}

fn keep(file: &Path, kept: &Path, step: base::progress::Step) -> Result<PathBuf> {
    // Same filesystem: the download directory is in the cache.
    fs::rename(file, kept).at("rename the finished file to", kept)?;
    step.finish("");
    Ok(kept.to_owned())
}

/// Seconds to wait for a connection: a machine without a way out should say so soon.
const CONNECT: &str = "5";

/// Seconds after which a connection that delivers nothing is given up.
const STALLED: &str = "20";

/// Downloads `address` to `file` with curl, wget or Python, the first that is installed.
fn download_address(address: &str, file: &Path) -> Result<(), String> {
    let mut curl = base::program::command("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--connect-timeout", CONNECT]);
    curl.args(["--speed-limit", "1000", "--speed-time", STALLED, "--output"]).arg(file).arg(address);
    let mut wget = base::program::command("wget");
    wget.args([
        "--no-verbose",
        "--tries=1",
        &format!("--connect-timeout={CONNECT}"),
        &format!("--read-timeout={STALLED}"),
    ]);
    wget.arg("--output-document").arg(file).arg(address);
    let mut python = base::program::command("python3");
    python.args(["-c", PYTHON_DOWNLOAD, address]).arg(file).arg(STALLED);
    for mut command in [curl, wget, python] {
        match program::output(&mut command) {
            // Not installed.
            Err(_) => continue,
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => return Err(program::last_words(&output)),
        }
    }
    Err("none of curl, wget and python3 is installed".to_owned())
}

const PYTHON_DOWNLOAD: &str = "\
import shutil, sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[3])) as source, open(sys.argv[2], 'wb') as sink:
        shutil.copyfileobj(source, sink)
except OSError as error:
    sys.exit(str(error))
";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use std::process::Command;

    use super::*;

    /// The digest of "right".
    const RIGHT: &str = "27042f4e6eca7d0b2a7ee4026df2ecfa51d3339e6d122aa099118ecd8563bad9";

    fn pinned(upstream: &'static str) -> Pinned {
        Pinned {
            what: "a test file",
            name: "test.txt",
            sha256: RIGHT,
            variable: "INITRAMFS_OVERLAY_TEST_FILE_NEVER_SET",
            upstream,
            // apt finds nothing of that name, wherever it runs.
            debian_source: ("no-such-source-package", "no-such-suite"),
        }
    }

    #[test]
    fn a_kept_file_is_used_only_with_the_right_digest() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let kept = cache.room(ROOM).unwrap().join("test.txt");
        fs::write(&kept, "right").unwrap();
        assert_eq!(pinned("file:///nowhere").get(&cache, &Progress::none()).unwrap(), kept);
    }

    #[test]
    fn upstream_is_fetched_checked_and_kept() {
        let is_there = |program: &&str| program::output(Command::new(program).arg("--version")).is_ok();
        if !["curl", "wget", "python3"].iter().any(is_there) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: none of curl, wget and python3 is installed");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().join("cache"));
        let file = directory.path().join("published");
        fs::write(&file, "right").unwrap();
        // What was kept is broken, so it has to be fetched again.
        fs::write(cache.room(ROOM).unwrap().join("test.txt"), "wrong").unwrap();
        let address: &'static str = Box::leak(format!("file://{}", file.display()).into_boxed_str());
        let got = pinned(address).get(&cache, &Progress::none()).unwrap();
        assert_eq!(fs::read(got).unwrap(), b"right");
        assert_eq!(fs::read_dir(cache.root().join(ROOM)).unwrap().count(), 1, "a download directory was left");
    }
}
