//! Extended attributes that a cpio archive cannot carry, in a list of their own beside it: file capabilities above all. Reading and
//! writing the list is pure; [`restore`] sets them.
//!
//! Three strings for each attribute, a NUL behind each: the path, the name, the value in hexadecimal.

use crate::kernel::Kernel;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Relative to the root.
    pub path: &'a str,
    /// With its namespace: `security.capability`.
    pub name: &'a str,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// Writes the list of them.
pub fn to_bytes<'a>(attributes: impl IntoIterator<Item = Attribute<'a>>) -> Vec<u8> {
    let mut text = String::new();
    for attribute in attributes {
        for part in [attribute.path, attribute.name] {
            text.push_str(part);
            text.push('\0');
        }
        for byte in attribute.value {
            for half in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(half.into(), 16));
            }
        }
        text.push('\0');
    }
    text.into_bytes()
}

/// Reads the list. One that is damaged ends where it is.
pub fn parse(text: &str) -> Vec<Attribute<'_>> {
    let mut parts = text.split_terminator('\0');
    let mut attributes = Vec::new();
    while let (Some(path), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next()) {
        let Some(value) = crate::text::bytes_of(value) else { break };
        attributes.push(Attribute { path, name, value });
    }
    attributes
}

/// Sets all attributes of the list at `path`, where there is one. Returns what could not be done, in one sentence: a root on ramfs
/// takes none, and one on tmpfs those of users only since Linux 6.6.
pub fn restore(kernel: &mut dyn Kernel, path: &str) -> Option<String> {
    let bytes = kernel.read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let attributes = parse(&text);
    let mut first = None;
    let mut failed = 0_u32;
    for attribute in &attributes {
        let path = ["/", attribute.path].concat();
        if let Err(error) = kernel.set_attribute(&path, attribute.name, &attribute.value) {
            failed = failed.saturating_add(1);
            first.get_or_insert_with(|| format!("{} of {path}: {error}", attribute.name));
        }
    }
    first.map(|first| format!("{failed} of {} extended attributes could not be set ({first})", attributes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let attributes = [
            Attribute { path: "bin/ping", name: "security.capability", value: vec![0, 1, 255, 16] },
            Attribute { path: "a\nb", name: "user.x", value: Vec::new() },
        ];
        let bytes = to_bytes(attributes.clone());
        assert_eq!(parse(std::str::from_utf8(&bytes).unwrap()), attributes);
        assert_eq!(parse("a\0b\0zz\0"), []);
        assert_eq!(parse("a\0b"), []);
    }
}
