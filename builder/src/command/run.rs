//! `initramfs-overlay run`: boots an artifact and a disk in QEMU, the console on this terminal. What is not given is found or
//! made: the newest artifact, Debian's kernel, its modules, a demonstration disk.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant, SystemTime},
};

use archive::listing;
use base::{
    IoContext, bounded,
    cleanup::TempDir,
    digest::file_digest,
    progress::{Progress, tell},
};
use serde_json::json;
use sources::{
    Substitute,
    kernel_package::{self, Kernel},
    target::{self, DiskInterface, Target},
};
use vm::qemu::{Accelerator, Access, Drive, End, Guest, Machine, Terminal, Verdict, sd_card};

use super::{
    machine::{accelerator_words, duration, failure, memory, seconds},
    output,
};
use crate::{
    Error, Result,
    append_modules::{self, Added},
    busybox_image,
    command::{choice::choice, substitute::SubstituteArgs},
    demo,
    variant::Variant,
};

/// Boot an artifact and a disk in QEMU.
///
/// Without arguments it boots the x86_64 artifact of ./build.sh with Debian's kernel and a demonstration disk, made on the spot.
/// Ctrl-A X ends QEMU at any time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  See it boot, right after ./build.sh:
    initramfs-overlay run
  The debug variant on a Raspberry Pi Zero, stopping with a shell before the root is switched:
    initramfs-overlay run --target armv6l --variant debug
  A disk of your own, without an overlay partition:
    initramfs-overlay run target/init-0.1.0-x86_64.gz \\
        pc.img --append rd.overlay=tmpfs

The exit status is 0 when the machine powered off, 1 when the boot failed, the kernel panicked or it timed out, \
2 when the command line is wrong, 128 + N when signal N killed this command.")]
pub struct Args {
    /// The initramfs [default: the newest one in target/ of this version, --target and --variant]
    #[arg(value_name = "INITRAMFS")]
    pub initrd: Option<PathBuf>,

    /// The disk, a raw file [default: a demonstration disk]
    pub disk: Option<PathBuf>,

    /// The machine, by target
    #[arg(long, value_name = "NAME", default_value = "x86_64", help = target_help())]
    pub target: String,

    /// The variant, where INITRAMFS is not given
    #[arg(long, value_name = "NAME", default_value = "standard")]
    pub variant: Variant,

    /// A kernel, instead of Debian's
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// The device tree for --kernel, where the machine needs one
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub dtb: Option<PathBuf>,

    /// The kernel's module directory, /lib/modules/VERSION. The modules that a boot needs are appended to the initramfs
    #[arg(long, value_name = "DIR", requires = "kernel", alias = "modules-from")]
    pub module_tree: Option<PathBuf>,

    /// More for the kernel's command line. Repeatable
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u32>,

    /// Processors
    #[arg(long, value_name = "COUNT")]
    pub cpus: Option<u32>,

    /// Accelerator of QEMU: its own emulation, or the processor through /dev/kvm [default: kvm where it really works, else tcg]
    #[arg(long, value_name = "NAME", value_parser = choice::<Accelerator>())]
    pub accel: Option<Accelerator>,

    /// Keep what the machine writes to its root, on DISK. Without it, every run begins with the disk as it was
    #[arg(long, requires = "disk")]
    pub write: bool,

    /// Stop the machine after this time, such as 90s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Instead of Debian's BusyBox on the demonstration disk: a directory with `busybox-<target>`, or an OCI image that has it
    #[arg(long, value_name = "DIR|IMAGE", conflicts_with = "disk")]
    pub busybox: Option<PathBuf>,

    /// The permission for packages other than the pinned ones
    #[command(flatten)]
    pub substitute: SubstituteArgs,

    /// Print QEMU's command line and keep the files it names, instead of running it
    #[arg(long)]
    pub print_command: bool,

    /// Write the result to standard output as JSON, and the console to standard error
    #[arg(long, conflicts_with = "print_command")]
    pub json: bool,

    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU_ARGUMENTS")]
    pub qemu: Vec<OsString>,
}

