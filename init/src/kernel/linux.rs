//! The real machine. The only module with unsafe code; each use says why it is sound. It holds no policy: what to do is decided
//! elsewhere, here it is done.
#![allow(unsafe_code)]

#[cfg(any(feature = "disks", feature = "virtiofs"))]
mod attributes;
#[cfg(feature = "ram")]
mod consoles;
#[cfg(any(feature = "disks", feature = "ram"))]
mod copies;
mod devices;
mod files;
#[cfg(feature = "ram")]
mod hotplug;
#[cfg(feature = "disks")]
mod loops;
mod media;
#[cfg(any(test, target_env = "musl"))]
mod memory;
#[cfg(any(feature = "disks", feature = "ram"))]
mod meter;
mod modules;
#[cfg(feature = "disks")]
mod probe;
mod process;
mod removal;
mod root;
#[cfg(feature = "supervise")]
mod setting;
#[cfg(feature = "supervise")]
mod supervise;
#[cfg(feature = "ram")]
mod system;
#[cfg(feature = "virtiofs")]
mod virtiofs;
#[cfg(any(feature = "disks", feature = "ram"))]
mod watchdog;

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    time::Duration,
};

use nix::{
    fcntl::{AtFlags, renameat},
    mount::MntFlags,
    sys::{
        stat::{Mode, mkdirat},
        statvfs::{FsFlags, statvfs},
    },
    unistd::{Pid, UnlinkatFlags, linkat, unlinkat},
};
use sys_mount::MountFlags;

use super::{Kernel, Kind, Level, Limits, MOST_NAMES, ModuleFile, Mount, Power, Removal, Space, Stat, Uevent};
use contract::{Digest, tag::Volume};

/// The real machine.
#[derive(Debug)]
pub struct Linux {
    uevents: Option<OwnedFd>,
    kmsg: Option<File>,
    /// Loop devices whose mount is not done yet: closed, they would clear themselves.
    loops: Vec<OwnedFd>,
    /// What was probed already, so that a later look costs nothing.
    known: Vec<(Volume, bool)>,
    /// Lines written to the log.
    logged: u32,
    /// The kernel log's rate limit for programs, as it was before init lifted it.
    log_limit: Option<Vec<u8>>,
    /// The process that deletes behind the boot.
    sweeper: Option<Pid>,
    /// Progress of a deletion that the boot waits for.
    #[cfg(feature = "disks")]
    deletion: Option<meter::Meter>,
    /// Event sources of the hotplug process.
    #[cfg(feature = "ram")]
    events: Option<hotplug::Events>,
}

impl Linux {
    /// The machine, for PID 1 in the mounts that the kernel began with: none of them is shared with anybody (mount_namespaces(7)).
    pub fn new() -> Self {
        Self {
            uevents: None,
            kmsg: None,
            loops: Vec::new(),
            known: Vec::new(),
            logged: 0,
            log_limit: None,
            sweeper: None,
            #[cfg(feature = "disks")]
            deletion: None,
            #[cfg(feature = "ram")]
            events: None,
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
            self.log_limit = files::read(LOG_LIMIT).ok();
            // Without it lines may be left out of the log, nothing else.
            let _ = fs::write(LOG_LIMIT, "on\n");
        }
    }

    fn restore_log_limit(&mut self) {
        if let Some(limit) = self.log_limit.take() {
            // The next program may set it as it likes.
            let _ = fs::write(LOG_LIMIT, limit);
        }
    }

    fn log_line(&mut self, level: u8, line: &str) {
        self.count_line();
        let line = process::printable(line);
        if let Some(kmsg) = self.kmsg() {
            // There is no better place to say that the log cannot be written.
            // Without a line break it would not be seen before the next line comes (kernel/printk, LOG_NEWLINE).
            let _ = kmsg.write_all(format!("<{level}>initramfs-overlay: {line}\n").as_bytes());
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

/// How long the kernel runs, suspends and all. The question goes to the kernel: to find the answer that it maps into each program,
/// the C library reads a table of symbols first, which pays for programs that ask more often.
fn uptime() -> Duration {
    // The call takes two longs, whatever the C library's `timespec` is.
    let mut time: [libc::c_long; 2] = [0; 2];
    // SAFETY: the kernel writes two longs, and there is room for them (clock_gettime(2)).
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_BOOTTIME, &raw mut time) };
    let [seconds, nanoseconds] = time;
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
}

impl Kernel for Linux {
    fn now(&mut self) -> Duration {
        uptime()
    }

