//! Programs that tests compare with.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

/// Whether a program is there; says that the test is skipped where it is not.
pub fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        let _ = writeln!(io::stderr(), "SKIPPED: {program} is not installed");
    }
    found
}

/// Runs a program, which must succeed.
#[allow(dead_code)]
pub fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
