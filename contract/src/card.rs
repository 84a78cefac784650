//! The card: the screen of a failed boot, in as much room as every console has.

use std::fmt;

use crate::{crc32::crc32, failure::Code, step::Step};

/// Columns of a card. Its characters are ASCII: what is not is shown as `?`.
pub const COLUMNS: usize = 78;
/// The most lines of a card: three fewer than a screen of 80 by 25 has.
pub const LINES: usize = 22;
/// Most bytes of [`Card::support_line`]: a QR code of version 6 and level L holds them (ISO/IEC 18004, table 7), which is the largest
/// whose modules, two in a character one above the other, fit with their quiet zone on 25 lines.
pub const SUPPORT_LINE: usize = 134;
/// Most bytes of an address that [`Card::support_line`] begins with; the longest code, step, version and digest fit behind it.
pub const SUPPORT_URL: usize = 71;

/// The screen of a failed boot: what a person in front of the machine gets to see, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The failure; `docs/failures.md` has a line for each.
    pub code: Code,
    /// The step that failed.
    pub step: Step,
    /// The state that was wanted.
    pub wanted: String,
    /// The state that was seen instead, an item each.
    pub seen: Vec<String>,
    /// Lines of the kernel's log that belong to it.
    pub kernel: Vec<String>,
    /// Notices of this boot that may explain it.
    pub notices: Vec<String>,
    /// The next thing to try.
    pub next: String,
    /// The end of the boot.
    pub then: String,
}

const RULE: &str = "----------------------------------------------------------------";

/// Columns of the names of the fields, and of the second line of an item.
const INDENT: usize = 12;
const HANGING: usize = 14;