    fn release(&mut self) -> String {
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn processors(&mut self) -> usize {
        let Ok(set) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else { return 1 };
        (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count()
    }

    fn log(&mut self, level: Level, line: &str) {
        self.log_line(level as u8, line);
    }

    fn open_standard_files(&mut self) {
        process::open_standard_files();
    }

    fn announce(&mut self, text: &str) {
        // The log's own echo is turned off meanwhile, or the consoles would show it twice (syslog(2), CONSOLE_LEVEL).
        let level = process::set_console_level(1);
        for line in text.lines() {
            self.log_line(3, line);
        }
        if let Some(level) = level {
            process::set_console_level(level);
        }
        process::write_consoles(text);
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        if path == contract::names::KERNEL_LOG {
            return process::kernel_log();
        }
        files::read(path)
    }

    fn read_at(&mut self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = media::open_file(path)?;
        let mut bytes = vec![0; length];
        let mut filled = 0_usize;
        loop {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match file.read_at(bytes.get_mut(filled..).unwrap_or_default(), at) {
                Ok(0) => {
                    bytes.truncate(filled);
                    return Ok(bytes);
                }
                Ok(length) => filled = filled.saturating_add(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if media::is_medium(path) { media::create(path)?.write_all(bytes) } else { fs::write(path, bytes) }
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

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let place = media::Place::of(path)?;
        media::change(&[&place], &|| unlinkat(place.directory(), place.name, UnlinkatFlags::NoRemoveDir))
    }

    fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        let place = media::Place::of(path)?;
        media::change(&[&place], &|| unlinkat(place.directory(), place.name, UnlinkatFlags::RemoveDir))
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let is_directory = files::stat(path)?.kind == Kind::Directory;
        let file = if is_directory { media::open_listing(path)? } else { media::open_file(path)? };
        file.sync_all()
    }

    #[cfg(feature = "disks")]
    fn copy(&mut self, from: &str, to: &str) -> io::Result<Digest> {
        copies::copy(from, to)
    }

    #[cfg(any(feature = "disks", feature = "ram"))]
    fn digest(&mut self, path: &str) -> io::Result<Digest> {
        copies::digest(path)
    }

    #[cfg(feature = "trust")]
    fn vouch(&mut self, path: &str, signature: &str, key: &str) -> io::Result<()> {
        copies::vouch(path, signature, key)
    }

    #[cfg(feature = "trust")]
    fn verify_content(&mut self, content: &[u8], signature: &str, key: &str) -> io::Result<()> {
        copies::verify(signature, key, |sink| {
            sink(content);
            Ok(())
        })
    }

    /// This build takes any module.
    #[cfg(not(feature = "trust"))]
    fn verify_content(&mut self, _content: &[u8], _signature: &str, _key: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// This build takes any image.
    #[cfg(not(feature = "trust"))]
    fn vouch(&mut self, _path: &str, _signature: &str, _key: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn space(&mut self, path: &str) -> io::Result<Space> {
        let space = statvfs(path)?;
        // The numbers are 32 or 64 bits wide, depending on the processor.
        #[allow(clippy::useless_conversion)]
        let [total, free] = [space.blocks(), space.blocks_free()]
            .map(|blocks| u64::from(blocks).saturating_mul(u64::from(space.fragment_size())));
        Ok(Space { total, free, read_only: space.flags().contains(FsFlags::ST_RDONLY) })
    }

    #[cfg(any(feature = "disks", feature = "virtiofs"))]
    fn copy_attributes(&mut self, from: &str, to: &str) -> io::Result<()> {
        attributes::copy(from, to)
    }

    #[cfg(not(any(feature = "disks", feature = "virtiofs")))]
    fn copy_attributes(&mut self, _from: &str, _to: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn mount(&mut self, mount: &Mount<'_>) -> io::Result<()> {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, mount.read_only);
        flags.set(MountFlags::NODEV | MountFlags::NOSUID, mount.limits != Limits::None);
        flags.set(NOSYMFOLLOW, mount.limits == Limits::Medium);
        let outcome = files::mount(mount.source, mount.target, mount.filesystem, flags, mount.data);
        // Mounted or refused, the loop device need not be held any longer.
        self.loops.clear();
        outcome
    }

    fn remount(&mut self, target: &str, read_only: bool) -> io::Result<()> {
        // What is not said anew is lost (mount(2), MS_REMOUNT).
        let known = statvfs(target)?.flags();
        let mut flags = MountFlags::REMOUNT;
        flags.set(MountFlags::RDONLY, read_only);
        flags.set(MountFlags::NODEV, known.contains(FsFlags::ST_NODEV));
        flags.set(MountFlags::NOSUID, known.contains(FsFlags::ST_NOSUID));
        flags.set(NOSYMFOLLOW, media::is_partition(target));
        files::mount("", target, "", flags, "")
    }

    fn lift_limits(&mut self, target: &str) -> io::Result<()> {
        // With MS_BIND only the mount's own flags change, and the filesystem stays as it is (mount(2)).
        files::mount("", target, "", MountFlags::REMOUNT | MountFlags::BIND, "")
    }

    fn move_mount(&mut self, from: &str, to: &str) -> io::Result<()> {
        files::mount(from, to, "", MountFlags::MOVE, "")
    }

    fn unmount(&mut self, target: &str) -> io::Result<()> {
        Ok(nix::mount::umount2(target, MntFlags::empty())?)
    }

    #[cfg(feature = "disks")]
    fn attach_loop(&mut self, path: &str) -> io::Result<String> {
        let (device, name) = loops::attach(path)?;
        self.loops.push(device);
        Ok(name)
    }

    // What only the overlay way asks for.
    #[cfg(not(feature = "disks"))]
    fn copy(&mut self, _from: &str, _to: &str) -> io::Result<Digest> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(any(feature = "disks", feature = "ram")))]
    fn digest(&mut self, _path: &str) -> io::Result<Digest> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(feature = "disks"))]
    fn run(&mut self, _root: &str, _program: &str, _arguments: &[&str]) -> io::Result<i32> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(feature = "disks"))]
    fn attach_loop(&mut self, _path: &str) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn load_modules(&mut self, files: &[ModuleFile]) -> Vec<io::Result<()>> {
        let workers = if files.len() < 2 { 1 } else { self.processors().min(files.len()) };
        modules::load(files, workers)
    }

    fn go_first(&mut self, first: bool) {
        // Elsewhere a processor forgets its whole TLB at once, and there is nothing to gain.
        if cfg!(target_arch = "arm") {
            process::go_first(first);
        }
    }

    fn modaliases(&mut self, buses: &[&str]) -> Vec<String> {
        devices::modaliases(buses)
    }

    fn volumes(&mut self, details: bool) -> Vec<Volume> {
        devices::volumes(&mut self.known, details)
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.uevents.is_none() {
            self.uevents = Some(devices::listen()?);
        }
        Ok(())
    }

    fn next_uevent(&mut self, deadline: Duration) -> io::Result<Option<Uevent>> {
        loop {
            let left = deadline.saturating_sub(self.now());
            let Some(socket) = &self.uevents else {
                return Err(io::Error::other("nobody listens to the kernel's uevents"));
            };
            match devices::next_uevent(socket, left)? {
                devices::Heard::Event(uevent) => return Ok(Some(uevent)),
                devices::Heard::Nothing => return Ok(None),
                devices::Heard::Noise => {}
            }
        }
    }

    fn sweep(&mut self, store: &str) -> io::Result<()> {
        let log = self.kmsg().and_then(|log| log.try_clone().ok());
        self.sweeper = Some(process::start_sweeper(store, log)?);
        Ok(())
    }

    #[cfg(feature = "disks")]
    fn remove_below(&mut self, dir: &str, budget: usize) -> io::Result<Removal> {
        let directory = media::open_listing(dir)?;
        let meter = self.deletion.get_or_insert_with(|| meter::Meter::new("deleting", 0));
        let mut progress = || meter.count();
        Ok(removal::Remover::new(directory.as_fd(), budget, &mut progress)?.run())
    }

    #[cfg(not(feature = "disks"))]
    fn remove_below(&mut self, dir: &str, budget: usize) -> io::Result<Removal> {
        let directory = media::open_listing(dir)?;
        Ok(removal::Remover::new(directory.as_fd(), budget, &mut || {})?.run())
    }

    #[cfg(feature = "disks")]
    fn run(&mut self, root: &str, program: &str, arguments: &[&str]) -> io::Result<i32> {
        process::run(root, program, arguments)
    }

    fn enter_root(&mut self, root: &str) -> io::Result<()> {
        root::enter(root)
    }

    fn exec(&mut self, program: &str, arguments: &[String]) -> io::Error {
        self.restore_log_limit();
        process::exec(program, arguments)
    }

    fn shell(&mut self, banner: &str) -> io::Result<()> {
        process::shell(banner)
    }

    fn power(&mut self, power: Power, after: Duration) {
        process::power(power, after, self.sweeper.take());
    }
}

/// The arguments of this program, as the C library hands them to `main`.
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

/// Whether this process is the one that deletes old layers, and if so, does that and never comes back.
pub fn run_sweeper(name: &str) -> bool {
    if name != contract::names::SWEEPER {
        return false;
    }
    removal::sweep(std::io::stdin().as_raw_fd(), &mut std::io::stderr());
    true
}
