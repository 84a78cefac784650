//! Debian packages and sources from the machine's own mirror, for any architecture and release, as any user: apt with a
//! state directory of its own, so nothing on the machine changes. apt checks each file against the index that Debian
//! signed. Only for machines that have apt and a mirror of Debian's; unpacking is `deb`'s.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use base::{IoContext, cache::Cache, program, progress::Progress};

use crate::Result;

mod mirror;

pub use mirror::{Mirror, mirrors_in};

/// A mirror to use instead of those that the machine knows: `http://mirror.example/debian`.
pub const MIRROR_VARIABLE: &str = "INITRAMFS_OVERLAY_DEBIAN_MIRROR";

/// The keyring of Debian's release keys, as the package `debian-archive-keyring` installs it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A release of Debian for one architecture.
#[derive(Debug)]
pub struct Apt {
    state: PathBuf,
    options: Vec<String>,
}

/// A binary package, as the index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The source package it was built from.
    pub source: String,
    /// That package's version.
    pub source_version: String,
    /// The `.deb`'s SHA-256, in hexadecimal.
    pub sha256: String,
    /// The names it depends on, without versions, in order.
    pub depends: Vec<String>,
    /// Source packages that are compiled in beside its own, with their versions (`Built-Using`).
    pub built_using: Vec<(String, String)>,
}

/// Why apt did not deliver, in words for the list of what was tried.
pub type Refusal = String;

impl Apt {
    /// Returns the packages of `suite` for `architecture`, or its sources where that is `None`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] for the state directory. Where the machine has no apt or no mirror of Debian's: the inner error.
    pub fn new(cache: &Cache, suite: &str, architecture: Option<&str>) -> Result<Result<Self, Refusal>> {
        if program::locate("apt-get").is_none() {
            return Ok(Err("apt is not installed here".to_owned()));
        }
        let mirrors = match env::var(MIRROR_VARIABLE) {
            Ok(uri) if !uri.is_empty() => vec![Mirror { uri, signed_by: None }],
            _ => mirrors_of_the_machine()?,
        };
        if mirrors.is_empty() {
            return Ok(Err(format!("apt knows no mirror of Debian's here (give one with {MIRROR_VARIABLE})")));
        }
        let state = cache.room(&format!("apt/{suite}-{}", architecture.unwrap_or("source")))?;
        for directory in ["lists/partial", "cache/archives/partial", "parts"] {
            let directory = state.join(directory);
            fs::create_dir_all(&directory).at("create", &directory)?;
        }
        let write = |name: &str, text: &str| fs::write(state.join(name), text).at("write", state.join(name));
        write("status", "")?;
        write("sources.list", &source_list(&mirrors, suite, architecture.is_none(), Path::new(KEYRING).exists()))?;
        Ok(Ok(Self { options: options(&state, architecture), state }))
    }

    /// Finds the newest version of package `name` in the index, or `version` of it. The index is fetched where it is not
    /// there yet or does not have it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn find(&self, name: &str, version: Option<&str>, progress: &Progress) -> Result<Result<Package, Refusal>> {
        let wanted = |found: &Vec<Package>| match version {
            Some(version) => found.iter().find(|package| package.version == version).cloned(),
            None => found.first().cloned(),
        };
        let found = self.show(name)?;
        if let Some(package) = wanted(&found) {
            return Ok(Ok(package));
        }
        let said = self.update(progress)?;
        let found = self.show(name)?;
        Ok(wanted(&found).ok_or_else(|| match (found.first(), version) {
            (Some(other), Some(version)) => format!("the mirror has {name} {}, not {version}", other.version),
            _ => format!("apt found no package {name}: {said}"),
        }))
    }

    /// Downloads `package` into `directory`; gives its file. apt has checked it against the signed index.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn download(
        &self,
        package: &Package,
        directory: &Path,
        progress: &Progress,
    ) -> Result<Result<PathBuf, Refusal>> {
        let argument = format!("{}={}", package.name, package.version);
        let fetch = || program::output(self.command("apt-get", directory).args(["download", "-q", &argument]));
        let mut output = fetch()?;
        if !output.status.success() {
            // The index may be older than the mirror.
            self.update(progress)?;
            output = fetch()?;
        }
        if !output.status.success() {
            return Ok(Err(format!("apt: {}", program::last_words(&output))));
        }
        Ok(only_file(directory, ".deb")?.ok_or_else(|| "apt downloaded nothing".to_owned()))
    }

    /// Downloads the upstream tarball of source package `name` into `directory`; gives its file.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn download_source(
        &self,
        name: &str,
        directory: &Path,
        progress: &Progress,
    ) -> Result<Result<PathBuf, Refusal>> {
        let fetch = || {
            program::output(
                self.command("apt-get", directory).args(["source", "--download-only", "-q", "--only-source", name]),
            )
        };
        let mut output = fetch()?;
        let mut found = tarball_in(directory)?;
        if found.is_none() {
            self.update(progress)?;
            output = fetch()?;
            found = tarball_in(directory)?;
        }
        // A mirror may lack the signature or Debian's own changes; the caller checks the tarball by its digest.
        Ok(found.ok_or_else(|| format!("apt: {}", program::last_words(&output))))
    }

    /// Fetches the index. One that fails (a mirror being synchronised) must not end the build: what counts is whether
    /// the package is found afterwards. Gives apt's last words.
    fn update(&self, progress: &Progress) -> Result<String> {
        let step = progress.step("asking the Debian mirror for its index");
        let output = program::output(self.command("apt-get", &self.state).args(["update", "-q"]))?;
        step.finish("");
        Ok(program::last_words(&output))
    }

    fn show(&self, name: &str) -> Result<Vec<Package>> {
        let output = program::output(self.command("apt-cache", &self.state).args(["show", name]))?;
        Ok(packages_in(&String::from_utf8_lossy(&output.stdout), name))
    }

    fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = base::program::command(program);
        command.env("LC_ALL", "C").env_remove("APT_CONFIG").current_dir(directory);
        command.args(self.options.iter().map(|option| format!("-o{option}")));
        command
    }
}

