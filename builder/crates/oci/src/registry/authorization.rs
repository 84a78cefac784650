//! The authentication that a registry demands, and the token that it issues (the distribution project's token specification).
//! Pure: `connection` does the network I/O.

use serde::Deserialize;

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password, or a token that serves as one.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, …)", self.username)
    }
}

/// The credentials that a registry is given.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password(Credentials),
    /// A token that a registry issued in place of the password; it is exchanged for access tokens.
    IdentityToken(String),
}

/// The authentication scheme that a registry demands in its answer to a request without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token with every request, to be had at `realm`.
    Bearer {
        /// The URL of the token server.
        realm: String,
        /// The registry's name at the token server.
        service: Option<String>,
        /// The access that the token has to allow, if the registry says it.
        scope: Option<String>,
    },
}

/// The longest answer with a token, in bytes: many times what any registry sends.
pub(super) const TOKEN_MAX: u64 = 256 << 10;

/// Returns the challenge in the values of `WWW-Authenticate`; a token's where both would do. Other schemes are passed by.
///
/// # Errors
/// The reason why a challenge cannot be understood, if there is no other to use.
pub fn challenge<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Option<Challenge>, String> {
    let mut basic = None;
    let mut odd = None;
    for value in values {
        let Some(challenges) = challenges(value) else {
            odd = Some(format!("it asks for `{}`, which is not supported", shown(value)));
            continue;
        };
        for (scheme, parameters) in challenges {
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                let Some(realm) = parameter("realm") else {
                    odd = Some("it asks for a token and does not say where to get one".to_owned());
                    continue;
                };
                return Ok(Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") }));
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    match (basic, odd) {
        (None, Some(odd)) => Err(odd),
        (basic, _) => Ok(basic),
    }
}

/// A scheme and its parameters.
type Parsed = (String, Vec<(String, String)>);

/// Reads challenges as RFC 9110 has them (11.6.1): a list of schemes, each with a token68 or parameters, which are separated by the same
/// commas. `None` for what is no such list.
fn challenges(text: &str) -> Option<Vec<Parsed>> {
    let mut all: Vec<Parsed> = Vec::new();
    let mut rest = text.trim_matches(BLANKS);
    while !rest.is_empty() {
        // Empty elements of a list count for nothing.
        if let Some(next) = rest.strip_prefix(',') {
            rest = next.trim_start_matches(BLANKS);
            continue;
        }
        let (name, next) = word(rest)?;
        let after = next.trim_start_matches(BLANKS);
        if let Some(value) = after.strip_prefix('=') {
            // A parameter of the scheme before it.
            let (value, next) = value_of(value.trim_start_matches(BLANKS))?;
            all.last_mut()?.1.push((name.to_owned(), value));
            rest = end_of_element(next)?;
            continue;
        }
        all.push((name.to_owned(), Vec::new()));
        rest = match after {
            "" => after,
            _ if after.starts_with(',') => after,
            // Something follows the scheme: its first parameter, or a token68.
            _ if next.len() == after.len() => return None,
            _ => match token68(after) {
                Some(next) => end_of_element(next)?,
                None => after,
            },
        };
    }
    Some(all)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Splits off a word (RFC 9110, 5.6.2); returns it with the rest.
fn word(text: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Returns the text behind a token68, where the element is one and no parameter.
fn token68(text: &str) -> Option<&str> {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let end = text.find(|c| !is_digit(c)).unwrap_or(text.len());
    let next = text.get(end..)?.trim_start_matches('=');
    let is_end = next.trim_start_matches(BLANKS).is_empty() || next.trim_start_matches(BLANKS).starts_with(',');
    (end > 0 && is_end).then_some(next)
}

/// Splits off a parameter's value, quoted or not; returns it with the rest.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Addresses come without quotes too, although they are no words then.
        let end = text.find(|c: char| c == ',' || c == '"' || c.is_whitespace()).unwrap_or(text.len());
        let (plain, next) = text.split_at_checked(end).filter(|(plain, _)| !plain.is_empty())?;
        return Some((plain.to_owned(), next));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Returns the text behind an element of a list.
fn end_of_element(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(BLANKS);
    (text.is_empty() || text.starts_with(',')).then_some(text)
}

/// Returns the reason why no token may be requested at `realm`, or `None`. A password is never sent in plain text if the registry itself
/// is reached over TLS.
pub fn objection(realm: &str, registry_is_plain: bool, with_password: bool) -> Option<String> {
    match realm.split_once("://") {
        Some(("https", _)) => None,
        Some(("http", _)) if registry_is_plain || !with_password => None,
        Some(("http", _)) => Some(format!("it wants the password in plain text at `{}`; none was sent", shown(realm))),
        _ => Some(format!("it names `{}` as the place to get a token", shown(realm))),
    }
}

/// Returns the token in an answer.
///
/// # Errors
/// The reason why it contains no usable token.
pub fn token(answer: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
    }
    let answer: Answer =
        serde_json::from_slice(answer).map_err(|error| format!("its token cannot be read: {error}"))?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    // It becomes part of a header.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it sent no token, or one that cannot stand in a header".to_owned());
    }
    Ok(token)
}

/// Returns something that a server said, short and without what a terminal would act on.
pub(crate) fn shown(text: &str) -> String {
    text.trim()
        .chars()
        .take(200)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: None })
        };
        for (values, expected) in [
            (vec![], None),
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#,
                ],
                Some(Challenge::Bearer {
                    realm: "https://auth.docker.io/token".into(),
                    service: Some("registry.docker.io".into()),
                    scope: Some("repository:a:pull".into()),
                }),
            ),
            (vec![r#"Negotiate, Basic realm="a,b", charset="UTF-8""#], Some(Challenge::Basic)),
            (vec![r#"Negotiate YIIabc+/==, BEARER realm = "https://a" , service=s"#], bearer("https://a", Some("s"))),
            (vec![r#", ,Bearer realm="https://a/\"q\\",,"#], bearer("https://a/\"q\\", None)),
            (vec![r#"Digest nonce="x, Bearer realm=y", Bearer realm="https://a""#], bearer("https://a", None)),
            (vec!["Bearer\trealm=a"], bearer("a", None)),
            (vec!["Bearer realm=https://a/t?x=y,service=s:1"], bearer("https://a/t?x=y", Some("s:1"))),
            (vec!["=,\u{7}", "Basic"], Some(Challenge::Basic)),
            (vec!["Bearer service=\"x\"", "Basic realm=x"], Some(Challenge::Basic)),
            (vec!["Bearer realm=\"\"", "Bearer realm=\"https://a\""], bearer("https://a", None)),
            (vec!["Basic realm=\"x\"", "BEARER Realm=\"https://a\""], bearer("https://a", None)),
            (vec!["Negotiate"], None),
        ] {
            assert_eq!(challenge(values.iter().copied()).unwrap(), expected, "{values:?}");
        }
        assert!(challenge(["Bearer service=\"x\""]).is_err());
        assert!(challenge(["=,\u{7}"]).unwrap_err().contains("\\u{7}"));
        for odd in
            ["Bearer realm=\"https://a", "Bearer realm=\"a\" x", "realm=\"a\"", "Bearer realm=", "Basic\"x\"", "\u{e9}"]
        {
            assert!(challenge([odd]).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_password_is_not_sent_in_plain_text_where_the_registry_is_encrypted() {
        for (realm, plain, password, refused) in [
            ("https://a/t", false, true, false),
            ("http://a/t", false, true, true),
            ("http://a/t", false, false, false),
            ("http://a/t", true, true, false),
            ("ftp://a/t", false, false, true),
            ("a/t", false, false, true),
        ] {
            assert_eq!(objection(realm, plain, password).is_some(), refused, "{realm}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_server_says_is_a_token_that_fits_a_header_or_an_error(
            answer in "\\PC*|\\{\"(token|access_token)\":\"?[ -~\\n\u{e9}]{0,20}\"?\\}",
            header in "(Bearer|Basic)? ?(realm=)?\"?\\PC*"
        ) {
            if let Ok(token) = token(answer.as_bytes()) {
                assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            let _ = challenge([header.as_str(), &header]);
        }
    }

    #[test]
    fn tokens() {
        for (answer, expected) in [
            (r#"{"token":"abc"}"#, Some("abc")),
            (r#"{"access_token":"abc","expires_in":300}"#, Some("abc")),
            (r#"{"token":"","access_token":"abc"}"#, Some("abc")),
            (r#"{"token":"a","access_token":"b"}"#, Some("a")),
            (r#"{"token":null}"#, None),
            (r#"{"token":"a\nX-Evil: 1"}"#, None),
            (r#"{"token":"a b"}"#, None),
            (r#"{"token":"é"}"#, None),
            (r#"{"token":1}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(token(answer.as_bytes()).ok().as_deref(), expected, "{answer}");
        }
    }
}
