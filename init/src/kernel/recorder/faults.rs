//! The limits and faults of described media: sectors that cannot be read, write protection, blocks that run out.

use std::{
    collections::BTreeSet,
    io::{Error, ErrorKind, Result},
};

use contract::{
    errno::{EACCES, EINVAL, EIO, ENOSPC, EROFS},
    filesystem::without_replay,
};

use super::{Device, Files, Node, Recorder, Source};
use crate::kernel::Space;

impl Device {
    /// Returns the error number with which a mount of the device fails, if it does.
    pub(super) fn mount_failure(&self, read_only: bool, data: &str) -> Option<i32> {
        let replays = self.unclean && without_replay(self.volume.kind.as_deref().unwrap_or_default()) != Some(data);
        // The kernel's numbers for write protection (fs/super.c), for a replay on such a device and for blocks that are less than a
        // sector (fs/ext4/super.c).
        let refused = [
            (self.read_only && !read_only, EACCES),
            (self.read_only && replays, EROFS),
            (self.block < self.sector, EINVAL),
        ];
        self.mount_fails.or_else(|| refused.iter().find(|(refused, _)| *refused).map(|(_, number)| *number))
    }

    /// Returns the bytes that `files` take on the device: whole blocks, and a block for each directory.
    pub fn used(&self, files: &Files) -> u64 {
        let mut directories = BTreeSet::new();
        let mut blocks = 0_u64;
        for (path, node) in files {
            match node {
                Node::Directory => drop(directories.insert(path.as_str())),
                Node::File(_, size, _) => blocks = blocks.saturating_add(size.div_ceil(self.block.max(1))),
                Node::Symlink(_) | Node::Special => {}
            }
            directories.extend(path.match_indices('/').filter_map(|(end, _)| path.get(..end)));
        }
        let blocks = blocks.saturating_add(u64::try_from(directories.len()).unwrap_or(u64::MAX));
        blocks.saturating_mul(self.block.max(1))
    }
}

impl Recorder {
    /// Returns the content of a file, faults of its medium aside.
    pub(super) fn content(&mut self, path: &str) -> Result<Vec<u8>> {
        match self.node(path)? {
            Node::File(content, _, _) => Ok(content),
            _ => Err(ErrorKind::IsADirectory.into()),
        }
    }

    /// Fails where one of these bytes of a file or a device cannot be read.
    pub(super) fn check_readable(&mut self, path: &str, offset: u64, length: u64) -> Result<()> {
        let device = self.devices.iter().find(|device| device.volume.path() == path);
        let byte = match device {
            Some(device) => device.unreadable.get("").copied(),
            None => self.device_of(path).and_then(|(device, inner)| device.unreadable.get(&inner).copied()),
        };
        match byte {
            Some(byte) if byte >= offset && byte < offset.saturating_add(length) => Err(Error::from_raw_os_error(EIO)),
            _ => Ok(()),
        }
    }

    /// Fails where `path` is on a mount that is read-only.
    pub(super) fn check_writable(&self, path: &str) -> Result<()> {
        let is_protected = self.devices.iter().any(|device| device.read_only && device.volume.path() == path);
        if is_protected || self.space_at(path).read_only { Err(Error::from_raw_os_error(EROFS)) } else { Ok(()) }
    }

    /// Fails where the filesystem that holds `path` has no block left for `node`.
    pub(super) fn check_blocks(&mut self, path: &str, node: &Node) -> Result<()> {
        let free = self.space_at(path).free;
        let needed = self.device_of(path).map_or(0, |(device, _)| device.used(&[(String::new(), node.clone())].into()));
        if needed > free { Err(Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    /// Returns the state of the filesystem that holds `path`.
    pub(super) fn space_at(&self, path: &str) -> Space {
        let (mount, _) = self.locate(path);
        let Some((target, files, source)) = mount.and_then(|place| self.state.mounts.get(place)) else {
            return Space { total: u64::MAX, free: self.free.unwrap_or(u64::MAX), read_only: false };
        };
        let (total, used) = match source {
            Source::Device(number) => {
                self.devices.get(*number).map_or((0, 0), |device| (device.capacity, device.used(files)))
            }
            Source::Other => (u64::MAX, 0),
        };
        Space { total, free: total.saturating_sub(used), read_only: self.state.read_only.contains(target) }
    }
}
