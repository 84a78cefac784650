//! The real machine. The only module with unsafe code; each use says why it is sound. It holds no policy: what to do is decided
//! elsewhere, here it is done.
#![allow(unsafe_code)]

mod attributes;
mod clock;
mod console;
#[cfg(any(feature = "disks", feature = "ram"))]
mod copies;
#[cfg(feature = "disks")]
mod disks;
mod events;
mod files;
#[cfg(feature = "button")]
mod input;
mod media;
#[cfg(any(test, target_env = "musl"))]
mod memory;
mod modules;
mod pace;
mod process;
mod removal;
mod root;
#[cfg(feature = "supervise")]
mod setting;
#[cfg(feature = "shell")]
mod shell;
#[cfg(feature = "trust")]
mod signatures;
#[cfg(feature = "supervise")]
mod supervise;
#[cfg(feature = "ram")]
mod system;
mod threads;
mod typed;
mod watchdog;

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    fcntl::{AtFlags, OFlag, renameat},
    mount::MntFlags,
    sys::{
        stat::{Mode, mkdirat},
        statvfs::{FsFlags, statvfs},
    },
    unistd::{Pid, UnlinkatFlags, linkat, unlinkat},
};
use sys_mount::MountFlags;

use super::{
    Action, Event, Kernel, Kind, Level, Limits, MOST_NAMES, ModuleFile, Mount, Pace, Power, Removal, Sources, Space,
    Stat,
};
use crate::config::IS_RAM_ONLY;
use clock::uptime;
use watchdog::Watchdog;

/// The real machine.
#[derive(Debug)]
pub struct Linux {
    events: events::Events,
    kmsg: Option<File>,
    /// Loop devices whose mount is not done yet: closed, they would clear themselves.
    loops: Vec<OwnedFd>,
    /// Lines written to the log.
    logged: u32,
    /// The kernel log's rate limit for programs, as it was before init lifted it.
    log_limit: Option<Vec<u8>>,
    /// The process that deletes behind the boot.
    sweeper: Option<Pid>,
    /// The terminals that keys are waited for on.
    typed: typed::Typed,
    /// Fed while something takes long.
    watchdog: Watchdog,
}

impl Linux {
    /// Returns the machine, for PID 1 in the mounts that the kernel began with: none of them is shared with anybody (mount_namespaces(7)).
    pub fn new() -> Self {
        Self {
            events: events::Events::default(),
            kmsg: None,
            loops: Vec::new(),
            logged: 0,
            log_limit: None,
            sweeper: None,
            typed: typed::Typed::default(),
            watchdog: Watchdog::new(),
        }
    }

    /// Opens the log once `/dev` is there.
    fn kmsg(&mut self) -> Option<&mut File> {
        if self.kmsg.is_none() {
            self.kmsg = File::options().write(true).open("/dev/kmsg").ok();
        }
        self.kmsg.as_mut()
    }

    /// Counts a line, and lifts the log's rate limit for programs before it leaves any out: a failure card has more lines than the
    /// ten in five seconds that it lets through.
    fn count_line(&mut self) {
        const LET_THROUGH: u32 = 8;
        self.logged = self.logged.saturating_add(1);
        if self.logged == LET_THROUGH {
            self.log_limit = files::read(LOG_LIMIT, 0, usize::MAX).ok();
            // Without it lines may be left out of the log, nothing else.
            let _ = fs::write(LOG_LIMIT, "on\n");
        }
    }

    /// Gives back what init has changed or holds, before another program runs.
    fn leave(&mut self) {
        self.typed = typed::Typed::default();
        self.watchdog.hand_over();
        if let Some(limit) = self.log_limit.take() {
            // The next program may set it as it likes.
            let _ = fs::write(LOG_LIMIT, limit);
        }
    }

    /// Stops the process that deletes behind the boot. What is left to delete the next boot deletes.
    fn stop_sweeper(&mut self) {
        if let Some(sweeper) = self.sweeper.take() {
            process::stop(sweeper);
        }
    }

    fn log_line(&mut self, level: u8, line: &str) {
        self.count_line();
        let line = process::printable(line);
        if let Some(kmsg) = self.kmsg() {
            for piece in process::pieces(&line) {
                // There is no better place to say that the log cannot be written.
                // Without a line break it would not be seen before the next line comes (kernel/printk, LOG_NEWLINE).
                let _ = kmsg.write_all(format!("<{level}>initramfs-overlay: {piece}\n").as_bytes());
            }
        }
    }
}

impl Default for Linux {
    fn default() -> Self {
        Self::new()
    }
}

/// Symbolic links on a mount lead nowhere (kernel, include/uapi/linux/mount.h, MS_NOSYMFOLLOW). Kernels before 5.10 pass over it.
const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(256);

