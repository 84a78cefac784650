//! A whole system in an initramfs: BusyBox with all its tools, a shell on every console, and the network. What is in it is put
//! together here; nothing is fetched, built or written.

use std::path::{Path, PathBuf};

use archive::tree::{Content, Entry, Kind, OnConflict, Tree};
use contract::workload::Workload;
use oci::{
    merge::Merge,
    network::{LEASE_SCRIPT, check_busybox},
    ram,
};
use sources::busybox::Busybox;

use crate::{
    Error, Result,
    image::{self, Modules},
};

/// The parts of a system.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its init, built with the feature `ram`.
    pub init: &'a Path,
    /// BusyBox.
    pub busybox: &'a Busybox,
    /// Kernel modules.
    pub modules: Option<&'a Modules>,
    /// The machine's name.
    pub hostname: &'a str,
    /// Directories of the user's, later ones over earlier ones.
    pub include: &'a [PathBuf],
}

/// Directories and their permission bits. `/sbin` and the like lead to `/bin`.
const DIRECTORIES: [(&str, u32); 17] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("lib", 0o755),
    ("lib64", 0o755),
    ("mnt", 0o755),
    ("mnt/root", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/lib", 0o755),
    ("usr/share", 0o755),
    ("usr/share/udhcpc", 0o755),
    ("var", 0o755),
];

/// The start-up script, which runs beside the shells.
const RC: &str = "etc/rc";

/// Programs of the system's own: path, permission bits, content.
const FILES: [(&str, u32, &str); 6] = [
    (RC, 0o755, include_str!("diskless/rc")),
    ("etc/profile", 0o644, include_str!("diskless/profile")),
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", 0o644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    (
        "etc/os-release",
        0o644,
        concat!("NAME=initramfs-overlay\nID=initramfs-overlay\nVERSION_ID=", env!("CARGO_PKG_VERSION"), "\n"),
    ),
    ("usr/share/udhcpc/default.script", 0o755, LEASE_SCRIPT),
];

/// Devices that are there before `/dev` is mounted: path, permission bits, major and minor number (kernel,
/// Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32, u32); 3] =
    [("dev/console", 0o622, 5, 1), ("dev/null", 0o666, 1, 3), ("dev/tty", 0o666, 5, 0)];

/// Returns the system's root.
///
/// # Errors
/// [`Error::Usage`] for a BusyBox that lacks what is needed, and what the user's directories say.
pub fn root(parts: &Parts<'_>) -> Result<Merge> {
    check_busybox(&parts.busybox.applets)?;
    let mut tree = Tree::new();
    let mut put = |path: &str, entry| tree.insert(path, entry, OnConflict::Refuse);
    for (directory, mode) in DIRECTORIES {
        put(directory, Entry::directory(mode))?;
    }
    for (path, mode, content) in FILES {
        put(path, Entry::file(mode, Content::Bytes(content.as_bytes().to_vec())))?;
    }
    for (path, mode, major, minor) in DEVICES {
        put(path, Entry::char_device(mode, major, minor))?;
    }
    let hosts = format!("127.0.0.1 localhost {0}\n::1 localhost {0}\n", parts.hostname);
    put("etc/hosts", Entry::file(0o644, Content::Bytes(hosts.into_bytes())))?;
    put("etc/hostname", Entry::file(0o644, Content::Bytes(format!("{}\n", parts.hostname).into_bytes())))?;
    put("bin/busybox", Entry::file(0o755, Content::Bytes(parts.busybox.bytes.clone())))?;
    if let Some(modules) = parts.modules {
        image::put_modules(&mut tree, modules)?;
    }
    for directory in parts.include {
        tree.include(directory, OnConflict::Replace)?;
    }
    image::put_links(&mut tree, parts.busybox)?;
    // A program of the user's may want cards to be left alone.
    let is_ours = matches!(tree.get(RC), Some(Entry { kind: Kind::File(Content::Bytes(_)), .. }));
    let mut merge = Merge::default();
    merge.tree = tree;
    let workload = Workload {
        entrypoint: ["/bin/sh", "-l"].map(str::to_owned).to_vec(),
        on_consoles: true,
        start: vec![format!("/{RC}")],
        switches_on: is_ours,
        ..Workload::default()
    };
    ram::put("diskless", &mut merge, &workload, Content::host(parts.init)?, None)?;
    Ok(merge)
}

/// Refuses what is no name of a machine (RFC 1123, 2.1; sethostname(2)).
///
/// # Errors
/// [`Error::Usage`].
pub fn check_hostname(name: &str) -> Result<()> {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= 64 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::Usage(format!("--hostname {name}: expected letters, digits and hyphens, 64 at most")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::network::NEEDED;

    fn busybox(applets: &[&str]) -> Busybox {
        Busybox {
            bytes: b"busybox".to_vec(),
            sha256: String::new(),
            applets: applets.iter().map(|name| (*name).to_owned()).collect(),
            origin: None,
        }
    }

    #[test]
    fn a_system_has_all_its_parts() {
        let directory = tempfile::tempdir().unwrap();
        let init = directory.path().join("the-init");
        std::fs::write(&init, "init").unwrap();
        let include = directory.path().join("include");
        std::fs::create_dir_all(include.join("etc")).unwrap();
        std::fs::write(include.join("etc/rc"), "mine").unwrap();
        let busybox = busybox(&[&NEEDED[..], &["ls"]].concat());
        let parts = Parts {
            init: &init,
            busybox: &busybox,
            modules: None,
            hostname: "box",
            include: std::slice::from_ref(&include),
        };
        let merge = root(&parts).unwrap();
        merge.tree.check_parents().unwrap();
        for path in ["init", "bin/ls", "sbin", "usr/sbin", "dev/tty", "etc/profile", ".initramfs/workload", "mnt/root"]
        {
            assert!(merge.tree.get(path).is_some(), "{path}");
        }
        assert!(matches!(&merge.tree.get("etc/rc").unwrap().kind, Kind::File(Content::Host { .. })));
        let switches_on = |merge: &Merge| match &merge.tree.get(".initramfs/workload").unwrap().kind {
            Kind::File(Content::Bytes(bytes)) => Workload::parse(str::from_utf8(bytes).unwrap()).switches_on,
            other => panic!("{other:?}"),
        };
        assert!(!switches_on(&merge) && switches_on(&root(&Parts { include: &[], ..parts }).unwrap()));
        let lacking = Busybox { applets: vec!["sh".to_owned()], ..busybox.clone() };
        let error = root(&Parts { busybox: &lacking, ..parts }).unwrap_err().to_string();
        assert!(error.contains("has no awk, no cat"), "{error}");
    }

    #[test]
    fn names_of_machines() {
        for name in ["a", "box-1", "a.b.example", &"x".repeat(64)] {
            assert!(check_hostname(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "a..b", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert!(check_hostname(name).is_err(), "{name}");
        }
    }
}
