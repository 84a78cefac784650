//! A machine whose disks forget: three filesystems that keep nothing for certain but what was synced. What was not synced may be
//! there or not, each name and each block of a file for itself, in any order: stricter than ext4, which keeps an order in each
//! directory and a rename whole. On img a rename may even lose its file, on newimg it may leave both names. After every operation all that a power cut could leave is noted down.

mod kernel;

use std::{
    collections::{BTreeMap, HashSet},
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use contract::{Digest, blackbox, errno::ENOSPC, inventory::Kind, names, tag::Volume};
use initramfs_overlay_init::kernel::{
    Event, Kernel, Level, ModuleFile, Mount, Pace, Power, Removal, Sources, Space, Stat,
    disks::{self, Contents, Signatures, Signed},
    input::Input,
    recorder::{
        Recorder,
        sysfs::{self, Entry},
    },
    supervisor::{Shell, Supervisor, System},
};

/// The files on one disk: names, and the numbers of their contents. Two names with one number are hard links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Files {
    pub names: BTreeMap<String, usize>,
    pub contents: Vec<Vec<u8>>,
}

impl Files {
    /// Returns files by name and content; equal content is not linked.
    pub fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let names = files.iter().enumerate().map(|(number, (name, _))| ((*name).to_string(), number)).collect();
        Self { names, contents: files.iter().map(|(_, content)| content.clone()).collect() }
    }

    pub fn content(&self, name: &str) -> Option<&Vec<u8>> {
        self.contents.get(*self.names.get(name)?)
    }
}

/// Contents of a directory, as far as a boot can tell: nothing but the names below it; a tree that nobody looks into; the empty directory
/// that overlayfs makes in its `work`. They are contents, so that a rename takes all of it along.
pub const DIRECTORY: &[u8] = b"<directory>";
pub const TREE: &[u8] = b"<tree>";
pub const WORK: &[u8] = b"<work>";
/// Content of a black box that is whole. Its entries are another test's (`blackbox.rs`): no two of them would be equal, and there would be
/// no end of disks.
pub const BLACKBOX: &[u8] = b"<blackbox>";

fn is_directory(content: &[u8]) -> bool {
    [DIRECTORY, TREE, WORK].contains(&content)
}

/// The three disks: img, newimg, overlay.
pub type Disks = [Files; 3];

const MOUNTS: [(&str, &str); 3] = [("vda2", names::IMG_DIR), ("vda4", names::NEWIMG_DIR), ("vda3", names::OVERLAY_DIR)];

/// A file: what programs see, and what the medium may hold instead as long as it is not synced.
#[derive(Debug, Clone)]
struct Inode {
    now: Vec<u8>,
    maybe: Vec<Vec<u8>>,
}

/// A filesystem: for each name all that the medium may hold, the last being what programs see.
#[derive(Debug, Clone, Default)]
struct Filesystem {
    inodes: Vec<Inode>,
    names: BTreeMap<String, Vec<Option<usize>>>,
    /// Renames that are not synced: the name that goes and the one that comes, each with its place in what the name may hold.
    renames: Vec<[(String, usize); 2]>,
    after_cut: Renames,
}

/// Outcomes of a power cut for a rename that is not synced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Renames {
    /// The file may have neither name: worse than any filesystem.
    Lost,
    /// The file may have both names.
    Twice,
    /// It is done or not, as on every filesystem with a journal: a directory never has two names.
    #[default]
    Whole,
}

impl Filesystem {
    fn mounted(files: &Files, after_cut: Renames) -> Self {
        let inodes = files.contents.iter().map(|content| Inode { now: content.clone(), maybe: Vec::new() }).collect();
        let names = files.names.iter().map(|(name, inode)| (name.clone(), vec![Some(*inode)])).collect();
        Self { inodes, names, renames: Vec::new(), after_cut }
    }

    fn inode(&self, name: &str) -> Option<usize> {
        *self.names.get(name)?.last()?
    }

    fn point(&mut self, name: &str, inode: Option<usize>) {
        // A name that was never heard of may not be there at all after a cut.
        self.names.entry(name.to_string()).or_insert_with(|| vec![None]).push(inode);
    }

    fn sync_names(&mut self) {
        for all in self.names.values_mut() {
            all.drain(..all.len() - 1);
        }
        self.names.retain(|_, all| all != &[None]);
        self.renames.clear();
    }

