//! How a registry wants to be asked, and the token that it hands out for that (the distribution project's token specification). Pure:
//! what goes over the wire is the matter of `connection`.

use http_auth::ChallengeParser;
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

/// What shows a registry who is asking.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password(Credentials),
    /// What a registry gave a user in the place of the password, for getting tokens with.
    IdentityToken(String),
}

/// What a registry answers to a request without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token with every request, to be had at `realm`.
    Bearer {
        /// Where.
        realm: String,
        /// What the registry calls itself there.
        service: Option<String>,
    },
}

/// The longest answer with a token, in bytes: many times what any registry sends.
pub(super) const TOKEN_MAX: u64 = 256 << 10;

/// What the values of `WWW-Authenticate` ask for; a token where both would do.
///
/// # Errors
/// What cannot be understood.
pub fn challenge<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Option<Challenge>, String> {
    let mut basic = None;
    for value in values {
        for challenge in ChallengeParser::new(value) {
            let challenge =
                challenge.map_err(|_| format!("it asks for `{}`, which is not understood", shown(value)))?;
            let parameter = |name: &str| {
                challenge
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm").ok_or("it asks for a token and does not say where to get one")?;
                return Ok(Some(Challenge::Bearer { realm, service: parameter("service") }));
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    Ok(basic)
}

/// Why `realm` is no place to ask for a token. A password that goes to the registry encrypted goes nowhere else in plain text.
pub fn objection(realm: &str, registry_is_plain: bool, with_password: bool) -> Option<String> {
    match realm.split_once("://") {
        Some(("https", _)) => None,
        Some(("http", _)) if registry_is_plain || !with_password => None,
        Some(("http", _)) => Some(format!("it wants the password in plain text at `{}`; none was sent", shown(realm))),
        _ => Some(format!("it names `{}` as the place to get a token", shown(realm))),
    }
}

/// The token in an answer.
///
/// # Errors
/// Why there is none that could be used.
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

/// Something that a server said, short and without what a terminal would act on.
pub(super) fn shown(text: &str) -> String {
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
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
        };
        for (values, expected) in [
            (vec![], None),
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#,
                ],
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (vec!["Basic realm=\"x\"", "BEARER Realm=\"https://a\""], bearer("https://a", None)),
            (vec!["Negotiate"], None),
        ] {
            assert_eq!(challenge(values.iter().copied()).unwrap(), expected, "{values:?}");
        }
        assert!(challenge(["Bearer service=\"x\""]).is_err());
        assert!(challenge(["=,\u{7}"]).unwrap_err().contains("\\u{7}"));
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
