//! The way of a root that is the initramfs itself: nothing is found, mounted over or switched to. The root is looked over, what an
//! archive could not carry is put back, programs get the mounts that they expect, and the image's program runs as the image wants it.

use std::time::Duration;

use super::Boot;
use crate::{
    attributes,
    error::Result,
    inventory,
    kernel::{Kernel, Kind, Level, Limits, Mount, Power, Program, Setting, exists},
    modules::Modules,
    names,
    step::Step,
    supervise, switch_root,
    workload::{self, Fault, Identity, Process, Workload, runtime, user},
};

/// Mounts beside those of every way: filesystem, where, options, restrictions.
const MOUNTS: [(&str, &str, &str, Limits); 4] = [
    // The group tty has this number nearly everywhere; glibc's grantpt asks for it (kernel, Documentation/filesystems/devpts.rst).
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", Limits::None),
    ("tmpfs", "/dev/shm", "mode=1777", Limits::NoSuidDev),
    ("mqueue", "/dev/mqueue", "", Limits::NoSuidDev),
    ("cgroup2", "/sys/fs/cgroup", "", Limits::NoSuidDev),
];

/// Links that programs expect: from, to.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// No such filesystem (errno(3)).
const ENODEV: i32 = 19;

/// Less than this free means that a root is full, in bytes.
const NOTHING: u64 = 64 << 10;

/// Whether this initramfs is a root of its own.
pub fn is_baked(kernel: &mut dyn Kernel) -> bool {
    exists(kernel, names::WORKLOAD)
}

/// Runs the root. Comes back without an error only on a recorder, or where the machine cannot be switched off.
///
/// # Errors
/// What keeps the program from running.
pub fn run(boot: &mut Boot<'_>) -> Result<()> {
    boot.begin(Step::Verify);
    let mut workload = Workload::parse(&boot.text(names::WORKLOAD));
    let is_baked = is_baked(boot.kernel);
    if is_baked {
        check(boot, &workload)?;
    } else {
        // A root that somebody else packed: nothing says what is to be in it, and its init has the usual name.
        workload.entrypoint = vec![boot.config.init.clone()];
    }
    restore(boot, &workload);
    boot.begin(Step::Modules);
    if is_baked {
        // All modules of an image's own are for whatever it runs.
        boot.modules = Modules::open(boot.kernel);
        boot.modules.load_always(boot.kernel);
    } else {
        boot.open_modules();
    }
    if workload.switches_on && boot.config.net != Some(false) {
        let mut seen = Vec::new();
        let mut switch_on = |kernel: &mut dyn Kernel| switch_on(kernel, &mut seen);
        // Some drivers may be the kernel's own.
        switch_on(boot.kernel);
        boot.modules.coldplug_cards(boot.kernel, switch_on);
    } else {
        boot.modules.coldplug(boot.kernel, &[]);
    }
    boot.begin(Step::Mounts);
    mount_apis(boot);
    // Not a system of its own, and not a root that somebody else packed.
    let is_image = is_baked && !workload.on_consoles;
    let hostname = name_machine(boot, &workload, is_image);
    if is_image {
        add_runtime(boot, &hostname);
    }
    if let Err(error) = boot.kernel.link_up("lo") {
        boot.notice(&format!("the loopback network is not up: {error}"));
    }
    boot.begin(Step::Check);
    let program = prepare(boot, &workload, if is_image { &hostname } else { "" })?;
    start_companion(boot, &workload);
    boot.begin(Step::Report);
    boot.report.fact("program", program.path.as_str());
    let process = program.setting.as_ref().map(|setting| setting.identity.process).unwrap_or_default();
    if process != Process::Child {
        boot.report.fact("pid1", process.word());
    }
    boot.write_report();
    boot.begin(Step::Run);
    boot.write_report();
    if workload.on_consoles {
        let power = boot.kernel.attend(&program);
        let power = power.map_err(|source| Fault::Exec { path: program.path.clone(), source })?;
        boot.kernel.power(power, Duration::ZERO);
        return Ok(());
    }
    match boot.config.exit.clone() {
        Some(exit) => supervise::run(boot.kernel, &exit, &program),
        None => {
            let status = boot.kernel.supervise(&program);
            let status = status.map_err(|source| Fault::Exec { path: program.path.clone(), source })?;
            boot.kernel.log(Level::Info, &format!("{} ended with status {status}", program.path));
            boot.kernel.power(Power::Off, Duration::ZERO);
            Ok(())
        }
    }
}

/// Switches the network cards on that are not among the `seen` yet. What runs beside the program tries again, and says why it cannot.
fn switch_on(kernel: &mut dyn Kernel, seen: &mut Vec<String>) {
    const INTERFACES: &str = "/sys/class/net";
    for name in kernel.list(INTERFACES).unwrap_or_default() {
        if seen.contains(&name) {
            continue;
        }
        // Those that the kernel makes by itself have no device (kernel, Documentation/ABI/testing/sysfs-class-net).
        if exists(kernel, &[INTERFACES, "/", &name, "/device"].concat()) {
            let _ = kernel.link_up(&name);
        }
        seen.push(name);
    }
}

