//! A machine for QEMU, and the arguments that follow from it. Pure.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use base::program::Program;
use sources::{
    kernel_package::Kernel,
    target::{self, DiskInterface, Target},
};

/// The accelerator that runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU itself: slow, and works everywhere.
    Tcg,
    /// The processor, through /dev/kvm. Where that exists but does not work, guests hang.
    Kvm,
}

impl Accelerator {
    /// Returns QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// A disk of a machine: a raw file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The file.
    pub path: PathBuf,
    /// The interface that it is attached to.
    pub interface: DiskInterface,
    /// The guest's write access to it.
    pub access: Access,
}

/// A guest's write access to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No writes: the disk is write-protected.
    ReadOnly,
    /// Writes are kept while the machine runs and discarded at its end.
    Snapshot,
    /// Writes go to the file.
    Write,
}

/// A machine to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// QEMU, such as `qemu-system-arm`.
    pub program: &'static str,
    /// The arguments that define the machine, such as `-M raspi0`. The fields below override `-m`, `-smp` and `-accel` among them.
    pub arguments: Vec<String>,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The device tree's file.
    pub dtb: Option<PathBuf>,
    /// The initramfs' file.
    pub initrd: Option<PathBuf>,
    /// Disks, in order.
    pub drives: Vec<Drive>,
    /// Parts of the kernel's command line.
    pub append: Vec<String>,
    /// Memory in MiB.
    pub memory: Option<u32>,
    /// Processors.
    pub cpus: Option<u32>,
    /// The accelerator, where it is not the one in the arguments.
    pub accelerator: Option<Accelerator>,
    /// True if the machine can power off and restart, which makes QEMU exit. If not, the kernel's messages on the console have to do.
    pub powers_off: bool,
    /// More arguments, at the end.
    pub extra: Vec<OsString>,
}

/// The destination of the guest's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// To standard input and output, nothing else there. What is typed goes to the guest as it is.
    Bare,
    /// To the terminal, with QEMU's own keys: for a command line that a person copies.
    Shell,
    /// To standard input and output, nothing else there, and a copy of what the guest writes to this file descriptor.
    Pipe {
        /// A file descriptor that QEMU inherits.
        copy: i32,
    },
    /// To the terminal, with QEMU's own keys (Ctrl-A X ends it) and a copy of what the guest writes to this file descriptor.
    Person {
        /// A file descriptor that QEMU inherits.
        copy: i32,
    },
}

impl Machine {
    /// Returns the machine that boots `kernel` for `target`: nothing attached yet, its console on the kernel's command line.
    pub fn new(target: &'static Target, kernel: &Kernel) -> Self {
        Self {
            program: &target.qemu.program,
            arguments: target.qemu.args.clone(),
            kernel: kernel.vmlinuz.clone(),
            dtb: kernel.dtb.clone(),
            initrd: None,
            drives: Vec::new(),
            append: vec![format!("console={}", target.qemu.console), target.qemu.append.clone()],
            memory: None,
            cpus: None,
            accelerator: None,
            powers_off: target.qemu.powers_off,
            extra: Vec::new(),
        }
    }

    /// Returns the program that runs it, and its Debian package.
    pub fn program(&self) -> Program {
        program(self.program)
    }

    /// Returns QEMU's arguments. Pure: the same machine gives the same arguments.
    pub fn arguments(&self, terminal: Terminal) -> Vec<OsString> {
        let mut arguments = without(&self.arguments, &self.replaced());
        let mut add = |option: &str, value: &OsStr| arguments.extend([OsString::from(option), value.to_owned()]);
        if let Some(accelerator) = self.accelerator {
            add("-accel", accelerator.name().as_ref());
        }
        if let Some(memory) = self.memory {
            add("-m", memory.to_string().as_ref());
        }
        if let Some(cpus) = self.cpus {
            add("-smp", cpus.to_string().as_ref());
        }
        // No network card: nothing here needs one, and its boot ROM takes a second.
        add("-nic", "none".as_ref());
        match terminal {
            Terminal::Bare => {
                add("-serial", "stdio".as_ref());
                add("-monitor", "none".as_ref());
            }
            Terminal::Shell => add("-serial", "mon:stdio".as_ref()),
            Terminal::Pipe { copy } => {
                let device = format!("stdio,id=console,signal=off,logfile=/dev/fd/{copy}");
                add("-chardev", device.as_ref());
                add("-serial", "chardev:console".as_ref());
                add("-monitor", "none".as_ref());
            }
            Terminal::Person { copy } => {
                let device = format!("stdio,id=console,mux=on,signal=off,logfile=/dev/fd/{copy}");
                add("-chardev", device.as_ref());
                add("-serial", "chardev:console".as_ref());
                add("-mon", "chardev=console".as_ref());
            }
        }
        add("-kernel", self.kernel.as_os_str());
        if let Some(dtb) = &self.dtb {
            add("-dtb", dtb.as_os_str());
        }
        if let Some(initrd) = &self.initrd {
            add("-initrd", initrd.as_os_str());
        }
        for drive in &self.drives {
            add("-drive", &drive_value(drive));
        }
        let append: Vec<&str> = self.append.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        add("-append", append.join(" ").as_ref());
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// Returns the options of [`Self::arguments`] that fields stand for.
    fn replaced(&self) -> Vec<&'static str> {
        let options =
            [("-accel", self.accelerator.is_some()), ("-m", self.memory.is_some()), ("-smp", self.cpus.is_some())];
        options.into_iter().filter_map(|(option, given)| given.then_some(option)).collect()
    }

