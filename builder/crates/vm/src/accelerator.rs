//! The choice of accelerator: the processor, where /dev/kvm really works, else QEMU itself. Found out by running, on the processor that the
//! machine is to have, a small guest that does what a kernel does first (`accelerator/rom.S`): a /dev/kvm that can be opened may still
//! hang, in a container or a virtual machine, or refuse a register of the processor that it stands for.

mod rom;

use std::{fs::File, io::Write, os::fd::AsRawFd, path::Path, process::Stdio, sync::mpsc, time::Duration};

use rustix::fs::{MemfdFlags, memfd_create};
use sources::target::Target;

use super::{processor, share::inherit};
use crate::{
    die_with_parent,
    qemu::{self, Accelerator},
};

/// The timeout for the guest. Where KVM works the guest takes a tenth of that, most of it QEMU's own start.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The byte that the guest writes to `isa-debug-exit` once it has passed.
const WORD: u8 = 0x15;

/// Returns the best accelerator that works here for the target's QEMU and processor.
pub fn best(target: &'static Target) -> Accelerator {
    let is_there = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let works =
        is_there && tries(target, Accelerator::Kvm, die_with_parent::command, PATIENCE).is_some_and(|works| works);
    if works { Accelerator::Kvm } else { Accelerator::Tcg }
}

/// Runs the guest. Returns whether it said its word in `time`, if it could be started.
fn tries(
    target: &'static Target,
    accelerator: Accelerator,
    command: impl FnOnce(&Path) -> std::process::Command,
    time: Duration,
) -> Option<bool> {
    let path = qemu::program(&target.qemu.program).locate()?;
    let rom = memfd_create("rom", MemfdFlags::CLOEXEC).ok()?;
    File::from(rom.try_clone().ok()?).write_all(&rom::bytes()).ok()?;
    inherit(&rom, true).ok()?;
    let mut command = command(Path::new(&path));
    command.args([
        "-accel",
        accelerator.name(),
        "-cpu",
        processor(target, accelerator),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-m",
        "16",
        "-bios",
    ]);
    command.arg(format!("/dev/fd/{}", rom.as_raw_fd()));
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    let (reader, writer) = std::io::pipe().ok()?;
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    drop(command);
    // The pipe is closed when QEMU ends.
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut { reader }, &mut std::io::sink());
        let _ = sender.send(());
    });
    if ended.recv_timeout(time).is_err() {
        // An error says that it has ended just now.
        let _ = child.kill();
    }
    // QEMU, docs/specs: isa-debug-exit makes it end with twice the value and one.
    Some(child.wait().ok()?.code() == Some(i32::from(WORD) * 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sources::target;

    /// QEMU's own emulation takes it on both processors that machines have.
    #[test]
    fn the_guest_says_its_word() {
        for name in ["x86_64", "i686"] {
            let target = target::named(name).unwrap();
            if qemu::program(&target.qemu.program).locate().is_none() {
                eprintln!("SKIPPED: {} is not installed", target.qemu.program);
                continue;
            }
            let command = |path: &Path| std::process::Command::new(path);
            assert_eq!(tries(target, Accelerator::Tcg, command, Duration::from_secs(60)), Some(true), "{name}");
        }
    }
}
