//! The time between the card of a failed boot and the end of the machine: counted down on every console, held by a key, told by a light.

pub(super) mod light;
mod screen;

use std::time::Duration;

use contract::{card::Card, names};

use crate::{
    config::CARD_STAYS,
    context::Context,
    kernel::{Machine, Power, consoles as listed, exists, read_text},
};
use light::Light;
use screen::Screens;

/// The time that a card stays on a display where nothing else is said, which somebody has to read.
const ON_DISPLAY: Duration = Duration::from_secs(60);
/// The time that a key holds a card. Noise on an open line must not hold a machine for ever.
const HELD: Duration = Duration::from_secs(600);

/// A console that the kernel speaks on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    path: String,
    is_display: bool,
}

impl Console {
    /// Returns its device.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns true for a virtual terminal: a screen, and keyboards.
    pub fn is_display(&self) -> bool {
        self.is_display
    }

    fn new(path: String) -> Self {
        let number = path.strip_prefix("/dev/tty").unwrap_or_default();
        let is_display = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Self { path, is_display }
    }

    /// Returns true for bytes that somebody means: any key of a keyboard; on a line, which may have noise, the end of a line.
    fn is_meant(&self, bytes: &[u8]) -> bool {
        self.is_display || bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
    }
}

/// Returns the consoles of the machine.
pub fn consoles(kernel: &mut dyn Machine) -> Vec<Console> {
    let text = read_text(kernel, "/proc/consoles");
    listed(&text, &mut |path| exists(kernel, path)).into_iter().map(Console::new).collect()
}

/// Returns the time that the card stays before the machine ends: what was `asked` for, or the usual.
pub fn delay(power: Power, asked: Option<Duration>, consoles: &[Console]) -> Duration {
    let is_read = power != Power::Reboot && consoles.iter().any(|console| console.is_display);
    asked.unwrap_or(if is_read { ON_DISPLAY } else { CARD_STAYS })
}

/// Returns the sentence about the end of the machine.
pub fn sentence(power: Power, delay: Duration) -> String {
    let verb = verb(power);
    if delay.is_zero() { format!("the machine {verb}") } else { format!("the machine {verb} in {}", time(delay)) }
}

fn verb(power: Power) -> &'static str {
    match power {
        Power::Off => "powers off",
        Power::Reboot => "restarts",
        Power::Halt => "stops here",
    }
}

/// Returns a time in seconds, or minutes and seconds.
fn time(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0 | 1, _) => format!("{} s", time.as_secs()),
        (minutes, seconds) => format!("{minutes} min {seconds:02} s"),
    }
}

/// The end that comes nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Countdown {
    end: Duration,
    is_held: bool,
}

impl Countdown {
    /// Holds the end, once. An end that is later anyway stays.
    fn press(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.is_held, true) {
            self.end = self.end.max(now.saturating_add(HELD));
        }
    }

    /// Returns the whole seconds that are left, the one that runs among them; none at the end.
    fn left(&self, now: Duration) -> Option<u64> {
        let left = self.end.checked_sub(now)?;
        let whole = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
        (whole > 0).then_some(whole)
    }

    /// Returns the time at which one second less is left.
    fn next(&self, left: u64) -> Duration {
        self.end.saturating_sub(Duration::from_secs(left.saturating_sub(1)))
    }

    /// Returns the line about it; `key` is what can be pressed, and `effect` what that does.
    fn line(&self, power: Power, left: u64, key: Option<&str>, effect: &str) -> String {
        let sentence = sentence(power, Duration::from_secs(left));
        match key {
            _ if self.is_held => format!("held: {sentence}"),
            Some(key) => format!("{sentence}; {key} {effect}"),
            None => sentence,
        }
    }
}

/// Returns true for a number of seconds that is told on a line, whose other end may keep all of it: the last ones, and each tenth.
fn is_told(left: u64) -> bool {
    left <= 5 || left.is_multiple_of(10)
}

/// Returns true if one of the input devices is a keyboard that has a key to press: a button for the power is none.
fn has_keyboard(devices: &str) -> bool {
    /// The bit of the Enter key (kernel, include/uapi/linux/input-event-codes.h, KEY_ENTER), in the last word whatever its width.
    const ENTER: u64 = 1 << 28;
    devices.split("\n\n").any(|device| {
        let value = |start: &str| device.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        let keys = value("B: KEY=").split_ascii_whitespace().next_back().unwrap_or_default();
        value("H: Handlers=").split_ascii_whitespace().any(|handler| handler == "kbd")
            && u64::from_str_radix(keys, 16).is_ok_and(|keys| keys & ENTER != 0)
    })
}

