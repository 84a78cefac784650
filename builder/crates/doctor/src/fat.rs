//! FAT filesystems: `boot`, and sticks that somebody did not format as documented. For reading only; the rules are those of the
//! kernel (`fs/fat/`), the format is Microsoft's (FAT: General Overview of On-Disk Format, 1.03). Nothing on the disk makes it panic,
//! or read more than the disk holds.

use std::io::{self, Read, Seek, SeekFrom};

use contract::inventory::Kind;
use initramfs_overlay_init::kernel::Stat;
use zerocopy::{
    FromBytes,
    little_endian::{U16, U32},
};

use super::{
    block_reader::{Shared, seek},
    error::{Result, damaged},
    filesystem::{Capacity, Content, Filesystem},
};

mod directory;
mod structures;

use directory::{Directory, Entry};
use structures::{BootSector, DIRECTORY_ENTRY, Fat32, Identity};

/// The largest directory in bytes: 65536 entries (kernel, include/uapi/linux/msdos_fs.h, `FAT_MAX_DIR_SIZE`).
const DIRECTORY_MAX: usize = 65536 * DIRECTORY_ENTRY;
/// The number of the first cluster (`FAT_START_ENT`).
const FIRST_CLUSTER: u32 = 2;
/// Entries of the table that are read at once where all are wanted.
const TABLE_PIECE: u64 = 1 << 14;

/// The bits of a table's entry, and with it the kind of filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

impl Width {
    /// Returns the most clusters (`MAX_FAT12` and so on).
    fn clusters_max(self) -> u32 {
        match self {
            Self::Fat12 => 0xff4,
            Self::Fat16 => 0xfff4,
            Self::Fat32 => 0x0fff_fff6,
        }
    }

    fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }

    /// Returns the number from which on an entry ends a file.
    fn end(self) -> u32 {
        (self.clusters_max() + 4) & !7
    }

    /// Returns the entry number `index` in a part of the table.
    fn entry(self, table: &[u8], index: u64) -> Option<u32> {
        let rest = table.get(usize::try_from(index * self.bits() / 8).ok()?..)?;
        let short = || Some(u32::from(U16::read_from_prefix(rest).ok()?.0.get()));
        match self {
            Self::Fat12 => short().map(|pair| if index.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }),
            Self::Fat16 => short(),
            Self::Fat32 => Some(U32::read_from_prefix(rest).ok()?.0.get() & 0x0fff_ffff),
        }
    }
}

/// Places in bytes, as the boot sector has them.
#[derive(Debug, Clone)]
struct Layout {
    width: Width,
    /// Bytes of a cluster.
    cluster: u64,
    /// Clusters that there are.
    clusters: u32,
    /// The beginning of the first table.
    table: u64,
    /// The beginning of the first cluster.
    data: u64,
    root: Root,
    identity: Identity,
}

#[derive(Debug, Clone, Copy)]
enum Root {
    Region { start: u64, size: usize },
    Chain(u32),
}

impl Layout {
    /// Checks the boot sector as `fat_read_bpb` and `fat_fill_super` do.
    fn parse(boot: &BootSector) -> Result<Self> {
        let wrong = || damaged("its boot sector");
        let fat32 = Fat32::ref_from_prefix(&boot.variant).map(|(fat32, _)| fat32).map_err(|_| wrong())?;
        let (sector, per_cluster) = (boot.sector.get(), u64::from(boot.sectors_per_cluster));
        let media_is_known = matches!(boot.media, 0xf0 | 0xf8..);
        if boot.reserved == 0
            || boot.tables == 0
            || !media_is_known
            || !(512..=4096).contains(&sector)
            || !sector.is_power_of_two()
            || !per_cluster.is_power_of_two()
        {
            return Err(wrong());
        }
        let is_fat32 = boot.table_sectors == 0;
        let table_sectors =
            if is_fat32 { u64::from(fat32.table_sectors.get()) } else { u64::from(boot.table_sectors.get()) };
        let root_size = usize::from(boot.root_entries.get()) * DIRECTORY_ENTRY;
        let sectors = match boot.sectors_16.get() {
            0 => u64::from(boot.sectors_32.get()),
            sectors => u64::from(sectors),
        };
        let root = u64::from(boot.reserved.get()) + u64::from(boot.tables) * table_sectors;
        let sector = u64::from(sector);
        let data = root + root_size as u64 / sector;
        let space = sectors.checked_sub(data).ok_or_else(wrong)? / per_cluster;
        let width = match is_fat32 {
            true => Width::Fat32,
            false if space > u64::from(Width::Fat12.clusters_max()) => Width::Fat16,
            false => Width::Fat12,
        };
        let entries = (table_sectors * sector * 8 / width.bits()).saturating_sub(u64::from(FIRST_CLUSTER));
        let clusters = u32::try_from(space.min(entries)).map_err(|_| wrong())?;
        if !root_size.is_multiple_of(boot.sector.get().into()) || clusters > width.clusters_max() {
            return Err(wrong());
        }
        let identity = match is_fat32 {
            true => fat32.identity.clone(),
            false => Identity::read_from_prefix(&boot.variant).map_err(|_| wrong())?.0,
        };
        Ok(Self {
            width,
            cluster: per_cluster * sector,
            clusters,
            table: u64::from(boot.reserved.get()) * sector,
            data: data * sector,
            root: match is_fat32 {
                true => Root::Chain(fat32.root_cluster.get()),
                false => Root::Region { start: root * sector, size: root_size },
            },
            identity,
        })
    }

