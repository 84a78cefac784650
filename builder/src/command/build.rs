//! `initramfs-overlay build`: reads the command line, gathers what goes into each image, has the images made, and tells
//! what came out. Everything is looked at before the first file is written.

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use archive::compress::Compression;
use base::{IoContext, progress::Progress};
use sources::{
    busybox::Busybox,
    target::{self, Target},
};

use self::{
    artifact::Image,
    bare::BareInit,
    checks::{asks_for_menu, check_cmdline, read_password, support_url, unique},
    description::Description,
    modules::Chosen,
    program::{BootMode, Programs},
};
pub(super) use self::{
    modules::Wanted,
    program::{Demands, Program},
};
use crate::{
    Error, Result, busybox_image,
    command::{choice::choice, substitute::SubstituteArgs},
    image::Parts,
    trust,
    variant::Variant,
};

mod artifact;
mod bare;
mod checks;
pub(super) mod checksums;
pub(super) mod description;
pub(super) mod modules;
pub(super) mod program;
mod repair;
mod report;
pub(super) mod source;

/// Build initramfs images: init, BusyBox, kernel modules and your own files, packed for the kernel.
///
/// Without options: every target, standard and debug, with the files under `src/`. The same inputs give the same bytes,
/// and what has not changed is not built again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  All targets, standard and debug, into target/:
    initramfs-overlay build
  The smallest image for a Raspberry Pi Zero, with parameters baked in:
    initramfs-overlay build --target armv6l --variant slim \\
        --cmdline 'rd.timeout=30s'
  With the modules that lead to the root, from the kernel this machine runs:
    initramfs-overlay build --target x86_64 \\
        --module-tree /lib/modules/$(uname -r) \\
        --modules @overlay,@virtio
  For a technician, with drivers for keyboards, sticks and networks:
    initramfs-overlay build --target x86_64 \\
        --variant debug --modules @overlay \\
        --module-tree /lib/modules/$(uname -r)
  Init alone, to pack it with files of your own:
    initramfs-overlay build --target x86_64 --variant slim \\
        --bare-init --output-dir out/

Each image has a .manifest.json (what it holds) and an .spdx.json (bill of materials) beside it, and SHA256SUMS lists them all.")]
pub struct Args {
    /// The targets to build for
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all", help = target_help())]
    pub target: Vec<String>,

    /// The kinds of image. Repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_values = ["standard", "debug"])]
    pub variant: Vec<Variant>,

    /// A directory whose files go into every image, over ours. Repeatable [default: `src/` of the source tree, where there is one]
    #[arg(long, value_name = "DIR")]
    pub include: Vec<PathBuf>,

    /// Instead of Debian's BusyBox: a directory with `busybox-<target>`, or an OCI image that has it (NAME@sha256:…, oci:DIR)
    #[arg(long, value_name = "DIR|IMAGE")]
    pub busybox: Option<PathBuf>,

    /// The permission for packages other than the pinned ones
    #[command(flatten)]
    pub substitute: SubstituteArgs,

    /// Kernel modules by name, alias, path or set (`@overlay`), with --module-tree; or one directory of .ko files. Repeatable
    #[arg(long, value_name = "NAMES|DIR", value_delimiter = ',')]
    pub modules: Vec<String>,

    /// Modules that init loads at the start of every boot, whatever it finds. Repeatable
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub load_modules: Vec<String>,

    /// The kernel's module directory, /lib/modules/<version>, or a root that holds it
    #[arg(long, value_name = "DIR")]
    pub module_tree: Option<PathBuf>,

    /// Strip signatures and debugging sections from the modules: much quicker to load, but it taints the kernel
    #[arg(long)]
    pub strip_modules: bool,

    /// Parameters baked into the image, as on a kernel's command line, which comes after them and wins
    #[arg(long, value_name = "STRING")]
    pub cmdline: Option<String>,

    /// Parameters baked into the image that the kernel's command line cannot override
    #[arg(long, value_name = "STRING")]
    pub cmdline_final: Option<String>,

    /// The address that the QR code of a failed boot begins with; code, step, version and a digest of the card follow as its query
    #[arg(long, value_name = "URL", value_parser = support_url)]
    pub support_url: Option<String>,

    /// A file with the hash of a password, as `openssl passwd -5` makes it: with `rd.recover` a failed boot then has a menu for whoever
    /// knows the password
    #[arg(long, value_name = "FILE")]
    pub recover_password: Option<PathBuf>,

    /// Public keys (minisign): the image then installs and boots only what is signed by one of them. Repeatable
    #[arg(long, value_name = "KEY.pub")]
    pub trust: Vec<PathBuf>,

