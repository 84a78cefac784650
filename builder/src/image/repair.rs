//! The debug variant's programs beside BusyBox: those that repair a disk, and scripts for what Debian's BusyBox lacks.

use archive::tree::{Content, Entry, OnConflict, Tree};
use contract::names;
use oci::network::LEASE_SCRIPT;
use sources::toolchain::repair::Tool;

use crate::Result;

/// Scripts by name: devices, and a copy that says how far it is.
pub const SCRIPTS: [(&str, &str); 3] =
    [("dd", include_str!("dd.sh")), ("lspci", include_str!("lspci.sh")), ("lsusb", include_str!("lsusb.sh"))];

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
    use super::*;

    #[test]
    fn functions_take_the_place_of_applets() {
        let applets = ["cat", "dd", "mke2fs"].map(str::to_owned);
        let text = settings(["mke2fs", "e2fsck", "dd"].into_iter(), &applets);
        assert_eq!(text, "dd() { /bin/dd \"$@\"; }\nmke2fs() { /bin/mke2fs \"$@\"; }\n");
    }
}
