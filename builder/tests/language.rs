//! The language of comments and pages (CONTRIBUTING.md, "How we write"): doc comments begin with a verb or a noun, lines of pages are short,
//! and the words are the field's.

#[path = "support/pages.rs"]
mod pages;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Words that a doc comment does not begin with: what follows them has to be decoded.
const BANNED: [&str; 9] = ["What", "Whether", "Where", "Which", "Who", "Whom", "Whose", "How", "One that"];

/// Directories with sources of our own.
const SOURCES: [&str; 6] = ["builder", "contract", "fuzz", "init", "test-images", "bench"];

/// Returns the Rust files below a directory.
fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// Returns the lines at which a doc comment begins with a banned word.
fn openings(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut before = "";
    for (number, line) in text.lines().map(str::trim_start).enumerate() {
        let is_doc = |line: &str| line.starts_with("/// ") || line.starts_with("//! ");
        let words = line.get(4..).unwrap_or_default();
        let is_banned = BANNED.iter().any(|word| {
            words.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
        });
        if is_doc(line) && !is_doc(before) && is_banned {
            found.push((number + 1, line));
        }
        before = line;
    }
    found
}

/// Words for which the field has another (CONTRIBUTING.md, "How we write"), with that one.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("folder", "directory"),
    ("made anew", "recreated"),
    ("mend", "repair"),
    ("switch-on", "power-on"),
    ("vouch", "verify"),
    ("vouches", "verifies"),
];

/// The longest line of a page's prose, in characters.
const PAGE_COLUMNS: usize = 120;

/// Returns the lines of a page that are too long, but those of tables, code and pictures.
fn long_lines(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let long = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim_start();
        is_code ^= line.starts_with("```");
        !is_code && !["|", "!["].iter().any(|start| line.starts_with(start)) && line.chars().count() > PAGE_COLUMNS
    });
    long.map(|(number, line)| (number + 1, line)).collect()
}

/// Returns the first of the words that are not ours in a text, and the one that is.
fn other_word(text: &str) -> Option<(&'static str, &'static str)> {
    let text = text.to_ascii_lowercase();
    let is_word = |at: usize, word: &str| {
        let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        !letter(at.checked_sub(1).and_then(|before| text.as_bytes().get(before)))
            && !letter(text.as_bytes().get(at + word.len()))
    };
    OTHER_WORDS.into_iter().find(|(word, _)| text.match_indices(word).any(|(at, _)| is_word(at, word)))
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    for directory in SOURCES {
        files(&root.join(directory), &mut all);
    }
    assert!(all.len() > 100, "only {} files: the search is broken", all.len());
    let mut found = Vec::new();
    for path in &all {
        let text = fs::read_to_string(path).unwrap();
        let shown = path.strip_prefix(root).unwrap().display();
        found.extend(openings(&text).iter().map(|(number, line)| format!("{shown}:{number}: {line}")));
        let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
        found.extend(comments.filter_map(|(number, line)| {
            other_word(line).map(|(word, ours)| format!("{shown}:{}: {ours}, not {word}: {line}", number + 1))
        }));
    }
    assert!(
        found.is_empty(),
        "comments that begin with one of {BANNED:?}, or have other words than ours:\n{}",
        found.join("\n")
    );
}

#[test]
fn openings_are_found() {
    let text = "/// Whether it is.\nfn a() {}\n    //! How.\n/// Returns what is.\n/// Which goes on.\n/// Whatever is there.\n// What.\n";
    let numbers: Vec<usize> = openings(text).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 3]);
}

#[test]
fn pages_have_short_lines_and_the_words_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for path in pages::all(root) {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root).unwrap().display();
        found.extend(long_lines(&text).iter().map(|(number, line)| format!("{shown}:{number}: too long: {line}")));
        // Outputs of programs are as they were.
        let lines = text.lines().enumerate().filter(|_| !path.parent().is_some_and(|parent| parent.ends_with("proof")));
        for (number, line) in lines {
            let word = other_word(line);
            found.extend(word.map(|(word, ours)| format!("{shown}:{}: {ours}, not {word}: {line}", number + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn long_lines_and_other_words_are_found() {
    let long = "x".repeat(121);
    let text = format!("{long}\n| {long}\n```\n{long}\n```\n![{long}]\n{long}\n");
    assert_eq!(long_lines(&text).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 7]);
    assert_eq!(other_word("A folder."), Some(("folder", "directory")));
    assert_eq!(other_word("subfolders, a recommendation"), None);
}
