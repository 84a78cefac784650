//! The clock of the real machine.

use std::time::Duration;

/// Returns the time since the kernel started, suspends included. The question goes to the kernel: to find the answer that it maps into each program,
/// the C library reads a table of symbols first, which pays for programs that ask more often.
pub(super) fn uptime() -> Duration {
    // The call takes two longs, whatever the C library's `timespec` is.
    let mut time: [libc::c_long; 2] = [0; 2];
    // SAFETY: the kernel writes two longs, and there is room for them (clock_gettime(2)).
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_BOOTTIME, &raw mut time) };
    let [seconds, nanoseconds] = time;
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
}