    /// Returns everything a power cut may leave now.
    fn cut(&self) -> Vec<Files> {
        let names: Vec<&String> = self.names.keys().collect();
        let may_hold: Vec<&Vec<Option<usize>>> = self.names.values().collect();
        let number = |name: &String| names.binary_search(&name).unwrap();
        let renames: Vec<[(usize, usize); 2]> = self
            .renames
            .iter()
            .map(|[(from, gone), (to, come)]| [(number(from), *gone), (number(to), *come)])
            .collect();
        // What lies in a directory lives and dies with it.
        let parents: Vec<Option<usize>> =
            names.iter().map(|name| name.rsplit_once('/').map(|(parent, _)| number(&parent.to_string()))).collect();
        let mut left = Vec::new();
        // For each name, which of what it may hold it does hold: counted through like the digits of a number.
        let mut chosen = vec![0; names.len()];
        loop {
            let is_possible = renames.iter().all(|[(from, gone), (to, come)]| {
                let (gone, come) = (chosen[*from] >= *gone, chosen[*to] >= *come);
                match self.after_cut {
                    Renames::Lost => true,
                    Renames::Twice => come || !gone,
                    Renames::Whole => come == gone,
                }
            });
            if is_possible {
                let inode = |name: usize| may_hold[name][chosen[name]];
                let there = (0..names.len())
                    .filter(|name| parents[*name].is_none_or(|parent| inode(parent).is_some()))
                    .filter_map(|name| Some((names[name], inode(name)?)));
                left.extend(self.files(there));
            }
            let Some(digit) = (0..names.len()).find(|name| chosen[*name] + 1 < may_hold[*name].len()) else {
                return left;
            };
            chosen[digit] += 1;
            chosen[..digit].fill(0);
        }
    }

    /// Returns these names, with everything that their files may hold.
    fn files<'n>(&self, there: impl Iterator<Item = (&'n String, usize)>) -> Vec<Files> {
        // Numbered by first appearance, so that equal disks are equal.
        let mut order: Vec<usize> = Vec::new();
        let mut files = Files::default();
        for (name, inode) in there {
            let number = order.iter().position(|known| *known == inode).unwrap_or_else(|| {
                order.push(inode);
                order.len() - 1
            });
            files.names.insert(name.clone(), number);
        }
        let mut all = vec![files];
        for inode in order {
            let Inode { now, maybe } = &self.inodes[inode];
            if maybe.is_empty() {
                all.iter_mut().for_each(|files| files.contents.push(now.clone()));
                continue;
            }
            all = all
                .iter()
                .flat_map(|files| {
                    std::iter::once(now).chain(maybe).map(move |content| {
                        let mut files = files.clone();
                        files.contents.push(content.clone());
                        files
                    })
                })
                .collect();
        }
        all
    }
}

/// A program of the init that does not do what it should: a test of the test.
pub type Fault = fn(&str) -> bool;

/// The machine.
pub struct Model {
    filesystems: [Filesystem; 3],
    cmdline: String,
    room: u64,
    /// newimg is on a stick.
    pub is_removable: bool,
    /// Syncs of paths for which this holds are forgotten.
    forgets: Fault,
    /// Every state that a cut may have left so far.
    pub cuts: HashSet<Disks>,
    /// The number of cuts that left these states; a cut is a point in time and the writes lost at it.
    pub counted: usize,
    loops: Vec<Vec<u8>>,
    image: Option<Vec<u8>>,
    /// The content of the image that was booted.
    pub booted: Option<Vec<u8>>,
    /// The machine's messages, for finding the cause of a failure.
    pub said: Vec<String>,
}

impl Model {
    pub fn new(disks: &Disks, cmdline: &str, room: u64, forgets: Fault) -> Self {
        Self {
            filesystems: [0, 1, 2].map(|number: usize| {
                Filesystem::mounted(&disks[number], [Renames::Lost, Renames::Twice, Renames::Whole][number])
            }),
            cmdline: cmdline.to_string(),
            room,
            is_removable: false,
            forgets,
            cuts: HashSet::new(),
            counted: 0,
            loops: Vec::new(),
            image: None,
            booted: None,
            said: Vec::new(),
        }
    }

