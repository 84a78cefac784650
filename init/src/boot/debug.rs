//! A failed boot of the debug variant: its shell, and what follows when that is left.

use std::time::Duration;

use contract::{card::Card, names, report::Report, step::Step};

use super::{
    hold::Console,
    recover::{self, Appliance, Choice},
};
use crate::{
    config::HAS_PARAMETERS,
    context::Context,
    given::Given,
    modules::Modules,
    shell::{self, Reason},
    switch_root,
};

/// The shortest time that a person spends in a shell. One that ends sooner has no keyboard, but a console that is closed.
const HASTE: Duration = Duration::from_secs(1);

/// The number of shells that end in haste one after the other before the machine is powered off.
const HASTY: u8 = 3;

/// The tries of a boot so far.
#[derive(Debug, Default)]
pub struct Tries {
    hasty: u8,
    words: String,
}

impl Tries {
    /// Returns the parameters that somebody chose for this try.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Prepares another try with these parameters: nothing is mounted, and nothing known.
    pub fn again(&mut self, context: &mut Context<'_>, words: String) {
        self.words = words;
        // A file that is for every boot may have changed by now; one for this boot is marked done.
        if HAS_PARAMETERS && !context.given.is_once {
            context.given = Given::default();
        }
        shell::release_disks(context.kernel);
        forget(context);
    }

    /// Prepares another try with these parameters, where nothing is mounted yet.
    pub fn start_over(&mut self, context: &mut Context<'_>, words: &str) {
        self.words = words.into();
        forget(context);
    }

    /// Counts a shell that was open for `time`. Returns true where another try makes sense.
    fn count(&mut self, time: Duration) -> bool {
        self.hasty = if time < HASTE { self.hasty.saturating_add(1) } else { 0 };
        self.hasty < HASTY
    }
}

/// Forgets what a try has found out, so that another one begins as the first did.
pub fn forget(context: &mut Context<'_>) {
    context.report = Report::default();
    context.modules = Modules::default();
}

/// The way that a failed boot goes on after its shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The root that was put together by hand is booted.
    HandOver,
    /// The boot is tried again: from the parameters on, with nothing mounted, as devices, labels and files may be others by now.
    Again,
    /// The machine ends.
    End,
}

/// Runs the shell after a failed boot. Returns what follows.
pub fn after_failure(
    context: &mut Context<'_>,
    card: &Card,
    appliance: &Appliance,
    consoles: &[Console],
    tries: &mut Tries,
) -> Next {
    // Then nothing of this initramfs is left to try again with, and lists of its modules would replace those of the root.
    let is_switched = card.step >= Step::SwitchRoot;
    if is_switched {
        context.modules = Modules::default();
    }
    let reason = Reason {
        head: ["The boot failed: ", card.code.name(), ", at step ", card.step.name(), "."].concat(),
        wanted: (!is_switched).then_some(card.wanted.as_str()),
        leave: match is_switched {
            true => "exit powers off",
            false => "exit tries again, or boots the root that you put together at /sysroot",
        },
    };
    let mut start = context.kernel.now();
    loop {
        match shell::run(context.kernel, &mut context.modules, &context.config.modules, reason.clone()) {
            Ok(None) if is_switched => return Next::End,
            Ok(None) if shell::is_for_menu(context.kernel) => {}
            Ok(None) => break,
            Ok(Some(power)) => {
                shell::end(context.kernel, power);
                return Next::End;
            }
            Err(error) => {
                context.notice(&format!("no shell: {error}"));
                return Next::End;
            }
        }
        match recover::run(context, Some(card), appliance, None, consoles) {
            Choice::Again(words) => {
                tries.again(context, words);
                return Next::Again;
            }
            Choice::End(power) => {
                shell::end(context.kernel, power);
                return Next::End;
            }
            Choice::Left => start = context.kernel.now(),
        }
    }
    if switch_root::check_init(context.kernel, names::SYSROOT, &context.config.init).is_ok() {
        return Next::HandOver;
    }
    let time = context.kernel.now().saturating_sub(start);
    if !tries.count(time) {
        context.say("each shell exited at once: nobody is there; the boot is not tried again");
        return Next::End;
    }
    tries.again(context, String::new());
    context.notice("the boot is tried again from the debug shell");
    Next::Again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_is_closed_does_not_try_for_ever() {
        let mut tries = Tries::default();
        let quick = Duration::from_millis(10);
        assert!(tries.count(quick) && tries.count(quick));
        assert!(tries.count(HASTE), "somebody was there");
        assert_eq!([quick; 3].map(|time| tries.count(time)), [true, true, false]);
    }
}
