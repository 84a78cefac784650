//! One boot from the first mount to the hand-over: the steps, their times, and what happens when one fails. Which way leads to
//! the root is told in the rooms below: [`overlay`] is the story of the appliance.

#[cfg(any(feature = "overlay", not(feature = "linux")))]
pub mod overlay;
#[cfg(any(feature = "ram", not(feature = "linux")))]
pub mod ram;
#[cfg(any(feature = "virtiofs", not(feature = "linux")))]
pub mod virtiofs;

use std::time::Duration;

use crate::{
    config::{Abilities, Config, OnError, Way},
    error::{Error, Result},
    kernel::{Kernel, Level, Limits, Mount, Power, exists},
    modules::{Modules, unlisted},
    names,
    report::Report,
    step::Step,
    switch_root,
};
#[cfg(any(feature = "supervise", not(feature = "linux")))]
use crate::{kernel::Program, supervise};

/// A boot under way.
pub struct Boot<'k> {
    /// The machine.
    pub kernel: &'k mut dyn Kernel,
    /// What the user asked for.
    pub config: Config,
    /// How it went so far.
    pub report: Report,
    /// The modules baked into the image.
    pub modules: Modules,
    /// What this build of init can do.
    pub abilities: Abilities,
    /// Whether the overlay partition is mounted.
    pub store_open: bool,
    /// Whether the image that boots is in memory.
    pub in_ram: bool,
    /// Whether what the kernel says about devices is listened to.
    listens: bool,
    /// The mounts that move into the new root.
    pub moved: &'static [&'static str],
}

/// What this build of init can do.
pub const ABILITIES: Abilities = Abilities { shell: cfg!(feature = "shell"), trust: cfg!(feature = "trust") };

/// Boots the machine. `arguments` are what the kernel left for init. Comes back only on a recorder, or where the machine cannot
/// even be switched off.
pub fn run(kernel: &mut dyn Kernel, arguments: &[String], abilities: Abilities) {
    let mut boot = Boot::new(kernel, abilities);
    if let Err(error) = boot.go(arguments) {
        boot.fail(&error, arguments);
    }
}

impl<'k> Boot<'k> {
    /// A boot that has not begun, with every parameter at its default.
    pub fn new(kernel: &'k mut dyn Kernel, abilities: Abilities) -> Self {
        let (config, _) = Config::parse("", "", abilities);
        Self {
            kernel,
            config,
            report: Report::default(),
            modules: Modules::default(),
            moved: &switch_root::MOVED,
            abilities,
            store_open: false,
            in_ram: false,
            listens: false,
        }
    }

    /// Comes back without an error only on a recorder, or where the machine cannot be switched off.
    fn go(&mut self, arguments: &[String]) -> Result<()> {
        self.start()?;
        #[cfg(any(feature = "ram", not(feature = "linux")))]
        if self.config.way() == Way::Ram || ram::is_baked(self.kernel) {
            return ram::run(self);
        }
        match self.config.way() {
            #[cfg(any(feature = "virtiofs", not(feature = "linux")))]
            Way::Virtiofs => virtiofs::assemble(self)?,
            #[cfg(any(feature = "overlay", not(feature = "linux")))]
            Way::Overlay => overlay::assemble(self)?,
            #[allow(unreachable_patterns, reason = "the ways that this build does not know")]
            _ => {}
        }
        self.hand_over(arguments)
    }

