//! Parameters as they are read, word by word, into a configuration.

use std::time::Duration;

use contract::{
    parameters::{self, known, words},
    step::Step,
    text::{is_tmpfs_size, nearest, parse_duration},
};

use super::{
    Abilities, CARD_STAYS, Common, Config, HAS_BUTTON, HAS_PARAMETERS, HAS_RAM, HAS_RECOVER, Lines, ModeConfig,
    OnError, OverlayStore, Repair, STAYS, exit,
    key::{self, Key},
    values::{Objections, switch},
};
use crate::boot::overlay::config as overlay;
#[cfg(feature = "ram")]
use crate::boot::ram::config as ram;
#[cfg(feature = "virtiofs")]
use crate::boot::virtiofs::config as virtiofs;
use crate::{error::Result, kernel::Power};

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
            ("rd.button", _) if !HAS_BUTTON => {
                objections.warnings.push("parameter rd.button: this image looks at no button".into());
            }
            ("rd.button", Some("" | "no")) => self.common.button = None,
            ("rd.button", value) => match value.and_then(Key::parse) {
                Some(key) => self.common.button = Some(key),
                None => objections.warn(name, value, key::WANTED),
            },
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
        if is_root || super::IS_RAM_ONLY {
            return ModeConfig::Ram(std::mem::take(&mut self.ram));
        }
        #[cfg(feature = "virtiofs")]
        if self.virtiofs.is_asked() || !super::HAS_OVERLAY {
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

/// Returns true for a word that may come from a medium that is not trusted. A shell is for whoever the initramfs gives one, and a black box
/// that is switched off tells nobody what this machine does.
fn is_harmless(word: &str) -> bool {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    parameters::HARMLESS.contains(&name)
        && !(name == "rd.onerror" && value.starts_with("shell"))
        && (name != "rd.blackbox" || switch(Some(value)) == Some(false))
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
