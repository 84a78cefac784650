//! An EROFS image in the making. The contents of files go into it while the layers are read for their names and checked, so that each is
//! unpacked once. Which of them the root has is known when the last layer was read; then what lies between them is closed up.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    num::NonZeroU64,
    os::unix::fs::FileExt,
    path::Path,
};

use base::atomic_file::AtomicFile;
use rustix::fs::{Advice, fadvise};

use super::directory::BLOCK;
use crate::{Result, merge::NAMES_MAX, tarball::CopyError};

/// Bytes that are handed to the kernel together.
const BUFFER: usize = 256 << 10;
/// Bytes after which the kernel is asked to write them to the disk, while the next ones are unpacked.
const WINDOW: u64 = 16 << 20;
/// Bytes that are moved together.
const PIECE: u64 = 1 << 20;

/// An EROFS image whose contents come first.
pub struct Draft {
    output: BufWriter<AtomicFile>,
    /// The next free block.
    block: u64,
    /// Contents that came with the layers, in their order.
    stored: Vec<Stored>,
    /// Bytes that the kernel was asked to write to the disk.
    handed_over: u64,
}

/// The content of a member of a layer.
struct Stored {
    layer: u32,
    number: u32,
    /// Its first block.
    block: u64,
}

/// A file of the root whose content is that of a member.
pub(super) struct Wanted {
    pub(super) layer: u32,
    pub(super) number: u32,
    pub(super) size: u64,
    /// Bytes behind its last whole block that go elsewhere.
    pub(super) tail: usize,
    /// Its inode in the tree.
    pub(super) inode: usize,
}

impl Draft {
    /// Begins the image with its first block, which is empty until the end.
    ///
    /// # Errors
    /// The file's error.
    pub fn new(output: AtomicFile) -> Result<Self> {
        let output = BufWriter::with_capacity(BUFFER, output);
        let mut draft = Self { output, block: 1, stored: Vec::new(), handed_over: 0 };
        draft.output.write_all(&[0; BLOCK as usize]).map_err(failed)?;
        Ok(draft)
    }

    /// Returns the path that the image will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.output.get_ref().path()
    }

    /// Makes the image durable and gives it its name.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub fn commit(self) -> Result<()> {
        let output = self.output.into_inner().map_err(|error| failed(error.into_error()))?;
        Ok(output.commit()?)
    }

    /// Adds the content of the member number `number` of the layer `layer`, whose numbers can only go up. More of them than a root has
    /// names are not remembered: what is left over is read again.
    ///
    /// # Errors
    /// As `fill`, and the file's error.
    pub(crate) fn add(
        &mut self,
        layer: u32,
        number: u32,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        if size == 0 || self.stored.len() >= NAMES_MAX {
            return Ok(());
        }
        fill(&mut self.output)?;
        self.stored.push(Stored { layer, number, block: self.block });
        self.end_file(size).map_err(CopyError::Sink)
    }

    /// Returns the next free block.
    pub(super) fn block(&self) -> u64 {
        self.block
    }

    /// Fills up the last block behind `size` bytes that began with one.
    pub(super) fn end_file(&mut self, size: u64) -> io::Result<()> {
        pad(&mut self.output, size)?;
        self.block += size.div_ceil(BLOCK);
        let end = self.block * BLOCK;
        if let Some(length) = NonZeroU64::new(end - self.handed_over).filter(|length| length.get() >= WINDOW) {
            // It begins to write what is dirty, and keeps it. Where it does not, it writes later.
            let _ = fadvise(self.output.get_mut().file(), self.handed_over, Some(length), Advice::DontNeed);
            self.handed_over = end;
        }
        Ok(())
    }

    /// Writes on, behind the last block.
    pub(super) fn sink(&mut self) -> &mut impl Write {
        &mut self.output
    }

    /// Flushes what is buffered, and returns the file.
    pub(super) fn file(&mut self) -> io::Result<&mut AtomicFile> {
        self.output.flush()?;
        Ok(self.output.get_mut())
    }

    /// Closes up the contents of `files` and drops all others. `place` is told the first block of each that is there, and the bytes of its
    /// tail.
    ///
    /// # Errors
    /// An error of the file or of `place`.
    pub(super) fn close_up(
        &mut self,
        files: &[Wanted],
        mut place: impl FnMut(&Wanted, u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let stored = std::mem::take(&mut self.stored);
        let file = self.file()?.file();
        let mut block = 1;
        let mut buffer = Vec::new();
        for wanted in files {
            let key = (wanted.layer, wanted.number);
            let found = stored.binary_search_by_key(&key, |stored| (stored.layer, stored.number));
            let Some(from) = found.ok().and_then(|found| stored.get(found)).map(|stored| stored.block * BLOCK) else {
                continue;
            };
            let whole = wanted.size - wanted.tail as u64;
            let mut tail = vec![0; wanted.tail];
            file.read_exact_at(&mut tail, from + whole)?;
            if from != block * BLOCK {
                move_down(file, from, block * BLOCK, whole.next_multiple_of(BLOCK), &mut buffer)?;
            }
            place(wanted, block, &tail)?;
            block += whole.div_ceil(BLOCK);
        }
        if block != self.block {
            let end = block * BLOCK;
            let file = self.output.get_mut().file();
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            (self.block, self.handed_over) = (block, self.handed_over.min(end));
        }
        Ok(())
    }
}

