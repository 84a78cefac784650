//! The commands of README.md and of the pages in docs/, as a new user types them: each is a command line that is taken, and those that need
//! neither a boot nor a compiler nor a registry are run in order, page by page, in a directory with the files that the page speaks of; once
//! into a pipe, once on a terminal of 60 columns. The others are run with `README=long`.

mod boots;
#[path = "../oci_images/layout.rs"]
mod layout;
#[path = "../support/registry.rs"]
mod registry;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use archive::{
    compress::Compression,
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};
use clap::CommandFactory;
use initramfs_overlay::command::Cli;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the pages with their commands, README.md first.
fn pages() -> Vec<(String, Vec<String>)> {
    let mut names: Vec<String> = fs::read_dir(workspace().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.sort();
    names.insert(0, "README.md".to_owned());
    let read = |name: String| {
        let text = fs::read_to_string(workspace().join(&name)).unwrap();
        (name, commands(&text))
    };
    names.into_iter().map(read).collect()
}

/// Returns the lines of a page's code blocks that run this command, without what the shell is told about them.
fn commands(page: &str) -> Vec<String> {
    let cli = Cli::command();
    let blocks = page.split("```").skip(1).step_by(2);
    let joined: String = blocks.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let ours = joined.lines().filter_map(|line| {
        let line = line.trim_start_matches("$ ").trim_start_matches("sudo ");
        let line = line.split(" | ").find(|part| part.contains("initramfs-overlay "))?;
        let rest = line.trim_start_matches("target/release/").strip_prefix("initramfs-overlay ")?;
        let first = rest.split_whitespace().next()?;
        cli.find_subcommand(first)?;
        Some(rest.split("  #").next()?.trim_end().to_owned())
    });
    ours.collect()
}

/// Returns the words of a command as a shell splits them: quotes, no more.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_is_taken() {
    let cli = Cli::command();
    let mut count = 0;
    for (page, commands) in pages() {
        for line in commands {
            // Synopses: what may be left out is there.
            let line = line.split(" [--").next().unwrap().replace(['[', ']'], "").replace("$(uname -r)", "x");
            let mut words = words(&line);
            words.truncate(
                words.iter().position(|word| [">", "<", "|"].contains(&word.as_str())).unwrap_or(words.len()),
            );
            words.insert(0, "initramfs-overlay".to_owned());
            let taken = cli.clone().try_get_matches_from(words);
            assert!(taken.is_ok(), "{page}: {line}: {}", taken.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// Returns true for a command that needs neither a boot nor a compiler nor a registry.
fn is_at_once(line: &str) -> bool {
    // The tutorial's report is of a machine that has booted.
    line != "report broken.img"
        && ["disk ", "inspect ", "doctor ", "explain ", "report "].iter().any(|command| line.starts_with(command))
}

fn initramfs() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.insert("init", Entry::file(0o755, Content::Bytes(vec![7; 4000])), OnConflict::Refuse).unwrap();
    let mut encoder = Compression::Gzip.encoder(Vec::new()).unwrap();
    newc::write(&tree, Properties::default(), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// Returns a static program for x86_64: an ELF header (ELF-64 Object File Format, 1.5) and a segment that holds it.
fn program() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0x40_0078_u64, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    for half in [0_u16, 0, 64, 56, 1, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, 0x40_0000, 0x40_0000, 128, 128, 4096_u64] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(128, 0xf4);
    bytes
}

/// Makes the files that the pages speak of.
fn prepare(directory: &Path) {
    for root in ["rootfs", "rootfs-new"] {
        fs::create_dir_all(directory.join(root).join("sbin")).unwrap();
        let init = directory.join(root).join("sbin/init");
        fs::write(&init, program()).unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir_all(directory.join("target")).unwrap();
    for name in ["initrd.img", "init.gz", "target/init-0.1.0-x86_64.gz"] {
        fs::write(directory.join(name), initramfs()).unwrap();
    }
    let report = r#"{"format": 1, "init": "0.1.0", "status": "ok", "steps": [{"name": "api", "start_us": 5, "duration_us": 3}]}"#;
    fs::write(directory.join("report.json"), report).unwrap();
    let run = |script: &str| {
        let output = shell(directory, script).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // An image of a page that begins with one, and its disk.
    run("mksquashfs rootfs root-squashfs.img -quiet -all-root >/dev/null");
    run("initramfs-overlay disk sd.img --image root-squashfs.img");
}

/// Returns a shell that finds this command under its name.
fn shell(directory: &Path, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(directory);
    command.env("PATH", format!("{}:{path}", program.parent().unwrap().display())).env("SOURCE_DATE_EPOCH", "0");
    command
}

fn on_terminal(directory: &Path, script: &str) -> Output {
    let inner = format!("stty cols 60 rows 24; {script}");
    shell(directory, "exec script -qec \"$INNER\" /dev/null").env("INNER", inner).output().unwrap()
}

#[test]
fn commands_without_a_boot_do_what_the_pages_say() {
    let mut count = 0;
    for (page, commands) in pages() {
        let commands: Vec<String> = commands.into_iter().filter(|line| is_at_once(line)).collect();
        if commands.is_empty() {
            continue;
        }
        for is_terminal in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            prepare(directory.path());
            for line in &commands {
                // A page that makes a disk of a name twice shows two disks.
                let made = line.split_whitespace().nth(1).filter(|_| line.starts_with("disk ")).unwrap_or("none");
                let _ = fs::remove_file(directory.path().join(made));
                let input = if line == "report -" { "< report.json" } else { "" };
                let script = format!("initramfs-overlay {line} {input}");
                let output = match is_terminal {
                    false => shell(directory.path(), &script).output().unwrap(),
                    true => on_terminal(directory.path(), &script),
                };
                let said =
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{page} (terminal: {is_terminal}): {line}: {said}");
                assert!(!said.is_empty() || line.contains('>'), "{page}: {line}");
                count += 1;
            }
        }
    }
    assert!(count >= 2 * 8, "{count}");
}

#[test]
fn help_fits_a_narrow_terminal_and_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let wide = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Bold and underlined take no columns.
        let text = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[4m"].iter().fold(text, |text, code| text.replace(code, ""));
        // A word that has no space stays whole.
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .filter(|line| line.chars().count() > 60 && line.trim().contains("  "))
            .collect::<Vec<_>>()
    };
    for command in ["--help", "disk -h", "oci run -h", "explain img-missing"] {
        let script = format!("initramfs-overlay {command}");
        let (pipe, terminal) =
            (shell(directory.path(), &script).output().unwrap(), on_terminal(directory.path(), &script));
        assert!(pipe.status.success() && terminal.status.success(), "{command}");
        assert!(!pipe.stdout.contains(&0x1b), "{command}: escape sequences in a pipe");
        assert_eq!(wide(&terminal), [""; 0], "{command}");
    }
}
