//! The entries of an initramfs one after the other, with their contents, for those who do something with them. As [`crate::listing`], it
//! reads once and front to back; unlike that, it keeps nothing and stops at the first defect.

use std::{
    io::{self, Read},
    path::Path,
};

use base::{IoContext, escape::escape};

use crate::{
    Error, Result,
    decompress::Format,
    listing::{
        identify::{HEAD, identify},
        newc::{self, Fault, Header},
        source::Source,
    },
};

/// A receiver of entries.
pub trait Visit {
    /// Begins an entry of archive number `archive`; returns whether its content is wanted.
    ///
    /// # Errors
    /// A failure of the receiver, which ends the reading.
    fn begin(&mut self, archive: u64, header: &Header) -> Result<bool>;

    /// Takes a piece of the content that was asked for.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn content(&mut self, _piece: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Ends an entry whose content was asked for.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Shows every entry of an initramfs to `visit`, in the file's order. What follows the archives and is none is left alone.
///
/// # Errors
/// [`Error::Damaged`], [`Error::NotInitramfs`], the reader's, and those of `visit`.
pub fn visit(reader: impl Read, path: &Path, visit: &mut impl Visit) -> Result<()> {
    let mut file = Source::new(reader);
    let mut archives = 0;
    loop {
        let zeros = file.skip_zeros().at("read", path)?;
        let head = file.peek(HEAD).at("read", path)?;
        let Some(format) = Format::detect(head) else {
            if archives == 0 {
                return Err(Error::NotInitramfs { path: path.to_owned(), what: identify(zeros, head) });
            }
            return Ok(());
        };
        let at = file.offset();
        let damaged = |Fault { at: within, what }| {
            let within = if format == Format::None { String::new() } else { format!(" (unpacked: {within})") };
            Error::Damaged { path: path.to_owned(), what: format!("in the segment at offset {at}{within}: {what}") }
        };
        let outcome = match format {
            Format::None => archive(&mut file, archives, visit).map(|()| archives += 1),
            _ => match format.decoder(&mut file) {
                Ok(decoder) => segment(&mut Source::new(decoder), &mut archives, visit),
                Err(error) => Err(Stop::Fault(newc::fault(0, &error))),
            },
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Fault(fault)) => return Err(damaged(fault)),
            Err(Stop::Receiver(error)) => return Err(error),
        }
    }
}

enum Stop {
    Fault(Fault),
    Receiver(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Reads all archives of a compressed segment.
fn segment(stream: &mut Source<impl Read>, archives: &mut u64, visit: &mut impl Visit) -> Result<(), Stop> {
    loop {
        let failed = |error: io::Error| Stop::Fault(newc::fault(0, &error));
        stream.skip_zeros().map_err(failed)?;
        if stream.peek(1).map_err(failed)?.is_empty() {
            return Ok(());
        }
        archive(stream, *archives, visit)?;
        *archives += 1;
    }
}

/// Reads one archive up to its trailer, or to where no entry follows.
fn archive(stream: &mut Source<impl Read>, number: u64, visit: &mut impl Visit) -> Result<(), Stop> {
    let mut is_first = true;
    loop {
        let failed = |error: io::Error| Stop::Fault(newc::fault(0, &error));
        stream.skip_zeros().map_err(failed)?;
        let at = stream.offset();
        let head = stream.peek(6).map_err(failed)?;
        if !head.starts_with(b"070701") && !head.starts_with(b"070702") {
            let what = "no archive begins here".to_owned();
            return if is_first { Err(Fault { at, what }.into()) } else { Ok(()) };
        }
        is_first = false;
        let header = newc::read_header(stream)?;
        if header.name.as_deref() == Some(b"TRAILER!!!") {
            newc::read_content(stream, header.size, |_| ())?;
            return Ok(());
        }
        let wanted = header.name.is_some() && visit.begin(number, &header).map_err(Stop::Receiver)?;
        let mut outcome = Ok(());
        newc::read_content(stream, header.size, |piece| {
            if wanted && outcome.is_ok() {
                outcome = visit.content(piece);
            }
        })
        .map_err(|Fault { at, what }| {
            let name = header.name.as_deref().unwrap_or_default();
            Fault { at, what: format!("{what} (in `{}`)", escape(name)) }
        })?;
        outcome.map_err(Stop::Receiver)?;
        if wanted {
            visit.end().map_err(Stop::Receiver)?;
        }
    }
}
