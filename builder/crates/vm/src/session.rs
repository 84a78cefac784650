//! The session of one machine, from start to end: virtiofsd for each directory, QEMU, and their events. Whatever happens, also to this
//! process, no process started here stays: each dies with this one (`die_with_parent`), and the sockets and memory that they share have
//! no name anywhere.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use archive::{
    newc::{self, Properties},
    tree::Tree,
};
use base::{IoContext, cleanup::Listener};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    termios,
};

use super::{
    Pipes, Share, Vm,
    share::{self, Daemon, Running, inherit},
};
use crate::{
    Result, die_with_parent,
    qemu::{
        Machine, Terminal,
        console::{Console, End},
    },
    terminal::TerminalState,
};

/// The grace period for the daemons to exit once QEMU has.
const ENDING: Duration = Duration::from_secs(5);

/// The outcome of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command exited: its status, 128 + N where signal N killed it.
    Exited(u8),
    /// The guest stopped without reporting a status; the end that the kernel announced, if it did.
    Silent(Option<End>),
    /// A virtiofsd exited first: the directory's tag and the daemon's last words.
    ShareLost(String, String),
    /// A signal for this process.
    Signalled(i32),
    /// The machine timed out.
    TimedOut,
    /// No sign of life came in time.
    Hung,
}

/// The stream that a machine's console goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Standard,
    /// Standard error: standard output is for something else.
    Error,
}

/// The time limits of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// For all of it.
    pub time: Option<Duration>,
    /// Until init tells that it runs; a machine that may take longer has none.
    pub patience: Option<Duration>,
}

/// An event while a machine runs.
enum Event {
    Alive,
    Status(u8),
    ConsoleClosed,
    ShareEnded(String, String),
    Signal(i32),
}

/// The processes of a session and the terminal's state. Dropping it kills all of them and restores the terminal.
struct Started {
    qemu: Option<Child>,
    shares: Vec<Running>,
    terminal: TerminalState,
}

impl Started {
    /// Ends QEMU. Nothing in it has to be kept: the guest's files are virtiofsd's.
    fn end_machine(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            // An error says that it has ended already.
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
        self.terminal.restore();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end_machine();
        for share in &mut self.shares {
            let _ = share.child.kill();
            let _ = share.child.wait();
        }
    }
}

/// Runs the machine with the initramfs `tree` to its end, as [`run_machine`] does.
///
/// # Errors
/// As [`run_machine`].
pub fn run(vm: &Vm, daemon: &Daemon, tree: &Tree, output: Output, limits: Limits) -> Result<(Outcome, String)> {
    let initrd = in_memory(tree)?;
    let machine = |sockets: &[i32], pipes| vm.machine(initrd.as_raw_fd(), sockets, pipes);
    run_machine(&machine, Some((daemon, &vm.shares)), &[&initrd], output, limits)
}

/// Runs a machine to its end, with directories of the host where there are some. `machine` makes it, knowing the sockets of these and the
/// descriptor that the guest's status is to be written to; QEMU inherits them and those of `inherited`. Returns the outcome and what the
/// guest wrote, as far as it is kept.
///
/// # Errors
/// [`Error::MissingPrograms`] and [`Error::Io`] where something cannot be started.
pub fn run_machine(
    machine: Make<'_>,
    shares: Option<(&Daemon, &[Share])>,
    inherited: &[&OwnedFd],
    output: Output,
    limits: Limits,
) -> Result<(Outcome, String)> {
    if let Some((daemon, shares)) = shares {
        daemon.check(shares)?;
    }
    let start = |sender: &Sender<Event>, running: &mut Vec<Running>| {
        for (daemon, share) in shares.iter().flat_map(|(daemon, shares)| shares.iter().map(|share| (*daemon, share))) {
            let (sender, tag) = (sender.clone(), share.tag.clone());
            let said = move |words| drop(sender.send(Event::ShareEnded(tag, words)));
            running.push(share::start(daemon, share, said)?);
        }
        Ok(())
    };
    conduct(machine, inherited, start, output, limits)
}

/// A function that makes the machine, given the sockets of its shares and the descriptors for its status and first sign of life.
pub type Make<'a> = &'a dyn Fn(&[i32], Pipes) -> Machine;

fn conduct(
    machine: Make<'_>,
    inherited: &[&OwnedFd],
    start: impl FnOnce(&Sender<Event>, &mut Vec<Running>) -> Result<()>,
    output: Output,
    limits: Limits,
) -> Result<(Outcome, String)> {
    let (sender, events) = mpsc::channel();
    // Signals end the machine first.
    let signalled = sender.clone();
    let _listener = Listener::new(move |signal| drop(signalled.send(Event::Signal(signal))));
    let mut started = Started { qemu: None, shares: Vec::new(), terminal: TerminalState::keep() };
    start(&sender, &mut started.shares)?;
    let console = Arc::new(Console::default());
    started.qemu = Some(start_machine(machine, &mut started.shares, inherited, output, &console, &sender)?);
    let outcome = listen(&events, &console, limits);
    started.end_machine();
    end_shares(&mut started, &events);
    Ok((outcome, console.text()))
}

/// Writes the archive to a file in memory.
fn in_memory(tree: &Tree) -> Result<OwnedFd> {
    let name = Path::new("the initramfs in memory");
    let memory = memfd_create("initramfs", MemfdFlags::CLOEXEC).map_err(std::io::Error::from).at("make", name)?;
    let file = File::from(memory.try_clone().at("make", name)?);
    let mut buffer = std::io::BufWriter::with_capacity(1 << 20, file);
    newc::write(tree, Properties::default(), &mut buffer)?;
    buffer.flush().at("make", name)?;
    Ok(memory)
}

