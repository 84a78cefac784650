//! A machine whose disks forget: three filesystems that keep nothing for certain but what was synced. What was not synced may be
//! there or not, each name and each block of a file for itself, in any order: stricter than ext4, which keeps an order in each
//! directory and a rename whole. On img a rename may even lose its file, on newimg it may leave both names. After every operation all that a power cut could leave is noted down.

use std::{
    collections::{BTreeMap, HashSet},
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use contract::{Digest, blackbox, errno::ENOSPC, inventory::Kind, names, tag::Volume};
use initramfs_overlay_init::kernel::{
    Event, Kernel, Level, ModuleFile, Mount, Pace, Power, Removal, Sources, Space, Stat,
    disks::{self, Contents, Signatures, Signed},
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

impl Contents for Model {
    fn digest(&mut self, path: &str, copy: Option<&str>, _pace: Pace<'_>) -> Result<Digest> {
        let content = self.content(path)?.clone();
        if let Some(copy) = copy {
            self.copy(&content, copy)?;
        }
        Ok(Recorder::sum(&content, 0))
    }
}

impl Signatures for Model {
    fn verify(&mut self, signed: Signed<'_>, signature: &str, key: &str, _pace: Pace<'_>) -> Result<()> {
        let Signed::File(path) = signed else { return Err(ErrorKind::Unsupported.into()) };
        let content = self.content(path)?;
        let good = content.len() == IMAGE_SIZE
            && *content == image(char::from(content[48]))
            && signature == format!("{} by {key}", char::from(content[48]));
        if good { Ok(()) } else { Err(Error::other("another key or another file")) }
    }
}

/// Returns the partitions.
fn volumes() -> [Volume; 3] {
    let volume = |name: &str, label: &str| Volume {
        name: name.into(),
        disk: if label == "newimg" { "vdb".into() } else { "vda".into() },
        kind: Some("ext4".into()),
        label: Some(label.into()),
        ..Volume::default()
    };
    [volume("vda2", "img"), volume("vda3", "overlay"), volume("vda4", "newimg")]
}

fn entry(path: &str) -> Option<Entry> {
    sysfs::entry(&volumes().each_ref(), path)
}

impl disks::Disks for Model {
    fn probe(&mut self, volume: &mut Volume, details: bool) {
        sysfs::probe(&volumes().each_ref(), volume, details);
    }

    fn attach_loop(&mut self, path: &str) -> Result<String> {
        let content = self.content(path)?.clone();
        self.loops.push(content);
        Ok(format!("/dev/loop{}", self.loops.len() - 1))
    }

    fn run(&mut self, _root: &str, _program: &str, _arguments: &[&str]) -> Result<i32> {
        Ok(127)
    }
}

impl Shell for Model {}
impl Supervisor for Model {}
impl System for Model {}

impl Kernel for Model {
    fn now(&mut self) -> Duration {
        Duration::ZERO
    }

    fn log(&mut self, _level: Level, line: &str) {
        self.said.push(line.into());
    }

    fn read(&mut self, path: &str, offset: u64, most: usize) -> Result<Vec<u8>> {
        let described = entry(path);
        let content = match path {
            "/proc/cmdline" => self.cmdline.as_bytes(),
            "/proc/filesystems" => b"\text4\n\tsquashfs\n\toverlay\n",
            "/proc/version" => b"Linux version 6.1.0",
            "/etc/trust/k.pub" => b"k",
            path if path.ends_with("/blackbox") && self.content(path)? == BLACKBOX => &[blackbox::FILL; blackbox::HEAD],
            path if path.ends_with("/sbin/init") => b"A",
            "/sys/class/block/vdb/removable" if self.is_removable => b"1\n",
            "/sys/class/block/vdb/removable" => b"0\n",
            _ => match &described {
                Some(Entry::File(content)) => content,
                _ => self.content(path)?,
            },
        };
        Ok(content.iter().skip(usize::try_from(offset).unwrap()).take(most).copied().collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.locate(path).is_none() {
            return Ok(());
        }
        if self.content(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let bytes = if path.ends_with("/blackbox") { BLACKBOX } else { bytes };
        self.put(path, bytes.to_vec(), torn(bytes, SMALL_BLOCKS))
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        assert!(
            path.ends_with("/blackbox") && offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096),
            "{path} is overwritten"
        );
        self.content(path)?;
        self.note();
        Ok(())
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        if let Some(Entry::Directory(names)) = entry(path) {
            return Ok(names);
        }
        if path == names::TRUST_DIR {
            return Ok(vec!["k.pub".into()]);
        }
        if let Some(outer) = path.strip_suffix("/work")
            && self.content(outer).is_ok_and(|content| content == WORK)
        {
            return Ok(Vec::new());
        }
        let (number, name) = self.place(path)?;
        let below = if name.is_empty() { String::new() } else { format!("{name}/") };
        if !name.is_empty() {
            match self.content(path)?.as_slice() {
                TREE => return Ok(vec!["x".into()]),
                WORK => return Ok(vec!["work".into()]),
                DIRECTORY => {}
                _ => return Err(ErrorKind::NotADirectory.into()),
            }
        }
        let filesystem = &self.filesystems[number];
        let there = filesystem.names.keys().filter(|name| filesystem.inode(name).is_some());
        let inside = there.filter_map(|name| name.strip_prefix(&below)).filter(|name| !name.contains('/'));
        Ok(inside.map(String::from).collect())
    }

    fn stat(&mut self, path: &str) -> Result<Stat> {
        let directory = Stat { kind: Kind::Directory, mode: 0o755, size: 0 };
        if path.ends_with("/sbin") {
            return Ok(directory);
        }
        if path == "/dev/loop-control" || path.ends_with("/sbin/init") {
            return Ok(Stat { kind: Kind::File, mode: 0o755, size: 1 });
        }
        if let Some(Entry::File(content)) = entry(path) {
            return Ok(Stat { kind: Kind::File, mode: 0o444, size: content.len() as u64 });
        }
        let content = self.content(path)?;
        if is_directory(content) {
            return Ok(directory);
        }
        Ok(Stat { kind: Kind::File, mode: 0o644, size: content.len() as u64 })
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        match entry(path) {
            Some(Entry::Link(target)) => Ok(target),
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }

    fn make_dir(&mut self, path: &str, _mode: u32) -> Result<()> {
        if !path.starts_with(names::OVERLAY_DIR) || path == names::OVERLAY_DIR {
            return Ok(());
        }
        if self.content(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        // Its content is its own: a directory is there whole or not at all.
        self.put(path, DIRECTORY.to_vec(), Vec::new())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let ((number, from), (other, to)) = (self.place(from)?, self.place(to)?);
        assert_eq!(number, other, "rename over filesystems");
        let filesystem = &mut self.filesystems[number];
        let inode = filesystem.inode(from).ok_or(ErrorKind::NotFound)?;
        if let Some(other) = filesystem.inode(to) {
            assert!(!is_directory(&filesystem.inodes[other].now), "{to} is replaced");
        }
        filesystem.point(to, Some(inode));
        filesystem.point(from, None);
        let places = [from, to].map(|name| (name.to_string(), filesystem.names[name].len() - 1));
        filesystem.renames.push(places);
        self.note();
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> Result<()> {
        let ((number, from), (other, to)) = (self.place(from)?, self.place(to)?);
        assert_eq!(number, other, "link over filesystems");
        let filesystem = &mut self.filesystems[number];
        let inode = filesystem.inode(from).ok_or(ErrorKind::NotFound)?;
        if filesystem.inode(to).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        filesystem.point(to, Some(inode));
        self.note();
        Ok(())
    }

    fn remove(&mut self, path: &str, kind: Kind) -> Result<()> {
        let is_directory = self.content(path).is_ok_and(|content| is_directory(content));
        assert!(kind == Kind::Directory || !is_directory, "{path} is removed like a file");
        if kind == Kind::Directory && !self.list(path)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.unlink(path)
    }

    fn remove_below(&mut self, dir: &str, _budget: usize, _pace: Pace<'_>) -> Result<Removal> {
        let names = self.list(dir)?;
        if self.content(dir).is_ok_and(|content| content == TREE || content == WORK) {
            self.put(dir, DIRECTORY.to_vec(), Vec::new())?;
        } else {
            for name in &names {
                self.unlink(&format!("{dir}/{name}"))?;
            }
        }
        Ok(Removal { removed: names.len(), refused: 0 })
    }

    fn sync(&mut self, path: &str) -> Result<()> {
        let (number, name) = self.place(path)?;
        if (self.forgets)(path) {
            return Ok(());
        }
        let filesystem = &mut self.filesystems[number];
        if name.is_empty() {
            filesystem.sync_names();
        } else {
            let inode = filesystem.inode(name).ok_or(ErrorKind::NotFound)?;
            filesystem.inodes[inode].maybe.clear();
        }
        self.note();
        Ok(())
    }

    fn space(&mut self, path: &str) -> Result<Space> {
        let Ok((number, _)) = self.place(path) else {
            return Ok(Space { total: self.room, free: self.room, read_only: false });
        };
        let filesystem = &self.filesystems[number];
        let mut used: Vec<usize> = filesystem.names.values().filter_map(|all| *all.last()?).collect();
        used.sort_unstable();
        used.dedup();
        let used: u64 = used
            .into_iter()
            .map(|inode| filesystem.inodes[inode].now.len())
            .map(|length| (length - length % IMAGE_SIZE) as u64)
            .sum();
        Ok(Space { total: self.room, free: self.room.saturating_sub(used), read_only: false })
    }

    fn copy_attributes(&mut self, _from: &str, _to: &str) -> Result<()> {
        Ok(())
    }

    fn mount(&mut self, mount: &Mount<'_>) -> Result<()> {
        if let Some(number) = mount.source.strip_prefix("/dev/loop") {
            self.image = self.loops.get(number.parse::<usize>().unwrap()).cloned();
        }
        Ok(())
    }

    fn unmount(&mut self, _target: &str) -> Result<()> {
        Ok(())
    }

    fn load_modules(&mut self, files: &[ModuleFile], _workers: usize, _first: bool) -> Vec<Result<()>> {
        files.iter().map(|_| Ok(())).collect()
    }

    fn listen(&mut self, _sources: Sources) -> Result<()> {
        Ok(())
    }

    fn next_events(&mut self, _deadline: Option<Duration>) -> Result<Vec<Event>> {
        Ok(Vec::new())
    }

    /// Does at once what the process behind the boot does later.
    fn sweep(&mut self, store: &str) -> Result<()> {
        let discarded = format!("{store}/{}", names::DISCARDED);
        if self.content(&discarded).is_ok() {
            self.remove_below(&discarded, usize::MAX, &mut |_, _| None)?;
        }
        for name in [names::SPARE, "spare/upper", "spare/work"].map(|name| format!("{store}/{name}")) {
            if self.content(&name).is_err() {
                self.put(&name, DIRECTORY.to_vec(), Vec::new())?;
            }
        }
        let reserve = format!("{store}/spare/{}", names::RESERVE);
        if self.content(&reserve).is_err() { self.put(&reserve, b"reserve".to_vec(), Vec::new()) } else { Ok(()) }
    }

    fn enter_root(&mut self, _root: &str) -> Result<()> {
        Ok(())
    }

    fn exec(&mut self, _program: &str, _arguments: &[String]) -> Error {
        self.booted.clone_from(&self.image);
        Error::other("booted")
    }

    fn power(&mut self, _power: Power, _after: Duration) {}
}
