//! The root that a boot puts together, as far as finding init in it goes: `persistent` over the image.

use std::{cell::RefCell, io, rc::Rc};

use contract::inventory::Kind;
use initramfs_overlay_init::kernel::Stat;

use super::{
    copy_on_write::Layer,
    filesystem::{Capacity, Content, Filesystem},
};

/// Two layers, one over the other.
pub struct Union {
    store: Rc<RefCell<Layer>>,
    /// None without such a layer.
    directory: Option<String>,
    image: Rc<RefCell<Layer>>,
}

/// The layer that a name is found in.
enum Place {
    Above(String),
    Below,
}

impl Union {
    /// Returns the directory `directory` of `store`, if there is one, over `image`.
    pub fn new(store: Rc<RefCell<Layer>>, directory: Option<&str>, image: Rc<RefCell<Layer>>) -> Self {
        Self { store, directory: directory.map(str::to_owned), image }
    }

    /// Finds the layer in which a path is. A name above hides the one below, and one that is not a directory hides all below it. The device
    /// 0:0 above stands for a name that was deleted (kernel, Documentation/filesystems/overlayfs.rst, whiteouts).
    fn place(&self, path: &str) -> io::Result<Place> {
        let Some(directory) = &self.directory else { return Ok(Place::Below) };
        let above = |path: &str| if path.is_empty() { directory.clone() } else { format!("{directory}/{path}") };
        let store = self.store.borrow();
        let parts = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        for part in parts.filter(|part| !part.is_empty()) {
            match store.stat(&above(part)) {
                Err(_) => return Ok(Place::Below),
                Ok(_) if store.is_whiteout(&above(part)) => return Err(io::ErrorKind::NotFound.into()),
                Ok(stat) if stat.kind != Kind::Directory && part.len() < path.len() => {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                Ok(_) => {}
            }
        }
        Ok(Place::Above(above(path)))
    }
}

impl Filesystem for Union {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = self.image.borrow().list(path).unwrap_or_default();
        if let Place::Above(above) = self.place(path)? {
            names.extend(self.store.borrow().list(&above)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        match self.place(path)? {
            Place::Above(above) => self.store.borrow().stat(&above),
            Place::Below => self.image.borrow().stat(path),
        }
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        match self.place(path)? {
            Place::Above(above) => self.store.borrow().read_link(&above),
            Place::Below => self.image.borrow().read_link(path),
        }
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Content>> {
        match self.place(path)? {
            Place::Above(above) => self.store.borrow().source(&above)?.open(),
            Place::Below => self.image.borrow().source(path)?.open(),
        }
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        match self.place(path)? {
            Place::Above(above) => self.store.borrow().source(&above)?.open_anywhere(),
            Place::Below => self.image.borrow().source(path)?.open_anywhere(),
        }
    }

    fn capacity(&self) -> Capacity {
        self.store.borrow().capacity()
    }
}
