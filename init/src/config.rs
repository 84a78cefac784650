//! The parameters of a boot: `/etc/cmdline` baked into the image, then the kernel's command line, then `/etc/cmdline.final`, which nobody
//! overrides, become one [`Config`].
//! Pure: text in, values out. A value that decides what is mounted and cannot be read is an error; anything else that is odd
//! becomes a warning and the default holds.

#[cfg(any(feature = "supervise", not(feature = "linux")))]
pub mod exit;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "virtiofs", not(feature = "linux")))]
pub mod virtiofs;

use std::time::Duration;

use crate::{
    error::{Error, Result},
    names,
    step::Step,
    tag::Tag,
    text::{is_tmpfs_size, nearest, parse_duration},
};

/// The parameters that are ours, for suggestions and documentation.
pub const PARAMETERS: &[&str] = &[
    "rd.img",
    "rd.boot",
    "rd.newimg",
    "rd.overlay",
    "rd.overlay.fallback",
    "rd.overlay.repair",
    "rd.overlay.reset",
    "rd.persistent",
    "rd.image",
    "rd.toram",
    "rd.timeout",
    "rd.newimg.timeout",
    "rd.newimg.tries",
    "rd.newimg.consume",
    "rd.onerror",
    "rd.break",
    "rd.debug",
    #[cfg(any(feature = "supervise", not(feature = "linux")))]
    "rd.exit",
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    "rd.verify",
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    "rd.net",
];

/// Where the writable layer lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayStore {
    /// A partition.
    Partition(Tag),
    /// Memory; the size as tmpfs takes it, the kernel's default (half of RAM) without one.
    Tmpfs(Option<String>),
}

/// What may be done to an overlay partition that does not mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// Its filesystem is checked.
    Check,
    /// It is checked, and made anew where that does not help.
    Remake,
}

/// Permission to change the update medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consume {
    /// On a fixed disk what was delivered is moved; on a removable medium nothing is changed.
    Auto,
    /// A delivery is moved.
    Yes,
    /// Nothing is changed.
    No,
}

/// What a failed boot ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The machine is switched off.
    PowerOff,
    /// The machine starts again after that time.
    Reboot(Duration),
    /// The machine stops and stays on.
    Halt,
    /// A shell on every console (debug variant).
    Shell,
}

/// Everything the user can say about a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The partition that holds the image.
    pub img: Tag,
    /// The partition that may hold modules.
    pub boot: Tag,
    /// The partition that may hold an update.
    pub newimg: Tag,
    /// Where the writable layer lives.
    pub overlay: OverlayStore,
    /// Boot on a tmpfs when the overlay partition cannot be used.
    pub overlay_fallback: bool,
    /// What may be done to an overlay partition that does not mount.
    pub overlay_repair: Repair,
    /// Factory reset: empty `persistent` too.
    pub overlay_reset: bool,
    /// Use `persistent` as a layer over the image.
    pub persistent: bool,
    /// File name of the image.
    pub image: String,
    /// Copy the image to memory and give the medium free.
    pub to_ram: bool,
    /// How long to wait for everything that is needed, from the start of init.
    pub timeout: Duration,
    /// How long to wait for an update medium.
    pub newimg_timeout: Duration,
    /// How many boots a new image has to say that it is well; 0: it need not.
    pub newimg_tries: u32,
    /// Permission to change the update medium.
    pub newimg_consume: Consume,
    /// What a failed boot ends in.
    pub on_error: OnError,
    /// Steps to stop before, with a shell (debug variant).
    pub breaks: Vec<Step>,
    /// The program that becomes PID 1 of the new root.
    pub init: String,
    /// Arguments for it that were baked in; those of the kernel's command line come from the kernel.
    pub init_args: Vec<String>,
    /// The kernel's arguments for init are dropped: those of the final line are all.
    pub init_args_final: bool,
    /// Mount the root read-only.
    pub read_only: bool,
    /// Log what is done in detail.
    pub debug: bool,
    /// Where the status of init's program is told; then this process stays PID 1.
    #[cfg(any(feature = "supervise", not(feature = "linux")))]
    pub exit: Option<exit::Exit>,
    /// The program of `init=` (from memory).
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    pub given_init: Option<String>,
    /// What follows `--` on the kernel's command line (from memory).
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    pub given_arguments: Vec<String>,
    /// Compare the content of every file, not only its size (from memory).
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    pub verify: bool,
    /// Whether networks are to be asked for addresses, where `rd.net=` says so (from memory).
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    pub net: Option<bool>,
    /// What is asked of the virtiofs way.
    #[cfg(any(feature = "virtiofs", not(feature = "linux")))]
    pub virtiofs: virtiofs::Virtiofs,
    /// What was odd, one sentence each.
    pub warnings: Vec<String>,
}

