//! The menu itself: what it offers for a failure, what it shows, what an input means. Decides, and touches nothing.

use contract::{card::COLUMNS, failure::Class, names};
use sha_crypt::{Sha256Params, sha256_crypt_b64};

use super::task::Task;
use crate::{config::HAS_SHELL, kernel::Power};

/// The keys of entries, in order: a key of a display counts at once, so that none has two digits.
const KEYS: &[u8] = b"123456789abcdef";

/// The number of passwords that somebody may try.
const TRIES: u32 = 3;
/// Lines of a table that a screen has room for.
const ROWS: usize = 20;
/// Characters of an input; what is longer is noise.
const MOST: usize = 128;

/// A table to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// The block devices.
    Devices,
    /// The kernel's log.
    Log,
}

/// The effect of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The boot is tried again with these parameters.
    Again(String),
    /// A table is shown.
    Show(Table),
    /// A repair begins.
    Repair(Task),
    /// The question of a repair is answered so.
    Answer(String),
    /// The machine ends so.
    End(Power),
    /// The menu is left.
    Leave,
}

/// The facts that decide what is offered.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    /// The class of the failure; none where the running system asked for the menu.
    pub(super) class: Option<Class>,
    /// Nobody is asked for a password, as in the debug variant: entries that delete are there too, and so is the way back to the shell.
    pub(super) is_trusted: bool,
    /// The name of the image; none where the boot has none.
    pub(super) image: &'a str,
    /// The repairs that can be done here, the debug variant's.
    pub(super) repairs: &'a [Task],
}

/// An entry of the menu.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    label: String,
    action: Action,
    /// It deletes what nobody brings back, and is asked about.
    is_final: bool,
}

/// Returns the entries that make sense: nine at most, or with repairs as many as there are keys.
fn entries(situation: &Situation<'_>) -> Vec<Entry> {
    let Situation { class, is_trusted, image, repairs } = situation;
    let mut entries = Vec::new();
    let mut add = |is_wanted: bool, label: &str, action: Action, is_final: bool| {
        if is_wanted {
            entries.push(Entry { label: label.into(), action, is_final });
        }
    };
    let again = |words: &str| Action::Again(words.into());
    let has_image = !image.is_empty();
    let is_of_image = has_image && matches!(class, None | Some(Class::Image | Class::Root));
    let is_of_store = has_image && matches!(class, None | Some(Class::Missing | Class::Overlay));
    match class {
        Some(_) => add(true, "try again", again(""), false),
        None => add(true, "boot as usual", Action::Leave, false),
    }
    let old = names::old_image(image);
    // A name may have spaces, which would end the parameter; it has no quotes, as words of a command line lose them.
    let quote = if old.contains(' ') { "\"" } else { "" };
    let old_once = again(&["rd.image=", quote, &old, quote].concat());
    add(is_of_image, &format!("boot the old image ({old}) once"), old_once, false);
    add(is_of_image, "boot once without persistent", again("rd.persistent=no"), false);
    add(is_of_store, "boot once with the writable layer in memory", again("rd.overlay=tmpfs"), false);
    for task in repairs.iter().filter(|_| HAS_SHELL) {
        add(true, task.label(), Action::Repair(*task), false);
    }
    let remake = "recreate the writable partition; what cannot be saved of persistent is lost";
    add(is_of_store && *is_trusted, remake, again("rd.overlay.repair=remake"), true);
    add(has_image, "install an image from a stick: put it in first", again("rd.newimg.timeout=60s"), false);
    add(has_image && *is_trusted, "factory reset: persistent is emptied", again("rd.overlay.reset"), true);
    add(true, "show the devices", Action::Show(Table::Devices), false);
    add(true, "show the end of the kernel's log", Action::Show(Table::Log), false);
    add(true, "power off", Action::End(Power::Off), false);
    add(*is_trusted && class.is_some(), "back to the shell", Action::Leave, false);
    entries
}

