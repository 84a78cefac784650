//! The files that define the targets: which directory they are read from, and what is wrong with one that cannot be used.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use base::environment::variable;

use super::{
    definition::{Definition, Target, is_plain},
    flaw::Flaw,
};
use crate::toolchain::SourceTree;

/// A directory of definitions instead of the source tree's.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_TARGETS";

/// The definitions as they stood in `targets/` when the command was built: name and TOML.
static COMPILED_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/targets.rs"));

/// The directory that the command line names, with the option that names it, and the source tree that it names.
static CHOSEN: OnceLock<Choice> = OnceLock::new();

/// The directories that a command line names.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The directory of definitions.
    pub targets: Option<PathBuf>,
    /// The source tree, whose `targets/` is read.
    pub source: Option<PathBuf>,
}

/// Takes definitions from these directories. Has an effect before the first target is asked for only.
pub fn read_from(choice: Choice) {
    // A second call is too late anyway.
    let _ = CHOSEN.set(choice);
}

/// Reads all definitions: of the directory that was chosen, else of the source tree, else those that are compiled in. By name.
pub fn read() -> Result<Vec<Target>, Flaw> {
    let named = CHOSEN.get().and_then(|choice| choice.targets.clone()).map(|path| (path, "--targets-dir"));
    if let Some((path, name)) = named.or_else(|| variable(VARIABLE).map(|path| (path, VARIABLE))) {
        let flaw = |reason| Flaw { path: path.clone(), place: String::new(), reason };
        let files = files_in(&path).map_err(|error| flaw(format!("{name}: cannot be read: {error}")))?;
        if files.is_empty() {
            return Err(flaw(format!("{name}: expected a directory of definitions, NAME.toml")));
        }
        return parse_files(&files);
    }
    let source = CHOSEN.get().and_then(|choice| choice.source.as_deref());
    // A source tree that is none is told by what builds from it.
    let tree = SourceTree::find(source).ok().and_then(|tree| files_in(&tree.root.join("targets")).ok());
    match tree.filter(|files| !files.is_empty()) {
        Some(files) => parse_files(&files),
        None => {
            let name = |name: &str| PathBuf::from(format!("targets/{name}.toml"));
            check(COMPILED_IN.iter().map(|(target, text)| parse(&name(target), text)).collect::<Result<_, _>>()?)
        }
    }
}

/// Returns the definitions in a directory, sorted.
fn files_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let is_definition = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_definition).collect();
    files.sort();
    Ok(files)
}

fn parse_files(files: &[PathBuf]) -> Result<Vec<Target>, Flaw> {
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|error| Flaw {
            path: path.clone(),
            place: String::new(),
            reason: format!("cannot be read: {error}"),
        })?;
        parse(path, &text)
    };
    check(files.iter().map(read).collect::<Result<_, _>>()?)
}

/// Parses a definition; its target is called as its file is.
fn parse(path: &Path, text: &str) -> Result<Target, Flaw> {
    let flaw = |place: String, reason: String| Flaw { path: path.to_owned(), place, reason };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if !is_plain(name) {
        let reason = "expected a name of lower case letters, digits, `_`, `-` and `.`, as part of files' names";
        return Err(flaw(String::new(), reason.to_owned()));
    }
    let definition: Definition = toml::from_str(text)
        .map_err(|error| flaw(place(text, error.span(), error.message()), error.message().to_owned()))?;
    let wrong = definition.objection();
    match wrong {
        Some((key, reason)) => Err(flaw(place_of_key(text, key), reason)),
        None => Ok(Target { name: name.to_owned(), definition }),
    }
}

/// Refuses names that two targets have.
fn check(targets: Vec<Target>) -> Result<Vec<Target>, Flaw> {
    for (place, target) in targets.iter().enumerate() {
        let mut names = std::iter::once(&target.name).chain(&target.aliases);
        let others = || targets.iter().take(place);
        let both = names.find_map(|name| others().find(|other| other.is_called(name)).map(|other| (name, other)));
        if let Some((name, other)) = both {
            return Err(Flaw {
                path: PathBuf::from(format!("{}.toml", target.name)),
                place: "key aliases".to_owned(),
                reason: format!("the name `{name}` is {}'s already; expected names of its own", other.name),
            });
        }
    }
    Ok(targets)
}

