//! The parameters of a boot: `/etc/cmdline` baked into the image, then the kernel's command line, then `/etc/cmdline.final`, which nobody
//! overrides, become one [`Config`].
//! Pure: text in, values out. A value that decides what is mounted and cannot be read is an error; anything else that is odd
//! becomes a warning and the default holds.

pub mod exit;
#[cfg(all(test, feature = "ram"))]
mod tests;
pub mod values;

use std::time::Duration;

use contract::{
    names,
    parameters::{self, known, words},
    step::Step,
    tag::Tag,
    text::{is_tmpfs_size, nearest, parse_duration},
};

use crate::boot::overlay::config as overlay;
#[cfg(feature = "ram")]
use crate::boot::ram::config as ram;
#[cfg(feature = "virtiofs")]
use crate::boot::virtiofs::config as virtiofs;
use crate::{error::Result, kernel::Power, modules::options::Options, switch_root};
use values::{Objections, switch};

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

impl Config {
    /// Reads the three command lines: baked in, the kernel's, baked in as the last word. The later one wins. Of the kernel's words those are
    /// ignored whose parameter the last line names, and all arguments for init where it has a `--`. `is_root` says that the initramfs is
    /// the root itself.
    ///
    /// # Errors
    /// The first parameter of ours whose value decides what is mounted and cannot be read. What could be read up to the end
    /// comes back with it, so that the failure policy asked for holds.
    pub fn parse([baked, kernel, last]: [&str; 3], abilities: Abilities, is_root: bool) -> (Self, Result<()>) {
        Self::parse_lines(&Lines { baked, kernel, last, ..Lines::default() }, abilities, is_root)
    }

    /// Reads the three command lines as [`Self::parse`] does, and the parameters that stand between the kernel's line and the last one.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn parse_lines(lines: &Lines<'_>, abilities: Abilities, is_root: bool) -> (Self, Result<()>) {
        let &Lines { baked, kernel, file, chosen, last } = lines;
        let is_restricted = abilities.trust || !last.trim().is_empty();
        let mut reading = Reading::new(abilities);
        let fixed = words(last);
        let ends = fixed.iter().position(|word| word == "--");
        let names: Vec<&str> = fixed.iter().take(ends.unwrap_or(fixed.len())).map(|word| parameter(word)).collect();
        reading.common.init_args_final = ends.is_some();
        let lines = [
            (Origin::Baked, baked),
            (Origin::Kernel, kernel),
            (Origin::File, if HAS_PARAMETERS { file } else { "" }),
            (Origin::Kernel, chosen),
            (Origin::Baked, last),
        ];
        let mut ignored = Vec::new();
        for (origin, line) in lines {
            let mut rest_is_init = false;
            for word in words(line) {
                if HAS_PARAMETERS && origin == Origin::File && is_restricted && !is_harmless(&word) {
                    ignored.push(word);
                } else if rest_is_init {
                    if origin == Origin::Baked || ends.is_none() {
                        reading.init_argument(origin, &word);
                    }
                } else if word == "--" {
                    rest_is_init = true;
                } else if origin != Origin::Baked && names.contains(&parameter(&word)) {
                    let line = format!("{word}: ignored, this initramfs has the last word about it");
                    reading.objections.warnings.push(line);
                } else {
                    reading.word(origin, &word);
                }
            }
        }
        if HAS_PARAMETERS && !ignored.is_empty() {
            let line = ["ignored, as this initramfs takes few parameters from a file: ", &ignored.join(" ")].concat();
            reading.objections.warnings.push(line);
        }
        reading.finish(is_root)
    }
}

/// The parameters of a boot, from the first to the last word about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines<'a> {
    /// Those baked in.
    pub baked: &'a str,
    /// The kernel's command line.
    pub kernel: &'a str,
    /// Those in a file on `boot`.
    pub file: &'a str,
    /// Those that somebody chose in a menu, for this try.
    pub chosen: &'a str,
    /// Those baked in as the last word.
    pub last: &'a str,
}

