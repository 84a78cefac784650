//! Memory of delivered images: one line each in a text file that people read too. By it an image is told that was installed or refused
//! before, on a medium where nothing may be deleted; and no delivered file is deleted before its reason is durable here. The file is on
//! `img`; where that has no room for it, on the overlay partition.

use std::fmt::{self, Write};

use contract::{Digest, hex, names};

use crate::{
    boot::{
        layers::store::{DISPOSABLE, Store, with_room},
        overlay::device::Found,
    },
    context::Context,
    error::{Error, Result},
    kernel::Machine,
    media::{self, make_writable},
};

/// Lines that are kept, the newest.
const MOST: usize = 32;

/// Bytes that are read of the file, and that a reason may have in it.
const LIMIT: usize = 32 << 10;
const REASON: usize = 400;

/// The fate of a delivered image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was installed.
    Installed,
    /// Its content is bad.
    Bad,
    /// The kernel that was running cannot use it.
    Unusable,
    /// It could not be installed as things were: a signature is missing, there is no room.
    Refused,
    /// It was installed, was never marked good, and the image before it was put back.
    PutBack,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::Installed, Self::Bad, Self::Unusable, Self::Refused, Self::PutBack];

    /// Returns the word for it in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Bad => "bad",
            Self::Unusable => "unusable",
            Self::Refused => "refused",
            Self::PutBack => "put-back",
        }
    }
}

/// A line of the file: digest, size in bytes, verdict, kernel, name and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The image's content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its fate.
    pub verdict: Verdict,
    /// The kernel that was running.
    pub release: String,
    /// The name that it was delivered under, and why.
    pub reason: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(5, ' ');
        let digest = hex::digest(fields.next()?)?;
        let size = fields.next()?.parse().ok()?;
        let word = fields.next()?;
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == word)?;
        let release = fields.next()?.into();
        Some(Self { digest, size, verdict, release, reason: fields.next().unwrap_or_default().into() })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, size, verdict, release, reason } = self;
        // One line, whatever a name on a medium holds.
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON).collect();
        write!(f, "{} {size} {} {release} {reason}", hex::encode(digest), verdict.name())
    }
}

/// Reads all that is remembered, the oldest first.
pub fn read(kernel: &mut dyn Machine, directory: &str) -> Vec<Entry> {
    // One that cannot be read is rewritten, and costs a second look at what lies on a medium.
    let text = media::read_text(kernel, &format!("{directory}/{}", names::UPDATES), LIMIT).ok().flatten();
    text.unwrap_or_default().lines().filter_map(Entry::parse).collect()
}

/// Remembers the fate of an image, durably. An earlier line of the same image goes.
///
/// # Errors
/// It can be kept nowhere.
pub fn remember(context: &mut Context<'_>, found: &Found, store: &mut Store<'_>, entry: &Entry) -> Result<()> {
    if read(context.kernel, names::IMG_DIR).contains(entry) {
        return Ok(());
    }
    let on_img =
        make_writable(context.kernel, names::IMG_DIR).and_then(|()| write(context.kernel, names::IMG_DIR, entry));
    let (Err(error), Some(_)) = (&on_img, store.volume()) else { return on_img };
    let reason = found.readable(&error.with_cause());
    context.notice(&format!("{} is kept on overlay: {reason}", names::UPDATES));
    store.open(context)?;
    if read(context.kernel, names::OVERLAY_DIR).contains(entry) {
        return Ok(());
    }
    with_room(context, &DISPOSABLE, &mut |kernel| write(kernel, names::OVERLAY_DIR, entry))
}

fn write(kernel: &mut dyn Machine, directory: &str, entry: &Entry) -> Result<(), Error> {
    let mut all = read(kernel, directory);
    all.retain(|other| other.digest != entry.digest);
    all.push(entry.clone());
    let mut text = String::new();
    for entry in all.iter().skip(all.len().saturating_sub(MOST)) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{entry}");
    }
    media::replace(kernel, directory, names::UPDATES, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::Recorder;

    fn entry(number: u8) -> Entry {
        Entry {
            digest: [number; 32],
            size: u64::from(number),
            verdict: Verdict::Bad,
            release: "6.1.0".into(),
            reason: "root-squashfs.img: its digest is wrong".into(),
        }
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        for verdict in Verdict::ALL {
            let entry = Entry { verdict, ..entry(1) };
            assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
        }
        let odd = Entry { reason: "a\nb\u{1b}c".into(), ..entry(1) }.to_string();
        assert!(odd.ends_with(" a b c"), "{odd}");
        for bad in [
            "",
            "zz 1 bad 6.1 x",
            &format!("{} 1 good 6.1 x", hex::encode(&[1; 32])),
            &format!("{} x", hex::encode(&[1; 32])),
        ] {
            assert_eq!(Entry::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_newest_lines_are_kept_and_each_image_has_one() {
        let mut kernel = Recorder::default();
        kernel.files.insert("d".into(), crate::kernel::recorder::Node::Directory);
        for number in (0..40).chain([20]) {
            write(&mut kernel, "/d", &entry(number)).unwrap();
        }
        let left = read(&mut kernel, "/d");
        assert_eq!((left.len(), left.first(), left.last()), (MOST, Some(&entry(8)), Some(&entry(20))));
    }
}