    /// Write init alone too, for an archive that you pack yourself: init-<version>-<target>.elf, with these boot modes [default:
    /// overlay,virtiofs; with --trust overlay]
    #[arg(
        long,
        value_name = "MODES",
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true
    )]
    pub bare_init: Option<Vec<BootMode>>,

    /// Compression of the images
    #[arg(long, value_name = "NAME", default_value = "gzip", value_parser = choice::<Compression>())]
    pub compress: Compression,

    /// Output directory [default: `target/` of the source tree, else of the current directory]
    #[arg(long, value_name = "DIR", alias = "output")]
    pub output_dir: Option<PathBuf>,

    /// A finished init for the one target, instead of compiling it. Nothing is compiled then: the debug variant has no e2fsck and the like
    #[arg(long, value_name = "FILE", alias = "init")]
    pub init_program: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current directory is in]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,

    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// Opens the directories to include: what is not there is said before anything is fetched or compiled.
///
/// # Errors
/// [`base::Error::Io`].
pub(super) fn check_included(directories: &[PathBuf]) -> Result<()> {
    Ok(directories.iter().try_for_each(|directory| fs::read_dir(directory).at("read", directory).map(drop))?)
}

/// Builds the images.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, and whatever fails on the way. Then nothing of this build is left behind.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let targets = chosen_targets(&args.target, &progress)?;
    let variants = unique(&args.variant);
    let mtime = archive_time()?;
    check_cmdline("--cmdline", args.cmdline.as_deref(), &variants, &progress)?;
    check_cmdline("--cmdline-final", args.cmdline_final.as_deref(), &variants, &progress)?;
    let place = source::locate(args.source.as_deref())?;
    check_included(&args.include)?;
    let include = if args.include.is_empty() { place.default_include() } else { args.include.clone() };
    let has_debug = variants.iter().any(|variant| variant.has_shell());
    let modules = chosen_modules(args, &targets, has_debug, &progress)?;
    let keys =
        args.trust.iter().enumerate().map(|(place, path)| trust::read(path, place + 1)).collect::<Result<Vec<_>>>()?;
    let recover_password = for_people(args, &variants)?;
    let demands = Demands { trust: !keys.is_empty(), menu: recover_password.is_some() };
    let cache = crate::cache::open()?;
    let programs = Programs::new(args.init_program.as_deref(), &place, &targets, &cache, progress)?;

    let mut busyboxes: BTreeMap<&str, Busybox> = BTreeMap::new();
    for target in targets.iter().filter(|_| variants.iter().any(|variant| variant.has_busybox())) {
        busyboxes.insert(
            &target.name,
            busybox_image::get(target, args.busybox.as_deref(), &cache, args.substitute.permission(), &progress)?,
        );
    }
    let mut tools = BTreeMap::new();
    for target in targets.iter().filter(|_| has_debug) {
        tools.insert(target.name.as_str(), repair::tools(&programs, target, &progress)?);
    }
    let mut images = Vec::new();
    for target in &targets {
        for variant in &variants {
            let parts = Parts {
                target,
                variant: *variant,
                version: place.version(),
                busybox: busyboxes.get(&*target.name).filter(|_| variant.has_busybox()),
                tools: tools.get(&*target.name).filter(|_| variant.has_shell()).map_or(&[], Vec::as_slice),
                modules: modules.of(variant.has_shell()),
                cmdline: args.cmdline.as_deref(),
                cmdline_final: args.cmdline_final.as_deref(),
                support_url: args.support_url.as_deref(),
                recover_password: recover_password.as_deref(),
                trust: &keys,
                include: &include,
            };
            let program = programs.get(target, *variant, demands)?;
            let (kind, compression) = (variant.name(), args.compress);
            images.push(Image::new(Description { parts, kind, program, compression, mtime })?);
        }
    }

    let bare = bare_inits(args, &programs, &targets, &variants, demands, place.version(), mtime)?;

    let output = args.output_dir.clone().unwrap_or_else(|| place.default_output());
    fs::create_dir_all(&output).at("create", &output)?;
    let (mut made, mut files) = (Vec::new(), Vec::new());
    for image in &images {
        let (artifact, written) = image.make(&output, &progress)?;
        made.push(artifact);
        files.extend(written);
    }
    for init in &bare {
        let (artifact, written) = init.make(&output)?;
        made.push(artifact);
        files.extend(written);
    }
    let digests = made.iter().flat_map(|artifact| artifact.digests.clone()).collect();
    files.extend(checksums::update(&output, place.version(), digests)?);
    // From here on only names change: a full disk or a bad input has been met before.
    files.into_iter().try_for_each(base::atomic_file::AtomicFile::commit)?;
    report::print(&output, place.version(), &made, args.json)?;
    if !keys.is_empty() {
        progress.say(trust::TO_BE_SIGNED);
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks what is for people in front of a failed boot; returns the hash of the menu's password.
fn for_people(args: &Args, variants: &[Variant]) -> Result<Option<String>> {
    let people =
        [("--recover-password", args.recover_password.is_some()), ("--support-url", args.support_url.is_some())];
    if let Some((option, _)) = people.iter().find(|(_, given)| *given)
        && variants == [Variant::Slim]
    {
        return Err(Error::Usage(format!(
            "{option}: the slim variant has neither a menu nor a QR code; build another one"
        )));
    }
    let password = args.recover_password.as_deref().map(read_password).transpose()?;
    if password.is_none()
        && variants.contains(&Variant::Standard)
        && asks_for_menu(args.cmdline.as_deref(), args.cmdline_final.as_deref())
    {
        return Err(Error::Usage(
            "rd.recover: the menu of the standard variant asks for a password; give its hash with --recover-password, or leave the parameter out"
                .to_owned(),
        ));
    }
    Ok(password)
}

/// Returns the inits that are written as files of their own: for each target one with a shell, one without, as the variants ask.
fn bare_inits<'a>(
    args: &Args,
    programs: &Programs<'_>,
    targets: &[&'static Target],
    variants: &[Variant],
    demands: Demands,
    version: &'a str,
    mtime: u32,
) -> Result<Vec<BareInit<'a>>> {
    let Some(mut modes) = args.bare_init.clone() else { return Ok(Vec::new()) };
    let trust = demands.trust;
    modes.sort_unstable();
    modes.dedup();
    if modes.is_empty() {
        modes = program::bare_modes(trust);
    }
    if trust && modes != [BootMode::Overlay] {
        let text = "--bare-init: with --trust, which checks images, the only boot mode is `overlay`";
        return Err(Error::Usage(text.to_owned()));
    }
    let shells = unique(&variants.iter().map(|variant| variant.has_shell()).collect::<Vec<_>>());
    let mut inits = Vec::new();
    for target in targets {
        for shell in &shells {
            let variant = if *shell { Variant::Debug } else { Variant::Standard };
            let program = programs.get_for(target, &modes, variant, demands)?;
            inits.push(BareInit::new(target, version, *shell, program, mtime));
        }
    }
    Ok(inits)
}

