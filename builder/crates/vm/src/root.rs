//! The directory that becomes a machine's root: whether it can, and which kernel with which modules is in it. Only looks; links in
//! it are followed as the guest would, and never lead out of it.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base::{IoContext, rooted::find};
use contract::virtiofs::ROOT_TAG;

use super::{RootAccess, Share};
use crate::{Error, Result};

/// A kernel that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its file.
    pub vmlinuz: PathBuf,
    /// Its release, as `uname -r` prints it, where that is known.
    pub version: Option<String>,
    /// Its modules, where there are any. A kernel may have all it needs built in.
    pub modules: Option<PathBuf>,
}

/// The directories below a root that hold modules.
const MODULES: [&str; 2] = ["usr/lib/modules", "lib/modules"];

/// Finds the newest kernel in `root` that has its modules, else the newest: `/usr/lib/modules/VERSION/vmlinuz` or `/boot/vmlinuz-VERSION`.
///
/// # Errors
/// [`Error::Usage`] where there is none, [`Error::Io`] where it cannot be read.
pub fn kernel_in(root: &Path) -> Result<Kernel> {
    let mut kernels = Vec::new();
    for directory in MODULES {
        for version in names_in(root, directory) {
            let vmlinuz = find_file(root, &format!("{directory}/{version}/vmlinuz"));
            kernels.extend(vmlinuz.map(|vmlinuz| (version.clone(), vmlinuz)));
        }
    }
    for name in names_in(root, "boot") {
        if let Some(version) = name.strip_prefix("vmlinuz-") {
            kernels.extend(find_file(root, &format!("boot/{name}")).map(|vmlinuz| (version.to_owned(), vmlinuz)));
        }
    }
    let found = kernels.into_iter().max_by_key(|(version, _)| {
        // Of two files for one version either will do.
        (modules_in(root, version).is_some(), version_key(version))
    });
    let unnamed = || {
        let vmlinuz = ["boot/vmlinuz", "vmlinuz", "boot/bzImage"].iter().find_map(|path| find_file(root, path))?;
        Some((version_of(&vmlinuz)?, vmlinuz))
    };
    let Some((version, vmlinuz)) = found.or_else(unnamed) else {
        return Err(Error::Usage(format!(
            "there is no kernel in {0}: neither boot/vmlinuz-VERSION nor usr/lib/modules/VERSION/vmlinuz. Put one there, or name \
             one: --kernel FILE, or --kernel debian to have Debian's fetched",
            root.display()
        )));
    };
    File::open(&vmlinuz).at("open", &vmlinuz)?;
    let modules = modules_in(root, &version);
    Ok(Kernel { vmlinuz, version: Some(version), modules })
}

/// Returns the kernel in the file `vmlinuz`, with the modules `given`, else those of its version in `root` or on this machine.
///
/// # Errors
/// [`Error::Io`].
pub fn kernel_of(vmlinuz: &Path, given: Option<&Path>, root: &Path) -> Result<Kernel> {
    File::open(vmlinuz).at("open", vmlinuz)?;
    let version = version_of(vmlinuz);
    let own = |version: &String| modules_in(root, version).or_else(|| modules_in(Path::new("/"), version));
    let modules = given.map(Path::to_owned).or_else(|| own(version.as_ref()?));
    Ok(Kernel { vmlinuz: vmlinuz.to_owned(), version, modules })
}

fn modules_in(root: &Path, version: &str) -> Option<PathBuf> {
    MODULES.iter().find_map(|directory| find(root, &Path::new(directory).join(version)).filter(|path| path.is_dir()))
}

fn find_file(root: &Path, path: &str) -> Option<PathBuf> {
    find(root, Path::new(path)).filter(|path| path.is_file())
}

fn names_in(root: &Path, directory: &str) -> Vec<String> {
    let entries = find(root, Path::new(directory)).and_then(|directory| fs::read_dir(directory).ok());
    entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// Versions in the order in which they appeared: numbers by value, the rest as text.
fn version_key(version: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = version;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let text = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (text, after) = after.split_at(text);
        parts.push((number.parse().unwrap_or(0), text.to_owned()));
        rest = after;
    }
    parts
}

/// Returns the version in the header of an x86 kernel (kernel, Documentation/arch/x86/boot.rst: `kernel_version`, a pointer 0x200 bytes
/// short).
fn version_of(vmlinuz: &Path) -> Option<String> {
    let file = File::open(vmlinuz).ok()?;
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0x202).ok()?;
    if &magic != b"HdrS" {
        return None;
    }
    let mut pointer = [0; 2];
    file.read_exact_at(&mut pointer, 0x20e).ok()?;
    let at = u64::from(u16::from_le_bytes(pointer)) + 0x200;
    let mut text = [0; 256];
    let length = file.read_at(&mut text, at).ok()?;
    let text = text[..length].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).split(' ').next()?.to_owned()).filter(|version| !version.is_empty())
}

