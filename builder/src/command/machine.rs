//! Options of the commands that boot a machine of their own and end as its program ends, and how they say so.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use base::progress::tell;
use contract::{names, text::parse_duration};
use serde_json::json;
use vm::{
    network::Publish,
    qemu::{Accelerator, End},
    session::{Limits, Outcome, Output},
};

use super::output;
use crate::{Result, command::choice::choice};

/// Exit status where the machine, not the program in it, failed. As `env` and `docker run` have it.
pub(super) const FAILED: u8 = 125;
/// Exit status of a timeout, as `timeout` has it.
const TIMED_OUT: u8 = 124;

/// The options of a machine and of its run.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    /// Processors
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,

    /// Accelerator of QEMU [default: kvm where it really works, else tcg]
    #[arg(long, value_name = "NAME", value_parser = choice::<Accelerator>())]
    pub accel: Option<Accelerator>,

    /// More for the kernel's command line. Repeatable
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    pub append: Vec<String>,

    /// Stop the machine after this time, such as 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Show what the kernel and init do
    #[arg(long)]
    pub debug: bool,

    /// Forward a port of this machine to one of the guest, over a network as with --network; reachable from this machine only, unless an
    /// address is given. Repeatable
    #[arg(long, value_name = "[ADDRESS:]HOST:GUEST[/udp]", value_parser = str::parse::<Publish>)]
    pub publish: Vec<Publish>,

    /// The virtiofsd to run [default: the one that the distribution installs]
    #[arg(long, value_name = "FILE")]
    pub virtiofsd: Option<PathBuf>,

    /// Write the result to standard output as JSON, and the console to standard error
    #[arg(long)]
    pub json: bool,
}

impl MachineArgs {
    /// Returns where the console goes.
    pub(super) fn output(&self) -> Output {
        if self.json { Output::Error } else { Output::Standard }
    }

    /// Runs a machine whose initramfs has `size` bytes. Where it hangs under a KVM that nobody asked for, it runs once more under TCG: nothing
    /// of the user's has run yet. Returns what it ran under as well.
    ///
    /// # Errors
    /// As `run`.
    pub(super) fn run<E>(
        &self,
        accelerator: Accelerator,
        size: u64,
        mut run: impl FnMut(Accelerator, Limits) -> Result<(Outcome, String), E>,
    ) -> Result<(Outcome, String, Accelerator), E> {
        /// The seconds that a kernel gets, and the bytes of an initramfs for which it gets one more to unpack them.
        const KERNEL: u64 = 30;
        const UNPACKED: u64 = 8 << 20;
        let is_chosen = self.accel.is_none() && accelerator == Accelerator::Kvm;
        let patience = is_chosen.then(|| Duration::from_secs(KERNEL + size / UNPACKED));
        let (outcome, console) = run(accelerator, Limits { time: self.timeout, patience })?;
        if outcome != Outcome::Hung {
            return Ok((outcome, console, accelerator));
        }
        tell(format_args!(
            "initramfs-overlay: KVM hangs here: init did not run within {} s. Once more, {} (--accel tcg does so at once)",
            patience.unwrap_or_default().as_secs(),
            accelerator_words(Accelerator::Tcg)
        ));
        let (outcome, console) = run(Accelerator::Tcg, Limits { time: self.timeout, patience: None })?;
        Ok((outcome, console, Accelerator::Tcg))
    }

    /// Tells how a machine ended that ran for `time`, and returns the command's own status.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(super) fn conclude(
        &self,
        judged: &Judged,
        accelerator: Accelerator,
        kernel: Option<&str>,
        time: Duration,
    ) -> Result<ExitCode> {
        if let Some(reason) = &judged.reason {
            tell(format_args!("initramfs-overlay: {reason}"));
        }
        if self.json {
            let value = json!({
                "status": judged.status,
                "outcome": judged.name,
                "reason": judged.reason,
                "accelerator": accelerator.name(),
                "kernel": kernel,
                "seconds": seconds(time),
            });
            output::print(format!("{value:#}\n"))?;
        }
        Ok(ExitCode::from(judged.status))
    }
}

/// Rounds a time to milliseconds, in seconds.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Reads a size of memory, in MiB.
pub(super) fn memory(text: &str) -> Result<u32, String> {
    let mib = mebibytes(text).and_then(|mib| u32::try_from(mib).ok());
    // Less is not enough for a kernel and its initramfs; the machines end at 1 TiB.
    mib.filter(|mib| (64..=1 << 20).contains(mib))
        .ok_or_else(|| format!("`{text}` is not a memory size: write 512M or 2G, at least 64M"))
}

/// Reads an amount of data, in bytes. A plain number counts MiB.
pub(super) fn amount(text: &str) -> Result<u64, String> {
    let bytes = mebibytes(text).and_then(|mib| mib.checked_mul(1 << 20));
    bytes.ok_or_else(|| format!("`{text}` is not an amount of data: write 512M or 8G"))
}

/// Reads a number of MiB: plain, or with a unit.
fn mebibytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)? {
        "" | "M" | "MiB" | "m" => 1,
        "G" | "GiB" | "g" => 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a time.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is not a time: write 90s, 500ms or 2m"))
}

