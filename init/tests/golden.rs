//! Golden boots: each directory of `boots/` describes a machine (`machine.toml`) and holds what a boot does on it (`steps.expected`).
//! No root, no virtual machine; `boots/README.md` says how to add one.
//!
//! `cargo test --test golden NAME` runs those whose name contains `NAME`, `-- --list` lists all. `GOLDEN=write` accepts what is seen
//! instead of comparing it; read the difference before you keep it.

#[path = "golden/difference.rs"]
mod difference;
#[path = "golden/machine.rs"]
mod machine;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, ColorSetting, Failed, Trial};

/// The golden boots.
const BOOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boots");
/// The keys of `machine.toml`.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boots/README.md");
/// The failure codes that are promised to users.
const CODES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failures.md");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_coloured = match arguments.color {
        Some(ColorSetting::Always) => true,
        Some(ColorSetting::Never) => false,
        Some(ColorSetting::Auto) | None => io::stdout().is_terminal(),
    };
    let is_accepted = env::var_os("GOLDEN").is_some_and(|value| value == "write");
    let mut trials: Vec<Trial> = cases()
        .into_iter()
        .map(|(name, case)| Trial::test(name.clone(), move || boot(&name, &case, is_accepted, is_coloured)))
        .collect();
    trials.push(Trial::test("every-code-has-a-boot", every_code_has_a_boot));
    trials.push(Trial::test("keys-are-checked", keys_are_checked));
    trials.push(Trial::test("differences-are-short", differences_are_short));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Returns the name and the directory of each golden boot.
fn cases() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(BOOTS).unwrap_or_else(|error| panic!("{BOOTS}: {error}"));
    let mut cases: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{BOOTS}: {error}")).path())
        .filter(|path| path.is_dir())
        .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
        .collect();
    cases.sort();
    cases
}

fn read(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Boots the machine of a case, and compares the record or writes it.
fn boot(name: &str, case: &Path, is_accepted: bool, is_coloured: bool) -> Result<(), Failed> {
    let description = case.join("machine.toml");
    let machine =
        machine::parse(&read(&description)?).map_err(|error| format!("{}: {error}", description.display()))?;
    let seen = machine::record(machine);
    let path = case.join("steps.expected");
    if is_accepted {
        return fs::write(&path, &seen).map_err(|error| format!("{}: {error}", path.display()).into());
    }
    // A new case expects nothing yet.
    let expected = if path.exists() { read(&path)? } else { String::new() };
    if expected == seen {
        return Ok(());
    }
    let difference = difference::show(&expected, &seen, is_coloured);
    let command = format!("GOLDEN=write cargo test -p {} --test golden -- --exact {name}", env!("CARGO_PKG_NAME"));
    Err(format!("the boot differs from {name}/steps.expected:\n{difference}to accept it: {command}").into())
}

/// Holds the codes in the first column of `docs/failures.md` against the failure cards of all golden boots.
fn every_code_has_a_boot() -> Result<(), Failed> {
    let text = read(Path::new(CODES))?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let documented: BTreeSet<&str> =
        rows.flat_map(|(cell, _)| cell.split(", ")).map(|code| code.trim_matches('`')).collect();
    let mut seen = BTreeSet::new();
    for (_, case) in cases() {
        let record = read(&case.join("steps.expected"))?;
        let cards = record.lines().filter(|line| line.starts_with(" initramfs-overlay "));
        seen.extend(cards.filter_map(|line| Some(line.split_once(" cannot boot: ")?.1.to_owned())));
    }
    let seen: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
    let without: Vec<_> = documented.difference(&seen).collect();
    let unknown: Vec<_> = seen.difference(&documented).collect();
    if !documented.contains("img-missing") || !without.is_empty() || !unknown.is_empty() {
        let reason =
            format!("codes without a golden boot: {without:?}; codes that docs/failures.md lacks: {unknown:?}");
        return Err(reason.into());
    }
    Ok(())
}

/// Gives each table of `machine.toml` a key that it does not know: the error must name it and the known ones, which the README explains.
fn keys_are_checked() -> Result<(), Failed> {
    let readme = read(Path::new(KEYS))?;
    let explained: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|cell| cell.split(", "))
        .collect();
    let device = "about = 'x'\n[[device]]\nname = 'vda2'\ndisk = 'vda'\n";
    for text in
        ["about = 'x'\nlable = 1\n", &format!("{device}lable = 1\n"), "about = 'x'\n[files]\na = { lable = 1 }\n"]
    {
        let error = machine::parse(text).err().ok_or_else(|| format!("accepted:\n{text}"))?;
        let (_, known) = error
            .split_once("unknown field `lable`, expected one of ")
            .ok_or_else(|| format!("the error names neither the key nor the known ones: {error}"))?;
        let known: Vec<&str> = known.lines().next().unwrap_or_default().split(", ").collect();
        let unexplained: Vec<_> = known.iter().filter(|key| !explained.contains(**key)).collect();
        if known.len() < 9 || !unexplained.is_empty() {
            return Err(format!("keys that boots/README.md does not explain: {unexplained:?}").into());
        }
    }
    for file in ["{ directory = false }", "{ size = 1 }", "{ image = 'A' }", "{ program = 'a', link = 'b' }", "1"] {
        if machine::parse(&format!("about = 'x'\n[files]\na = {file}\n")).is_ok() {
            return Err(format!("accepted as a file: {file}").into());
        }
    }
    if machine::parse("cmdline = 'quiet'\n").is_ok() {
        return Err("accepted without about".into());
    }
    Ok(())
}

/// Compares two records that differ in one line of many.
fn differences_are_short() -> Result<(), Failed> {
    let lines = |changed: &str| {
        (1..=40).map(|n| if n == 20 { format!("{changed}\n") } else { format!("{n}\n") }).collect::<String>()
    };
    let (expected, seen) = (lines("a"), lines("b"));
    let plain = "@@ line 17\n 17\n 18\n 19\n-a\n+b\n 21\n 22\n 23\n";
    let coloured = plain.replace("-a", "\x1b[31m-a\x1b[0m").replace("+b", "\x1b[32m+b\x1b[0m");
    for (wanted, is_coloured) in [(plain, false), (coloured.as_str(), true)] {
        let shown = difference::show(&expected, &seen, is_coloured);
        if shown != wanted {
            return Err(format!("shown:\n{shown}").into());
        }
    }
    Ok(())
}