    /// Mounts what every program expects and reads the parameters.
    fn start(&mut self) -> Result<()> {
        let now = self.kernel.now();
        self.report.begin(Step::Api, now);
        #[cfg(any(feature = "ram", not(feature = "linux")))]
        let is_root = self.config.way() == Way::Ram || ram::is_baked(self.kernel);
        #[cfg(not(any(feature = "ram", not(feature = "linux"))))]
        let is_root = false;
        for (source, target, data, limits) in [
            ("devtmpfs", "/dev", "mode=755", Limits::None),
            ("proc", "/proc", "", Limits::NoSuidDev),
            ("sysfs", "/sys", "", Limits::NoSuidDev),
            // systemd, File Hierarchy Requirements: /run is mounted by the initramfs, mode 755, nosuid, nodev.
            ("tmpfs", "/run", "mode=755", Limits::NoSuidDev),
        ] {
            // An archive may hold this program and nothing else.
            self.make_dir(target)?;
            // What an image has in /run it needs.
            if is_root && target == "/run" && self.kernel.list(target).is_ok_and(|names| !names.is_empty()) {
                continue;
            }
            let mount = Mount { source, target, filesystem: source, read_only: false, limits, data };
            match self.kernel.mount(&mount) {
                // The kernel may have mounted devtmpfs itself (CONFIG_DEVTMPFS_MOUNT).
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
                Err(source) => {
                    return Err(Error::Mount {
                        what: "api",
                        device: mount.source.into(),
                        filesystem: mount.filesystem.into(),
                        source,
                    });
                }
                Ok(()) => {}
            }
            if target == "/dev" {
                self.kernel.open_standard_files();
            }
        }
        let folders = [names::STATE_DIR, names::IMG_DIR, names::IMAGE_DIR, names::OVERLAY_DIR];
        for folder in folders.into_iter().take(if is_root { 1 } else { 4 }) {
            self.make_dir(folder)?;
        }
        let baked = self.text(names::BAKED_CMDLINE);
        let given = self.text("/proc/cmdline");
        let last = self.text(names::FINAL_CMDLINE);
        let (config, outcome) = Config::parse_final(&baked, &given, &last, self.abilities);
        self.config = config;
        for warning in std::mem::take(&mut self.config.warnings) {
            self.notice(&warning);
        }
        let release = self.kernel.release();
        self.report.fact("kernel", release);
        outcome
    }

