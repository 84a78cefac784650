//! Blobs in pieces: each goes on where the one before stopped.

use std::{
    fmt::{self, Display, Formatter},
    io::{self, Read},
    sync::atomic::AtomicBool,
};

use base::progress::Step;
use ureq::{Body, http::Response};

use super::{Connection, http::content_range};
use crate::{
    blob::Digest,
    registry::{
        authorization::shown,
        partial::Partial,
        patience::{Failure, Fault, Patience},
    },
};

/// The place of a blob.
#[derive(Debug, Clone, Copy)]
pub(in crate::registry) enum From<'a> {
    /// The registry, by the blob's digest.
    Registry,
    /// An address in the blob's descriptor.
    Address(&'a str),
}

impl Display for From<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "the registry",
            Self::Address(_) => "that place",
        })
    }
}

impl Connection {
    /// Fetches a blob into `partial`, as long as nobody says `stop`. What does not have that size and digest is an error.
    pub(in crate::registry) fn blob(
        &self,
        from: From<'_>,
        digest: &Digest,
        size: u64,
        partial: &mut Partial,
        step: &Step,
        stop: &AtomicBool,
    ) -> Result<(), Fault> {
        let mut patience = Patience::new(self.limit, stop);
        // Some servers know no ranges, and one may have given another blob's.
        let mut ranges = true;
        let mut is_second = false;
        step.advance(partial.length());
        loop {
            if partial.length() == size {
                let Some(seen) = partial.difference() else { return Ok(()) };
                if partial.is_whole() || is_second {
                    return Err(format!("the received content has digest {seen}").into());
                }
                // The pieces do not fit: once more, in one.
                self.progress
                    .say(format!("{digest}: its pieces have digest {seen}; it is fetched again, in one piece"));
                partial.clear()?;
                (ranges, is_second) = (false, true);
            }
            match self.piece(from, digest, size, partial, &mut ranges, &mut patience, step) {
                Ok(()) => {}
                Err(Failure::Final(fault)) => return Err(fault),
                Err(Failure::Passing(fault, after)) => patience.wait(fault, after)?,
            }
        }
    }

    /// Asks for what is missing, and takes what comes.
    #[expect(clippy::too_many_arguments, reason = "the state of one loop")]
    fn piece(
        &self,
        from: From<'_>,
        digest: &Digest,
        size: u64,
        partial: &mut Partial,
        ranges: &mut bool,
        patience: &mut Patience<'_>,
        step: &Step,
    ) -> Result<(), Failure> {
        let have = partial.length();
        let range = format!("bytes={have}-");
        let mut headers = vec![("accept", "*/*")];
        if have > 0 && *ranges {
            headers.push(("range", &range));
        }
        let response = match from {
            From::Registry => self.get(&format!("blobs/{digest}"), &headers)?,
            From::Address(address) => self.get_address(address, &headers)?,
        };
        let skip = self.known(from, &response, digest, size, partial, ranges)?;
        if skip == 0 {
            partial.resume();
        }
        let mut at = have - skip;
        let mut reader = response.into_body().into_reader().take((size - at).saturating_add(1));
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text = format!("the connection broke off after {} of {size} bytes: {error}", partial.length());
                    return Err(Failure::Passing(Box::new(io::Error::new(error.kind(), text)), None));
                }
            };
            if patience.is_over() {
                return Err(Failure::from("another layer could not be fetched"));
            }
            let mut bytes = buffer.get(..read).unwrap_or_default();
            if at < have {
                let (known, new) = bytes.split_at(bytes.len().min((have - at) as usize));
                if !partial.has(at, known)? {
                    partial.clear()?;
                    return Err(Failure::Passing(format!("what was there of it is not what {from} has").into(), None));
                }
                at += known.len() as u64;
                patience.prolong();
                bytes = new;
            }
            if bytes.is_empty() {
                continue;
            }
            at += bytes.len() as u64;
            if at > size {
                return Err(Failure::from(format!("{from} sends more than the {size} bytes that its descriptor says")));
            }
            partial.add(bytes)?;
            patience.renew();
            step.advance(bytes.len() as u64);
        }
        match partial.length() == size {
            true => Ok(()),
            false => Err(Failure::Passing(
                format!("the connection broke off after {} of {size} bytes", partial.length()).into(),
                None,
            )),
        }
    }

    /// Returns how many bytes that are there already the answer begins with.
    fn known(
        &self,
        from: From<'_>,
        response: &Response<Body>,
        digest: &Digest,
        size: u64,
        partial: &mut Partial,
        ranges: &mut bool,
    ) -> Result<u64, Failure> {
        let have = partial.length();
        match response.status().as_u16() {
            206 => {
                let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
                let range = range.unwrap_or_default();
                if content_range(range)
                    .is_none_or(|(start, total)| start != have || total.is_some_and(|total| total != size))
                {
                    return Err(Failure::from(format!(
                        "{from} was asked for its bytes from {have} on and sends `{}`",
                        shown(range)
                    )));
                }
                Ok(0)
            }
            416 => {
                *ranges = false;
                partial.clear()?;
                Err(Failure::Passing(format!("{from} does not have that part of it").into(), None))
            }
            _ => {
                if let Some(length) = response.body().content_length().filter(|length| *length != size) {
                    return Err(Failure::from(format!(
                        "{from} has {length} bytes of it, and its descriptor says {size}"
                    )));
                }
                if have > 0 {
                    self.progress.say(format!(
                        "{digest}: {from} sends all of it; the {have} bytes that are there are compared and skipped"
                    ));
                }
                Ok(have)
            }
        }
    }
}
