//! The writes of a machine to its disk, as logged by QEMU's driver `blklogwrites`, and the disks that a power cut could have left: all
//! that was flushed, and any part of what was written since.
//!
//! Format: kernel, Documentation/admin-guide/device-mapper/log-writes.rst; QEMU, block/blklogwrites.c.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use doctor::block_reader::{Disk, Medium};
use vm::qemu::Machine;

use crate::{lab::Lab, support::Numbers};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// The unit that a disk writes whole or not at all, and the block size of the guest's filesystem, in bytes.
const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;

/// Returns a machine that boots a copy of `disk` and writes at most `speed` bytes a second to it, and the log of what it writes.
pub fn logged(lab: &Lab, initrd: &Path, disk: &Path, speed: Option<u64>) -> (Machine, PathBuf) {
    let directory = lab.directory();
    let (copy, log) = (directory.join("disk.img"), directory.join("log"));
    fs::copy(disk, &copy).expect("a copy");
    File::create(&log).and_then(|file| file.set_len(1 << 30)).expect("a log");
    let mut machine = lab.machine(initrd, &[], "");
    let limit = speed.map_or(String::new(), |speed| format!(",x-bps-write={speed}"));
    machine.extra = [
        ("-object", format!("throttle-group,id=slow{limit}")),
        ("-blockdev", format!("driver=file,node-name=file,filename={}", copy.display())),
        ("-blockdev", "driver=raw,node-name=raw,file=file".to_owned()),
        ("-blockdev", "driver=throttle,node-name=throttled,throttle-group=slow,file=raw".to_owned()),
        ("-blockdev", format!("driver=file,node-name=log,filename={}", log.display())),
        ("-blockdev", "driver=blklogwrites,node-name=logged,file=throttled,log=log".to_owned()),
        ("-device", "virtio-blk-pci,drive=logged".to_owned()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.into(), value.into()])
    .collect();
    (machine, log)
}

/// A write or a flush.
struct Entry {
    /// Its offset on the disk, in bytes.
    start: u64,
    /// Bytes.
    length: u64,
    /// The offset of its content in the log, in bytes.
    content: u64,
    flags: u64,
}

/// The writes of a machine to its disk.
pub struct Log {
    base: Arc<Disk>,
    path: PathBuf,
    file: Arc<File>,
    entries: Vec<Entry>,
}

fn field(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Log {
    /// Reads the log of what was written to a copy of the disk `base`. A log whose machine was killed has no count.
    pub fn read(base: &Path, log: &Path) -> Self {
        let file = File::open(log).expect("the log");
        let end = file.metadata().expect("its size").len();
        let mut head = [0; 32];
        file.read_exact_at(&mut head, 0).expect("the log's head");
        assert_eq!(field(&head, 0), MAGIC, "no log of writes");
        let unit = u64::from(u32::from_le_bytes(head[24..28].try_into().expect("four bytes")));
        let mut entries = Vec::new();
        let mut place = unit;
        while place + 32 <= end {
            file.read_exact_at(&mut head, place).expect("an entry");
            let (length, flags) = (field(&head, 8) * unit, field(&head, 16));
            if length == 0 && flags == 0 {
                break;
            }
            let content = place + unit;
            entries.push(Entry { start: field(&head, 0) * unit, length, content, flags });
            place = content + if flags & DISCARD == 0 { length } else { 0 };
        }
        Self {
            base: Arc::new(Disk::open(base).expect("the disk")),
            path: base.to_path_buf(),
            file: Arc::new(file),
            entries,
        }
    }

    /// Writes and flushes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the number of entries before each flush, and of all entries at the end.
    pub fn flushes(&self) -> Vec<usize> {
        let flushes = self.entries.iter().enumerate().filter(|(_, entry)| entry.flags & FLUSH != 0);
        flushes.map(|(place, _)| place).chain([self.entries.len()]).collect()
    }

    /// Returns where each write begins on the disk and how long it is, in bytes.
    pub fn writes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.entries.iter().filter(|entry| entry.length > 0).map(|entry| (entry.start, entry.length))
    }

    /// Returns the disk after the first `count` entries, all of them written.
    pub fn whole(&self, count: usize) -> Replay {
        let mut replay = self.nothing();
        self.entries[..count].iter().for_each(|entry| replay.put(entry.start, entry.length, entry.content));
        replay
    }

    /// Returns the disk after a cut at a random moment, with a random part of what was not flushed. `durable`: what was flushed before
    /// the cut is on the disk; without it any write may be lost, which no disk that keeps its word does.
    pub fn cut(&self, numbers: &mut Numbers, durable: bool) -> Replay {
        self.cut_at(1 + numbers.below(self.entries.len()), numbers, durable)
    }

    /// Returns the same as [`Self::cut`], after `count` entries.
    pub fn cut_at(&self, count: usize, numbers: &mut Numbers, durable: bool) -> Replay {
        let flushed = self.entries[..count].iter().rposition(|entry| entry.flags & FLUSH != 0).filter(|_| durable);
        let mut replay = self.whole(flushed.unwrap_or(0));
        let kept = [5, 20, 50, 80, 95][numbers.below(5)];
        let is_torn = numbers.below(2) == 0;
        for entry in &self.entries[flushed.unwrap_or(0)..count] {
            let piece = if is_torn { BLOCK } else { entry.length.max(1) };
            for at in (0..entry.length).step_by(usize::try_from(piece).expect("a length")) {
                if (durable && entry.flags & FUA != 0) || numbers.below(100) < kept {
                    replay.put(entry.start + at, piece.min(entry.length - at), entry.content + at);
                }
            }
        }
        replay
    }

    fn nothing(&self) -> Replay {
        let sectors = usize::try_from(self.base.size() / SECTOR).expect("a disk in memory's reach");
        Replay { base: self.base.clone(), path: self.path.clone(), log: self.file.clone(), sectors: vec![0; sectors] }
    }
}