    /// Returns the command as a line for a shell.
    pub fn command_line(&self, terminal: Terminal) -> String {
        let words = self.arguments(terminal);
        let words = words.iter().map(|word| quote(&word.to_string_lossy()));
        std::iter::once(self.program.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Returns the QEMU of that name with its Debian packages, as the targets name them.
pub fn program(name: &'static str) -> Program {
    let target = target::all().unwrap_or_default().iter().find(|target| target.qemu.program == name);
    Program { name, package: target.map_or("qemu-system", |target| &target.qemu.debian_packages) }
}

/// Returns `arguments` without the `options` and the value after each.
fn without(arguments: &[String], options: &[&str]) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(arguments.len());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if options.contains(&word.as_str()) {
            words.next();
        } else {
            kept.push(OsString::from(word));
        }
    }
    kept
}

/// Returns the value of `-drive`: in QEMU's option lists a comma in a value is written twice.
fn drive_value(drive: &Drive) -> OsString {
    let mut value = OsString::from("file=");
    value.push(double_commas(&drive.path));
    value.push(format!(",format=raw,if={}", drive.interface.qemu_name()));
    value.push(match drive.access {
        Access::ReadOnly => ",readonly=on",
        Access::Snapshot => ",snapshot=on",
        Access::Write => "",
    });
    value
}

fn double_commas(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    OsString::from_vec(bytes.iter().flat_map(|byte| vec![*byte; if *byte == b',' { 2 } else { 1 }]).collect())
}

/// Quotes `word` for a POSIX shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            program: "qemu-system-i386",
            arguments: ["-accel", "tcg", "-cpu", "pentium2", "-m", "512", "-nographic"].map(str::to_owned).to_vec(),
            kernel: "/k/vmlinuz".into(),
            dtb: None,
            initrd: None,
            drives: Vec::new(),
            append: vec!["console=ttyS0".to_owned(), String::new(), "quiet".to_owned()],
            memory: None,
            cpus: None,
            accelerator: None,
            powers_off: true,
            extra: Vec::new(),
        }
    }

    #[test]
    fn a_machine_becomes_a_command_line() {
        assert_eq!(
            machine().command_line(Terminal::Bare),
            "qemu-system-i386 -accel tcg -cpu pentium2 -m 512 -nographic -nic none -serial stdio -monitor none \
             -kernel /k/vmlinuz -append 'console=ttyS0 quiet'"
        );
        let drive = |path: &str, access| Drive { path: path.into(), interface: DiskInterface::Sd, access };
        let full = Machine {
            dtb: Some("/k/zero.dtb".into()),
            initrd: Some("/k/it's".into()),
            drives: vec![
                drive("/d/a,b.img", Access::Snapshot),
                drive("/d/c.img", Access::Write),
                drive("/dev/fd/7", Access::ReadOnly),
            ],
            memory: Some(128),
            cpus: Some(2),
            accelerator: Some(Accelerator::Kvm),
            extra: vec!["-d".into(), "int".into()],
            ..machine()
        };
        assert_eq!(
            full.command_line(Terminal::Person { copy: 5 }),
            "qemu-system-i386 -cpu pentium2 -nographic -accel kvm -m 128 -smp 2 -nic none \
             -chardev stdio,id=console,mux=on,signal=off,logfile=/dev/fd/5 -serial chardev:console -mon chardev=console \
             -kernel /k/vmlinuz -dtb /k/zero.dtb -initrd '/k/it'\\''s' \
             -drive file=/d/a,,b.img,format=raw,if=sd,snapshot=on -drive file=/d/c.img,format=raw,if=sd \
             -drive file=/dev/fd/7,format=raw,if=sd,readonly=on -append 'console=ttyS0 quiet' -d int"
        );
    }

    #[test]
    fn a_target_becomes_a_machine() {
        let target = sources::target::named("armv6l").unwrap();
        let kernel = Kernel {
            vmlinuz: "/k/vmlinuz".into(),
            modules: "/k/modules".into(),
            version: "6.1".to_owned(),
            dtb: Some("/k/zero.dtb".into()),
            origin: None,
        };
        let line = Machine::new(target, &kernel).command_line(Terminal::Bare);
        assert_eq!(
            line,
            "qemu-system-arm -accel tcg -M raspi0 -icount shift=2 -nographic -no-reboot -nic none -serial stdio -monitor none \
             -kernel /k/vmlinuz -dtb /k/zero.dtb \
             -append 'console=ttyAMA0,115200 initcall_blacklist=bcm2835_pm_driver_init'"
        );
    }

    #[test]
    fn programs_have_their_packages() {
        assert_eq!(machine().program(), Program { name: "qemu-system-i386", package: "qemu-system-x86" });
        let arm = Machine { program: "qemu-system-arm", ..machine() };
        assert_eq!(arm.program().package, "qemu-system-arm");
    }
}
