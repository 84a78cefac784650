//! Features of ext filesystems: those that the kernel mounts and the library does not read, by name (kernel, fs/ext4/ext4.h).

use super::Superblock;
use crate::{
    block_reader::Shared,
    error::{Error, Result},
};

/// Features of `s_feature_incompat` that the kernel knows (`EXT4_FEATURE_INCOMPAT_SUPP`).
const KERNEL: u32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;
/// The one without which names have no types.
const FILE_TYPES: u32 = 0x2;
/// Features that nothing here reads.
const UNREADABLE: [(u32, &str); 3] = [(0x10, "meta_bg"), (0x8000, "inline_data"), (0x2_0000, "casefold")];
/// The kernel asks whether another machine has it mounted.
const PROTECTION: u32 = 0x100;
/// The number in the block for that of a filesystem that is not mounted (`EXT4_MMP_SEQ_CLEAN`).
const UNUSED: u32 = 0xff4d_4d50;
/// Features that the library refuses and that change nothing of what is read here: protection, large values of attributes and large
/// directories, whose entries lie where those of others do.
pub const HARMLESS: u32 = PROTECTION | 0x400 | 0x4000;

/// Refuses a filesystem with a feature that the kernel does not mount, or that nothing here reads.
///
/// # Errors
/// [`Error::Damaged`] for the former, [`Error::Unreadable`] for the latter.
pub fn check(medium: &Shared, superblock: &Superblock) -> Result<()> {
    let features = superblock.incompatible.get();
    if features & !KERNEL != 0 {
        return Err(Error::Damaged(format!("it has features that no kernel mounts ({:#x})", features & !KERNEL)));
    }
    let mut names: Vec<&str> =
        UNREADABLE.iter().filter(|(bit, _)| features & bit != 0).map(|(_, name)| *name).collect();
    if features & FILE_TYPES == 0 {
        names.push("^filetype");
    }
    if !names.is_empty() {
        return Err(Error::Unreadable(format!("the doctor does not read ext4 with {}", names.join(", "))));
    }
    if features & PROTECTION != 0 {
        let block = 1024_u64.checked_shl(superblock.block_bits.get()).unwrap_or(0);
        let place = superblock.protection_block.get().checked_mul(block).and_then(|place| place.checked_add(4));
        let sequence: [u8; 4] = medium.read(place.unwrap_or(u64::MAX))?;
        if u32::from_le_bytes(sequence) != UNUSED {
            let text = "the filesystem (feature mmp) was not unmounted cleanly, or another machine has it mounted";
            return Err(Error::Unreadable(text.into()));
        }
    }
    Ok(())
}
