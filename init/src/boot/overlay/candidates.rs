//! The images on `img` that can boot, from the best to the last: the first that can be verified and mounted becomes the root's.

use std::io;

use contract::{names, step::Step, tag::Volume};

use crate::{
    context::Context,
    error::{Error, IoContext, Result},
    kernel::Level,
};

use super::{
    config::Config,
    device::Found,
    image::{Image, mount, verify},
    toram,
};

/// Mounts the image that boots: the best of those on `img` that can be verified and mounted. Any but the best makes the boot a
/// degraded one.
///
/// # Errors
/// The error of the best one, where none can be mounted; [`Error::ImageMissing`] where there is none.
pub fn start(context: &mut Context<'_>, config: &Config, found: &Found) -> Result<Image> {
    context.begin(Step::Choose);
    let mut copied = false;
    let (best, others) = choose(context, &config.image, &found.img)?;
    let error = match mount_verified(context, config, found, &best, &mut copied) {
        Ok(image) => return Ok(image),
        Err(error) => error,
    };
    for name in others {
        let cause = found.readable(&error.with_cause());
        let line = format!("booting {name}, not {}: {cause}", config.image);
        context.kernel.log(Level::Announcement, &line);
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
    // One that cannot be read is there: the reason comes out when it is verified.
    let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut there = candidates(name)
        .into_iter()
        .filter(|(name, _)| !context.kernel.stat(&names::img(name)).is_err_and(|error| is_absent(&error)));
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

/// Returns the names that an image may have, the best first, each with true for a previous image.
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