/// The state of the menu.
#[derive(Debug, PartialEq, Eq)]
enum Screen {
    /// A password is asked for; so many were wrong.
    Password(u32),
    /// An entry is asked for.
    Choice,
    /// The entry at that position deletes something: it is asked about.
    Sure(usize),
    /// Lines are shown until somebody goes on.
    Table(Vec<String>),
    /// A repair asks: lines, and the question.
    Question(Vec<String>, String),
}

/// The menu.
#[derive(Debug)]
pub(super) struct Menu {
    head: &'static str,
    entries: Vec<Entry>,
    screen: Screen,
    hash: String,
    /// The characters typed on each console since the last end of a line.
    typed: Vec<String>,
}

impl Menu {
    /// Returns the menu of a failure, which asks for the password of the hash first, for that many consoles.
    pub(super) fn new(situation: &Situation<'_>, hash: Option<String>, consoles: usize) -> Self {
        let screen = if hash.is_some() { Screen::Password(0) } else { Screen::Choice };
        let typed = vec![String::new(); consoles];
        let head = match situation.class {
            Some(_) => "initramfs-overlay: the boot failed",
            None => "initramfs-overlay: the menu that the system asked for; without a key it boots",
        };
        Self { head, entries: entries(situation), screen, hash: hash.unwrap_or_default(), typed }
    }

    /// Returns the inputs that end with these bytes: a key of a display at once, but for a password; a line else, as a line may have
    /// noise.
    pub(super) fn typed(&mut self, console: usize, is_display: bool, bytes: &[u8]) -> Vec<String> {
        let is_key = is_display && !matches!(self.screen, Screen::Password(_));
        let Some(line) = self.typed.get_mut(console) else { return Vec::new() };
        let mut inputs = Vec::new();
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => inputs.push(std::mem::take(line)),
                // Backspace, and what terminals send for it.
                0x08 | 0x7f => drop(line.pop()),
                byte if is_key && byte.is_ascii_graphic() => inputs.push(char::from(*byte).into()),
                byte if line.len() < MOST && (0x20..0x7f).contains(byte) => line.push(char::from(*byte)),
                _ => {}
            }
        }
        inputs
    }

    /// Takes an input. Returns what is to be done.
    pub(super) fn submit(&mut self, input: &str) -> Option<Action> {
        match &self.screen {
            Screen::Password(wrong) => {
                let wrong = wrong.saturating_add(1);
                if is_password(input, &self.hash) {
                    self.screen = Screen::Choice;
                } else if wrong >= TRIES {
                    return Some(Action::Leave);
                } else {
                    self.screen = Screen::Password(wrong);
                }
            }
            Screen::Choice => {
                let place = position(input)?;
                let entry = self.entries.get(place)?;
                if !entry.is_final {
                    return Some(entry.action.clone());
                }
                self.screen = Screen::Sure(place);
            }
            Screen::Sure(place) => {
                let action = self.entries.get(*place).map(|entry| entry.action.clone());
                self.screen = Screen::Choice;
                return action.filter(|_| input.trim() == "y");
            }
            Screen::Table(_) => self.screen = Screen::Choice,
            Screen::Question(..) => {
                self.screen = Screen::Choice;
                return HAS_SHELL.then(|| Action::Answer(input.into()));
            }
        }
        None
    }

    /// Shows lines, the last ones where they are too many.
    pub(super) fn show(&mut self, mut lines: Vec<String>) {
        lines.drain(..lines.len().saturating_sub(ROWS));
        self.screen = Screen::Table(lines);
    }

    /// Asks a question below lines, the last ones where they are too many.
    pub(super) fn ask(&mut self, mut lines: Vec<String>, question: String) {
        lines.drain(..lines.len().saturating_sub(ROWS));
        self.screen = Screen::Question(lines, question);
    }

    /// Returns the lines to be shown, in 25 lines of 78 ASCII characters; the last is a question.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.head.to_owned(), String::new()];
        match &self.screen {
            Screen::Password(0) => lines.push("password:".into()),
            Screen::Password(wrong) => {
                lines.push(format!("wrong password, tries left: {}", TRIES.saturating_sub(*wrong)));
                lines.push("password:".into());
            }
            Screen::Choice => {
                lines.extend(numbered(self.entries.iter().map(|entry| entry.label.as_str())));
                let question = if HAS_SHELL && self.entries.len() > 9 { "number or letter:" } else { "number:" };
                lines.extend([String::new(), question.into()]);
            }
            Screen::Sure(place) => {
                let label = self.entries.get(*place).map(|entry| entry.label.as_str()).unwrap_or_default();
                lines.extend([label.to_owned(), String::new(), "y does it, anything else goes back:".into()]);
            }
            Screen::Table(table) => {
                lines = table.clone();
                lines.push("Enter goes back:".into());
            }
            Screen::Question(shown, question) if HAS_SHELL => {
                lines = shown.clone();
                lines.extend([String::new(), question.clone()]);
            }
            Screen::Question(..) => {}
        }
        lines.into_iter().map(|line| shown(&line)).collect()
    }
}

