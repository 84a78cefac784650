//! The superblock of ext2, ext3 and ext4, as far as it tells an empty filesystem. Most boots find `newimg` so, and then it is not mounted:
//! that would read a journal, start a thread of the kernel and stop it again, for a look into an empty directory.

use crate::bytes::{u16_at, u32_at};

/// Bytes of the partition's start that [`is_empty`] wants to see: up to the first group descriptor behind a superblock in blocks of 4096 bytes.
pub const HEAD: usize = 4096 + 32;

/// Offset of the superblock, whatever the size of a block (kernel, Documentation/filesystems/ext4/super.rst, as all below).
const SUPERBLOCK: usize = 1024;

const MAGIC: u16 = 0xef53;

/// `s_state`: unmounted in good order, and nothing else.
const CLEAN: u16 = 1;

/// `s_feature_incompat`: the journal must be replayed first, the device is a journal, or group descriptors are elsewhere.
const UNSURE: u32 = 0x4 | 0x8 | 0x10;

/// Features for which the kernel asks modprobe for a module while it mounts, as bits of `s_feature_ro_compat` in the low half and
/// `s_feature_incompat` in the high one: quota (fs/quota/dquot.c), casefold (fs/unicode/utf8-core.c).
pub const ON_DEMAND: [(u64, &str); 2] = [(0x100, "quota_v2"), (0x2_0000 << 32, "utf8data")];

/// Returns the modules that the features of the filesystem that starts with `head` call for.
pub fn demands(head: &[u8]) -> impl Iterator<Item = &'static str> {
    let field = |at: usize| u32_at(head, SUPERBLOCK.checked_add(at)?).map(u64::from);
    let is_known = head.get(SUPERBLOCK + 0x38..SUPERBLOCK + 0x3a) == Some(&MAGIC.to_le_bytes());
    let features = match (field(0x64), field(0x60)) {
        (Some(read_only), Some(incompatible)) if is_known => read_only | incompatible << 32,
        _ => 0,
    };
    ON_DEMAND.into_iter().filter(move |(bit, _)| features & bit != 0).map(|(_, module)| module)
}

/// Returns true if the filesystem that starts with `head` has a journal (`s_feature_compat`, COMPAT_HAS_JOURNAL).
pub fn has_journal(head: &[u8]) -> bool {
    head.get(SUPERBLOCK + 0x5c).is_some_and(|byte| byte & 0x4 != 0)
}

/// Returns true if the filesystem that starts with `head` certainly holds no file: nothing but the root and, at most, `lost+found`.
///
/// The kernel writes the count of free inodes when it unmounts, which `s_state` and the journal's flag show. Directories are counted
/// by group: the first has the root's and `lost+found`'s inodes, and whatever inode in use is none of them or of a directory there
/// may be an update.
pub fn is_empty(head: &[u8]) -> bool {
    empty(head).unwrap_or(false)
}

fn empty(head: &[u8]) -> Option<bool> {
    let field = |at: usize| u32_at(head, SUPERBLOCK.checked_add(at)?);
    let short = |at: usize| u16_at(head, SUPERBLOCK.checked_add(at)?);

    let inodes = field(0x0)?;
    let free_inodes = field(0x10)?;
    let first_data_block = field(0x14)?;
    let block_size = 1024_usize.checked_shl(field(0x18)?)?;
    let revision = field(0x4c)?;
    let incompat = field(0x60)?;
    if short(0x38)? != MAGIC || short(0x3a)? != CLEAN || incompat & UNSURE != 0 || block_size > 4096 {
        return Some(false);
    }
    // `s_last_orphan`: files without a name that are still to be deleted.
    if field(0xe8)? != 0 {
        return Some(false);
    }
    // Inodes below `s_first_ino` are the filesystem's own; in revision 0 there are ten as well.
    let first_inode = if revision == 0 { 11 } else { field(0x54)? };
    // `s_orphan_file_inum`: a file that is the filesystem's own too.
    let own = first_inode.checked_sub(1)?.checked_add(u32::from(field(0x280)? != 0))?;
    let used = inodes.checked_sub(free_inodes)?;
    let descriptor = usize::try_from(first_data_block).ok()?.checked_add(1)?.checked_mul(block_size)?;
    // `bg_used_dirs_count_lo`: the root, which is one of the filesystem's own inodes, and `lost+found`.
    let directories = u32::from(u16_at(head, descriptor.checked_add(0x10)?)?).checked_sub(1)?;
    Some(directories <= 1 && used.checked_sub(own)? == directories)
}
