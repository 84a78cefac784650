//! Every identity on a disk, derived from what the disk holds: the same inputs give the same identities, two different
//! disks do not share any (they may meet in one machine). Name-based UUIDs, RFC 9562 section 5.5.

use uuid::Uuid;

use super::layout::Role;

/// Returns the namespace of all our disks: a version 5 UUID of the project's name in the namespace for OIDs.
fn namespace() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, b"initramfs-overlay disk")
}

/// Returns a fixed identity for something that is not part of a disk, such as an image.
pub fn named(name: &str) -> Uuid {
    Uuid::new_v5(&namespace(), name.as_bytes())
}

/// The identities of one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    disk: Uuid,
}

impl Identity {
    /// Derives the identities from a digest of everything the disk holds.
    pub fn new(digest: &[u8]) -> Self {
        Self { disk: Uuid::new_v5(&namespace(), digest) }
    }

    /// Returns the GPT's own GUID.
    pub fn disk(&self) -> Uuid {
        self.disk
    }

    /// Returns the MBR's disk signature, from which the kernel makes `PARTUUID=xxxxxxxx-01`. Never 0, which means "none".
    pub fn signature(&self) -> u32 {
        self.number("signature").max(1)
    }

    /// Returns a partition's GUID.
    pub fn partition(&self, role: Role) -> Uuid {
        self.derive("partition", role)
    }

    /// Returns a filesystem's UUID.
    pub fn filesystem(&self, role: Role) -> Uuid {
        self.derive("filesystem", role)
    }

    /// Returns the seed of an ext4 filesystem's directory hashes.
    pub fn hash_seed(&self, role: Role) -> Uuid {
        self.derive("hash seed", role)
    }

    /// Returns a FAT filesystem's serial number.
    pub fn volume(&self) -> u32 {
        self.number("volume")
    }

    fn derive(&self, kind: &str, role: Role) -> Uuid {
        Uuid::new_v5(&self.disk, format!("{kind} {}", role.label()).as_bytes())
    }

    fn number(&self, name: &str) -> u32 {
        Uuid::new_v5(&self.disk, name.as_bytes()).as_fields().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn identities_are_fixed_and_all_different() {
        let all = |seed: &[u8]| {
            let identity = Identity::new(seed);
            let mut set = BTreeSet::from([identity.disk()]);
            for role in Role::ALL {
                set.extend([identity.partition(role), identity.filesystem(role), identity.hash_seed(role)]);
            }
            set
        };
        assert_eq!(all(b"a"), all(b"a"));
        assert_eq!(all(b"a").len(), 13);
        assert!(all(b"a").is_disjoint(&all(b"b")));
        assert_eq!(named("image"), named("image"));
    }
}
