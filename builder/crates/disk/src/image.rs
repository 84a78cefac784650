//! The OS image: checks that a file is a whole squashfs or EROFS image, and makes an image of a root directory with
//! `mksquashfs` or `mkfs.erofs`. Knows nothing of partitions.
//!
//! Superblocks are read by the code that the init uses too, so both agree on the images that it will mount.

use std::{fs::File, io::Read, path::Path};

use base::{
    IoContext,
    program::{self, MKSQUASHFS, Program},
};
use contract::{
    bytes::{array, u16_at, u32_at},
    superblock::{
        self, HEAD, Misfit, Superblock,
        pages::{Blocks, Objection},
    },
};
use uuid::Uuid;

use crate::{Error, Result};

use super::content::Owner;

/// The program that makes EROFS images.
pub const MKFS_EROFS: Program = Program { name: "mkfs.erofs", package: "erofs-utils" };

/// The two kinds of read-only image that the init mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// squashfs 4.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl Format {
    /// Returns the name as the kernel has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => superblock::Format::Squashfs.name(),
            Self::Erofs => superblock::Format::Erofs.name(),
        }
    }

    /// Returns the program that makes it.
    pub fn program(self) -> Program {
        match self {
            Self::Squashfs => MKSQUASHFS,
            Self::Erofs => MKFS_EROFS,
        }
    }
}

/// The compression of an image's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// gzip: every kernel with squashfs reads it.
    Gzip,
    /// zstd: smaller and quicker to read than gzip.
    Zstd,
    /// xz: smallest and slowest.
    Xz,
    /// lz4: largest and quickest. For EROFS this is its high-compression form.
    Lz4,
}

impl Compression {
    /// Returns its name, on the command line and for the programs that pack.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        }
    }
}

/// Reads the superblock in `head`, the first bytes of an image, as the init will.
fn superblock(head: &[u8]) -> Result<Superblock, String> {
    // Versions before 4 have the same magic number and another layout.
    if let (Some(b"hsqs"), Some(version)) = (array(head, 0).as_ref(), u16_at(head, 28))
        && version != 4
    {
        return Err(format!("squashfs version {version}; the kernel mounts version 4"));
    }
    match Superblock::read(head) {
        Some(found) if found.size > 0 => Ok(found),
        Some(found) => Err(format!("a broken {} superblock", found.format.name())),
        None => Err(describe(head)),
    }
}

/// Names the likely content, by its first bytes, of a file that is not an image.
fn describe(head: &[u8]) -> String {
    match head {
        [] => "nothing",
        [b'h', b's', b'q', b's', ..] => "a truncated squashfs superblock",
        [0x1f, 0x8b, ..] => "gzip data",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd data",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz data",
        [b'Q', b'F', b'I', 0xfb, ..] => "a qcow2 disk",
        _ if u32_at(head, 1024) == Some(0xe0f5_e1e2) => "an EROFS superblock that is truncated or broken",
        _ if array(head, 1024 + 56) == Some([0x53, 0xef]) => "an ext4 filesystem",
        _ if array(head, 510) == Some([0x55, 0xaa]) => "a disk or a boot sector",
        _ if head.iter().all(|byte| *byte == 0) => "zeros",
        _ => "neither magic number",
    }
    .to_owned()
}

/// A file that was found to be a whole image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Its filesystem.
    pub format: superblock::Format,
    /// The file's size in bytes, at least what the superblock asks for.
    pub size: u64,
    /// Its blocks, which not every kernel's memory pages fit.
    pub blocks: Option<Blocks>,
}

/// Bytes in a memory page of most kernels.
const USUAL_PAGE: u64 = 4096;

impl Checked {
    /// Returns a warning where a kernel with pages of `page` bytes may not mount the image. Where nobody said how large its pages are, they
    /// are taken to have 4 KiB.
    ///
    /// # Errors
    /// [`Error::Usage`] where no kernel with the pages that were asked for mounts it.
    pub fn check_pages(&self, name: &str, page: Option<u64>) -> Result<Option<String>> {
        let assumed = page.unwrap_or(USUAL_PAGE);
        let Some((blocks, objection)) = self.blocks.and_then(|blocks| Some((blocks, blocks.objection(assumed)?)))
        else {
            return Ok(None);
        };
        let text = format!("{name}: {}", blocks.describe(assumed, objection));
        match (objection, page) {
            (Objection::Never, Some(_)) => Err(Error::Usage(text)),
            (_, Some(_)) => Ok(Some(text)),
            (_, None) => Ok(Some(format!("{text}; give the size of the pages with --page-size"))),
        }
    }
}