/// Says where in `text` a parser's error is: the line and its key, for a missing key the table that lacks it.
fn place(text: &str, span: Option<Range<usize>>, message: &str) -> String {
    let Some(start) = span.map(|span| span.start.min(text.len())) else { return String::new() };
    let before = text.get(..start).unwrap_or_default();
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    let table = |count: usize| {
        let header = text.lines().take(count).filter(|line| line.starts_with('[')).last();
        header.map(|header| header.trim_matches(|c: char| "[] ".contains(c)).to_owned())
    };
    if message.starts_with("missing field") {
        return match table(number + 1) {
            Some(table) => format!("line {}, table {table}", number + 1),
            None => String::new(),
        };
    }
    match line.split_once('=') {
        Some((key, _)) => {
            let table = table(number).map_or_else(String::new, |table| format!("{table}."));
            format!("line {}, key {table}{}", number + 1, key.trim())
        }
        None => format!("line {}", number + 1),
    }
}

/// Says where a key is, as [`place`] does, for `key`, such as `busybox.sha256`.
fn place_of_key(text: &str, key: &str) -> String {
    let (table, name) = key.split_once('.').unwrap_or(("", key));
    let header = format!("[{table}]");
    let skip = if table.is_empty() { 0 } else { text.lines().position(|line| line == header).unwrap_or(0) };
    let is_it = |line: &str| line.split_once('=').is_some_and(|(found, _)| found.trim() == name);
    let number = text.lines().skip(skip).position(is_it).map(|number| number + skip + 1);
    number.map_or_else(|| format!("key {key}"), |number| format!("line {number}, key {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> &'static str {
        COMPILED_IN.iter().find(|(name, _)| *name == "aarch64").expect("a target").1
    }

    #[test]
    fn what_is_compiled_in_is_what_the_tree_has() {
        let compiled: Vec<Target> =
            COMPILED_IN.iter().map(|(name, text)| parse(Path::new(&format!("{name}.toml")), text).unwrap()).collect();
        assert_eq!(read().unwrap(), compiled);
    }

    #[test]
    fn faults_are_told_by_file_line_and_key() {
        let flaw = |from: &str, to: &str| {
            assert!(text().contains(from), "{from}");
            parse(Path::new("d/next.toml"), &text().replace(from, to)).unwrap_err().to_string()
        };
        let line = |part: &str| text().lines().position(|line| line.starts_with(part)).expect("a line") + 1;
        let cases = [
            (
                "zig-cpu =",
                "zig-processor =",
                "zig-cpu",
                "key zig-processor: unknown field `zig-processor`, expected one of",
            ),
            (
                "suite = \"bookworm\"",
                "suite = 12",
                "suite",
                "key busybox.suite: invalid type: integer `12`, expected a string",
            ),
            (
                "elf = \"aarch64\"",
                "elf = \"vax\"",
                "elf",
                "key elf: unknown ELF machine `vax`: expected one of aarch64",
            ),
            (
                "disk = \"virtio\"",
                "disk = \"ide\"",
                "disk",
                "key qemu.disk: unknown variant `ide`, expected `sd` or `virtio`",
            ),
            ("model = ", "model == ", "model", "key qemu.model: "),
            ("sha256 = \"73", "sha256 = \"zz", "sha256", "key busybox.sha256: expected 64 hexadecimal digits"),
            ("page-sizes = [4,", "page-sizes = [5,", "page-sizes", "key page-sizes: expected sizes in KiB, such as"),
            ("oci = [\"linux/arm64\"]", "oci = [\"arm64\"]", "oci", "key oci: expected at least one platform"),
        ];
        for (from, to, at, expected) in cases {
            let flaw = flaw(from, to);
            let wanted = format!("d/next.toml, line {}, {expected}", line(at));
            assert!(flaw.starts_with(&wanted) && !flaw.contains('\n'), "{flaw}\n{wanted}");
        }
        let flaw = flaw("suite = \"bookworm\"\npackage = \"busybox-static\"", "package = \"busybox-static\"");
        let table = line("[busybox]");
        assert_eq!(flaw, format!("d/next.toml, line {table}, table busybox: missing field `suite`"));
        let flaw = parse(Path::new("d/next.toml"), "").unwrap_err().to_string();
        assert_eq!(flaw, "d/next.toml: missing field `processor`");
        let flaw = parse(Path::new("d/Next one.toml"), text()).unwrap_err().to_string();
        assert!(flaw.starts_with("d/Next one.toml: expected a name of lower case letters"), "{flaw}");
    }

    #[test]
    fn a_name_belongs_to_one_target() {
        let target = |name: &str| parse(Path::new(&format!("{name}.toml")), text()).unwrap();
        let flaw = check(vec![target("aarch64"), target("other")]).unwrap_err().to_string();
        assert_eq!(flaw, "other.toml, key aliases: the name `arm64` is aarch64's already; expected names of its own");
    }
}