/// Shows the card until its time is over: counts down on every console, lets a key hold it, and blinks. With `has_menu` a key ends it;
/// returns true then.
pub fn hold(
    context: &mut Context<'_>,
    card: &Card,
    power: Power,
    delay: Duration,
    consoles: &[Console],
    has_menu: bool,
) -> bool {
    if delay.is_zero() {
        return false;
    }
    let effect = if has_menu { "opens a menu" } else { "holds this" };
    // What the kernel says from here on would push the card off the screen. All but emergencies stays in its log.
    let level = context.text(names::CONSOLE_LEVEL);
    let _ = context.kernel.write(names::CONSOLE_LEVEL, b"1");
    let start = context.kernel.now();
    let mut countdown = Countdown { end: start.saturating_add(delay), is_held: false };
    let mut light = Light::find(context, card.code.class().blinks());
    let mut screens: Vec<Screens> =
        consoles.iter().map(|console| Screens::new(context.kernel, &console.path, console.is_display, card)).collect();
    let paths: Vec<String> = consoles.iter().map(|console| console.path.clone()).collect();
    let has_display = consoles.iter().any(|console| console.is_display);
    let mut told = None;
    let mut keyboard = false;
    let mut now = start;
    loop {
        let shown = now.saturating_sub(start);
        let Some(left) = countdown.left(now) else { break };
        if told != Some((left, countdown)) {
            if has_display && !keyboard {
                keyboard = has_keyboard(&read_text(context.kernel, names::INPUT_DEVICES));
                if !keyboard {
                    // A keyboard appears behind its controller, whose driver may be baked in.
                    context.modules.coldplug(context.kernel, &[]);
                }
            }
            let is_told = is_told(left) || told.is_none_or(|(_, before)| before != countdown);
            for (console, screens) in consoles.iter().zip(&mut screens) {
                if screens.is_lost || !(console.is_display || is_told) {
                    continue;
                }
                let offer = if console.is_display { keyboard.then_some("any key") } else { Some("Enter") };
                let text = screens.draw(shown, &countdown.line(power, left, offer, effect));
                // The other consoles may still be read. One that takes nothing is not waited for again.
                screens.is_lost = context.kernel.write(&console.path, text.as_bytes()).is_err();
            }
            told = Some((left, countdown));
        }
        let mut until = countdown.next(left);
        if let Some(light) = &mut light {
            until = until.min(start.saturating_add(light.show(context.kernel, shown)));
        }
        match context.kernel.typed(&paths, until) {
            Some((place, bytes)) => {
                now = context.kernel.now();
                if consoles.get(place).is_some_and(|console| console.is_meant(&bytes)) {
                    if has_menu {
                        if let Some(light) = &light {
                            light.give_back(context.kernel);
                        }
                        let level = level.split_ascii_whitespace().next().unwrap_or_default();
                        let _ = context.kernel.write(names::CONSOLE_LEVEL, level.as_bytes());
                        return true;
                    }
                    countdown.press(now);
                }
            }
            None => now = context.kernel.now().max(until),
        }
    }
    for (console, _) in consoles.iter().zip(&screens).filter(|(_, screens)| !screens.is_lost) {
        let _ = context.kernel.write(&console.path, b"\n");
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_display_is_read_longer_than_a_line() {
        let line = [Console::new("/dev/ttyS0".into()), Console::new("/dev/console".into())];
        let screen = [Console::new("/dev/ttyAMA0".into()), Console::new("/dev/tty0".into())];
        for (power, on_line, on_screen) in [(Power::Off, 5, 60), (Power::Halt, 5, 60), (Power::Reboot, 5, 5)] {
            assert_eq!(delay(power, None, &line), seconds(on_line), "{power:?}");
            assert_eq!(delay(power, None, &screen), seconds(on_screen), "{power:?}");
            assert_eq!(delay(power, Some(seconds(7)), &screen), seconds(7), "{power:?}");
        }
    }

    #[test]
    fn a_key_holds_the_card_once() {
        let mut countdown = Countdown { end: seconds(60), is_held: false };
        assert_eq!(countdown.left(Duration::from_millis(500)), Some(60));
        assert_eq!(countdown.next(60), seconds(1));
        assert_eq!(
            countdown.line(Power::Off, 60, Some("Enter"), "holds this"),
            "the machine powers off in 60 s; Enter holds this"
        );
        assert_eq!(countdown.line(Power::Reboot, 1, None, ""), "the machine restarts in 1 s");
        countdown.press(seconds(59));
        countdown.press(seconds(100));
        assert_eq!(countdown.left(seconds(100)), Some(559));
        assert_eq!(
            countdown.line(Power::Halt, 559, Some("Enter"), "holds this"),
            "held: the machine stops here in 9 min 19 s",
            "no second key is offered"
        );
        assert_eq!((countdown.left(seconds(659)), countdown.left(seconds(700))), (None, None));
        let mut later = Countdown { end: seconds(3600), is_held: false };
        later.press(seconds(1));
        assert_eq!(later.left(seconds(1)), Some(3599), "a key never brings the end nearer");
    }

    #[test]
    fn a_line_needs_the_end_of_one() {
        let line = Console::new("/dev/ttyS0".into());
        assert!(!line.is_meant(b"\xff\x00q"), "noise");
        assert!(line.is_meant(b"\r") && line.is_meant(b"x\n"));
        assert!(Console::new("/dev/tty1".into()).is_meant(b"q"));
    }

    #[test]
    fn a_keyboard_has_keys() {
        let keyboard = "I: Bus=0011\nN: Name=\"AT Translated Set 2 keyboard\"\nH: Handlers=sysrq kbd event1 leds \n\
                        B: EV=120013\nB: KEY=402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n\n";
        let button = "N: Name=\"Power Button\"\nH: Handlers=kbd event0 \nB: EV=3\nB: KEY=10000000000000 0\n\n";
        let mouse = "N: Name=\"Mouse\"\nH: Handlers=mouse0 event2 \nB: KEY=fffffffe 0 0 0 0\n\n";
        assert!(has_keyboard(&[button, mouse, keyboard].concat()));
        // The words of a kernel for 32 bits.
        assert!(has_keyboard(
            "H: Handlers=kbd \nB: KEY=4 2000000 3803078 f800d001 feffffdf ffefffff ffffffff fffffffe\n"
        ));
        for none in [&[button, mouse].concat(), "", "H: Handlers=kbd\nB: KEY=x\n"] {
            assert!(!has_keyboard(none), "{none:?}");
        }
    }
}
