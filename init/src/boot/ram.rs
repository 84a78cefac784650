//! The boot of a root that is the initramfs itself: nothing is found, mounted over or switched to, unless the image is on a disk. The root is compared with what was packed,
//! what an archive could not carry is restored, programs get the mounts that they expect, and the image's program runs as the image wants it.

pub mod config;
mod contents;
pub mod fault;
mod getty;
pub mod hotplug;
mod interfaces;
#[cfg(feature = "lower")]
mod lower;
pub mod network;
mod runtime;
#[cfg(feature = "virtiofs")]
mod shares;
mod user;

use std::time::Duration;

use contract::{
    errno::ENODEV,
    names,
    report::Fact,
    step::Step,
    workload::{self, Process, Workload},
};

use super::supervise;
use crate::{
    context::Context,
    error::Result,
    kernel::{
        Kind, Level, Limits, Machine, Mount, Power, exists,
        supervisor::{Attribute, Identity, Node, Program, Setting},
    },
    modules::Modules,
    switch_root,
};
use config::Config;
use fault::Fault;

/// Mounts beside those of every boot mode: filesystem, where, options, restrictions.
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

/// Less than this free means that a root is full, in bytes.
const NOTHING: u64 = 64 << 10;

/// Runs the root. Returns without an error only on a recorder, or where the machine cannot be powered off.
///
/// # Errors
/// Anything that keeps the program from running.
pub fn run(context: &mut Context<'_>, config: &Config) -> Result<()> {
    context.begin(Step::Verify);
    let mut workload = Workload::parse(&context.text(names::WORKLOAD));
    let is_baked = exists(context.kernel, names::WORKLOAD);
    if is_baked {
        check(context, &workload, config.verify)?;
    } else {
        // A root that somebody else packed: nothing says what is to be in it, and its init has the usual name.
        workload.entrypoint = vec![context.config.init.clone()];
    }
    restore(context, &workload);
    context.begin(Step::Modules);
    if is_baked {
        // All modules of an image's own are for whatever it runs.
        context.modules = Modules::open(context.kernel, &context.config.modules);
        context.modules.load_always(context.kernel);
    } else {
        context.open_modules();
    }
    if workload.switches_on && config.net != Some(false) {
        let mut seen = Vec::new();
        let mut switch_on = |kernel: &mut dyn Machine| interfaces::switch_on(kernel, &mut seen);
        // Some drivers may be the kernel's own.
        switch_on(context.kernel);
        context.modules.coldplug_cards(context.kernel, switch_on);
    } else {
        context.modules.coldplug(context.kernel, &[]);
    }
    #[cfg(feature = "lower")]
    if !workload.disk.is_empty() {
        lower::enter(context, &workload.disk)?;
    }
    context.begin(Step::Mounts);
    mount_apis(context);
    // Not a system of its own, and not a root that somebody else packed.
    let is_image = is_baked && !workload.on_consoles;
    let hostname = name_machine(context, &workload, is_image);
    if is_image {
        add_runtime(context, &hostname);
    }
    #[cfg(feature = "virtiofs")]
    shares::mount(context, &workload.shares)?;
    if let Err(error) = interfaces::bring_up(context.kernel, "lo") {
        context.notice(&format!("the loopback network is not up: {error}"));
    }
    context.begin(Step::Check);
    let program = prepare(context, config, &workload, if is_image { &hostname } else { "" })?;
    start_companion(context, config, &workload);
    context.begin(Step::Report);
    context.report.fact(Fact::Program, program.path.as_str());
    let process = program.setting.as_ref().map(|setting| setting.identity.process).unwrap_or_default();
    if process != Process::Child {
        context.report.fact(Fact::Pid1, process.word());
    }
    context.write_report();
    context.begin(Step::Run);
    context.write_report();
    if workload.on_consoles {
        let power = getty::run(context.kernel, &program);
        let power = power.map_err(|source| Fault::Exec { path: program.path.clone(), source })?;
        context.kernel.power(power, Duration::ZERO);
        return Ok(());
    }
    match context.config.exit.clone() {
        Some(exit) => supervise::run(context.kernel, &exit, &program),
        None => {
            let status = context.kernel.supervise(&program);
            let status = status.map_err(|source| Fault::Exec { path: program.path.clone(), source })?;
            context.kernel.log(Level::Info, &format!("{}: exit status {status}", program.path));
            context.kernel.power(Power::Off, Duration::ZERO);
            Ok(())
        }
    }
}

