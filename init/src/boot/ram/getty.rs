//! A program for people on every console, again and again, until somebody asks the machine to end: in the ways that `poweroff`, `halt`
//! and `reboot` of BusyBox ask process 1, and by Ctrl-Alt-Del.

use std::{io, time::Duration};

use contract::workload::SIGTERM;

use crate::kernel::{
    Event, Machine, Power, Sources, consoles, exists, read_text,
    supervisor::{EVERYBODY, Program, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPWR, SIGUSR1, SIGUSR2},
};

/// A program that exits sooner than this has a console that is gone, or cannot run: the next one waits as long.
const TOO_SOON: Duration = Duration::from_secs(1);
/// Grace period for programs that are asked to end.
const ENDING: Duration = Duration::from_secs(3);

/// A console.
struct Console {
    path: String,
    program: Option<u32>,
    started: Option<Duration>,
}

/// The consoles and their programs.
struct Consoles<'p> {
    program: &'p Program,
    all: Vec<Console>,
    /// True once no child is left.
    is_alone: bool,
}

/// Runs `program` on all consoles, and again whenever it exits. Returns the end that the machine is asked for; nothing else runs then.
///
/// # Errors
/// The kernel's reason: the event source.
pub(super) fn run(kernel: &mut dyn Machine, program: &Program) -> io::Result<Power> {
    kernel.listen(Sources::Requests)?;
    let listed = read_text(kernel, "/proc/consoles");
    let all = consoles(&listed, &mut |path| exists(kernel, path))
        .into_iter()
        // tty0 stands for the one that is shown; the first is the one that is shown now.
        .map(|path| if path == "/dev/tty0" { "/dev/tty1".into() } else { path })
        .map(|path| Console { path, program: None, started: None })
        .collect();
    let mut consoles = Consoles { program, all, is_alone: false };
    loop {
        let deadline = consoles.start(kernel);
        for event in kernel.next_events(deadline)? {
            match event {
                Event::Signal(number) => {
                    if let Some(power) = asked(number) {
                        consoles.end(kernel);
                        return Ok(power);
                    }
                }
                other => consoles.see(&other),
            }
        }
    }
}

impl Consoles<'_> {
    /// Starts the program where it does not run. Returns the time of the next start, where there is one.
    fn start(&mut self, kernel: &mut dyn Machine) -> Option<Duration> {
        let now = kernel.now();
        let mut next: Option<Duration> = None;
        for console in self.all.iter_mut().filter(|console| console.program.is_none()) {
            let mut due = console.started.map_or(now, |started| started.saturating_add(TOO_SOON));
            if due <= now {
                console.started = Some(now);
                // One that cannot be started is tried again, as one that exits at once.
                console.program = kernel.start(self.program, &console.path, true).ok();
                if console.program.is_some() {
                    self.is_alone = false;
                    continue;
                }
                due = now.saturating_add(TOO_SOON);
            }
            next = Some(next.map_or(due, |other| other.min(due)));
        }
        next
    }

    /// Takes note of a child that has exited.
    fn see(&mut self, event: &Event) {
        match event {
            Event::Exited(process) => {
                let of = self.all.iter_mut().filter(|console| console.program == Some(*process));
                of.for_each(|console| console.program = None);
            }
            Event::Childless => self.is_alone = true,
            _ => {}
        }
    }

    /// Asks all processes to end, and kills those that do not.
    fn end(&mut self, kernel: &mut dyn Machine) {
        // Shells at a prompt take no SIGTERM; this is how a terminal says goodbye. One that is stopped has to go on for that.
        for signal in [SIGTERM, SIGHUP, SIGCONT] {
            kernel.signal(EVERYBODY, signal);
        }
        let deadline = kernel.now().saturating_add(ENDING);
        while !self.is_alone && kernel.now() < deadline {
            let Ok(events) = kernel.next_events(Some(deadline)) else { break };
            events.iter().for_each(|event| self.see(event));
        }
        kernel.signal(EVERYBODY, SIGKILL);
    }
}

/// Returns the end that a signal asks for: as BusyBox's init takes them (init/halt.c), and Ctrl-Alt-Del.
fn asked(signal: i32) -> Option<Power> {
    match signal {
        SIGUSR2 | SIGPWR => Some(Power::Off),
        SIGUSR1 => Some(Power::Halt),
        SIGTERM | SIGINT => Some(Power::Reboot),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{
        Kernel,
        recorder::{Node, Recorder},
    };

    /// Runs the program with these events; returns the end of the machine, how often the program was started, and how long it took.
    fn ended(events: Vec<Vec<Event>>) -> (Power, usize, Duration) {
        let mut kernel = Recorder { events: events.into(), ..Recorder::default() };
        let consoles = "tty0 -WU (EC p ) 4:1\nttyS0 -W- (E p a) 4:64\ngone0 -W- (E) 1:1\n";
        kernel.files.insert("proc/consoles".into(), Node::file(consoles, 0o444));
        for console in ["dev/tty0", "dev/ttyS0"] {
            kernel.files.insert(console.into(), Node::Special);
        }
        let program = Program { path: "/login".into(), arguments: vec!["-f".into()], setting: None };
        let power = run(&mut kernel, &program).unwrap();
        assert!(kernel.record.iter().all(|line| line == "on every console /login -f"), "{:?}", kernel.record);
        (power, kernel.record.len(), kernel.now())
    }

    #[test]
    fn signals_end_the_machine_as_they_do_in_busybox() {
        for (signal, power) in [
            (SIGUSR2, Power::Off),
            (SIGPWR, Power::Off),
            (SIGUSR1, Power::Halt),
            (SIGTERM, Power::Reboot),
            (SIGINT, Power::Reboot),
        ] {
            assert_eq!(ended(vec![vec![Event::Signal(SIGHUP)], vec![Event::Signal(signal)]]).0, power, "{signal}");
        }
    }

    #[test]
    fn a_program_that_exits_at_once_is_started_again_a_second_later() {
        let off = vec![Event::Signal(SIGUSR2)];
        // The first two run on the two consoles.
        assert_eq!(ended(vec![off.clone()]), (Power::Off, 2, ENDING));
        let first = vec![Event::Exited(1), Event::Exited(99)];
        assert_eq!(ended(vec![first.clone(), off.clone()]), (Power::Off, 2, ENDING));
        assert_eq!(ended(vec![first.clone(), vec![], off.clone()]), (Power::Off, 3, TOO_SOON + ENDING));
        // The other one has run for a second by then.
        let second = vec![Event::Exited(2)];
        assert_eq!(ended(vec![first, vec![], second, off]), (Power::Off, 4, TOO_SOON + ENDING));
    }

    #[test]
    fn the_end_waits_for_the_last_child_alone() {
        let off = vec![Event::Signal(SIGUSR2)];
        let gone = vec![Event::Exited(1), Event::Exited(2), Event::Childless];
        assert_eq!(ended(vec![off.clone(), gone.clone()]), (Power::Off, 2, Duration::ZERO));
        // Nothing runs between two starts.
        assert_eq!(ended(vec![gone, off]), (Power::Off, 2, Duration::ZERO));
    }
}
