//! The things that every step of a boot needs: the machine, the parameters, the report, the modules.

use std::io::ErrorKind;

use contract::{names, report::Report, step::Step};

use crate::{
    config::{Abilities, Common, HAS_SHELL},
    error::{Error, Result},
    given::Given,
    kernel::{Level, Machine, read_text},
    modules::{Modules, unlisted},
    places::Places,
    press::Press,
    shell::{self, Reason},
};

/// A boot under way.
pub struct Context<'k> {
    /// The machine.
    pub kernel: &'k mut dyn Machine,
    /// The parameters of every boot mode.
    pub config: Common,
    /// The report so far.
    pub report: Report,
    /// The modules baked into the initramfs.
    pub modules: Modules,
    /// The abilities of this build of init.
    pub abilities: Abilities,
    /// The places of the black box.
    pub blackbox: Places,
    /// The parameters from a file on `boot`.
    pub given: Given,
    /// The wish of somebody who held the button; none before it was looked at.
    pub press: Option<Press>,
}

impl<'k> Context<'k> {
    /// Returns a boot that has not begun, with every parameter at its default.
    pub fn new(kernel: &'k mut dyn Machine, abilities: Abilities) -> Self {
        Self {
            kernel,
            config: Common::new(abilities),
            report: Report::default(),
            modules: Modules::default(),
            abilities,
            blackbox: Places::default(),
            given: Given::default(),
            press: None,
        }
    }

    /// Starts a step; stops before it with a shell if that was asked for.
    pub fn begin(&mut self, step: Step) {
        if HAS_SHELL && self.config.breaks.contains(&step) {
            self.stop_before(step);
        }
        let now = self.kernel.now();
        self.report.begin(step, now);
        if self.config.debug {
            self.kernel.log(Level::Info, &format!("step {}", step.name()));
        }
    }

    /// Stops before a step with a shell.
    fn stop_before(&mut self, step: Step) {
        let head = ["Stopped before step ", step.name(), "."].concat();
        let reason = Reason { head, wanted: None, leave: "exit goes on with the boot" };
        loop {
            match shell::run(self.kernel, &mut self.modules, &self.config.modules, reason.clone()) {
                // Left for the menu, which would be there at the end of a later shell, when nobody asks for it any more.
                Ok(None) if shell::is_for_menu(self.kernel) => {
                    self.kernel.log(Level::Announcement, "recover: no boot has failed, so there is no menu");
                }
                Ok(None) => return,
                Ok(Some(power)) => return shell::end(self.kernel, power),
                Err(error) => return self.notice(&format!("no shell before step {}: {error}", step.name())),
            }
        }
    }

    /// Logs and reports something odd that does not stop the boot.
    pub fn notice(&mut self, line: &str) {
        self.kernel.log(Level::Warning, line);
        self.report.notice(line);
    }

    /// Logs what was done.
    pub fn say(&mut self, line: &str) {
        self.kernel.log(Level::Info, line);
    }

    /// Reads a small file of the initramfs or the kernel as text; one that cannot be read is empty.
    pub fn text(&mut self, path: &str) -> String {
        read_text(self.kernel, path)
    }

    /// Makes a directory where there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make_dir(&mut self, path: &str) -> Result<()> {
        match self.kernel.make_dir(path, 0o755) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(Error::Io { action: "create", path: path.into(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// Makes a directory and those above it.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[cfg(feature = "ram")]
    pub fn make_dirs(&mut self, path: &str) -> Result<()> {
        let mut made = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            made.push('/');
            made.push_str(part);
            self.make_dir(&made)?;
        }
        Ok(())
    }

    /// Opens the list of modules and loads those that every boot wants. Without a list for the running kernel these are all module
    /// files of the archive.
    pub fn open_modules(&mut self) {
        self.modules = Modules::open(self.kernel, &self.config.modules);
        if !self.modules.is_listed() {
            unlisted::load(self.kernel, &self.config.modules, &unlisted::Place::ALL, self.config.debug);
        }
        self.modules.load_always(self.kernel);
    }

    /// Writes the report for the running system.
    pub fn write_report(&mut self) {
        let json = self.report.to_json(None);
        if let Err(error) = self.kernel.write(names::REPORT, json.as_bytes()) {
            self.notice(&format!("cannot write {}: {error}", names::REPORT));
        }
    }
}