/// Longest silence of a machine under KVM before a hint.
const SILENCE: Duration = Duration::from_secs(30);

/// Returns the help of `--target`.
fn target_help() -> String {
    format!("The machine: {}", target::list(|_| true, |target| target.qemu.model.clone()))
}

/// Boots and waits for the end.
///
/// # Errors
/// [`Error::MissingPrograms`] without QEMU, [`Error::Usage`], and whatever fails on the way.
pub fn run(args: &Args) -> Result<ExitCode> {
    let target = target::named(&args.target)?;
    let progress = crate::progress::on_stderr();
    let work = TempDir::new("initramfs-overlay-run-", None)?;
    let initrd = match &args.initrd {
        Some(initrd) => initrd.clone(),
        None => newest_artifact(Path::new("target"), target, args.variant)?,
    };
    let machine = prepare(args, target, &initrd, work.path(), &progress)?;
    if args.print_command {
        return print_command(&machine, work);
    }
    let words = machine.accelerator.map(|accelerator| format!(", {}", accelerator_words(accelerator)));
    let words = words.unwrap_or_default();
    tell(format_args!("Booting {} on {}{words}; Ctrl-A X ends QEMU", initrd.display(), target.name));
    let started = Instant::now();
    let mut guest = Guest::attach(&machine, if args.json { io::stderr().into() } else { Stdio::inherit() })?;
    if args.accel.is_none() && machine.accelerator == Some(Accelerator::Kvm) {
        guest.hint_if_silent(SILENCE, "No output from the machine so far: if KVM hangs here, try --accel tcg");
    }
    let verdict = guest.finish(args.timeout)?;
    base::cleanup::wait_if_interrupted();
    let Judged { outcome, text, status } = judge(verdict, &guest.console());
    tell(format_args!("\n{text}"));
    if args.json {
        let value = json!({
            "status": status,
            "outcome": outcome,
            "reason": (status != 0).then_some(&text),
            "accelerator": machine.accelerator.map(Accelerator::name),
            "kernel": machine.kernel.to_string_lossy(),
            "seconds": seconds(started.elapsed()),
        });
        output::print(format!("{value:#}\n"))?;
    }
    Ok(ExitCode::from(status))
}

/// Finds or makes everything that the machine needs.
fn prepare(args: &Args, target: &'static Target, initrd: &Path, work: &Path, progress: &Progress) -> Result<Machine> {
    // What is not there is said before anything is fetched or made.
    for file in args.disk.iter().map(PathBuf::as_path).chain([initrd]) {
        let metadata = bounded::open(file).and_then(|file| file.metadata()).at("open", file)?;
        if metadata.is_dir() {
            Err::<(), _>(io::Error::from(io::ErrorKind::IsADirectory)).at("read", file)?;
        }
    }
    check_machine(initrd, target)?;
    let (kernel, modules) = kernel(args, target, progress)?;
    let mut machine = Machine::new(target, &kernel);
    base::program::require(&[machine.program()])?;
    machine.initrd = Some(initrd.to_owned());
    if let Some(modules) = modules {
        let step = progress.step(format!("{}: looking for modules of {}", target.name, kernel.version));
        let both = work.join("initrd");
        match append_modules::with_modules(initrd, &modules, &modules_for(target), &both)? {
            Added::HasOwn => step.finish("the initramfs has its own"),
            Added::BuiltIn => step.finish("the kernel has all built in"),
            Added::Modules(names) => {
                step.finish(&format!("{} added", names.len()));
                progress.say(lacking(initrd, &modules, target, &names));
                machine.initrd = Some(both);
            }
        }
    }
    machine.drives = vec![drive(args, target, work, progress)?];
    machine.append.extend(args.append.iter().cloned());
    machine.memory = args.memory;
    machine.cpus = args.cpus;
    machine.accelerator = accelerator(args, target);
    if machine.accelerator == Some(Accelerator::Kvm) && !machine.arguments.iter().any(|word| word == "-cpu") {
        machine.arguments.extend(["-cpu".to_owned(), vm::processor(target, Accelerator::Kvm).to_owned()]);
    }
    machine.extra.clone_from(&args.qemu);
    Ok(machine)
}

