//! From a target to a static `init`: std compiled from source, init and its crates for size, libblkid and musl by Zig.
//! All targets are built alike. A finished build is kept in the cache under a digest of all its inputs, so asking again
//! takes no time. Everything that could tell one machine from another is kept out of the binary: the same sources give
//! the same bytes in any directory, for any user.

use std::{
    cell::OnceCell,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base::{
    IoContext,
    cache::{Cache, Check},
    digest::digest,
    elf, program,
    progress::Progress,
};

pub use self::{
    crates::Crate,
    rust::Rust,
    source::{SourceTree, VARIABLE as SOURCE_VARIABLE},
};
use crate::{Error, Result, target::Target};

pub mod c;
mod command;
mod crates;
mod environment;
pub mod libblkid;
pub mod repair;
mod rust;
mod source;
pub mod tools;

/// A finished `init`.
#[derive(Debug, Clone)]
pub struct Init {
    /// The program.
    pub path: PathBuf,
    /// The crates that are compiled into it, by name.
    pub crates: Vec<Crate>,
}

/// A builder of `init` from one source tree.
#[derive(Debug)]
pub struct Toolchain<'a> {
    source: &'a SourceTree,
    cache: &'a Cache,
    progress: Progress,
    rust: Rust,
    digest: String,
    /// The tools and the sysroot for compiling, located or fetched on first use; a build that is in the cache does not need them.
    prepared: OnceCell<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    tools: tools::Tools,
    sysroot: PathBuf,
}

/// The cargo profile, see the workspace's `Cargo.toml`.
const PROFILE: &str = "init";

/// Changes when what is done here changes the bytes without changing any of the other inputs.
const RECIPE: &str = "2";

/// Flags for rustc on top of the profile. std's objects come with Zig's musl instead of rustc's own start files
/// (needed for ARM); a panic aborts the program at once, without a message that nobody would read, and nothing ever
/// unwinds.
const RUSTFLAGS: [&str; 6] = [
    "-Clink-self-contained=no", "-Zunstable-options", "-Cpanic=immediate-abort", "-Cforce-unwind-tables=no",
    "-Zfmt-debug=none", "-Zlocation-detail=none",
];

/// The packages of init that are not libraries of others.
const OWN_PACKAGES: [&str; 2] = ["initramfs-overlay-init", "initramfs-overlay-contract"];

/// Std is built with init, as small as it can be.
const BUILD_STD: [&str; 2] = ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"];

/// The number of builds of init that are kept for each target.
const KEPT: usize = 12;

impl<'a> Toolchain<'a> {
    /// Looks at the source tree and the machine's Rust; fetches and compiles nothing.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is no Rust of the pinned version; [`Error::Io`].
    pub fn new(source: &'a SourceTree, cache: &'a Cache, progress: Progress) -> Result<Self> {
        let rust = Rust::of(&source.root)?;
        let digest = source.digest()?;
        Ok(Self { source, cache, progress, rust, digest, prepared: OnceCell::new() })
    }

    /// Returns the machine's Rust.
    pub fn rust(&self) -> &Rust {
        &self.rust
    }

    /// Returns init for `target` with cargo features `features`; built where it is not in the cache.
    ///
    /// # Errors
    /// [`Error::Missing`] for what could not be fetched; [`Error::Program`] where something does not compile, with the
    /// compiler's last lines; [`Error::WrongProgram`] where the result is no static program.
    pub fn init(&self, target: &Target, features: &str) -> Result<Init> {
        let entry = self.cache.entry("init", &self.key(target, features), Check::Digests, |directory| {
            self.compile(target, features, directory)
        })?;
        self.cache.touch(&entry);
        self.cache.prune("init", &format!("{}-", target.name), KEPT)?;
        let list = entry.join("crates.json");
        let text = fs::read(&list).at("read", &list)?;
        let crates = serde_json::from_slice(&text).map_err(std::io::Error::from).at("read", &list)?;
        Ok(Init { path: entry.join("init"), crates })
    }

    /// Returns the programs of the debug variant that repair a disk, for `target`; compiled where they are not in the cache.
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn repair_tools(&self, target: &Target) -> Result<Vec<repair::Tool>> {
        repair::build(target, || tools::get(self.cache, &self.progress), self.cache, &self.progress)
    }

    fn key(&self, target: &Target, features: &str) -> String {
        let parts = [
            RECIPE,
            &self.digest,
            &self.rust.identity,
            tools::ZIG_VERSION,
            tools::ZIGBUILD_VERSION,
            &if links_libblkid(features) { libblkid::key(target) } else { String::new() },
            &target.triple,
            features,
            PROFILE,
            &RUSTFLAGS.join(" "),
            &target.rust_flags.join(" "),
            &target.init_rust_flags.join(" "),
            &BUILD_STD.join(" "),
        ];
        format!("{}-{}", target.name, &digest(parts.join("\n").as_bytes())[..24])
    }

    fn prepare(&self) -> Result<&Prepared> {
        if let Some(prepared) = self.prepared.get() {
            return Ok(prepared);
        }
        let sysroot = self.rust.sysroot_with_std(&self.progress)?;
        let tools = tools::get(self.cache, &self.progress)?;
        Ok(self.prepared.get_or_init(|| Prepared { tools, sysroot }))
    }