impl Card {
    /// Returns the fields with their names and the most lines of each.
    fn fields(&self) -> [(&'static str, &[String], usize); 6] {
        use std::slice::from_ref;
        [
            ("wanted", from_ref(&self.wanted), 2),
            ("seen", &self.seen, 6),
            ("kernel", &self.kernel, 3),
            ("notice", &self.notices, 3),
            ("try next", from_ref(&self.next), 3),
            ("then", from_ref(&self.then), 1),
        ]
    }

    /// Returns the checksum of the card's text, which tells this card from another (CRC-32).
    pub fn digest(&self) -> u32 {
        crc32(self.to_string().as_bytes())
    }

    /// Returns the line that tells a support desk what failed: behind the address `url`, or as plain text without one.
    pub fn support_line(&self, url: Option<&str>) -> String {
        let (code, step, version) = (self.code.name(), self.step.name(), env!("CARGO_PKG_VERSION"));
        let digest = self.digest();
        match url {
            Some(url) => format!("{url}?c={code}&s={step}&v={version}&h={digest:08x}"),
            None => format!("initramfs-overlay {version}: {code} in step {step}, card {digest:08x}"),
        }
    }

    /// Returns the items that the card has no room for.
    pub fn omitted(&self) -> Vec<&str> {
        let fields = self.fields().into_iter();
        fields.flat_map(|(_, items, most)| items.iter().skip(fitting(items, most).0)).map(String::as_str).collect()
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{RULE}")?;
        writeln!(f, " initramfs-overlay {} cannot boot: {}", env!("CARGO_PKG_VERSION"), self.code.name())?;
        writeln!(f, "  step      {}", self.step.name())?;
        for (name, items, most) in self.fields() {
            let mut name = name;
            let (_, lines) = fitting(items, most);
            for line in lines {
                writeln!(f, "  {name:<10}{line}")?;
                name = "";
            }
        }
        write!(f, "{RULE}")
    }
}

/// Returns how many items fit into `most` lines, and these lines, with one about the items that do not fit.
fn fitting(items: &[String], most: usize) -> (usize, Vec<String>) {
    let wrapped: Vec<Vec<String>> = items.iter().filter(|item| !item.is_empty()).map(|item| wrap(item)).collect();
    let all: usize = wrapped.iter().map(Vec::len).sum();
    if all <= most {
        return (items.len(), wrapped.concat());
    }
    let mut lines = Vec::new();
    let mut shown = 0_usize;
    for item in &wrapped {
        if lines.len().saturating_add(item.len()) >= most {
            break;
        }
        lines.extend_from_slice(item);
        shown = shown.saturating_add(1);
    }
    // The beginning of an item that is too long says more than that there is one.
    if let (0, Some(item)) = (shown, wrapped.first()) {
        lines.extend(item.iter().take(most.saturating_sub(1)).cloned());
    }
    lines.push(match (shown, items.len().saturating_sub(shown)) {
        (0, 1) => "... the rest is in the kernel log".into(),
        (0, left) => format!("... the rest and {} more in the kernel log", left.saturating_sub(1)),
        (_, left) => format!("{left} more in the kernel log"),
    });
    (shown, lines)
}

/// Splits a text into lines between words; a longer word is cut. The second line and those after it are indented.
fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word: String = word.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
        loop {
            let indent = if lines.is_empty() { INDENT } else { HANGING };
            let width = COLUMNS.saturating_sub(indent);
            let space = usize::from(!line.trim_start().is_empty());
            let used = line.trim_start().len().saturating_add(space);
            if used.saturating_add(word.len()) <= width {
                if space > 0 {
                    line.push(' ');
                }
                line.push_str(&word);
                break;
            }
            if space > 0 {
                lines.push(std::mem::take(&mut line));
            } else {
                let rest = word.split_off(width.min(word.len()));
                line.push_str(&word);
                lines.push(std::mem::take(&mut line));
                word = rest;
            }
            line.push_str("  ");
        }
    }
    if !line.trim_start().is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(seen: &[&str]) -> Card {
        Card {
            code: Code::Io,
            step: Step::Api,
            wanted: "something".into(),
            seen: seen.iter().map(|line| (*line).to_owned()).collect(),
            kernel: Vec::new(),
            notices: Vec::new(),
            next: "do it".into(),
            then: "the machine powers off".into(),
        }
    }

    #[test]
    fn a_card_fits_on_every_console() {
        let long = ["word ".repeat(60), "x".repeat(500), "\u{1b}[2Jä…\n".repeat(30), String::new()];
        for text in &long {
            let card = Card {
                wanted: text.clone(),
                seen: vec![text.clone(); 20],
                kernel: vec![text.clone(); 20],
                notices: vec![text.clone(); 20],
                next: text.clone(),
                then: text.clone(),
                ..card(&[])
            };
            let shown = card.to_string();
            assert!(shown.lines().count() <= LINES, "{shown}");
            for line in shown.lines() {
                assert!(line.len() <= COLUMNS && line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
            }
        }
    }

    #[test]
    fn every_support_line_fits_into_its_code() {
        let url = "u".repeat(SUPPORT_URL);
        for code in Code::ALL {
            for step in Step::ALL {
                let card = Card { code, step: *step, ..card(&[]) };
                for url in [None, Some(url.as_str())] {
                    // Room for a version of up to ten characters.
                    let spare = 10 - env!("CARGO_PKG_VERSION").len();
                    assert!(card.support_line(url).len() + spare <= SUPPORT_LINE, "{}", card.support_line(url));
                }
            }
        }
        let line = card(&["x"]).support_line(Some("https://help.test/b"));
        assert_eq!(line, format!("https://help.test/b?c=io&s=api&v=0.1.0&h={:08x}", card(&["x"]).digest()));
        assert_ne!(card(&["x"]).digest(), card(&["y"]).digest());
    }

    #[test]
    fn long_items_are_wrapped_and_what_is_left_out_is_said() {
        let text = "a sentence that is longer than the sixty-six columns which one line of a card has for it";
        assert_eq!(
            wrap(text),
            ["a sentence that is longer than the sixty-six columns which one", "  line of a card has for it"]
        );
        let items: Vec<String> = (0..9).map(|number| format!("item {number}")).collect();
        let card = card(&items.iter().map(String::as_str).collect::<Vec<_>>());
        let shown = card.to_string();
        assert!(
            shown.contains("  seen      item 0\n            item 1\n") && shown.contains("4 more in the kernel log"),
            "{shown}"
        );
        assert_eq!(card.omitted(), ["item 5", "item 6", "item 7", "item 8"]);
        assert_eq!(fitting(&items[..6], 6).0, 6);
    }
}
