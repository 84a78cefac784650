//! The tables of the contract against the pages that describe them: nothing is missing there, and nothing is made up.

use std::{collections::BTreeSet, fs, path::Path};

use initramfs_overlay_contract::{
    card::Card,
    failure::{Class, Code},
    parameters::PARAMETERS,
    report::{Fact, Report},
    step::Step,
};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the words in code type in the first column of a page's tables.
fn first_column(page: &str) -> BTreeSet<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(String::from).collect()
}

/// Returns the parameters that a text names.
fn parameters(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '.'));
    words.map(|word| word.trim_end_matches('.')).filter(|word| word.len() > 3 && word.starts_with("rd.")).collect()
}

#[test]
fn each_failure_code_has_its_line() {
    let codes: BTreeSet<String> = Code::ALL.into_iter().map(|code| code.name().to_owned()).collect();
    let described = first_column(&page("docs/failures.md"));
    assert_eq!(codes.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(codes.len(), Code::ALL.len(), "no name stands for two codes");
    let ended = |word: &&String| {
        ["-missing", "-ambiguous", "-mount", "-unusable"].iter().any(|end| word.ends_with(end))
            && !codes.contains(*word)
    };
    assert_eq!(described.iter().filter(ended).collect::<Vec<_>>(), Vec::<&String>::new(), "no such code");
}

#[test]
fn each_failure_code_has_its_causes() {
    let page = page("docs/diagnosis.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### ")).flat_map(|heading| heading.split(", "));
    let described: BTreeSet<&str> = headings.collect();
    let codes: BTreeSet<&str> = Code::ALL.into_iter().map(Code::name).collect();
    assert_eq!(described, codes);
}

#[test]
fn each_class_of_failures_lists_its_codes() {
    let page = page("docs/failures.md");
    for class in Class::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| {} |", class.blinks()))).unwrap();
        let listed: BTreeSet<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        let codes: BTreeSet<&str> =
            Code::ALL.into_iter().filter(|code| code.class() == class).map(Code::name).collect();
        assert_eq!(listed, codes, "{class:?}");
    }
}

#[test]
fn each_field_of_the_report_has_its_line() {
    let described = first_column(&page("docs/report.md"));
    let missing: Vec<&str> =
        Fact::ALL.iter().map(|fact| fact.name()).filter(|name| !described.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut report = Report::default();
    report.previous(Vec::new());
    let card = Card {
        code: Code::Io,
        step: Step::Api,
        wanted: String::new(),
        seen: Vec::new(),
        kernel: Vec::new(),
        notices: Vec::new(),
        next: String::new(),
        then: String::new(),
    };
    let json: serde_json::Value = serde_json::from_str(&report.to_json(Some(&card))).unwrap();
    let fields = json.as_object().unwrap().keys();
    let missing: Vec<&String> = fields.filter(|name| !described.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_parameter_is_described_and_no_page_names_another() {
    let described = page("docs/parameters.md");
    let names = parameters(&described);
    for parameter in PARAMETERS {
        assert!(names.contains(parameter), "{parameter}");
        let row = first_column(&described).iter().any(|cell| cell.trim_end_matches('=') == parameter);
        assert!(row, "{parameter} has no line of its own");
    }
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")).unwrap();
    let pages = pages.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_string_lossy()));
    for name in pages.filter(|name| name.ends_with(".md")).chain(["README.md".to_owned()]) {
        let text: String =
            page(&name).lines().filter(|line| !line.contains("did you mean")).collect::<Vec<_>>().join("\n");
        // Other programs' parameters are named where ours are compared with them.
        let unknown: Vec<&str> = parameters(&text)
            .into_iter()
            .filter(|word| !PARAMETERS.contains(word) && !word.starts_with("rd.luks"))
            .collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

#[test]
fn each_step_is_named_in_the_page_about_parameters_or_boot() {
    let text =
        ["docs/parameters.md", "docs/boot.md", "docs/report.md", "docs/debug.md", "docs/ram.md", "docs/virtiofs.md"]
            .map(page)
            .concat();
    let missing: Vec<&str> =
        Step::ALL.iter().map(|step| step.name()).filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
