//! Checks of what is baked in: command lines, the password of the menu, the address of help.

use std::path::Path;

use base::{IoContext, bounded, progress::Progress};
use contract::card;
use initramfs_overlay_init::config::{Abilities, Config};

use crate::{Error, Result, variant::Variant};

/// Parses a baked-in command line as init will, and prints the warnings that init would print at each boot.
///
/// # Errors
/// [`Error::Usage`] where init would refuse it, or it is not one line.
pub(super) fn check_cmdline(
    option: &str,
    cmdline: Option<&str>,
    variants: &[Variant],
    progress: &Progress,
) -> Result<()> {
    let Some(cmdline) = cmdline else { return Ok(()) };
    if cmdline.contains(['\0', '\n']) {
        return Err(Error::Usage(format!("{option}: expected one line of parameters separated by spaces")));
    }
    let mut said = Vec::new();
    for variant in variants {
        let (config, result) =
            Config::parse([cmdline, "", ""], Abilities { shell: variant.has_shell(), trust: false }, false);
        result.map_err(|error| Error::Usage(format!("{option}: {error}")))?;
        said.extend(config.warnings.into_iter().map(|warning| format!("warning: {}: {warning}", variant.name())));
    }
    unique(&said).iter().for_each(|warning| progress.say(warning));
    Ok(())
}

/// Returns true where the command lines that are baked in, first and last, ask for the menu of a failed boot.
pub(super) fn asks_for_menu(first: Option<&str>, last: Option<&str>) -> bool {
    let lines = [first.unwrap_or_default(), "", last.unwrap_or_default()];
    Config::parse(lines, Abilities { shell: false, trust: false }, false).0.common.recover
}

/// Reads an address that a query can follow, as short as a QR code wants it.
pub(super) fn support_url(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['?', '#']) {
        return Err(
            "expected an address of visible ASCII characters without `?` and `#`: the query is appended to it".into()
        );
    }
    if text.len() > card::SUPPORT_URL {
        return Err(format!(
            "it has {} characters, and the QR code holds an address of {}",
            text.len(),
            card::SUPPORT_URL
        ));
    }
    Ok(text.to_owned())
}

/// Reads the hash of a password.
pub(super) fn read_password(path: &Path) -> Result<String> {
    let text = bounded::read_text(path).at("read", path)?;
    match password_objection(text.trim()) {
        None => Ok(text.trim().to_owned()),
        Some(reason) => Err(Error::Usage(format!(
            "--recover-password {}: {reason}; make it with `openssl passwd -5`, which asks for the password",
            path.display()
        ))),
    }
}

/// Returns the reason why a text is no hash that init reads (crypt(5), sha256crypt).
fn password_objection(hash: &str) -> Option<&'static str> {
    let Some(rest) = hash.strip_prefix("$5$") else { return Some("expected a hash that begins with $5$") };
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
        Some((rounds, rest)) => (Some(rounds), rest),
        None => (None, rest),
    };
    // A slow board hashes some 10,000 rounds in a second.
    if rounds.is_some_and(|rounds| !rounds.parse().is_ok_and(|rounds: u32| (1000..=100_000).contains(&rounds))) {
        return Some("expected 1000 to 100000 rounds");
    }
    let is_base64 = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    match rest.split_once('$') {
        Some((salt, hash)) if (1..=16).contains(&salt.len()) && hash.len() == 43 && is_base64(hash) => None,
        _ => Some("expected a salt of up to 16 characters, `$` and 43 characters"),
    }
}

pub(super) fn unique<T: PartialEq + Clone>(items: &[T]) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(item) {
            seen.push(item.clone());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_as_init_reads_it() {
        const HASH: &str = "kpa26zwgX83BPSR8d7w93OIXbFt/d3UOTZaAu5vsTM6";
        for good in [format!("$5$salt${HASH}"), format!("$5$rounds=50000$s${HASH}")] {
            assert_eq!(password_objection(&good), None, "{good}");
        }
        for bad in [
            "secret",
            "",
            "$6$salt$x",
            "$5$salt$x",
            &format!("$5$${HASH}"),
            &format!("$5$rounds=1$s${HASH}"),
            &format!("$5$s${HASH}="),
        ] {
            assert!(password_objection(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_address_of_help_takes_a_query() {
        assert_eq!(support_url("https://help.test/b").as_deref(), Ok("https://help.test/b"));
        for (text, part) in
            [("", "an address"), ("a b", "ASCII"), ("x?y", "query"), ("x#y", "query"), ("\u{e9}", "ASCII")]
        {
            assert!(support_url(text).is_err_and(|error| error.contains(part)), "{text}");
        }
        assert!(support_url(&"u".repeat(72)).is_err_and(|error| error.contains("72") && error.contains("71")));
    }

    #[test]
    fn a_command_line_that_init_would_refuse_is_refused() {
        let check = |line| check_cmdline("--cmdline-final", Some(line), &[Variant::Standard], &Progress::none());
        assert!(check("quiet rd.timeout=30s rd.img=LABEL=system").is_ok());
        for (line, part) in [("rd.overlay=nonsense", "--cmdline-final: "), ("quiet\nro", "one line")] {
            let error = check(line).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
