//! Programs that tests compare with.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

/// Returns true if a program is installed; says that the test is skipped if it is not.
pub fn installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let is_found = command.status().is_ok();
    if !is_found {
        let _ = writeln!(io::stderr(), "SKIPPED: {program} is not installed");
    }
    is_found
}

/// Returns true if all of these programs are installed; says that the test is skipped if one is not.
#[allow(dead_code)]
pub fn all_installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| installed(program))
}

/// Runs a program, which must succeed.
#[allow(dead_code)]
pub fn tool(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
