//! Options for the root: which image it is of, and what becomes of its files.

use archive::tree::Tree;
use base::progress::Progress;
use oci::{
    self,
    erofs::Draft,
    exclude::Exclude,
    image::Image,
    inject::Inject,
    lost::{self, Output},
    merge::Merge,
    platform::Platform,
};
use sources::target;

use crate::{Result, command::machine::amount};

use super::access::AccessArgs;

/// The root: which image, and what becomes of its files.
#[derive(Debug, clap::Args)]
pub(super) struct RootArgs {
    /// The image: a name in a registry, or a layout, archive or directory on this machine
    #[arg(required = true)]
    image: Option<String>,

    #[command(flatten)]
    access: AccessArgs,

    /// The machine that it is for: os/architecture[/variant], or a target's name, such as linux/arm/v6 or arm64 [default: this one]
    #[arg(long, value_name = "PLATFORM", alias = "target")]
    platform: Option<String>,

    /// A file or directory of this machine and where it goes in the image, SRC:DEST[:MODE]. Repeatable
    #[arg(long, value_name = "SRC:DEST")]
    inject: Vec<String>,

    /// Leave out what matches: a path (usr/share/doc, usr/lib/**/*.a) or a name anywhere (*.pyc). Repeatable
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// The most that all layers together may unpack to
    #[arg(long, value_name = "SIZE", default_value = "8G", value_parser = amount)]
    max_size: u64,
}

impl RootArgs {
    /// Returns the image's name. It is there: clap asks for it where there is no subcommand.
    pub(super) fn name(&self) -> &str {
        self.image.as_deref().unwrap_or_default()
    }

    /// Finds the image.
    pub(super) fn open(&self) -> Result<(Image, Platform)> {
        let platform = chosen_platform(self.platform.as_deref())?;
        Ok((Image::open_with(self.name(), &platform, &self.access.read(self.name())?)?, platform))
    }

    /// Returns what is put in.
    pub(super) fn injects(&self) -> Result<Vec<Inject>> {
        Ok(self.inject.iter().map(|text| Inject::parse(text)).collect::<Result<_, _>>()?)
    }

    /// Returns what is left out.
    pub(super) fn excluded(&self) -> &[String] {
        &self.exclude
    }

    /// Reads the image, its contents into `draft`, and puts in and leaves out what is wanted. Returns the root, and that of the image alone
    /// with `keep_base`.
    pub(super) fn merge(
        &self,
        image: &Image,
        keep_base: bool,
        draft: Option<&mut Draft>,
        progress: Progress,
    ) -> Result<(Merge, Tree)> {
        let (exclude, injects) = (Exclude::new(&self.exclude)?, self.injects()?);
        let mut merge = oci::merge_into(draft, image, &exclude, self.max_size, progress)?;
        let base = if keep_base { merge.tree.clone() } else { Tree::new() };
        for inject in &injects {
            inject.apply(&mut merge)?;
        }
        if !self.exclude.is_empty() {
            progress.say(format!("left out: {} names", merge.left_out));
            for pattern in exclude.unused() {
                progress.say(format!("warning: --exclude `{pattern}` matches no name in the image"));
            }
        }
        Ok((merge, base))
    }
}

/// Returns the platform that was asked for, by its own name or a target's, else this machine.
pub(super) fn chosen_platform(text: Option<&str>) -> Result<Platform> {
    match text {
        Some(name) if !name.contains('/') => {
            let platforms = &target::named(name)?.oci;
            Ok(Platform::parse(platforms.first().map_or(name, String::as_str))?)
        }
        Some(text) => Ok(Platform::parse(text)?),
        None => Ok(Platform::of_this_machine()),
    }
}

/// Warns of names that the overlay over an image would obey, and that are left out of it.
pub(super) fn warn_of_orders(name: &str, taken: &[String], progress: Progress) {
    if let Some(first) = taken.first() {
        let others = if taken.len() > 1 { format!(" and {} more", taken.len() - 1) } else { String::new() };
        progress.say(format!("warning: {name}: the overlay over the image would obey {first}{others}; left out of it"));
    }
}

/// Warns of extended attributes that `output` cannot hold.
pub(super) fn warn_of_attributes(name: &str, merge: &Merge, output: Output, progress: Progress) {
    if let Some(lost) = lost::describe(merge, output) {
        progress.say(format!("warning: {name}: {lost}"));
    }
}
