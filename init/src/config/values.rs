//! Values of parameters, and the objections to those that cannot be read.

use std::time::Duration;

use contract::{tag::Tag, text::parse_duration};

use crate::error::Error;

/// Objections to the parameters so far.
#[derive(Debug, Default)]
pub struct Objections {
    /// Sentences about odd parameters; their defaults hold.
    pub warnings: Vec<String>,
    /// The first parameter that decides what is mounted and cannot be read.
    pub error: Option<Error>,
}

impl Objections {
    /// Refuses a value that decides what is mounted.
    pub fn refuse(&mut self, name: &str, value: Option<&str>, wanted: &'static str) {
        let error = Error::Parameter { name: name.into(), value: value.unwrap_or_default().into(), wanted };
        self.error.get_or_insert(error);
    }

    /// Warns about a value that is passed over.
    pub fn warn(&mut self, name: &str, value: Option<&str>, wanted: &str) {
        let value = value.unwrap_or_default();
        self.warnings.push(format!("parameter {name}={value}: wanted {wanted}; the default holds"));
    }

    /// Reads a tag into `place`, or refuses it.
    pub fn tag(&mut self, name: &str, value: Option<&str>, place: &mut Tag) {
        match value.unwrap_or_default().parse() {
            Ok(tag) => *place = tag,
            Err(wanted) => self.refuse(name, value, wanted),
        }
    }

    /// Reads a time into `place`, or warns about it.
    pub fn duration(&mut self, name: &str, value: Option<&str>, place: &mut Duration) {
        match parse_duration(value.unwrap_or_default()) {
            Some(time) => *place = time,
            None => self.warn(name, value, "a time such as 10s, 500ms or 2m"),
        }
    }
}

/// Reads a switch: on without a value.
pub fn switch(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("" | "1" | "y" | "yes" | "on") => Some(true),
        Some("0" | "n" | "no" | "off") => Some(false),
        _ => None,
    }
}

/// Returns true for a name that stands for nothing outside its directory.
pub fn is_file_name(value: &str) -> bool {
    !matches!(value, "" | "." | "..") && !value.contains('/')
}
