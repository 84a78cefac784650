//! The operating system's image: which file, whether it is whole, how it is mounted. Decides from the first bytes of the file;
//! writes nothing.

use contract::{
    failure::{Mounted, Role},
    names,
    report::Fact,
    superblock::{Format, HEAD, Misfit, Superblock},
    text::Size,
};

use crate::{
    boot::volumes::{mount_error, mount_volume},
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Machine, Mount, exists, release},
    media::{self, Resolved},
    modules::{self, OnBoot},
    trust,
};

use super::device::Found;

/// An image that is whole.
#[derive(Debug, Clone)]
pub struct Image {
    /// The file.
    pub path: String,
    /// Its filesystem.
    pub format: Format,
    /// The file is a copy in memory.
    pub in_memory: bool,
}

/// Checks that an image is one, and as long as its superblock says.
///
/// # Errors
/// It is none, it is cut short, or it cannot be read.
pub fn inspect(kernel: &mut dyn Machine, path: &str) -> Result<Superblock> {
    let size = kernel.stat(path).at("read", path)?.size;
    let head = kernel.read(path, 0, HEAD).at("read", path)?;
    let superblock = Superblock::read(&head).ok_or_else(|| Error::ImageUnknown { path: path.into(), size })?;
    match superblock.misfit(size) {
        None => Ok(superblock),
        Some(Misfit::Truncated) => Err(Error::ImageTruncated { path: path.into(), wanted: superblock.size, size }),
        Some(Misfit::Unpadded { hidden }) => Err(Error::ImageUnpadded { path: path.into(), size, hidden }),
    }
}

/// Checks the chosen image.
///
/// # Errors
/// As [`inspect`]; [`Error::ImageUntrusted`].
pub fn verify(context: &mut Context<'_>, name: &str) -> Result<Image> {
    let path = names::img(name);
    let path = match media::resolve(context.kernel, &path)? {
        Resolved::File(path) => path,
        Resolved::Refused(why) => return Err(Error::ImageNotFile { path, why }),
    };
    let superblock = inspect(context.kernel, &path)?;
    if trust::required(context.abilities) {
        trust::check_on_img(context.kernel, &path)?;
    }
    context.say(&format!("booting {name} ({}, {})", superblock.format.name(), Size(superblock.size)));
    context.report.fact(Fact::Image, name);
    context.report.fact(Fact::ImageFormat, superblock.format.name());
    Ok(Image { path, format: superblock.format, in_memory: false })
}

/// Mounts the image through a read-only loop device.
///
/// # Errors
/// The filesystem's module, the loop device or the mount.
pub fn mount(context: &mut Context<'_>, image: &Image, found: &Found) -> Result<()> {
    let filesystem = image.format.name();
    let mut looked = Vec::new();
    let mut served = context.modules.load_filesystem(context.kernel, filesystem)?;
    if !served {
        looked = context.modules.places();
        let (there, place) = load_from_boot(context, filesystem, found)?;
        served = there;
        looked.push(place);
    }
    if !exists(context.kernel, "/dev/loop-control") {
        context.modules.load_named(context.kernel, "loop")?;
    }
    let device =
        context.kernel.attach_loop(&image.path).map_err(|source| Error::Loop { path: image.path.clone(), source })?;
    let mount = Mount { source: &device, target: names::IMAGE_DIR, filesystem, read_only: true, ..Mount::default() };
    context.kernel.mount(&mount).map_err(|source| {
        mount_error(context.kernel, Mounted::Image, &Mount { source: &image.path, ..mount }, source, served, || looked)
    })
}

/// Loads a filesystem's module from the `boot` partition, which is mounted just for that. Returns true if there was one, and the
/// place where it was looked for.
fn load_from_boot(context: &mut Context<'_>, filesystem: &str, found: &Found) -> Result<(bool, String)> {
    let release = release(context.kernel);
    let shown = format!("modules/{release}");
    let directory = format!("{}/{shown}", names::BOOT_DIR);
    let Some(volume) = &found.boot else {
        let line = format!("no boot partition ({}), so {filesystem} has to be built into the kernel", found.boot_tag);
        context.say(&line);
        return Ok((false, format!("no boot partition ({}) with a module", found.boot_tag)));
    };
    let place = format!("no module on boot, {}: modules/{release}/{filesystem}.ko", volume.path());
    context.make_dir(names::BOOT_DIR)?;
    if let Err(error) = mount_volume(context, volume, names::BOOT_DIR, Role::Boot, true) {
        context.notice(&format!("boot is not used: {}", error.with_cause()));
        return Ok((false, place));
    }
    let device = volume.path();
    let on_boot =
        OnBoot { directory: &directory, shown: &shown, device: &device, signed: trust::required(context.abilities) };
    let loaded = modules::load_from_boot(context.kernel, &context.config.modules, &on_boot, filesystem);
    // One that stays mounted does no harm: it is read-only.
    let _ = context.kernel.unmount(names::BOOT_DIR);
    match loaded {
        Err(error @ Error::Io { .. }) => Ok((false, format!("boot, {device}: {}", error.with_cause()))),
        loaded => Ok((loaded?, place)),
    }
}