/// Refuses a directory that cannot be a root with `init` in it.
///
/// # Errors
/// [`Error::Usage`] and [`Error::Io`].
pub fn check(root: &Path, init: &str, access: RootAccess, shares: &[Share]) -> Result<()> {
    if !fs::metadata(root).at("read", root)?.is_dir() {
        return Err(Error::Usage(format!(
            "{} is not a directory: name the directory that is to be the machine's root",
            root.display()
        )));
    }
    check_readable(root)?;
    let shown = root.display();
    if access == RootAccess::ReadOnly {
        let absent: Vec<&str> =
            ["dev", "proc", "run", "sys"].into_iter().filter(|name| !root.join(name).is_dir()).collect();
        if !absent.is_empty() {
            return Err(Error::Usage(format!(
                "{shown} has no directory {}, which a root that is read-only must have: make it, or use --overlay (what is written \
                 is lost) or --write",
                absent.join(", ")
            )));
        }
    }
    check_init(root, init, shares)
}

/// Looks for the program where the guest will: in a share's directory, or in the root. What is made only in the guest is taken on
/// trust.
fn check_init(root: &Path, init: &str, shares: &[Share]) -> Result<()> {
    if !init.starts_with('/') || init.contains(['"', '\n', '\0']) {
        return Err(Error::Usage(format!(
            "--init {init}: expected an absolute path in the root, without quotes or line breaks"
        )));
    }
    let below = |directory: &str| init.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
    let place = match below("/run/mnt").or_else(|| below("/run/mount")) {
        Some((tag, rest)) => shares.iter().find(|share| share.tag == tag).map(|share| (share.path.as_path(), rest)),
        None if ["/dev/", "/proc/", "/run/", "/sys/", "/tmp/"].iter().any(|moved| init.starts_with(moved)) => {
            return Ok(());
        }
        None => Some((root, init)),
    };
    let file = place.and_then(|(directory, path)| find(directory, Path::new(path)));
    match file.and_then(|file| file.metadata().ok()) {
        None => {
            let others = ["/bin/sh", "/sbin/init", "/usr/bin/bash", "/bin/busybox"];
            let others: Vec<&str> = others.into_iter().filter(|path| find(root, Path::new(path)).is_some()).collect();
            let hint = match others.as_slice() {
                [] => "nor one of the usual programs: is it a root directory?".to_owned(),
                others => format!("there is {}: name it with --init", others.join(", ")),
            };
            Err(Error::Usage(format!("{} has no {init}; {hint}", root.display())))
        }
        Some(metadata) if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 => {
            Err(Error::Usage(format!("{init} in {} is not an executable file", root.display())))
        }
        Some(_) => Ok(()),
    }
}

/// Checks that this user may list a directory.
///
/// # Errors
/// [`Error::Io`].
pub fn check_readable(directory: &Path) -> Result<()> {
    Ok(fs::read_dir(directory).at("read", directory).map(drop)?)
}

