//! The screens of a failed boot on one console: the card, and on a display its QR code, beside it or in turn with it.

use std::time::Duration;

#[cfg(feature = "qr")]
use contract::card;
use contract::card::{COLUMNS, Card};

use crate::kernel::Machine;

/// The time after which the card and its QR code take turns.
const TURN: u64 = 8;

/// A screen that is drawn whole, and the place on it for the line that counts down. Rows and columns count from 1.
#[derive(Debug, PartialEq, Eq)]
struct Screen {
    text: String,
    row: usize,
    column: usize,
    width: usize,
    height: usize,
}

/// The screens of one console, of which one is shown.
#[derive(Debug)]
pub(super) struct Screens {
    /// None on a line: what was written there stays, and only the last line changes.
    screens: Vec<Screen>,
    shown: Option<usize>,
    /// True once the console took nothing.
    pub(super) is_lost: bool,
}

impl Screens {
    /// Returns the screens of a console.
    pub(super) fn new(kernel: &mut dyn Machine, path: &str, is_display: bool, card: &Card) -> Self {
        #[cfg(feature = "qr")]
        let screens = if is_display { of_display(kernel, path, card) } else { Vec::new() };
        #[cfg(not(feature = "qr"))]
        let screens = {
            let _ = (kernel, path, is_display, card);
            Vec::new()
        };
        Self { screens, shown: None, is_lost: false }
    }

    /// Returns what is to be written: the screen of this time where it is not shown yet, and the line that counts down.
    pub(super) fn draw(&mut self, shown: Duration, line: &str) -> String {
        let turn = usize::try_from(shown.as_secs() / TURN).unwrap_or(0).checked_rem(self.screens.len());
        let Some((turn, screen)) = turn.and_then(|turn| Some((turn, self.screens.get(turn)?))) else {
            return format!("\r{line:<COLUMNS$}");
        };
        // UTF-8, an empty screen (console_codes(4)).
        let mut text = if self.shown == Some(turn) {
            String::new()
        } else {
            ["\x1b%G\x1b[0m\x1b[2J\x1b[H", &screen.text].concat()
        };
        self.shown = Some(turn);
        let mut lines = wrapped(line, screen.width).into_iter();
        for row in (screen.row..).take(screen.height) {
            let line = lines.next().unwrap_or_default();
            text.push_str(&format!("\x1b[{row};{column}H{line:<width$}", column = screen.column, width = screen.width));
        }
        text
    }
}

/// Splits a line between words.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            last.push_str(word);
        } else if last.len().saturating_add(word.len()) < width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Returns the screens of a display, in as much room as it has.
#[cfg(feature = "qr")]
fn of_display(kernel: &mut dyn Machine, path: &str, card: &Card) -> Vec<Screen> {
    // Text mode has 25 lines of 80 (kernel, drivers/video/console/vgacon.c); a display that does not say how large it is has no fewer.
    let (columns, rows) =
        kernel.window(path).ok().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or((80, 25));
    let url = crate::kernel::read_text(kernel, contract::names::SUPPORT_URL);
    let url = url.trim();
    let line = card.support_line((!url.is_empty()).then_some(url));
    let code = matrix(&line).map(|matrix| drawn(&matrix)).unwrap_or_default();
    screens(&card.to_string(), &code, usize::from(columns), usize::from(rows))
}

/// Encodes a line as the modules of a QR code, row by row; true for a dark one. None for a line that is too long.
#[cfg(feature = "qr")]
fn matrix(line: &str) -> Option<Vec<Vec<bool>>> {
    use qrcodegen::{Mask, QrCode, QrCodeEcc, QrSegment, Version};
    if line.len() > card::SUPPORT_LINE {
        return None;
    }
    let segment = QrSegment::make_bytes(line.as_bytes());
    // Readers take any mask; to find the best one costs more code than it gains.
    let (least, most) = (Version::new(1), Version::new(6));
    let code =
        QrCode::encode_segments_advanced(&[segment], QrCodeEcc::Low, least, most, Some(Mask::new(2)), true).ok()?;
    let row = |y| (0..code.size()).map(|x| code.get_module(x, y)).collect();
    Some((0..code.size()).map(row).collect())
}