    /// Returns the disks as programs see them now.
    pub fn seen(&self) -> Disks {
        [0, 1, 2].map(|number: usize| {
            let filesystem = &self.filesystems[number];
            let mut synced = filesystem.clone();
            synced.sync_names();
            synced.inodes.iter_mut().for_each(|inode| inode.maybe.clear());
            synced.cut().remove(0)
        })
    }

    /// Notes down what a cut at this instant may leave.
    pub fn note(&mut self) {
        let [img, newimg, overlay] = [0, 1, 2].map(|number: usize| self.filesystems[number].cut());
        self.counted += img.len() * newimg.len() * overlay.len();
        let distinct = |disks: Vec<Files>| disks.into_iter().collect::<HashSet<Files>>();
        let [img, newimg, overlay] = [distinct(img), distinct(newimg), distinct(overlay)];
        for img in &img {
            for newimg in &newimg {
                for overlay in &overlay {
                    self.cuts.insert([img.clone(), newimg.clone(), overlay.clone()]);
                }
            }
        }
    }

    fn locate<'a>(&self, path: &'a str) -> Option<(usize, &'a str)> {
        let mut mounts = MOUNTS.iter().enumerate();
        mounts.find_map(|(number, (_, target))| Some((number, names::below(path, target)?.trim_start_matches('/'))))
    }

    fn place<'a>(&self, path: &'a str) -> Result<(usize, &'a str)> {
        self.locate(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn content(&self, path: &str) -> Result<&Vec<u8>> {
        let (number, name) = self.place(path)?;
        let filesystem = &self.filesystems[number];
        let inode = filesystem.inode(name).ok_or(ErrorKind::NotFound)?;
        Ok(&filesystem.inodes[inode].now)
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        let (number, name) = self.place(path)?;
        let filesystem = &mut self.filesystems[number];
        filesystem.inode(name).ok_or(ErrorKind::NotFound)?;
        filesystem.point(name, None);
        self.note();
        Ok(())
    }

    fn copy(&mut self, content: &[u8], to: &str) -> Result<()> {
        if self.content(to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let is_full = self.space(to)?.free < content.len() as u64;
        self.put(to, Vec::new(), Vec::new())?;
        if is_full {
            return Err(Error::from_raw_os_error(ENOSPC));
        }
        self.put(to, content.to_vec(), torn(content, IMAGE_BLOCKS))?;
        self.sync(to)
    }

    fn put(&mut self, path: &str, now: Vec<u8>, maybe: Vec<Vec<u8>>) -> Result<()> {
        let (number, name) = self.place(path)?;
        let filesystem = &mut self.filesystems[number];
        match filesystem.inode(name) {
            Some(inode) => {
                let inode = &mut filesystem.inodes[inode];
                inode.maybe.push(std::mem::replace(&mut inode.now, now));
                inode.maybe.extend(maybe);
            }
            None => {
                filesystem.inodes.push(Inode { now, maybe });
                filesystem.point(name, Some(filesystem.inodes.len() - 1));
            }
        }
        self.note();
        Ok(())
    }
}

/// Blocks that an image and a small file are written in, each of which may be lost.
const IMAGE_BLOCKS: usize = 4;
const SMALL_BLOCKS: usize = 2;

/// Returns the states that a cut may leave of content being written: its first blocks, or its full length with zeros for some blocks.
fn torn(content: &[u8], blocks: usize) -> Vec<Vec<u8>> {
    let block = content.len().div_ceil(blocks).max(1);
    let short = (0..blocks).map(|whole| content[..(whole * block).min(content.len())].to_vec());
    let zeroed = (1..1_usize << blocks).map(|lost| {
        let byte = |(at, byte): (usize, &u8)| if lost >> (at / block) & 1 == 1 { 0 } else { *byte };
        content.iter().enumerate().map(byte).collect()
    });
    short.chain(zeroed).collect()
}

/// Bytes of an image: a whole sector, as a loop device shows no part of one.
pub const IMAGE_SIZE: usize = 512;

/// Returns an image: a squashfs superblock that claims its length, a mark, and an end that is not zero.
pub fn image(mark: char) -> Vec<u8> {
    let mut bytes = vec![b'.'; IMAGE_SIZE];
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&(IMAGE_SIZE as u64).to_le_bytes());
    bytes[48] = mark as u8;
    bytes
}
