//! The list of the files of an entry, which lies in it.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};

/// The list of what an entry holds, written last.
pub const LIST: &str = ".complete.json";

/// The content of [`LIST`].
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The files by their paths.
    pub files: BTreeMap<String, Listed>,
    /// The digest that all of them together were found to have, by [`Check::Pinned`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// A file of an entry.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its size in bytes; a link's is the length of its target.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The number of its inode, and the time at which that last changed (ctime, in seconds and nanoseconds), which no program can set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<(u64, i64, i64)>,
}

/// Returns the present [`Listed::stamp`] of a file.
pub fn stamp(metadata: &fs::Metadata) -> (u64, i64, i64) {
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}
