//! The options that say how registries may be asked, the same for everything that takes an image.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use base::IoContext;
use oci::registry::{Access, Credentials, LIMIT};

use crate::{Error, Result, cache, progress};

/// The heading of the registry options in the help.
const HEADING: &str = "Registries";

/// Options for access to registries.
#[derive(Debug, clap::Args)]
pub(super) struct AccessArgs {
    /// The user's name at the registry [default: what `docker login` or `podman login` keeps, else none]
    #[arg(long, value_name = "NAME", requires = "password_stdin", help_heading = HEADING)]
    username: Option<String>,

    /// Read the password from standard input
    #[arg(long, requires = "username", help_heading = HEADING)]
    password_stdin: bool,

    /// Ask the registry without encryption (TLS), as one on this machine may be anyway
    #[arg(long, help_heading = HEADING)]
    insecure: bool,

    /// Time without progress after which a registry is given up; until then what fails is tried again [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = crate::command::machine::duration, help_heading = HEADING)]
    registry_timeout: Option<std::time::Duration>,

    /// Pin tags to digests: a tag that is in FILE is taken from it, any other is resolved and added to it
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    lock: Option<PathBuf>,
}

/// A longer password is a file that was meant for something else, in bytes.
const PASSWORD_MAX: u64 = 64 << 10;

impl AccessArgs {
    /// Returns what was asked for about `image`, with the password read.
    pub(super) fn read(&self, image: &str) -> Result<Access> {
        let credentials = match &self.username {
            Some(username) if username.contains(':') || username.is_empty() => {
                return Err(Error::Usage("--username: a name is not empty and has no colon".to_owned()));
            }
            Some(username) => Some(Credentials { username: username.clone(), password: password(io::stdin().lock())? }),
            None => None,
        };
        let limit = self.registry_timeout.unwrap_or(LIMIT);
        Ok(Access {
            credentials,
            insecure: self.insecure,
            lock: self.lock.clone(),
            cache: cache::of_image(image)?,
            limit,
            progress: progress::on_stderr(),
        })
    }
}

/// Reads the first line, which must be all there is.
fn password(input: impl Read) -> Result<String> {
    let mut text = String::new();
    input.take(PASSWORD_MAX + 1).read_to_string(&mut text).at("read the password from", "standard input")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') || text.len() as u64 > PASSWORD_MAX {
        return Err(Error::Usage("--password-stdin: standard input has no password, or more than one line".to_owned()));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::password;

    #[test]
    fn a_password_is_one_line() {
        for text in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(password(text.as_bytes()).unwrap(), "secret");
        }
        for text in ["", "\n", "a\nb\n", &"a".repeat(70_000)] {
            assert!(password(text.as_bytes()).is_err());
        }
    }
}