/// Returns lines with a key each, as many as there are keys.
pub(super) fn numbered<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    KEYS.iter().zip(labels).map(|(key, label)| format!("  {}  {label}", char::from(*key))).collect()
}

/// Returns the position that a key stands for.
pub(super) fn position(input: &str) -> Option<usize> {
    let [input] = input.trim().as_bytes() else { return None };
    KEYS.iter().position(|key| key == input)
}

/// Returns a line as every console shows it: labels are from anybody.
fn shown(line: &str) -> String {
    line.chars().take(COLUMNS).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Returns true for the password of a hash as crypt(5) has it: `$5$SALT$HASH`, or with `rounds=N$` before the salt.
fn is_password(password: &str, hash: &str) -> bool {
    /// crypt(5), sha256crypt.
    const ROUNDS: usize = 5000;
    let Some(rest) = hash.strip_prefix("$5$") else { return false };
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
        Some((rounds, rest)) => (rounds.parse().unwrap_or(ROUNDS), rest),
        None => (ROUNDS, rest),
    };
    let (Some((salt, wanted)), Ok(params)) = (rest.split_once('$'), Sha256Params::new(rounds)) else { return false };
    sha256_crypt_b64(password.as_bytes(), salt.as_bytes(), &params).is_ok_and(|found| found == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl passwd -5 -salt salt secret`.
    const HASH: &str = "$5$salt$kpa26zwgX83BPSR8d7w93OIXbFt/d3UOTZaAu5vsTM6";

    fn labels(class: Class, is_trusted: bool) -> Vec<String> {
        let repairs = if is_trusted { &Task::ALL[..] } else { &[] };
        let situation = Situation { class: Some(class), is_trusted, image: "root-squashfs.img", repairs };
        entries(&situation).into_iter().map(|entry| entry.label).collect()
    }

    #[test]
    fn what_is_offered_fits_the_failure_and_has_a_key() {
        for class in Class::ALL {
            for is_trusted in [false, true] {
                let labels = labels(class, is_trusted);
                let most = if is_trusted { KEYS.len() } else { 9 };
                assert!(labels.len() <= most && labels[0] == "try again", "{class:?}: {labels:?}");
                assert!(labels.contains(&"power off".to_owned()), "{class:?}: {labels:?}");
                let deletes = labels.iter().any(|label| label.contains("recreate") || label.contains("reset"));
                assert_eq!(deletes, is_trusted, "{class:?}: {labels:?}");
            }
        }
        assert!(labels(Class::Root, false).contains(&"boot the old image (root-squashfs-old.img) once".to_owned()));
        let spaced = Situation { class: Some(Class::Image), is_trusted: false, image: "our image.img", repairs: &[] };
        assert_eq!(entries(&spaced)[1].action, Action::Again("rd.image=\"our image-old.img\"".into()));
        assert!(labels(Class::Overlay, false).contains(&"boot once with the writable layer in memory".to_owned()));
        // A boot from memory or of a host's directory has no image, and no partitions.
        let bare = Situation { class: Some(Class::Root), is_trusted: true, image: "", repairs: &[] };
        assert_eq!(entries(&bare).len(), 5);
    }

    #[test]
    fn a_password_is_asked_for_three_times() {
        assert!(is_password("secret", HASH) && !is_password("Secret", HASH) && !is_password("", HASH));
        for broken in ["", "$5$", "$5$salt", "$6$salt$x", "secret", "$5$rounds=x$salt$y"] {
            assert!(!is_password("secret", broken), "{broken:?}");
        }
        let situation = Situation { class: Some(Class::Image), is_trusted: false, image: "a.img", repairs: &[] };
        let menu = || Menu::new(&situation, Some(HASH.into()), 1);
        let mut right = menu();
        assert_eq!(right.submit("wrong"), None);
        assert!(right.lines().concat().contains("tries left: 2"));
        assert_eq!(right.submit("secret"), None);
        assert_eq!(right.submit("1"), Some(Action::Again(String::new())));
        let mut wrong = menu();
        assert_eq!([wrong.submit("1"), wrong.submit("2"), wrong.submit("3")], [None, None, Some(Action::Leave)]);
    }

    #[test]
    fn what_deletes_is_asked_about() {
        let situation = Situation { class: Some(Class::Kernel), is_trusted: true, image: "a.img", repairs: &[] };
        let mut menu = Menu::new(&situation, None, 1);
        let reset = menu.entries.iter().position(|entry| entry.is_final).unwrap() + 1;
        for answer in ["n", "", "Y", "1"] {
            assert_eq!(menu.submit(&reset.to_string()), None);
            assert!(menu.lines().concat().contains("y does it"));
            assert_eq!(menu.submit(answer), None, "{answer:?}");
        }
        menu.submit(&reset.to_string());
        assert_eq!(menu.submit("y"), Some(Action::Again("rd.overlay.reset".into())));
        for nothing in ["", "0", "z", "A", "12", "10", "x", "-1", "99999999999999999999"] {
            assert_eq!(menu.submit(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn keys_count_at_once_and_lines_at_their_end() {
        let situation = Situation { class: Some(Class::Image), is_trusted: true, image: "a.img", repairs: &[] };
        let mut menu = Menu::new(&situation, None, 2);
        assert_eq!(menu.typed(0, true, b"3"), ["3"]);
        assert_eq!(menu.typed(1, false, b"\xff2"), Vec::<String>::new());
        assert_eq!(menu.typed(1, false, b"9\x7f\r"), ["2"]);
        menu.screen = Screen::Password(0);
        assert_eq!(menu.typed(0, true, b"ab"), Vec::<String>::new());
        assert_eq!(menu.typed(0, true, b"c\n"), ["abc"]);
        assert!(menu.typed(1, false, &[b'x'; 1000]).is_empty());
        assert_eq!(menu.typed(1, false, b"\n")[0].len(), MOST);
    }

    #[test]
    fn every_screen_fits_and_drives_no_terminal() {
        let image = format!("{}\u{1b}[2J", "x".repeat(200));
        for class in Class::ALL {
            let mut menu = Menu::new(
                &Situation { class: Some(class), is_trusted: true, image: &image, repairs: &Task::ALL },
                None,
                1,
            );
            for _ in 0..2 {
                let lines = menu.lines();
                assert!(lines.len() <= 25, "{lines:?}");
                assert!(lines.iter().all(|line| line.len() <= COLUMNS && !line.contains('\u{1b}')), "{lines:?}");
                menu.show((0..50).map(|number| format!("{number} \u{1b}[2J{}", "y".repeat(200))).collect());
            }
            assert!(menu.lines()[0].starts_with("30 "), "the last lines");
        }
    }
}