/// Returns the options that turn to the private directory all that apt would read or write outside it. Its settings (`/etc/apt/apt.conf*`)
/// stay: they hold the proxy.
fn options(state: &Path, architecture: Option<&str>) -> Vec<String> {
    let state = state.display();
    let mut options = vec![
        format!("Dir::State={state}"),
        format!("Dir::State::Lists={state}/lists"),
        format!("Dir::State::status={state}/status"),
        format!("Dir::Cache={state}/cache"),
        format!("Dir::Etc::sourcelist={state}/sources.list"),
        format!("Dir::Etc::sourceparts={state}/parts"),
        format!("Dir::Etc::preferences={state}/preferences"),
        format!("Dir::Etc::preferencesparts={state}/parts"),
        // A machine may have been told to take what nobody has signed: not for this.
        "APT::Get::AllowUnauthenticated=false".to_owned(),
        "Acquire::AllowInsecureRepositories=false".to_owned(),
        "Acquire::AllowWeakRepositories=false".to_owned(),
        "Acquire::AllowDowngradeToInsecureRepositories=false".to_owned(),
        // Only root has a user to change to, and that user may not write here.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        // Descriptions for software centres: megabytes that nobody here reads.
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::Retries=1".to_owned(),
        "Acquire::http::Timeout=15".to_owned(),
        "Acquire::https::Timeout=15".to_owned(),
    ];
    if let Some(architecture) = architecture {
        options.push(format!("APT::Architecture={architecture}"));
        options.push(format!("APT::Architectures={architecture}"));
    }
    options
}

/// Returns the lines of a sources.list(5). Each mirror must show Debian's own signature, whoever runs it.
fn source_list(mirrors: &[Mirror], suite: &str, source: bool, has_keyring: bool) -> String {
    let kind = if source { "deb-src" } else { "deb" };
    let line = |mirror: &Mirror| {
        let keyring = if has_keyring { Some(KEYRING) } else { mirror.signed_by.as_deref() };
        let options = keyring.map_or_else(String::new, |keyring| format!(" [signed-by={keyring}]"));
        format!("{kind}{options} {} {suite} main\n", mirror.uri)
    };
    mirrors.iter().map(line).collect()
}

fn mirrors_of_the_machine() -> Result<Vec<Mirror>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(directory) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(directory.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let mut mirrors: Vec<Mirror> = Vec::new();
    for file in files {
        // A list that this user may not read, or that is no text, is not for him.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let is_deb822 = file.extension().is_some_and(|extension| extension == "sources");
        for mirror in mirrors_in(&text, is_deb822) {
            if !mirrors.iter().any(|known| known.uri == mirror.uri) {
                mirrors.push(mirror);
            }
        }
    }
    Ok(mirrors)
}

/// Returns the upstream tarball of a source package in `directory`.
fn tarball_in(directory: &Path) -> Result<Option<PathBuf>> {
    for suffix in [".orig.tar.xz", ".orig.tar.gz"] {
        if let Some(file) = only_file(directory, suffix)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn only_file(directory: &Path, suffix: &str) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(directory).at("read", directory)?;
    let mut found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(found.find(|path| path.to_string_lossy().ends_with(suffix)))
}

/// Returns the stanzas of `apt-cache show` for package `name`, newest version first, as apt gives them.
fn packages_in(text: &str, name: &str) -> Vec<Package> {
    let stanzas = text.split("\n\n").filter_map(|stanza| {
        let field =
            |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
        let version = field("Version")?;
        // `Source: busybox (1:1.35.0-4)` where its version is another one; none where both are the same.
        let source = field("Source").unwrap_or_else(|| name.to_owned());
        let (source, source_version) = match source.split_once(" (") {
            Some((source, version)) => (source.to_owned(), version.trim_end_matches(')').to_owned()),
            None => (source, version.clone()),
        };
        let depends = field("Depends").unwrap_or_default();
        let depends = depends.split(", ").filter_map(|item| item.split([' ', ':']).next()).map(str::to_owned);
        let built_using = field("Built-Using").unwrap_or_default();
        let built_using = built_using.split(", ").filter_map(|item| item.split_once(" (= "));
        Some(Package {
            name: field("Package").filter(|package| package == name)?,
            version,
            source,
            source_version,
            sha256: field("SHA256")?,
            depends: depends.filter(|item| !item.is_empty()).collect(),
            built_using: built_using
                .map(|(name, version)| (name.to_owned(), version.trim_end_matches(')').to_owned()))
                .collect(),
        })
    });
    stanzas.collect()
}

#[cfg(test)]
mod tests;
