//! The signature at the end of a module: finding it, and who makes the kernel insist on it. Pure.
//!
//! The format is the kernel's, include/linux/module_signature.h: the signature itself, twelve bytes that tell its length, and a
//! line of text.

use contract::parameters::words;

use super::config::KernelConfig;

/// The line at the end of a signed module (`MODULE_SIG_STRING`).
const MARK: &[u8] = b"~Module signature appended~\n";
/// Length of `struct module_signature`: five bytes (algorithm, hash, type of identifier, lengths of signer and key identifier),
/// three to fill up, and the length of the signature as a big-endian number of 32 bits.
const INFORMATION: usize = 12;

/// Returns the number of bytes at the end of a module that belong to its signature, with its length and mark; 0 where it is not signed.
///
/// # Errors
/// The module says that it is signed, but the signature is not whole. The text is the end of a sentence.
pub fn length(module: &[u8]) -> Result<usize, String> {
    let Some(rest) = module.strip_suffix(MARK) else { return Ok(0) };
    let cut = || "it ends like a signed module, but its signature is damaged".to_string();
    let (rest, information) = rest.split_last_chunk::<INFORMATION>().ok_or_else(cut)?;
    let [_, _, _, signer, key, _, _, _, length @ ..] = *information;
    // Signer and key identifier stood before the signature until kernel 4.3; since then both are empty.
    let signature = usize::try_from(u32::from_be_bytes(length)).map_err(|_| cut())?;
    let length = signature.checked_add(usize::from(signer) + usize::from(key)).ok_or_else(cut)?;
    if length >= rest.len() {
        return Err(cut());
    }
    Ok(length + INFORMATION + MARK.len())
}

/// Returns the parameter of a command line that makes the kernel refuse unsigned modules: `module.sig_enforce` (Documentation/admin-guide/
/// kernel-parameters.txt) or `lockdown=` (kernel_lockdown(7)). `None` where there is none.
///
/// Neither can be taken back by a later parameter, so any one counts.
pub fn enforced_by_cmdline(cmdline: &str) -> Option<String> {
    words(cmdline).into_iter().take_while(|word| word != "--").find(|word| {
        let (key, value) = word.split_once('=').map_or((word.as_str(), None), |(key, value)| (key, Some(value)));
        match (key.replace('-', "_").as_str(), value) {
            ("module.sig_enforce", value) => value.is_none_or(is_true),
            ("lockdown", Some("integrity" | "confidentiality")) => true,
            _ => false,
        }
    })
}

/// Reads a boolean as the kernel's kstrtobool() does.
fn is_true(value: &str) -> bool {
    matches!(value.as_bytes(), [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..])
}

/// Returns the line of a kernel's configuration that makes it refuse unsigned modules always.
pub fn enforced_by_config(config: &KernelConfig) -> Option<String> {
    [
        "CONFIG_MODULE_SIG_FORCE",
        "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
        "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
    ]
    .into_iter()
    .find(|key| config.get(key) == Some("y"))
    .map(|key| format!("the kernel's {key}=y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(signature: usize, said: u32) -> Vec<u8> {
        let mut module = b"\x7fELF and so on".to_vec();
        module.extend(vec![7; signature]);
        module.extend([0, 0, 2, 0, 0, 0, 0, 0]);
        module.extend(said.to_be_bytes());
        module.extend(MARK);
        module
    }

    #[test]
    fn the_length_is_that_of_all_that_was_appended() {
        assert_eq!(length(&signed(681, 681)), Ok(681 + 12 + 28));
        assert_eq!(length(b"\x7fELF and so on"), Ok(0));
        assert_eq!(length(b""), Ok(0));
    }

    #[test]
    fn a_signature_longer_than_the_file_is_damaged() {
        for module in [signed(10, 24), signed(10, u32::MAX), MARK.to_vec()] {
            assert!(length(&module).unwrap_err().contains("damaged"));
        }
    }

    #[test]
    fn enforcement_is_found_on_the_command_line() {
        for (line, found) in [
            ("quiet module.sig_enforce rd.img=LABEL=img", Some("module.sig_enforce")),
            ("module.sig_enforce=1", Some("module.sig_enforce=1")),
            ("module.sig-enforce=on", Some("module.sig-enforce=on")),
            ("\"module.sig_enforce=Y\"", Some("module.sig_enforce=Y")),
            ("module.sig_enforce=0", None),
            ("lockdown=integrity", Some("lockdown=integrity")),
            ("a lockdown=confidentiality b", Some("lockdown=confidentiality")),
            ("lockdown=none", None),
            ("lockdown", None),
            ("x=\"lockdown=integrity\"", None),
            ("quiet -- lockdown=integrity", None),
            ("", None),
        ] {
            assert_eq!(enforced_by_cmdline(line).as_deref(), found, "{line}");
        }
    }

    #[test]
    fn enforcement_is_found_in_the_configuration() {
        let config = |text| enforced_by_config(&KernelConfig::parse(text).unwrap());
        assert_eq!(config("CONFIG_MODULE_SIG=y\n# CONFIG_MODULE_SIG_FORCE is not set\n"), None);
        assert_eq!(config("CONFIG_MODULE_SIG_FORCE=y\n").unwrap(), "the kernel's CONFIG_MODULE_SIG_FORCE=y");
    }
}
