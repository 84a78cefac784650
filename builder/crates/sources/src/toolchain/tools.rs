//! Zig (compiler, linker and musl for every target), cargo-zigbuild and libclang (for bindgen), from the Python package
//! index: pinned by version and SHA-256, in a directory of their own in the cache. Nothing is installed on the machine. The
//! directory holds no path of the machine, so it can be copied with the cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use base::{
    IoContext, ProgramFailure,
    cache::{Cache, Check, Pin},
    environment::variable,
    program,
    progress::Progress,
};

use crate::{Error, Result};

/// A directory with the tools, instead of the one in the cache: a virtual environment or what `pip install --target` made.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_TOOLS";

/// The version of Zig.
pub const ZIG_VERSION: &str = "0.13.0";

/// The version of musl that Zig brings (`lib/libc/musl/src/internal/version.h`).
pub const MUSL_VERSION: &str = "1.2.5";

/// The version of cargo-zigbuild.
pub const ZIGBUILD_VERSION: &str = "0.24.0";

/// The version of libclang.
const LIBCLANG_VERSION: &str = "18.1.1";

/// The files that are run or compiled, of what pip installs; the rest, such as its own lists, differs from one pip to the next.
const PARTS: [&str; 3] = ["ziglang", "clang", "bin/cargo-zigbuild"];

/// The digest of these files, for Linux on x86_64 and on aarch64.
const FILES_X86_64: &str = "bb4dfd0783b7475f9d679d35244b10489449b3843a34386a20486aaaf169ba75";
const FILES_AARCH64: &str = "b62c53ab23bb85b7e8591ae988e590006abc0ab1206d06b012a9a4e84842de49";

/// Returns each package with the digests of its files for Linux on x86_64 and on aarch64, as pip takes them.
fn requirements() -> String {
    format!(
        "ziglang=={ZIG_VERSION} \
         --hash=sha256:3ce0c9f16547e5d61b32e0d226926e9a2552ef4b91fccf7ab5ea1a623a77824b \
         --hash=sha256:5714a4d46f9246ba6180a0930e23df2bc8bc26e62b5fe0dc798b4afca1903308\n\
         cargo-zigbuild=={ZIGBUILD_VERSION} \
         --hash=sha256:484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957 \
         --hash=sha256:6942e4320f7b05d8fb29e0a8ce5670bcbb3d254275100b85b5b7c86552f9a744\n\
         libclang=={LIBCLANG_VERSION} \
         --hash=sha256:c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b \
         --hash=sha256:54dda940a4a0491a9d1532bf071ea3ef26e6dbaf03b5000ed94dd7174e8f9592\n"
    )
}

/// The paths of the tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// The program `zig`.
    pub zig: PathBuf,
    /// The program `cargo-zigbuild`.
    pub zigbuild: PathBuf,
    /// The directory with `libclang.so`.
    pub libclang: PathBuf,
}

/// Returns the tools; fetched where they are not in the cache.
///
/// # Errors
/// [`Error::Missing`] with what was tried and how to give them.
pub fn get(cache: &Cache, progress: &Progress) -> Result<Tools> {
    if let Some(directory) = variable(VARIABLE) {
        return find(&directory)
            .map_err(|reason| missing(cache, vec![format!("{VARIABLE}={}: {reason}", directory.display())]));
    }
    let key = format!(
        "zig-{ZIG_VERSION}-zigbuild-{ZIGBUILD_VERSION}-libclang-{LIBCLANG_VERSION}-{}-{}",
        env::consts::OS,
        env::consts::ARCH
    );
    let sha256 = if env::consts::ARCH == "aarch64" { FILES_AARCH64 } else { FILES_X86_64 };
    let directory = cache.entry("tools", &key, Check::Pinned(Pin { sha256, parts: &PARTS }), |directory| {
        let step = progress.step(format!("fetching zig {ZIG_VERSION}, cargo-zigbuild and libclang (80 MB, once)"));
        install(directory).map_err(|tried| missing(cache, tried))?;
        find(directory)
            .map_err(|reason| missing(cache, vec![format!("what pip installed is not complete: {reason}")]))?;
        step.finish("");
        Ok::<_, Error>(())
    })?;
    find(&directory).map_err(|reason| missing(cache, vec![reason]))
}

/// Finds the tools in `directory`, or what is missing there.
fn find(directory: &Path) -> Result<Tools, String> {
    let packages = packages_directory(directory).ok_or("there is no ziglang in it")?;
    for (package, version) in
        [("ziglang", ZIG_VERSION), ("cargo_zigbuild", ZIGBUILD_VERSION), ("libclang", LIBCLANG_VERSION)]
    {
        if !packages.join(format!("{package}-{version}.dist-info")).is_dir() {
            return Err(format!("there is no {package} {version} in it"));
        }
    }
    let tools = Tools {
        zig: packages.join("ziglang/zig"),
        zigbuild: directory.join("bin/cargo-zigbuild"),
        libclang: packages.join("clang/native"),
    };
    for file in [&tools.zig, &tools.zigbuild, &tools.libclang.join("libclang.so")] {
        if !file.is_file() {
            return Err(format!("{} is not there", file.display()));
        }
    }
    Ok(tools)
}

