//! Credentials stored by `docker login` and `podman login`: `config.json` and `auth.json` with their `auths`, `credHelpers` and
//! `credsStore`, read by the crate docker_credential. The file and the entry in it are chosen here, by containers-auth.json(5).
//! Credential helpers (`docker-credential-NAME`) run only for a registry that demands credentials.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use base::{bounded, environment::variable, escape::shown, progress::Progress};
use docker_credential::{CredentialRetrievalError as Failure, DockerCredential, get_credential_from_reader};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    authorization::{Credentials, Login},
    name::Name,
};
use crate::{Error, Result};

/// Returns the stored credentials for the image `name`; `None` if there are none, or, with a warning, if they cannot be obtained.
///
/// # Errors
/// [`Error::WrongFile`] for a file that cannot be parsed.
pub(super) fn kept(name: &Name, progress: Progress) -> Result<Option<Login>> {
    for path in files(&variable) {
        match bounded::read(&path, bounded::TEXT_MAX) {
            Ok(bytes) => {
                if let Some(login) = of_file(&bytes, &path, name, progress)? {
                    return Ok(Some(login));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => progress.say(format!("warning: {} cannot be read: {error}", shown(&path))),
        }
    }
    Ok(None)
}

/// Returns the files, the first that has something counts. One that the user names is the only one.
fn files(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(path) = variable("REGISTRY_AUTH_FILE") {
        return vec![path];
    }
    let home = |below: &str| variable("HOME").map(|home| home.join(below));
    let runtime = variable("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
    let config =
        variable("XDG_CONFIG_HOME").or_else(|| home(".config")).map(|directory| directory.join("containers/auth.json"));
    let docker = variable("DOCKER_CONFIG").or_else(|| home(".docker")).map(|directory| directory.join("config.json"));
    [runtime, config, docker].into_iter().flatten().collect()
}

/// The names that entries have; what else is in such a file belongs to others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entries {
    #[serde(default)]
    auths: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, IgnoredAny>>,
}

/// Returns the entry to ask for: a program for the registry, else what is closest to the image, from its whole name to the registry's.
fn entry(bytes: &[u8], name: &Name) -> String {
    let login = name.login().to_owned();
    // What is damaged is told by who reads all of it.
    let Ok(Entries { auths, cred_helpers }) = serde_json::from_slice(bytes) else { return login };
    let helpers = cred_helpers.unwrap_or_default();
    if let Some(key) = [name.login(), &name.registry].into_iter().find(|key| helpers.contains_key(*key)) {
        return key.to_owned();
    }
    let auths = auths.unwrap_or_default();
    let whole = format!("{}/{}", name.registry, name.repository);
    let ends = whole.rmatch_indices('/').map(|(at, _)| at).filter(|at| *at >= name.registry.len());
    let mut candidates = [whole.len()].into_iter().chain(ends).filter_map(|end| whole.get(..end));
    candidates.find(|key| auths.contains_key(*key)).map_or(login, str::to_owned)
}

fn of_file(bytes: &[u8], path: &Path, name: &Name, progress: Progress) -> Result<Option<Login>> {
    let warn = |what: String| {
        progress.say(format!("warning: {}: {what}; continuing without a password", name.registry));
        Ok(None)
    };
    match get_credential_from_reader(bytes, &entry(bytes, name)) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Some(Login::Password(Credentials { username, password })))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok((!token.is_empty()).then_some(Login::IdentityToken(token))),
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
            warn(format!("{}: {failure}", shown(&path)))
        }
        Err(failure) => Err(Error::WrongFile {
            path: path.to_owned(),
            reason: format!(
                "{failure}; log in again with `docker login` or `podman login`, or give --username and --password-stdin"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_in(text: &str, image: &str) -> Option<String> {
        let name = Name::parse(image).unwrap();
        match of_file(text.as_bytes(), Path::new("auth.json"), &name, Progress::none()).unwrap()? {
            Login::Password(credentials) => Some(credentials.username),
            Login::IdentityToken(token) => Some(format!("token {token}")),
        }
    }

    #[test]
    fn the_entry_closest_to_the_image_counts() {
        // Base64 of `host:p`, `ns:p`, `user:p`, `image:p`, `hub:p` and `library:p`.
        let text = r#"{ "auths": {
            "r.test:5000": { "auth": "aG9zdDpw" }, "r.test:5000/ns": { "auth": "bnM6cA==" },
            "r.test:5000/ns/user": { "auth": "dXNlcjpw" }, "r.test:5000/ns/user/image": { "auth": "aW1hZ2U6cA==" },
            "docker.io": { "auth": "aHViOnA=" }, "docker.io/library": { "auth": "bGlicmFyeTpw" },
            "t.test": { "auth": "aG9zdDpw", "identitytoken": "T" }, "e.test": { "identitytoken": "" } } }"#;
        for (image, expected) in [
            ("r.test:5000/ns/user/image:1", Some("image")),
            ("r.test:5000/ns/user/other", Some("user")),
            ("r.test:5000/ns/image", Some("ns")),
            ("r.test:5000/nsx/image", Some("host")),
            ("r.test:5000/image", Some("host")),
            ("r.test/image", None),
            ("alpine", Some("library")),
            ("me/app", Some("hub")),
            ("t.test/a", Some("token T")),
            ("e.test/a", None),
        ] {
            assert_eq!(kept_in(text, image).as_deref(), expected, "{image}");
        }
        assert_eq!(
            kept_in(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnA="}}}"#, "alpine").unwrap(),
            "hub"
        );
        assert_eq!(kept_in("{}", "alpine"), None);
        let name = Name::parse("r.test/a").unwrap();
        let helper = r#"{"auths":{"r.test/a":{"auth":"aG9zdDpw"}},"credHelpers":{"r.test":"x"}}"#;
        assert_eq!(entry(helper.as_bytes(), &name), "r.test", "a program for the registry comes first");
        for bad in ["", "{", r#"{"auths":{"r.test":{"auth":"not base64"}}}"#, r#"{"auths":[]}"#] {
            let error = of_file(bad.as_bytes(), Path::new("auth.json"), &name, Progress::none()).err().unwrap();
            assert!(error.to_string().contains("auth.json"), "{bad}");
        }
    }

    #[test]
    fn files_in_their_order() {
        let files = |variables: &[(&str, &str)]| -> Vec<String> {
            let found =
                super::files(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()));
            found.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(files(&[("REGISTRY_AUTH_FILE", "/f"), ("HOME", "/h"), ("DOCKER_CONFIG", "/d")]), ["/f"]);
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]),
            ["/r/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"]
        );
        assert_eq!(
            files(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
            ["/c/containers/auth.json", "/d/config.json"]
        );
        assert!(files(&[]).is_empty());
    }
}