/// Starts what runs beside the program, and says where that was asked for and is not there.
fn start_companion(boot: &mut Boot<'_>, workload: &Workload) {
    let Some(companion) = companion(workload) else {
        if boot.config.net == Some(true) {
            boot.notice("rd.net=dhcp: this initramfs has nothing that does it (oci --network)");
        }
        return;
    };
    if let Err(error) = boot.kernel.start(&companion, "/dev/console") {
        boot.notice(&format!("{} would not start: {error}", companion.path));
    }
}

/// What runs beside the program.
fn companion(workload: &Workload) -> Option<Program> {
    let mut words = workload.start.iter().cloned();
    let path = words.next()?;
    let setting = Setting {
        name: path.clone(),
        environment: workload.environment("/", ""),
        directory: "/".into(),
        identity: Identity::default(),
        stop: workload.stop(),
    };
    Some(Program { path, arguments: words.collect(), setting: Some(setting) })
}

/// Makes sure that the root is what was packed.
fn check(boot: &mut Boot<'_>, workload: &Workload) -> Result<()> {
    let seen = inventory::check(boot.kernel, names::INVENTORY, boot.config.verify);
    if seen.is_empty() {
        return Ok(());
    }
    let has = memory(&boot.text("/proc/meminfo"));
    // A root on ramfs has no limit, and says that nothing is free.
    let is_tight = workload.memory.saturating_mul(4) > has;
    let full = is_tight && boot.kernel.space("/").is_ok_and(|space| space.free < NOTHING);
    Err(Fault::Torn { seen, needs: workload.memory, has, full }.into())
}

/// Bytes of memory (kernel, Documentation/filesystems/proc.rst, meminfo).
fn memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = line.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    kib.saturating_mul(1024)
}

/// Puts back what the archive could not carry, and takes away what only init needed.
fn restore(boot: &mut Boot<'_>, workload: &Workload) {
    if let Some(words) = attributes::restore(boot.kernel, names::ATTRIBUTES) {
        boot.notice(&words);
    }
    // A rootfs on tmpfs lets everybody write to / (kernel, mm/shmem.c, shmem_parse_options: 01777).
    if let Err(error) = boot.kernel.set_mode("/", workload.root_mode.unwrap_or(0o755)) {
        boot.notice(&format!("anybody may write to /: {error}"));
    }
    // The image's own program of that name, which this one stood in the place of.
    if exists(boot.kernel, names::KEPT_INIT)
        && let Err(error) = boot.kernel.rename(names::KEPT_INIT, "/init")
    {
        boot.notice(&format!("cannot put the image's own /init back: {error}"));
    }
    for list in [names::INVENTORY, names::ATTRIBUTES] {
        // Large ones take memory; one that stays does no harm.
        let _ = boot.kernel.remove(list);
    }
}

/// Mounts what programs expect. What a kernel has not is said, and matters only to who uses it.
fn mount_apis(boot: &mut Boot<'_>) {
    for (filesystem, target, data, limits) in MOUNTS {
        // cgroup's place is made by the kernel, where it has it.
        if target.starts_with("/dev/") {
            let _ = boot.make_dir(target);
        }
        let mount = Mount { source: filesystem, target, filesystem, read_only: false, limits, data };
        if let Err(error) = boot.kernel.mount(&mount)
            // Few programs have queues, and many kernels none.
            && !(filesystem == "mqueue" && error.raw_os_error() == Some(ENODEV))
        {
            boot.notice(&format!("no {filesystem} at {target}: {error}"));
        }
    }
    for (from, to) in LINKS {
        if !exists(boot.kernel, from)
            && let Err(error) = boot.kernel.symlink(to, from)
        {
            boot.notice(&format!("cannot make {from}: {error}"));
        }
    }
}

/// Names the machine, as the image or its `/etc/hostname` says. Returns the name.
fn name_machine(boot: &mut Boot<'_>, workload: &Workload, is_image: bool) -> String {
    let mut name = workload.hostname.clone();
    if name.is_empty() {
        name = boot.text("/etc/hostname").lines().next().unwrap_or_default().trim().to_string();
    }
    if name.is_empty() && is_image {
        name = runtime::HOSTNAME.to_string();
    }
    if !name.is_empty()
        && let Err(error) = boot.kernel.write("/proc/sys/kernel/hostname", name.as_bytes())
    {
        boot.notice(&format!("the machine cannot be called {name}: {error}"));
    }
    name
}

