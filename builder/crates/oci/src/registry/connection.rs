//! Asking a registry (distribution specification, "Pull"): manifests into memory, up to a bound, blobs into files, up to the size that is
//! known of them. Nothing that a server says is believed before its digest fits, and what it says too much is cut off. What passes is
//! tried again, and a blob goes on where it stopped.
//!
//! Through `ureq` and not through `oci-client`, which reads manifests, tokens and the texts of errors to whatever end a server sends,
//! panics at a token that cannot stand in a header, and adds 170 s of processor time to the command's build where this adds 60.

use std::{
    io::{self, Read},
    sync::{Mutex, OnceLock, PoisonError, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use base::progress::{Progress, Step};
use base64::{Engine, engine::general_purpose::STANDARD};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, Uri},
};

use super::{
    authorization::{self, Challenge, Credentials, Login, TOKEN_MAX, shown},
    mirrors::Location,
    name::Name,
    partial::Partial,
    patience::{Failure, Fault, Patience, retry_after},
};
use crate::blob::{DOCUMENT_MAX, Digest};

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
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("initramfs-overlay/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(connect.min(limit)))
            .timeout_recv_response(Some(limit))
            .timeout_per_read(Some(limit))
            .max_redirects(0)
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build());
        if name.is_local() {
            config = config.proxy(None);
        }
        let mut connection = Self {
            agent: config.build().new_agent(),
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
                    "it wants a name and a password, and what is kept for it is an identity token; give --username and \
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
            (status, _) if is_passing(status) => return Err(self.passing(&mut answer, "gave no token")),
            (401 | 403, Some(Login::Password(_))) => {
                return Err(Failure::from("it does not take that name and password"));
            }
            (400 | 401 | 403, Some(Login::IdentityToken(_))) => {
                return Err(Failure::from("it does not take the identity token that is kept for it; log in again"));
            }
            (status, Some(Login::IdentityToken(_))) => {
                let said = said(&mut answer);
                return Err(Failure::from(format!(
                    "it gave no token for the identity token that is kept for it (HTTP {status}): {said}"
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
            let odd = || Failure::from(format!("it sends on to `{}`, which is no address", shown(&to)));
            at = joined(&at, &to).ok_or_else(odd)?;
        }
        Err(Failure::from(format!("it sends on more than {REDIRECTS_MAX} times")))
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
                return Err(self.passing(&mut response, "answers"));
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
                (401 | 403, _) if !is_own => ": the place that the registry sends on to does not give it",
                (401 | 403, Some(Some(Login::Password(_)))) => {
                    ": the name or password is not taken, or may not read this image"
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

    /// Returns the failure for an answer that another try may not get.
    fn passing(&self, response: &mut Response<Body>, does: &str) -> Failure {
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| retry_after(value, SystemTime::now()));
        let advice = if status == 429 { ": too many requests; log in, or wait" } else { "" };
        let text = said(response);
        let text = if text.is_empty() { text } else { format!(" (it says: {text})") };
        Failure::Passing(format!("the registry {does} (HTTP {status}){advice}{text}").into(), after)
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
                return Err(Failure::Passing(format!("it broke off after {} bytes", bytes.len()).into(), None));
            }
            Ok(Document { bytes, media_type, digest })
        })
    }

    /// Fetches a blob into `partial`, as long as nobody says `stop`. What does not have that size and digest is an error.
    pub(super) fn blob(
        &self,
        digest: &Digest,
        size: u64,
        partial: &mut Partial,
        step: &Step,
        stop: &AtomicBool,
    ) -> Result<(), Fault> {
        let mut patience = Patience::new(self.limit, stop);
        // Some servers know no ranges, and one may have given another blob's.
        let mut ranges = true;
        let mut is_second = false;
        step.advance(partial.length());
        loop {
            if partial.length() == size {
                let Some(seen) = partial.difference() else { return Ok(()) };
                if partial.is_whole() || is_second {
                    return Err(format!("what came has digest {seen}").into());
                }
                // The pieces do not fit: once more, in one.
                self.progress.say(format!("{digest}: its pieces have digest {seen}; it is fetched anew"));
                partial.clear()?;
                (ranges, is_second) = (false, true);
            }
            match self.piece(digest, size, partial, &mut ranges, &mut patience, step) {
                Ok(()) => {}
                Err(Failure::Final(fault)) => return Err(fault),
                Err(Failure::Passing(fault, after)) => patience.wait(fault, after)?,
            }
        }
    }

    /// Asks for what is missing, and takes what comes.
    fn piece(
        &self,
        digest: &Digest,
        size: u64,
        partial: &mut Partial,
        ranges: &mut bool,
        patience: &mut Patience<'_>,
        step: &Step,
    ) -> Result<(), Failure> {
        let have = partial.length();
        let range = format!("bytes={have}-");
        let mut headers = vec![("accept", "*/*")];
        if have > 0 && *ranges {
            headers.push(("range", &range));
        }
        let response = self.get(&format!("blobs/{digest}"), &headers)?;
        let status = response.status();
        let length = response.body().content_length();
        let mut skip = 0;
        match status.as_u16() {
            206 => {
                let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
                let range = range.unwrap_or_default();
                if content_range(range)
                    .is_none_or(|(start, total)| start != have || total.is_some_and(|total| total != size))
                {
                    return Err(Failure::from(format!(
                        "the registry was asked for its bytes from {have} on and sends `{}`",
                        shown(range)
                    )));
                }
            }
            416 => {
                *ranges = false;
                partial.clear()?;
                return Err(Failure::Passing("the registry does not know that part of it".into(), None));
            }
            _ => {
                if let Some(length) = length.filter(|length| *length != size) {
                    return Err(Failure::from(format!(
                        "the registry has {length} bytes of it, and its descriptor says {size}"
                    )));
                }
                skip = have;
                if skip > 0 {
                    self.progress.say(format!(
                        "{digest}: the registry sends all of it; the {skip} bytes that are there are compared and skipped"
                    ));
                }
            }
        }
        if skip == 0 {
            partial.resume();
        }
        let mut at = have - skip;
        let mut reader = response.into_body().into_reader().take((size - at).saturating_add(1));
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text = format!("it broke off after {} of {size} bytes: {error}", partial.length());
                    return Err(Failure::Passing(Box::new(io::Error::new(error.kind(), text)), None));
                }
            };
            if patience.is_over() {
                return Err(Failure::from("another layer could not be fetched"));
            }
            let mut bytes = buffer.get(..read).unwrap_or_default();
            if at < have {
                let (known, new) = bytes.split_at(bytes.len().min((have - at) as usize));
                if !partial.has(at, known)? {
                    partial.clear()?;
                    return Err(Failure::Passing("what was there of it is not what the registry has".into(), None));
                }
                at += known.len() as u64;
                patience.prolong();
                bytes = new;
            }
            if bytes.is_empty() {
                continue;
            }
            at += bytes.len() as u64;
            if at > size {
                return Err(Failure::from(format!(
                    "the registry sends more than the {size} bytes that its descriptor says"
                )));
            }
            partial.add(bytes)?;
            patience.renew();
            step.advance(bytes.len() as u64);
        }
        match partial.length() == size {
            true => Ok(()),
            false => {
                Err(Failure::Passing(format!("it broke off after {} of {size} bytes", partial.length()).into(), None))
            }
        }
    }
}

