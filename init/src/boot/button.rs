//! A button of the machine, or a key of a keyboard, that somebody holds while it starts: for the menu, or longer for a factory reset. It is
//! looked at once, when the drivers are loaded and the partitions are found. Nothing is waited for unless it is down by then.

use std::{io::ErrorKind, time::Duration};

use super::{hold::light::Light, recover};
use crate::{
    config::{HAS_BUTTON, OverlayStore, key::Key},
    context::Context,
    kernel::Level,
    press::Press,
};

/// The directory of input devices.
const DEVICES: &str = "/dev/input";
/// The parameter of a factory reset.
pub const RESET: &str = "rd.overlay.reset";

/// A button that is let go before this time asks for the menu, later for a factory reset.
const RESETS: Duration = Duration::from_secs(10);
/// A button that is still down after this time is stuck, or something lies on it.
const STUCK: Duration = Duration::from_secs(30);
/// The time between two looks.
const GRAIN: Duration = Duration::from_millis(50);

/// Decides what a button stands for that is or was held since the first look. None while that is open.
fn decide(held: Duration, is_down: bool) -> Option<Press> {
    match is_down {
        true if held < STUCK => None,
        true => Some(Press::Nothing),
        false if held < RESETS => Some(Press::Menu),
        false => Some(Press::Reset),
    }
}

/// Looks at the button, once in a boot, and waits while it is held. Returns true for a factory reset that has yet to be done.
pub fn look(context: &mut Context<'_>) -> bool {
    if !HAS_BUTTON {
        return false;
    }
    let Some(key) = context.config.button.clone() else { return false };
    if let Some(press) = context.press {
        if press == Press::Reset {
            // What was noted before the boot started over is gone.
            notice(context, &key, " was held for a factory reset");
            context.press = Some(Press::Nothing);
        }
        return false;
    }
    let devices = held_on(context, &key);
    let mut press = if devices.is_empty() { Press::Nothing } else { wait(context, &key, &devices) };
    if press == Press::Reset && !matches!(context.config.layers.overlay, OverlayStore::Partition(_)) {
        notice(context, &key, " was held: there is no partition to reset");
        press = Press::Nothing;
    }
    context.press = Some(press);
    press == Press::Reset
}

/// Returns true if somebody with the button asked for the menu, and there is one. Asks no second time.
pub fn takes_menu(context: &mut Context<'_>) -> bool {
    if !HAS_BUTTON || context.press != Some(Press::Menu) {
        return false;
    }
    context.press = Some(Press::Nothing);
    let has_menu = recover::has_menu(context);
    context.notice(if has_menu {
        "rd.button was held: the menu"
    } else {
        "rd.button was held: this image has no menu (build --recover-password)"
    });
    has_menu
}

/// Logs and reports something about the key.
fn notice(context: &mut Context<'_>, key: &Key, words: &str) {
    context.notice(&["rd.button=", &key.name, words].concat());
}

/// Returns the input devices on which the key is held.
fn held_on(context: &mut Context<'_>, key: &Key) -> Vec<String> {
    // Without it there are input devices, and no way to ask them.
    if let Err(error) = context.modules.load_named(context.kernel, "evdev") {
        notice(context, key, &[": cannot load evdev: ", &error.to_string()].concat());
    }
    let names = context.kernel.list(DEVICES).unwrap_or_default();
    let (mut has_key, mut held) = (false, Vec::new());
    for name in names.iter().filter(|name| name.starts_with("event")) {
        let device = [DEVICES, "/", name].concat();
        match context.kernel.is_key_down(&device, key.code) {
            Ok(Some(is_down)) => {
                has_key = true;
                if is_down {
                    held.push(device);
                }
            }
            // A device without keys, or one that was unplugged.
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                notice(context, key, &[": cannot read ", &device, ": ", &error.to_string()].concat());
            }
        }
    }
    if !has_key {
        // A keyboard need not be there.
        context.say(&["rd.button=", &key.name, ": no input device has it"].concat());
    }
    held
}

/// Waits until it is clear what the button that is held stands for, which is told on the consoles and by the light.
fn wait(context: &mut Context<'_>, key: &Key, devices: &[String]) -> Press {
    let start = context.kernel.now();
    let mut light = Light::find(context, 0);
    let now = if recover::has_menu(context) { "now for the menu" } else { "now to boot as usual" };
    let line = [&key.name, " is held: let go ", now, ", or after 10 s for a factory reset"].concat();
    context.kernel.log(Level::Announcement, &line);
    let mut resets = false;
    let press = loop {
        let held = context.kernel.now().saturating_sub(start);
        // None while no device answers.
        let mut down = None;
        for device in devices {
            if let Ok(Some(is_down)) = context.kernel.is_key_down(device, key.code) {
                down = Some(is_down || down == Some(true));
            }
        }
        let Some(is_down) = down else {
            notice(context, key, " was held on a device that is gone: it is ignored");
            break Press::Nothing;
        };
        if let Some(press) = decide(held, is_down) {
            if press == Press::Nothing {
                notice(context, key, " is held for longer than 30 s: it is ignored, as one that is stuck");
            }
            break press;
        }
        if held >= RESETS && !std::mem::replace(&mut resets, true) {
            context
                .kernel
                .log(Level::Announcement, "let go now for a factory reset, or hold on for 20 s to boot as usual");
        }
        if let Some(light) = &mut light {
            light.set(context.kernel, !resets);
        }
        let until = context.kernel.now().saturating_add(GRAIN);
        // Nobody types: this waits, and feeds the watchdog.
        let _ = context.kernel.typed(&[], until);
    };
    if let Some(light) = &light {
        light.give_back(context.kernel);
    }
    press
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_stands_for_what_its_time_says() {
        for (held, is_down, press) in [
            (0, true, None),
            (50, false, Some(Press::Menu)),
            (9_999, false, Some(Press::Menu)),
            (9_999, true, None),
            (10_000, true, None),
            (10_000, false, Some(Press::Reset)),
            (29_999, false, Some(Press::Reset)),
            (29_999, true, None),
            (30_000, true, Some(Press::Nothing)),
        ] {
            assert_eq!(decide(Duration::from_millis(held), is_down), press, "{held} ms, {is_down}");
        }
    }
}
