//! Options of the commands that boot a machine of their own and end as its program ends.

use std::{process::ExitCode, time::Duration};

use vm::qemu::Accelerator;

use crate::{Result, command::choice::choice};

/// Exit status where the machine, not the program in it, failed. As `env` and `docker run` have it.
pub(super) const FAILED: u8 = 125;

/// What kind of machine, and how long.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    /// Processors
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,

    /// What runs the machine [default: kvm where it really works, else tcg]
    #[arg(long, value_parser = choice::<Accelerator>())]
    pub accel: Option<Accelerator>,

    /// More for the kernel's command line. Repeatable
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// End the machine after that time, such as 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = super::run::duration)]
    pub timeout: Option<Duration>,

    /// Show what the kernel and init do
    #[arg(long)]
    pub debug: bool,
}

/// How a command ends that has booted a machine: what fails, and is not the command line's fault, is told here, and is status 125.
pub(super) fn end(outcome: Result<ExitCode>) -> Result<ExitCode> {
    match outcome {
        Err(error) if error.exit_code() == ExitCode::FAILURE => {
            error.print();
            Ok(ExitCode::from(FAILED))
        }
        other => other,
    }
}

/// A size of memory, in MiB.
pub(super) fn memory(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "M" | "MiB" | "m" => Some(1),
        "G" | "GiB" | "g" => Some(1024),
        _ => None,
    };
    let mib = factor.and_then(|factor| digits.parse::<u32>().ok()?.checked_mul(factor));
    // Less is not enough for a kernel and its initramfs; the machines end at 1 TiB.
    mib.filter(|mib| (64..=1 << 20).contains(mib))
        .ok_or_else(|| format!("`{text}` is no size of a memory: write 512M or 2G, at least 64M"))
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn sizes_of_memory() {
        for (text, mib) in [("1G", 1024), ("512M", 512), ("256", 256), ("2GiB", 2048)] {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for bad in ["", "G", "0", "63", "1T", "-1G", "5000G", "1.5G", "99999999999G"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }
}
