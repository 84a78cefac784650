//! A light that tells a failure where there is no console to read: it blinks as often as the failure's class says, pauses, and again.

use std::time::Duration;

use contract::names;

use crate::{
    context::Context,
    kernel::{Machine, read_text},
};

/// One blink: light, then none.
const LIT: u64 = 200;
const BLINK: u64 = 500;
/// The pause behind the last.
const PAUSE: u64 = 1500;
/// The grain in which the light is looked after, all in milliseconds.
const GRAIN: u64 = 100;

/// Names that boards give the light of their activity: a name of its own, or the function behind the colour (kernel,
/// include/dt-bindings/leds/common.h; the Raspberry Pi's device trees).
const ACTIVITY: [&str; 4] = ["ACT", "act", "activity", "led0"];

/// A light, and how it blinks.
#[derive(Debug)]
pub(in crate::boot) struct Light {
    brightness: String,
    trigger: String,
    /// The trigger from before.
    before: String,
    full: String,
    blinks: u32,
    is_lit: Option<bool>,
}

impl Light {
    /// Finds the light that was asked for, or the only one that shows the board's activity, and takes it over.
    pub(in crate::boot) fn find(context: &mut Context<'_>, blinks: u32) -> Option<Self> {
        let lights = context.kernel.list(names::LEDS).unwrap_or_default();
        let asked = context.config.led.clone();
        let Some(name) = choose(&lights, asked.as_deref()) else {
            if let Some(asked) = asked {
                context.notice(&format!("rd.led={asked}: no such light; there are: {}", lights.join(", ")));
            }
            return None;
        };
        let light = [names::LEDS, "/", name].concat();
        let full = read_text(context.kernel, &[&light, "/max_brightness"].concat());
        let trigger = [&light, "/trigger"].concat();
        let before = chosen(&context.text(&trigger)).into();
        // Whatever made it shine so far goes on without it.
        let _ = context.kernel.write(&trigger, b"none");
        let full = if full.trim().is_empty() { "1".into() } else { full.trim().into() };
        let brightness = [&light, "/brightness"].concat();
        Some(Self { brightness, trigger, before, full, blinks, is_lit: None })
    }

    /// Gives the light back, dark, to what made it shine before.
    pub(in crate::boot) fn give_back(&self, kernel: &mut dyn Machine) {
        let _ = kernel.write(&self.brightness, b"0");
        if !self.before.is_empty() {
            let _ = kernel.write(&self.trigger, self.before.as_bytes());
        }
    }

    /// Switches the light on or off.
    pub(in crate::boot) fn set(&mut self, kernel: &mut dyn Machine, is_lit: bool) {
        if self.is_lit.replace(is_lit) != Some(is_lit) {
            let level = if is_lit { self.full.as_str() } else { "0" };
            // A light that does not shine is no second failure.
            let _ = kernel.write(&self.brightness, level.as_bytes());
        }
    }

    /// Switches the light as it is to be `shown` after that time. Returns the time of the next change.
    pub(in crate::boot) fn show(&mut self, kernel: &mut dyn Machine, shown: Duration) -> Duration {
        let now = u64::try_from(shown.as_millis()).unwrap_or(u64::MAX);
        self.set(kernel, is_lit(self.blinks, now));
        Duration::from_millis((now / GRAIN).saturating_add(1).saturating_mul(GRAIN))
    }
}

/// Returns the trigger that is on, of all that a light can have: its name stands in brackets.
fn chosen(triggers: &str) -> &str {
    let chosen = triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or("", |(name, _)| name)
}

/// Chooses a light: the one that was asked for, else the only one of the board's activity.
fn choose<'l>(lights: &'l [String], asked: Option<&str>) -> Option<&'l str> {
    let is_wanted = |light: &&str| match asked {
        Some(asked) => *light == asked,
        None => ACTIVITY.contains(&light.rsplit(':').next().unwrap_or_default()),
    };
    let mut found = lights.iter().map(String::as_str).filter(is_wanted);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Returns true while a light that blinks `blinks` times and pauses is lit.
fn is_lit(blinks: u32, milliseconds: u64) -> bool {
    let blinking = u64::from(blinks).saturating_mul(BLINK);
    let at = milliseconds.checked_rem(blinking.saturating_add(PAUSE)).unwrap_or(0);
    at < blinking && at % BLINK < LIT
}

#[cfg(test)]
mod tests {
    use contract::failure::Class;

    use super::*;

    #[test]
    fn a_light_is_chosen_only_where_there_is_one() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let board = names(&["ACT", "PWR", "input3::capslock"]);
        assert_eq!(choose(&board, None), Some("ACT"));
        assert_eq!(choose(&board, Some("PWR")), Some("PWR"));
        assert_eq!(choose(&board, Some("none")), None);
        assert_eq!(choose(&names(&["green:activity", "red:fault"]), None), Some("green:activity"));
        assert_eq!(choose(&names(&["green:activity", "blue:activity"]), None), None, "which one is not known");
        assert_eq!(choose(&names(&["input3::capslock"]), None), None);
    }

    #[test]
    fn the_trigger_that_is_on_is_given_back() {
        assert_eq!(chosen("none timer [mmc0] heartbeat\n"), "mmc0");
        assert_eq!(chosen("[none] timer\n"), "none");
        assert_eq!((chosen(""), chosen("none"), chosen("[none")), ("", "", ""));
    }

    #[test]
    fn blinks_can_be_counted() {
        for class in Class::ALL {
            let blinks = class.blinks();
            let period = u64::from(blinks) * BLINK + PAUSE;
            let lit: Vec<bool> = (0..2 * period / GRAIN).map(|at| is_lit(blinks, at * GRAIN)).collect();
            let rises = lit.windows(2).filter(|pair| !pair[0] && pair[1]).count() + usize::from(lit[0]);
            assert_eq!(rises, 2 * usize::try_from(blinks).unwrap(), "{class:?}");
            let dark = lit.split(|lit| *lit).map(<[bool]>::len).max().unwrap();
            assert!(dark as u64 * GRAIN >= PAUSE, "{class:?}: no pause");
        }
    }
}
