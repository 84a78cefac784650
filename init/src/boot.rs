//! A boot from the first mount to the hand-over: the steps, their times, and the failure screen of the one that fails. Each boot mode
//! has a module below; [`overlay`] is the appliance.

pub mod blackbox;
pub mod block;
pub mod button;
pub mod debug;
mod evidence;
pub mod hold;
pub mod layers;
pub mod overlay;
#[cfg(feature = "ram")]
pub mod ram;
pub mod recover;
pub mod root;
#[cfg(feature = "supervise")]
pub mod supervise;
#[cfg(feature = "virtiofs")]
pub mod virtiofs;
pub mod volumes;

use std::time::Duration;

use contract::{failure::Mounted, names, report::Fact, step::Step};

use overlay::Assembled;
use root::Root;

use crate::{
    config::{
        Abilities, Config, HAS_BUTTON, HAS_OVERLAY, HAS_PARAMETERS, HAS_RAM, HAS_RECOVER, HAS_SHELL, IS_RAM_ONLY,
        Lines, ModeConfig, OnError, STAYS,
    },
    context::Context,
    error::{Error, Result},
    kernel::{Level, Limits, Machine, Mount, Power, exists, release},
    places::Places,
    shell, switch_root,
};

/// The abilities of this build of init.
pub const ABILITIES: Abilities = Abilities { shell: cfg!(feature = "shell"), trust: cfg!(feature = "trust") };

/// Boots the machine. `arguments` are what the kernel left for init. Comes back only on a recorder, or where the machine cannot
/// even be powered off.
pub fn run(kernel: &mut dyn Machine, arguments: &[String], abilities: Abilities) {
    let mut context = Context::new(kernel, abilities);
    let mut tries = debug::Tries::default();
    let mut has_api = false;
    loop {
        let started = start(&mut context, &mut has_api, tries.words());
        let (moved, appliance) = match &started {
            Ok(mode) => (mode.moved(), recover::Appliance::of(mode, &context.config.layers)),
            Err(_) => (&switch_root::MOVED[..], recover::Appliance::default()),
        };
        let mut outcome = started.and_then(|mode| boot(&mut context, &mode, arguments));
        if let (true, Ok(End::Asked(root))) = (HAS_RECOVER, &outcome) {
            outcome = match recover::on_request(&mut context, &appliance) {
                recover::Choice::Left => hand_over(&mut context, *root, arguments).map(|()| End::Over),
                recover::Choice::Again(words) => {
                    tries.again(&mut context, words);
                    continue;
                }
                recover::Choice::End(power) => {
                    shell::end(context.kernel, power);
                    return;
                }
            };
        }
        let error = match outcome {
            Ok(End::Anew) if HAS_PARAMETERS => {
                debug::forget(&mut context);
                continue;
            }
            Ok(End::Reset) if HAS_BUTTON => {
                tries.start_over(&mut context, button::RESET);
                continue;
            }
            Ok(_) => return,
            Err(error) => error,
        };
        let failed = Failed { error: &error, root: Root { moved }, appliance, arguments };
        if !fail(&mut context, failed, &mut tries) {
            return;
        }
    }
}

/// The end of a try that did not fail.
enum End {
    /// The machine has become another program, or ends.
    Over,
    /// The boot starts over, with parameters that were found on the way.
    Anew,
    /// The boot starts over, as a factory reset that somebody with the button wants.
    Reset,
    /// The running system, or somebody with the button, asked for the menu before this root is entered.
    Asked(Root),
}

/// A boot that failed.
struct Failed<'a> {
    error: &'a Error,
    /// The root that may be put together by hand.
    root: Root,
    /// The appliance that it was.
    appliance: recover::Appliance,
    arguments: &'a [String],
}

/// Puts the root together as its mode wants, and becomes it.
fn boot(context: &mut Context<'_>, mode: &ModeConfig, arguments: &[String]) -> Result<End> {
    let root = match mode {
        ModeConfig::Overlay(config) if HAS_OVERLAY => match overlay::assemble(context, config)? {
            // Both are asked, so that neither is left for the next boot.
            Assembled::Root(root) if button::takes_menu(context) | recover::is_requested(context) => {
                return Ok(End::Asked(root));
            }
            Assembled::Root(root) => root,
            Assembled::Anew => return Ok(End::Anew),
            Assembled::Reset => return Ok(End::Reset),
        },
        #[cfg(feature = "virtiofs")]
        ModeConfig::Virtiofs(config) => virtiofs::assemble(context, config)?,
        #[cfg(feature = "ram")]
        ModeConfig::Ram(config) => return ram::run(context, config).map(|()| End::Over),
        // A build without the mode decides on another one, and needs none of its code.
        ModeConfig::Overlay(_) => return Ok(End::Over),
    };
    hand_over(context, root, arguments).map(|()| End::Over)
}

