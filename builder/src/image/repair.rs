//! The debug variant's programs beside BusyBox: those that repair a disk, and scripts for what Debian's BusyBox lacks.

use archive::tree::{Content, Entry, OnConflict, Tree};
use contract::names;
use oci::network::LEASE_SCRIPT;
use sources::toolchain::repair::Tool;

use crate::Result;

/// Scripts by name: devices, a copy that says how far it is, and what is in an image.
pub const SCRIPTS: [(&str, &str); 4] = [
    ("dd", include_str!("dd.sh")),
    ("lspci", include_str!("lspci.sh")),
    ("lsusb", include_str!("lsusb.sh")),
    ("unsquashfs", include_str!("unsquashfs.sh")),
];

/// The filesystems that BusyBox's `mount` tries where none is named, besides those that the kernel has loaded: to try one loads its module.
const FILESYSTEMS: (&str, &str) =
    ("etc/filesystems", "squashfs\nerofs\next4\nvfat\nxfs\nbtrfs\nf2fs\nexfat\nntfs3\niso9660\n");

/// Puts the scripts and the programs into `/bin`.
///
/// # Errors
/// A program that cannot be read, or something else of its name.
pub fn put_programs(tree: &mut Tree, tools: &[Tool]) -> Result<()> {
    for (name, text) in SCRIPTS {
        let script = Entry::file(0o755, Content::Bytes(text.as_bytes().to_vec()));
        tree.insert(format!("bin/{name}"), script, OnConflict::Refuse)?;
    }
    // Where Debian's BusyBox looks for it.
    let lease = "etc/udhcpc/default.script";
    tree.create_parents(lease)?;
    tree.insert(lease, Entry::file(0o755, Content::Bytes(LEASE_SCRIPT.as_bytes().to_vec())), OnConflict::Refuse)?;
    tree.create_parents(FILESYSTEMS.0)?;
    let list = Entry::file(0o644, Content::Bytes(FILESYSTEMS.1.as_bytes().to_vec()));
    tree.insert(FILESYSTEMS.0, list, OnConflict::Keep)?;
    for tool in tools {
        let program = Entry::file(0o755, Content::host(&tool.path)?);
        tree.insert(format!("bin/{}", tool.name), program, OnConflict::Refuse)?;
    }
    Ok(())
}

/// Puts a link for each further name of a program into `/bin`; what the user put there stays. BusyBox's shell runs an applet without
/// looking for a program of its name, but a function comes before that: it reads one for each such name.
///
/// # Errors
/// A name that no archive can hold.
pub fn put_links(tree: &mut Tree, tools: &[Tool], applets: &[String]) -> Result<()> {
    for tool in tools {
        for link in tool.links {
            tree.insert(format!("bin/{link}"), Entry::symlink(tool.name), OnConflict::Keep)?;
        }
    }
    let names = tools.iter().flat_map(|tool| tool.links.iter().chain([&tool.name]));
    let settings = settings(names.copied().chain(SCRIPTS.map(|(name, _)| name)), applets);
    let file = Entry::file(0o644, Content::Bytes(settings.into_bytes()));
    Ok(tree.insert(names::SHELL_SETTINGS.trim_start_matches('/'), file, OnConflict::Keep)?)
}

/// Returns the functions that take the place of applets.
fn settings<'a>(own: impl Iterator<Item = &'a str>, applets: &[String]) -> String {
    let mut own: Vec<&str> = own.filter(|name| applets.iter().any(|applet| applet == name)).collect();
    own.sort_unstable();
    own.iter().map(|name| format!("{name}() {{ /bin/{name} \"$@\"; }}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

    use super::*;

    /// Runs a script on a sysfs below `root`.
    fn said(name: &str, root: &Path, argument: &str) -> String {
        let (_, text) = SCRIPTS.iter().find(|(known, _)| *known == name).unwrap();
        let text = text.replace("/sys/", &format!("{}/sys/", root.display()));
        let output = Command::new("sh").args(["-c", &text, name, argument]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn put(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn devices_have_names() {
        let root = tempfile::tempdir().unwrap();
        let pci = root.path().join("sys/bus/pci/devices");
        let card = pci.join("0000:00:03.0");
        put(&card, &[("class", "0x020000"), ("vendor", "0x8086"), ("device", "0x100e"), ("modalias", "pci:v00008086")]);
        symlink("../../drivers/e1000", card.join("driver")).unwrap();
        fs::create_dir_all(pci.join("../drivers/e1000")).unwrap();
        put(
            &pci.join("0000:00:04.0"),
            &[("class", "0x010802"), ("vendor", "0xabcd"), ("device", "0x0001"), ("modalias", "pci:v0000ABCD")],
        );
        assert_eq!(
            said("lspci", root.path(), ""),
            "0000:00:03.0 0200: 8086:100e (Ethernet, Intel) e1000\n0000:00:04.0 0108: abcd:0001 (NVMe, ?) no driver\n"
        );
        assert!(said("lspci", root.path(), "-v").contains(" e1000\n\tpci:v00008086\n"));

        let stick = root.path().join("sys/bus/usb/devices/1-2");
        put(&stick, &[("idVendor", "0951"), ("idProduct", "1666"), ("manufacturer", "Kingston"), ("product", "DT")]);
        put(&stick.join("1-2:1.0"), &[("bInterfaceClass", "08"), ("modalias", "usb:v0951p1666")]);
        put(&stick.join("1-2:1.1"), &[("bInterfaceClass", "ff"), ("modalias", "usb:v0951p1666")]);
        assert_eq!(said("lsusb", root.path(), ""), "1-2 0951:1666 Kingston DT (storage none, vendor's own none)\n");
    }

    #[test]
    fn functions_take_the_place_of_applets() {
        let applets = ["cat", "dd", "mke2fs"].map(str::to_owned);
        let text = settings(["mke2fs", "e2fsck", "dd"].into_iter(), &applets);
        assert_eq!(text, "dd() { /bin/dd \"$@\"; }\nmke2fs() { /bin/mke2fs \"$@\"; }\n");
    }
}
