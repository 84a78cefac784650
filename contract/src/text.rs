//! Words and figures for people: sizes and durations read and written, the nearest of some names.

use std::{fmt, time::Duration};

/// A size in bytes, shown with a unit: `512 B`, `1.5 MiB`.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1_u64;
        let mut name = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if self.0 < unit.saturating_mul(1024) {
                break;
            }
            unit = unit.saturating_mul(1024);
            name = larger;
        }
        let whole = self.0.checked_div(unit).unwrap_or(0);
        if unit == 1 {
            return write!(f, "{whole} {name}");
        }
        let rest = self.0.checked_rem(unit).unwrap_or(0);
        let tenth = rest.saturating_mul(10).checked_div(unit).unwrap_or(0);
        write!(f, "{whole}.{tenth} {name}")
    }
}

/// Reads `10s`, `10`, `500ms` or `2m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = split_number(text);
    let number: u64 = digits.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" | "min" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// Returns true if `text` is a size as tmpfs takes it: a number of bytes with an optional `k`, `m` or `g`, or a share of RAM with `%`
/// (kernel, Documentation/filesystems/tmpfs.rst).
pub fn is_tmpfs_size(text: &str) -> bool {
    let (digits, unit) = split_number(text);
    let Ok(number) = digits.parse::<u64>() else { return false };
    match unit {
        "%" => (1..=100).contains(&number),
        "" | "k" | "K" | "m" | "M" | "g" | "G" => number > 0,
        _ => false,
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Returns the one of `names` that is nearest to `word`, if it is near enough to be a slip of the keyboard.
pub fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let (distance, name) = names.iter().map(|name| (edits(word, name), *name)).min_by_key(|(distance, _)| *distance)?;
    (distance <= 2 && distance < word.len()).then_some(name)
}

/// Returns the number of letters to change, add or take away (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let up = *cell;
            let changed = diagonal.saturating_add(usize::from(x != y));
            left = changed.min(up.saturating_add(1)).min(left.saturating_add(1));
            diagonal = up;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let shown = |bytes| Size(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1536), "1.5 KiB");
        assert_eq!(shown(100 << 20), "100.0 MiB");
        assert_eq!(shown(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("10"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        for bad in ["", "s", "-1", "1h", "1.5s", "99999999999999999999", "18446744073709551615m"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn tmpfs_sizes() {
        for good in ["50%", "100%", "64m", "1G", "4096"] {
            assert!(is_tmpfs_size(good), "{good}");
        }
        for bad in ["", "0%", "101%", "m", "64mb", "0", "-5m", "5,size=9g"] {
            assert!(!is_tmpfs_size(bad), "{bad}");
        }
    }

    #[test]
    fn distances() {
        assert_eq!(edits("", ""), 0);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("abc", ""), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(nearest("rd.imge", &["rd.img", "rd.image", "rd.timeout"]), Some("rd.img"));
        assert_eq!(nearest("rd.timout", &["rd.img", "rd.timeout"]), Some("rd.timeout"));
        assert_eq!(nearest("rd.luks", &["rd.img", "rd.timeout"]), None);
    }
}