/// The source of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Baked,
    Kernel,
    File,
}

struct Reading {
    common: Common,
    overlay: overlay::Config,
    #[cfg(feature = "virtiofs")]
    virtiofs: virtiofs::Config,
    #[cfg(feature = "ram")]
    ram: ram::Config,
    abilities: Abilities,
    on_error: Option<OnError>,
    panic: Option<i64>,
    /// The kernel has read `panic=` itself.
    is_panic_set: bool,
    objections: Objections,
}

impl Reading {
    fn new(abilities: Abilities) -> Self {
        Self {
            common: Common::new(abilities),
            overlay: overlay::Config::default(),
            #[cfg(feature = "virtiofs")]
            virtiofs: virtiofs::Config::default(),
            #[cfg(feature = "ram")]
            ram: ram::Config::default(),
            abilities,
            on_error: None,
            panic: None,
            is_panic_set: false,
            objections: Objections::default(),
        }
    }

    /// Hands a parameter to the boot modes. Returns true if one of them knows it.
    fn of_mode(&mut self, name: &str, value: Option<&str>) -> bool {
        #[cfg(feature = "virtiofs")]
        if self.virtiofs.word(name, value) {
            return true;
        }
        #[cfg(feature = "ram")]
        if self.ram.word(name, value, &mut self.objections) {
            return true;
        }
        self.overlay.word(name, value, &mut self.objections)
    }

