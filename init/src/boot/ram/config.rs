//! The parameters of a root that runs from memory.

use crate::config::values::{self, Objections};

/// The parameters of a root that runs from memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The program of `init=`.
    pub init: Option<String>,
    /// The words that follow `--` on the command line.
    pub arguments: Vec<String>,
    /// Compare the content of every file, not only its size.
    pub verify: bool,
    /// `rd.net=`: true to ask networks for addresses, false to leave them alone.
    pub net: Option<bool>,
}

impl Config {
    /// Reads one parameter. Returns false for one of somebody else's.
    pub(crate) fn word(&mut self, name: &str, value: Option<&str>, objections: &mut Objections) -> bool {
        match (name, value) {
            ("rd.verify", value) => match values::switch(value) {
                Some(on) => self.verify = on,
                None => objections.refuse(name, value, "nothing, yes or no"),
            },
            ("rd.net", Some("dhcp")) => self.net = Some(true),
            ("rd.net", Some("no")) => self.net = Some(false),
            ("rd.net", value) => objections.warn(name, value, "dhcp or no"),
            _ => return false,
        }
        true
    }
}
