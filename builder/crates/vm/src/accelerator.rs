//! What runs a guest's instructions: the processor, where /dev/kvm really works, else QEMU itself. Found out by running a guest of
//! four instructions on the processor that the machine is to have: a /dev/kvm that can be opened may still hang, in a container or a
//! virtual machine, or refuse a register of the processor that it stands for.

use std::{fs::File, io::Write, os::fd::AsRawFd, path::Path, process::Stdio, sync::mpsc, time::Duration};

use rustix::fs::{MemfdFlags, memfd_create};
use sources::target::Target;

use super::{processor, share::inherit};
use crate::{
    die_with_parent,
    qemu::{self, Accelerator},
};

/// How long the guest of four instructions may take. Where it works it takes a tenth of that, most of it QEMU's own start.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What the guest says.
const WORD: u8 = 0x15;

/// The best that works here for the target's QEMU and processor.
pub fn best(target: &'static Target) -> Accelerator {
    if kvm_works(target).is_some_and(|works| works) { Accelerator::Kvm } else { Accelerator::Tcg }
}

fn kvm_works(target: &'static Target) -> Option<bool> {
    File::options().read(true).write(true).open("/dev/kvm").ok()?;
    let path = qemu::program(&target.qemu.program).locate()?;
    let rom = memfd_create("rom", MemfdFlags::CLOEXEC).ok()?;
    File::from(rom.try_clone().ok()?).write_all(&rom_bytes()).ok()?;
    inherit(&rom, true).ok()?;
    let mut command = die_with_parent::command(Path::new(&path));
    command.args([
        "-accel",
        "kvm",
        "-cpu",
        processor(target, Accelerator::Kvm),
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
    if ended.recv_timeout(PATIENCE).is_err() {
        // An error says that it has ended just now.
        let _ = child.kill();
    }
    // QEMU, docs/specs: isa-debug-exit makes it end with twice the value and one.
    Some(child.wait().ok()?.code() == Some(i32::from(WORD) * 2 + 1))
}

/// A firmware that says its word: 64 KiB that end where the processor begins, 16 bytes below the end (Intel's manual, volume 3,
/// 9.1.4).
fn rom_bytes() -> Vec<u8> {
    let mut rom = vec![0; 64 << 10];
    // mov al, WORD; out 0xf4, al; hlt; jmp to the hlt
    let code = [0xb0, WORD, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
    let start = rom.len() - 16;
    rom[start..start + code.len()].copy_from_slice(&code);
    rom
}