    /// Returns the place of a cluster, if there is one of that number.
    fn place(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(FIRST_CLUSTER).filter(|index| *index < self.clusters)?;
        Some(self.data + u64::from(index) * self.cluster)
    }
}

/// A FAT filesystem.
#[derive(Debug, Clone)]
pub struct Volume {
    medium: Shared,
    layout: Layout,
    is_named: bool,
}

impl Volume {
    /// Opens the filesystem in `medium`.
    ///
    /// # Errors
    /// The medium's, or that the kernel would not mount it.
    pub fn open(medium: Shared) -> Result<Self> {
        let boot: BootSector = medium.read(0)?;
        let layout = Layout::parse(&boot)?;
        let name: &[u8] = if layout.width == Width::Fat32 { b"FAT32" } else { b"FAT1" };
        let is_named = boot.signature == [0x55, 0xaa] && layout.identity.kind.starts_with(name);
        Ok(Self { medium, layout, is_named })
    }

    /// Returns true if the boot sector says that it is one of FAT's, as every tool for formatting has it.
    pub fn is_named(&self) -> bool {
        self.is_named
    }

    /// Returns its label as blkid reads it: the root directory's entry, else the boot sector's.
    pub fn label(&self) -> Option<String> {
        let label = self.directory("").ok().and_then(|root| root.label).unwrap_or(self.layout.identity.label);
        let label = String::from_utf8_lossy(&label).trim_end().to_owned();
        (!label.is_empty() && label != "NO NAME").then_some(label)
    }

    /// Returns its number as `UUID=` has it.
    pub fn uuid(&self) -> String {
        let id = self.layout.identity.serial.get();
        format!("{:04x}-{:04x}", id >> 16, id & 0xffff)
    }

