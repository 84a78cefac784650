//! A layer's bytes on their way: from its blob through its compression to tar members, with the digest and the size of both sides
//! checked at the end. Layers are read for their names, and once more for their contents where these go into no draft meanwhile.

use std::io::{self, Read};

use base::escape::escape;
use tar::EntryType;

use super::{
    ahead::Ahead,
    blob::Hashed,
    decoder::Behind,
    erofs::Draft,
    image::{Image, Layer},
    merge::Merge,
    tarball::{CopyError, Fault, Reader},
};
use crate::{Error, Result};

/// A layer of an image, with its position, for reading and for error messages.
#[derive(Debug, Clone, Copy)]
pub struct Located<'a> {
    /// The image's name.
    pub image: &'a Image,
    /// Its index, from 0.
    pub index: usize,
    /// The layer.
    pub layer: &'a Layer,
}

impl<'a> Located<'a> {
    /// Returns an error about this layer.
    #[must_use]
    pub fn error(&self, path: &[u8], reason: impl Into<String>) -> Error {
        Error::Layer {
            image: self.image.name.clone(),
            layer: self.index + 1,
            digest: self.layer.label(),
            path: escape(path).to_string(),
            reason: reason.into(),
        }
    }

    /// Returns the error of a copy of the content of the member `path`.
    fn copied(&self, path: &[u8], copied: Result<(), CopyError>) -> Result<()> {
        copied.map_err(|error| match error {
            CopyError::Source(reason) => self.error(path, reason),
            CopyError::Sink(source) => archive::Error::WriteArchive { source }.into(),
        })
    }

    /// Begins to unpack it. An archive of a root (`tar:`) is read as GNU tar reads it, a layer of an image as container engines do.
    fn unpack(&self, is_checked: bool) -> Result<Ahead> {
        let is_root = self.layer.diff_id.is_none() && self.layer.blob.digest.is_none();
        let behind = if is_root { Behind::Zeros } else { Behind::Nothing };
        Ahead::new(&self.layer.blob, behind, is_checked)
    }

    fn fault(&self, fault: &Fault) -> Error {
        self.error(&fault.path, fault.reason.clone())
    }

    /// Reads all of it, puts its names on `merge` and its contents into `draft`, and checks every byte. `budget` is how many bytes it may
    /// unpack to; what it did is taken off. Returns how many members it has.
    ///
    /// # Errors
    /// [`Error::Layer`], [`Error::Io`].
    pub fn merge_into(&self, merge: &mut Merge, draft: Option<&mut Draft>, budget: &mut u64) -> Result<u32> {
        let mut plain = self.unpack(true)?;
        let result = self.read_members(&mut plain, merge, draft, budget);
        // A damaged blob makes all kinds of errors; that it is damaged is the one to tell.
        let packed = plain.finish();
        let size = self.layer.blob.place.size;
        if let Some((_, seen)) = packed.difference {
            let advice = match (&self.image.remote, &self.layer.blob.digest) {
                (Some(remote), Some(digest)) => {
                    remote.forget(digest)?;
                    "it was removed from the cache: run the command again"
                }
                _ => "fetch the image again",
            };
            return Err(self.error(b"", format!("its bytes have digest {seen}; it is damaged: {advice}")));
        }
        if let Some(count) = packed.count.filter(|count| *count != size) {
            return Err(self.error(b"", format!("it has {count} bytes instead of {size}; it is damaged")));
        }
        result
    }

    fn read_members(
        &self,
        plain: impl Read,
        merge: &mut Merge,
        mut draft: Option<&mut Draft>,
        budget: &mut u64,
    ) -> Result<u32> {
        let limit = *budget;
        let mut reader = Reader::new(Hashed::new(plain.take(limit.saturating_add(1)), self.layer.diff_id.as_ref()));
        let too_large = || format!("the image unpacks to more than the {limit} bytes left of --max-size");
        merge.begin_layer();
        let layer = u32::try_from(self.index).unwrap_or(u32::MAX);
        let mut number: u32 = 0;
        // Zeros that no layer stores; whoever writes the root writes them all the same.
        let mut holes: u64 = 0;
        loop {
            match reader.next_member() {
                Ok(Some(member)) => {
                    holes = holes.saturating_add(member.holes());
                    if holes > limit {
                        return Err(self.error(&member.path, too_large()));
                    }
                    let added = merge.add(&member, layer, number);
                    added.map_err(|reason| self.error(&member.path, reason))?;
                    if let Some(draft) = draft.as_deref_mut().filter(|_| member.kind == EntryType::Regular) {
                        let copied = draft.add(layer, number, member.size, |sink| reader.copy_content(&member, sink));
                        match copied {
                            Err(CopyError::Source(_)) if reader.get_ref().count > limit => {
                                return Err(self.error(&member.path, too_large()));
                            }
                            copied => self.copied(&member.path, copied)?,
                        }
                    }
                    number = number.saturating_add(1);
                }
                Ok(None) => break,
                Err(fault) if reader.get_ref().count > limit => return Err(self.error(&fault.path, too_large())),
                Err(fault) => return Err(self.fault(&fault)),
            }
        }
        let mut plain = reader.into_inner();
        plain.drain().map_err(|error| self.error(b"", error.to_string()))?;
        let unpacked = plain.count.saturating_add(holes);
        if unpacked > limit {
            return Err(self.error(b"", too_large()));
        }
        *budget -= unpacked;
        match plain.difference() {
            None => Ok(number),
            Some((wanted, seen)) => {
                Err(self.error(b"", format!("it unpacks to {seen}, but the image's config expects {wanted}")))
            }
        }
    }

    /// Returns a reader of its members once more, for their contents.
    ///
    /// # Errors
    /// [`Error::Layer`], [`Error::Io`].
    pub fn members(self) -> Result<Members<'a>> {
        Ok(Members { located: self, reader: Reader::new(self.unpack(false)?), next: 0 })
    }
}

/// The members of a layer that was checked before.
pub struct Members<'a> {
    located: Located<'a>,
    reader: Reader<Ahead>,
    next: u32,
}

impl Members<'_> {
    /// Writes the content of the member number `number`, which has `size` bytes, into `sink`. Numbers can only go up.
    ///
    /// # Errors
    /// [`Error::Layer`] where the layer has changed, [`archive::Error::WriteArchive`].
    pub fn copy(&mut self, number: u32, size: u64, sink: &mut dyn io::Write) -> Result<()> {
        let changed = || self.located.error(b"", "it changed while it was read; try again");
        loop {
            let member = self.reader.next_member().map_err(|fault| self.located.fault(&fault))?.ok_or_else(changed)?;
            self.next += 1;
            if self.next <= number {
                continue;
            }
            if self.next != number + 1 || member.size != size {
                return Err(changed());
            }
            return self.located.copied(&member.path, self.reader.copy_content(&member, sink));
        }
    }
}
