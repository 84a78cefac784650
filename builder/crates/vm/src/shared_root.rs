//! A virtual machine for one command: its root is a directory of the host, shared by virtiofsd, so no disk is made and no file is left.

use std::path::PathBuf;

use contract::virtiofs::ROOT_TAG;
use sources::target::{ExitChannel, Target};

use crate::{
    network::{self, Publish},
    qemu::{Accelerator, Machine},
};

/// The I/O port that the guest writes its status to, that of QEMU's isa-debug-exit.
pub const EXIT_PORT: &str = "0xf4";

/// The I/O port that init writes a byte to as soon as it runs, that of Bochs' and QEMU's debugging consoles.
pub const ALIVE_PORT: &str = "0xe9";

/// The descriptors that a guest's words arrive at, which QEMU inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipes {
    /// For the status.
    pub exit: i32,
    /// For the first sign of life.
    pub alive: i32,
}

/// A directory of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The tag by which the guest mounts it.
    pub tag: String,
    /// The directory.
    pub path: PathBuf,
    /// The guest mounts it read-only.
    pub read_only: bool,
}

/// The guest's write access to its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootAccess {
    /// No writes.
    ReadOnly,
    /// Writes go to the directory itself.
    ReadWrite,
    /// Writes go to memory: the directory stays as it is.
    Overlay,
}

/// A machine for one command.
#[derive(Debug, Clone)]
pub struct Vm {
    /// Its target.
    pub target: &'static Target,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The root's directory first, then the others.
    pub shares: Vec<Share>,
    /// The guest's write access to its root.
    pub access: RootAccess,
    /// The program that runs in it; the kernel's own default way where there is none.
    pub init: Option<String>,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// The accelerator that runs the guest's instructions.
    pub accelerator: Accelerator,
    /// True if the guest logs its steps on the console: `debug` on its command line instead of `quiet`.
    pub debug: bool,
    /// More for the kernel's command line.
    pub append: Vec<String>,
    /// The ports of the host that lead to the guest, where it has a network.
    pub network: Option<Vec<Publish>>,
}

impl Vm {
    /// Returns the words of the kernel's command line.
    pub fn command_line(&self) -> Vec<String> {
        let mut words = vec![format!("console={}", self.target.qemu.console), self.target.qemu.append.clone()];
        // A kernel that cannot go on starts again, which ends QEMU.
        words.push("panic=-1 rd.onerror=poweroff:0".to_owned());
        words.push(if self.debug { "debug" } else { "quiet" }.to_owned());
        words.push(format!("rootfs={ROOT_TAG}"));
        words.push(match self.access {
            RootAccess::ReadOnly => "ro".to_owned(),
            RootAccess::ReadWrite => "rw".to_owned(),
            RootAccess::Overlay => "rw rd.overlay=tmpfs".to_owned(),
        });
        for share in self.shares.iter().skip(1) {
            words.push(format!("{}={}", if share.read_only { "mount-ro" } else { "mount" }, share.tag));
        }
        words.push(told(self.target));
        words.extend(self.init.iter().map(|init| match init.contains(char::is_whitespace) {
            true => format!("init=\"{init}\""),
            false => format!("init={init}"),
        }));
        words.extend(self.append.iter().cloned());
        words
    }

    /// Returns the machine for QEMU, which inherits the descriptors: `initrd` to read from, `sockets` of the shares' virtiofsd in their
    /// order, `pipes` to write to.
    pub fn machine(&self, initrd: i32, sockets: &[i32], pipes: Pipes) -> Machine {
        let qemu = &self.target.qemu;
        let mut arguments = arguments(self.target, self.accelerator);
        arguments.extend(share_arguments(&self.shares, sockets, self.memory));
        arguments.extend(pipe_arguments(self.target, pipes));
        arguments.extend(self.network.iter().flat_map(|ports| network::arguments(ports)));
        Machine {
            program: &qemu.program,
            arguments,
            kernel: self.kernel.clone(),
            dtb: None,
            initrd: Some(format!("/dev/fd/{initrd}").into()),
            drives: Vec::new(),
            append: self.command_line(),
            memory: Some(self.memory),
            cpus: Some(self.cpus),
            accelerator: Some(self.accelerator),
            powers_off: true,
            extra: Vec::new(),
        }
    }
}

/// Returns the arguments that give a machine with `memory` MiB the directories `shares`, whose virtiofsd listen on `sockets`, in this order.
pub fn share_arguments(shares: &[Share], sockets: &[i32], memory: u32) -> Vec<String> {
    if shares.is_empty() {
        return Vec::new();
    }
    // The guest's memory is shared with virtiofsd (QEMU, docs/interop/vhost-user.rst).
    let memory = format!("memory-backend-memfd,id=memory,size={memory}M,share=on");
    let mut arguments = vec!["-object".to_owned(), memory, "-machine".to_owned(), "memory-backend=memory".to_owned()];
    for (number, (share, socket)) in shares.iter().zip(sockets).enumerate() {
        let tag = share.tag.replace(',', ",,");
        arguments.extend(["-chardev".to_owned(), format!("socket,id=share{number},fd={socket}")]);
        arguments.extend(["-device".to_owned(), format!("vhost-user-fs-pci,chardev=share{number},tag={tag}")]);
    }
    arguments
}

