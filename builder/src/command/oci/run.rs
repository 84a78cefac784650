//! `initramfs-overlay oci run`: makes an initramfs of an image, boots it in QEMU and ends as its program ended.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use archive::{compress::Compression, newc::Properties};
use base::{IoContext, atomic_file::AtomicFile, cleanup::TempDir, progress::Progress};
use contract::{names, workload::Process};
use indicatif::BinaryBytes;
use oci::inventory::Inventory;
use sources::{
    kernel_package::{self, Kernel},
    target::{DiskInterface, Target},
};
use vm::{
    EXIT_PORT, accelerator,
    qemu::{self, Accelerator, End, Machine},
    session::{self, Outcome, Output},
};

use super::{
    archives::write,
    ram,
    root::{Root, RootArgs},
};
use crate::{
    Error, Result,
    command::{
        build::modules::Wanted,
        machine::{self, MachineArgs, memory},
        run::failure,
        vm::{Judged, accelerator_words, judge},
    },
};

/// Memory where nothing is said, in MiB, unless the image needs more.
const MEMORY: u32 = 512;

/// Boot an image in QEMU, all of it in memory; its program's exit status becomes this one's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  initramfs-overlay oci run oci:images:alpine -- cat /etc/os-release
  initramfs-overlay oci run oci:images:alpine --platform linux/386 --user nobody --env A=1
  initramfs-overlay oci run docker-archive:saved.tar --platform linux/arm/v6 --timeout 2m

Exit status: the program's own, 128 + N where signal N ended it; 124 when the time was up; 125 when the machine failed, with the reason
on standard error; 2 for a command line that cannot be; 128 + N when this command itself is ended by signal N.")]
pub struct Args {
    #[command(flatten)]
    root: RootArgs,

    #[command(flatten)]
    ram: ram::RunArgs,

    /// Memory, such as 256M or 2G [default: 512M, or what the image needs]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<u32>,

    #[command(flatten)]
    machine: MachineArgs,

    /// A kernel, instead of Debian's
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,

    /// The device tree for --kernel, where the machine needs one
    #[arg(long, value_name = "FILE", requires = "kernel")]
    dtb: Option<PathBuf>,

    /// Arguments for the program, instead of the image's
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Makes, boots, and waits for the end.
///
/// # Errors
/// [`Error::Usage`] for what cannot be. Whatever else fails is told here, and is status 125.
pub fn run(args: &Args) -> Result<ExitCode> {
    machine::end(boot(args))
}

fn boot(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let (image, platform) = args.root.open()?;
    let target = ram::target_of(&platform)?;
    let is_fixed = target.qemu.disk == DiskInterface::Sd;
    if is_fixed && (args.memory.is_some_and(|memory| memory != MEMORY) || args.machine.cpus != 1) {
        return Err(Error::Usage(format!(
            "QEMU's machine for {} has {MEMORY} MiB of memory and one processor",
            target.name
        )));
    }
    if is_fixed && args.ram.network {
        return Err(Error::Usage(format!("--network: QEMU's machine for {} has no network card", target.name)));
    }
    let qemu = qemu::program(&target.qemu.program);
    base::program::require(&[qemu])?;
    let asked =
        (args.machine.accel.is_none() && !is_fixed).then(|| std::thread::spawn(move || accelerator::best(target)));
    let kernel = kernel(args, target, &progress)?;

    let Root { image, platform, mut merge, .. } = args.root.merge(image, platform, false, progress)?;
    // What QEMU's network card needs on Debian's kernel.
    let card = ["virtio_pci".to_owned(), "virtio_net".to_owned()];
    let modules = (args.ram.network && args.kernel.is_none()).then(|| Wanted {
        modules: &card,
        always: &[],
        tree: Some(&kernel.modules),
        strip: false,
    });
    let process = args.ram.apply(&image, &platform, &mut merge, &args.arguments, modules, progress)?;
    let work = TempDir::new("initramfs-overlay-oci-", None)?;
    let path = work.path().join("initrd");
    let file = AtomicFile::create(&path)?;
    let mut inventory = Inventory::default();
    let parts = [&merge.tree];
    let root = merge.root.as_ref().map(|root| &root.entry);
    let (written, file) =
        write(&parts, root, &image, Properties::default(), Compression::Gzip, Some(&mut inventory), file)?;
    file.commit()?;
    let size = std::fs::metadata(&path).at("read", &path)?.len();
    let least = u32::try_from(written.minimum_memory(size) >> 20).unwrap_or(u32::MAX);

    let accelerator = args.machine.accel.or_else(|| asked?.join().ok()).unwrap_or(Accelerator::Tcg);
    let memory = args.memory.unwrap_or(MEMORY.max(least));
    let mut machine = Machine::new(target, &kernel);
    machine.initrd = Some(path);
    machine.append.extend(command_line(target, args));
    machine.accelerator = Some(accelerator);
    if !is_fixed {
        machine.arguments = vm::arguments(target, accelerator);
    }
    if !is_fixed {
        (machine.memory, machine.cpus) = (Some(memory), Some(args.machine.cpus));
    }
    progress.say(format!(
        "{} on kernel {}, {}, {} of memory",
        image.name,
        kernel.version,
        accelerator_words(accelerator),
        BinaryBytes(u64::from(memory) << 20)
    ));
    let make = |exit: i32| {
        let mut machine = machine.clone();
        if !is_fixed {
            if args.ram.network {
                let card = ["-netdev", "user,id=network", "-device", "virtio-net-pci,netdev=network,romfile="];
                machine.extra.extend(card.map(OsString::from));
            }
            let exit = ["-chardev".to_owned(), format!("file,id=exit,path=/dev/fd/{exit}"), "-device".to_owned()];
            machine.extra.extend(exit.map(OsString::from));
            machine.extra.push(format!("isa-debugcon,iobase={EXIT_PORT},chardev=exit").into());
        }
        machine
    };
    let (outcome, console) = session::run_machine(&make, Output::Standard, args.machine.timeout)?;
    let Judged { status, reason, .. } = match ended_with_machine(process, &outcome, &console) {
        Some(status) => status,
        None => judge(&told(outcome, &console), &console),
    };
    if let Some(reason) = reason {
        eprintln!("initramfs-overlay: {reason}");
    }
    Ok(ExitCode::from(status))
}

/// Judges the end of a machine whose process 1 is the program: it has no status of its own.
fn ended_with_machine(process: Process, outcome: &Outcome, console: &str) -> Option<Judged> {
    let Outcome::Silent(Some(end)) = outcome else { return None };
    if process != Process::Machine || failure(console).is_some() {
        return None;
    }
    Some(match end {
        End::Panicked => Judged {
            status: 255,
            name: "panicked",
            reason: Some("the kernel panicked: the image's process 1 ended".to_owned()),
        },
        _ => Judged { status: 0, name: "exited", reason: None },
    })
}

fn kernel(args: &Args, target: &'static Target, progress: &Progress) -> Result<Kernel> {
    let Some(file) = &args.kernel else { return Ok(kernel_package::debian(target, &crate::cache::open()?, progress)?) };
    if args.dtb.is_none() && target.kernel.dtb.is_some() {
        return Err(Error::Usage(format!(
            "--kernel for {} needs --dtb FILE: this machine has a device tree",
            target.name
        )));
    }
    std::fs::File::open(file).at("open", file)?;
    let version = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Kernel { vmlinuz: file.clone(), modules: PathBuf::new(), version, dtb: args.dtb.clone(), origin: None })
}

