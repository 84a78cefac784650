//! PAX records: what extension headers say of a member (POSIX, pax, "Extended Header"). Pure.

use std::collections::BTreeMap;

/// A value, or the reason why the layer is refused.
type Outcome<T> = Result<T, String>;

/// A record: its key and its value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// Extended attributes in PAX records.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Returns true for the key of a record that changes what a member is.
pub(super) fn is_of_member(key: &[u8]) -> bool {
    matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime")
        || key.starts_with(XATTR)
        || key.starts_with(b"GNU.sparse.")
}

/// The records of a member by key, those of a sparse file aside.
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Returns the records, and apart from them those of a sparse file.
    pub(super) fn new(all: Vec<Record>) -> (Self, Vec<Record>) {
        let (sparse, own): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key.starts_with(b"GNU.sparse."));
        (Self(own.into_iter().collect()), sparse)
    }

    /// Returns a value. POSIX: an empty one takes the record back.
    fn value(&self, key: &str) -> Option<&Vec<u8>> {
        self.0.get(key.as_bytes()).filter(|value| !value.is_empty())
    }

    /// Returns a value that is a number, rounded down.
    pub(super) fn number(&self, key: &str) -> Outcome<Option<i128>> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => decimal(value).map(Some).ok_or_else(|| format!("its PAX record `{key}` is not a number")),
        }
    }

    /// Returns the number of a user or a group, `otherwise` where there is no record of it.
    pub(super) fn owner(&self, key: &str, otherwise: Outcome<u64>) -> Outcome<u64> {
        match self.number(key)? {
            Some(number) => u64::try_from(number).map_err(|_| format!("its PAX record `{key}` is {number}")),
            None => otherwise,
        }
    }

    /// Returns a name: that of the record `key`, the long one of GNU or the short one of the header.
    pub(super) fn name(&self, key: &str, gnu: Option<Vec<u8>>, short: Vec<u8>) -> Outcome<Vec<u8>> {
        match (self.value(key), gnu) {
            // GNU tar takes the record, Go's programs the long name.
            (Some(pax), Some(gnu)) if *pax != gnu => {
                Err(format!("its PAX record `{key}` says one thing and its GNU long name another"))
            }
            (Some(pax), _) => Ok(pax.clone()),
            (None, gnu) => Ok(gnu.unwrap_or(short)),
        }
    }

    /// Returns the extended attributes.
    pub(super) fn xattrs(self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        // An empty one is none, to all of Go's programs.
        let set = self.0.into_iter().filter(|(_, value)| !value.is_empty());
        set.filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?.to_vec(), value))).collect()
    }
}

/// Reads `LENGTH KEY=VALUE\n`, one after the other. Values may hold any byte.
pub(super) fn parse(mut bytes: &[u8]) -> Outcome<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let record = || {
            let space = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
            let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = body.iter().position(|byte| *byte == b'=')?;
            Some((body.get(..equals)?.to_vec(), body.get(equals + 1..)?.to_vec(), bytes.get(length..)?))
        };
        let Some((key, value, rest)) = record() else {
            return Err("its PAX header is damaged".to_owned());
        };
        if key.is_empty() {
            return Err("its PAX header has a record without a name".to_owned());
        }
        // Go's programs refuse these, GNU tar cuts them off.
        let is_name = matches!(key.as_slice(), b"path" | b"linkpath" | b"GNU.sparse.name");
        if key.contains(&0) || (is_name && value.contains(&0)) {
            return Err("its PAX header has a name with a NUL byte".to_owned());
        }
        records.push((key, value));
        bytes = rest;
    }
    Ok(records)
}

/// Returns the whole part of a decimal number; times have fractions.
fn decimal(bytes: &[u8]) -> Option<i128> {
    let text = str::from_utf8(bytes).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || whole.starts_with('+') {
        return None;
    }
    let number: i128 = whole.parse().ok()?;
    // Times before 1970 are rounded down.
    Some(if whole.starts_with('-') && fraction.bytes().any(|byte| byte != b'0') { number - 1 } else { number })
}