    fn text(&mut self, path: &str) -> String {
        self.kernel.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Opens the list of modules and loads those that every boot wants. Without a list for the running kernel these are all module
    /// files of the archive.
    pub fn open_modules(&mut self) {
        self.modules = Modules::open(self.kernel);
        if !self.modules.is_listed() {
            unlisted::load(self.kernel, &unlisted::Place::ALL, self.config.debug);
        }
        self.modules.load_always(self.kernel);
    }

    /// Starts a step; stops before it with a shell if that was asked for.
    pub fn begin(&mut self, step: Step) {
        if self.config.breaks.contains(&step) {
            let banner = format!("Stopped before step {}. Leave the shell with exit: the boot goes on.", step.name());
            if let Err(error) = self.kernel.shell(&banner) {
                self.notice(&format!("no shell before step {}: {error}", step.name()));
            }
        }
        let now = self.kernel.now();
        self.report.begin(step, now);
        if self.config.debug {
            self.kernel.log(Level::Info, &format!("step {}", step.name()));
        }
    }

    /// Listens to what the kernel says about devices, if nobody did. Returns whether that is new: then everything has to be
    /// looked at once more. So what came after the first look is not missed, and a boot that finds all it needs at once asks for
    /// no events.
    ///
    /// # Errors
    /// As [`Kernel::listen`].
    pub fn starts_to_listen(&mut self) -> std::io::Result<bool> {
        if self.listens {
            return Ok(false);
        }
        self.kernel.listen()?;
        self.listens = true;
        self.modules.coldplug(self.kernel, &[]);
        Ok(true)
    }

    /// Says and reports something odd that does not stop the boot.
    pub fn notice(&mut self, line: &str) {
        self.kernel.log(Level::Warning, line);
        self.report.notice(line);
    }

    /// Says what was done.
    pub fn say(&mut self, line: &str) {
        self.kernel.log(Level::Info, line);
    }

    /// Makes a directory where there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make_dir(&mut self, path: &str) -> Result<()> {
        match self.kernel.make_dir(path, 0o755) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::Io { action: "create", path: path.into(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// Checks the new root, writes the report and becomes it.
    fn hand_over(&mut self, arguments: &[String]) -> Result<()> {
        self.begin(Step::Check);
        switch_root::check_init(self.kernel, names::SYSROOT, &self.config.init)?;
        self.look_for_modules();
        self.begin(Step::Report);
        if self.config.breaks.contains(&Step::SwitchRoot) {
            // For who looks at it from the shell.
            self.write_report();
        }
        self.begin(Step::SwitchRoot);
        let mut all = self.config.init_args.clone();
        if !self.config.init_args_final {
            all.extend_from_slice(arguments);
        }
        #[cfg(any(feature = "supervise", not(feature = "linux")))]
        all.extend(self.text(names::BAKED_ARGUMENTS).split_terminator('\0').map(String::from));
        self.write_report();
        let init = self.config.init.clone();
        switch_root::switch(self.kernel, names::SYSROOT, self.moved)?;
        #[cfg(any(feature = "supervise", not(feature = "linux")))]
        if let Some(exit) = self.config.exit.clone() {
            let program = Program {
                path: init,
                arguments: all,
                #[cfg(any(feature = "ram", not(feature = "linux")))]
                setting: None,
            };
            return supervise::run(self.kernel, &exit, &program);
        }
        Err(Error::Exec { source: self.kernel.exec(&init, &all), path: init })
    }

    /// Says so where the root has no modules for the kernel that runs, though that loads modules: drivers that nothing here needed would be
    /// missed later, by programs that do not say why.
    fn look_for_modules(&mut self) {
        let release = self.kernel.release();
        let folder = ["/", names::MODULES_DIR, "/", &release].concat();
        if exists(self.kernel, "/proc/modules") && switch_root::resolve(self.kernel, names::SYSROOT, &folder).is_none()
        {
            self.notice(&format!("the root has no modules for this kernel ({folder})"));
        }
    }

    fn write_report(&mut self) {
        let json = self.report.to_json(None);
        if let Err(error) = self.kernel.write(names::REPORT, json.as_bytes()) {
            self.notice(&format!("cannot write {}: {error}", names::REPORT));
        }
    }

    /// Says what went wrong, once, and does what the policy wants.
    fn fail(&mut self, error: &Error, arguments: &[String]) {
        let now = self.kernel.now();
        self.report.end(now);
        let mut card = error.card(self.report.step());
        // A disk whose driver is for another kernel is not there.
        if let (Error::PartitionMissing { .. }, Some(line)) = (error, self.modules.mismatch(self.kernel)) {
            card.seen.push(line);
            card.next =
                "start the kernel that this image was built for, or build the image with the modules of this one"
                    .into();
        }
        self.kernel.announce(&card.to_string());
        // The card is out; a report that cannot be written changes nothing.
        let _ = self.kernel.write(names::REPORT, self.report.to_json(Some(&card)).as_bytes());
        if self.config.on_error == OnError::Shell {
            let banner = "A shell, because the boot failed. If you put a root together at /sysroot, exit boots it; else exit \
                          powers off.";
            match self.kernel.shell(banner) {
                Ok(()) if switch_root::check_init(self.kernel, names::SYSROOT, &self.config.init).is_ok() => {
                    if let Err(error) = self.hand_over(arguments) {
                        self.kernel.announce(&error.card(self.report.step()).to_string());
                    }
                }
                Ok(()) => {}
                Err(error) => self.notice(&format!("no shell: {error}")),
            }
        }
        match self.config.on_error {
            OnError::PowerOff | OnError::Shell => self.kernel.power(Power::Off, Duration::ZERO),
            OnError::Reboot(after) => self.kernel.power(Power::Reboot, after),
            OnError::Halt => self.kernel.power(Power::Halt, Duration::ZERO),
        }
    }
}
