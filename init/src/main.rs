//! PID 1 of initramfs-overlay: boot, or fail by policy. Everything else is in the library.
//!
//! The C library calls it without Rust's runtime before it: that looks at the open files, sets up signals and a guard below the
//! stack, a dozen system calls for what PID 1 has no use for. Signals whose default would end a process do nothing to PID 1
//! (signal(7)), SIGPIPE among them.
#![no_main]

use std::{
    ffi::{c_char, c_int},
    time::Duration,
};

use initramfs_overlay_init::{
    boot,
    kernel::linux::{self, Linux},
};

#[allow(unsafe_code, reason = "the way in: the name that the C library calls, and what it hands over")]
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    // SAFETY: this is what the C standard says of the arguments of `main` (ISO C, 5.1.2.2.1).
    let mut arguments = unsafe { linux::arguments(count, arguments) }.into_iter();
    let name = arguments.next().unwrap_or_default();
    if linux::run_sweeper(&name) {
        return 0;
    }
    let arguments: Vec<String> = arguments.collect();
    #[cfg(feature = "ram")]
    if let (Some((word, rest)), false) = (arguments.split_first(), std::process::id() == 1)
        && word == contract::names::HOTPLUG
    {
        initramfs_overlay_init::boot::ram::hotplug::run(&mut Linux::new(), rest);
        return 1;
    }
    if std::process::id() != 1 {
        eprintln!(
            "initramfs-overlay init {}: this is the first program of an initramfs and runs as process 1 only",
            env!("CARGO_PKG_VERSION")
        );
        return 2;
    }
    boot::run(&mut Linux::new(), &arguments, boot::ABILITIES);
    // The machine could not be ended. If PID 1 returned, the kernel would panic over the failure card.
    loop {
        std::thread::sleep(Duration::MAX);
    }
}