/// Starts what runs beside the program, and says where that was asked for and is not there.
fn start_companion(context: &mut Context<'_>, config: &Config, workload: &Workload) {
    let Some(companion) = companion(workload) else {
        if config.net == Some(true) {
            context.notice("rd.net=dhcp: this initramfs has no DHCP client (oci --network)");
        }
        return;
    };
    if let Err(error) = context.kernel.start(&companion, "/dev/console", false) {
        context.notice(&format!("{} would not start: {error}", companion.path));
    }
}

/// Returns the program to run beside the main one, if the workload names any.
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
fn check(context: &mut Context<'_>, workload: &Workload, verify: bool) -> Result<()> {
    let seen = contents::check(context.kernel, names::INVENTORY, verify);
    if seen.is_empty() {
        return Ok(());
    }
    let has = memory(&context.text("/proc/meminfo"));
    // A root on ramfs has no limit, and says that nothing is free.
    let is_tight = workload.memory.saturating_mul(4) > has;
    let full = is_tight && context.kernel.space("/").is_ok_and(|space| space.free < NOTHING);
    Err(Fault::Torn { seen, needs: workload.memory, has, full }.into())
}

/// Returns the bytes of memory (kernel, Documentation/filesystems/proc.rst, meminfo).
fn memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = line.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    kib.saturating_mul(1024)
}

/// Puts back what the archive could not carry, and takes away what only init needed.
fn restore(context: &mut Context<'_>, workload: &Workload) {
    if let Some(words) = contents::restore_attributes(context.kernel, names::ATTRIBUTES) {
        context.notice(&words);
    }
    // A rootfs on tmpfs lets everybody write to / (kernel, mm/shmem.c, shmem_parse_options: 01777).
    if let Err(error) = context.kernel.set_attribute("/", Attribute::Mode(workload.root_mode.unwrap_or(0o755))) {
        context.notice(&format!("anybody may write to /: {error}"));
    }
    // The image's own program of that name, which this one stood in the place of.
    if exists(context.kernel, names::KEPT_INIT)
        && let Err(error) = context.kernel.rename(names::KEPT_INIT, "/init")
    {
        context.notice(&format!("cannot put the image's own /init back: {error}"));
    }
    for list in [names::INVENTORY, names::ATTRIBUTES] {
        // Large ones take memory; one that stays does no harm.
        let _ = context.kernel.remove(list, Kind::File);
    }
}

/// Mounts what programs expect. What a kernel has not is said, and matters only to who uses it.
fn mount_apis(context: &mut Context<'_>) {
    for (filesystem, target, data, limits) in MOUNTS {
        // cgroup's place is made by the kernel, where it has it.
        if target.starts_with("/dev/") {
            let _ = context.make_dir(target);
        }
        let mount = Mount { source: filesystem, target, filesystem, limits, data, ..Mount::default() };
        if let Err(error) = context.kernel.mount(&mount)
            // Few programs have queues, and many kernels none.
            && !(filesystem == "mqueue" && error.raw_os_error() == Some(ENODEV))
        {
            context.notice(&format!("no {filesystem} at {target}: {error}"));
        }
    }
    for (from, to) in LINKS {
        if !exists(context.kernel, from)
            && let Err(error) = context.kernel.make_node(from, Node::Link(to))
        {
            context.notice(&format!("cannot make {from}: {error}"));
        }
    }
}

/// Names the machine, as the image or its `/etc/hostname` says. Returns the name.
fn name_machine(context: &mut Context<'_>, workload: &Workload, is_image: bool) -> String {
    let mut name = workload.hostname.clone();
    if name.is_empty() {
        name = context.text("/etc/hostname").lines().next().unwrap_or_default().trim().to_string();
    }
    if name.is_empty() && is_image {
        name = runtime::HOSTNAME.to_string();
    }
    if !name.is_empty()
        && let Err(error) = context.kernel.write("/proc/sys/kernel/hostname", name.as_bytes())
    {
        context.notice(&format!("cannot set the hostname to {name}: {error}"));
    }
    name
}

