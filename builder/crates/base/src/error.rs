//! The errors of the host: files and programs. `Display` says its own level only; the causes are sources.

use std::{io, path::PathBuf};

use crate::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read, written or made.
    #[error("cannot {action} {}", shown(path))]
    Io {
        /// The verb: "read", "write", "create", "rename".
        action: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Files that were fetched are not those that the command was built for.
    #[error("the files in {} have the digest {found}, but {expected} is pinned; they are not used", shown(path))]
    NotPinned {
        /// The directory.
        path: PathBuf,
        /// The pinned digest, in hexadecimal.
        expected: String,
        /// The digest that was found.
        found: String,
    },
    /// Programs of the machine are needed and not there.
    #[error("not installed: {} (on Debian: apt-get install {})", names.join(", "), packages.join(" "))]
    MissingPrograms {
        /// Their names.
        names: Vec<String>,
        /// The Debian packages that have them.
        packages: Vec<String>,
    },
    /// A program of the machine failed.
    #[error("{program} failed ({status})")]
    Program {
        /// Its name.
        program: String,
        /// Its exit status, or the signal that killed it.
        status: String,
        /// The last lines of its output.
        #[source]
        source: ProgramFailure,
    },
}

/// The last words of a program that failed.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct ProgramFailure {
    /// The last lines of what it said.
    pub said: String,
}

/// Returns an error with its causes, in one line, each thing once.
pub fn in_one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Returns the system's own error where `tempfile` put it into one that names a temporary file, which tells the user nothing and differs
/// from run to run. That error has no source: only its text holds the number.
fn of_system(error: io::Error) -> io::Error {
    let text = error.to_string();
    let number = text.rsplit_once(" (os error ").and_then(|(_, rest)| rest.split_once(") at path "));
    match number.and_then(|(number, _)| number.parse().ok()) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error,
    }
}

/// Adds the action and the path to an [`io::Error`].
pub trait IoContext<T> {
    /// Names what was done, a verb in the infinitive, and the path it was done to.
    ///
    /// # Errors
    /// [`Error::Io`] where there was an error.
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.into(), source: of_system(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporary_files_are_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        let error = tempfile::Builder::new().prefix("secret").tempdir_in(&gone).at("create", "out").unwrap_err();
        let said = in_one_line(&error);
        assert!(said.starts_with("cannot create out: No such file") && !said.contains("secret"), "{said}");
        // What names another file of the user's stays.
        let inner =
            io::Error::other(Error::Io { action: "read", path: "x".into(), source: io::Error::from_raw_os_error(2) });
        assert!(in_one_line(&Err::<(), _>(inner).at("write", "out").unwrap_err()).contains("cannot read x"));
    }
}
