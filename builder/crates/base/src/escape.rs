//! Bytes from outside as text that is safe to print. A file's name may hold any byte but NUL and `/`: a newline would
//! break a table, an escape sequence would drive the terminal. This room only makes text; what the bytes mean is not
//! its business.

use std::{
    fmt::{self, Display, Formatter, Write},
    path::Path,
};

/// Shows `bytes` as UTF-8 where they are printable UTF-8; a backslash, control and other unprintable characters are
/// escaped as Rust does (`\n`, `\u{1b}`), bytes that are no UTF-8 as `\xNN`. Two different names never look the same.
#[must_use]
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// Shows a path as [`escape`] shows its bytes.
#[must_use]
pub fn shown<P: AsRef<Path> + ?Sized>(path: &P) -> Escaped<'_> {
    Escaped(path.as_ref().as_os_str().as_encoded_bytes())
}

/// Escapes what would break a line or drive the terminal in a text that is for people already.
#[must_use]
pub fn one_line(text: &str) -> String {
    let is_safe = |c: char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c);
    text.chars().flat_map(|c| if is_safe(c) { vec![c] } else { c.escape_default().collect() }).collect()
}

/// The result of [`escape`]: prints without allocating.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    // Quotes are harmless here: nothing is quoted.
                    '"' | '\'' => f.write_char(c)?,
                    _ => Display::fmt(&c.escape_debug(), f)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{escape, one_line, shown};

    #[test]
    fn prints_safely_and_without_losing_anything() {
        let cases: [(&[u8], &str); 8] = [
            (b"bin/sh", "bin/sh"),
            ("größe".as_bytes(), "größe"),
            (b"it's \"it\"", "it's \"it\""),
            (b"a\nb\tc\r", "a\\nb\\tc\\r"),
            (b"\x1b[31m", "\\u{1b}[31m"),
            (b"\xff\xfea", "\\xff\\xfea"),
            (b"\\xff", "\\\\xff"),
            ("\u{202e}gnp.exe".as_bytes(), "\\u{202e}gnp.exe"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escape(bytes).to_string(), text);
        }
        assert_eq!(shown("a\nb").to_string(), "a\\nb");
        assert_eq!(one_line("it's \\ ü\n\x1b[1m\u{202e}"), "it's \\ ü\\n\\u{1b}[1m\\u{202e}");
    }
}
