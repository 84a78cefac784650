//! A Debian kernel for a target, with its modules: what the demonstration and the tests boot. Fetched once, kept in the
//! cache; nothing is installed. The images themselves never hold it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{
    IoContext,
    cache::{Cache, Check, Pin},
    digest::file_digest,
    environment::variable,
    progress::Progress,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, Substitute,
    apt::{Apt, Refusal},
    deb,
    substitute::HINT,
    target::{KernelPackage, Target},
};

/// A directory with `<target>/boot/vmlinuz-*` and `<target>/lib/modules/*`, instead of Debian's kernel.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_KERNELS";

/// A kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its image.
    pub vmlinuz: PathBuf,
    /// Its modules: `…/lib/modules/<version>`. Debian's packages have no `modules.dep` there.
    pub modules: PathBuf,
    /// Its release, as `uname -r` prints it.
    pub version: String,
    /// The machine's device tree, where the target needs one.
    pub dtb: Option<PathBuf>,
    /// The package that it comes from, if that is known.
    pub origin: Option<Origin>,
}

/// The package a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the `.deb`, in hexadecimal.
    pub sha256: String,
}

/// The room of kernels in the cache.
const ROOM: &str = "kernel";

/// The file in an entry of the cache that holds its [`Origin`].
const ORIGIN: &str = "package.json";

/// Returns the package that the module tree `modules` (`…/lib/modules/<version>`) comes from, where it is in an entry of the cache.
pub fn origin_of(modules: &Path) -> Option<Origin> {
    // `/usr/lib/modules/<version>` is one directory deeper.
    let roots = modules.ancestors().skip(3).take(2);
    roots.into_iter().find_map(|root| serde_json::from_slice(&fs::read(root.join(ORIGIN)).ok()?).ok())
}

/// Returns Debian's kernel for `target`, the pinned one; fetched where it is not in the cache.
///
/// # Errors
/// [`Error::Missing`] where it cannot be had, with what to do; [`Error::Io`]; [`Error::DebianPackage`].
pub fn debian(target: &Target, cache: &Cache, substitute: Substitute, progress: &Progress) -> Result<Kernel> {
    if let Some(directory) = variable(VARIABLE) {
        return kernel_in(&directory.join(&target.name), target.kernel.dtb.as_deref());
    }
    let pinned = &target.kernel;
    let key = format!("{}-{}-{}", target.name, pinned.suite, pinned.package);
    let check = Check::Pinned(Pin { sha256: &pinned.files_sha256, parts: &[] });
    let other = format!("{key}-substitute");
    let find_other = || cache.find(ROOM, &other, Check::Digests).filter(|_| substitute == Substitute::Allow);
    let entry = match cache.find(ROOM, &key, check).or_else(find_other) {
        Some(entry) => entry,
        None => {
            let fetch = |key, check, package| {
                cache.entry(ROOM, key, check, |directory| fetch(target, package, cache, directory, progress))
            };
            match (fetch(&key, check, Wanted::Pinned), substitute) {
                (Err(Error::Missing { .. }), Substitute::Allow) => fetch(&other, Check::Digests, Wanted::Newest)?,
                (entry, _) => entry?,
            }
        }
    };
    let kernel = kernel_in(&entry, pinned.dtb.as_deref())?;
    if let Some(origin) = kernel.origin.as_ref().filter(|origin| origin.sha256 != pinned.sha256) {
        progress.say(format!(
            "warning: {}: {} {} is used, SHA-256 of its package {}, because the mirror did not have the pinned {} {}",
            target.name, origin.package, origin.version, origin.sha256, pinned.release, pinned.version
        ));
    }
    Ok(kernel)
}

/// Returns Debian's kernel `package` of release `suite` for `target`: one of its [flavours](KernelPackage::flavours), the newest that the
/// mirror has. As [`debian`].
///
/// # Errors
/// As [`debian`].
pub fn flavour(target: &Target, suite: &str, package: &str, cache: &Cache, progress: &Progress) -> Result<Kernel> {
    let mut other = target.clone();
    suite.clone_into(&mut other.definition.kernel.suite);
    package.clone_into(&mut other.definition.kernel.package);
    let key = format!("{}-{suite}-{package}", target.name);
    // Tests try all kernels that are in the cache by the usual name.
    let entry = cache.entry("kernel-flavours", &key, Check::Digests, |directory| {
        fetch(&other, Wanted::Newest, cache, directory, progress)
    })?;
    kernel_in(&entry, target.kernel.dtb.as_deref())
}

/// The package to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Pinned,
    Newest,
}

