//! The parts of an SPDX document.

use serde_json::{Value, json};

#[derive(Default)]
/// The packages of a bill and how they belong together.
pub struct Bill {
    /// The packages.
    pub packages: Vec<Value>,
    /// Their relationships.
    pub relationships: Vec<Value>,
}

impl Bill {
    /// Adds a package that `element` has this relationship to.
    pub fn add(&mut self, element: &str, relationship: &str, package: Value) {
        self.relate(element, relationship, package["SPDXID"].as_str().unwrap_or_default());
        self.list(package);
    }

    /// Adds a package, with what SPDX wants of every one.
    pub fn list(&mut self, mut package: Value) {
        if let Some(fields) = package.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in [
                ("downloadLocation", json!("NOASSERTION")),
                ("filesAnalyzed", json!(false)),
                ("licenseConcluded", json!("NOASSERTION")),
                ("copyrightText", json!("NOASSERTION")),
            ] {
                fields.entry(name).or_insert(value);
            }
        }
        self.packages.push(package);
    }

    /// Adds a relationship of two elements.
    pub fn relate(&mut self, element: &str, relationship: &str, related: &str) {
        self.relationships.push(json!({
            "spdxElementId": element,
            "relationshipType": relationship,
            "relatedSpdxElement": related,
        }));
    }
}

/// Returns the SHA-256 of a package, where it is known.
pub fn checksums(sha256: Option<&str>) -> Value {
    sha256.map_or(Value::Null, |sha256| json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]))
}

/// Returns a text as SPDX takes it in an identifier: letters, digits, `.` and `-`.
pub fn identifier(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' }).collect()
}