/// Returns the directory of the Python packages: `directory` itself, or the `site-packages` of a virtual environment in it.
fn packages_directory(directory: &Path) -> Option<PathBuf> {
    let has_zig = |directory: &PathBuf| directory.join("ziglang").is_dir();
    let versions = fs::read_dir(directory.join("lib")).ok().into_iter().flatten().filter_map(Result::ok);
    let mut candidates = vec![directory.to_owned()];
    candidates.extend(versions.map(|version| version.path().join("site-packages")));
    candidates.into_iter().find(has_zig)
}

/// Installs all three into `directory`; else says what was tried.
fn install(directory: &Path) -> Result<(), Vec<String>> {
    let io = |error: base::Error| vec![error.to_string()];
    let requirements_file = directory.join("requirements.txt");
    fs::write(&requirements_file, requirements()).at("write", &requirements_file).map_err(io)?;
    let python = program::locate("python3").ok_or_else(|| vec!["python3 is not installed".to_owned()])?;
    let mut tried = Vec::new();
    match pip_install(&python, &requirements_file, directory) {
        Ok(()) => return Ok(()),
        Err(reason) => tried.push(format!("pip: {reason}")),
    }
    // A Python without pip may still be able to make a virtual environment, which has one.
    let scratch = tempfile::tempdir().at("create", env::temp_dir()).map_err(io)?;
    let mut venv = base::program::command(&python);
    match succeed(venv.args(["-m", "venv"]).arg(scratch.path())) {
        Ok(()) => match pip_install(&scratch.path().join("bin/python"), &requirements_file, directory) {
            Ok(()) => return Ok(()),
            Err(reason) => tried.push(format!("pip of a virtual environment: {reason}")),
        },
        Err(reason) => tried.push(format!("a virtual environment: {reason}")),
    }
    Err(tried)
}

/// Runs `pip install --target`: unlike a virtual environment, the directory may be moved and needs no Python afterwards.
fn pip_install(python: &Path, requirements: &Path, directory: &Path) -> Result<(), String> {
    let mut pip = base::program::command(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--no-compile", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--requirement"]).arg(requirements).arg("--target").arg(directory);
    // A user's settings for other installs do not go together with --target.
    pip.env("PIP_USER", "0").env("PIP_ROOT_USER_ACTION", "ignore").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    pip.env_remove("PIP_TARGET").env_remove("PIP_PREFIX").env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    succeed(&mut pip)
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let output = program::output(command).map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(ProgramFailure { said: program::last_words(&output) }.to_string())
    }
}

fn missing(cache: &Cache, tried: Vec<String>) -> Error {
    Error::Missing {
        what: format!(
            "the cross compiler (zig {ZIG_VERSION}, cargo-zigbuild {ZIGBUILD_VERSION}, libclang {LIBCLANG_VERSION})"
        ),
        tried,
        remedy: format!(
            "install pip (on Debian: apt-get install python3-pip); or, for a machine without a network, copy the directory \
             `tools` of another machine's cache to {}, or set {VARIABLE} to a virtual environment that has these versions",
            cache.root().join("tools").display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay_out(directory: &Path, packages: &Path) {
        for (package, version) in
            [("ziglang", ZIG_VERSION), ("cargo_zigbuild", ZIGBUILD_VERSION), ("libclang", LIBCLANG_VERSION)]
        {
            fs::create_dir_all(packages.join(format!("{package}-{version}.dist-info"))).unwrap();
        }
        for file in [
            packages.join("ziglang/zig"),
            directory.join("bin/cargo-zigbuild"),
            packages.join("clang/native/libclang.so"),
        ] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    }

    #[test]
    fn both_layouts_are_found_and_what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(find(directory.path()).unwrap_err(), "there is no ziglang in it");
        let (target, venv) = (directory.path().join("target"), directory.path().join("venv"));
        let packages = venv.join("lib/python3.11/site-packages");
        lay_out(&target, &target);
        lay_out(&venv, &packages);
        assert_eq!(find(&target).unwrap().zig, target.join("ziglang/zig"));
        assert_eq!(find(&venv).unwrap().libclang, packages.join("clang/native"));
        fs::remove_file(target.join("clang/native/libclang.so")).unwrap();
        assert!(find(&target).unwrap_err().ends_with("clang/native/libclang.so is not there"));
        fs::rename(packages.join(format!("ziglang-{ZIG_VERSION}.dist-info")), packages.join("ziglang-0.9.dist-info"))
            .unwrap();
        assert_eq!(find(&venv).unwrap_err(), format!("there is no ziglang {ZIG_VERSION} in it"));
    }
}
