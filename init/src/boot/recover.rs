//! The menu of a boot that failed, or before which the running system asked for it, on every console: boots in another way, shows devices and
//! the log, ends the machine. Each way is parameters that stand behind those of the kernel's command line for one boot; what is baked in as
//! the last word stays the last.

mod appliance;
mod menu;
mod mounts;
mod repair;
mod task;

use std::time::Duration;

use contract::{
    card::Card,
    names::{self, store},
};

use super::{
    hold::{self, Console},
    volumes::Devices,
};
use crate::{
    config::{HAS_RECOVER, HAS_SHELL},
    context::Context,
    kernel::{Kind, Power, read_text},
};
pub use appliance::Appliance;
use menu::{Action, Menu, Situation, Table};
use repair::{Progress, Repair};

/// The time after which a menu that nobody uses is left.
const IDLE: Duration = Duration::from_secs(600);
/// The time after which a boot goes on whose menu nobody has used at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of a menu.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// The boot is tried again with these parameters.
    Again(String),
    /// The machine ends so.
    End(Power),
    /// Nobody chose, or was allowed to.
    Left,
}

/// Returns the hash of the password that a menu asks for; none where it would ask nobody.
pub fn password(context: &mut Context<'_>) -> Option<String> {
    let hash = context.text(names::RECOVER_PASSWORD);
    let hash = hash.trim();
    (!hash.is_empty()).then(|| hash.into())
}

/// Returns true for an image whose menu somebody may ask for.
pub fn has_menu(context: &mut Context<'_>) -> bool {
    HAS_RECOVER && (context.abilities.shell || password(context).is_some())
}

/// Returns true if the running system asked for the menu before this boot, by a file on the writable partition. Asks no second time.
pub fn is_requested(context: &mut Context<'_>) -> bool {
    let request = store(names::MENU_REQUEST);
    if !context.kernel.stat(&request).is_ok_and(|stat| stat.kind == Kind::File) {
        return false;
    }
    // One that stays would hold every boot.
    if let Err(error) = context.kernel.remove(&request, Kind::File) {
        context.notice(&format!("no menu: cannot remove {request}: {error}"));
        return false;
    }
    let has_menu = has_menu(context);
    context.notice(if has_menu {
        "the running system had asked for the menu"
    } else {
        "recover on overlay: this image has no menu (build --recover-password)"
    });
    has_menu
}

/// Shows the menu that the running system or somebody with the button asked for. [`Choice::Left`]: the boot goes on.
pub fn on_request(context: &mut Context<'_>, appliance: &Appliance) -> Choice {
    let consoles = hold::consoles(context.kernel);
    let password = if context.abilities.shell { None } else { password(context) };
    run(context, None, appliance, password, &consoles)
}

/// Shows the menu until somebody has chosen: of a failure with this card, or one that was asked for. Without a `password` all entries are
/// there for anybody: the debug variant's.
pub fn run(
    context: &mut Context<'_>,
    card: Option<&Card>,
    appliance: &Appliance,
    password: Option<String>,
    consoles: &[Console],
) -> Choice {
    let is_trusted = password.is_none();
    let repairs = if HAS_SHELL && is_trusted { repair::offered(context, card, appliance) } else { Vec::new() };
    let class = card.map(|card| card.code.class());
    let situation = Situation { class, is_trusted, image: &appliance.image, repairs: &repairs };
    let mut menu = Menu::new(&situation, password, consoles.len());
    let mut repair = HAS_SHELL.then(|| Repair::new(card, appliance));
    let paths: Vec<String> = consoles.iter().map(|console| console.path().to_owned()).collect();
    show(context, &menu, consoles);
    let mut end = context.kernel.now().saturating_add(if card.is_some() { IDLE } else { PATIENCE });
    // A repair unmounts what the boot would go on with.
    let mut left = Choice::Left;
    loop {
        let Some((place, bytes)) = context.kernel.typed(&paths, end) else { return left };
        let Some(console) = consoles.get(place) else { continue };
        for input in menu.typed(place, console.is_display(), &bytes) {
            let mut has_worked = false;
            match (menu.submit(&input), &mut repair) {
                (Some(Action::Again(words)), _) => return Choice::Again(words),
                (Some(Action::End(power)), _) => return Choice::End(power),
                (Some(Action::Leave), _) => return left,
                (Some(Action::Show(Table::Devices)), _) => menu.show(devices(context)),
                (Some(Action::Show(Table::Log)), _) => {
                    menu.show(log(&read_text(context.kernel, names::KERNEL_LOG)));
                }
                (Some(action @ (Action::Repair(_) | Action::Answer(_))), Some(repair)) if HAS_SHELL => {
                    if let Some(line) = repair.patience(&action) {
                        write(context, consoles, line);
                    }
                    has_worked = true;
                    if card.is_none() {
                        left = Choice::Again(String::new());
                    }
                    match repair.take(context, &action) {
                        Progress::Show(lines) => menu.show(lines),
                        Progress::Ask(lines, question) => menu.ask(lines, question),
                        Progress::Again => return Choice::Again(String::new()),
                        Progress::Back => {}
                    }
                }
                _ => {}
            }
            if has_worked {
                // It took its time: keys of meanwhile are no answer to its question, which nobody has seen yet.
                drain(context, &paths);
            }
            end = context.kernel.now().saturating_add(IDLE);
            show(context, &menu, consoles);
            if has_worked {
                break;
            }
        }
    }
}

/// Drops what was typed before now. Noise on an open line has an end here.
fn drain(context: &mut Context<'_>, paths: &[String]) {
    let now = context.kernel.now();
    for _ in 0..64 {
        if context.kernel.typed(paths, now).is_none() {
            break;
        }
    }
}

/// Writes a line to every console.
fn write(context: &mut Context<'_>, consoles: &[Console], line: &str) {
    for console in consoles {
        // The other consoles may still be read.
        let _ = context.kernel.write(console.path(), ["\r\n", line, "\r\n"].concat().as_bytes());
    }
}

/// Writes the menu to every console.
fn show(context: &mut Context<'_>, menu: &Menu, consoles: &[Console]) {
    for console in consoles {
        let clear = if console.is_display() { "\x1b%G\x1b[0m\x1b[2J\x1b[H" } else { "\r\n" };
        let text = [clear, &menu.lines().join("\r\n"), " "].concat();
        // The other consoles may still be read.
        let _ = context.kernel.write(console.path(), text.as_bytes());
    }
}

/// Returns a line about each block device.
fn devices(context: &mut Context<'_>) -> Vec<String> {
    let volumes = Devices::default().volumes(context.kernel, true);
    if volumes.is_empty() {
        vec!["no block device at all".into()]
    } else {
        volumes.iter().map(ToString::to_string).collect()
    }
}

/// Returns the messages of the kernel's log, in records of `/dev/kmsg`.
fn log(records: &str) -> Vec<String> {
    records.lines().filter_map(|record| record.split_once(';').map(|(_, message)| message.to_owned())).collect()
}
