//! The language of doc comments: a function's begins with a verb, a type's with a noun (CONTRIBUTING.md, "How we write").

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
    }
    assert!(found.is_empty(), "doc comments that begin with one of {BANNED:?}:\n{}", found.join("\n"));
}

#[test]
fn openings_are_found() {
    let text = "/// Whether it is.\nfn a() {}\n    //! How.\n/// Returns what is.\n/// Which goes on.\n/// Whatever is there.\n// What.\n";
    let numbers: Vec<usize> = openings(text).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 3]);
}
