//! Asking a registry (distribution specification, "Pull"): manifests into memory, up to a bound, blobs into files, up to the size that is
//! known of them. Nothing that a server says is believed before its digest fits, and what it says too much is cut off. What passes is
//! tried again, and a blob goes on where it stopped.
//!
//! Through `ureq` and not through `oci-client`, which reads manifests, tokens and the texts of errors to whatever end a server sends,
//! panics at a token that cannot stand in a header, and adds 170 s of processor time to the command's build where this adds 60.

mod http;
pub(super) mod pieces;

use std::{
    io::{self},
    sync::{Mutex, OnceLock, PoisonError, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use base::progress::Progress;
use base64::{Engine, engine::general_purpose::STANDARD};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, Uri},
};

use self::http::{bounded, challenge_of, encoded, is_passing, joined, origin, passing, said};
use super::{
    authorization::{self, Challenge, Credentials, Login, TOKEN_MAX, shown},
    mirrors::Location,
    name::Name,
    patience::{Failure, Fault, Patience, retry_after},
};
use crate::blob::DOCUMENT_MAX;

/// A callback that looks up the credentials once the registry demands them.
pub(super) type Ask = Box<dyn Fn() -> crate::Result<Option<Login>> + Send + Sync>;

/// A manifest as it came.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    /// The media type in `Content-Type`, in lower case and without parameters.
    pub(super) media_type: String,
    /// The digest in `Docker-Content-Digest`, not verified.
    pub(super) digest: Option<String>,
}

/// A registry that was reached.
pub(super) struct Connection {
    agent: Agent,
    scheme: &'static str,
    name: Name,
    ask: Ask,
    login: OnceLock<Option<Login>>,
    authorization: Mutex<Authorization>,
    /// The time in which nothing may come.
    limit: Duration,
    progress: Progress,
}

/// The form in which the registry wants to be asked.
#[derive(Default)]
struct Authorization {
    challenge: Option<Challenge>,
    /// The value of the header, as long as it is good.
    header: Option<String>,
}

/// A machine that does not answer for so long is not there.
const CONNECT: Duration = Duration::from_secs(20);
/// Nor does one of this machine's that is asked for encryption and has none.
const CONNECT_LOCAL: Duration = Duration::from_secs(3);
/// More redirects are a circle.
const REDIRECTS_MAX: u32 = 10;

/// An answer, and whether the registry itself gave it.
struct Answer {
    response: Response<Body>,
    is_own: bool,
}

