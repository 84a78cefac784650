//! The network for an image: a BusyBox and the programs that ask for addresses with it, in a folder where the image's own programs
//! neither see nor need them. They are those of `diskless`, at another place.

use initramfs_overlay_init::names;

use super::merge::Merge;
use crate::{
    Result,
    busybox::Busybox,
    diskless,
    tree::{Clash, Content, Entry},
};

/// What the programs call.
const APPLETS: [&str; 13] =
    ["awk", "cat", "hostname", "ip", "kill", "mkdir", "mv", "printf", "rm", "sh", "udhcpc", "uevent", "true"];

/// Puts the network beside the image. Returns the program that starts it.
///
/// # Errors
/// [`crate::Error::Usage`] for a BusyBox that lacks something.
pub fn put(merge: &mut Merge, busybox: &Busybox) -> Result<String> {
    diskless::check_busybox(busybox)?;
    let hidden = names::WORKLOAD.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = format!("{}/network", hidden.trim_start_matches('/'));
    let mut put = |path: String, entry| {
        merge.tree.create_parents(&path)?;
        merge.tree.insert(path, entry, Clash::Refuse)
    };
    put(format!("{folder}/bin/busybox"), Entry::file(0o755, Content::Bytes(busybox.bytes.clone())))?;
    for applet in APPLETS {
        put(format!("{folder}/bin/{applet}"), Entry::symlink("busybox"))?;
    }
    for (name, content) in diskless::NETWORK {
        let content = content
            .replace("#!/bin/sh", &format!("#!/{folder}/bin/sh"))
            .replace("/usr/share/udhcpc/", &format!("/{folder}/"))
            .replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", &format!("PATH=/{folder}/bin"));
        put(format!("{folder}/{name}"), Entry::file(0o755, Content::Bytes(content.into_bytes())))?;
    }
    Ok(format!("/{folder}/rc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Kind;

    #[test]
    fn nothing_of_it_is_looked_for_in_the_image() {
        let applets = diskless::NEEDED.iter().map(|name| (*name).to_owned()).collect();
        let busybox = Busybox { bytes: Vec::new(), sha256: String::new(), applets, origin: None };
        let mut merge = Merge::default();
        assert_eq!(put(&mut merge, &busybox).unwrap(), "/.initramfs/network/rc");
        merge.tree.check_parents().unwrap();
        for name in ["rc", "appeared", "interface", "default.script"] {
            let Kind::File(Content::Bytes(bytes)) = &merge.tree.get(format!(".initramfs/network/{name}")).unwrap().kind
            else {
                panic!("{name}")
            };
            let text = str::from_utf8(bytes).unwrap();
            assert!(text.starts_with("#!/.initramfs/network/bin/sh\n"), "{text}");
            assert!(!text.contains("/usr/"), "{text}");
        }
    }
}