/// Mounts the file systems that every program expects, if no try before did so, and reads the parameters; with those that somebody chose
/// for this `once`.
fn start(context: &mut Context<'_>, has_api: &mut bool, once: &str) -> Result<ModeConfig> {
    let now = context.kernel.now();
    context.report.begin(Step::Api, now);
    let is_root = IS_RAM_ONLY || HAS_RAM && exists(context.kernel, names::WORKLOAD);
    if !*has_api {
        mount_api(context, is_root)?;
        *has_api = true;
    }
    read_parameters(context, is_root, once)
}

/// Mounts the file systems that every program expects, and makes the directories of a boot.
fn mount_api(context: &mut Context<'_>, is_root: bool) -> Result<()> {
    for (source, target, data, limits) in [
        ("devtmpfs", "/dev", "mode=755", Limits::None),
        ("proc", "/proc", "", Limits::NoSuidDev),
        ("sysfs", "/sys", "", Limits::NoSuidDev),
        // systemd, File Hierarchy Requirements: /run is mounted by the initramfs, mode 755, nosuid, nodev.
        ("tmpfs", "/run", "mode=755", Limits::NoSuidDev),
    ] {
        // An archive may hold this program and nothing else.
        context.make_dir(target)?;
        // What an image has in /run it needs.
        if is_root && target == "/run" && context.kernel.list(target).is_ok_and(|names| !names.is_empty()) {
            continue;
        }
        let mount = Mount { source, target, filesystem: source, limits, data, ..Mount::default() };
        match context.kernel.mount(&mount) {
            // The kernel may have mounted devtmpfs itself (CONFIG_DEVTMPFS_MOUNT).
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
            Err(error) => {
                return Err(Error::Mount {
                    what: Mounted::Api,
                    device: source.into(),
                    filesystem: source.into(),
                    source: error,
                });
            }
            Ok(()) => {}
        }
    }
    let directories = [names::STATE_DIR, names::IMG_DIR, names::IMAGE_DIR, names::OVERLAY_DIR];
    for directory in directories.into_iter().take(if is_root { 1 } else { 4 }) {
        context.make_dir(directory)?;
    }
    Ok(())
}

/// Reads the parameters, and reports what is odd about them.
fn read_parameters(context: &mut Context<'_>, is_root: bool, chosen: &str) -> Result<ModeConfig> {
    let baked = context.text(names::BAKED_CMDLINE);
    let given = context.text("/proc/cmdline");
    let last = context.text(names::FINAL_CMDLINE);
    let lines = Lines { baked: &baked, kernel: &given, file: &context.given.words, chosen, last: &last };
    let (config, outcome) = Config::parse_lines(&lines, context.abilities, is_root);
    context.config = config.common;
    #[cfg(feature = "supervise")]
    if let Some(place) = context.config.alive.clone() {
        // Without it the host takes the machine for one that hangs.
        let _ = context.kernel.write_at(&place.path, place.offset, &[supervise::ALIVE]);
    }
    if HAS_PARAMETERS && !context.given.words.is_empty() {
        let words: Vec<&str> = context.given.words.split_whitespace().collect();
        let which = if context.given.is_once { " (for this boot): " } else { ": " };
        let line = ["parameters from ", &context.given.source, which, &words.join(" ")].concat();
        context.notice(&line);
        if context.given.is_once {
            context.report.degrade();
        }
    }
    for warning in config.warnings {
        context.notice(&warning);
    }
    if !chosen.is_empty() {
        context.notice(&["chosen by hand for this boot: ", chosen].concat());
        context.report.degrade();
    }
    let release = release(context.kernel);
    context.report.fact(Fact::Kernel, release);
    let places = outcome.as_ref().map(|()| Places::of(&config.mode, &context.config.layers));
    context.blackbox = places.unwrap_or_default();
    outcome.map(|()| config.mode)
}

/// Checks the new root, writes the report and becomes it.
fn hand_over(context: &mut Context<'_>, root: Root, arguments: &[String]) -> Result<()> {
    context.begin(Step::Check);
    let init = switch_root::check_init(context.kernel, names::SYSROOT, &context.config.init)?;
    if HAS_OVERLAY && context.config.layers.persistent {
        look_for_persistent(context, &init);
    }
    look_for_modules(context);
    context.begin(Step::Report);
    if context.config.breaks.contains(&Step::SwitchRoot) {
        // For who looks at it from the shell.
        context.write_report();
    }
    context.begin(Step::SwitchRoot);
    let mut all = context.config.init_args.clone();
    if !context.config.init_args_final {
        all.extend_from_slice(arguments);
    }
    if STAYS {
        all.extend(context.text(names::BAKED_ARGUMENTS).split_terminator('\0').map(String::from));
    }
    blackbox::keep_good(context);
    context.write_report();
    if let Some(seconds) = context.config.panic
        && let Err(error) = context.kernel.write(names::PANIC, seconds.to_string().as_bytes())
    {
        context.notice(&format!("a kernel panic will not restart the machine: cannot write {}: {error}", names::PANIC));
    }
    let path = context.config.init.clone();
    switch_root::switch(context.kernel, names::SYSROOT, root.moved)?;
    #[cfg(feature = "supervise")]
    if let Some(exit) = context.config.exit.clone() {
        let program = crate::kernel::supervisor::Program { path, arguments: all, setting: None };
        return supervise::run(context.kernel, &exit, &program);
    }
    Err(Error::Exec { source: context.kernel.exec(&path, &all), path })
}

