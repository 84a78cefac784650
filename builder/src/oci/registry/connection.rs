//! Asking a registry (distribution specification, "Pull"): manifests into memory, up to a bound, blobs into files, up to the size that is
//! known of them. Nothing that a server says is believed before its digest fits, and what it says too much is cut off.
//!
//! Through `ureq` and not through `oci-client`, which reads manifests, tokens and the texts of errors to whatever end a server sends,
//! panics at a token that cannot stand in a header, and adds 170 s of processor time to the command's build where this adds 60.

use std::{
    error::Error as StdError,
    fs::File,
    io::{self, Read, Write},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ureq::{Agent, Body, http::Response};

use super::{
    authorization::{self, Challenge, Credentials, Login, TOKEN_MAX, shown},
    name::Name,
};
use crate::{
    oci::blob::{DOCUMENT_MAX, Digest, Hashed},
    progress::Step,
};

/// Why something did not come: what a person is told, or what a library says.
pub(super) type Fault = Box<dyn StdError + Send + Sync>;

/// Where credentials come from when they are asked for.
pub(super) type Ask<'a> = &'a dyn Fn() -> crate::Result<Option<Login>>;

/// A manifest as it came.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    /// What the registry calls it, in small letters and without parameters.
    pub(super) media_type: String,
    /// What the registry says its digest is.
    pub(super) digest: Option<String>,
}

/// A registry that was reached.
pub(super) struct Connection {
    agent: Agent,
    scheme: &'static str,
    name: Name,
    login: OnceLock<Option<Login>>,
    challenge: Option<Challenge>,
    /// The value of the header, as long as it is good.
    authorization: Mutex<Option<String>>,
}

/// A machine that does not answer for so long is not there.
const CONNECT: Duration = Duration::from_secs(20);
/// One that was there and sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

