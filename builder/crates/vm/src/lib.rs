//! Virtual machines in QEMU: what one is, its console, and how it ended.
//!
//! The modules: `qemu` starts any machine, listens to its console and types on it. `network` gives it one, and `shared_root` is a machine for one command, whose
//! root is a directory of the host: `root` finds the kernel in it, `share` starts virtiofsd, behind `read_only` where it must not write,
//! `accelerator` finds out what runs the
//! guest, `session` runs the machine and tells how it ended, and `die_with_parent` keeps processes from outliving the command.
//!
//! ```
//! use initramfs_overlay_vm::qemu::{Accelerator, Machine, Terminal};
//! use sources::{kernel_package::Kernel, target};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kernel =
//!     Kernel { vmlinuz: "vmlinuz".into(), modules: "modules".into(), version: "6.1".to_owned(), dtb: None, origin: None };
//! let mut machine = Machine::new(target::named("x86_64")?, &kernel);
//! machine.accelerator = Some(Accelerator::Tcg);
//! machine.memory = Some(256);
//! let line = machine.command_line(Terminal::Bare);
//! assert!(line.starts_with("qemu-system-x86_64 ") && line.contains("-accel tcg -m 256"), "{line}");
//! # Ok(())
//! # }
//! ```

pub mod accelerator;
pub mod die_with_parent;
mod error;
pub mod network;
pub mod qemu;
pub mod read_only;
pub mod root;
pub mod session;
pub mod share;
pub mod shared_root;
mod terminal;

pub use error::{Error, Result};
pub use shared_root::{Pipes, RootAccess, Share, Vm, arguments, pipe_arguments, processor, share_arguments, told};
