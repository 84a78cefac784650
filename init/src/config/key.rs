//! Keys, by the names that the kernel gives them.

/// The values that a key may have, for a warning.
pub const WANTED: &str = "a key such as KEY_RESTART, KEY_F1 or BTN_0, or its number";

/// The greatest code (kernel, include/uapi/linux/input-event-codes.h, `KEY_MAX`).
pub const MAX: u16 = 0x2ff;

/// Keys of boards and keyboards: the code of the first of a run, and the names (kernel, include/uapi/linux/input-event-codes.h) without
/// `KEY_`. One text is smaller than a table of 19.
const RUNS: &str = "\
    1: ESC 1 2 3 4 5 6 7 8 9 0 14: BACKSPACE TAB Q W E R T Y U I O P 28: ENTER LEFTCTRL A S D F G H J K L 42: \
    LEFTSHIFT 44: Z X C V B N M 57: SPACE 59: F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 87: F11 F12 102: HOME UP PAGEUP \
    LEFT RIGHT END DOWN PAGEDOWN INSERT DELETE 114: VOLUMEDOWN VOLUMEUP POWER 139: MENU 141: SETUP SLEEP WAKEUP \
    148: PROG1 PROG2 158: BACK 171: CONFIG HOMEPAGE 238: WLAN 247: RFKILL 408: RESTART 529: WPS_BUTTON";

/// The code of `BTN_0`; the nine others follow.
const BUTTONS: u16 = 0x100;

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name or number, as it was given.
    pub name: String,
    /// Its code.
    pub code: u16,
}

impl Key {
    /// Reads the name or the number of a key.
    pub fn parse(value: &str) -> Option<Self> {
        let code = if let Some(name) = value.strip_prefix("KEY_") {
            named(name)
        } else if let Some(digit) = value.strip_prefix("BTN_") {
            digit.parse::<u16>().ok().filter(|digit| *digit < 10).map(|digit| BUTTONS.saturating_add(digit))
        } else {
            value.parse().ok().filter(|code| (1..=MAX).contains(code))
        };
        code.map(|code| Self { name: value.into(), code })
    }
}

/// Returns the code of a key by its name without `KEY_`.
fn named(name: &str) -> Option<u16> {
    let mut code = 0_u16;
    for word in RUNS.split(' ') {
        match word.strip_suffix(':') {
            Some(first) => code = first.parse().ok()?,
            None if word == name => return Some(code),
            None => code = code.checked_add(1)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_codes_of_the_kernel() {
        for (value, code) in [
            ("KEY_ESC", 1),
            ("KEY_1", 2),
            ("KEY_0", 11),
            ("KEY_R", 19),
            ("KEY_ENTER", 28),
            ("KEY_L", 38),
            ("KEY_M", 50),
            ("KEY_F1", 59),
            ("KEY_F10", 68),
            ("KEY_F12", 88),
            ("KEY_DELETE", 111),
            ("KEY_POWER", 116),
            ("KEY_SETUP", 141),
            ("KEY_WAKEUP", 143),
            ("KEY_PROG2", 149),
            ("KEY_HOMEPAGE", 172),
            ("KEY_RESTART", 408),
            ("KEY_WPS_BUTTON", 529),
            ("BTN_0", 256),
            ("BTN_9", 265),
            ("1", 1),
            ("408", 408),
            ("767", 767),
        ] {
            assert_eq!(Key::parse(value), Some(Key { name: value.into(), code }), "{value}");
        }
        for value in ["", "0", "768", "KEY_", "KEY_RESET", "key_r", "R", "BTN_10", "BTN_", "-1", "KEY_Q W", "gpio:3"] {
            assert_eq!(Key::parse(value), None, "{value}");
        }
    }

    /// Compares all names with the kernel's header, where its development files are installed.
    #[test]
    fn all_names_are_those_of_the_kernels_header() {
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/input-event-codes.h") else {
            eprintln!("skipped: no /usr/include/linux/input-event-codes.h (package linux-libc-dev)");
            return;
        };
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let defined = |name: &str| {
            header.lines().find_map(|line| {
                let mut words = line.strip_prefix("#define")?.split_whitespace();
                (words.next() == Some(name)).then(|| number(words.next()?)).flatten()
            })
        };
        for name in RUNS.split(' ').filter(|word| !word.ends_with(':')) {
            let name = ["KEY_", name].concat();
            assert_eq!(Key::parse(&name).map(|key| key.code), defined(&name), "{name}");
        }
        assert_eq!((Some(BUTTONS), Some(MAX)), (defined("BTN_0"), defined("KEY_MAX")));
    }
}