/// What is said to the kernel and init beside what the machine needs.
fn command_line(target: &Target, args: &Args) -> Vec<String> {
    // A kernel that cannot go on starts again, which ends QEMU.
    let mut words = vec!["panic=-1 rd.onerror=poweroff".to_owned()];
    words.push(if args.machine.debug { "debug" } else { "quiet" }.to_owned());
    words.push(match target.qemu.disk {
        DiskInterface::Virtio => format!("rd.exit=ioport:{EXIT_PORT}"),
        // QEMU's Raspberry Pi has nothing that takes a byte.
        DiskInterface::Sd => "rd.exit=console".to_owned(),
    });
    words.extend(args.machine.append.iter().cloned());
    words
}

/// A machine that has no other way says its status on the console: the last thing that init writes.
fn told(outcome: Outcome, console: &str) -> Outcome {
    let Outcome::Silent(_) = outcome else { return outcome };
    let status = console.lines().rev().find_map(|line| line.trim().strip_prefix(names::EXIT_STATUS)?.parse().ok());
    status.map_or(outcome, Outcome::Exited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_ends_as_its_process_1() {
        let ended = |process, end, console: &str| {
            ended_with_machine(process, &Outcome::Silent(Some(end)), console).map(|judged| judged.status)
        };
        for end in [End::PoweredOff, End::Halted, End::Restarted] {
            assert_eq!(ended(Process::Machine, end, ""), Some(0));
        }
        assert_eq!(ended(Process::Machine, End::Panicked, ""), Some(255));
        assert_eq!(ended(Process::Child, End::PoweredOff, ""), None);
        assert!(ended_with_machine(Process::Machine, &Outcome::TimedOut, "").is_none());
    }

    #[test]
    fn a_status_is_read_from_the_console() {
        let silent = || Outcome::Silent(Some(End::Halted));
        let console =
            "initramfs-overlay: exit status 3\r\nx\r\ninitramfs-overlay: exit status 143\r\nreboot: System halted\r\n";
        assert_eq!(told(silent(), console), Outcome::Exited(143));
        assert_eq!(told(silent(), "initramfs-overlay: exit status 256\r\n"), silent());
        assert_eq!(told(silent(), "x initramfs-overlay: exit status 1\r\n"), silent());
        assert_eq!(told(Outcome::TimedOut, console), Outcome::TimedOut);
    }
}