/// What the build of init can do, as far as parameters depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// It has a shell (debug variant).
    pub shell: bool,
    /// It takes only images that a baked-in key vouches for.
    pub trust: bool,
}

/// How to come to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Partitions, an image, a writable layer.
    Overlay,
    /// A folder of the host.
    Virtiofs,
    /// The initramfs itself.
    Ram,
}

impl Config {
    /// The way that was asked for; an init that knows one takes that.
    pub fn way(&self) -> Way {
        #[cfg(feature = "ram")]
        if !cfg!(any(feature = "overlay", feature = "virtiofs")) {
            return Way::Ram;
        }
        #[cfg(any(feature = "virtiofs", not(feature = "linux")))]
        if self.virtiofs.is_asked() || !cfg!(any(feature = "overlay", not(feature = "linux"))) {
            return Way::Virtiofs;
        }
        Way::Overlay
    }

    fn new(abilities: Abilities) -> Self {
        Self {
            img: Tag::Label("img".into()),
            boot: Tag::Label("boot".into()),
            newimg: Tag::Label("newimg".into()),
            overlay: OverlayStore::Partition(Tag::Label("overlay".into())),
            overlay_fallback: false,
            overlay_repair: Repair::Check,
            overlay_reset: false,
            persistent: true,
            image: names::IMAGE.into(),
            to_ram: false,
            timeout: Duration::from_secs(10),
            newimg_timeout: Duration::ZERO,
            newimg_tries: 0,
            newimg_consume: Consume::Auto,
            on_error: if abilities.shell { OnError::Shell } else { OnError::PowerOff },
            breaks: if abilities.shell { vec![Step::SwitchRoot] } else { Vec::new() },
            init: names::INIT.into(),
            init_args: Vec::new(),
            init_args_final: false,
            read_only: false,
            debug: false,
            #[cfg(any(feature = "supervise", not(feature = "linux")))]
            exit: None,
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            given_init: None,
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            given_arguments: Vec::new(),
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            verify: false,
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            net: None,
            #[cfg(any(feature = "virtiofs", not(feature = "linux")))]
            virtiofs: virtiofs::Virtiofs::default(),
            warnings: Vec::new(),
        }
    }

    /// Reads the baked-in parameters, then those of the kernel. The later one wins.
    ///
    /// # Errors
    /// The first parameter of ours whose value decides what is mounted and cannot be read. What could be read up to the end
    /// comes back with it, so that the failure policy asked for holds.
    pub fn parse(baked: &str, kernel: &str, abilities: Abilities) -> (Self, Result<()>) {
        Self::parse_final(baked, kernel, "", abilities)
    }