/// Moves `length` bytes towards the beginning of the file, to where they may lie already in part.
fn move_down(file: &File, from: u64, to: u64, length: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        buffer.resize(usize::try_from((length - done).min(PIECE)).unwrap_or_default(), 0);
        file.read_exact_at(buffer, from + done)?;
        file.write_all_at(buffer, to + done)?;
        done += buffer.len() as u64;
    }
    Ok(())
}

/// Writes zeros up to the end of the block, behind `size` bytes that began with one.
pub(super) fn pad(sink: &mut impl Write, size: u64) -> io::Result<()> {
    let missing = (size.next_multiple_of(BLOCK) - size) as usize;
    sink.write_all(&[0; BLOCK as usize][..missing])
}

pub(super) fn failed(source: io::Error) -> archive::Error {
    archive::Error::WriteArchive { source }
}

#[cfg(test)]
mod tests {
    use base::progress::Progress;

    use super::*;
    use crate::{
        erofs::{Ends, write},
        exclude::Exclude,
        image::{Image, Layer, Root},
        merge::Merge,
    };

    /// Writes a layer of files, by their names and lengths; a name behind `=` is a hard link to it.
    fn layer(directory: &Path, name: &str, files: &[(&str, usize)]) -> Layer {
        let path = directory.join(name);
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (number, (name, length)) in files.iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match name.split_once('=') {
                Some((name, first)) => {
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_size(0);
                    tar.append_link(&mut header, name, first).unwrap();
                }
                None => {
                    header.set_size(*length as u64);
                    let content: Vec<u8> = (0..*length).map(|at| ((at * 7 + number * 31) % 251) as u8).collect();
                    tar.append_data(&mut header, name, content.as_slice()).unwrap();
                }
            }
        }
        tar.finish().unwrap();
        let blob = crate::blob::Blob { place: crate::blob::Place::file(path).unwrap(), digest: None };
        Layer { blob, diff_id: None, urls: Vec::new() }
    }

    #[test]
    fn contents_that_come_early_make_the_same_image() {
        let directory = tempfile::tempdir().unwrap();
        let lower = [("a", 1), ("gone", 9000), ("b", 4096), ("empty", 0), ("c", 70_000), ("doc", 5000), ("alias=c", 0)];
        let upper = [("b", 8193), (".wh.gone", 3), ("last", 100)];
        let layers = vec![layer(directory.path(), "1", &lower), layer(directory.path(), "2", &upper)];
        let image = Image { root: Root::Layers(layers), ..Image::without_layers("i") };
        let exclude = Exclude::new(&["doc".to_owned()]).unwrap();
        let merged = |draft: Option<&mut Draft>| -> Merge {
            crate::merge_into(draft, &image, &exclude, 1 << 20, Progress::none()).unwrap()
        };
        let path = directory.path().join("image");
        let draft = || Draft::new(AtomicFile::create(&path).unwrap()).unwrap();
        for ends in [Ends::Blocks, Ends::Tails] {
            let mut late = draft();
            let of_late = write(&merged(None), &image, 0, ends, &mut late).unwrap();
            late.commit().unwrap();
            let bytes = std::fs::read(&path).unwrap();

            let mut early = draft();
            let merge = merged(Some(&mut early));
            let hidden: Vec<_> = ["1", "2"].iter().map(|name| directory.path().join(name)).collect();
            hidden.iter().for_each(|path| std::fs::rename(path, path.with_extension("away")).unwrap());
            let of_early = write(&merge, &image, 0, ends, &mut early).expect("layers are not read again");
            hidden.iter().for_each(|path| std::fs::rename(path.with_extension("away"), path).unwrap());
            early.commit().unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{ends:?}");
            assert_eq!(of_early, of_late);
        }
    }

    #[test]
    fn a_layer_that_is_cut_off_makes_no_image() {
        let directory = tempfile::tempdir().unwrap();
        let mut layer = layer(directory.path(), "1", &[("a", 1), ("b", 70_000)]);
        layer.blob.place.size = 40_000;
        let image = Image { root: Root::Layers(vec![layer]), ..Image::without_layers("i") };
        let mut draft = Draft::new(AtomicFile::create(directory.path().join("image")).unwrap()).unwrap();
        let merged =
            crate::merge_into(Some(&mut draft), &image, &Exclude::default(), 1 << 20, Progress::none()).unwrap_err();
        assert_eq!(
            merged.to_string(),
            format!(
                "image i, layer 1 ({}), entry `b`: the layer is cut off in its content",
                directory.path().join("1").display()
            )
        );
    }
}
