//! The machine of a boot in the laboratory: the real kernel, except for what would leave the laboratory (the new root's init, power,
//! consoles, modules) and for what the laboratory describes (block devices, filesystems that have to come from a module).

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::FileExt,
    panic::AssertUnwindSafe,
    path::Path,
    time::{Duration, Instant},
};

use contract::{Digest, names, tag::Volume};
use initramfs_overlay_init::{
    boot,
    config::Abilities,
    kernel::{
        Action, Event, Kernel, Kind, Level, ModuleFile, Mount, Pace, Power, Removal, Sources, Space, Stat,
        disks::{Contents, Disks, Signatures, Signed},
        input::Input,
        linux::Linux,
        recorder::sysfs::{self, Entry},
        supervisor::{Attribute, Node, Shell, Supervisor, System},
    },
};
use nix::{
    errno::Errno,
    mount::MsFlags,
    sched::CloneFlags,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    outside,
    plan::{BootPlan, BootResult, Device},
};

/// The content of every module that a medium brings.
pub const MODULE: &str = "a module";

/// Runs one boot in this process and writes its result to a file. `plan` is JSON.
pub fn boot_process(plan: &str, result: &Path) {
    let plan: BootPlan = serde_json::from_str(plan).unwrap();
    let mut file = fs::File::create(result).unwrap();
    let progress = fs::File::create(result.with_extension("progress")).unwrap();
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
    nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    nix::unistd::chroot(plan.root.as_str()).unwrap();
    std::env::set_current_dir("/").unwrap();
    // As the kernel starts PID 1.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let start = Instant::now();
    let mut machine = Machine::new(plan.clone(), progress);
    let message = std::sync::Arc::new(std::sync::Mutex::new(None));
    let heard = message.clone();
    std::panic::set_hook(Box::new(move |panic| *heard.lock().unwrap() = Some(panic.to_string())));
    let abilities = Abilities { shell: false, trust: plan.trust };
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| boot::run(&mut machine, &[], abilities)));
    // The sweeper is a child of this process.
    while nix::sys::wait::waitpid(None, None).is_ok() {}
    let mut result = machine.result;
    result.panic = message.lock().unwrap().take();
    if let Some(before) = machine.run_canaries {
        result.outside = outside::differences(&before, &outside::look(Path::new("/run"), &SEEN_ON_RUN));
    }
    result.milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap();
    file.write_all(&serde_json::to_vec(&result).unwrap()).unwrap();
}

/// Canaries on `/run`, below it. Everything else there is init's own.
const SEEN_ON_RUN: [&str; 2] = ["canary", "initramfs/canary"];

/// The machine.
struct Machine {
    linux: Linux,
    plan: BootPlan,
    result: BootResult,
    /// The operation under way, for whoever finds this process hung.
    progress: fs::File,
    run_canaries: Option<outside::Picture>,
}

/// Something that may name a place in the filesystem.
trait Place {
    /// Returns the path, or nothing.
    fn place(&self) -> &str {
        ""
    }
}

impl Place for str {
    fn place(&self) -> &str {
        self
    }
}

impl Place for Option<&str> {
    fn place(&self) -> &str {
        self.unwrap_or_default()
    }
}

impl Place for Mount<'_> {
    fn place(&self) -> &str {
        self.target
    }
}

impl Place for Node<'_> {}
impl Place for Attribute<'_> {}

impl Place for Signed<'_> {
    fn place(&self) -> &str {
        match self {
            Signed::File(path) => path,
            Signed::Bytes(_) => "",
        }
    }
}

impl<T> Place for [T] {}
impl Place for dyn FnMut(u64, Duration) -> Option<String> + '_ {}
impl Place for Kind {}
impl Place for u64 {}
impl Place for usize {}
impl Place for u32 {}
impl Place for u8 {}
impl Place for bool {}

/// Passes operations on to the real kernel, each announced to [`Machine::operation`] first.
macro_rules! pass_on {
    ($(fn $name:ident(&mut self $(, $argument:ident: $type:ty)*) $(-> $out:ty)?;)*) => {
        $(fn $name(&mut self $(, $argument: $type)*) $(-> $out)? {
            self.operation(stringify!($name), &[$($argument.place()),*]);
            self.linux.$name($($argument),*)
        })*
    };
}

impl Machine {
    fn new(plan: BootPlan, progress: fs::File) -> Self {
        Self { linux: Linux::new(), plan, result: BootResult::default(), progress, run_canaries: None }
    }

    /// Notes the operation that is about to run, and fills a medium if its time has come.
    fn operation(&mut self, name: &str, places: &[&str]) {
        let line = format!("{name} {}\n", places.join(" ").trim());
        let _ = self.progress.set_len(0);
        let _ = self.progress.write_all_at(line.as_bytes(), 0);
        let Some(filling) = self.plan.filling.clone() else { return };
        if places.iter().any(|place| place.starts_with(&filling.mount)) && is_mounted(&filling.mount) {
            if self.result.operations == filling.before {
                super::workshop::fill(&filling);
            }
            self.result.operations += 1;
        }
    }

