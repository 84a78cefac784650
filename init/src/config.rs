//! The parameters of a boot: `/etc/cmdline` baked into the image, then the kernel's command line, then `/etc/cmdline.final`, which nobody
//! overrides, become one [`Config`].
//! Pure: text in, values out. A value that decides what is mounted and cannot be read is an error; anything else that is odd
//! becomes a warning and the default holds.

pub mod exit;
pub mod key;
mod reading;
#[cfg(all(test, feature = "ram"))]
mod tests;
pub mod values;

use std::time::Duration;

use contract::{names, step::Step, tag::Tag};

use crate::boot::overlay::config as overlay;
#[cfg(feature = "ram")]
use crate::boot::ram::config as ram;
#[cfg(feature = "virtiofs")]
use crate::boot::virtiofs::config as virtiofs;
use crate::{kernel::Power, modules::options::Options, switch_root};

/// True for a build that boots the appliance.
pub const HAS_OVERLAY: bool = cfg!(feature = "overlay");
/// True for a build that runs a root in memory.
pub const HAS_RAM: bool = cfg!(feature = "ram");
/// True for a build that does nothing else.
pub const IS_RAM_ONLY: bool = HAS_RAM && !HAS_OVERLAY && !cfg!(feature = "virtiofs");
/// True for a build that has a black box.
pub const HAS_BLACKBOX: bool = cfg!(feature = "blackbox");
/// True for a build that reads parameters from a file on `boot`.
pub const HAS_PARAMETERS: bool = cfg!(feature = "parameters");
/// True for a build that looks whether a button is held.
pub const HAS_BUTTON: bool = cfg!(feature = "button");
/// The time that a card stays where nothing else is said, on serial lines and the like: whoever records them has it by then.
pub const CARD_STAYS: Duration = Duration::from_secs(5);
/// True for a build with the menu of a failed boot.
pub const HAS_RECOVER: bool = cfg!(feature = "recover");
/// True for a build with a shell for people; one for described machines has what the description says.
pub const HAS_SHELL: bool = cfg!(any(feature = "shell", not(feature = "linux")));
/// True for a build whose PID 1 can stay beside a program.
pub const STAYS: bool = cfg!(feature = "supervise");

/// The place of the writable layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayStore {
    /// A partition.
    Partition(Tag),
    /// Memory; the size as tmpfs takes it, the kernel's default (half of RAM) without one.
    Tmpfs(Option<String>),
}

impl OverlayStore {
    /// Returns the store that is taken where nothing is said.
    fn usual() -> Self {
        Self::Partition(Tag::Label("overlay".into()))
    }
}

/// Permission to repair an overlay partition that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// Its filesystem is checked.
    Check,
    /// It is checked, and recreated where that does not help.
    Remake,
}

/// The end of a failed boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The machine ends so, after that time or the usual one ([`delay`](crate::boot::hold::delay)).
    End(Power, Option<Duration>),
    /// A shell on every console (debug variant).
    Shell,
}

/// The parameters of the layers that become the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The place of the writable layer.
    pub overlay: OverlayStore,
    /// Boot on a tmpfs when the overlay partition cannot be used.
    pub fallback: bool,
    /// Permission to repair the overlay partition.
    pub repair: Repair,
    /// Factory reset: empty `persistent` too.
    pub reset: bool,
    /// Use `persistent` as a layer over the image.
    pub persistent: bool,
    /// Mount the root read-only.
    pub read_only: bool,
}

