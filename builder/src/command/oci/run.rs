//! `initramfs-overlay oci run`: makes an initramfs of an image, boots it in QEMU and ends as its program ended.

use std::{
    ffi::OsString,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use archive::{compress::Compression, newc::Properties};
use base::{IoContext, atomic_file::AtomicFile, cleanup::TempDir, progress::Progress};
use contract::workload::Process;
use indicatif::BinaryBytes;
use oci::{image::Image, inventory::Inventory, lost::Output, merge::Merge};
use sources::{
    kernel_package::{self, Kernel},
    target::{DiskInterface, Target},
};
use vm::{
    Pipes, Share, accelerator, network,
    qemu::{self, Accelerator, Access, Drive, End, Machine},
    session::{self, Outcome},
    share::Daemon,
};

use super::{
    archives::write,
    disk,
    mount::{self, Mount},
    ram::{self, Beside},
    root::{RootArgs, warn_of_attributes},
};
use crate::{
    Error, Result, busybox_image,
    command::machine::{Judged, MachineArgs, accelerator_words, failure, judge, memory, told_on_console},
};

/// Memory where nothing is said, in MiB, unless the image needs more.
const MEMORY: u32 = 512;

/// Boot an image in QEMU; its program's exit status becomes this one's.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  initramfs-overlay oci run oci:images:alpine -- cat \\
      /etc/os-release
  initramfs-overlay oci run oci:images:alpine \\
      --platform linux/386 --user nobody --env A=1
  initramfs-overlay oci run oci:images:large --disk \\
      --memory 128M --mount .:/work -- make -C /work test
  initramfs-overlay oci run oci:images:web --publish 8080:80
  initramfs-overlay oci run docker-archive:saved.tar \\
      --platform linux/arm/v6 --timeout 2m

Exit status: the program's own, 128 + N where signal N killed it; 124 when it timed out; 125 when the machine failed, \
with the reason on standard error; 2 when the command line is wrong or names a file that is not there; \
128 + N when signal N killed this command itself.")]
pub struct Args {
    #[command(flatten)]
    root: RootArgs,

    #[command(flatten)]
    ram: ram::RunArgs,

    /// Put the root on a disk that is made once and cached, with a writable layer in memory over it, instead of all in memory
    #[arg(long)]
    disk: bool,

    /// Share a directory of this machine at GUEST, read-write or read-only. Repeatable
    #[arg(long, value_name = "HOST:GUEST[:ro]")]
    mount: Vec<String>,

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
/// [`Error::Usage`] for what cannot be, and whatever else fails.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let (image, platform) = args.root.open()?;
    let target = ram::target_of(&platform)?;
    args.check(target)?;
    let mounts = mount::shares(&args.mount)?;
    let qemu = qemu::program(&target.qemu.program);
    base::program::require(&[qemu])?;
    let daemon = (!mounts.is_empty()).then(|| Daemon::find(args.machine.virtiofsd.as_deref())).transpose()?;
    let is_fixed = is_fixed(target);
    let asked =
        (args.machine.accel.is_none() && !is_fixed).then(|| std::thread::spawn(move || accelerator::best(target)));
    let kernel = kernel(args, target, &progress)?;
    let work = TempDir::new("initramfs-overlay-oci-", None)?;
    let Initramfs { path, process, disk, least } = initramfs(args, &image, target, &kernel, &mounts, &work, progress)?;

    let accelerator = args.machine.accel.or_else(|| asked?.join().ok()).unwrap_or(Accelerator::Tcg);
    let memory = args.memory.unwrap_or(MEMORY.max(least));
    let size = std::fs::metadata(&path).at("read", &path)?.len();
    let mut machine = Machine::new(target, &kernel);
    machine.initrd = Some(path);
    machine.append.extend(command_line(target, args));
    if !is_fixed {
        (machine.memory, machine.cpus) = (Some(memory), Some(args.machine.cpus));
    }
    machine.drives.extend(disk.as_ref().map(|disk| Drive {
        path: format!("/dev/fd/{}", disk.as_raw_fd()).into(),
        interface: target.qemu.disk,
        access: Access::ReadOnly,
    }));
    progress.say(format!(
        "{} on kernel {}, {}, {} of memory",
        image.name,
        kernel.version,
        accelerator_words(accelerator),
        BinaryBytes(u64::from(memory) << 20)
    ));
    let shares: Vec<Share> = mounts.iter().map(|mount| mount.share.clone()).collect();
    let make = |accelerator, sockets: &[i32], pipes: Pipes| {
        let mut machine = machine.clone();
        machine.accelerator = Some(accelerator);
        if !is_fixed {
            machine.arguments = vm::arguments(target, accelerator);
            let network = args.has_network().then(|| network::arguments(&args.machine.publish));
            machine.arguments.extend(vm::share_arguments(&shares, sockets, memory));
            let pipes = vm::pipe_arguments(target, pipes);
            machine.extra.extend(network.into_iter().flatten().chain(pipes).map(OsString::from));
        }
        machine
    };
    let shared = daemon.as_ref().map(|daemon| (daemon, &shares[..]));
    let inherited: Vec<&OwnedFd> = disk.iter().collect();
    let started = Instant::now();
    let (outcome, console, accelerator) = args.machine.run(accelerator, size, |accelerator, limits| {
        let make = |sockets: &[i32], pipes| make(accelerator, sockets, pipes);
        session::run_machine(&make, shared, &inherited, args.machine.output(), limits)
    })?;
    let judged = match ended_with_machine(process, &outcome, &console) {
        Some(judged) => judged,
        None => judge(&told_on_console(outcome, &console), &console),
    };
    args.machine.conclude(&judged, accelerator, Some(&kernel.version), started.elapsed())
}

/// Returns true where the machine for a target has a size that cannot be chosen, and no bus to attach anything to.
fn is_fixed(target: &Target) -> bool {
    target.qemu.disk == DiskInterface::Sd
}

impl Args {
    /// Returns true where the machine has a network.
    fn has_network(&self) -> bool {
        self.ram.network || !self.machine.publish.is_empty()
    }

    /// Refuses what the machine for `target` has not.
    fn check(&self, target: &Target) -> Result<()> {
        if !is_fixed(target) {
            return Ok(());
        }
        let refuse = |words: String| Err(Error::Usage(words));
        if self.memory.is_some_and(|memory| memory != MEMORY) || self.machine.cpus != 1 {
            return refuse(format!("QEMU's machine for {} has {MEMORY} MiB of memory and one processor", target.name));
        }
        for (is_asked, option, what) in [
            (self.ram.network, "--network", "network interface"),
            (!self.machine.publish.is_empty(), "--publish", "network interface"),
            (self.disk, "--disk", "virtio disk"),
            (!self.mount.is_empty(), "--mount", "PCI bus, so no directory can be shared with it"),
        ] {
            if is_asked {
                return refuse(format!("{option}: QEMU's machine for {} has no {what}", target.name));
            }
        }
        Ok(())
    }
}

/// The initramfs of a machine, and what belongs to it.
struct Initramfs {
    path: PathBuf,
    /// The process that the program becomes.
    process: Process,
    /// The disk with the root, where that is on one.
    disk: Option<OwnedFd>,
    /// The least memory that it boots with, in MiB.
    least: u32,
}

/// Makes the initramfs in `work`: the whole root, or with `--disk` what boots from the root's disk.
fn initramfs(
    args: &Args,
    image: &Image,
    target: &'static Target,
    kernel: &Kernel,
    mounts: &[Mount],
    work: &TempDir,
    progress: Progress,
) -> Result<Initramfs> {
    let has_network = args.has_network();
    let substitute = args.ram.substitute.permission();
    let get = || busybox_image::get(target, None, &crate::cache::open()?, substitute, &progress);
    let busybox = has_network.then(get).transpose()?;
    let (mut merge, mut workload, disk);
    if args.disk {
        let prepared = disk::prepare(&args.root, &args.ram, image, &args.arguments, busybox.as_ref(), work, progress)?;
        (merge, workload, disk) = (Merge::default(), prepared.workload, Some(prepared.file));
    } else {
        (merge, _) = args.root.merge(image, false, None, progress)?;
        warn_of_attributes(&image.name, &merge, Output::Initramfs, progress);
        ram::make_volumes(image, &mut merge)?;
        (workload, disk) = (args.ram.workload(image, &merge, &args.arguments)?, None);
    }
    workload.shares = mounts.iter().map(|mount| mount.entry.clone()).collect();
    // What QEMU's devices need on Debian's kernel.
    let needed = [
        (args.disk, &disk::MODULES[..]),
        (has_network, &["virtio_pci", "virtio_net"]),
        (!mounts.is_empty(), &["virtio_pci", "virtiofs"]),
    ];
    let modules: Vec<&str> =
        needed.into_iter().filter(|(is_needed, _)| *is_needed).flat_map(|(_, names)| names).copied().collect();
    let beside = Beside {
        modules: &modules,
        tree: args.kernel.is_none().then_some(&kernel.modules),
        busybox: busybox.as_ref().filter(|_| !args.disk),
    };
    args.ram.put(&image.name, target, &mut merge, &workload, &beside, progress)?;
    let path = work.path().join("initrd");
    let file = AtomicFile::create(&path)?;
    let mut inventory = Inventory::default();
    let root = merge.root.as_ref().map(|root| &root.entry);
    let (written, file) =
        write(&[&merge.tree], root, image, Properties::default(), Compression::Gzip, Some(&mut inventory), file)?;
    file.commit()?;
    let size = std::fs::metadata(&path).at("read", &path)?.len();
    let least = u32::try_from(written.minimum_memory(size) >> 20).unwrap_or(u32::MAX);
    Ok(Initramfs { path, process: workload.process, disk, least })
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
            reason: Some("the kernel panicked: the image's process 1 exited".to_owned()),
        },
        _ => Judged { status: 0, name: "exited", reason: None },
    })
}

fn kernel(args: &Args, target: &'static Target, progress: &Progress) -> Result<Kernel> {
    let Some(file) = &args.kernel else {
        let substitute = args.ram.substitute.permission();
        return Ok(kernel_package::debian(target, &crate::cache::open()?, substitute, progress)?);
    };
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

/// Returns the words for the kernel and init on the kernel command line, apart from those that the machine itself needs.
fn command_line(target: &Target, args: &Args) -> Vec<String> {
    // A kernel that cannot go on starts again, which ends QEMU.
    let mut words = vec!["panic=-1 rd.onerror=poweroff:0".to_owned()];
    words.push(if args.machine.debug { "debug" } else { "quiet" }.to_owned());
    words.push(vm::told(target));
    words.extend(args.machine.append.iter().cloned());
    words
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
}
