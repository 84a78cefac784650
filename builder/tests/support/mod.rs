//! Small helpers of many tests: bytes that look like chance, and the programs that tests compare with.

#![allow(dead_code, reason = "no test needs all of it")]

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

/// A generator of numbers that are the same for the same seed (SplitMix64, Steele et al. 2014).
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns the next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }
}

/// Returns bytes that no compressor shrinks, the same ones every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(numbers.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Returns true if a program is there; says that the test is skipped if it is not.
pub fn installed(name: &str) -> bool {
    let found = program(name)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Returns true if all of these programs are there; says that the test is skipped if one is not.
pub fn all_installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| installed(program))
}

/// Returns a directory for a test that needs these programs; says that it is skipped if one is missing.
pub fn directory_for(programs: &[&str]) -> Option<tempfile::TempDir> {
    all_installed(programs).then(|| tempfile::tempdir().expect("a directory"))
}

/// Says that a test is skipped, past the harness, which would swallow it.
pub fn skip(reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {reason}");
}

/// Returns a command for a program that may be where an administrator's are.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// Writes a program that the test then runs. Another process holds the file while it is written: a child that a test beside this one
/// forks would inherit a descriptor of ours, and the kernel refuses to run what is open for writing (ETXTBSY).
pub fn write_program(path: &Path, content: &[u8]) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    writer.stdin.take().expect("a pipe").write_all(content).expect("a shell that reads");
    assert!(writer.wait().expect("a child").success(), "write {}", path.display());
}

/// Runs a program that must succeed; returns everything that it wrote.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Runs a program with these arguments, which must succeed.
pub fn tool(name: &str, arguments: &[&str]) {
    run(program(name).args(arguments));
}

/// Runs a program; returns its standard output, whatever its status.
pub fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
