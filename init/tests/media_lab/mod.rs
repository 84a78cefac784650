//! A laboratory for boots on real media: init's own code runs on loop devices, ext4, squashfs and overlayfs, in a process of its own
//! with its own mounts and root. What a boot must not touch lies around it as canaries and is compared afterwards; a boot that does
//! not come back in time is killed.
//!
//! Three processes share the work, all of them this program: the suite hands out cases, a case builds its media and boots them, a boot
//! runs `boot::run`. So a boot that hangs, panics or deletes what it should not ends alone.

pub mod machine;
pub mod outside;
pub mod plan;
pub mod requirements;
pub mod runner;
pub mod suite;
pub mod templates;
pub mod workshop;

use std::{path::Path, time::Duration};

use initramfs_overlay_init::kernel::linux;
use serde::de::DeserializeOwned;
use suite::Outcome;

/// Returns the time a boot may take before it counts as hung: 20 seconds, or `MEDIA_LAB_DEADLINE` of the environment.
pub fn deadline() -> Duration {
    const SECONDS: u64 = 20;
    let given = std::env::var("MEDIA_LAB_DEADLINE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(SECONDS))
}

/// First argument of the process that runs one case; the case and the directory of templates follow.
pub const CASE: &str = "--case";

/// First argument of the process that runs one boot.
pub const BOOT: &str = "--boot";

/// Runs this process if it is the sweeper, a boot, or a case of the laboratory, or says why this machine cannot run the suite `name`;
/// returns false where there is more to do.
pub fn is_done<C: DeserializeOwned>(name: &str, run_case: impl FnOnce(&C, &Path) -> Outcome) -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    if linux::run_sweeper(arguments.first().map_or("", String::as_str)) {
        return true;
    }
    match arguments.get(1).map(String::as_str) {
        Some(BOOT) => machine::boot_process(&arguments[2], Path::new(&arguments[3])),
        Some(CASE) => {
            let outcome = run_case(&serde_json::from_str(&arguments[2]).unwrap(), Path::new(&arguments[3]));
            println!("{}", serde_json::to_string(&outcome).unwrap());
        }
        _ => {
            let tools = ["mke2fs", "mksquashfs", "minisign", "chattr"];
            let missing = requirements::missing(&tools, &["ext3", "ext4", "squashfs", "overlay"]);
            let Some(reason) = missing else { return false };
            println!("{name} skipped: {reason}\n0 passed, 0 failed, 1 skipped");
        }
    }
    true
}

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed names a sample.
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    /// Shuffles a list (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for place in (1..list.len()).rev() {
            list.swap(place, self.below(place + 1));
        }
    }
}

/// Returns the seed of a sample: `variable` of the environment, or one made from the clock.
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    })
}
