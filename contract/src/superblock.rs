//! Superblocks of the filesystems that init tells apart by itself: images, and an update partition without a file.

pub mod ext4;
pub mod pages;

use crate::bytes::{u32_at, u64_at};

/// Filesystems of an operating system's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// squashfs 4.0.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl Format {
    /// Returns the kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
        }
    }
}

/// The facts of an image's superblock that init needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// The filesystem.
    pub format: Format,
    /// Bytes of the file that the filesystem uses.
    pub size: u64,
}

/// Bytes at the start of a file that [`Superblock::read`] wants to see.
pub const HEAD: usize = 1024 + 128;

/// Bytes at the start of a partition that [`folds_case`] wants to see.
pub const HEAD_OF_FEATURES: usize = 4096;

/// Returns true if the filesystem that starts with `head` is an ext4 or f2fs with the feature casefold (kernel, fs/ext4/ext4.h,
/// EXT4_FEATURE_INCOMPAT_CASEFOLD; include/linux/f2fs_fs.h, `struct f2fs_super_block`; fs/f2fs/f2fs.h, F2FS_FEATURE_CASEFOLD).
pub fn folds_case(head: &[u8]) -> bool {
    // Magic, its offset, the offset of the byte with the feature, and its bit there.
    [(&[0x53, 0xef][..], 0x438, 0x462, 0x2_u8), (&[0x10, 0x20, 0xf5, 0xf2], 0x400, 0xc85, 0x10)].iter().any(
        |(magic, place, feature, bit)| {
            head.get(*place..).is_some_and(|bytes| bytes.starts_with(magic))
                && head.get(*feature).is_some_and(|byte| byte & bit != 0)
        },
    )
}

/// An objection to the file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// The file is shorter than the superblock says.
    Truncated,
    /// The file ends in a part of a sector that the filesystem uses.
    Unpadded {
        /// Bytes in that part.
        hidden: u64,
    },
}

impl Superblock {
    /// Returns the objection to a file of `size` bytes with this superblock, if there is one. A loop device has whole sectors of 512 bytes
    /// (kernel, drivers/block/loop.c, get_loop_size), so a part of one at the end is not there.
    pub fn misfit(&self, size: u64) -> Option<Misfit> {
        let hidden = size % 512;
        if self.size > size {
            Some(Misfit::Truncated)
        } else if self.size > size.saturating_sub(hidden) {
            Some(Misfit::Unpadded { hidden })
        } else {
            None
        }
    }

    /// Reads the superblock in the first [`HEAD`] bytes of an image.
    ///
    /// squashfs: magic at 0, bytes used at 40 (kernel, fs/squashfs/squashfs_fs.h). EROFS: 1024 bytes in; magic at 0, block size
    /// as a power of two at 12, blocks at 36 (fs/erofs/erofs_fs.h).
    pub fn read(head: &[u8]) -> Option<Self> {
        if u32_at(head, 0) == Some(0x7371_7368) {
            return Some(Self { format: Format::Squashfs, size: u64_at(head, 40)? });
        }
        if u32_at(head, 1024) == Some(0xE0F5_E1E2) {
            let bits = u32::from(*head.get(1024 + 12)?);
            let blocks = u64::from(u32_at(head, 1024 + 36)?);
            return Some(Self { format: Format::Erofs, size: blocks.checked_mul(1_u64.checked_shl(bits)?)? });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_folding_is_seen_in_two_filesystems() {
        for (magic, place, feature, bit) in [
            (&[0x53, 0xef][..], 1024 + 0x38, 1024 + 0x60 + 2, 2),
            (&[0x10, 0x20, 0xf5, 0xf2], 1024, 1024 + 2180 + 1, 0x10),
        ] {
            let mut head = vec![0; HEAD_OF_FEATURES];
            head[feature] = bit;
            assert!(!folds_case(&head));
            head[place..place + magic.len()].copy_from_slice(magic);
            assert!(folds_case(&head));
            head[feature] = 0;
            assert!(!folds_case(&head));
        }
        assert!(!folds_case(&[]));
    }

    #[test]
    fn superblocks() {
        let mut squashfs = vec![0; HEAD];
        squashfs[..4].copy_from_slice(b"hsqs");
        squashfs[40..48].copy_from_slice(&123_456_u64.to_le_bytes());
        assert_eq!(Superblock::read(&squashfs), Some(Superblock { format: Format::Squashfs, size: 123_456 }));
        let mut erofs = vec![0; HEAD];
        erofs[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
        erofs[1036] = 12;
        erofs[1060..1064].copy_from_slice(&3_u32.to_le_bytes());
        assert_eq!(Superblock::read(&erofs), Some(Superblock { format: Format::Erofs, size: 3 * 4096 }));
        erofs[1036] = 200;
        assert_eq!(Superblock::read(&erofs), None, "a block size that is no number of bits");
        assert_eq!(Superblock::read(&[0; HEAD]), None);
        assert_eq!(Superblock::read(b"hsqs"), None, "cut short");
    }

    #[test]
    fn a_file_holds_all_that_the_superblock_claims_in_whole_sectors() {
        let superblock = Superblock { format: Format::Squashfs, size: 1000 };
        for (size, misfit) in [
            (999, Some(Misfit::Truncated)),
            (1000, Some(Misfit::Unpadded { hidden: 488 })),
            (1023, Some(Misfit::Unpadded { hidden: 511 })),
            (1024, None),
            (4096, None),
            (1025, None),
        ] {
            assert_eq!(superblock.misfit(size), misfit, "{size}");
        }
        assert_eq!(Superblock { size: 512, ..superblock }.misfit(700), None, "what is hidden is not used");
    }
}
