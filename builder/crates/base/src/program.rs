//! Programs of the machine that the builder calls: where they are, which Debian package has them, and running one so
//! that its result depends on nothing but its arguments. Knows nothing of what they are called for.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{Error, IoContext, ProgramFailure, Result, escape::shown};

/// A program and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// File name, such as `mke2fs`.
    pub name: &'static str,
    /// Debian package, such as `e2fsprogs`.
    pub package: &'static str,
}

/// The program that makes squashfs images.
pub const MKSQUASHFS: Program = Program { name: "mksquashfs", package: "squashfs-tools" };

/// The directories of administrators' programs on Debian. They are not in the `PATH` of ordinary users.
const ADMINISTRATORS_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

impl Program {
    /// Returns the program's file: the first in `PATH`, then in the administrators' directories.
    pub fn locate(&self) -> Option<PathBuf> {
        locate(self.name)
    }

    /// Returns a command with a fixed environment: plain messages, UTF-8 names, UTC and no settings of the user's.
    ///
    /// # Errors
    /// [`Error::MissingPrograms`].
    pub fn command(&self) -> Result<Command> {
        let path = self.locate().ok_or_else(|| missing(&[*self]))?;
        let mut command = command(path);
        command.env_clear().env("LC_ALL", "C.UTF-8").env("TZ", "UTC").stdin(Stdio::null());
        command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(env::var_os("TMPDIR").map(|path| ("TMPDIR", path)));
        Ok(command)
    }
}

/// The hidden subcommand through which programs are started, so that they end with this one.
pub const TETHER: &str = "tether";

/// True in the command itself, which has that subcommand.
static HAS_TETHER: AtomicBool = AtomicBool::new(false);

/// Starts programs through the hidden subcommand from here on. For the command's own `main`.
pub fn tether_all() {
    HAS_TETHER.store(true, Ordering::Relaxed);
}

/// Returns a command for `program` that ends, with all that it starts, when this process ends, however that is.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let program = program.as_ref();
    let is_there = program.as_encoded_bytes().contains(&b'/') || program.to_str().and_then(locate).is_some();
    // What is not there fails to start as it always does.
    if !HAS_TETHER.load(Ordering::Relaxed) || !is_there {
        return Command::new(program);
    }
    // Also where the file of this command was replaced or removed meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.args([TETHER, &std::process::id().to_string(), "--tree", "--"]).arg(program);
    command
}

/// Returns the program that a command is for.
fn name_of(command: &Command) -> PathBuf {
    let mut arguments = command.get_args();
    let tethered = arguments.next().filter(|first| *first == TETHER).and_then(|_| arguments.nth(3));
    PathBuf::from(tethered.unwrap_or(command.get_program()))
}

/// Returns the first executable `name` in `PATH` or the administrators' directories.
pub fn locate(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(ADMINISTRATORS_DIRECTORIES.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Makes sure that all of `programs` are there, so that what is missing is said once and before any work.
///
/// # Errors
/// [`Error::MissingPrograms`], naming all of them and their packages.
pub fn require(programs: &[Program]) -> Result<()> {
    let absent: Vec<Program> = programs.iter().copied().filter(|program| program.locate().is_none()).collect();
    if absent.is_empty() { Ok(()) } else { Err(missing(&absent)) }
}

fn missing(programs: &[Program]) -> Error {
    let names = programs.iter().map(|program| program.name.to_owned()).collect();
    let mut packages: Vec<String> = programs.iter().map(|program| program.package.to_owned()).collect();
    packages.sort_unstable();
    packages.dedup();
    Error::MissingPrograms { names, packages }
}

/// The output of a program that exited with status 0.
#[derive(Debug)]
pub struct Written {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `command` to its end.
///
/// # Errors
/// [`Error::Io`] where it cannot be started, [`Error::Program`] with its last words where its status is not 0.
pub fn run(command: &mut Command) -> Result<Written> {
    let path = name_of(command);
    let output = command.output().at("run", &path)?;
    let written = Written {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if output.status.success() {
        return Ok(written);
    }
    let said = if written.stderr.trim().is_empty() { &written.stdout } else { &written.stderr };
    Err(failure(path.file_name().unwrap_or(OsStr::new("program")), format!("{}", output.status), said))
}

/// Runs `command` to its end without input and gives what it wrote, however it ended.
///
/// # Errors
/// [`Error::Io`] where it cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    let path = name_of(command);
    command.stdin(Stdio::null()).output().at("run", path)
}

/// Runs `command` to its end without input, all that it writes going to the file `log`. `action` says what it is doing.
///
/// # Errors
/// [`Error::Io`] where it cannot be started or the log not written, [`Error::Program`] with the log's last lines and
/// where the rest is.
pub fn run_logged(command: &mut Command, action: &str, log: &Path) -> Result<()> {
    let file = File::create(log).at("create", log)?;
    let errors = file.try_clone().at("create", log)?;
    let path = name_of(command);
    let status = command.stdin(Stdio::null()).stdout(file).stderr(errors).status().at("run", path)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&fs::read(log).at("read", log)?).into_owned();
    let said = format!("{}\n(all of it is in {})", last_lines(&said, 12), shown(log));
    Err(Error::Program { program: action.to_owned(), status: status.to_string(), source: ProgramFailure { said } })
}

/// Returns the last words of a program: its errors, or else its output.
pub fn last_words(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = if errors.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { errors };
    last_lines(&said, 12)
}

/// Returns the error for `program`, which ended with `status` and said `said`.
pub fn failure(program: &OsStr, status: String, said: &str) -> Error {
    let program = program.to_string_lossy().into_owned();
    Error::Program { program, status, source: ProgramFailure { said: last_lines(said, 12) } }
}

/// Returns the last `count` lines of `text` that hold something.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_programs_are_named_at_once_with_their_packages() {
        let absent = [
            Program { name: "mkfs.nothing", package: "nothing-tools" },
            Program { name: "sh", package: "dash" },
            Program { name: "nothing-check", package: "nothing-tools" },
        ];
        let text = require(&absent).unwrap_err().to_string();
        assert_eq!(text, "not installed: mkfs.nothing, nothing-check (on Debian: apt-get install nothing-tools)");
        assert!(require(&[Program { name: "sh", package: "dash" }]).is_ok());
    }

    #[test]
    fn a_failure_carries_status_and_last_words() {
        let mut command = Program { name: "sh", package: "dash" }.command().unwrap();
        let error = run(command.args(["-c", "echo one >&2; echo >&2; echo two >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3)");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "one\ntwo");
    }

    #[test]
    fn a_long_log_ends_in_the_message_and_stays_in_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut command = Program { name: "sh", package: "dash" }.command().unwrap();
        let error = run_logged(command.args(["-c", "seq 100; exit 1"]), "counting", &log).unwrap_err();
        assert_eq!(error.to_string(), "counting failed (exit status: 1)");
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.starts_with("89\n") && said.contains(&log.display().to_string()), "{said}");
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 100);
    }

    #[test]
    fn the_environment_is_fixed() {
        let mut command = Program { name: "sh", package: "dash" }.command().unwrap();
        let written = run(command.args(["-c", "echo $TZ $LC_ALL ${HOME-none}"])).unwrap();
        assert_eq!(written.stdout, "UTC C.UTF-8 none\n");
    }
}
