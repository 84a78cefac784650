//! `initramfs-overlay vm`: boots a directory as a virtual machine, runs a command in it and ends as the command ended.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use base::progress::Progress;
use contract::virtiofs::{INIT, ROOT_TAG};
use kmod::ModuleTree;
use sources::{
    kernel_package,
    target::{self, DiskInterface, Target},
};
use vm::{
    RootAccess, Share, Vm, accelerator,
    qemu::Accelerator,
    root::{self, check_shares},
    session,
    share::Daemon,
};

use super::{
    build::program,
    machine::{self, MachineArgs, accelerator_words, memory},
    substitute::SubstituteArgs,
    virtiofs::{FEATURES, chosen_target},
};
use crate::{
    Error, Result,
    virtiofs::{self, Parts},
};

/// Boot a directory as a virtual machine and run a command in it; its exit status becomes this one's.
///
/// The directory is shared with the machine (virtiofs): no disk image is made, and nothing of the machine is left when it ends,
/// however it ends. The kernel and its modules are found in the directory, or taken from elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  A shell in a root directory; leaving it ends the machine:
    initramfs-overlay vm root/
  The tests of the current directory, on this machine's own system, which they cannot change:
    initramfs-overlay vm / --share work . -- \\
        -c 'cd /run/mnt/work && make test'
  Another kernel, two processors, no longer than five minutes:
    initramfs-overlay vm root/ --kernel bzImage --cpus 2 \\
        --timeout 5m --init /usr/bin/check

Exit status: the command's own, 128 + N where signal N killed it; 124 when it timed out; 125 when the machine failed, \
with the reason on standard error; 2 when the command line is wrong or names a file that is not there; \
128 + N when signal N killed this command itself.")]
pub struct Args {
    /// The directory that becomes the machine's root
    pub root: PathBuf,

    /// The program that runs in it, a path in the root [default: /bin/sh]
    #[arg(long, value_name = "CMD")]
    pub init: Option<String>,

    /// Share a directory at /run/mnt/TAG, read-write. Repeatable
    #[arg(long, value_names = ["TAG", "PATH"], num_args = 2, alias = "mount")]
    pub share: Vec<String>,

    /// Share a directory at /run/mnt/TAG, read-only. Repeatable
    #[arg(long, value_names = ["TAG", "PATH"], num_args = 2, alias = "mount-ro")]
    pub share_ro: Vec<String>,

    /// Keep what the machine writes to its root, in the root directory. Otherwise it cannot write
    #[arg(long, conflicts_with = "overlay", alias = "rw")]
    pub write: bool,

    /// Let the machine write to its root; what it writes stays in memory and is forgotten
    #[arg(long)]
    pub overlay: bool,

    /// The kernel: a file, or `debian` for Debian's, which is fetched once [default: the newest in the root]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// The kernel's module directory, /lib/modules/VERSION [default: that of its version in the root or on this machine]
    #[arg(long, value_name = "DIR", requires = "kernel", alias = "modules-from")]
    pub module_tree: Option<PathBuf>,

    /// The permission for packages other than the pinned ones
    #[command(flatten)]
    pub substitute: SubstituteArgs,

    /// More kernel modules by name, alias, path or set (`@virtio`). Repeatable
    #[arg(long, value_name = "NAMES", value_delimiter = ',', alias = "module")]
    pub modules: Vec<String>,

    /// Give the machine a network interface on QEMU's user network; a program in it has to ask for an address (DHCP)
    #[arg(long)]
    pub network: bool,

    /// Memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = memory)]
    pub memory: u32,

    /// Options of the machine and of its run
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The machine, by target
    #[arg(long, value_name = "NAME", help = target_help())]
    pub target: Option<String>,

    /// A finished init with the boot mode virtiofs, instead of compiling it
    #[arg(long, value_name = "FILE")]
    pub init_program: Option<PathBuf>,