/// Modules of the light zone that a QR code needs around it (ISO/IEC 18004, 5.3.8).
#[cfg(feature = "qr")]
const QUIET: usize = 4;

/// Draws a QR code with its quiet zone, light modules lit and two in a character one above the other; returns the lines, which drive a
/// terminal's colours.
#[cfg(feature = "qr")]
fn drawn(matrix: &[Vec<bool>]) -> Vec<Drawn> {
    let width = matrix.len().saturating_add(2 * QUIET);
    let is_light = |x: usize, y: usize| {
        let module = y.checked_sub(QUIET).and_then(|y| matrix.get(y)).zip(x.checked_sub(QUIET));
        !module.and_then(|(row, x)| row.get(x)).copied().unwrap_or(false)
    };
    let line = |y: usize| {
        let characters = (0..width).map(|x| {
            match (is_light(x, y), y.saturating_add(1) < width && is_light(x, y.saturating_add(1))) {
                (true, true) => '\u{2588}',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (false, false) => ' ',
            }
        });
        Drawn { text: format!("\x1b[0;1;37;40m{}\x1b[0m", characters.collect::<String>()), width }
    };
    (0..width).step_by(2).map(line).collect()
}

/// A drawn line of a QR code.
#[cfg(feature = "qr")]
#[derive(Debug)]
struct Drawn {
    text: String,
    /// Characters of it that are seen.
    width: usize,
}

/// Returns the screens that a display of this size shows in turn.
#[cfg(feature = "qr")]
fn screens(card: &str, code: &[Drawn], columns: usize, rows: usize) -> Vec<Screen> {
    /// Columns of a display on which both stand side by side, if they fit.
    const WIDE: usize = 120;
    /// Columns beside a code for the words that it needs.
    const WORDS: usize = 24;
    let lines: Vec<&str> = card.lines().collect();
    let width = code.first().map_or(0, |line| line.width);
    let row = lines.len().saturating_add(1);
    let status = |text: String| Screen { text, row, column: 1, width: COLUMNS, height: 1 };
    let alone = || status(lines.join("\n"));
    if code.is_empty() || code.len() > rows || width.saturating_add(WORDS) > columns {
        return vec![alone()];
    }
    if columns >= WIDE && COLUMNS.saturating_add(width) <= columns {
        let count = lines.len().max(code.len());
        let both = (0..count).map(|at| {
            let (line, code) = (lines.get(at).copied().unwrap_or_default(), code.get(at));
            format!("{line:<COLUMNS$}{}", code.map_or("", |code| code.text.as_str()))
        });
        return vec![status(both.collect::<Vec<_>>().join("\n"))];
    }
    let text: Vec<&str> = code.iter().map(|line| line.text.as_str()).collect();
    let column = width.saturating_add(3);
    let mut text = text.join("\n");
    for (row, words) in [(2, "Scan it for help."), (4, "The card comes back"), (5, "after 8 seconds.")] {
        text.push_str(&format!("\x1b[{row};{column}H{words}"));
    }
    let code = Screen { text, row: 7, column, width: columns.saturating_sub(column).min(COLUMNS), height: 4 };
    vec![alone(), code]
}

#[cfg(test)]
#[cfg(feature = "qr")]
mod tests {
    use contract::{failure::Code, step::Step};

    use super::*;

    fn card() -> Card {
        Card {
            code: Code::Io,
            step: Step::Api,
            wanted: "something".into(),
            seen: vec!["nothing".into(); 9],
            kernel: vec!["a line".into(); 3],
            notices: vec!["a line".into(); 3],
            next: "x ".repeat(90),
            then: "the machine powers off in 60 s".into(),
        }
    }

