//! `initramfs-overlay explain`: the page about failures, on the terminal.

use std::{fmt::Write as _, process::ExitCode};

use contract::{failure::Code, text::nearest};
use serde_json::json;

use crate::{
    Error, Result,
    command::output::{self, wrapped},
};

/// The page; a test of the contract holds its table against the codes.
const PAGE: &str = include_str!("../../../docs/failures.md");

/// Explain a failure code: what it means, and what to do.
///
/// The code is on the card that a boot ends in, and in the report.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  initramfs-overlay explain img-missing
  initramfs-overlay explain")]
pub struct Args {
    /// The code [default: all of them]
    #[arg(value_name = "CODE")]
    code: Option<String>,

    /// Write it as JSON
    #[arg(long)]
    json: bool,
}

/// A line of the page's table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Explanation {
    meaning: String,
    remedy: String,
}

/// Prints it.
///
/// # Errors
/// [`Error::Usage`] for a code that there is not.
pub fn run(args: &Args) -> Result<ExitCode> {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let codes = match &args.code {
        None => codes,
        Some(text) => match codes.iter().find(|code| is_called(code, text)) {
            Some(code) => vec![*code],
            None => {
                let hint = nearest(&text.to_ascii_lowercase(), &codes);
                let hint = hint.map_or_else(String::new, |hint| format!(" (did you mean `{hint}`?)"));
                let text = format!("there is no failure `{text}`{hint}. There are: {}", codes.join(", "));
                return Err(Error::Usage(text));
            }
        },
    };
    let explained: Vec<_> = codes.into_iter().filter_map(|code| Some((code, explanation(code)?))).collect();
    let text = if args.json {
        let line = |(code, Explanation { meaning, remedy }): &(&str, Explanation)| json!({ "code": code, "meaning": meaning, "remedy": remedy });
        format!("{:#}\n", json!({ "failures": explained.iter().map(line).collect::<Vec<_>>() }))
    } else {
        explained.iter().map(|(code, explained)| page(code, explained)).collect::<Vec<_>>().join("\n")
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns true for a code as it is copied from a card or typed, in capitals too.
fn is_called(code: &str, text: &str) -> bool {
    code.eq_ignore_ascii_case(text.trim().trim_matches('`'))
}

/// Finds a code in the page's table.
fn explanation(code: &str) -> Option<Explanation> {
    let row = PAGE.lines().filter(|line| line.starts_with("| `")).find_map(|line| {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let is_of = cells.next()?.split('`').skip(1).step_by(2).any(|name| name == code);
        is_of.then(|| Some((cells.next()?, cells.next()?)))?
    })?;
    Some(Explanation { meaning: plain(row.0), remedy: plain(row.1) })
}

/// Returns the text of a cell without marks and links.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, behind)) = rest.split_once('[') {
        let _ = write!(text, "{before}");
        match behind.split_once("](").and_then(|(words, link)| Some((words, link.split_once(')')?))) {
            Some((words, (_, after))) => {
                text.push_str(words);
                rest = after;
            }
            None => {
                text.push('[');
                rest = behind;
            }
        }
    }
    text.push_str(rest);
    let mut text = text.trim_end_matches(" |").replace('`', "");
    if let Some(first) = text.chars().next() {
        text.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
    if text.ends_with('.') { text } else { format!("{text}.") }
}

fn page(code: &str, explained: &Explanation) -> String {
    let Explanation { meaning, remedy } = explained;
    format!("{code}\n{}{}", wrapped("  ", meaning), wrapped("  What to do: ", remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        for code in Code::ALL {
            let explained = explanation(code.name()).unwrap_or_else(|| panic!("{}", code.name()));
            for text in [&explained.meaning, &explained.remedy] {
                assert!(
                    text.len() > 8 && !text.contains(['`', '|']) && !text.contains("]("),
                    "{}: {text}",
                    code.name()
                );
            }
        }
        assert_eq!(explanation("nonsense"), None);
    }

    #[test]
    fn a_cell_is_plain_text() {
        assert_eq!(plain("see [the page](x.md#y), or `e2fsck` [it"), "See the page, or e2fsck [it.");
    }
}