/// Refuses an initramfs whose `/init` the machine cannot run. What has no program there, or cannot be read, is left to the kernel.
fn check_machine(initrd: &Path, target: &Target) -> Result<()> {
    let contents = listing::read(bounded::open(initrd).at("open", initrd)?, initrd);
    match contents.ok().and_then(|contents| contents.machine) {
        Some(machine) if !target.elf.runs(machine) => {
            let fitting = target::all()?.iter().find(|other| other.elf == machine);
            let remedy = fitting.map_or_else(String::new, |other| format!(": name it with --target {}", other.name));
            Err(Error::Usage(format!(
                "the /init of {} is for {machine}, and the machine of target {} is {}{remedy}",
                initrd.display(),
                target.name,
                target.elf
            )))
        }
        _ => Ok(()),
    }
}

/// Returns the warning about modules that are there for this run alone.
fn lacking(initrd: &Path, modules: &Path, target: &Target, names: &[String]) -> String {
    format!(
        "warning: {} lacks modules of this kernel, which are added for this run only: {}. A real machine would not have them: build them in \
         (build --module-tree {} --modules {})",
        initrd.display(),
        names.join(" "),
        modules.display(),
        modules_for(target).join(",")
    )
}

/// Chooses what runs the guest, where neither the user nor the target's machine says so.
fn accelerator(args: &Args, target: &'static Target) -> Option<Accelerator> {
    let says = |word: &OsString| ["-accel", "-enable-kvm", "-machine", "-M"].iter().any(|option| word == option);
    match args.accel {
        None if target.qemu.disk == DiskInterface::Virtio && !args.qemu.iter().any(says) => {
            Some(vm::accelerator::best(target))
        }
        given => given,
    }
}

/// Returns the kernel, and its modules where there are any to add.
fn kernel(args: &Args, target: &'static Target, progress: &Progress) -> Result<(Kernel, Option<PathBuf>)> {
    let Some(file) = &args.kernel else {
        let substitute = args.substitute.permission();
        let kernel = match kernel_package::debian(target, &crate::cache::open()?, substitute, progress) {
            Err(error @ sources::Error::Missing { .. }) if substitute == Substitute::Allow => {
                let kernel = this_machines(target).ok_or(error)?;
                let (shown, digest) = (kernel.vmlinuz.display(), file_digest(&kernel.vmlinuz)?);
                progress
                    .say(format!("warning: {shown} is used, SHA-256 {digest}, because Debian's kernel is unavailable"));
                kernel
            }
            kernel => kernel?,
        };
        let modules = kernel.modules.clone();
        return Ok((kernel, Some(modules)));
    };
    std::fs::File::open(file).at("open", file)?;
    if args.dtb.is_none() && target.kernel.dtb.is_some() {
        return Err(Error::Usage(format!(
            "--kernel on {} needs --dtb FILE: this machine has a device tree",
            target.name
        )));
    }
    let kernel = Kernel {
        vmlinuz: file.clone(),
        modules: args.module_tree.clone().unwrap_or_default(),
        version: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        dtb: args.dtb.clone(),
        origin: None,
    };
    Ok((kernel, args.module_tree.clone()))
}

/// Returns the newest kernel of this machine that has its modules, where this machine is of the target's kind.
fn this_machines(target: &Target) -> Option<Kernel> {
    let same = target.is_called(std::env::consts::ARCH);
    let directories = std::fs::read_dir("/lib/modules").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let kernels = directories.filter_map(|modules| {
        let version = modules.file_name()?.to_str()?.to_owned();
        let vmlinuz = PathBuf::from(format!("/boot/vmlinuz-{version}"));
        // Opened, as Ubuntu's are for root only.
        let made = std::fs::File::open(&vmlinuz).and_then(|file| file.metadata()?.modified()).ok()?;
        Some((made, Kernel { vmlinuz, modules, version, dtb: None, origin: None }))
    });
    let newest = kernels.max_by_key(|(made, _)| *made).map(|(_, kernel)| kernel);
    newest.filter(|_| same)
}