    /// Reads `count` entries of the table, both numbers even: on FAT12 two entries share three bytes.
    fn entries(&self, first: u64, count: u64) -> Result<Vec<u8>> {
        let bits = self.layout.width.bits();
        let mut bytes = vec![0; (count * bits / 8) as usize];
        self.medium.read_at(self.layout.table + first * bits / 8, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns the cluster behind `cluster`; none at the end of its file.
    fn next(&self, cluster: u32) -> Result<Option<u32>> {
        let index = u64::from(cluster % 2);
        let next = self.layout.width.entry(&self.entries(u64::from(cluster) - index, 2)?, index);
        Ok(next.filter(|next| *next < self.layout.width.end()))
    }

    /// Returns the places of a file's clusters, at most `most`.
    fn chain(&self, first: u32, most: usize) -> Result<Vec<u64>> {
        let mut places = Vec::new();
        let mut next = Some(first);
        while let Some(cluster) = next.filter(|_| places.len() < most) {
            if places.len() == self.layout.clusters as usize {
                return Err(damaged("a chain of clusters has no end"));
            }
            places.push(self.layout.place(cluster).ok_or_else(|| damaged("an invalid cluster number"))?);
            next = self.next(cluster)?;
        }
        Ok(places)
    }

    fn read_directory(&self, root: Root) -> Result<Directory> {
        let bytes = match root {
            Root::Region { start, size } => {
                let mut bytes = vec![0; size];
                self.medium.read_at(start, &mut bytes)?;
                bytes
            }
            Root::Chain(first) => {
                let cluster = self.layout.cluster as usize;
                let places = self.chain(first, DIRECTORY_MAX / cluster + 1)?;
                if places.len() * cluster > DIRECTORY_MAX {
                    return Err(damaged("a directory has no end"));
                }
                let mut bytes = vec![0; places.len() * cluster];
                for (place, part) in places.into_iter().zip(bytes.chunks_mut(cluster)) {
                    self.medium.read_at(place, part)?;
                }
                bytes
            }
        };
        Ok(Directory::parse(&bytes, self.layout.width == Width::Fat32))
    }

    fn directory(&self, path: &str) -> Result<Directory> {
        match path {
            "" => self.read_directory(self.layout.root),
            _ => match self.entry(path)? {
                Entry { is_directory: true, cluster, .. } => self.read_directory(Root::Chain(cluster)),
                _ => Err(io::ErrorKind::NotADirectory.into()),
            },
        }
    }

    fn entry(&self, path: &str) -> Result<Entry> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let found = self.directory(parent)?.entries.into_iter().find(|entry| entry.is_called(name));
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &str) -> Result<File> {
        let Entry { is_directory, cluster, size, .. } = self.entry(path)?;
        if is_directory {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let places = match size {
            0 => Vec::new(),
            _ => self.chain(cluster, u64::from(size).div_ceil(self.layout.cluster) as usize)?,
        };
        Ok(File { medium: self.medium.clone(), cluster: self.layout.cluster, places, place: 0, size: size.into() })
    }

    /// Counts the free clusters, as a mount does: the number that is written down is a hint.
    fn free_clusters(&self) -> Result<u64> {
        let all = u64::from(FIRST_CLUSTER + self.layout.clusters);
        let mut free = 0;
        for first in (0..all).step_by(TABLE_PIECE as usize) {
            let count = TABLE_PIECE.min(all - first);
            let table = self.entries(first, count.next_multiple_of(2))?;
            let skipped = if first == 0 { u64::from(FIRST_CLUSTER) } else { 0 };
            free += (skipped..count).filter(|index| self.layout.width.entry(&table, *index) == Some(0)).count() as u64;
        }
        Ok(free)
    }
}

impl Filesystem for Volume {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self.directory(path)?.entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let directory = Stat { kind: Kind::Directory, mode: 0o755, size: 0 };
        if path.is_empty() {
            return Ok(directory);
        }
        Ok(match self.entry(path)? {
            Entry { is_directory: true, .. } => directory,
            Entry { size, .. } => Stat { kind: Kind::File, mode: 0o755, size: size.into() },
        })
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        Ok(Box::new(self.file(path)?))
    }

    fn capacity(&self) -> Capacity {
        let cluster = self.layout.cluster;
        let free = self.free_clusters().map_or(0, |free| free * cluster);
        let total = u64::from(self.layout.clusters) * cluster;
        Capacity { total, free, withheld: 0, inodes: u64::MAX, block: cluster }
    }

    fn identity(&self, path: &str) -> Option<String> {
        Some(path.to_lowercase())
    }
}

/// An open file.
struct File {
    medium: Shared,
    cluster: u64,
    /// The beginning of each of its clusters.
    places: Vec<u64>,
    place: u64,
    size: u64,
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut length = 0;
        while length < buffer.len() && self.place < self.size {
            let cluster = usize::try_from(self.place / self.cluster).ok().and_then(|index| self.places.get(index));
            let cluster = cluster.ok_or_else(|| damaged("a file is shorter than its size"))?;
            let offset = self.place % self.cluster;
            let left = (self.cluster - offset).min(self.size - self.place);
            let part = (buffer.len() - length).min(left as usize);
            self.medium.read_at(cluster + offset, &mut buffer[length..length + part])?;
            self.place += part as u64;
            length += part;
        }
        Ok(length)
    }
}

impl Seek for File {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.place = seek(place, self.place, self.size)?;
        Ok(self.place)
    }
}