fn start_machine(
    make: Make<'_>,
    shares: &mut [Running],
    inherited: &[&OwnedFd],
    output: Output,
    console: &Arc<Console>,
    sender: &Sender<Event>,
) -> Result<Child> {
    let pipe = || std::io::pipe().at("open a pipe for", "QEMU");
    let (exit_reader, exit) = pipe()?;
    let (alive_reader, alive) = pipe()?;
    let (console_reader, copy) = pipe()?;
    let (exit, alive, copy) = (OwnedFd::from(exit), OwnedFd::from(alive), OwnedFd::from(copy));
    let sockets: Vec<OwnedFd> = shares.iter_mut().filter_map(|share| share.socket.take()).collect();
    let numbers: Vec<i32> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let machine = make(&numbers, Pipes { exit: exit.as_raw_fd(), alive: alive.as_raw_fd() });
    let program = Path::new(machine.program);
    base::program::require(&[machine.program()])?;
    let path = machine.program().locate().unwrap_or_else(|| program.to_owned());
    let terminal = match termios::isatty(std::io::stdin()) {
        true => Terminal::Person { copy: copy.as_raw_fd() },
        false => Terminal::Pipe { copy: copy.as_raw_fd() },
    };
    let mut command = die_with_parent::command(&path);
    command.args(machine.arguments(terminal)).stdin(Stdio::inherit());
    if output == Output::Error {
        command.stdout(Stdio::from(std::io::stderr()));
    }
    for descriptor in sockets.iter().chain(inherited.iter().copied()).chain([&exit, &alive, &copy]) {
        inherit(descriptor, true).at("prepare", program)?;
    }
    let child = command.spawn().at("start", program)?;
    // From here on QEMU alone holds the other ends of sockets and pipes: closed, they tell its end.
    drop((sockets, exit, alive, copy));
    let console_to = sender.clone();
    hear(exit_reader, sender, Event::Status);
    hear(alive_reader, sender, |_| Event::Alive);
    if !machine.powers_off {
        // Such a machine stays where it is; its words have to do.
        let (sender, console) = (sender.clone(), Arc::clone(console));
        std::thread::spawn(move || {
            if console.wait_for_end(None).is_some() {
                let _ = sender.send(Event::ConsoleClosed);
            }
        });
    }
    let filled = Arc::clone(console);
    std::thread::spawn(move || {
        filled.fill(console_reader);
        let _ = console_to.send(Event::ConsoleClosed);
    });
    Ok(child)
}

/// Has the first byte that comes through a pipe heard.
fn hear(mut reader: std::io::PipeReader, sender: &Sender<Event>, event: impl FnOnce(u8) -> Event + Send + 'static) {
    let sender = sender.clone();
    std::thread::spawn(move || {
        let mut byte = [0];
        if reader.read_exact(&mut byte).is_ok() {
            // Nobody listens any more where the machine was ended.
            let _ = sender.send(event(byte[0]));
        }
    });
}

/// Waits for the first thing that means the end.
fn listen(events: &Receiver<Event>, console: &Console, limits: Limits) -> Outcome {
    let deadline = limits.time.map(|time| Instant::now() + time);
    let mut hung = limits.patience.map(|time| Instant::now() + time);
    let event = loop {
        let until = match (deadline, hung) {
            (Some(deadline), Some(hung)) => Some(deadline.min(hung)),
            (one, other) => one.or(other),
        };
        let event = match until {
            Some(until) => events.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
            None => events.recv().ok(),
        };
        match event {
            Some(Event::Alive) => hung = None,
            None if hung.is_some_and(|hung| Instant::now() >= hung) => return Outcome::Hung,
            other => break other,
        }
    };
    match event {
        None | Some(Event::Alive) => Outcome::TimedOut,
        Some(Event::Status(status)) => Outcome::Exited(status),
        Some(Event::Signal(number)) => Outcome::Signalled(number),
        // It ends when QEMU does, and may complain of it, so that may be the reason; what the guest said before counts.
        Some(Event::ShareEnded(tag, words)) => after_end(events).unwrap_or(Outcome::ShareLost(tag, words)),
        // The status, written last, may be heard last.
        Some(Event::ConsoleClosed) => match after_end(events) {
            Some(outcome @ (Outcome::Exited(_) | Outcome::Signalled(_))) => outcome,
            _ => Outcome::Silent(console.end()),
        },
    }
}

/// Waits a moment (300 ms) after an end for a status or a signal. Returns the first of these, else `Silent` if QEMU has exited.
fn after_end(events: &Receiver<Event>) -> Option<Outcome> {
    const MOMENT: Duration = Duration::from_millis(300);
    let until = Instant::now() + MOMENT;
    let mut ended = None;
    while let Ok(event) = events.recv_timeout(until.saturating_duration_since(Instant::now())) {
        match event {
            Event::Status(status) => return Some(Outcome::Exited(status)),
            Event::Signal(number) => return Some(Outcome::Signalled(number)),
            Event::ConsoleClosed => ended = Some(Outcome::Silent(None)),
            Event::ShareEnded(..) | Event::Alive => {}
        }
    }
    ended
}

/// Waits for the daemons: without QEMU they end by themselves, files closed. The rest is killed.
fn end_shares(started: &mut Started, events: &Receiver<Event>) {
    let deadline = Instant::now() + ENDING;
    for share in &mut started.shares {
        while let Ok(None) = share.child.try_wait() {
            if Instant::now() > deadline {
                return;
            }
            // Each is heard of when it ends, which is a moment before it can be waited for.
            let _ = events.recv_timeout(Duration::from_millis(5));
        }
    }
}
