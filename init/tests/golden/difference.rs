//! The difference between two records, as far as a person has to read it.

use std::fmt::Write;

use similar::{ChangeTag, TextDiff};

/// Equal lines shown before and after lines that differ.
const CONTEXT: usize = 3;

/// Shows the lines that differ with a few around them, `-` for those that are expected and `+` for those that are seen.
pub fn show(expected: &str, seen: &str, is_coloured: bool) -> String {
    let diff = TextDiff::from_lines(expected, seen);
    let mut text = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        let Some(first) = group.first() else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(text, "@@ line {}", first.new_range().start + 1);
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, colour) = match change.tag() {
                ChangeTag::Delete => ('-', "\x1b[31m"),
                ChangeTag::Insert => ('+', "\x1b[32m"),
                ChangeTag::Equal => (' ', ""),
            };
            let line = change.value().trim_end_matches('\n');
            let (start, end) = if is_coloured && !colour.is_empty() { (colour, "\x1b[0m") } else { ("", "") };
            let _ = writeln!(text, "{start}{sign}{line}{end}");
        }
    }
    text
}
