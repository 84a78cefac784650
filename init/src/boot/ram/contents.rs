//! The content of a root in memory against the lists that were packed with it.

use contract::{
    attributes,
    inventory::{self, Record},
};

use crate::{
    kernel::{Machine, read_file, supervisor::Attribute},
    progress,
};

/// Lines about differences that are worth reading.
const SHOWN: usize = 6;

/// Compares the root with the list at `path`: that every name is there, what it should be and as long as it should be, and with
/// `contents` the digest of every file too. Returns what is wrong, a line each; not all of it where it is much.
pub(super) fn check(kernel: &mut dyn Machine, path: &str, contents: bool) -> Vec<String> {
    let Ok(bytes) = read_file(kernel, path) else { return vec!["the list of what is in it is missing".into()] };
    let text = String::from_utf8_lossy(&bytes);
    let records = match inventory::parse(&text) {
        Ok(records) => records,
        Err(reason) => return vec![reason.into()],
    };
    let mut wrong = Vec::new();
    let mut more = 0_u32;
    for record in &records {
        if let Some(line) = difference(kernel, record, contents) {
            if wrong.len() < SHOWN {
                wrong.push(line);
            } else {
                more = more.saturating_add(1);
            }
        }
    }
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    wrong
}

fn difference(kernel: &mut dyn Machine, record: &Record<'_>, contents: bool) -> Option<String> {
    let path = ["/", record.path].concat();
    let Ok(stat) = kernel.stat(&path) else { return Some(format!("{path} is missing")) };
    if stat.kind != record.kind {
        return Some(format!("{path} has changed type"));
    }
    if let Some(size) = record.size
        && size != stat.size
    {
        return Some(format!("{path} has {} bytes instead of {size}", stat.size));
    }
    if let (true, Some(digest)) = (contents, record.digest) {
        match progress::digest(kernel, &path) {
            Ok(seen) if seen == digest => {}
            Ok(_) => return Some(format!("{path} has changed content")),
            Err(error) => return Some(format!("{path} cannot be read: {error}")),
        }
    }
    None
}

/// Sets all attributes of the list at `path`, where there is one. Returns what could not be done, in one sentence: a root on ramfs
/// takes none, and one on tmpfs those of users only since Linux 6.6.
pub(super) fn restore_attributes(kernel: &mut dyn Machine, path: &str) -> Option<String> {
    let bytes = read_file(kernel, path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let attributes = attributes::parse(&text);
    let mut first = None;
    let mut failed = 0_u32;
    for attribute in &attributes {
        let path = ["/", attribute.path].concat();
        if let Err(error) = kernel.set_attribute(&path, Attribute::Extended(attribute.name, &attribute.value)) {
            failed = failed.saturating_add(1);
            first.get_or_insert_with(|| format!("{} of {path}: {error}", attribute.name));
        }
    }
    first.map(|first| format!("{failed} of {} extended attributes could not be set ({first})", attributes.len()))
}
