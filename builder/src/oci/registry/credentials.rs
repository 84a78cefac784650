//! The password that `docker login` has kept: `config.json` with its `auths`, `credHelpers` and `credsStore`, read by the crate
//! docker_credential. Programs that keep passwords (`docker-credential-NAME`) are started only for a registry that asks for one.

use std::{fs::File, io::BufReader, path::PathBuf};

use docker_credential::{CredentialRetrievalError as Failure, DockerCredential, get_credential_from_reader};

use super::{authorization::Credentials, name::Name};
use crate::{Error, Result, cache::variable, progress::Progress};

/// The credentials that are kept for the registry of `name`; `None` where there are none, or none that can be had, which is said.
///
/// # Errors
/// [`Error::WrongFile`] for a config.json that cannot be read.
pub(super) fn kept(name: &Name, progress: Progress) -> Result<Option<Credentials>> {
    let folder = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    let Ok(file) = File::open(&path) else { return Ok(None) };
    let found = get_credential_from_reader(BufReader::new(file), name.login());
    interpret(found, &path, name, progress)
}

fn interpret(
    found: Result<DockerCredential, Failure>,
    path: &std::path::Path,
    name: &Name,
    progress: Progress,
) -> Result<Option<Credentials>> {
    let warn = |what: String| {
        progress.say(format!("warning: {}: {what}; going on without a password", name.registry));
        Ok(None)
    };
    match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Some(Credentials { username, password })),
        Ok(DockerCredential::IdentityToken(_)) => warn(
            "docker keeps an identity token for it, which is not understood here (give --username and --password-stdin)"
                .to_owned(),
        ),
        Err(Failure::NoCredentialConfigured) => Ok(None),
        // What docker's own helpers say where they have none.
        Err(Failure::HelperFailure { stdout, stderr, .. })
            if format!("{stdout}{stderr}").contains("credentials not found") =>
        {
            Ok(None)
        }
        Err(Failure::HelperFailure { helper, stdout, stderr }) => {
            warn(format!("{helper} failed: {}", super::authorization::shown(&format!("{stderr} {stdout}"))))
        }
        Err(failure @ (Failure::HelperCommunicationError | Failure::MalformedHelperResponse)) => {
            warn(format!("{}: {failure}", path.display()))
        }
        Err(failure) => Err(Error::WrongFile {
            path: PathBuf::from(path),
            reason: format!("{failure}; log in again with `docker login`, or give --username and --password-stdin"),
        }),
    }
}