/// Returns a client that waits so long for a connection, and `limit` for anything else.
fn agent(connect: Duration, limit: Duration, is_local: bool) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("initramfs-overlay/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(limit))
        .timeout_per_read(Some(limit))
        .max_redirects(0)
        // No more than an answer's head may have (`max_response_header_size`): what is left behind an interim answer counts as one.
        .input_buffer_size(64 << 10)
        .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build());
    if is_local {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

impl Connection {
    /// Asks the registry how it wants to be asked. Credentials are only looked for where it wants some.
    pub(super) fn open(
        location: &Location,
        is_plain: bool,
        limit: Duration,
        ask: Ask,
        progress: Progress,
        stop: &AtomicBool,
    ) -> Result<Self, Fault> {
        let name = &location.name;
        let may_be_plain = name.is_local() || location.insecure;
        let connect = if may_be_plain { CONNECT_LOCAL } else { CONNECT };
        let mut connection = Self {
            agent: agent(connect.min(limit), limit, name.is_local()),
            scheme: if is_plain { "http" } else { "https" },
            name: name.clone(),
            ask,
            login: OnceLock::new(),
            authorization: Mutex::default(),
            limit,
            progress,
        };
        let first = if !is_plain && may_be_plain { Some(connection.ping()) } else { None };
        let answer = match first {
            Some(Ok(answer)) => answer,
            // One that speaks TLS and cannot show who it is is not asked in plain text.
            Some(Err(Failure::Final(fault) | Failure::Passing(fault, _))) => {
                if format!("{fault:?}").contains("ertificate") {
                    return Err(fault);
                }
                connection.scheme = "http";
                let answer = connection.patiently(stop, Self::ping)?;
                // A server of TLS answers so to plain text.
                if answer.status() == StatusCode::BAD_REQUEST {
                    return Err(fault);
                }
                answer
            }
            None => connection.patiently(stop, Self::ping)?,
        };
        if let Some(challenge) = challenge_of(&answer)? {
            connection.authorization.get_mut().unwrap_or_else(PoisonError::into_inner).challenge = Some(challenge);
            connection.patiently(stop, |connection| connection.renew(None))?;
        }
        Ok(connection)
    }

    /// Returns a connection to no registry, for addresses of blobs. Nothing that shows who is asking is ever sent on it.
    pub(super) fn outside(name: &Name, is_local: bool, limit: Duration, progress: Progress) -> Self {
        Self {
            agent: agent(CONNECT.min(limit), limit, is_local),
            scheme: "https",
            name: name.clone(),
            ask: Box::new(|| Ok(None)),
            login: OnceLock::new(),
            authorization: Mutex::default(),
            limit,
            progress,
        }
    }

    /// Asks for nothing. A machine that is not there at all is not waited for.
    fn ping(&self) -> Result<Response<Body>, Failure> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let answer = self.agent.get(format!("{}://{}/v2/", self.scheme, self.name.host())).call();
        answer.map_err(|error| match &error {
            ureq::Error::Io(source)
                if matches!(source.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) =>
            {
                passing(error)
            }
            _ => Failure::Final(Box::new(error)),
        })
    }

    fn is_plain(&self) -> bool {
        self.scheme == "http"
    }

    /// Tries until it works, or as long as something may be tried.
    fn patiently<T>(
        &self,
        stop: &AtomicBool,
        mut attempt: impl FnMut(&Self) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        let mut patience = Patience::new(self.limit, stop);
        loop {
            match attempt(self) {
                Ok(done) => return Ok(done),
                Err(Failure::Final(fault)) => return Err(fault),
                Err(Failure::Passing(fault, after)) => patience.wait(fault, after)?,
            }
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Authorization> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to the header that is sent from now on, in the place of `used`. Where another thread has done that meanwhile, there is
    /// nothing to do.
    fn renew(&self, used: Option<&str>) -> Result<(), Failure> {
        let mut authorization = self.authorization();
        if authorization.header.as_deref() == used {
            authorization.header = self.authorize(authorization.challenge.as_ref())?;
        }
        Ok(())
    }

    fn login(&self) -> Result<Option<&Login>, Failure> {
        if self.login.get().is_none() {
            let found = (self.ask)().map_err(|error| Failure::Final(Box::new(error)))?;
            let _ = self.login.set(found);
        }
        Ok(self.login.get().and_then(Option::as_ref))
    }

    /// Returns the header that the registry wants.
    fn authorize(&self, challenge: Option<&Challenge>) -> Result<Option<String>, Failure> {
        let Some(challenge) = challenge else { return Ok(None) };
        let login = self.login()?;
        let basic = match login {
            Some(Login::Password(Credentials { username, password })) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            _ => None,
        };
        let (realm, service, scope) = match challenge {
            Challenge::Basic if matches!(login, Some(Login::IdentityToken(_))) => {
                return Err(Failure::from(
                    "it wants a name and a password, but the stored credential is an identity token; give --username and \
                     --password-stdin",
                ));
            }
            Challenge::Basic => return Ok(basic),
            Challenge::Bearer { realm, service, scope } => (realm.as_str(), service.as_deref(), scope),
        };
        if let Some(reason) = authorization::objection(realm, self.is_plain(), login.is_some()) {
            return Err(Failure::from(reason));
        }
        let scope = scope.clone().unwrap_or_else(|| format!("repository:{}:pull", self.name.repository));
        let answer = if let Some(Login::IdentityToken(token)) = login {
            // The distribution project's "OAuth2 Token Authentication". What is sent is the secret itself, so no redirect is followed.
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or(self.name.host())),
                ("client_id", "initramfs-overlay"),
                ("scope", &scope),
                ("refresh_token", token),
            ];
            self.agent.post(realm).send_form(form).map_err(passing)?
        } else {
            let mut query = vec![("scope", scope.as_str())];
            query.extend(service.map(|service| ("service", service)));
            self.follow(realm, &query, &[], basic.as_deref())?.response
        };
        let mut answer = answer;
        match (answer.status().as_u16(), login) {
            (200, _) => {}
            (status, _) if is_passing(status) => return Err(self.passing(&mut answer, "the registry gave no token")),
            (401 | 403, Some(Login::Password(_))) => {
                return Err(Failure::from("it refuses that name and password"));
            }
            (400 | 401 | 403, Some(Login::IdentityToken(_))) => {
                return Err(Failure::from("it refuses the stored identity token; log in again"));
            }
            (status, Some(Login::IdentityToken(_))) => {
                let said = said(&mut answer);
                return Err(Failure::from(format!(
                    "it gave no token for the stored identity token (HTTP {status}): {said}"
                )));
            }
            (status, _) => {
                return Err(Failure::from(format!("it gave no token (HTTP {status}): {}", said(&mut answer))));
            }
        }
        let token = authorization::token(&bounded(answer.body_mut(), TOKEN_MAX, "its token")?)?;
        Ok(Some(format!("Bearer {token}")))
    }

    /// Asks for `address`, through redirects. What shows who is asking goes to the place that was asked first and to no other.
    fn follow(
        &self,
        address: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        authorization: Option<&str>,
    ) -> Result<Answer, Failure> {
        let first = address.parse::<Uri>().map_err(|error| Failure::Final(Box::new(error)))?;
        let mut at = first.clone();
        for redirects in 0..=REDIRECTS_MAX {
            let is_own = origin(&at) == origin(&first);
            // A digest is of the bytes as they are, and whoever does not say so may get others (RFC 9110, 12.5.3).
            let mut request = self.agent.get(at.clone()).header("accept-encoding", "identity");
            if redirects == 0 {
                request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
            }
            for (key, value) in headers {
                request = request.header(*key, *value);
            }
            if let Some(value) = authorization.filter(|_| is_own) {
                request = request.header("authorization", value);
            }
            let response = request.call().map_err(passing)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer { response, is_own });
            }
            let to = response.headers().get("location").map(|value| encoded(value.as_bytes())).unwrap_or_default();
            let odd = || Failure::from(format!("it redirects to `{}`, which is not an address", shown(&to)));
            at = joined(&at, &to).ok_or_else(odd)?;
        }
        Err(Failure::from(format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// Asks for `path` below the image's name once. A token that is wanted or has run out is seen to, once.
    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        let address = format!("{}://{}/v2/{}/{path}", self.scheme, self.name.host(), self.name.repository);
        let mut renewed = false;
        loop {
            let header = self.authorization().header.clone();
            let Answer { mut response, is_own } = self.follow(&address, &[], headers, header.as_deref())?;
            let status = response.status().as_u16();
            if matches!(status, 200 | 206 | 416) {
                return Ok(response);
            }
            if is_passing(status) {
                return Err(self.passing(&mut response, "the registry answers"));
            }
            if status == 401 && is_own && !renewed {
                renewed = true;
                let told = challenge_of(&response)?;
                let can_renew = {
                    let mut authorization = self.authorization();
                    if told.is_some() {
                        authorization.challenge = told;
                    }
                    let is_token = matches!(authorization.challenge, Some(Challenge::Bearer { .. }));
                    is_token || authorization.challenge.is_some() && header.is_none()
                };
                if can_renew {
                    self.renew(header.as_deref())?;
                    continue;
                }
            }
            let advice = match (status, self.login.get()) {
                (401 | 403, _) if !is_own => ": the server that the registry redirects to refuses it",
                (401 | 403, Some(Some(Login::Password(_)))) => {
                    ": the name or password is not accepted, or may not read this image"
                }
                (401 | 403, Some(Some(Login::IdentityToken(_)))) => {
                    ": the account of this identity token may not read this image"
                }
                (401 | 403, _) => {
                    ": it wants a name and a password (--username and --password-stdin, or `docker login` or `podman login`), or there is no such image"
                }
                (404, _) => ": there is no such image or tag",
                _ => "",
            };
            let text = said(&mut response);
            let text = if text.is_empty() { text } else { format!(" (it says: {text})") };
            return Err(Failure::from(format!("the registry answers HTTP {status}{advice}{text}")));
        }
    }

    /// Asks for `address` once.
    fn get_address(&self, address: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        let Answer { mut response, .. } = self.follow(address, &[], headers, None)?;
        match response.status().as_u16() {
            200 | 206 | 416 => Ok(response),
            status if is_passing(status) => Err(self.passing(&mut response, "it answers")),
            status => Err(Failure::from(format!("it answers HTTP {status}"))),
        }
    }

    /// Returns the failure for an answer that another try may not get.
    fn passing(&self, response: &mut Response<Body>, does: &str) -> Failure {
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| retry_after(value, SystemTime::now()));
        let advice = if status == 429 { ": too many requests; log in, or wait" } else { "" };
        let text = said(response);
        let text = if text.is_empty() { text } else { format!(" (it says: {text})") };
        Failure::Passing(format!("{does} (HTTP {status}){advice}{text}").into(), after)
    }

    /// Fetches a manifest or an index, by tag or digest.
    pub(super) fn document(&self, reference: &str, accept: &str, stop: &AtomicBool) -> Result<Document, Fault> {
        self.patiently(stop, |connection| {
            let mut response = connection.get(&format!("manifests/{reference}"), &[("accept", accept)])?;
            if response.status() != StatusCode::OK {
                return Err(Failure::from(format!("the registry answers HTTP {}", response.status().as_u16())));
            }
            let header =
                |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let media_type = header("content-type").unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let digest = header("docker-content-digest");
            let length = response.body().content_length();
            let bytes = bounded(response.body_mut(), DOCUMENT_MAX, "what it sends")?;
            if length.is_some_and(|length| length != bytes.len() as u64) {
                return Err(Failure::Passing(
                    format!("the connection broke off after {} bytes", bytes.len()).into(),
                    None,
                ));
            }
            Ok(Document { bytes, media_type, digest })
        })
    }
}