/// Makes what container engines put beside an image, where the image has none: images are made with empty files in these places.
fn add_runtime(context: &mut Context<'_>, hostname: &str) {
    for (path, value) in runtime::SETTINGS {
        // A kernel without the setting has nothing to allow.
        let _ = context.kernel.write(path, value.as_bytes());
    }
    let _ = context.make_dir("/etc");
    if let Some(hosts) = runtime::hosts(&context.text("/etc/hosts"), hostname) {
        put_file(context, "/etc/hosts", &hosts);
    }
    if context.text("/etc/hostname").trim().is_empty() {
        put_file(context, "/etc/hostname", &[hostname, "\n"].concat());
    }
    // The file counts even where it says nothing: without it some programs look nowhere.
    if context.text("/etc/resolv.conf").trim().is_empty() {
        let resolvers = runtime::resolvers(&context.text("/proc/net/pnp"));
        put_file(context, "/etc/resolv.conf", &resolvers);
    }
}

/// Writes a file of the root's; in the place of a link that leads nowhere, as engines do.
fn put_file(context: &mut Context<'_>, path: &str, text: &str) {
    let mut written = context.kernel.write(path, text.as_bytes());
    if written.is_err() && context.kernel.read_link(path).is_ok() {
        written = context.kernel.remove(path, Kind::Symlink).and_then(|()| context.kernel.write(path, text.as_bytes()));
    }
    if let Err(error) = written {
        context.notice(&format!("cannot write {path}: {error}"));
    }
}

/// Returns the program with all that it runs with.
fn prepare(context: &mut Context<'_>, config: &Config, workload: &Workload, hostname: &str) -> Result<Program> {
    let mut words = workload.words(config.init.as_deref(), &config.arguments).into_iter();
    let Some(name) = words.next() else { return Err(Fault::Nothing.into()) };
    let (passwd, group) = (context.text("/etc/passwd"), context.text("/etc/group"));
    let mut identity = user::identify(&workload.user, &passwd, &group)?;
    // What is asked for at boot is another program.
    if config.init.is_none() {
        identity.process = workload.process;
    }
    let environment = workload.environment(&identity.home, hostname);
    context.make_dirs(workload.directory())?;
    let path = find(
        context.kernel,
        &name,
        workload.directory(),
        workload::variable(&environment, "PATH").unwrap_or_default(),
    )?;
    let directory = workload.directory().into();
    let setting = Setting { name, environment, directory, identity, stop: workload.stop() };
    Ok(Program { path, arguments: words.collect(), setting: Some(setting) })
}

/// Returns the path of the program `name`, searched for as by execvp(3). Skips a path with a link in it that leads nowhere.
fn find(kernel: &mut dyn Machine, name: &str, directory: &str, path: &str) -> Result<String, Fault> {
    let mut looked = Vec::new();
    let mut candidates = Vec::new();
    if name.starts_with('/') {
        candidates.push(name.to_string());
        looked.push("the root".to_string());
    } else if name.contains('/') {
        candidates.push(format!("{directory}/{name}"));
        looked.push(directory.to_string());
    } else {
        for place in path.split(':') {
            let place = if place.is_empty() { directory } else { place };
            candidates.push(format!("{place}/{name}"));
            looked.push(place.to_string());
        }
    }
    let mut unusable = None;
    for candidate in candidates {
        let Some(stat) = switch_root::resolve(kernel, "", &candidate).ok().and_then(|real| kernel.stat(&real).ok())
        else {
            continue;
        };
        let reason = match stat.kind {
            Kind::File if stat.mode & 0o111 == 0 => "no permission bit allows executing it",
            Kind::File if stat.size == 0 => "it is empty",
            Kind::File => return Ok(candidate),
            _ => "it is not a file",
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
        kernel::recorder::{self, Recorder},
    };

    #[test]
    fn a_root_that_somebody_packed_runs_its_own_init() {
        let mut kernel = Recorder { exit_status: Some(3), release: "6.1.0".into(), ..Recorder::default() };
        kernel.files.insert("init".into(), recorder::Node::file("ours", 0o755));
        kernel.files.insert("sbin/init".into(), recorder::Node::file("theirs", 0o755));
        kernel.files.insert("lib/modules/6.1.0/net.ko".into(), recorder::Node::file("m", 0o644));
        run(&mut Context::new(&mut kernel, ABILITIES), &Config::default()).unwrap();
        let has = |line: &str| assert!(kernel.record.iter().any(|seen| seen.starts_with(line)), "{:#?}", kernel.record);
        has("load /lib/modules/6.1.0/net.ko");
        has("supervise /sbin/init");
        assert!(!kernel.record.iter().any(|line| line.starts_with("announce") || line.starts_with("remove")));
    }
}