/// Returns the help of `--target` for what builds.
pub(super) fn target_help() -> String {
    format!(
        "The targets to build for: {}; or all; or auto, this machine's. Repeatable",
        target::list(|_| true, |target| target.processor.clone())
    )
}

/// Returns the targets of these names, in this order, each once. Says which one this machine's is.
///
/// # Errors
/// [`Error::Usage`] with all names that no target has.
pub(super) fn chosen_targets(names: &[String], progress: &Progress) -> Result<Vec<&'static Target>> {
    let mut chosen: Vec<&str> = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => chosen.extend(target::all()?.iter().map(|target| target.name.as_str())),
            target::AUTO => {
                let target = target::of_this_machine()?;
                progress.say(format!("--target auto: {} ({})", target.name, target.processor));
                chosen.push(&target.name);
            }
            name => chosen.push(name),
        }
    }
    Ok(unique(&target::several(&chosen)?))
}

/// Returns the time stamp of everything in an archive, in seconds since 1970.
pub(super) fn archive_time() -> Result<u32> {
    let seconds = super::disk::source_date_epoch()?;
    u32::try_from(seconds)
        .map_err(|_| Error::Usage(format!("SOURCE_DATE_EPOCH is {seconds}: expected seconds since 1970, below 2^32")))
}

fn chosen_modules(args: &Args, targets: &[&Target], has_debug: bool, progress: &Progress) -> Result<Chosen> {
    let wanted = Wanted {
        modules: &args.modules,
        always: &args.load_modules,
        tree: args.module_tree.as_deref(),
        strip: args.strip_modules,
    };
    let lines: Vec<&str> = [&args.cmdline, &args.cmdline_final].into_iter().flatten().map(String::as_str).collect();
    modules::choose(&wanted, targets, &lines.join(" "), has_debug, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_once_and_in_order() {
        let names = |list: &[&str]| -> Vec<String> {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            chosen_targets(&list, &Progress::none()).unwrap().iter().map(|target| target.name.clone()).collect()
        };
        assert_eq!(names(&["all"]), ["aarch64", "armv6l", "armv7l", "i686", "riscv64", "x86_64"]);
        assert_eq!(names(&["auto"]), [target::of_this_machine().unwrap().name.clone()]);
        assert_eq!(names(&["amd64", "all"]), ["x86_64", "aarch64", "armv6l", "armv7l", "i686", "riscv64"]);
        let error = chosen_targets(&["i685".to_owned()], &Progress::none()).unwrap_err().to_string();
        assert!(error.contains("did you mean `i686`"), "{error}");
    }
}
