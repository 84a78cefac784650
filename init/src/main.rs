//! PID 1 of initramfs-overlay: boot, or fail by policy. Everything else is in the library.

use initramfs_overlay_init::{
    boot,
    kernel::linux::{self, Linux},
};

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    if linux::run_sweeper(&name) {
        return std::process::ExitCode::SUCCESS;
    }
    if std::process::id() != 1 {
        eprintln!(
            "initramfs-overlay init {}: this is the first program of an initramfs and runs as process 1 only",
            env!("CARGO_PKG_VERSION")
        );
        return std::process::ExitCode::from(2);
    }
    boot::run(&mut Linux::new(), &arguments.collect::<Vec<_>>(), boot::ABILITIES);
    // The machine could not be ended. If PID 1 returned, the kernel would panic over the failure card.
    loop {
        std::thread::park();
    }
}
