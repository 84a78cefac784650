//! Programs that tests run to their end: whether they are there, and what is expected of them.

use std::process::Command;

/// Says so where one of these programs is not installed.
pub fn need(programs: &[&str]) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match programs
        .iter()
        .find(|program| !std::env::split_paths(&path).any(|directory| directory.join(program).exists()))
    {
        Some(program) => Err(format!("{program} is not installed")),
        None => Ok(()),
    }
}

/// The outcome of a command.
pub struct Ended {
    /// Its exit status.
    pub status: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    let output = command.output().expect("the command");
    Ended {
        status: output.status.code(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    /// Refuses another status.
    pub fn expect(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "output:\n{}\nerrors:\n{}", self.output, self.errors);
        self
    }

    /// Refuses an output without these lines.
    pub fn expect_lines(&self, lines: &[&str]) -> &Self {
        for line in lines {
            assert!(self.output.lines().any(|seen| seen.trim_end() == *line), "{line}:\n{}", self.output);
        }
        self
    }
}