    /// Arguments for the program
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

impl Args {
    /// Returns true where the machine has a network.
    fn has_network(&self) -> bool {
        self.network || !self.machine.publish.is_empty()
    }
}

/// Returns the help of `--target`: the targets whose QEMU machine has a PCI bus.
fn target_help() -> String {
    let shown = target::list(|target| target.qemu.disk == DiskInterface::Virtio, |target| target.qemu.model.clone());
    format!("The machine: {shown} [default: this machine's]")
}

/// Boots, and waits for the end.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, and whatever else fails.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let target = chosen_target(args.target.as_deref())?;
    if target.qemu.disk != DiskInterface::Virtio {
        return Err(Error::Usage(format!(
            "--target {}: QEMU's machine for it has no PCI bus, so no directory can be shared with it",
            target.name
        )));
    }
    let access = match (args.write, args.overlay) {
        (true, _) => RootAccess::ReadWrite,
        (_, true) => RootAccess::Overlay,
        _ => RootAccess::ReadOnly,
    };
    let mut shares = shares(&args.share, false);
    shares.extend(self::shares(&args.share_ro, true));
    check_shares(&shares)?;
    root::check(&args.root, args.init.as_deref().unwrap_or(INIT), access, &shares)?;
    if args.arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(Error::Usage("an argument for a program holds no NUL".to_owned()));
    }
    let daemon = Daemon::find(args.machine.virtiofsd.as_deref())?;
    let qemu = vm::qemu::program(&target.qemu.program);
    base::program::require(&[qemu])?;
    // Asking takes a moment, in which the rest is made.
    let asked = match args.machine.accel {
        Some(_) => None,
        None => Some(std::thread::spawn(move || accelerator::best(target))),
    };
    let kernel = kernel(args, target, &progress)?;
    let read_only = access != RootAccess::ReadWrite;
    shares.insert(0, Share { tag: ROOT_TAG.to_owned(), path: args.root.clone(), read_only });
    let tree = initramfs(args, target, &kernel, access, progress)?;
    let found = asked.and_then(|asked| asked.join().ok());
    let accelerator = args.machine.accel.or(found).unwrap_or(Accelerator::Tcg);
    let vm = Vm {
        target,
        kernel: kernel.vmlinuz.clone(),
        shares,
        access,
        init: args.init.clone(),
        memory: args.memory,
        cpus: args.machine.cpus,
        accelerator,
        debug: args.machine.debug,
        append: args.machine.append.clone(),
        network: args.has_network().then(|| args.machine.publish.clone()),
    };
    let version = kernel.version.as_deref().unwrap_or("of unknown version");
    progress.say(format!("{} on kernel {version}, {}", args.root.display(), accelerator_words(accelerator)));
    let started = Instant::now();
    let (outcome, console, accelerator) = args.machine.run(accelerator, 0, |accelerator, limits| {
        session::run(&Vm { accelerator, ..vm.clone() }, &daemon, &tree, args.machine.output(), limits)
    })?;
    let judged = machine::judge(&machine::told_on_console(outcome, &console), &console);
    args.machine.conclude(&judged, accelerator, kernel.version.as_deref(), started.elapsed())
}

/// Pairs of tag and path.
fn shares(words: &[String], read_only: bool) -> Vec<Share> {
    let pairs = words.chunks_exact(2);
    pairs.map(|pair| Share { tag: pair[0].clone(), path: PathBuf::from(&pair[1]), read_only }).collect()
}

fn kernel(args: &Args, target: &'static Target, progress: &Progress) -> Result<root::Kernel> {
    let Some(file) = &args.kernel else { return Ok(root::kernel_in(&args.root)?) };
    if file == Path::new("debian") && !file.exists() {
        let kernel = kernel_package::debian(target, &crate::cache::open()?, args.substitute.permission(), progress)?;
        let modules = args.module_tree.clone().unwrap_or(kernel.modules);
        return Ok(root::Kernel { vmlinuz: kernel.vmlinuz, version: Some(kernel.version), modules: Some(modules) });
    }
    Ok(root::kernel_of(file, args.module_tree.as_deref(), &args.root)?)
}

/// Returns the machine's initramfs.
fn initramfs(
    args: &Args,
    target: &'static Target,
    kernel: &root::Kernel,
    access: RootAccess,
    progress: Progress,
) -> Result<archive::tree::Tree> {
    let mut more = args.modules.clone();
    if access == RootAccess::Overlay {
        more.push("overlay".to_owned());
    }
    if args.has_network() {
        more.push("virtio_net".to_owned());
    }
    let chosen = match &kernel.modules {
        Some(directory) => Some(virtiofs::choose(&ModuleTree::open(directory)?, target, &more, false)?),
        None => {
            progress.say("There are no modules of this kernel: it must have virtiofs and virtio_pci built in");
            None
        }
    };
    if let Some(chosen) = chosen.as_ref().filter(|chosen| !chosen.has_pci) {
        return Err(Error::Usage(chosen.notes.join("; ")));
    }
    let (program, version) = program::one(target, FEATURES, args.init_program.as_deref(), None, progress)?;
    virtiofs::tree(&Parts {
        target,
        init: &program.path,
        version: &version,
        modules: chosen.as_ref().map(|chosen| &chosen.modules),
        cmdline: None,
        arguments: &args.arguments,
    })
}
