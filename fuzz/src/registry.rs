//! Answers of a registry that no digest covers: the header that asks for a password, and the token.

use oci::registry::authorization::{challenge, objection, token};

use super::numbered;

/// A token fits a header whatever came.
pub fn run(data: &[u8]) {
    if let Ok(token) = token(data) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (challenge(text.lines()), objection(text, false, true));
}

/// Headers and answers as registries send them.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    numbered([
        r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#,
        "Basic realm=\"x\"\nBearer realm=\"http://a/\\\"b\"",
        r#"{"token":"abc","access_token":"def","expires_in":300,"issued_at":"2026-01-01T00:00:00Z","refresh_token":"r"}"#,
        "https://a/t",
    ])
}