    fn word(&mut self, origin: Origin, word: &str) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if self.of_mode(name, value) || self.common.modules.word(name, value) {
            return;
        }
        if name.starts_with("rd.") {
            return self.own(name, value);
        }
        match (name, value) {
            ("debug", None) => self.common.debug = true,
            ("init", Some(value)) if value.starts_with('/') => {
                self.common.init = value.into();
                #[cfg(feature = "ram")]
                {
                    self.ram.init = Some(value.into());
                }
            }
            ("init", value) => self.objections.refuse(name, value, "an absolute path in the new root"),
            ("ro", None) => self.common.layers.read_only = true,
            ("rw", None) => self.common.layers.read_only = false,
            ("panic", Some(value)) => {
                self.panic = value.parse().ok();
                self.is_panic_set |= origin == Origin::Kernel;
            }
            // The kernel knows its own parameters and hands what it did not take to init itself; what is baked in it never sees.
            ("quiet", None) => {}
            (_, None) if origin != Origin::Kernel => self.common.init_args.push(word.into()),
            _ => {}
        }
    }

    /// Reads a parameter that is ours, or looks like one.
    fn own(&mut self, name: &str, value: Option<&str>) {
        let (layers, objections) = (&mut self.common.layers, &mut self.objections);
        match (name, value) {
            // dracut's spelling.
            ("rd.overlay", None | Some("1")) => layers.overlay = OverlayStore::usual(),
            ("rd.overlay", Some(value)) => match overlay_store(value) {
                Ok(store) => layers.overlay = store,
                Err(wanted) => objections.refuse(name, Some(value), wanted),
            },
            ("rd.overlay.fallback", Some("tmpfs")) => layers.fallback = true,
            ("rd.overlay.fallback", Some("fail")) => layers.fallback = false,
            ("rd.overlay.fallback", value) => objections.refuse(name, value, "fail or tmpfs"),
            ("rd.overlay.repair", Some("no")) => layers.repair = Repair::No,
            ("rd.overlay.repair", Some("check")) => layers.repair = Repair::Check,
            ("rd.overlay.repair", Some("remake")) => layers.repair = Repair::Remake,
            ("rd.overlay.repair", value) => objections.refuse(name, value, "no, check or remake"),
            ("rd.overlay.reset", value) => match switch(value) {
                Some(on) => layers.reset = on,
                None => objections.refuse(name, value, "nothing, yes or no"),
            },
            ("rd.persistent", value) => match switch(value) {
                Some(on) => layers.persistent = on,
                None => objections.refuse(name, value, "yes or no"),
            },
            ("rd.timeout", value) => objections.duration(name, value, &mut self.common.timeout),
            ("rd.onerror", value) => self.on_error(value.unwrap_or_default()),
            ("rd.led", Some(led)) if !led.is_empty() && !led.contains('/') && !led.starts_with('.') => {
                self.common.led = Some(led.into());
            }
            ("rd.watchdog", value) => self.watchdog(value),
            ("rd.recover", _) if !HAS_RECOVER => {
                objections
                    .warnings
                    .push("parameter rd.recover: this image has no menu (build --recover-password)".into());
            }
            ("rd.recover", value) => match switch(value) {
                Some(on) => self.common.recover = on,
                None => objections.warn(name, value, "nothing, yes or no"),
            },
            ("rd.led", value) => objections.warn(name, value, "the name of a light in /sys/class/leds"),
            ("rd.break", value) => self.breaks(value),
            ("rd.exit", value) if STAYS => match value.and_then(exit::Exit::parse) {
                Some(exit) => self.common.exit = Some(exit),
                None => objections.refuse(name, value, exit::WANTED),
            },
            ("rd.alive", value) if STAYS => match value.and_then(exit::Exit::parse) {
                Some(place) => self.common.alive = Some(place),
                None => objections.warn(name, value, exit::WANTED),
            },
            ("rd.debug", None) => self.common.debug = true,
            ("rd.blackbox", value) => match switch(value) {
                Some(on) => self.common.blackbox = on,
                None => objections.warn(name, value, "yes or no"),
            },
            // One that is baked into images of all variants is no slip in those that have no such file.
            ("rd.parameters", _) if !HAS_PARAMETERS => {}
            ("rd.parameters", value) => match switch(value) {
                Some(on) => self.common.parameters = on,
                None => objections.warn(name, value, "yes or no"),
            },
            _ => self.unknown(name),
        }
    }

    /// Warns about a parameter that looks like one of ours and that this build does not know.
    fn unknown(&mut self, name: &str) {
        let hint = match nearest(name, known(STAYS, HAS_RAM)) {
            Some(ours) => format!("did you mean {ours}?"),
            None => "it is not one of ours, so it is left alone".into(),
        };
        self.objections.warnings.push(format!("parameter {name}: {hint}"));
    }

    fn init_argument(&mut self, origin: Origin, word: &str) {
        if origin != Origin::Kernel {
            self.common.init_args.push(word.into());
        }
        #[cfg(feature = "ram")]
        self.ram.arguments.push(word.into());
    }

    fn watchdog(&mut self, value: Option<&str>) {
        // What is shorter no boot can promise to meet; what is longer few drivers take.
        let seconds = value.and_then(parse_duration).and_then(|time| u32::try_from(time.as_secs()).ok());
        match seconds.filter(|seconds| (10..=86_400).contains(seconds)) {
            Some(seconds) => self.common.watchdog = Some(seconds),
            None => self.objections.warn("rd.watchdog", value, "a time of 10 s to a day, such as 60s"),
        }
    }

    fn on_error(&mut self, value: &str) {
        let (name, time) = match value.split_once(':') {
            Some((name, time)) => (name, Some(time)),
            None => (value, None),
        };
        let power = match name {
            "poweroff" => Some(Power::Off),
            "reboot" => Some(Power::Reboot),
            "halt" => Some(Power::Halt),
            _ => None,
        };
        let on_error = match (power, time) {
            (Some(power), None) => Some(OnError::End(power, None)),
            (Some(power), Some(time)) => parse_duration(time).map(|time| OnError::End(power, Some(time))),
            (None, None) if name == "shell" && self.abilities.shell => Some(OnError::Shell),
            (None, _) => None,
        };
        let wanted = if self.abilities.shell {
            "poweroff, reboot or halt, with or without a time (reboot:10), or shell"
        } else {
            "poweroff, reboot or halt, with or without a time (reboot:10); a shell is in the debug variant"
        };
        match on_error {
            Some(_) => self.on_error = on_error,
            None => self.objections.warn("rd.onerror", Some(value), wanted),
        }
    }

    fn breaks(&mut self, value: Option<&str>) {
        let objections = &mut self.objections;
        if !self.abilities.shell {
            return objections
                .warnings
                .push("parameter rd.break: only the debug variant has a shell to stop with".into());
        }
        self.common.breaks.clear();
        // There is no console to stop at before the first, and nothing to look at; the last runs the root in memory.
        let steps = match Step::ALL {
            [_, steps @ .., _] if !HAS_RAM => steps,
            [_, steps @ ..] => steps,
            [] => &[],
        };
        for name in value.unwrap_or("switch-root").split(',').filter(|name| !matches!(*name, "" | "none")) {
            match steps.iter().find(|step| step.name() == name) {
                Some(step) => self.common.breaks.push(*step),
                None => {
                    let names: Vec<&str> = steps.iter().map(|step| step.name()).collect();
                    objections.warn("rd.break", Some(name), &format!("none or some of {}", names.join(",")));
                }
            }
        }
    }

    fn finish(mut self, is_root: bool) -> (Config, Result<()>) {
        // Kernel, Documentation/admin-guide/kernel-parameters.txt, panic=: N > 0 seconds, N < 0 at once, 0 waits for ever.
        let from_panic = match self.panic {
            Some(seconds) if seconds != 0 => {
                let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                Some(OnError::End(Power::Reboot, Some(after)))
            }
            _ => None,
        };
        let default = self.common.on_error;
        self.common.on_error = match (self.on_error, default) {
            (Some(asked), _) => asked,
            (None, OnError::Shell) => OnError::Shell,
            (None, _) => from_panic.unwrap_or(default),
        };
        if let (OnError::End(Power::Reboot, after), false) = (&self.common.on_error, self.is_panic_set) {
            self.common.panic = Some(after.unwrap_or(CARD_STAYS).as_secs().max(1));
        }
        let mode = self.mode(is_root);
        let Objections { warnings, error } = self.objections;
        (Config { common: self.common, mode, warnings }, error.map_or(Ok(()), Err))
    }

    /// Decides on the boot mode. A build that has only one takes that.
    fn mode(&mut self, is_root: bool) -> ModeConfig {
        #[cfg(feature = "ram")]
        if is_root || IS_RAM_ONLY {
            return ModeConfig::Ram(std::mem::take(&mut self.ram));
        }
        #[cfg(feature = "virtiofs")]
        if self.virtiofs.is_asked() || !HAS_OVERLAY {
            let config = std::mem::take(&mut self.virtiofs);
            if let Some(init) = config.default_init() {
                self.common.init = init.into();
            }
            config.check(self.abilities.trust, &mut self.objections);
            return ModeConfig::Virtiofs(config);
        }
        let _ = is_root;
        ModeConfig::Overlay(std::mem::take(&mut self.overlay))
    }
}

/// Returns true for a word that may come from a medium that is not trusted. A shell is for whoever the initramfs gives one.
fn is_harmless(word: &str) -> bool {
    parameters::HARMLESS.contains(&parameter(word)) && !word.starts_with("rd.onerror=shell")
}

/// Returns the name of the parameter in a word.
fn parameter(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// Reads the place of the writable layer.
fn overlay_store(value: &str) -> std::result::Result<OverlayStore, &'static str> {
    const WANTED: &str = "a tag (LABEL=overlay), a device path, tmpfs or tmpfs:size=50%";
    const NEEDED: &str =
        "a tag, a device path or tmpfs: the root always has a writable layer, with tmpfs one that keeps nothing";
    match (value, value.strip_prefix("tmpfs:size=")) {
        ("0", _) => Err(NEEDED),
        ("tmpfs", _) => Ok(OverlayStore::Tmpfs(None)),
        (_, Some(size)) if is_tmpfs_size(size) => Ok(OverlayStore::Tmpfs(Some(size.into()))),
        (_, Some(_)) => Err(WANTED),
        _ => value.parse().map(OverlayStore::Partition).map_err(|_| WANTED),
    }
}