    /// Returns true where `filesystem` has to come from a module that is not loaded yet.
    fn lacks(&self, filesystem: &str) -> bool {
        let is_module = |path: &String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.split('.').next() == Some(filesystem)
        };
        self.plan.modular.iter().any(|name| name == filesystem) && !self.result.modules.iter().any(is_module)
    }

    /// Returns the described block devices.
    fn volumes(&self) -> Vec<Volume> {
        let volume = |device: &Device| Volume {
            name: device.name.clone(),
            disk: device.name.clone(),
            size: 16 << 20,
            kind: Some(device.kind.clone()),
            label: Some(device.label.clone()),
            ..Volume::default()
        };
        self.plan.devices.iter().map(volume).collect()
    }

    fn entry(&self, path: &str) -> Option<Entry> {
        let volumes = self.volumes();
        sysfs::entry(&volumes.iter().collect::<Vec<_>>(), path)
    }

    /// Looks at the root that is about to be entered.
    fn look_at_root(&mut self) {
        let mark = format!("{}/etc/mark", names::IMAGE_DIR);
        self.result.mark = fs::read_to_string(mark).unwrap_or_default();
        self.result.kept = fs::read(format!("{}/etc/kept", names::SYSROOT)).is_ok();
        // What the system writes must land on the overlay.
        let probe = format!("{}/etc/probe", names::SYSROOT);
        self.result.unwritable = fs::write(probe, "written by the system").err().map(|error| error.to_string());
        self.result.root = true;
    }

    /// Reads the report as the system would.
    fn read_report(&mut self) {
        let Ok(bytes) = fs::read(names::REPORT) else { return };
        let Ok(report) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return };
        let text = |name: &str| report.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_string();
        (self.result.update, self.result.status) = (text("update"), text("status"));
    }
}

fn is_mounted(path: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(path))
}

impl Contents for Machine {
    pass_on! {
        fn digest(&mut self, path: &str, copy: Option<&str>, pace: Pace<'_>) -> io::Result<Digest>;
    }
}

impl Signatures for Machine {
    pass_on! {
        fn verify(&mut self, signed: Signed<'_>, signature: &str, key: &str, pace: Pace<'_>) -> io::Result<()>;
    }
}

impl Disks for Machine {
    fn probe(&mut self, volume: &mut Volume, details: bool) {
        let volumes = self.volumes();
        sysfs::probe(&volumes.iter().collect::<Vec<_>>(), volume, details);
    }

