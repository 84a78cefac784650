//! Appliance disks: a partition table, and in its partitions what the init looks for, all in one file. Needs neither
//! root nor loop devices. Same inputs, same bytes: no clock, no random number, nothing of the machine goes in.
//!
//! [`make`] is the story; `layout` decides the places, `partition_content` what goes where, `ext4`, `vfat` and `image` make the
//! filesystems, `table` the partition table, `output` puts the file in place.
//!
//! ```
//! use initramfs_overlay_disk::{layout::{Extent, Role, Table, Wish, plan}, size::MIB};
//!
//! # fn main() -> initramfs_overlay_disk::Result<()> {
//! let wish = |role, usual| Wish { role, least: MIB, reason: String::new(), usual, asked: None };
//! let layout = plan(Table::Gpt, Extent::default(), &[wish(Role::Img, 64 * MIB), wish(Role::Overlay, 32 * MIB)])?;
//! assert_eq!(layout.slots.len(), 2);
//! assert!(layout.slots[1].start >= layout.slots[0].start + layout.slots[0].size);
//! # Ok(())
//! # }
//! ```

pub mod content;
mod error;
pub mod ext4;
pub mod identity;
pub mod image;
mod implied;
pub mod inputs;
pub mod layout;
mod output;
mod partition_content;
pub mod root;
mod sidecar;
pub mod size;
pub mod table;
pub mod vfat;

use std::path::{Path, PathBuf};

use base::{
    IoContext,
    atomic_file::AtomicFile,
    program::{self, Program},
    progress::Progress,
};
use contract::names;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use content::Owner;
pub use error::{Error, Result};
use identity::Identity;
pub use inputs::{Boot, Disk, Source};
use layout::{Layout, Role, Slot, Table, Wish};
pub use output::copy_data;
use partition_content::Part;

/// A partition that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Partition {
    /// Its number in the table, from 1.
    pub number: u32,
    /// The filesystem's label, and the partition's name in a GPT.
    pub label: &'static str,
    /// The filesystem.
    pub filesystem: &'static str,
    /// The table's word for its kind.
    pub kind: &'static str,
    /// Its start on the disk, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of what was put in.
    pub used: u64,
    /// The filesystem's UUID as `UUID=` has it.
    pub uuid: String,
    /// The partition's as `PARTUUID=` has it.
    pub partuuid: String,
}

/// A disk that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// `gpt` or `mbr`.
    pub table: &'static str,
    /// Bytes of a sector of the disk that it is for.
    pub sector_size: u64,
    /// The image's file name.
    pub image_name: String,
    /// The image's format.
    pub image_format: &'static str,
    /// The image's size in bytes.
    pub image_size: u64,
    /// The partitions, in order.
    pub partitions: Vec<Partition>,
    /// Warnings about what may be unintended.
    pub warnings: Vec<String>,
}

/// Makes the disk and puts it at `output`, all or nothing.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, [`Error::MissingPrograms`], and whatever fails on the way.
pub fn make(disk: &Disk, output: &Path, force: bool, progress: &Progress) -> Result<Report> {
    program::require(&programs(disk))?;
    check_name(&disk.image_name)?;
    check_sizes(disk)?;
    output::check(output, force)?;
    let directory = output::work_directory(output)?;
    let work = directory.path();

    let mut warnings = Vec::new();
    if let Source::Root(root) = &disk.source {
        warnings.extend(root::check(root)?);
    }
    let image = partition_content::image(disk, work, progress)?;
    warnings.extend(image.checked.check_pages(&disk.image_name, disk.page)?);
    let parts = partition_content::gather(disk, &image, work, &mut warnings, progress)?;
    let wishes: Vec<Wish> = parts.iter().map(|part| part.wish.clone()).collect();
    let layout = layout::plan(disk.table, disk.extent, &wishes)?;

    let step = progress.step("reading what goes in");
    let identity = Identity::new(&digest(disk, &layout, &parts)?);
    step.finish("");
    let efi = parts.iter().any(|part| part.wish.role == Role::Boot && partition_content::has_efi(&part.entries));
    let mut file = AtomicFile::create(output)?;
    file.file().set_len(layout.disk).at("grow", output)?;
    for (slot, part) in layout.slots.iter().zip(&parts) {
        let size = size::show(slot.size);
        let step = progress.step(format!("making {} ({}, {size})", slot.role.label(), slot.role.filesystem()));
        let name = format!("{}.{}", slot.role.label(), slot.role.filesystem());
        make_filesystem(work, &name, (&layout, slot), part, &identity, disk.time)?;
        output::place(&work.join(&name), file.file(), output, slot.start, slot.size)?;
        step.finish("");
    }
    table::write(file.file(), output, &layout, &identity, efi)?;
    let step = progress.step("writing to the disk");
    // Once more: the work took its time, and somebody may have made a file of this name.
    output::check(output, force)?;
    file.commit()?;
    step.finish("");

    let partitions = layout.slots.iter().zip(&parts).map(|(slot, part)| describe(&layout, slot, part, &identity, efi));
    Ok(Report {
        path: output.to_owned(),
        size: layout.disk,
        table: if layout.table == Table::Gpt { "gpt" } else { "mbr" },
        sector_size: layout.sector,
        image_name: disk.image_name.clone(),
        image_format: image.checked.format.name(),
        image_size: image.checked.size,
        partitions: partitions.collect(),
        warnings,
    })
}

