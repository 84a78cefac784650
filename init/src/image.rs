//! The operating system's image: which file, whether it is whole, how it is mounted. Decides from the first bytes of the file;
//! writes nothing.

use crate::{
    boot::Boot,
    device::{Found, mount_error, mount_volume},
    error::{Error, IoContext, Result, Role},
    kernel::{Kernel, Limits, Mount, exists},
    media::{self, Resolved},
    modules::{self, OnBoot},
    names,
    rotate::with_cause,
    step::Step,
    tag::Volume,
    text::Size,
    toram, trust,
};

/// Filesystems an image can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// squashfs 4.0.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl Format {
    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
        }
    }
}

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Which filesystem.
    pub format: Format,
    /// How many bytes of the file it uses.
    pub size: u64,
}

/// Bytes at the start of a file that [`Superblock::read`] wants to see.
pub const HEAD: usize = 1024 + 128;

impl Superblock {
    /// Reads the superblock in the first [`HEAD`] bytes of an image.
    ///
    /// squashfs: magic at 0, bytes used at 40 (kernel, fs/squashfs/squashfs_fs.h). EROFS: 1024 bytes in; magic at 0, block size
    /// as a power of two at 12, blocks at 36 (fs/erofs/erofs_fs.h).
    pub fn read(head: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| head.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| head.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes);
        if u32_at(0) == Some(0x7371_7368) {
            return Some(Self { format: Format::Squashfs, size: u64_at(40)? });
        }
        if u32_at(1024) == Some(0xE0F5_E1E2) {
            let bits = u32::from(*head.get(1024 + 12)?);
            let blocks = u64::from(u32_at(1024 + 36)?);
            return Some(Self { format: Format::Erofs, size: blocks.checked_mul(1_u64.checked_shl(bits)?)? });
        }
        None
    }
}

/// An image that is whole.
#[derive(Debug, Clone)]
pub struct Image {
    /// The file.
    pub path: String,
    /// Its filesystem.
    pub format: Format,
}

/// Mounts the image that boots: the best of those on `img` that can be verified and mounted. Any but the best makes the boot a
/// degraded one.
///
/// # Errors
/// What is wrong with the best one; [`Error::ImageMissing`] where there is none.
pub fn start(boot: &mut Boot<'_>, found: &Found) -> Result<()> {
    boot.begin(Step::Choose);
    let mut first = None;
    for name in choose(boot, &found.img)? {
        if let Some(error) = &first {
            let line = format!("booting {name}, not {}: {}", boot.config.image, with_cause(error));
            boot.kernel.announce(&line);
            boot.report.notice(&line);
            boot.report.degrade();
        }
        boot.begin(Step::Verify);
        let outcome = verify(boot, &name).and_then(|image| toram::copy(boot, image)).and_then(|image| {
            boot.begin(Step::Image);
            mount(boot, &image, found)
        });
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), Err)
}

/// Which of the files on `img` to boot, the best first.
///
/// # Errors
/// [`Error::ImageMissing`], with what is there instead.
pub fn choose(boot: &mut Boot<'_>, img: &Volume) -> Result<Vec<String>> {
    /// Names on a card.
    const SHOWN: usize = 16;
    let name = boot.config.image.clone();
    let mut there = candidates(&name);
    there.retain(|(candidate, _)| exists(boot.kernel, &names::img(candidate)));
    match there.first() {
        None => {
            let mut files = boot.kernel.list(names::IMG_DIR).at("list", names::IMG_DIR)?;
            files.retain(|file| file != "lost+found");
            files.truncate(SHOWN);
            return Err(Error::ImageMissing { name, device: img.path(), files });
        }
        Some((best, true)) => {
            boot.notice(&format!("{name} is not there: booting {best}"));
            boot.report.degrade();
        }
        Some((best, false)) if *best != name => {
            boot.notice(&format!("{name} is not there: booting {best}, the name that the script used"));
        }
        Some(_) => {}
    }
    Ok(there.into_iter().map(|(name, _)| name).collect())
}

/// The names an image may have, the best first; whether each is a previous image.
pub fn candidates(name: &str) -> Vec<(String, bool)> {
    let mut all = vec![(name.to_string(), false)];
    if name == names::IMAGE {
        all.push((names::SCRIPT_IMAGE.into(), false));
    }
    all.push((names::old_image(name), true));
    if name == names::IMAGE {
        all.push((format!("{}-old", names::SCRIPT_IMAGE), true));
    }
    all
}