/// Makes what container engines put beside an image, where the image has none: images are made with empty files in these places.
fn add_runtime(boot: &mut Boot<'_>, hostname: &str) {
    for (path, value) in runtime::SETTINGS {
        // A kernel without the setting has nothing to allow.
        let _ = boot.kernel.write(path, value.as_bytes());
    }
    let _ = boot.make_dir("/etc");
    if let Some(hosts) = runtime::hosts(&boot.text("/etc/hosts"), hostname) {
        put_file(boot, "/etc/hosts", &hosts);
    }
    if boot.text("/etc/hostname").trim().is_empty() {
        put_file(boot, "/etc/hostname", &[hostname, "\n"].concat());
    }
    // The file counts even where it says nothing: without it some programs look nowhere.
    if boot.text("/etc/resolv.conf").trim().is_empty() {
        let resolvers = runtime::resolvers(&boot.text("/proc/net/pnp"));
        put_file(boot, "/etc/resolv.conf", &resolvers);
    }
}

/// Writes a file of the root's; in the place of a link that leads nowhere, as engines do.
fn put_file(boot: &mut Boot<'_>, path: &str, text: &str) {
    let mut written = boot.kernel.write(path, text.as_bytes());
    if written.is_err() && boot.kernel.read_link(path).is_ok() {
        written = boot.kernel.remove(path).and_then(|()| boot.kernel.write(path, text.as_bytes()));
    }
    if let Err(error) = written {
        boot.notice(&format!("cannot write {path}: {error}"));
    }
}

/// The program with all that it runs with.
fn prepare(boot: &mut Boot<'_>, workload: &Workload, hostname: &str) -> Result<Program> {
    let mut words = workload.words(boot.config.given_init.as_deref(), &boot.config.given_arguments).into_iter();
    let Some(name) = words.next() else { return Err(Fault::Nothing.into()) };
    let (passwd, group) = (boot.text("/etc/passwd"), boot.text("/etc/group"));
    let mut identity = user::identify(&workload.user, &passwd, &group)?;
    // What is asked for at boot is another program.
    if boot.config.given_init.is_none() {
        identity.process = workload.process;
    }
    let environment = workload.environment(&identity.home, hostname);
    make_dirs(boot, workload.folder())?;
    let path =
        find(boot.kernel, &name, workload.folder(), workload::variable(&environment, "PATH").unwrap_or_default())?;
    let directory = workload.folder().into();
    let setting = Setting { name, environment, directory, identity, stop: workload.stop() };
    Ok(Program { path, arguments: words.collect(), setting: Some(setting) })
}

/// Makes a folder with those above it.
fn make_dirs(boot: &mut Boot<'_>, path: &str) -> Result<()> {
    let mut made = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        made.push('/');
        made.push_str(part);
        boot.make_dir(&made)?;
    }
    Ok(())
}

/// Where the program `name` is: as execvp(3) looks for it, in folders that are not below a link that leads nowhere.
fn find(kernel: &mut dyn Kernel, name: &str, folder: &str, path: &str) -> Result<String, Fault> {
    let mut looked = Vec::new();
    let mut candidates = Vec::new();
    if name.starts_with('/') {
        candidates.push(name.to_string());
        looked.push("the root".to_string());
    } else if name.contains('/') {
        candidates.push(format!("{folder}/{name}"));
        looked.push(folder.to_string());
    } else {
        for place in path.split(':') {
            let place = if place.is_empty() { folder } else { place };
            candidates.push(format!("{place}/{name}"));
            looked.push(place.to_string());
        }
    }
    let mut unusable = None;
    for candidate in candidates {
        let Some(stat) = switch_root::resolve(kernel, "", &candidate).and_then(|real| kernel.stat(&real).ok()) else {
            continue;
        };
        let reason = match stat.kind {
            Kind::File if stat.mode & 0o111 == 0 => "no permission bit allows to execute it",
            Kind::File if stat.size == 0 => "it is empty",
            Kind::File => return Ok(candidate),
            _ => "it is no regular file",
        };
        unusable.get_or_insert(Fault::Unusable { path: candidate, reason });
    }
    Err(unusable.unwrap_or(Fault::Missing { name: name.into(), looked }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        boot::ABILITIES,
        kernel::recorder::{Node, Recorder},
    };

    #[test]
    fn a_root_that_somebody_packed_runs_its_own_init() {
        let mut kernel = Recorder { exit_status: Some(3), release: "6.1.0".into(), ..Recorder::default() };
        kernel.files.insert("init".into(), Node::file("ours", 0o755));
        kernel.files.insert("sbin/init".into(), Node::file("theirs", 0o755));
        kernel.files.insert("lib/modules/6.1.0/net.ko".into(), Node::file("m", 0o644));
        run(&mut Boot::new(&mut kernel, ABILITIES)).unwrap();
        let has = |line: &str| assert!(kernel.record.iter().any(|seen| seen.starts_with(line)), "{:#?}", kernel.record);
        has("load /lib/modules/6.1.0/net.ko");
        has("supervise /sbin/init");
        assert!(!kernel.record.iter().any(|line| line.starts_with("announce") || line.starts_with("remove")));
    }
}