    /// Reads the lines as [`Self::parse`] does, and a `last` one that is baked in as well: of the kernel's words those are ignored whose
    /// parameter it names, and all arguments for init where it has a `--`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_final(baked: &str, kernel: &str, last: &str, abilities: Abilities) -> (Self, Result<()>) {
        let mut reading = Reading { config: Self::new(abilities), abilities, on_error: None, panic: None, error: None };
        let fixed = words(last);
        let ends = fixed.iter().position(|word| word == "--");
        let names: Vec<&str> = fixed.iter().take(ends.unwrap_or(fixed.len())).map(|word| parameter(word)).collect();
        reading.config.init_args_final = ends.is_some();
        for (origin, line) in [(Origin::Baked, baked), (Origin::Kernel, kernel), (Origin::Baked, last)] {
            let mut rest_is_init = false;
            for word in words(line) {
                if rest_is_init {
                    if origin == Origin::Baked || ends.is_none() {
                        reading.init_argument(origin, &word);
                    }
                } else if word == "--" {
                    rest_is_init = true;
                } else if origin == Origin::Kernel && names.contains(&parameter(&word)) {
                    reading.config.warnings.push(format!("{word}: ignored, this initramfs has the last word about it"));
                } else {
                    reading.word(origin, &word);
                }
            }
        }
        reading.finish()
    }
}

/// Which command line a word is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Baked,
    Kernel,
}

struct Reading {
    config: Config,
    abilities: Abilities,
    on_error: Option<OnError>,
    panic: Option<i64>,
    error: Option<Error>,
}

