//! The list by which init knows that all of an initramfs arrived.

use std::collections::BTreeMap;

use archive::tree::Kind;
use contract::{
    Digest,
    inventory::{self, Kind as Seen},
};

/// The names in the archives of a file, as init checks them: see [`inventory`]. Names that are no UTF-8, and those below what init
/// mounts, are left out.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    names: BTreeMap<String, (Seen, Option<u64>, Option<Digest>)>,
    /// The next archive is the file's last: the list goes to its end.
    pub is_last: bool,
}

impl Inventory {
    /// Notes a name. What comes again under the same name takes the place of the first.
    pub fn add(&mut self, path: &[u8], kind: &Kind, size: Option<u64>, digest: Option<Digest>) {
        let Ok(path) = str::from_utf8(path) else { return };
        if inventory::HIDDEN.iter().any(|directory| path.starts_with(directory)) {
            return;
        }
        let seen = match kind {
            Kind::File(_) => Seen::File,
            Kind::Directory => Seen::Directory,
            Kind::Symlink(_) => Seen::Symlink,
            _ => Seen::Other,
        };
        self.names.insert(path.to_owned(), (seen, size, digest));
    }

    /// Returns the list as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = inventory::Writer::default();
        for (path, (kind, size, digest)) in &self.names {
            writer.add(&inventory::Record { kind: *kind, size: *size, digest: *digest, path });
        }
        writer.finish()
    }
}