/// Returns true for the status of an answer that another try may not get: too early, too much, and every failure of the server or of what
/// stands before it (Cloudflare has 520 to 530) but those that say that it never will.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599) && !matches!(status, 501 | 505 | 511)
}

/// Sorts the library's errors into those that may pass and those that stay.
fn passing(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
            Failure::Passing(Box::new(error), None)
        }
        other => Failure::Final(Box::new(other)),
    }
}

/// Returns the challenge in this answer.
fn challenge_of(response: &Response<Body>) -> Result<Option<Challenge>, String> {
    let values = response.headers().get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
    authorization::challenge(values)
}

/// Returns the scheme, host and port of an address.
fn origin(address: &Uri) -> (Option<String>, Option<String>, u16) {
    let lower = |text: &str| text.to_ascii_lowercase();
    let scheme = address.scheme_str().map(lower);
    let port = address.port_u16().unwrap_or(if scheme.as_deref() == Some("https") { 443 } else { 80 });
    (scheme, address.host().map(lower), port)
}

/// Returns a location whose writer left bytes as they are that no address has: `%` and two digits stand for each.
fn encoded(location: &[u8]) -> String {
    let mut text = String::new();
    for byte in location.trim_ascii() {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(byte) => text.push(char::from(*byte)),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// Returns the address that `location` means, said at `at`.
fn joined(at: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().filter(|location| !location.is_empty())?;
    let (scheme, authority) = (at.scheme_str()?, at.authority()?);
    let whole = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = at.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let uri: Uri = whole.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()).then_some(uri)
}

/// Reads `Content-Range` (RFC 9110, 14.4): the first byte of the piece, and the length of the whole where that is said.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (unit, rest) = value.trim().split_once(' ')?;
    let (range, total) = rest.trim_start().split_once('/').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.trim().parse().ok()?, total))
}