impl Connection {
    /// Asks the registry how it wants to be asked. Credentials are only looked for where it wants some.
    pub(super) fn open(name: &Name, is_plain: bool, ask: Ask<'_>) -> Result<Self, Fault> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("initramfs-overlay/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::Never)
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build());
        if name.is_local() {
            config = config.proxy(None);
        }
        let mut connection = Self {
            agent: config.build().new_agent(),
            scheme: if is_plain { "http" } else { "https" },
            name: name.clone(),
            login: OnceLock::new(),
            challenge: None,
            authorization: Mutex::default(),
        };
        let response = connection.agent.get(format!("{}://{}/v2/", connection.scheme, name.host())).call()?;
        let values = response.headers().get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        connection.challenge = authorization::challenge(values)?;
        if connection.challenge.is_some() {
            let found = ask()?;
            let _ = connection.login.set(found);
            connection.renew(None)?;
        }
        Ok(connection)
    }

    fn is_plain(&self) -> bool {
        self.scheme == "http"
    }

    /// Sees to the header that is sent from now on, in the place of `used`. Where another thread has done that meanwhile, there is
    /// nothing to do.
    fn renew(&self, used: Option<&str>) -> Result<(), Fault> {
        let mut header = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if header.as_deref() == used {
            *header = self.authorize()?;
        }
        Ok(())
    }

    /// The header that the registry wants.
    fn authorize(&self) -> Result<Option<String>, Fault> {
        let login = self.login.get().and_then(Option::as_ref);
        let basic = match login {
            Some(Login::Password(Credentials { username, password })) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            _ => None,
        };
        let (realm, service) = match &self.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) if matches!(login, Some(Login::IdentityToken(_))) => {
                return Err("it wants a name and a password, and what is kept for it is an identity token; give --username and \
                            --password-stdin"
                    .into());
            }
            Some(Challenge::Basic) => return Ok(basic),
            Some(Challenge::Bearer { realm, service }) => (realm.as_str(), service.as_deref()),
        };
        if let Some(reason) = authorization::objection(realm, self.is_plain(), login.is_some()) {
            return Err(reason.into());
        }
        let scope = format!("repository:{}:pull", self.name.repository);
        let mut response = if let Some(Login::IdentityToken(token)) = login {
            // The distribution project's "OAuth2 Token Authentication". What is sent is the secret itself, so no redirect is followed.
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or(self.name.host())),
                ("client_id", env!("CARGO_PKG_NAME")),
                ("scope", &scope),
                ("refresh_token", token),
            ];
            self.agent.post(realm).config().max_redirects(0).build().send_form(form)?
        } else {
            let mut request = self.agent.get(realm).query("scope", scope);
            if let Some(service) = service {
                request = request.query("service", service);
            }
            if let Some(basic) = basic {
                request = request.header("authorization", basic);
            }
            request.call()?
        };
        match (response.status().as_u16(), login) {
            (200, _) => {}
            (401 | 403, Some(Login::Password(_))) => return Err("it does not take that name and password".into()),
            (400 | 401 | 403, Some(Login::IdentityToken(_))) => {
                return Err("it does not take the identity token that is kept for it; log in again".into());
            }
            (status, Some(Login::IdentityToken(_))) => {
                let said = said(&mut response);
                return Err(format!(
                    "it gave no token for the identity token that is kept for it (HTTP {status}): {said}"
                )
                .into());
            }
            (status, _) => return Err(format!("it gave no token (HTTP {status}): {}", said(&mut response)).into()),
        }
        let token = authorization::token(&bounded(response.body_mut(), TOKEN_MAX, "its token")?)?;
        Ok(Some(format!("Bearer {token}")))
    }

    /// Asks for `path` below the image's name. A token that has run out meanwhile is replaced, once.
    fn get(&self, path: &str, accept: &str) -> Result<Response<Body>, Fault> {
        let address = format!("{}://{}/v2/{}/{path}", self.scheme, self.name.host(), self.name.repository);
        let mut renewed = false;
        loop {
            let mut request = self.agent.get(&address).header("accept", accept);
            let header = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(header) = &header {
                request = request.header("authorization", header);
            }
            let mut response = request.call()?;
            let status = response.status().as_u16();
            let is_token = matches!(self.challenge, Some(Challenge::Bearer { .. }));
            if status == 200 {
                return Ok(response);
            }
            if status == 401 && is_token && !renewed {
                renewed = true;
                self.renew(header.as_deref())?;
                continue;
            }
            let advice = match (status, self.login.get()) {
                (401 | 403, Some(Some(Login::Password(_)))) => {
                    ": the name or password is not taken, or may not read this image"
                }
                (401 | 403, Some(Some(Login::IdentityToken(_)))) => {
                    ": whom the identity token is of may not read this image"
                }
                (401 | 403, _) => {
                    ": it wants a name and a password (--username and --password-stdin, or `docker login` or `podman login`), or there is no such image"
                }
                (404, _) => ": there is no such image or tag",
                (429, _) => ": too many requests; log in, or wait",
                _ => "",
            };
            let text = said(&mut response);
            let text = if text.is_empty() { text } else { format!(" (it says: {text})") };
            return Err(format!("the registry answers HTTP {status}{advice}{text}").into());
        }
    }

    /// A manifest or an index, by tag or digest.
    pub(super) fn document(&self, reference: &str, accept: &str) -> Result<Document, Fault> {
        let mut response = self.get(&format!("manifests/{reference}"), accept)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let digest = header("docker-content-digest");
        Ok(Document { bytes: bounded(response.body_mut(), DOCUMENT_MAX, "what it sends")?, media_type, digest })
    }

    /// A blob, into `file`, as long as nobody says `stop`. What does not have that size and digest is an error.
    pub(super) fn blob(
        &self,
        digest: &Digest,
        size: u64,
        file: &mut File,
        step: &Step,
        stop: &AtomicBool,
    ) -> Result<(), Fault> {
        let response = self.get(&format!("blobs/{digest}"), "*/*")?;
        if let Some(length) = response.body().content_length().filter(|length| *length != size) {
            return Err(format!("the registry has {length} bytes of it, and its descriptor says {size}").into());
        }
        let mut reader = Hashed::new(response.into_body().into_reader().take(size.saturating_add(1)), Some(digest));
        let mut buffer = vec![0; 128 << 10];
        loop {
            let length = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Box::new(io::Error::new(
                        error.kind(),
                        format!("it broke off after {} of {size} bytes: {error}", reader.count),
                    )));
                }
            };
            if stop.load(Ordering::Relaxed) {
                return Err("another layer could not be fetched".into());
            }
            if reader.count > size {
                return Err(format!("the registry sends more than the {size} bytes that its descriptor says").into());
            }
            file.write_all(buffer.get(..length).unwrap_or_default())?;
            step.advance(length as u64);
        }
        if reader.count != size {
            return Err(format!("it broke off after {} of {size} bytes", reader.count).into());
        }
        match reader.difference() {
            None => Ok(()),
            Some((_, seen)) => Err(format!("what came has digest {seen}").into()),
        }
    }
}

/// All of a body that has at most `max` bytes.
fn bounded(body: &mut Body, max: u64, what: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    body.as_reader().take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(format!("{what} has more than {max} bytes").into());
    }
    Ok(bytes)
}

/// What an answer says for people: the message of the specification's error document, else nothing.
fn said(response: &mut Response<Body>) -> String {
    const ERROR_MAX: u64 = 16 << 10;
    let bytes = bounded(response.body_mut(), ERROR_MAX, "the error").unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = value.pointer("/errors/0/message").or_else(|| value.get("details")).and_then(|text| text.as_str());
    message.map(shown).unwrap_or_default()
}