/// Returns the words of the kernel's command line that tell init where the host listens.
pub fn told(target: &Target) -> String {
    match target.qemu.exit {
        ExitChannel::IsaPort => format!("rd.exit=ioport:{EXIT_PORT} rd.alive=ioport:{ALIVE_PORT}"),
        ExitChannel::Console => "rd.exit=console".to_owned(),
    }
}

/// Returns the arguments that write what the guest tells to `pipes`. One byte arrives there as it is; isa-debug-exit would halve the range of a
/// status. None for a machine without I/O ports.
pub fn pipe_arguments(target: &Target, pipes: Pipes) -> Vec<String> {
    let mut arguments = Vec::new();
    if target.qemu.exit == ExitChannel::Console {
        return arguments;
    }
    for (name, port, descriptor) in [("exit", EXIT_PORT, pipes.exit), ("alive", ALIVE_PORT, pipes.alive)] {
        arguments.extend(["-chardev".to_owned(), format!("file,id={name},path=/dev/fd/{descriptor}")]);
        arguments.extend(["-device".to_owned(), format!("isa-debugcon,iobase={port},chardev={name}")]);
    }
    arguments
}

/// Returns the arguments of a machine for `target` without any device that was not asked for.
pub fn arguments(target: &Target, accelerator: Accelerator) -> Vec<String> {
    let mut arguments =
        ["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned).to_vec();
    if let Some(board) = value_of(target, "-M") {
        arguments.extend(["-M".to_owned(), board.to_owned()]);
    }
    arguments.extend(["-cpu".to_owned(), processor(target, accelerator).to_owned()]);
    arguments
}

/// Returns the value of an option among the target's arguments for QEMU.
fn value_of<'a>(target: &'a Target, option: &str) -> Option<&'a str> {
    let mut words = target.qemu.args.iter();
    words.find(|word| *word == option)?;
    words.next().map(String::as_str)
}

/// Returns the processor of a machine, for QEMU's `-cpu`: one that the target asks for is asked for here too; else all that there can be, as
/// distributions need it.
pub fn processor(target: &Target, accelerator: Accelerator) -> &str {
    match (value_of(target, "-cpu"), accelerator) {
        (Some(processor), _) => processor,
        (None, Accelerator::Kvm) => "host",
        (None, Accelerator::Tcg) => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Terminal;
    use sources::target;

    fn share(tag: &str, path: &str, read_only: bool) -> Share {
        Share { tag: tag.to_owned(), path: path.into(), read_only }
    }

    #[test]
    fn a_vm_becomes_a_command_line() {
        let vm = Vm {
            target: target::named("i686").unwrap(),
            kernel: "/k".into(),
            shares: vec![share("rootfs", "/r", true), share("a,b", "/a", false), share("c", "/c", true)],
            access: RootAccess::Overlay,
            init: Some("/bin/my program".to_owned()),
            memory: 512,
            cpus: 2,
            accelerator: Accelerator::Tcg,
            debug: false,
            append: vec!["single".to_owned()],
            network: None,
        };
        assert_eq!(
            vm.machine(7, &[3, 4, 5], Pipes { exit: 9, alive: 10 }).command_line(Terminal::Bare),
            "qemu-system-i386 -display none -nodefaults -no-user-config -no-reboot -cpu pentium2 \
             -object memory-backend-memfd,id=memory,size=512M,share=on -machine memory-backend=memory \
             -chardev socket,id=share0,fd=3 -device vhost-user-fs-pci,chardev=share0,tag=rootfs \
             -chardev socket,id=share1,fd=4 -device vhost-user-fs-pci,chardev=share1,tag=a,,b \
             -chardev socket,id=share2,fd=5 -device vhost-user-fs-pci,chardev=share2,tag=c \
             -chardev file,id=exit,path=/dev/fd/9 -device isa-debugcon,iobase=0xf4,chardev=exit \
             -chardev file,id=alive,path=/dev/fd/10 -device isa-debugcon,iobase=0xe9,chardev=alive \
             -accel tcg -m 512 -smp 2 -nic none -serial stdio -monitor none -kernel /k -initrd /dev/fd/7 \
             -append 'console=ttyS0 no_timer_check panic=-1 rd.onerror=poweroff:0 quiet rootfs=rootfs rw rd.overlay=tmpfs mount=a,b mount-ro=c \
             rd.exit=ioport:0xf4 rd.alive=ioport:0xe9 init=\"/bin/my program\" single'"
        );
        let pipes = Pipes { exit: 9, alive: 10 };
        let arm = Vm { target: target::named("aarch64").unwrap(), ..vm.clone() }.machine(7, &[3], pipes);
        let line = arm.command_line(Terminal::Bare);
        assert!(line.starts_with("qemu-system-aarch64 ") && line.contains("-M virt -cpu cortex-a53"), "{line}");
        assert!(line.contains("rd.exit=console") && !line.contains("isa"), "{line}");
        let kvm = Vm { target: target::named("x86_64").unwrap(), accelerator: Accelerator::Kvm, ..vm };
        assert!(kvm.machine(7, &[3], pipes).command_line(Terminal::Bare).contains("-cpu host"));
    }
}