    /// Draws a text with the few codes that screens use on a display of this size; true for a lit half of a character.
    fn display(text: &str, columns: usize, rows: usize) -> (Vec<String>, Vec<Vec<bool>>) {
        let mut cells = vec![vec![' '; columns]; rows];
        let (mut row, mut column) = (0, 0);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\n' => (row, column) = (row + 1, 0),
                '\x1b' if rest.starts_with('%') => rest = &rest[2..],
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                    let numbers: Vec<usize> = rest[1..end].split(';').filter_map(|word| word.parse().ok()).collect();
                    match (&rest[end..=end], &numbers[..]) {
                        ("H", []) => (row, column) = (0, 0),
                        ("H", [to_row, to_column]) => (row, column) = (to_row - 1, to_column - 1),
                        ("J", _) => cells.iter_mut().for_each(|row| row.fill(' ')),
                        ("m", _) => {}
                        (other, _) => panic!("{other}"),
                    }
                    rest = &rest[end + 1..];
                }
                c => {
                    assert!(row < rows && column < columns, "{c:?} at {row}, {column}: the display scrolls");
                    cells[row][column] = c;
                    column += 1;
                }
            }
        }
        let lit = |upper: bool| {
            move |row: &Vec<char>| {
                row.iter().map(|c| *c == '\u{2588}' || *c == if upper { '\u{2580}' } else { '\u{2584}' }).collect()
            }
        };
        let halves = cells.iter().flat_map(|row| [lit(true)(row), lit(false)(row)]).collect();
        (cells.iter().map(|row| row.iter().collect()).collect(), halves)
    }

    #[test]
    fn nothing_scrolls_and_every_part_is_seen() {
        let card = card();
        let matrix = matrix(&"u".repeat(card::SUPPORT_LINE)).unwrap();
        assert_eq!(matrix.len(), 41, "version 6");
        let code = drawn(&matrix);
        for (columns, rows, count) in [(80, 25, 2), (80, 24, 1), (100, 37, 2), (128, 48, 1), (240, 67, 1), (60, 25, 1)]
        {
            let list = screens(&card.to_string(), &code, columns, rows);
            assert_eq!(list.len(), count, "{columns} x {rows}");
            let mut all = Screens { screens: list, shown: None, is_lost: false };
            for turn in 0..count {
                let line = "the machine powers off in 9 min 58 s; any key holds this";
                // A display of 60 columns has less than a card is wide: the terminal breaks its lines.
                let shown = Duration::from_secs(8 * turn as u64);
                let (text, halves) = display(&all.draw(shown, line), columns.max(COLUMNS), rows);
                let words: String = text.concat().chars().filter(char::is_ascii_graphic).collect();
                assert!(words.contains("9min58s"), "{text:?}");
                let has_code = turn == 1 || columns >= 128;
                assert_eq!(halves.iter().flatten().any(|lit| *lit), has_code, "{columns} x {rows}, {turn}");
                if has_code {
                    let left = if turn == 1 { 0 } else { COLUMNS };
                    for (y, row) in matrix.iter().enumerate() {
                        for (x, dark) in row.iter().enumerate() {
                            assert_eq!(halves[y + QUIET][left + x + QUIET], !dark, "module {x}, {y}");
                        }
                    }
                    for quiet in 0..QUIET {
                        assert!((0..49).all(|x| halves[quiet][left + x] && halves[48 - quiet][left + x]), "{quiet}");
                        assert!((0..49).all(|y| halves[y][left + quiet] && halves[y][left + 48 - quiet]), "{quiet}");
                    }
                }
                // Shown once, only the line changes.
                assert!(all.draw(shown, line).len() < 4 * 100);
            }
        }
    }

    #[test]
    fn a_line_too_long_has_no_code() {
        assert!(matrix(&"u".repeat(card::SUPPORT_LINE + 1)).is_none());
        assert_eq!(screens("card", &[], 80, 25).len(), 1);
    }
}