/// Looks at the beginning of `path` and compares the superblock's size with the file's.
///
/// # Errors
/// [`Error::Image`] for what is no image or not a whole one, [`Error::Io`] where it cannot be read.
pub fn check(path: &Path) -> Result<Checked> {
    let refuse = |seen: String| Error::Image { path: path.to_owned(), seen };
    let file = File::open(path).at("open", path)?;
    let metadata = file.metadata().at("read", path)?;
    if !metadata.is_file() {
        return Err(refuse(if metadata.is_dir() {
            "a directory".to_owned()
        } else {
            "something other than a file".to_owned()
        }));
    }
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head).at("read", path)?;
    let found = superblock(&head).map_err(refuse)?;
    let (path, format) = (path.to_owned(), found.format.name());
    match found.misfit(metadata.len()) {
        None => Ok(Checked { format: found.format, size: metadata.len(), blocks: Blocks::read(&head) }),
        Some(Misfit::Truncated) => {
            Err(Error::TruncatedImage { path, format, wanted: found.size, seen: metadata.len() })
        }
        Some(Misfit::Unpadded { hidden }) => Err(Error::UnpaddedImage { path, format, size: metadata.len(), hidden }),
    }
}

/// The settings for packing a root directory into an image.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// The filesystem to make.
    pub format: Format,
    /// Its compression; `None` takes what every kernel with this filesystem reads.
    pub compression: Option<Compression>,
    /// The owner of the files.
    pub owner: Owner,
    /// Every time stamp, seconds since 1970.
    pub time: u64,
    /// EROFS has an identity of its own.
    pub uuid: Uuid,
}

/// Returns the arguments of the program that packs `root` into `image`. Pure.
///
/// # Errors
/// [`Error::Usage`] for a compression that the format does not have.
pub fn packing_arguments(packing: &Packing) -> Result<Vec<String>> {
    let time = packing.time.to_string();
    let mut arguments: Vec<String> = match packing.format {
        Format::Squashfs => {
            let fixed = "-noappend -no-progress -no-recovery -exit-on-error -reproducible -quiet";
            fixed.split(' ').chain(["-mkfs-time", &time, "-all-time", &time]).map(str::to_owned).collect()
        }
        Format::Erofs => vec!["--quiet".to_owned(), format!("-T{time}"), format!("-U{}", packing.uuid)],
    };
    let compression: &[&str] = match (packing.format, packing.compression) {
        (Format::Squashfs, None | Some(Compression::Gzip)) => &["-comp", "gzip"],
        (Format::Squashfs, Some(Compression::Zstd)) => &["-comp", "zstd"],
        (Format::Squashfs, Some(Compression::Xz)) => &["-comp", "xz"],
        (Format::Squashfs, Some(Compression::Lz4)) => &["-comp", "lz4", "-Xhc"],
        (Format::Squashfs, Some(Compression::None)) => &["-noI", "-noD", "-noF", "-noX"],
        (Format::Erofs, None | Some(Compression::Lz4)) => &["-zlz4hc"],
        (Format::Erofs, Some(Compression::None)) => &[],
        (Format::Erofs, Some(other)) => {
            let name = other.name();
            return Err(Error::Usage(format!(
                "EROFS has no {name} compression here: use `--image-compress lz4` or `none`, or `--image-format squashfs`"
            )));
        }
    };
    arguments.extend(compression.iter().map(|argument| (*argument).to_owned()));
    if packing.owner == Owner::Root {
        let all_root = if packing.format == Format::Squashfs { "-all-root" } else { "--all-root" };
        arguments.push(all_root.to_owned());
    }
    Ok(arguments)
}

