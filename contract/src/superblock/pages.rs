//! Blocks of filesystems against the memory pages of a kernel: most filesystems are read through pages, and some only where a block
//! fits in one, or fills one.

use crate::bytes::u32_at;

/// The bytes at the start of a filesystem that [`Blocks::read`] wants to see.
pub const HEAD: usize = 1024 + 128;

/// The blocks of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The kernel's name of the filesystem.
    pub filesystem: &'static str,
    /// Bytes in a block.
    pub size: u64,
}

/// An objection to a filesystem on a kernel whose pages have another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// No kernel with these pages mounts it.
    Never,
    /// Later kernels with these pages mount it; the text says which.
    Older(&'static str),
}

impl Blocks {
    /// Reads the size of the blocks from the first [`HEAD`] bytes of a filesystem, where pages of another size than they matter.
    ///
    /// squashfs: magic at 0, block size at 12 (kernel, fs/squashfs/squashfs_fs.h). The others 1024 bytes in, each with the block size as a
    /// power of two. EROFS: magic at 0, size at 12 (fs/erofs/erofs_fs.h). F2FS: magic at 0, size at 16 (include/linux/f2fs_fs.h). ext2 to
    /// ext4: magic at 56, size at 24, in units of 1 KiB (fs/ext4/ext4.h).
    pub fn read(head: &[u8]) -> Option<Self> {
        let power = |bits: u32| 1_u64.checked_shl(bits);
        if u32_at(head, 0) == Some(0x7371_7368) {
            return Some(Self { filesystem: "squashfs", size: u64::from(u32_at(head, 12)?) });
        }
        match u32_at(head, 1024)? {
            0xE0F5_E1E2 => Some(Self { filesystem: "erofs", size: power(u32::from(*head.get(1024 + 12)?))? }),
            0xF2F5_2010 => Some(Self { filesystem: "f2fs", size: power(u32_at(head, 1024 + 16)?)? }),
            _ if head.get(1024 + 56..1024 + 58)? == [0x53, 0xef] => {
                Some(Self { filesystem: "ext4", size: power(u32_at(head, 1024 + 24)?.checked_add(10)?)? })
            }
            _ => None,
        }
    }

    /// Returns the objection of a kernel with pages of `page` bytes, if it has one (kernel, `squashfs_fill_super`,
    /// `erofs_read_superblock`, `sanity_check_raw_super` of F2FS, `ext4_load_super`).
    pub fn objection(&self, page: u64) -> Option<Objection> {
        let (is_larger, is_smaller) = (self.size > page, self.size < page);
        match self.filesystem {
            "squashfs" if is_smaller => Some(Objection::Never),
            "erofs" if is_larger => Some(Objection::Never),
            "erofs" if is_smaller => Some(Objection::Older("Linux 6.8, without compression 6.4")),
            "f2fs" if is_larger || is_smaller => Some(Objection::Never),
            "ext4" if is_larger => Some(Objection::Older("a kernel whose ext4 supports blocks larger than pages")),
            _ => None,
        }
    }

    /// Says what a kernel with pages of `page` bytes has against it: `blocks of 16 KiB (erofs) are not mounted with pages of 4 KiB`.
    pub fn describe(&self, page: u64, objection: Objection) -> String {
        let (size, filesystem) = (shown(self.size), self.filesystem);
        match objection {
            Objection::Never => {
                format!("{filesystem} with blocks of {size} is not mounted by a kernel with pages of {}", shown(page))
            }
            Objection::Older(since) => {
                format!("{filesystem} with blocks of {size} needs, where pages have {}, {since}", shown(page))
            }
        }
    }
}

/// Returns a power of two for people: `16 KiB`.
fn shown(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) { format!("{} KiB", bytes >> 10) } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        for (at, bytes) in fields {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn block_sizes_are_read_from_superblocks() {
        for (head, filesystem, size) in [
            (head(&[(0, b"hsqs"), (12, &[0, 0, 2, 0])]), "squashfs", 128 << 10),
            (head(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1036, &[14])]), "erofs", 16 << 10),
            (head(&[(1024, &[0x10, 0x20, 0xf5, 0xf2]), (1040, &[12])]), "f2fs", 4 << 10),
            (head(&[(1024 + 56, &[0x53, 0xef]), (1024 + 24, &[6])]), "ext4", 64 << 10),
        ] {
            assert_eq!(Blocks::read(&head), Some(Blocks { filesystem, size }));
            for length in 0..head.len() {
                let _ = Blocks::read(&head[..length]);
            }
        }
        assert_eq!(Blocks::read(&head(&[])), None);
        assert_eq!(Blocks::read(&head(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1036, &[200])])), None);
        assert_eq!(Blocks::read(&head(&[(1024 + 56, &[0x53, 0xef]), (1024 + 24, &[0xff; 4])])), None);
    }

    #[test]
    fn kernels_object_to_blocks_that_their_pages_do_not_fit() {
        const KIB: u64 = 1024;
        for (filesystem, size, fits) in [
            // With pages of 4, 16 and 64 KiB: mounted, by later kernels, never.
            ("squashfs", 128, "+++"),
            ("squashfs", 64, "+++"),
            ("squashfs", 8, "+--"),
            ("erofs", 4, "+~~"),
            ("erofs", 16, "-+~"),
            ("erofs", 64, "--+"),
            ("f2fs", 4, "+--"),
            ("f2fs", 16, "-+-"),
            ("ext4", 1, "+++"),
            ("ext4", 4, "+++"),
            ("ext4", 64, "~~+"),
            ("xfs", 64, "+++"),
        ] {
            let blocks = Blocks { filesystem, size: size * KIB };
            let found: String = [4, 16, 64]
                .map(|page| match blocks.objection(page * KIB) {
                    None => '+',
                    Some(Objection::Older(_)) => '~',
                    Some(Objection::Never) => '-',
                })
                .iter()
                .collect();
            assert_eq!(found, fits, "{filesystem} {size}");
        }
    }

    #[test]
    fn objections_name_both_sizes() {
        let blocks = Blocks { filesystem: "erofs", size: 16 << 10 };
        assert_eq!(
            blocks.describe(4096, Objection::Never),
            "erofs with blocks of 16 KiB is not mounted by a kernel with pages of 4 KiB"
        );
        assert!(blocks.describe(65536, Objection::Older("Linux 6.8")).ends_with("where pages have 64 KiB, Linux 6.8"));
    }
}