    pass_on! {
        fn attach_loop(&mut self, path: &str) -> io::Result<String>;
        fn run(&mut self, root: &str, program: &str, arguments: &[&str]) -> io::Result<i32>;
    }
}

impl Input for Machine {}
impl Shell for Machine {}

impl Supervisor for Machine {
    pass_on! {
        fn make_node(&mut self, path: &str, node: Node<'_>) -> io::Result<()>;
    }
}

impl System for Machine {
    pass_on! {
        fn set_attribute(&mut self, path: &str, attribute: Attribute<'_>) -> io::Result<()>;
    }
}

impl Kernel for Machine {
    pass_on! {
        fn now(&mut self) -> Duration;
        fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
        fn make_dir(&mut self, path: &str, mode: u32) -> io::Result<()>;
        fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
        fn link(&mut self, from: &str, to: &str) -> io::Result<()>;
        fn remove(&mut self, path: &str, kind: Kind) -> io::Result<()>;
        fn sync(&mut self, path: &str) -> io::Result<()>;
        fn space(&mut self, path: &str) -> io::Result<Space>;
        fn copy_attributes(&mut self, from: &str, to: &str) -> io::Result<()>;
        fn unmount(&mut self, target: &str) -> io::Result<()>;
        fn sweep(&mut self, store: &str) -> io::Result<()>;
        fn remove_below(&mut self, dir: &str, budget: usize, pace: Pace<'_>) -> io::Result<Removal>;
    }

    fn stat(&mut self, path: &str) -> io::Result<Stat> {
        self.operation("stat", &[path]);
        match self.entry(path) {
            Some(Entry::File(content)) => Ok(Stat { kind: Kind::File, mode: 0o444, size: content.len() as u64 }),
            _ => self.linux.stat(path),
        }
    }

    fn read_link(&mut self, path: &str) -> io::Result<String> {
        self.operation("read_link", &[path]);
        match self.entry(path) {
            Some(Entry::Link(target)) => Ok(target),
            _ => self.linux.read_link(path),
        }
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<String>> {
        self.operation("list", &[path]);
        match self.entry(path) {
            Some(Entry::Directory(names)) => Ok(names),
            // The hardware is described, and needs no drivers.
            _ if path == "/sys/bus" => Ok(Vec::new()),
            _ => self.linux.list(path),
        }
    }

    fn read(&mut self, path: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        self.operation("read", &[path]);
        match path {
            "/proc/cmdline" => Ok(self.plan.cmdline.clone().into_bytes()),
            "/sys/devices/system/cpu/online" => Ok(b"0\n".to_vec()),
            // The records of a crash are those of the machine that tests.
            names::PSTORE_BACKEND => Err(io::ErrorKind::NotFound.into()),
            "/proc/filesystems" => {
                let known = self.linux.read(path, offset, most)?;
                let known = String::from_utf8_lossy(&known).into_owned();
                let is_known = |line: &&str| !self.lacks(line.split('\t').nth(1).unwrap_or_default());
                Ok(known.lines().filter(is_known).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes())
            }
            _ => match self.entry(path) {
                Some(Entry::File(content)) => Ok(content),
                _ => self.linux.read(path, offset, most),
            },
        }
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.operation("write_at", &[path]);
        // Devices are the whole machine's.
        if names::on_medium(path).is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.linux.write_at(path, offset, bytes)
    }

    fn mount(&mut self, mount: &Mount<'_>) -> io::Result<()> {
        self.operation("mount", &[mount.source, mount.target]);
        match mount.action {
            Action::New => {}
            Action::Move => return Ok(()),
            Action::Remount | Action::Bind => return self.linux.mount(mount),
        }
        match (mount.filesystem, mount.target) {
            // The laboratory's own are there, as a kernel may have mounted devtmpfs.
            (_, "/dev" | "/proc" | "/sys") => Err(Errno::EBUSY.into()),
            // The real one is the whole machine's.
            ("devtmpfs", target) => {
                Ok(nix::mount::mount(Some("/dev"), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
            }
            (_, "/run") => {
                self.linux.mount(mount)?;
                for canary in SEEN_ON_RUN {
                    fs::create_dir_all(format!("/run/{canary}/directory"))?;
                    fs::write(format!("/run/{canary}/directory/file"), "canary")?;
                }
                self.run_canaries = Some(outside::look(Path::new("/run"), &SEEN_ON_RUN));
                Ok(())
            }
            (filesystem, _) if self.lacks(filesystem) => Err(Errno::ENODEV.into()),
            _ => self.linux.mount(mount),
        }
    }

    fn load_modules(&mut self, files: &[ModuleFile], workers: usize, first: bool) -> Vec<io::Result<()>> {
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        self.operation("load_modules", &paths);
        let outcomes = self.linux.load_modules(files, workers, first);
        let mut answers = Vec::new();
        for (file, outcome) in files.iter().zip(outcomes) {
            // The files are made up: that the kernel would have none of them, once it had read them, is as good as loading them.
            let refusals = [Errno::ENOEXEC, Errno::ENOSYS, Errno::EPERM].map(|errno| Some(errno as i32));
            match outcome {
                Err(error) if !refusals.contains(&error.raw_os_error()) => answers.push(Err(error)),
                _ => {
                    let size =
                        fs::metadata(&file.path).ok().filter(|found| found.is_file()).map_or(0, |found| found.len());
                    let is_ours = match &file.content {
                        Some(content) => content == MODULE.as_bytes(),
                        None => {
                            usize::try_from(size).is_ok_and(|size| size == MODULE.len())
                                && fs::read(&file.path).is_ok_and(|content| content == MODULE.as_bytes())
                        }
                    };
                    if !is_ours {
                        self.result.foreign_modules.push(file.path.clone());
                    }
                    self.result.modules.push(file.path.clone());
                    answers.push(Ok(()));
                }
            }
        }
        answers
    }

    fn log(&mut self, level: Level, text: &str) {
        if level != Level::Announcement {
            return self.result.log.push(text.into());
        }
        // What comes behind the hand-over is about the init that did not start here.
        if self.result.root {
            return;
        }
        if let Some(code) = text.lines().find_map(|line| line.split_once(" cannot boot: ")) {
            self.result.card = Some(code.1.into());
        }
        self.result.announced.push(text.into());
    }

    fn listen(&mut self, _sources: Sources) -> io::Result<()> {
        Ok(())
    }

    fn next_events(&mut self, _deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        Ok(Vec::new())
    }

    fn enter_root(&mut self, _root: &str) -> io::Result<()> {
        self.operation("enter_root", &[]);
        self.look_at_root();
        Ok(())
    }

    fn exec(&mut self, _program: &str, _arguments: &[String]) -> io::Error {
        self.read_report();
        io::ErrorKind::Other.into()
    }

    fn power(&mut self, _power: Power, _after: Duration) {
        if self.result.root {
            return;
        }
        self.read_report();
        // With the machine everything that runs beside PID 1 ends. Whatever that is was in time if it is gone already.
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for child in children.split_ascii_whitespace().filter_map(|number| number.parse().ok()) {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
    }
}
