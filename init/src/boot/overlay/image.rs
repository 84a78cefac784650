//! The operating system's image: which file, whether it is whole, how it is mounted. Decides from the first bytes of the file;
//! writes nothing.

use contract::{
    failure::{Mounted, Role},
    names,
    report::Fact,
    step::Step,
    superblock::{Format, HEAD, Superblock},
    tag::Volume,
    text::Size,
};

use super::{config::Config, device::Found, toram};
use crate::{
    boot::volumes::{mount_error, mount_volume},
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Kernel, Limits, Mount, exists},
    media::{self, Resolved},
    modules::{self, OnBoot},
    trust,
};

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

/// Mounts the image that boots: the best of those on `img` that can be verified and mounted. Any but the best makes the boot a
/// degraded one.
///
/// # Errors
/// What is wrong with the best one; [`Error::ImageMissing`] where there is none.
pub fn start(context: &mut Context<'_>, config: &Config, found: &Found) -> Result<Image> {
    context.begin(Step::Choose);
    let mut copied = false;
    let (best, others) = choose(context, &config.image, &found.img)?;
    let error = match mount_verified(context, config, found, &best, &mut copied) {
        Ok(image) => return Ok(image),
        Err(error) => error,
    };
    for name in others {
        let line = format!("booting {name}, not {}: {}", config.image, error.with_cause());
        context.kernel.announce(&line);
        context.report.notice(&line);
        context.report.degrade();
        if let Ok(image) = mount_verified(context, config, found, &name, &mut copied) {
            return Ok(image);
        }
    }
    Err(error)
}

/// Verifies an image, brings it to memory if that is asked for, and mounts it.
fn mount_verified(
    context: &mut Context<'_>,
    config: &Config,
    found: &Found,
    name: &str,
    copied: &mut bool,
) -> Result<Image> {
    context.begin(Step::Verify);
    let mut image = verify(context, name)?;
    if config.to_ram {
        image = toram::replace(context, image, copied)?;
    }
    context.begin(Step::Image);
    mount(context, &image, found)?;
    Ok(image)
}

/// Returns the best file on `img` that can boot, and the others in their order.
///
/// # Errors
/// [`Error::ImageMissing`], with what is there instead.
fn choose(context: &mut Context<'_>, name: &str, img: &Volume) -> Result<(String, Vec<String>)> {
    /// Names on a card.
    const SHOWN: usize = 16;
    let mut there = candidates(name).into_iter().filter(|(name, _)| exists(context.kernel, &names::img(name)));
    let best = there.next();
    let others = there.map(|(name, _)| name).collect();
    let Some((best, is_previous)) = best else {
        let mut files = context.kernel.list(names::IMG_DIR).at("list", names::IMG_DIR)?;
        files.retain(|file| file != "lost+found");
        files.truncate(SHOWN);
        return Err(Error::ImageMissing { name: name.into(), device: img.path(), files });
    };
    if is_previous {
        context.notice(&format!("{name} is not there: booting {best}"));
        context.report.degrade();
    } else if best != name {
        context.notice(&format!("{name} is not there: booting {best}, the name that the script used"));
    }
    Ok((best, others))
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
    let mount = Mount {
        source: &device,
        target: names::IMAGE_DIR,
        filesystem,
        read_only: true,
        limits: Limits::None,
        data: "",
    };
    context
        .kernel
        .mount(&mount)
        .map_err(|source| mount_error(context.kernel, Mounted::Image, &mount, source, served, || looked))
}

/// Loads a filesystem's module from the `boot` partition, which is mounted just for that. Returns true if there was one, and the
/// place where it was looked for.
fn load_from_boot(context: &mut Context<'_>, filesystem: &str, found: &Found) -> Result<(bool, String)> {
    let release = context.kernel.release();
    let shown = format!("modules/{release}");
    let folder = format!("{}/{shown}", names::BOOT_DIR);
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
        OnBoot { folder: &folder, shown: &shown, device: &device, signed: trust::required(context.abilities) };
    let loaded = modules::load_from_boot(context.kernel, &on_boot, filesystem);
    context.kernel.unmount(names::BOOT_DIR).at("unmount", names::BOOT_DIR)?;
    Ok((loaded?, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_names_stand_behind_the_documented_ones() {
        let names: Vec<String> = candidates("root-squashfs.img").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["root-squashfs.img", "root-squash.img", "root-squashfs-old.img", "root-squash.img-old"]);
        assert_eq!(candidates("os.img").len(), 2);
    }
}