/// Reads all of a body that has at most `max` bytes.
fn bounded(body: &mut Body, max: u64, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = body.as_reader().take(max + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Passing(Box::new(error), None))?;
    if bytes.len() as u64 > max {
        return Err(Failure::from(format!("{what} has more than {max} bytes")));
    }
    Ok(bytes)
}

/// Returns the message of an error response: that of the specification's error document, else that in `details`, else nothing.
fn said(response: &mut Response<Body>) -> String {
    const ERROR_MAX: u64 = 16 << 10;
    let bytes = bounded(response.body_mut(), ERROR_MAX, "the error").unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = value.pointer("/errors/0/message").or_else(|| value.get("details")).and_then(|text| text.as_str());
    message.map(shown).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_sent_on_to() {
        let at: Uri = "https://r.test:5000/v2/a/blobs/x?y=1".parse().unwrap();
        for (location, whole) in [
            ("http://cdn.test/b?sig=%2F", Some("http://cdn.test/b?sig=%2F")),
            ("//cdn.test/b#part", Some("https://cdn.test/b")),
            ("/b?x", Some("https://r.test:5000/b?x")),
            ("b", Some("https://r.test:5000/v2/a/blobs/b")),
            ("ftp://a/b", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(joined(&at, location).map(|uri| uri.to_string()).as_deref(), whole, "{location}");
        }
        for (location, whole) in [
            (&b" https://cdn.test/a b?f=\"x\"&g=%20 "[..], "https://cdn.test/a%20b?f=%22x%22&g=%20"),
            (b"https://cdn.test/\xc3\xa4|", "https://cdn.test/%C3%A4%7C"),
        ] {
            assert_eq!(joined(&at, &encoded(location)).unwrap().to_string(), whole);
        }
        let same = |one: &str, other: &str| origin(&one.parse().unwrap()) == origin(&other.parse().unwrap());
        assert!(same("https://a.test/x", "https://A.test:443/y") && same("http://a/x", "http://a:80/"));
        for other in ["http://a.test/x", "https://a.test:444/x", "https://b.test/x", "https://a.test.b/x"] {
            assert!(!same("https://a.test/x", other), "{other}");
        }
    }

    #[test]
    fn failures_of_servers_pass() {
        for (status, passes) in
            [(429, true), (500, true), (507, true), (520, true), (529, true), (501, false), (404, false), (401, false)]
        {
            assert_eq!(is_passing(status), passes, "{status}");
        }
    }

    #[test]
    fn pieces_say_where_they_begin() {
        for (value, range) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-9/*", Some((0, None))),
            ("Bytes 5-9/10", Some((5, Some(10)))),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9/x", None),
            ("", None),
        ] {
            assert_eq!(content_range(value), range, "{value}");
        }
    }
}
