//! The network of a system in memory: a BusyBox that asks for addresses and the script that sets them. An image gets them in a directory
//! where its own programs neither see nor need them.

use archive::tree::{Content, Entry, OnConflict};
use contract::names;

use super::merge::Merge;
use crate::{Error, Result};

/// The program that udhcpc calls.
pub const LEASE_SCRIPT: &str = include_str!("network/default.script");

/// The applets that the network needs of a BusyBox.
pub const NEEDED: [&str; 9] = ["awk", "cat", "ip", "mkdir", "mv", "rm", "sh", "sort", "udhcpc"];

/// A BusyBox for the network.
#[derive(Debug, Clone, Copy)]
pub struct Busybox<'a> {
    /// The program.
    pub program: &'a [u8],
    /// The names that it answers to.
    pub applets: &'a [String],
}

/// Refuses a BusyBox that lacks what is needed.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_busybox(applets: &[String]) -> Result<()> {
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !applets.iter().any(|applet| applet == name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!("this BusyBox has no {}, which the network needs", missing.join(", no "))))
}

/// Puts the network beside the image. Returns the program that starts it, with its arguments.
///
/// # Errors
/// [`Error::Usage`] for a BusyBox that lacks something.
pub fn put(merge: &mut Merge, busybox: Busybox<'_>) -> Result<Vec<String>> {
    check_busybox(busybox.applets)?;
    let hidden = names::WORKLOAD.rsplit_once('/').map_or("", |(directory, _)| directory);
    let directory = format!("{}/network", hidden.trim_start_matches('/'));
    let mut put = |path: String, entry| {
        merge.tree.create_parents(&path)?;
        merge.tree.insert(path, entry, OnConflict::Refuse)
    };
    put(format!("{directory}/bin/busybox"), Entry::file(0o755, Content::Bytes(busybox.program.to_vec())))?;
    for applet in NEEDED {
        put(format!("{directory}/bin/{applet}"), Entry::symlink("busybox"))?;
    }
    let script = LEASE_SCRIPT
        .replace("#!/bin/sh", &format!("#!/{directory}/bin/sh"))
        .replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", &format!("PATH=/{directory}/bin"));
    put(format!("{directory}/default.script"), Entry::file(0o755, Content::Bytes(script.into_bytes())))?;
    let (busybox, script) = (format!("/{directory}/bin/busybox"), format!("/{directory}/default.script"));
    Ok(vec![names::OURSELVES.to_owned(), names::HOTPLUG.to_owned(), busybox, script])
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::tree::Kind;

    #[test]
    fn nothing_of_it_is_looked_for_in_the_image() {
        let applets = NEEDED.map(str::to_owned);
        let busybox = Busybox { program: b"", applets: &applets };
        let mut merge = Merge::default();
        let words = put(&mut merge, busybox).unwrap().join(" ");
        assert_eq!(words, "/proc/1/exe hotplug /.initramfs/network/bin/busybox /.initramfs/network/default.script");
        merge.tree.check_parents().unwrap();
        let entry = merge.tree.get(".initramfs/network/default.script").unwrap();
        let Kind::File(Content::Bytes(bytes)) = &entry.kind else { panic!("{entry:?}") };
        let text = str::from_utf8(bytes).unwrap();
        assert!(text.starts_with("#!/.initramfs/network/bin/sh\n"), "{text}");
        assert!(text.contains("\nPATH=/.initramfs/network/bin\n") && !text.contains("/usr/"), "{text}");
    }
}
