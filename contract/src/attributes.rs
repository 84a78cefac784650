//! Extended attributes that a cpio archive cannot carry, in a list of their own beside it: file capabilities above all.
//!
//! Three strings for each attribute, a NUL behind each: the path, the name, the value in hexadecimal.

use crate::hex;

/// An extended attribute of a file.
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
        hex::push(&mut text, &attribute.value);
        text.push('\0');
    }
    text.into_bytes()
}

/// Reads the list. One that is damaged ends where it is.
pub fn parse(text: &str) -> Vec<Attribute<'_>> {
    let mut parts = text.split_terminator('\0');
    let mut attributes = Vec::new();
    while let (Some(path), Some(name), Some(value)) = (parts.next(), parts.next(), parts.next()) {
        let Some(value) = hex::decode(value) else { break };
        attributes.push(Attribute { path, name, value });
    }
    attributes
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