/// Returns the code on init's failure card, where the console shows one.
pub(super) fn failure(console: &str) -> Option<&str> {
    let (_, rest) = console.split_once(concat!("initramfs-overlay ", env!("CARGO_PKG_VERSION"), " cannot boot: "))?;
    rest.split_whitespace().next()
}

pub(super) fn accelerator_words(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "with KVM",
        Accelerator::Tcg => "with QEMU's own emulation (TCG)",
    }
}

/// The meaning of an outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// The exit status.
    pub status: u8,
    /// Its name.
    pub name: &'static str,
    /// The reason, where it was not the program's own end.
    pub reason: Option<String>,
}

/// Reads the status of a machine without an exit device from the console, where it is the last thing that init writes.
pub(super) fn told_on_console(outcome: Outcome, console: &str) -> Outcome {
    let Outcome::Silent(_) = outcome else { return outcome };
    let status = console.lines().rev().find_map(|line| line.trim().strip_prefix(names::EXIT_STATUS)?.parse().ok());
    status.map_or(outcome, Outcome::Exited)
}

/// Judges how a machine ended.
pub(super) fn judge(outcome: &Outcome, console: &str) -> Judged {
    let failed = |name, reason| Judged { status: FAILED, name, reason: Some(reason) };
    match outcome {
        Outcome::Exited(status) => Judged { status: *status, name: "exited", reason: None },
        Outcome::TimedOut => Judged {
            status: TIMED_OUT,
            name: "timed-out",
            reason: Some("timed out (--timeout), and the machine was killed".to_owned()),
        },
        Outcome::Signalled(number) => Judged {
            status: u8::try_from(*number).map_or(FAILED, |number| number.saturating_add(128)),
            name: "signalled",
            reason: Some(format!("killed by signal {number}, and the machine with it")),
        },
        Outcome::Hung => failed("hung", "the machine hangs: init did not run in time".to_owned()),
        Outcome::ShareLost(tag, words) => {
            let words = if words.is_empty() { "it said nothing" } else { words };
            failed("share-lost", format!("virtiofsd for {tag} exited while the machine needed it: {words}"))
        }
        Outcome::Silent(end) => match (failure(console), end) {
            (Some(code), _) => failed("boot-failed", format!("the boot failed: {code}")),
            (None, Some(End::Panicked)) => failed("panicked", "the kernel panicked".to_owned()),
            (None, Some(_)) => failed("ended", "the machine stopped before its command exited".to_owned()),
            (None, None) => failed("ended", "QEMU exited before the command in the machine did".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_memory() {
        for (text, mib) in [("1G", 1024), ("512M", 512), ("256", 256), ("2GiB", 2048)] {
            assert_eq!(memory(text), Ok(mib), "{text}");
        }
        for bad in ["", "G", "0", "63", "1T", "-1G", "5000G", "1.5G", "99999999999G"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_of_data() {
        for (text, bytes) in [("0", 0), ("1", 1 << 20), ("8G", 8 << 30), ("64MiB", 64 << 20)] {
            assert_eq!(amount(text), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "1T", "-1G", "1.5G", "99999999999G", "99999999999999999999"] {
            assert!(amount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_is_read_from_the_console() {
        let silent = || Outcome::Silent(Some(End::Halted));
        let console =
            "initramfs-overlay: exit status 3\r\nx\r\ninitramfs-overlay: exit status 143\r\nreboot: System halted\r\n";
        assert_eq!(told_on_console(silent(), console), Outcome::Exited(143));
        assert_eq!(told_on_console(silent(), "initramfs-overlay: exit status 256\r\n"), silent());
        assert_eq!(told_on_console(silent(), "x initramfs-overlay: exit status 1\r\n"), silent());
        assert_eq!(told_on_console(Outcome::TimedOut, console), Outcome::TimedOut);
    }

    #[test]
    fn outcomes_have_their_status() {
        let judged = |outcome: Outcome, console: &str| {
            let Judged { status, name, reason } = judge(&outcome, console);
            (status, name, reason.unwrap_or_default())
        };
        assert_eq!(judged(Outcome::Exited(42), "x"), (42, "exited", String::new()));
        assert_eq!(judged(Outcome::Signalled(15), "").0, 143);
        assert_eq!(judged(Outcome::TimedOut, "").0, 124);
        let card = concat!(" initramfs-overlay ", env!("CARGO_PKG_VERSION"), " cannot boot: tag-missing\n");
        assert_eq!(
            judged(Outcome::Silent(Some(End::PoweredOff)), card),
            (125, "boot-failed", "the boot failed: tag-missing".to_owned())
        );
        assert_eq!(judged(Outcome::Silent(Some(End::Panicked)), "").1, "panicked");
        assert_eq!(judged(Outcome::Silent(None), "").0, 125);
        let lost = judged(Outcome::ShareLost("a".to_owned(), String::new()), "");
        assert!(lost.2.contains("virtiofsd for a exited") && lost.0 == 125, "{lost:?}");
    }
}