/// Reports that the root has no modules for the running kernel, though that loads modules: drivers that nothing here needed would be
/// missed later, by programs that do not say why.
fn look_for_modules(context: &mut Context<'_>) {
    let release = release(context.kernel);
    let directory = ["/", names::MODULES_DIR, "/", &release].concat();
    if exists(context.kernel, "/proc/modules")
        && switch_root::resolve(context.kernel, names::SYSROOT, &directory).is_err()
    {
        context.notice(&format!("the root has no modules for this kernel ({directory})"));
    }
}

/// Reports that files which the root's init needs come from `persistent`: where init ends at once, nothing else tells.
fn look_for_persistent(context: &mut Context<'_>, init: &switch_root::Init) {
    let files = switch_root::shadowed(context.kernel, init);
    if !files.is_empty() {
        let line =
            format!("from persistent, not from the image: {} (rd.persistent=no leaves it out)", files.join(", "));
        context.notice(&line);
    }
}

/// Shows what went wrong, once, and does what the policy wants. Returns true where the boot shall be tried again.
fn fail(context: &mut Context<'_>, failed: Failed<'_>, tries: &mut debug::Tries) -> bool {
    let error = failed.error;
    let now = context.kernel.now();
    context.report.end(now);
    let mut card = error.card(context.report.step());
    // A disk whose driver is for another kernel is not there.
    if let (Error::PartitionMissing { .. }, Some(line)) = (error, context.modules.mismatch()) {
        card.seen.insert(0, line);
        card.next =
            "start the kernel that this image was built for, or build the image with the modules of this one".into();
    }
    evidence::complete(&mut card, error, context);
    let consoles = hold::consoles(context.kernel);
    let end = match context.config.on_error {
        OnError::End(power, asked) => Some((power, hold::delay(power, asked, &consoles))),
        OnError::Shell => None,
    };
    card.then = match end {
        Some((power, delay)) => hold::sentence(power, delay),
        None => "a shell on every console".into(),
    };
    // Once the root is switched there is nothing left to try again with.
    let is_offered = HAS_RECOVER && context.config.recover && end.is_some() && card.step < Step::SwitchRoot;
    let password = if is_offered { recover::password(context) } else { None };
    if is_offered && password.is_none() {
        card.notices.push("rd.recover: no password is baked in (build --recover-password), so there is no menu".into());
    }
    for line in card.omitted() {
        context.kernel.log(Level::Info, line);
    }
    context.kernel.log(Level::Announcement, &card.to_string());
    // The card is out; a report that cannot be written changes nothing.
    let _ = context.kernel.write(names::REPORT, context.report.to_json(Some(&card)).as_bytes());
    blackbox::keep_failure(context, &card);
    let Some((power, delay)) = end else {
        if HAS_SHELL {
            match debug::after_failure(context, &card, &failed.appliance, &consoles, tries) {
                debug::Next::Again => return true,
                debug::Next::HandOver => {
                    context.notice("the root was put together by hand in the debug shell");
                    context.report.degrade();
                    if let Err(error) = hand_over(context, failed.root, failed.arguments) {
                        context.kernel.log(Level::Announcement, &error.card(context.report.step()).to_string());
                    }
                }
                debug::Next::End => {}
            }
        }
        context.kernel.power(Power::Off, Duration::ZERO);
        return false;
    };
    if IS_RAM_ONLY {
        // The smallest of all systems leaves its card there, and neither counts nor takes keys.
        context.kernel.power(power, delay);
        return false;
    }
    let mut power = power;
    let is_called = hold::hold(context, &card, power, delay, &consoles, password.is_some());
    // Not left to the optimizer to find out: a build without the menu has none of its code.
    if HAS_RECOVER && is_called {
        match recover::run(context, Some(&card), &failed.appliance, password, &consoles) {
            recover::Choice::Again(words) => {
                tries.again(context, words);
                return true;
            }
            recover::Choice::End(chosen) => power = chosen,
            recover::Choice::Left => {}
        }
    }
    context.kernel.power(power, Duration::ZERO);
    false
}