fn fetch(target: &Target, wanted: Wanted, cache: &Cache, directory: &Path, progress: &Progress) -> Result<()> {
    let KernelPackage { debian_arch, suite, package, release, version, sha256, .. } = &target.kernel;
    let missing = |refusal: Refusal| Error::Missing {
        what: format!(
            "a kernel for {} (Debian's linux-image-{release} {version} for {debian_arch}, from {suite})",
            target.name
        ),
        tried: vec![refusal],
        remedy: format!(
            "copy the directory `kernel` of another machine's cache to {}, or set {VARIABLE} to a directory that has \
             {}/boot/vmlinuz-VERSION and {1}/lib/modules/VERSION{}",
            cache.root().join(ROOM).display(),
            target.name,
            if wanted == Wanted::Pinned { HINT } else { "" }
        ),
    };
    let apt = Apt::new(cache, suite, Some(debian_arch))?.map_err(missing)?;
    let found = match wanted {
        Wanted::Pinned => apt.find(&format!("linux-image-{release}"), Some(version), progress)?.map_err(missing)?,
        Wanted::Newest => {
            let found = apt.find(package, None, progress)?.map_err(missing)?;
            match real_package(&found.name, &found.depends) {
                Some(real) => apt.find(real, None, progress)?.map_err(missing)?,
                None => found,
            }
        }
    };
    let step = progress.step(format!("{}: fetching {} {}", target.name, found.name, found.version));
    let download = tempfile::tempdir_in(cache.room(ROOM)?).at("create a directory in", cache.root())?;
    let file = apt.download(&found, download.path(), progress)?.map_err(missing)?;
    step.detail("unpacking");
    let expected = if wanted == Wanted::Pinned { sha256 } else { &found.sha256 };
    let of_file = file_digest(&file)?;
    if of_file != *expected {
        return Err(Error::WrongDigest { path: file, expected: expected.clone(), found: of_file });
    }
    deb::unpack(&file, directory, is_wanted)?;
    let origin = Origin { package: found.name, version: found.version, sha256: found.sha256 };
    let text = serde_json::to_vec(&origin).map_err(std::io::Error::from).at("write", directory.join(ORIGIN))?;
    fs::write(directory.join(ORIGIN), text).at("write", directory.join(ORIGIN))?;
    step.finish("");
    Ok(())
}

/// Returns the package that holds the kernel: `linux-image-amd64` holds nothing and depends on `linux-image-6.1.0-50-amd64`, which does.
fn real_package<'a>(name: &str, depends: &'a [String]) -> Option<&'a str> {
    // 686 is a machine, 6.1.0-50-686 a version.
    let has_version = |name: &str| {
        let version = name.strip_prefix("linux-image-");
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'))
    };
    if has_version(name) {
        return None;
    }
    depends.iter().map(String::as_str).find(|name| has_version(name))
}

/// Returns true for the kernel, its configuration, its modules and device trees; not for its documentation and symbol table.
fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (path.starts_with("boot") && !name.starts_with("System.map"))
        || path.starts_with("lib")
        || path.starts_with("usr/lib")
}

/// Returns the one kernel in `root`, laid out as a package is.
fn kernel_in(root: &Path, dtb: Option<&str>) -> Result<Kernel> {
    let missing = |what: &str| Error::Missing {
        what: format!("a kernel from {}", root.display()),
        tried: vec![format!("{what} is not there")],
        remedy: format!("put a Debian kernel package unpacked there, or unset {VARIABLE} to have it fetched"),
    };
    let modules = ["lib/modules", "usr/lib/modules"].iter().find_map(|directory| only_directory(&root.join(directory)));
    let modules = modules.ok_or_else(|| missing("exactly one directory lib/modules/VERSION"))?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Debian's kernels for some processors (riscv64, ppc64el) are not compressed, and called so.
    let images = ["vmlinuz", "vmlinux"].map(|name| root.join(format!("boot/{name}-{version}")));
    let vmlinuz = images.into_iter().find(|image| image.is_file());
    let vmlinuz = vmlinuz.ok_or_else(|| missing(&format!("boot/vmlinuz-{version}")))?;
    let dtb = dtb.map(|name| {
        let found = walkdir::WalkDir::new(root.join("usr/lib")).into_iter().filter_map(Result::ok);
        let found = found.map(walkdir::DirEntry::into_path).find(|path| path.ends_with(name));
        found.ok_or_else(|| missing(&format!("the device tree {name}")))
    });
    let origin = fs::read(root.join(ORIGIN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    Ok(Kernel { vmlinuz, modules, version, dtb: dtb.transpose()?, origin })
}

fn only_directory(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let mut directories = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    match (directories.next(), directories.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_holds_the_kernel_is_found() {
        let depends = ["linux-base", "linux-image-6.1.0-50-686"].map(str::to_owned);
        assert_eq!(real_package("linux-image-686", &depends), Some("linux-image-6.1.0-50-686"));
        assert_eq!(real_package("linux-image-6.1.0-50-686", &depends), None);
        assert_eq!(real_package("linux-image-rpi", &depends[..1]), None);
    }

    #[test]
    fn a_kernel_is_found_as_a_package_lays_it_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let text = |dtb| kernel_in(root, dtb).unwrap_err().to_string();
        assert!(text(None).contains("lib/modules/VERSION is not there"), "{}", text(None));
        fs::create_dir_all(root.join("lib/modules/6.1.0-50-rpi/kernel")).unwrap();
        fs::create_dir_all(root.join("boot")).unwrap();
        assert!(text(None).contains("boot/vmlinuz-6.1.0-50-rpi is not there"), "{}", text(None));
        fs::write(root.join("boot/vmlinuz-6.1.0-50-rpi"), "kernel").unwrap();
        assert!(text(Some("zero.dtb")).contains("the device tree zero.dtb is not there"));
        fs::create_dir_all(root.join("usr/lib/linux-image-6.1.0-50-rpi")).unwrap();
        fs::write(root.join("usr/lib/linux-image-6.1.0-50-rpi/zero.dtb"), "tree").unwrap();
        let kernel = kernel_in(root, Some("zero.dtb")).unwrap();
        assert_eq!(kernel.version, "6.1.0-50-rpi");
        assert_eq!(kernel.modules, root.join("lib/modules/6.1.0-50-rpi"));
        assert!(kernel.dtb.unwrap().ends_with("linux-image-6.1.0-50-rpi/zero.dtb"));
        fs::rename(root.join("boot/vmlinuz-6.1.0-50-rpi"), root.join("boot/vmlinux-6.1.0-50-rpi")).unwrap();
        assert_eq!(kernel_in(root, None).unwrap().vmlinuz, root.join("boot/vmlinux-6.1.0-50-rpi"));
    }
}