/// kernel, Documentation/admin-guide/sysctl/kernel.rst, printk_devkmsg.
const LOG_LIMIT: &str = "/proc/sys/kernel/printk_devkmsg";

impl Kernel for Linux {
    fn now(&mut self) -> Duration {
        uptime()
    }

    fn log(&mut self, level: Level, line: &str) {
        if level != Level::Announcement {
            return self.log_line(level as u8, line);
        }
        // The log's own echo is turned off meanwhile, or the consoles would show it twice (syslog(2), CONSOLE_LEVEL).
        let before = process::set_console_level(1);
        for line in line.lines() {
            self.log_line(level as u8, line);
        }
        if let Some(before) = before {
            process::set_console_level(before);
        }
        process::write_consoles(line);
    }

    fn read(&mut self, path: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        if path == contract::names::KERNEL_LOG {
            return process::kernel_log();
        }
        files::read(path, offset, most)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if media::is_medium(path) {
            return media::create(path)?.write_all(bytes);
        }
        // No file that is replaced is in /dev: consoles are written to.
        if path.starts_with("/dev/") { console::write(path, bytes) } else { fs::write(path, bytes) }
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = media::open(path, OFlag::O_WRONLY)?;
        // Not every device can seek.
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        file.write_all(bytes)
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<String>> {
        let limit = if media::is_medium(path) { MOST_NAMES } else { usize::MAX };
        let mut names = files::names_of(&media::open_listing(path)?, limit)?;
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&mut self, path: &str) -> io::Result<Stat> {
        files::stat(path)
    }

    fn read_link(&mut self, path: &str) -> io::Result<String> {
        let place = media::Place::of(path)?;
        let target = nix::fcntl::readlinkat(place.directory(), place.name)?;
        Ok(target.to_string_lossy().into_owned())
    }

    fn make_dir(&mut self, path: &str, mode: u32) -> io::Result<()> {
        // The kernel starts PID 1 with umask 022, which takes nothing from the modes asked for here.
        let place = media::Place::of(path)?;
        let mode = Mode::from_bits_truncate(mode);
        media::change(&[&place], &|| mkdirat(place.directory(), place.name, mode))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (media::Place::of(from)?, media::Place::of(to)?);
        media::change(&[&from, &to], &|| renameat(from.directory(), from.name, to.directory(), to.name))
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (media::Place::of(from)?, media::Place::of(to)?);
        let flags = AtFlags::empty();
        media::change(&[&from, &to], &|| linkat(from.directory(), from.name, to.directory(), to.name, flags))
    }

    fn remove(&mut self, path: &str, kind: Kind) -> io::Result<()> {
        let place = media::Place::of(path)?;
        let is_directory = kind == Kind::Directory;
        let flag = if is_directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        media::change(&[&place], &|| unlinkat(place.directory(), place.name, flag))
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let is_directory = files::stat(path)?.kind == Kind::Directory;
        let file = if is_directory { media::open_listing(path)? } else { media::open_file(path)? };
        file.sync_all()
    }

    fn space(&mut self, path: &str) -> io::Result<Space> {
        let space = statvfs(path)?;
        // The numbers are 32 or 64 bits wide, depending on the processor.
        #[allow(clippy::useless_conversion)]
        let [total, free] = [space.blocks(), space.blocks_free()]
            .map(|blocks| u64::from(blocks).saturating_mul(u64::from(space.fragment_size())));
        Ok(Space { total, free, read_only: space.flags().contains(FsFlags::ST_RDONLY) })
    }

    fn copy_attributes(&mut self, from: &str, to: &str) -> io::Result<()> {
        attributes::copy(from, to)
    }

    fn mount(&mut self, mount: &Mount<'_>) -> io::Result<()> {
        let mut flags = match mount.action {
            Action::New => MountFlags::empty(),
            Action::Remount => MountFlags::REMOUNT,
            Action::Bind => MountFlags::REMOUNT | MountFlags::BIND,
            Action::Move => MountFlags::MOVE,
        };
        flags.set(MountFlags::RDONLY, mount.read_only);
        flags.set(MountFlags::NODEV | MountFlags::NOSUID, mount.limits != Limits::None);
        flags.set(NOSYMFOLLOW, matches!(mount.limits, Limits::Medium | Limits::Foreign));
        flags.set(MountFlags::NOEXEC, mount.limits == Limits::Foreign);
        let outcome = files::mount(mount.source, mount.target, mount.filesystem, flags, mount.data);
        // Mounted or refused, the loop device need not be held any longer.
        self.loops.clear();
        if mount.filesystem == "devtmpfs" {
            // Where the archive has no /dev/console the kernel opened none, and any file of init's would take the place of a standard one.
            process::open_standard_files();
        }
        outcome
    }

    fn unmount(&mut self, target: &str) -> io::Result<()> {
        if target == contract::names::OVERLAY_DIR {
            // It has the partition in use.
            self.stop_sweeper();
        }
        Ok(nix::mount::umount2(target, MntFlags::empty())?)
    }

    fn load_modules(&mut self, files: &[ModuleFile], workers: usize, first: bool) -> Vec<io::Result<()>> {
        // Elsewhere a processor forgets its whole TLB at once, and there is nothing to gain.
        let first = first && cfg!(target_arch = "arm");
        if first {
            process::go_first(true);
        }
        let results = modules::load(files, workers);
        if first {
            process::go_first(false);
        }
        results
    }

    fn listen(&mut self, sources: Sources) -> io::Result<()> {
        if sources == Sources::Requests {
            self.leave();
        }
        self.events.open(sources)
    }

    fn next_events(&mut self, deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        // Who waits without end is the system, whose watchdog is its own.
        let Some(deadline) = deadline else { return self.events.next(None) };
        loop {
            let now = uptime();
            let until = deadline.min(now.saturating_add(watchdog::INTERVAL));
            if until > now {
                self.watchdog.feed();
            }
            let events = self.events.next(Some(until))?;
            if !events.is_empty() || until == deadline {
                return Ok(events);
            }
        }
    }

    fn sweep(&mut self, store: &str) -> io::Result<()> {
        let log = self.kmsg().and_then(|log| log.try_clone().ok());
        self.sweeper = Some(process::start_sweeper(store, log)?);
        Ok(())
    }

    fn remove_below(&mut self, dir: &str, budget: usize, pace: Pace<'_>) -> io::Result<Removal> {
        let directory = media::open_listing(dir)?;
        let mut steps = pace::Steps::new(pace, &mut self.watchdog);
        Ok(removal::Remover::new(directory.as_fd(), budget, &mut || steps.step(1))?.run())
    }

    fn enter_root(&mut self, root: &str) -> io::Result<()> {
        root::enter(root)
    }

    fn exec(&mut self, program: &str, arguments: &[String]) -> io::Error {
        self.leave();
        process::exec(program, arguments)
    }

    fn window(&mut self, terminal: &str) -> io::Result<(u16, u16)> {
        // A build without a QR code asks for no size.
        if cfg!(feature = "qr") { process::window(terminal) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn typed(&mut self, terminals: &[String], deadline: Duration) -> Option<(usize, Vec<u8>)> {
        // A build that does nothing but run a root in memory takes no keys.
        if IS_RAM_ONLY { None } else { self.typed.next(terminals, deadline, &mut self.watchdog) }
    }

    fn arm_watchdog(&mut self, seconds: u32) -> io::Result<u32> {
        if IS_RAM_ONLY { Err(io::ErrorKind::Unsupported.into()) } else { self.watchdog.arm(seconds) }
    }

    fn power(&mut self, power: Power, after: Duration) {
        process::power(power, after, self.sweeper.take());
    }
}

#[cfg(not(any(feature = "disks", feature = "ram")))]
impl super::disks::Contents for Linux {}
#[cfg(not(feature = "trust"))]
impl super::disks::Signatures for Linux {}
#[cfg(not(feature = "disks"))]
impl super::disks::Disks for Linux {}
#[cfg(not(feature = "button"))]
impl super::input::Input for Linux {}
#[cfg(not(feature = "supervise"))]
impl super::supervisor::Supervisor for Linux {}
#[cfg(not(feature = "ram"))]
impl super::supervisor::System for Linux {}
#[cfg(not(feature = "shell"))]
impl super::supervisor::Shell for Linux {}

/// Returns the arguments of this program, as the C library hands them to `main`.
///
/// # Safety
/// `arguments` must point to `count` strings that end in a zero byte and live as long as the process.
pub unsafe fn arguments(count: libc::c_int, arguments: *const *const libc::c_char) -> Vec<String> {
    let text = |place| {
        // SAFETY: the caller answers for the list and the strings in it, and `place` is below `count`.
        let string = unsafe { std::ffi::CStr::from_ptr(*arguments.add(place)) };
        string.to_string_lossy().into_owned()
    };
    (0..usize::try_from(count).unwrap_or(0)).map(text).collect()
}

/// Deletes old layers if this process was started under the sweeper's `name`. Returns true once that is done; the process exits then.
pub fn run_sweeper(name: &str) -> bool {
    if name != contract::names::SWEEPER {
        return false;
    }
    removal::sweep(std::io::stdin().as_raw_fd(), &mut std::io::stderr());
    true
}
