//! Small images in the OCI layout, made by hand.

use std::path::Path;

use serde_json::Value;
use tar::{Builder, EntryType, Header};

use crate::made;

/// A layer in the making: every name root's.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    /// Returns an empty one.
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, mode: u32, size: usize) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header
    }

    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Self::header(EntryType::Regular, mode, content.len());
        self.0.append_data(&mut header, path, content).expect("a file");
        self
    }

    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.0.append_data(&mut Self::header(EntryType::Directory, mode, 0), path, &[][..]).expect("a directory");
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.0.append_link(&mut Self::header(EntryType::Symlink, 0o777, 0), path, target).expect("a link");
        self
    }

    /// Returns an extended attribute of what comes next.
    pub fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).expect("an attribute");
        self
    }

    /// Returns a member with a header of one's own.
    pub fn member(mut self, mut header: Header, path: &str, content: &[u8]) -> Self {
        self.0.append_data(&mut header, path, content).expect("a member");
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("a tar file")
    }
}

/// Returns a layout with one image in `directory`. Returns how it is called.
pub fn layout(directory: &Path, platform: &str, config: &Value, layers: Vec<Layer>) -> String {
    let layers: Vec<_> = layers.into_iter().map(Layer::bytes).map(|bytes| (bytes.clone(), bytes)).collect();
    made::layout(directory, platform, config, &layers)
}