/// Refuses shares that a machine cannot have: the root's own tag is taken, and each other one is there once.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_shares(shares: &[Share]) -> Result<()> {
    for (place, share) in shares.iter().enumerate() {
        let option = if share.read_only { "--share-ro" } else { "--share" };
        crate::share::check_tag(option, &share.tag)?;
        if share.tag == ROOT_TAG {
            return Err(Error::Usage(format!("{option} {ROOT_TAG}: this is the tag of the root; use another one")));
        }
        if shares[..place].iter().any(|other| other.tag == share.tag) {
            return Err(Error::Usage(format!(
                "{option} {}: this tag is given twice; each directory needs its own",
                share.tag
            )));
        }
        if !std::fs::metadata(&share.path).is_ok_and(|metadata| metadata.is_dir()) {
            let path = share.path.display();
            return Err(Error::Usage(format!("{option} {}: {path} is not a directory", share.tag)));
        }
        check_readable(&share.path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str, bytes: &[u8], mode: u32) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_newest_kernel_with_modules_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let error = kernel_in(root).unwrap_err().to_string();
        assert!(error.contains("there is no kernel") && error.contains("--kernel debian"), "{error}");
        put(root, "boot/vmlinuz-6.10.0", b"k", 0o644);
        put(root, "boot/vmlinuz-6.9.1-amd64", b"k", 0o644);
        let found = kernel_in(root).unwrap();
        assert_eq!((found.version.as_deref(), found.modules), (Some("6.10.0"), None));
        fs::create_dir_all(root.join("usr/lib/modules/6.9.1-amd64")).unwrap();
        symlink("/usr/lib", root.join("lib")).unwrap();
        let found = kernel_in(root).unwrap();
        assert_eq!(found.version.as_deref(), Some("6.9.1-amd64"));
        assert_eq!(found.modules, Some(root.join("usr/lib/modules/6.9.1-amd64")));
        put(root, "usr/lib/modules/6.12.3/vmlinuz", b"k", 0o644);
        assert_eq!(kernel_in(root).unwrap().vmlinuz, root.join("usr/lib/modules/6.12.3/vmlinuz"));
    }

    #[test]
    fn a_link_out_of_the_root_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
        put(&root, "boot/x", b"", 0o644);
        fs::write(&outside, "k").unwrap();
        symlink("../../outside", root.join("boot/vmlinuz-1.0")).unwrap();
        symlink(&outside, root.join("boot/vmlinuz-2.0")).unwrap();
        assert!(kernel_in(&root).is_err());
    }

    #[test]
    fn the_version_is_in_the_kernels_header() {
        let directory = tempfile::tempdir().unwrap();
        let mut kernel = vec![0; 0x1000];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        kernel[0x500..0x518].copy_from_slice(b"6.1.0-50-amd64 (builder)");
        put(directory.path(), "vmlinuz", &kernel, 0o644);
        assert_eq!(version_of(&directory.path().join("vmlinuz")).as_deref(), Some("6.1.0-50-amd64"));
        assert_eq!(kernel_in(directory.path()).unwrap().version.as_deref(), Some("6.1.0-50-amd64"));
        put(directory.path(), "short", &kernel[..0x204], 0o644);
        assert_eq!(version_of(&directory.path().join("short")), None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        for (older, newer) in
            [("6.9.0", "6.10.0"), ("6.1.0-9-amd64", "6.1.0-10-amd64"), ("6.1", "6.1.1"), ("5.9", "6.0-rc1")]
        {
            assert!(version_key(older) < version_key(newer), "{older} {newer}");
        }
    }

    #[test]
    fn a_root_that_cannot_boot_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let said = |init: &str, access, shares: &[Share]| match check(&root, init, access, shares) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        let read_only = RootAccess::ReadOnly;
        assert!(said("/bin/sh", read_only, &[]).starts_with("cannot read"), "{}", said("/bin/sh", read_only, &[]));
        put(&root, "bin/sh", b"#!", 0o755);
        put(&root, "etc/motd", b"text", 0o644);
        assert!(said("/bin/sh", read_only, &[]).contains("has no directory dev, proc, run, sys"));
        assert_eq!(said("/bin/sh", RootAccess::Overlay, &[]), "");
        for name in ["dev", "proc", "run", "sys"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        assert_eq!(said("/bin/sh", read_only, &[]), "");
        assert_eq!(said("/run/elsewhere", read_only, &[]), "");
        for (init, part) in [
            ("bin/sh", "expected an absolute path"),
            ("/bin/\"sh\"", "without quotes"),
            ("/bin/gone", "has no /bin/gone; there is /bin/sh"),
            ("/etc/motd", "is not an executable file"),
            ("/etc", "is not an executable file"),
            ("/run/mnt/work/test.sh", "has no /run/mnt/work/test.sh"),
        ] {
            assert!(said(init, read_only, &[]).contains(part), "{}", said(init, read_only, &[]));
        }
        let work = Share { tag: "work".to_owned(), path: directory.path().join("work"), read_only: true };
        put(&work.path, "test.sh", b"#!/bin/sh", 0o755);
        assert_eq!(said("/run/mnt/work/test.sh", read_only, std::slice::from_ref(&work)), "");
        assert_eq!(said("/run/mount/work/test.sh", read_only, &[work]), "");
        let file = root.join("bin/sh");
        assert!(check(&file, "/bin/sh", read_only, &[]).unwrap_err().to_string().contains("is not a directory"));
    }

    #[test]
    fn shares_that_cannot_be_are_refused() {
        let share = |tag: &str, path: &str, read_only| Share { tag: tag.to_owned(), path: path.into(), read_only };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        assert!(check_shares(&[share("a", path, true), share("b", path, false)]).is_ok());
        for (shares, part) in [
            (vec![share("a/b", path, true)], "--share-ro `a/b`: a tag has"),
            (vec![share("", path, false)], "--share ``: a tag has"),
            (vec![share("rootfs", path, false)], "the tag of the root"),
            (vec![share("a", path, true), share("a", path, false)], "--share a: this tag is given twice"),
            (vec![share("a", "/no/such", false)], "/no/such is not a directory"),
            (vec![share("a", "/dev/null", false)], "/dev/null is not a directory"),
        ] {
            let error = check_shares(&shares).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
