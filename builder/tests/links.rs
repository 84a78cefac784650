//! The links of the pages: each leads to a file, and to a heading where it names one; each picture is on a page.

#[path = "support/pages.rs"]
mod pages;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Returns the text of a page without its blocks of code.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).expect("a page");
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// Returns the anchor that a forge gives a heading: small letters, digits, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Returns the targets of a text's links, those on the net left out.
fn targets(text: &str) -> Vec<String> {
    let starts = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    starts.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let (mut wrong, mut count, mut shown) = (Vec::new(), 0, BTreeSet::new());
    for page in pages::all(&workspace()) {
        for target in targets(&prose(&page)) {
            count += 1;
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let to = if path.is_empty() { page.clone() } else { page.parent().expect("a directory").join(path) };
            let is_there = to.exists()
                && (heading.is_empty()
                    || prose(&to)
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading));
            if !is_there {
                wrong.push(format!("{}: {target}", page.display()));
            }
            shown.extend(to.canonicalize());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "{count}");
    for picture in fs::read_dir(workspace().join("docs/pictures")).expect("the pictures").flatten() {
        let path = picture.path().canonicalize().expect("a picture");
        assert!(picture.file_name() == "make" || shown.contains(&path), "on no page: {}", path.display());
    }
}

#[test]
fn anchors_are_as_forges_make_them() {
    assert_eq!(anchor(" What `init` does, and when"), "what-init-does-and-when");
    assert_eq!(targets("[a](b.md#c) and ![d](e.svg), [f](https://g)"), ["b.md#c", "e.svg"]);
}
