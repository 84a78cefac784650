//! The mirrors of Debian's archive among the machine's package sources: parses sources.list(5). Pure.

/// A mirror of Debian's main archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its address, without a slash at the end.
    pub uri: String,
    /// The keyring file its entry names.
    pub signed_by: Option<String>,
}

/// Returns the mirrors of Debian's archive in a list of sources, in the one-line form or as deb822 stanzas.
pub fn mirrors_in(text: &str, is_deb822: bool) -> Vec<Mirror> {
    if is_deb822 { text.split("\n\n").flat_map(stanza).collect() } else { text.lines().filter_map(line).collect() }
}

fn line(line: &str) -> Option<Mirror> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb-src").or_else(|| line.strip_prefix("deb"))?;
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    is_debian(uri, &[suite], &words.collect::<Vec<_>>()).then(|| Mirror { uri: trim(uri), signed_by })
}

fn stanza(text: &str) -> Vec<Mirror> {
    // A continuation line begins with a space, a comment with `#`.
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
        }
    }
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str());
    let words = |name: &str| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (suites, components) = (words("suites"), words("components"));
    let suites: Vec<&str> = suites.iter().map(String::as_str).collect();
    let components: Vec<&str> = components.iter().map(String::as_str).collect();
    if field("enabled").eq_ignore_ascii_case("no") {
        return Vec::new();
    }
    // An embedded key (more than one word) cannot be named on one line; Debian's own keyring is tried in its place.
    let signed_by =
        Some(field("signed-by")).filter(|path| path.starts_with('/') && !path.contains(' ')).map(str::to_owned);
    let uris = words("uris").into_iter().filter(|uri| is_debian(uri, &suites, &components));
    uris.map(|uri| Mirror { uri: trim(&uri), signed_by: signed_by.clone() }).collect()
}

/// Returns true for Debian's archive by the names it uses: an address that ends in `debian`, its component `main`, a release of its own.
/// Others who publish for Debian may look the same; apt then finds that Debian did not sign it.
fn is_debian(uri: &str, suites: &[&str], components: &[&str]) -> bool {
    const SUITES: [&str; 12] = [
        "stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "bullseye", "bookworm", "trixie", "forky",
        "duke", "buster",
    ];
    let is_release = |suite: &&str| SUITES.contains(&suite.trim_end_matches("-updates").trim_end_matches("-backports"));
    trim(uri).ends_with("/debian") && components.contains(&"main") && suites.iter().any(is_release)
}

fn trim(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_mirrors_are_found_and_no_others() {
        let line = |text| mirrors_in(text, false);
        let mirror = |uri: &str, signed_by: Option<&str>| Mirror {
            uri: uri.to_owned(),
            signed_by: signed_by.map(str::to_owned),
        };
        assert_eq!(
            line("deb http://mirror.example/debian/ bookworm main contrib # ours"),
            [mirror("http://mirror.example/debian", None)]
        );
        assert_eq!(
            line("deb-src [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie-updates main"),
            [mirror("http://mirror.example/debian", Some("/k.gpg"))]
        );
        for other in [
            "# deb http://mirror.example/debian bookworm main",
            "deb http://mirror.example/debian-security bookworm-security main",
            "deb http://vendor.example/linux/debian bookworm stable",
            "deb http://mirror.example/ubuntu noble main",
            "deb http://mirror.example/debian",
            "deb [signed-by=/k.gpg http://mirror.example/debian bookworm main",
        ] {
            assert_eq!(line(other), [], "{other}");
        }
        let stanzas = "Types: deb\n# where it was taken from\nURIs: http://a.example/debian/\n http://b.example/debian\n\
                       Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
                       Types: deb\nURIs: http://a.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
                       Enabled: no\nURIs: http://c.example/debian\nSuites: bookworm\nComponents: main\n";
        assert_eq!(
            mirrors_in(stanzas, true),
            [mirror("http://a.example/debian", Some("/k.gpg")), mirror("http://b.example/debian", Some("/k.gpg"))]
        );
    }
}