/// A disk that a power cut left.
pub struct Replay {
    base: Arc<Disk>,
    path: PathBuf,
    log: Arc<File>,
    /// For each sector where in the log its content is; 0, the log's head, for those that were not written.
    sectors: Vec<u64>,
}

impl Replay {
    fn put(&mut self, start: u64, length: u64, content: u64) {
        let first = usize::try_from(start / SECTOR).expect("a sector");
        let count = usize::try_from(length / SECTOR).expect("sectors");
        for (place, cell) in (content..).step_by(512).zip(&mut self.sectors[first..first + count]) {
            *cell = place;
        }
    }

    /// Runs of sectors that lie together, in the log or on the disk, from `first` to `end`: first, count, place in the log.
    fn runs(&self, first: usize, end: usize) -> Vec<(usize, usize, u64)> {
        let mut runs: Vec<(usize, usize, u64)> = Vec::new();
        for (number, place) in (first..end).zip(&self.sectors[first..end]) {
            match runs.last_mut() {
                Some((_, count, 0)) if *place == 0 => *count += 1,
                Some((_, count, start)) if *start != 0 && *place == *start + *count as u64 * SECTOR => *count += 1,
                _ => runs.push((number, 1, *place)),
            }
        }
        runs
    }

    /// Makes a file of it.
    pub fn write(&self, path: &Path) {
        let copied = Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(&self.path).arg(path).status();
        assert!(copied.expect("cp").success(), "a copy of the disk");
        let file = File::options().write(true).open(path).expect("the copy");
        for (first, count, place) in self.runs(0, self.sectors.len()) {
            if place != 0 {
                let mut bytes = vec![0; count * 512];
                self.log.read_exact_at(&mut bytes, place).expect("the log");
                file.write_all_at(&bytes, first as u64 * SECTOR).expect("the copy");
            }
        }
    }
}

impl Medium for Replay {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if end > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = |place: u64| usize::try_from(place).expect("a sector");
        for (first, count, place) in self.runs(number(offset / SECTOR), number(end.div_ceil(SECTOR))) {
            let start = first as u64 * SECTOR;
            let (from, to) = (start.max(offset), (start + count as u64 * SECTOR).min(end));
            let piece = &mut buffer[number(from - offset)..number(to - offset)];
            match place {
                0 => self.base.read_at(from, piece)?,
                place => self.log.read_exact_at(piece, place + (from - start))?,
            }
        }
        Ok(())
    }
}
