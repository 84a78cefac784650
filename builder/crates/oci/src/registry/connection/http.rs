//! HTTP as servers speak it: statuses, addresses, ranges and bodies.

use std::io::Read;

use ureq::{
    Body,
    http::{Response, Uri},
};

use crate::registry::{
    authorization::{self, Challenge, shown},
    patience::Failure,
};

/// Returns true for the status of an answer that another try may not get: too early, too much, and every failure of the server or of what
/// stands before it (Cloudflare has 520 to 530) but those that say that it never will.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599) && !matches!(status, 501 | 505 | 511)
}

/// Sorts the library's errors into those that may pass and those that stay.
pub(super) fn passing(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
            Failure::Passing(Box::new(error), None)
        }
        other => Failure::Final(Box::new(other)),
    }
}

/// Returns the challenge in this answer.
pub(super) fn challenge_of(response: &Response<Body>) -> Result<Option<Challenge>, String> {
    let values = response.headers().get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
    authorization::challenge(values)
}

/// Returns the scheme, host and port of an address.
pub(super) fn origin(address: &Uri) -> (Option<String>, Option<String>, u16) {
    let lower = |text: &str| text.to_ascii_lowercase();
    let scheme = address.scheme_str().map(lower);
    let port = address.port_u16().unwrap_or(if scheme.as_deref() == Some("https") { 443 } else { 80 });
    (scheme, address.host().map(lower), port)
}

/// Returns a location whose writer left bytes as they are that no address has: `%` and two digits stand for each.
pub(super) fn encoded(location: &[u8]) -> String {
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
pub(super) fn joined(at: &Uri, location: &str) -> Option<Uri> {
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
pub(super) fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (unit, rest) = value.trim().split_once(' ')?;
    let (range, total) = rest.trim_start().split_once('/').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.trim().parse().ok()?, total))
}

/// Reads all of a body that has at most `max` bytes.
pub(super) fn bounded(body: &mut Body, max: u64, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = body.as_reader().take(max + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Passing(Box::new(error), None))?;
    if bytes.len() as u64 > max {
        return Err(Failure::from(format!("{what} has more than {max} bytes")));
    }
    Ok(bytes)
}

/// Returns the message of an error response: that of the specification's error document, else that in `details`, else nothing.
pub(super) fn said(response: &mut Response<Body>) -> String {
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