/// Returns the programs that making `disk` needs.
fn programs(disk: &Disk) -> Vec<Program> {
    let mut programs = vec![ext4::MKE2FS, ext4::DEBUGFS];
    if disk.boot.is_some() {
        programs.extend([vfat::MKFS_VFAT, vfat::MMD, vfat::MCOPY]);
    }
    if matches!(disk.source, Source::Root(_)) {
        programs.push(disk.format.program());
    }
    programs
}

/// Checks that an image's name is a name: no path, and nothing that the init's command line would cut.
fn check_name(name: &str) -> Result<()> {
    let bad = name.is_empty() || name.len() > 200 || [".", ".."].contains(&name);
    if bad || name.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace()) {
        return Err(Error::Usage(format!(
            "--image-name `{name}` is not a file name for an image: use one such as {}, without `/` and spaces",
            names::IMAGE
        )));
    }
    Ok(())
}

/// Checks that sizes are only for partitions that the disk has.
fn check_sizes(disk: &Disk) -> Result<()> {
    let absent = |role: &&Role| match role {
        Role::Boot => disk.boot.is_none(),
        Role::Img => false,
        Role::Newimg => disk.newimg.is_none(),
        Role::Overlay => disk.overlay.is_none(),
    };
    match disk.sizes.keys().find(absent) {
        Some(role) => Err(Error::Usage(format!("--size {0}: this disk has no partition `{0}`", role.label()))),
        None => Ok(()),
    }
}

/// Returns a digest of everything the disk's bytes depend on.
fn digest(disk: &Disk, layout: &Layout, parts: &[Part]) -> Result<Vec<u8>> {
    let mut digest = Sha256::new();
    digest.update(format!("{:?} {} {}\n", layout.table, layout.disk, disk.time));
    // The identities of disks with other sectors stay as they were.
    if layout.sector != layout::SECTOR {
        digest.update(format!("{}\n", layout.sector));
    }
    for (slot, part) in layout.slots.iter().zip(parts) {
        digest.update(format!("{} {} {}\n", slot.role.label(), slot.start, slot.size));
        content::digest(&part.entries, &mut digest)?;
    }
    Ok(digest.finalize().to_vec())
}

fn make_filesystem(
    work: &Path,
    name: &str,
    (layout, slot): (&Layout, &Slot),
    part: &Part,
    identity: &Identity,
    time: u64,
) -> Result<()> {
    let label = slot.role.label().to_owned();
    if slot.role == Role::Boot {
        let (volume, size, sector) = (identity.volume(), slot.size, layout.sector);
        let settings = vfat::Settings { label, volume, size, sector, first_sector: slot.start / sector, time };
        return vfat::make(work, name, &settings, &part.entries);
    }
    let settings = ext4::Settings {
        label,
        uuid: identity.filesystem(slot.role),
        hash_seed: identity.hash_seed(slot.role),
        size: slot.size,
        bytes_per_inode: partition_content::bytes_per_inode(slot.role),
        time: time.max(1),
    };
    ext4::make(work, name, &settings, &part.entries)
}

fn describe(layout: &Layout, slot: &Slot, part: &Part, identity: &Identity, efi: bool) -> Partition {
    let volume = identity.volume();
    Partition {
        number: slot.number,
        label: slot.role.label(),
        filesystem: slot.role.filesystem(),
        kind: table::type_name(layout, slot, efi),
        offset: slot.start,
        size: slot.size,
        used: match slot.role {
            Role::Boot => vfat::content_size(&part.entries, slot.size, layout.sector),
            _ => ext4::content_size(&part.entries),
        },
        uuid: match slot.role {
            Role::Boot => format!("{:04X}-{:04X}", volume >> 16, volume & 0xffff),
            role => identity.filesystem(role).to_string(),
        },
        partuuid: match layout.table {
            Table::Gpt => identity.partition(slot.role).to_string(),
            Table::Mbr => format!("{:08x}-{:02x}", identity.signature(), slot.number),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names_are_file_names() {
        assert!(check_name(names::IMAGE).is_ok());
        for name in ["", ".", "..", "a/b", "a b", "a\n"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