    fn compile(&self, target: &Target, features: &str, directory: &Path) -> Result<()> {
        let Prepared { tools, sysroot } = self.prepare()?;
        // Only the overlay way asks libblkid.
        let libblkid = match links_libblkid(features) {
            true => Some(libblkid::build(target, tools, self.cache, &self.progress)?),
            false => None,
        };
        let step = self.progress.step(format!("{}: compiling init ({features})", target.name));
        let log = self.cache.room("log")?.join(format!("init-{}.log", target.name));

        step.detail("fetching crates");
        let mut fetch = self.cargo(OsStr::new("cargo"));
        fetch.args(["fetch", "--locked", BUILD_STD[0], "--target", &target.triple]);
        program::run_logged(&mut fetch, "fetching the crates that init is made of (cargo fetch)", &log)?;
        let (crates, registries) = crates::of_init(
            &mut self.cargo(OsStr::new("cargo")),
            &self.source.root,
            &target.triple,
            &cargo_features(features),
        )?;

        step.detail("cargo zigbuild");
        let output = self.source.root.join("target/cross");
        let mut build = self.cargo(tools.zigbuild.as_os_str());
        build.args(["zigbuild", "--locked", "--profile", PROFILE, "--target", &target.triple]).args(BUILD_STD);
        build.args([
            "--package",
            "initramfs-overlay-init",
            "--bin",
            "init",
            "--no-default-features",
            "--features",
            &cargo_features(features),
        ]);
        if !target.init_rust_flags.is_empty() {
            // The Cargo Book, unstable features, profile-rustflags.
            build.arg("-Zprofile-rustflags");
            for package in OWN_PACKAGES {
                build.arg("--config");
                build.arg(format!("profile.{PROFILE}.package.{package}.rustflags={:?}", target.init_rust_flags));
            }
        }
        build.arg("--target-dir").arg(&output);
        build.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(target, sysroot, &registries, &output));
        if let Some(libblkid) = libblkid {
            build.env("PKG_CONFIG", libblkid.join("pkg-config")).env("PKG_CONFIG_ALLOW_CROSS", "1");
        }
        build.env("LIBCLANG_PATH", &tools.libclang).env("CARGO_ZIGBUILD_ZIG_PATH", &tools.zig);
        build.env("CARGO_ZIGBUILD_CACHE_DIR", self.cache.room("zigbuild")?);
        environment::keep_zig_in(&mut build, self.cache)?;
        program::run_logged(&mut build, &format!("compiling init for {}", target.name), &log)?;

        let program = output.join(&target.triple).join(PROFILE).join("init");
        let bytes = fs::read(&program).at("read", &program)?;
        let misaligned = elf::largest_page(&bytes).filter(|size| *size < target.page_max()).map(|size| {
            format!(
                "it is for pages of {} KiB at most, and its kernels have {} KiB",
                size >> 10,
                target.page_max() >> 10
            )
        });
        if let Some(reason) = elf::objection(&bytes, target.elf).or(misaligned) {
            return Err(Error::WrongProgram { path: program, what: format!("init for {}", target.name), reason });
        }
        fs::write(directory.join("init"), &bytes).at("write", directory.join("init"))?;
        let list = serde_json::to_vec_pretty(&crates).map_err(std::io::Error::from).at("write", directory)?;
        fs::write(directory.join("crates.json"), list).at("write", directory.join("crates.json"))?;
        step.finish("");
        Ok(())
    }

    /// Directories whose paths are not to be in a program, and what stands for each. rustc takes the last one that fits.
    fn remapped(&self, sysroot: &Path, registries: &[PathBuf], output: &Path) -> Vec<(PathBuf, &'static str)> {
        let mut remapped: Vec<(PathBuf, &str)> = cargo_home().map(|home| (home, "/cargo")).into_iter().collect();
        remapped.extend(registries.iter().map(|registry| (registry.clone(), "/crates")));
        remapped.push((self.source.root.clone(), "/initramfs-overlay"));
        remapped.push((output.to_owned(), "/build"));
        remapped.push((sysroot.to_owned(), "/rust"));
        remapped
    }

    fn cargo(&self, program: &OsStr) -> Command {
        let mut command = base::program::command(program);
        environment::clean(&mut command);
        command.current_dir(&self.source.root).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TERM_COLOR", "never");
        command
    }

    /// Returns rustc's flags, separated as cargo wants it, so that a directory with a space in its name works.
    fn rustflags(&self, target: &Target, sysroot: &Path, registries: &[PathBuf], output: &Path) -> OsString {
        let remapped = self.remapped(sysroot, registries, output);
        let mut flags = OsString::from(RUSTFLAGS.join("\x1f"));
        for flag in &target.rust_flags {
            flags.push("\x1f");
            flags.push(flag);
        }
        for (path, name) in remapped {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(path);
            flags.push("=");
            flags.push(name);
        }
        flags
    }
}

/// Returns the cargo features of an init for a real kernel with these boot modes and extras: a disk is found with libblkid.
fn cargo_features(features: &str) -> String {
    let names = features.split(',').map(|name| if name == "overlay" { "disks" } else { name });
    std::iter::once("linux").chain(names).collect::<Vec<_>>().join(",")
}

/// Returns true if an init with these features, separated by commas, links libblkid.
#[must_use]
pub fn links_libblkid(features: &str) -> bool {
    features.split(',').any(|name| name == "overlay")
}

fn cargo_home() -> Option<PathBuf> {
    let home = || env::home_dir().map(|home| home.join(".cargo"));
    base::environment::variable("CARGO_HOME").or_else(home)
}
