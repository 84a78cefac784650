//! The name of an image in a registry: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, by the grammar that Docker defined and the distribution
//! specification adopted. Pure. The parts of a parsed name need no escaping in a URL.

use std::fmt::{self, Display, Formatter};

use crate::blob::Digest;

/// The name of an image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The registry, with its port where it has one.
    pub registry: String,
    /// The image's name there.
    pub repository: String,
    /// The tag; `latest` where neither it nor a digest is given.
    pub tag: Option<String>,
    /// The manifest's digest; it counts where there is a tag as well.
    pub digest: Option<Digest>,
}

/// The registry of names that do not give one.
const DOCKER_HUB: &str = "docker.io";
/// The longest name, in bytes, and the longest tag.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// The reason why it is not a valid name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .ok_or("what follows the `@` is not a digest (sha256: and 64 hexadecimal digits)")?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest.get(path..).and_then(|last| last.split_once(':')) {
            Some((_, tag)) => (rest.get(..rest.len() - tag.len() - 1).unwrap_or_default(), Some(tag)),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("its tag is invalid (up to 128 letters, digits, `_`, `.` and `-`)");
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
            Some(_) => (DOCKER_HUB, path.to_owned()),
            None => (DOCKER_HUB, format!("library/{path}")),
        };
        if !is_host(registry) {
            return Err("its registry is invalid (HOST or HOST:PORT)");
        }
        if repository.len() > NAME_MAX || !repository.split('/').all(is_component) {
            return Err("it is not an image's name (lower-case letters and digits, with `.`, `_` or `-` between them)");
        }
        // Docker's own other names for it.
        let hub = matches!(registry, "index.docker.io" | "registry-1.docker.io");
        let registry = if hub { DOCKER_HUB } else { registry }.to_owned();
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_owned);
        Ok(Self { registry, repository, tag, digest })
    }

    /// Returns the machine that answers, with its port where it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }

    /// Returns the key under which `docker login` keeps a password.
    #[must_use]
    pub fn login(&self) -> &str {
        if self.registry == DOCKER_HUB { "https://index.docker.io/v1/" } else { &self.registry }
    }

    /// Returns true if the registry is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.registry)
    }
}

/// Returns true for a host of this machine, with a port or without: `localhost`, a name below it or a loopback address.
pub(super) fn is_local(host: &str) -> bool {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_host(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_name =
        v6.map_or_else(|| host.split('.').all(is_label), |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    is_name && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn is_component(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(letter)
        && text.ends_with(letter)
        && text
            .split(letter)
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_whole() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, whole, local) in [
            ("alpine", "docker.io/library/alpine:latest", false),
            ("alpine:3.22", "docker.io/library/alpine:3.22", false),
            ("user/name", "docker.io/user/name:latest", false),
            ("docker.io/library/alpine", "docker.io/library/alpine:latest", false),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", false),
            ("ghcr.io/a/b__c/d--e:V1.0-x", "ghcr.io/a/b__c/d--e:V1.0-x", false),
            ("localhost/x", "localhost/x:latest", true),
            ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1", true),
            ("[::1]:5000/x", "[::1]:5000/x:latest", true),
            ("10.0.0.1:5000/x", "10.0.0.1:5000/x:latest", false),
            (&format!("x.y/a@{digest}"), &format!("x.y/a@{digest}"), false),
            (&format!("x.y/a:t@{digest}"), &format!("x.y/a:t@{digest}"), false),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!((name.to_string().as_str(), name.is_local()), (whole, local));
            assert_eq!(Name::parse(whole).unwrap(), name);
        }
        let hub = Name::parse("alpine").unwrap();
        assert_eq!((hub.host(), hub.login()), ("registry-1.docker.io", "https://index.docker.io/v1/"));
    }

    #[test]
    fn what_is_none() {
        for text in [
            "", ":", "a:", "/a", "a/", "a//b", "./a", "../a", "a/../b", "a.io/../b", "A", "a.io/B", "a b", "a.io/a?b",
            "a.io/a#b", "a.io:x/a", "a.io:70000/a", "a..io/b", "-a.io/b", "u@a.io/b", "a.io/b@sha256:12", "a.io/b:%41",
            "a._b", "a___b", "a-", "http://a.io/b", "a:b:c", "[::g]/a", "a\n", "a.io/b:\u{e9}",
        ] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
        assert!(Name::parse(&"a".repeat(300)).is_err() && Name::parse(&format!("a:{}", "t".repeat(129))).is_err());
    }
}