/// Returns the modules that a boot from `target`'s disk can need; what is built in counts as there.
fn modules_for(target: &Target) -> Vec<&'static str> {
    match target.qemu.disk {
        DiskInterface::Virtio => vec!["@overlay", "virtio_pci", "virtio_blk"],
        DiskInterface::Sd => vec!["@overlay", "mmc_block"],
    }
}

/// Returns the disk that was given, or a demonstration.
fn drive(args: &Args, target: &'static Target, work: &Path, progress: &Progress) -> Result<Drive> {
    let interface = target.qemu.disk;
    let Some(disk) = &args.disk else {
        let busybox = busybox_image::get(
            target,
            args.busybox.as_deref(),
            &crate::cache::open()?,
            args.substitute.permission(),
            progress,
        )?;
        let path = work.join("demo.img");
        demo::make(&path, &busybox.bytes, interface == DiskInterface::Sd, progress)?;
        return Ok(Drive { path, interface, access: Access::Write });
    };
    if interface == DiskInterface::Sd {
        if args.write {
            sd_card::check(disk)?;
        }
        let copy = work.join("sd.img");
        if sd_card::fitting_copy(disk, &copy)? {
            return Ok(Drive { path: copy, interface, access: Access::Write });
        }
    }
    let access = if args.write { Access::Write } else { Access::Snapshot };
    Ok(Drive { path: disk.clone(), interface, access })
}

/// Returns the newest artifact of this version in `directory`.
fn newest_artifact(directory: &Path, target: &Target, variant: Variant) -> Result<PathBuf> {
    let name = format!("init-{}-{}{}", env!("CARGO_PKG_VERSION"), target.name, variant.file_suffix());
    let files = std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let artifacts = files.filter(|path| path.is_file() && path.file_stem().is_some_and(|stem| stem == name.as_str()));
    let made =
        |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    artifacts.max_by_key(made).ok_or_else(|| {
        Error::Usage(format!(
            "there is no {name}.gz in {}: run ./build.sh first, or name an initramfs",
            std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()).display()
        ))
    })
}

fn print_command(machine: &Machine, work: TempDir) -> Result<ExitCode> {
    output::print(format!("{}\n", machine.command_line(Terminal::Shell)))?;
    let kept = std::fs::read_dir(work.path()).at("read", work.path())?.count() > 0;
    if kept {
        tell(format_args!("The files made for it are kept in {}", work.keep().display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The meaning of a machine's end.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    /// Its name.
    outcome: &'static str,
    /// The closing message.
    text: String,
    /// The exit status.
    status: u8,
}

/// Judges how the machine ended. `console`, the guest's output, shows the code of a failed boot.
fn judge(verdict: Verdict, console: &str) -> Judged {
    let judged = |outcome, text: &str, status| Judged { outcome, text: text.to_owned(), status };
    if let Some(code) = failure(console) {
        return judged("boot-failed", &format!("The boot failed: {code}"), 1);
    }
    match verdict {
        Verdict::Exited(status) if !status.success() => judged("qemu-failed", &format!("QEMU failed ({status})."), 1),
        Verdict::Ended(End::PoweredOff) => judged("powered-off", "The machine powered off.", 0),
        Verdict::Ended(End::Halted) => judged("halted", "The machine halted; it cannot power off.", 0),
        Verdict::Ended(End::Restarted) => {
            judged("restarted", "The machine wanted to restart; QEMU was told not to.", 0)
        }
        Verdict::Ended(End::Panicked) => judged("panicked", "The kernel panicked.", 1),
        Verdict::Exited(_) => judged("ended", "QEMU was stopped.", 0),
        Verdict::TimedOut => judged("timed-out", "Timed out (--timeout): the machine was still running.", 1),
    }
}

#[cfg(test)]
mod tests;