/// Checks that an image is one, and as long as its superblock says.
///
/// # Errors
/// It is none, it is cut short, or it cannot be read.
pub fn inspect(kernel: &mut dyn Kernel, path: &str) -> Result<Superblock> {
    let size = kernel.stat(path).at("read", path)?.size;
    let head = kernel.read_at(path, 0, HEAD).at("read", path)?;
    let superblock = Superblock::read(&head).ok_or_else(|| Error::ImageUnknown { path: path.into(), size })?;
    if superblock.size > size {
        return Err(Error::ImageTruncated { path: path.into(), wanted: superblock.size, size });
    }
    Ok(superblock)
}

/// Checks the chosen image.
///
/// # Errors
/// As [`inspect`]; [`Error::ImageUntrusted`].
pub fn verify(boot: &mut Boot<'_>, name: &str) -> Result<Image> {
    let path = names::img(name);
    let path = match media::resolve(boot.kernel, &path)? {
        Resolved::File(path) => path,
        Resolved::Refused(why) => return Err(Error::ImageNotFile { path, why }),
    };
    let superblock = inspect(boot.kernel, &path)?;
    if trust::required(boot) {
        trust::check_on_img(boot.kernel, &path)?;
    }
    boot.say(&format!("booting {name} ({}, {})", superblock.format.name(), Size(superblock.size)));
    boot.report.fact("image", name);
    boot.report.fact("image_format", superblock.format.name());
    Ok(Image { path, format: superblock.format })
}

/// Mounts the image through a read-only loop device.
///
/// # Errors
/// The filesystem's module, the loop device or the mount.
pub fn mount(boot: &mut Boot<'_>, image: &Image, found: &Found) -> Result<()> {
    let filesystem = image.format.name();
    let mut looked = Vec::new();
    let mut served = boot.modules.load_filesystem(boot.kernel, filesystem)?;
    if !served {
        looked = boot.modules.places();
        let (there, place) = load_from_boot(boot, filesystem, found.boot.as_ref())?;
        served = there;
        looked.push(place);
    }
    if !exists(boot.kernel, "/dev/loop-control") {
        boot.modules.load_named(boot.kernel, "loop")?;
    }
    let device =
        boot.kernel.attach_loop(&image.path).map_err(|source| Error::Loop { path: image.path.clone(), source })?;
    let mount = Mount {
        source: &device,
        target: names::IMAGE_DIR,
        filesystem,
        read_only: true,
        limits: Limits::None,
        data: "",
    };
    boot.kernel.mount(&mount).map_err(|source| mount_error(boot.kernel, "image", &mount, source, served, || looked))
}

/// Loads a filesystem's module from the `boot` partition, which is mounted just for that. Says whether there was one, and where
/// it was looked for.
fn load_from_boot(boot: &mut Boot<'_>, filesystem: &str, volume: Option<&Volume>) -> Result<(bool, String)> {
    let release = boot.kernel.release();
    let shown = format!("modules/{release}");
    let folder = format!("{}/{shown}", names::BOOT_DIR);
    let Some(volume) = volume else {
        let line = format!("no boot partition ({}), so {filesystem} has to be built into the kernel", boot.config.boot);
        boot.say(&line);
        return Ok((false, format!("no boot partition ({}) with a module", boot.config.boot)));
    };
    let place = format!("no module on boot, {}: modules/{release}/{filesystem}.ko", volume.path());
    boot.make_dir(names::BOOT_DIR)?;
    if let Err(error) = mount_volume(boot, volume, names::BOOT_DIR, Role::Boot, true) {
        boot.notice(&format!("boot is not used: {}", error.with_cause()));
        return Ok((false, place));
    }
    let device = volume.path();
    let on_boot = OnBoot { folder: &folder, shown: &shown, device: &device, signed: trust::required(boot) };
    let loaded = modules::load_from_boot(boot.kernel, &on_boot, filesystem);
    boot.kernel.unmount(names::BOOT_DIR).at("unmount", names::BOOT_DIR)?;
    Ok((loaded?, place))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_scripts_names_stand_behind_the_documented_ones() {
        let names: Vec<String> = candidates("root-squashfs.img").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["root-squashfs.img", "root-squash.img", "root-squashfs-old.img", "root-squash.img-old"]);
        assert_eq!(candidates("os.img").len(), 2);
    }
}