/// The parameters that every boot mode has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The layers that become the root.
    pub layers: Layers,
    /// Longest wait for everything that is needed, from the start of init.
    pub timeout: Duration,
    /// The end of a failed boot.
    pub on_error: OnError,
    /// Seconds for the kernel's own `panic=`, where it was not given and a failed boot restarts: then the policy outlives init.
    pub panic: Option<u64>,
    /// The light that tells a failure, by its name in [`names::LEDS`]; without one, the board's own.
    pub led: Option<String>,
    /// Seconds for the watchdog that init arms.
    pub watchdog: Option<u32>,
    /// The button that is looked at.
    pub button: Option<key::Key>,
    /// A failed boot offers a menu to whoever has its password.
    pub recover: bool,
    /// Steps to stop before, with a shell (debug variant).
    pub breaks: Vec<Step>,
    /// The program that becomes PID 1 of the new root.
    pub init: String,
    /// Arguments for it that were baked in; those of the kernel's command line come from the kernel.
    pub init_args: Vec<String>,
    /// The kernel's arguments for init are dropped: those of the final line are all.
    pub init_args_final: bool,
    /// Options of modules.
    pub modules: Options,
    /// Log each step and each mount.
    pub debug: bool,
    /// Keep how the boot ends in the black box.
    pub blackbox: bool,
    /// Take parameters from a file on `boot`.
    pub parameters: bool,
    /// The place that takes the status of init's program; with one, this process stays PID 1.
    pub exit: Option<exit::Exit>,
    /// The place that takes a byte as soon as this process runs.
    pub alive: Option<exit::Exit>,
}

/// The parameters of the boot mode that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeConfig {
    /// Partitions, an image, a writable layer.
    Overlay(overlay::Config),
    /// A directory of the host.
    #[cfg(feature = "virtiofs")]
    Virtiofs(virtiofs::Config),
    /// The initramfs itself.
    #[cfg(feature = "ram")]
    Ram(ram::Config),
}

impl ModeConfig {
    /// Returns the parameters of the appliance's boot, if that is asked for.
    pub fn overlay(&self) -> Option<&overlay::Config> {
        match self {
            Self::Overlay(config) => Some(config),
            #[allow(unreachable_patterns, reason = "a build with one mode")]
            _ => None,
        }
    }

    /// Returns the mounts that move into a root of this mode.
    pub fn moved(&self) -> &'static [&'static str] {
        match self {
            #[cfg(feature = "virtiofs")]
            Self::Virtiofs(_) => &switch_root::MOVED_WITH_TMP,
            _ => &switch_root::MOVED,
        }
    }
}

/// Everything the user can say about a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The parameters that every boot mode has.
    pub common: Common,
    /// The boot mode, with its own.
    pub mode: ModeConfig,
    /// Sentences about odd parameters.
    pub warnings: Vec<String>,
}

/// The abilities of a build of init, as far as parameters depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// It has a shell (debug variant).
    pub shell: bool,
    /// It takes only images that a baked-in key verifies.
    pub trust: bool,
}

impl Common {
    /// Returns the defaults.
    pub fn new(abilities: Abilities) -> Self {
        Self {
            layers: Layers {
                overlay: OverlayStore::usual(),
                fallback: false,
                repair: Repair::Check,
                reset: false,
                persistent: true,
                read_only: false,
            },
            timeout: Duration::from_secs(10),
            panic: None,
            on_error: if abilities.shell { OnError::Shell } else { OnError::End(Power::Off, None) },
            led: None,
            watchdog: None,
            button: None,
            recover: false,
            breaks: if abilities.shell { vec![Step::SwitchRoot] } else { Vec::new() },
            init: names::INIT.into(),
            init_args: Vec::new(),
            init_args_final: false,
            modules: Options::default(),
            debug: false,
            blackbox: true,
            parameters: true,
            exit: None,
            alive: None,
        }
    }
}

/// The parameters of a boot, from the first to the last word about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines<'a> {
    /// The parameters baked in.
    pub baked: &'a str,
    /// The kernel's command line.
    pub kernel: &'a str,
    /// The parameters in a file on `boot`.
    pub file: &'a str,
    /// The parameters that somebody chose in a menu, for this try.
    pub chosen: &'a str,
    /// The parameters baked in as the last word.
    pub last: &'a str,
}