/// Packs the directory `root` into the new file `image`.
///
/// # Errors
/// [`Error::MissingPrograms`]; [`Error::Program`] where it fails, an unreadable file included.
pub fn pack(root: &Path, image: &Path, packing: &Packing) -> Result<Checked> {
    let mut command = packing.format.program().command()?;
    let arguments = packing_arguments(packing)?;
    match packing.format {
        Format::Squashfs => command.arg(root).arg(image).args(arguments),
        Format::Erofs => command.args(arguments).arg(image).arg(root),
    };
    program::run(&mut command)?;
    check(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squashfs(version: u16, bytes_used: u64) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[..4].copy_from_slice(b"hsqs");
        head[28..30].copy_from_slice(&version.to_le_bytes());
        head[40..48].copy_from_slice(&bytes_used.to_le_bytes());
        head
    }

    fn erofs(block_bits: u8, blocks: u32) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        head[1036] = block_bits;
        head[1060..1064].copy_from_slice(&blocks.to_le_bytes());
        head
    }

    #[test]
    fn superblocks_are_told_apart() {
        let is = |format, size| Ok(Superblock { format, size });
        assert_eq!(superblock(&squashfs(4, 5000)), is(superblock::Format::Squashfs, 5000));
        assert_eq!(superblock(&erofs(12, 3)), is(superblock::Format::Erofs, 12288));
        for (head, seen) in [
            (vec![], "nothing"),
            (squashfs(3, 5000), "squashfs version 3; the kernel mounts version 4"),
            (squashfs(4, 0), "a broken squashfs superblock"),
            (b"hsqs".to_vec(), "a truncated squashfs superblock"),
            (erofs(12, 3)[..1030].to_vec(), "an EROFS superblock that is truncated or broken"),
            (vec![0x1f, 0x8b, 8], "gzip data"),
            (vec![0; 300], "zeros"),
            (b"#!/bin/sh".to_vec(), "neither magic number"),
        ] {
            assert_eq!(superblock(&head), Err(seen.to_owned()));
        }
    }

    #[test]
    fn a_short_file_is_refused_with_both_sizes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.img");
        std::fs::write(&path, squashfs(4, 5000)).unwrap();
        let text = check(&path).unwrap_err().to_string();
        assert!(text.contains("5000") && text.contains("1152"), "{text}");
        std::fs::write(&path, squashfs(4, 1152)).unwrap();
        let text = check(&path).unwrap_err().to_string();
        assert!(text.contains("does not show the last 128"), "{text}");
        std::fs::write(&path, squashfs(4, 1024)).unwrap();
        assert_eq!(
            check(&path).unwrap(),
            Checked {
                format: superblock::Format::Squashfs,
                size: 1152,
                blocks: Some(Blocks { filesystem: "squashfs", size: 0 })
            }
        );
        assert!(check(directory.path()).unwrap_err().to_string().contains("a directory"));
    }

    #[test]
    fn arguments_fix_times_and_owners() {
        let mut packing = Packing {
            format: Format::Squashfs,
            compression: None,
            owner: Owner::Root,
            time: 7,
            uuid: Uuid::from_u128(1),
        };
        let text = packing_arguments(&packing).unwrap().join(" ");
        assert!(text.contains("-mkfs-time 7 -all-time 7") && text.ends_with("-comp gzip -all-root"), "{text}");
        packing.owner = Owner::AsIs;
        assert!(!packing_arguments(&packing).unwrap().join(" ").contains("root"));
        packing.format = Format::Erofs;
        let text = packing_arguments(&packing).unwrap().join(" ");
        assert_eq!(text, "--quiet -T7 -U00000000-0000-0000-0000-000000000001 -zlz4hc");
        packing.compression = Some(Compression::Xz);
        assert!(packing_arguments(&packing).is_err());
    }

    #[test]
    fn images_that_pages_do_not_fit_are_warned_of_or_refused() {
        let check = |filesystem, size: u64, page: Option<u64>| {
            let blocks = Some(Blocks { filesystem, size: size << 10 });
            let checked = Checked { format: superblock::Format::Erofs, size: 1, blocks };
            checked.check_pages("a.img", page.map(|kib| kib << 10)).map_err(|error| error.to_string())
        };
        assert_eq!(check("squashfs", 128, None), Ok(None));
        assert_eq!(check("erofs", 4, None), Ok(None));
        assert_eq!(check("erofs", 16, Some(16)), Ok(None));
        let never = "a.img: erofs with blocks of 16 KiB is not mounted by a kernel with pages of 4 KiB";
        assert_eq!(check("erofs", 16, Some(4)), Err(never.to_owned()));
        let warning = check("erofs", 16, None).unwrap().unwrap();
        assert_eq!(warning, format!("{never}; give the size of the pages with --page-size"));
        let warning = check("erofs", 4, Some(16)).unwrap().unwrap();
        assert!(warning.ends_with("needs, where pages have 16 KiB, Linux 6.8, without compression 6.4"), "{warning}");
    }
}