impl Reading {
    fn word(&mut self, origin: Origin, word: &str) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        #[cfg(any(feature = "virtiofs", not(feature = "linux")))]
        if self.config.virtiofs.word(name, value) {
            return;
        }
        if name.starts_with("rd.") {
            return self.own(name, value);
        }
        match (name, value) {
            ("debug", None) => self.config.debug = true,
            ("init", Some(value)) if value.starts_with('/') => {
                self.config.init = value.into();
                #[cfg(any(feature = "ram", not(feature = "linux")))]
                {
                    self.config.given_init = Some(value.into());
                }
            }
            ("init", value) => self.refuse(name, value, "an absolute path in the new root"),
            ("ro", None) => self.config.read_only = true,
            ("rw", None) => self.config.read_only = false,
            ("panic", Some(value)) => self.panic = value.parse().ok(),
            // The kernel knows its own parameters and hands what it did not take to init itself; what is baked in it never sees.
            ("quiet", None) => {}
            (_, None) if origin == Origin::Baked => self.config.init_args.push(word.into()),
            _ => {}
        }
    }

    /// A parameter that is ours, or looks like one.
    fn own(&mut self, name: &str, value: Option<&str>) {
        match (name, value) {
            ("rd.img", value) => self.tag(name, value, |config, tag| config.img = tag),
            ("rd.boot", value) => self.tag(name, value, |config, tag| config.boot = tag),
            ("rd.newimg", value) => self.tag(name, value, |config, tag| config.newimg = tag),
            ("rd.overlay", value) => self.overlay(value.unwrap_or_default()),
            ("rd.overlay.fallback", Some("tmpfs")) => self.config.overlay_fallback = true,
            ("rd.overlay.fallback", Some("fail")) => self.config.overlay_fallback = false,
            ("rd.overlay.fallback", value) => self.refuse(name, value, "fail or tmpfs"),
            ("rd.overlay.repair", Some("no")) => self.config.overlay_repair = Repair::No,
            ("rd.overlay.repair", Some("check")) => self.config.overlay_repair = Repair::Check,
            ("rd.overlay.repair", Some("remake")) => self.config.overlay_repair = Repair::Remake,
            ("rd.overlay.repair", value) => self.refuse(name, value, "no, check or remake"),
            ("rd.overlay.reset", value) => match switch(value) {
                Some(on) => self.config.overlay_reset = on,
                None => self.refuse(name, value, "nothing, yes or no"),
            },
            ("rd.persistent", value) => match switch(value) {
                Some(on) => self.config.persistent = on,
                None => self.refuse(name, value, "yes or no"),
            },
            ("rd.image", Some(value)) if is_file_name(value) => self.config.image = value.into(),
            ("rd.image", value) => self.refuse(name, value, "a file name without a slash"),
            ("rd.toram", value) => match switch(value) {
                Some(on) => self.config.to_ram = on,
                None => self.warn(name, value.unwrap_or_default(), "nothing, yes or no"),
            },
            ("rd.timeout", value) => self.duration(name, value, |config, time| config.timeout = time),
            ("rd.newimg.timeout", value) => self.duration(name, value, |config, time| config.newimg_timeout = time),
            ("rd.newimg.tries", value) => match value.unwrap_or_default().parse() {
                Ok(tries) => self.config.newimg_tries = tries,
                Err(_) => self.warn(name, value.unwrap_or_default(), "a number of boots, 0 for no trial"),
            },
            ("rd.newimg.consume", Some("auto")) => self.config.newimg_consume = Consume::Auto,
            ("rd.newimg.consume", Some("yes")) => self.config.newimg_consume = Consume::Yes,
            ("rd.newimg.consume", Some("no")) => self.config.newimg_consume = Consume::No,
            ("rd.newimg.consume", value) => self.warn(name, value.unwrap_or_default(), "auto, yes or no"),
            ("rd.onerror", value) => self.on_error(value.unwrap_or_default()),
            ("rd.break", value) => self.breaks(value),
            #[cfg(any(feature = "supervise", not(feature = "linux")))]
            ("rd.exit", value) => match value.and_then(exit::Exit::parse) {
                Some(exit) => self.config.exit = Some(exit),
                None => self.refuse(name, value, exit::WANTED),
            },
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            ("rd.verify", value) => match switch(value) {
                Some(on) => self.config.verify = on,
                None => self.refuse(name, value, "nothing, yes or no"),
            },
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            ("rd.net", Some("dhcp")) => self.config.net = Some(true),
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            ("rd.net", Some("no")) => self.config.net = Some(false),
            #[cfg(any(feature = "ram", not(feature = "linux")))]
            ("rd.net", value) => self.warn(name, value.unwrap_or_default(), "dhcp or no"),
            ("rd.debug", None) => self.config.debug = true,
            _ => {
                let hint = match nearest(name, PARAMETERS) {
                    Some(ours) => format!("did you mean {ours}?"),
                    None => "it is not one of ours, so it is left alone".into(),
                };
                self.config.warnings.push(format!("parameter {name}: {hint}"));
            }
        }
    }

    fn init_argument(&mut self, origin: Origin, word: &str) {
        if origin == Origin::Baked {
            self.config.init_args.push(word.into());
        }
        #[cfg(any(feature = "ram", not(feature = "linux")))]
        self.config.given_arguments.push(word.into());
    }

    fn refuse(&mut self, name: &str, value: Option<&str>, wanted: &'static str) {
        let error = Error::Parameter { name: name.into(), value: value.unwrap_or_default().into(), wanted };
        self.error.get_or_insert(error);
    }

    fn warn(&mut self, name: &str, value: &str, wanted: &str) {
        self.config.warnings.push(format!("parameter {name}={value}: wanted {wanted}; the default holds"));
    }

    fn tag(&mut self, name: &str, value: Option<&str>, set: impl FnOnce(&mut Config, Tag)) {
        match value.unwrap_or_default().parse() {
            Ok(tag) => set(&mut self.config, tag),
            Err(wanted) => self.refuse(name, value, wanted),
        }
    }

    fn duration(&mut self, name: &str, value: Option<&str>, set: impl FnOnce(&mut Config, Duration)) {
        let value = value.unwrap_or_default();
        match parse_duration(value) {
            Some(time) => set(&mut self.config, time),
            None => self.warn(name, value, "a time such as 10s, 500ms or 2m"),
        }
    }

    fn overlay(&mut self, value: &str) {
        const WANTED: &str = "a tag (LABEL=overlay), a device path, tmpfs or tmpfs:size=50%";
        self.config.overlay = match (value, value.strip_prefix("tmpfs:size=")) {
            ("tmpfs", _) => OverlayStore::Tmpfs(None),
            (_, Some(size)) if is_tmpfs_size(size) => OverlayStore::Tmpfs(Some(size.into())),
            (_, Some(_)) => return self.refuse("rd.overlay", Some(value), WANTED),
            _ => match value.parse() {
                Ok(tag) => OverlayStore::Partition(tag),
                Err(_) => return self.refuse("rd.overlay", Some(value), WANTED),
            },
        };
    }

    fn on_error(&mut self, value: &str) {
        let on_error = match value.split_once(':') {
            None if value == "poweroff" => Some(OnError::PowerOff),
            None if value == "reboot" => Some(OnError::Reboot(Duration::ZERO)),
            None if value == "halt" => Some(OnError::Halt),
            None if value == "shell" && self.abilities.shell => Some(OnError::Shell),
            Some(("reboot", time)) => parse_duration(time).map(OnError::Reboot),
            _ => None,
        };
        match on_error {
            Some(_) => self.on_error = on_error,
            None if self.abilities.shell => {
                self.warn("rd.onerror", value, "poweroff, reboot, reboot:10, halt or shell")
            }
            None => {
                self.warn("rd.onerror", value, "poweroff, reboot, reboot:10 or halt (a shell is in the debug variant)")
            }
        }
    }

    fn breaks(&mut self, value: Option<&str>) {
        if !self.abilities.shell {
            self.config.warnings.push("parameter rd.break: only the debug variant has a shell to stop with".into());
            return;
        }
        self.config.breaks.clear();
        for name in value.unwrap_or("switch-root").split(',').filter(|name| !matches!(*name, "" | "none")) {
            match Step::from_name(name) {
                // There is no console to stop at before it, and nothing to look at.
                Some(step) if step > Step::Api => self.config.breaks.push(step),
                _ => {
                    let names: Vec<&str> = Step::ALL.iter().skip(1).map(|step| step.name()).collect();
                    self.warn("rd.break", name, &format!("none or some of {}", names.join(",")));
                }
            }
        }
    }

    fn finish(mut self) -> (Config, Result<()>) {
        // Kernel, Documentation/admin-guide/kernel-parameters.txt, panic=: N > 0 seconds, N < 0 at once, 0 waits for ever.
        let from_panic = match self.panic {
            Some(seconds) if seconds != 0 => {
                Some(OnError::Reboot(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
            }
            _ => None,
        };
        let default = self.config.on_error;
        self.config.on_error = match (self.on_error, default) {
            (Some(asked), _) => asked,
            (None, OnError::Shell) => OnError::Shell,
            (None, _) => from_panic.unwrap_or(default),
        };
        #[cfg(any(feature = "virtiofs", not(feature = "linux")))]
        if self.config.way() == Way::Virtiofs {
            if let Some(init) = self.config.virtiofs.default_init() {
                self.config.init = init.into();
            }
            if self.abilities.trust {
                self.refuse("rootfs", Some(self.config.virtiofs.tag().to_string().as_str()), SIGNED_ONLY);
            }
            if let Err(error) = self.config.virtiofs.check() {
                self.error.get_or_insert(error);
            }
        }
        (self.config, self.error.map_or(Ok(()), Err))
    }
}

/// The name of the parameter in a word.
fn parameter(word: &str) -> &str {
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// The objection to a root that nobody can sign.
#[cfg(any(feature = "virtiofs", not(feature = "linux")))]
const SIGNED_ONLY: &str = "nothing: this initramfs boots signed images only";

fn switch(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("" | "1" | "y" | "yes" | "on") => Some(true),
        Some("0" | "n" | "no" | "off") => Some(false),
        _ => None,
    }
}

fn is_file_name(value: &str) -> bool {
    !matches!(value, "" | "." | "..") && !value.contains('/')
}

/// Splits a command line as the kernel does: blanks part words, a double quote keeps them together and is itself dropped where
/// it stands at the ends of a word or of its value (kernel, lib/cmdline.c, next_arg).
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut started = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                started = true;
            }
            c if c.is_ascii_whitespace() && !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            c => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}
