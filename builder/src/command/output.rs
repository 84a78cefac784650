//! Standard output.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use base::IoContext;

use crate::Result;

/// Columns where there is no terminal, and the most that a line of prose takes.
const COLUMNS: usize = 100;

/// Returns the columns that prose may take: those of the terminal that standard output is, or of `$COLUMNS`.
pub fn columns() -> usize {
    let of_terminal = || {
        let out = io::stdout();
        out.is_terminal()
            .then(|| rustix::termios::tcgetwinsize(&out).ok())
            .flatten()
            .map(|size| usize::from(size.ws_col))
    };
    let given = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).or_else(of_terminal);
    given.filter(|columns| *columns >= 20).map_or(COLUMNS, |columns| columns.min(COLUMNS))
}

/// Returns `text` in lines that fit the terminal, the first one behind `lead`, the others indented by its spaces.
#[must_use]
pub fn wrapped(lead: &str, text: &str) -> String {
    wrap(lead, text, columns())
}

fn wrap(lead: &str, text: &str, columns: usize) -> String {
    let indent: String = lead.chars().take_while(|c| *c == ' ').collect();
    let mut lines = vec![lead.to_owned()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let is_empty = line.ends_with(' ') || line.is_empty();
        if !is_empty && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(format!("{indent}{word}"));
        } else {
            let gap = if is_empty { "" } else { " " };
            *line = format!("{line}{gap}{word}");
        }
    }
    lines.join("\n") + "\n"
}

/// Prints `text`. A reader that has seen enough, as `head` has, is no error.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.at("write", "standard output")?),
    }
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn prose_fits() {
        assert_eq!(wrap("  ", "a bc def", 7), "  a bc\n  def\n");
        assert_eq!(wrap("  To: ", "a-word-that-is-longer b", 10), "  To: a-word-that-is-longer\n  b\n");
        assert_eq!(wrap("", "", 10), "\n");
    }
}
