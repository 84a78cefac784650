//! Disks, read as `doctor` does: the tables of partitions, ext4 with its journal, FAT, squashfs and EROFS images.

use std::{
    fs,
    io::{self, Cursor, Read},
    process::{Command, Stdio},
    sync::Arc,
};

use doctor::{
    block_reader::{Medium, Shared},
    erofs,
    filesystem::Filesystem,
    squashfs::Image,
    volume::devices,
};

/// More names are not looked at: a directory may hold itself.
const NAMES_MAX: usize = 200;
const DEPTH_MAX: usize = 6;
/// More of a file is not read.
const READ_MAX: u64 = 1 << 16;

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Medium for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().filter(|from| *from <= self.0.len());
        let found = from.and_then(|from| self.0[from..].get(..buffer.len()));
        found.map(|found| buffer.copy_from_slice(found)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Reads the bytes as a disk, and as an image.
pub fn run(data: &[u8]) {
    let disk: Shared = Arc::new(Bytes(data.to_vec()));
    for device in devices(disk, "sda", None).0 {
        if let Ok(filesystem) = device.open() {
            walk(&*filesystem, "", 0, &mut 0);
            let _ = filesystem.capacity();
        }
    }
    if data.starts_with(b"hsqs")
        && let Ok(image) = Image::open(Box::new(Cursor::new(data.to_vec())))
    {
        walk(&image, "", 0, &mut 0);
    }
    if let Ok(image) = erofs::Image::open(Box::new(Cursor::new(data.to_vec()))) {
        walk(&image, "", 0, &mut 0);
    }
}

fn walk(filesystem: &dyn Filesystem, directory: &str, depth: usize, seen: &mut usize) {
    let Ok(names) = filesystem.list(directory) else { return };
    for name in names {
        *seen += 1;
        if *seen > NAMES_MAX {
            return;
        }
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        let _ =
            (filesystem.stat(&path), filesystem.read_link(&path), filesystem.identity(&path), filesystem.links(&path));
        if let Ok(content) = filesystem.open(&path) {
            let _ = io::copy(&mut content.take(READ_MAX), &mut io::sink());
        }
        if depth < DEPTH_MAX {
            walk(filesystem, &path, depth + 1, seen);
        }
    }
}

/// Returns small filesystems as the tools of each make them; those whose tool is not installed are left out.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("sub")).expect("a directory");
    fs::write(root.join("root-squashfs.img"), "image").expect("a file");
    fs::write(root.join("sub/file"), [7; 3000]).expect("a file");
    std::os::unix::fs::symlink("sub/file", root.join("link")).expect("a link");
    let root = root.to_str().expect("UTF-8");
    let mut seeds = Vec::new();
    // Sums over metadata would only keep the fuzzer out.
    let ext4 = "-q -F -b 1024 -I 128 -N 16 -m 0 -L img -O ^metadata_csum,^64bit,^resize_inode";
    let fat = format!("-C -n BOOT FILE 64 && mmd -i FILE ::a && mcopy -i FILE {root}/sub/file ::a/long-name.txt");
    let rows: [(&str, String); 5] = [
        ("ext4", format!("/sbin/mke2fs {ext4},^has_journal -t ext4 -d {root} FILE 64")),
        ("journal", format!("/sbin/mke2fs {ext4} -t ext4 -d {root} -J size=1 FILE 1300")),
        ("fat", format!("/sbin/mkfs.vfat {fat}")),
        ("squashfs", format!("mksquashfs {root} FILE -quiet -no-progress -all-root -nopad -comp gzip")),
        ("erofs", format!("mkfs.erofs --quiet -T0 -zlz4 FILE {root}")),
    ];
    for (name, script) in rows {
        let file = directory.path().join(name);
        let script = script.replace("FILE", file.to_str().expect("UTF-8"));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success())
            && let Ok(bytes) = fs::read(&file)
        {
            seeds.push((name.to_owned(), bytes));
        }
    }
    let ext4 = seeds.first().map(|(_, bytes)| bytes.clone()).unwrap_or_default();
    // An MBR whose one partition, from the second sector on, is the first filesystem.
    let mut disk = vec![0; 512];
    disk[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 128, 0, 0, 0]);
    disk[510..].copy_from_slice(&[0x55, 0xaa]);
    disk.extend(ext4);
    seeds.push(("mbr".to_owned(), disk));
    seeds
}
