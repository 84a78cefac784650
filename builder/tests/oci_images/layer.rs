//! Layers with any names, also those that no program writes.

use tar::{Builder, EntryType, Header};

/// A file.
pub const FILE: EntryType = EntryType::Regular;

/// A name: what it is, its content (where it leads, for a link) and its mode.
pub type Row<'a> = (&'a str, EntryType, &'a [u8], u32);

/// Returns an uncompressed layer. Every name is root's.
pub fn layer(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, content, mode) in rows {
        let (header, content) = header(path, *kind, content, *mode);
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Returns the header of a row, and what comes after it.
pub fn header<'a>(path: &str, kind: EntryType, content: &'a [u8], mode: u32) -> (Header, &'a [u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
    if is_link {
        header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
    }
    let content = if is_link { &[][..] } else { content };
    header.set_size(content.len() as u64);
    header.set_cksum();
    (header, content)
}
