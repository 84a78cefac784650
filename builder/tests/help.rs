//! `--help`: every example can be copied, at any width, and every example is a command line that is taken.

use std::process::Command as Process;

use clap::{Command, CommandFactory};
use initramfs_overlay::command::Cli;

/// Columns that an example may have.
const COLUMNS: usize = 60;

fn visit<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        let path = format!("{path} {}", child.get_name()).trim_start().to_owned();
        visit(child, &path, found);
        found.push((path, child));
    }
}

/// Returns the lines of the examples of a command: those that are indented below `Examples:`.
fn examples(command: &Command) -> Vec<String> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = text.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
    let commands = ["initramfs-overlay ", "sudo ", "source ", "ssh ", "cd ", "man ", "--", "."];
    let mut continued = false;
    let mut found = Vec::new();
    for line in lines.take_while(|line| line.is_empty() || line.starts_with("  ")) {
        if continued || commands.iter().any(|word| line.trim_start().starts_with(word)) {
            continued = line.ends_with('\\');
            found.push(line.to_owned());
        }
    }
    found
}

#[test]
fn examples_are_whole_at_any_width() {
    let cli = Cli::command();
    let mut commands = Vec::new();
    visit(&cli, "", &mut commands);
    let mut count = 0;
    for (path, command) in commands {
        let lines = examples(command);
        for columns in ["20", "60", "100", "200"] {
            let mut help = Process::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
            let output = help.args(path.split(' ')).arg("--help").env("COLUMNS", columns).output().unwrap();
            let shown = String::from_utf8(output.stdout).unwrap();
            for line in &lines {
                assert!(line.chars().count() <= COLUMNS, "{path}: {line}");
                assert!(shown.lines().any(|seen| seen == line), "{path} at {columns}: {line}");
                count += 1;
            }
        }
    }
    assert!(count > 4 * 40, "{count}");
}

#[test]
fn examples_are_taken() {
    let cli = Cli::command();
    let mut commands = Vec::new();
    visit(&cli, "", &mut commands);
    let mut count = 0;
    for (path, command) in commands {
        let joined = examples(command).join("\n").replace("\\\n", " ");
        for line in joined.lines().filter(|line| line.contains("initramfs-overlay ")) {
            // The part of the line that is ours, without what the shell does with it.
            let (_, ours) = line.split_once("initramfs-overlay ").unwrap();
            let ours =
                ours.split([')', '>', '|']).next().unwrap().replace("$(uname -r", "x").replace("$(uname -m", "x");
            let words = ours.split_whitespace().map(|word| word.trim_matches('\''));
            let taken = cli.clone().try_get_matches_from(["initramfs-overlay"].into_iter().chain(words));
            let is_taken = taken.as_ref().err().is_none_or(|error| !error.use_stderr());
            assert!(is_taken, "{path}: {line}: {}", taken.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}
