//! Updates on a real kernel: what is wrong with a delivered image is found, said and remembered, and the current image boots; images
//! signed by a baked-in key are installed, others never; a stick is not changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use disk::Disk;

use crate::{
    image::{self, Marks},
    lab::{Lab, PATIENCE, cut_out, partition, put_back},
    support::run,
};

const X: &str = "root-squashfs.img";

/// Returns the usual disk with these files on `newimg`.
pub fn disk(lab: &Lab, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let base = lab.disk();
    let path = lab.make(&Disk { newimg: Some(Some(lab.root("B"))), ..base });
    // The partition is recreated with exactly these files, where the disk has it.
    let directory = lab.directory();
    for (name, content) in files {
        fs::write(directory.join(name), content).expect("a file for newimg");
    }
    let alone = lab.directory().join("newimg.ext4");
    fs::File::create(&alone).and_then(|file| file.set_len(partition(&path, "newimg").1)).expect("room");
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", "newimg", "-d"]).arg(&directory).arg(&alone));
    put_back(&path, "newimg", &alone);
    path
}

/// Returns the update B, as it would be delivered.
pub fn update(lab: &Lab) -> Vec<u8> {
    image(lab, "B")
}

/// Returns the squashfs of the test image `id`.
pub fn image(lab: &Lab, id: &str) -> Vec<u8> {
    let image = lab.directory().join("root.img");
    run(Command::new("mksquashfs").arg(lab.root(id)).arg(&image).args(["-quiet", "-no-progress", "-all-root"]));
    fs::read(image).expect("the image")
}

/// Returns the text of a file on a partition.
pub fn on(lab: &Lab, disk: &Path, partition: &str, name: &str) -> String {
    let alone = cut_out(lab, disk, partition);
    // The machine was powered off while its journal held the last of it.
    let _ = Command::new("e2fsck").args(["-p", "-E", "journal_only"]).arg(&alone).output();
    debugfs(&alone, &format!("cat {name}"))
}

/// Has debugfs do something with a filesystem, and returns what it says.
pub fn debugfs(alone: &Path, command: &str) -> String {
    let output = Command::new("debugfs").args(["-w", "-R", command]).arg(alone).output().expect("debugfs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The fate of a refused update on a fixed disk.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// It is deleted, with the reason beside where it was.
    Deleted,
    /// It stays.
    Stays,
}

/// Boots; image A must run, and the report and what is remembered on img give the reason.
fn refused(lab: &Lab, initrd: &Path, files: &[(&str, Vec<u8>)], fate: Fate, reason: &str) {
    check_refused(lab, initrd, &disk(lab, files), fate, reason);
}

fn check_refused(lab: &Lab, initrd: &Path, disk: &Path, fate: Fate, reason: &str) {
    let marks = lab.boot(initrd, disk, "");
    let report = marks.report();
    assert_eq!(
        (marks.get("image"), &report["update"], &report["status"]),
        ("A", &"rejected".into(), &"degraded".into())
    );
    assert!(report["notices"].to_string().contains(reason), "{report}");
    let remembered = on(lab, disk, "img", "updates.txt");
    assert!(remembered.contains(reason) && !remembered.contains("/run/initramfs"), "{remembered}");
    let newimg = debugfs(&cut_out(lab, disk, "newimg"), "ls -p");
    let is_there = |name: &str| newimg.contains(&format!("/{name}/"));
    assert!(!is_there("root-squashfs.img.sha256") || fate == Fate::Stays, "{newimg}");
    assert_eq!(
        (is_there(X), is_there("root-squashfs.img.txt")),
        match fate {
            Fate::Deleted => (false, true),
            Fate::Stays => (true, false),
        },
        "{newimg}"
    );
}

/// An image cut short, and one with another digest than its sidecar says.
pub fn bad_images(lab: &Lab) {
    let initrd = lab.initrd("");
    let good = update(lab);
    let short = good[..good.len() / 2].to_vec();
    refused(lab, &initrd, &[(X, short)], Fate::Deleted, "that its superblock says");
    let digest = format!("{}  {X}\n", "0".repeat(64)).into_bytes();
    refused(lab, &initrd, &[(X, good.clone()), ("root-squashfs.img.sha256", digest)], Fate::Deleted, "its digest is");
    // The superblock of a compressor that no kernel has (fs/squashfs/squashfs_fs.h: compression, 16 bits at 20).
    let mut foreign = good;
    foreign[20] = 9;
    refused(lab, &initrd, &[(X, foreign)], Fate::Stays, "cannot mount");
}

/// With a key baked in, a signed update is installed, one signed by another key is not, and an unsigned current image does not boot.
pub fn signatures(lab: &Lab) {
    let (ours, theirs) = (Signer::new(lab), Signer::new(lab));
    let key = ours.public_key();
    let modules = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk";
    let initrd = lab.build(&["--trust", key.to_str().expect("a path"), "--modules", modules]);
    let image = update(lab);
    let disk = disk(lab, &[(X, image.clone()), ("root-squashfs.img.minisig", ours.sign(&image))]);
    let marks: Marks = lab.boot(&initrd, &disk, "");
    assert_eq!((marks.get("image"), &marks.report()["update"]), ("B", &"installed".into()));
    let marks = lab.boot(&initrd, &disk, "");
    assert_eq!(marks.get("image"), "B", "its signature went with it");
    assert_eq!(marks.report()["persistent"], "unsigned", "{}", marks.report());
    let marks = lab.boot(&initrd, &disk, "rd.toram rd.overlay=tmpfs");
    assert_eq!((marks.get("image"), &marks.report()["toram"]), ("B", &"yes".into()), "{}", marks.report());
    assert_eq!(marks.mount("/run/initramfs/img"), None, "the copy is verified, and img is free");
    // The disk that was never signed, with an update by another key: nothing on it boots.
    let disk = self::disk(lab, &[(X, image.clone()), ("root-squashfs.img.minisig", theirs.sign(&image))]);
    let console = lab.fail(&lab.machine(&initrd, &[&disk], ""), "image-untrusted");
    assert!(console.contains("rejected: the signature is by another key"), "{console}");
    let remembered = on(lab, &disk, "img", "updates.txt");
    assert!(remembered.contains(" refused ") && remembered.contains("by another key"), "{remembered}");
}

/// Loads a module on `boot` with its signature only, as a key is baked in.
pub fn signed_modules(lab: &Lab) {
    let signer = Signer::new(lab);
    let key = signer.public_key();
    let key = key.to_str().expect("a path");
    let image = update(lab);
    let disk = disk(lab, &[(X, image.clone()), ("root-squashfs.img.minisig", signer.sign(&image))]);
    // The first boot installs the signed image, with all modules baked in.
    let whole = "ext4,loop,overlay,virtio_pci,virtio_blk,vfat,squashfs";
    let marks: Marks = lab.boot(&lab.build(&["--trust", key, "--modules", whole]), &disk, "");
    assert_eq!((marks.get("image"), &marks.report()["update"]), ("B", &"installed".into()));
    let boot = format!("{}@@{}", disk.display(), partition(&disk, "boot").0);
    let directory = format!("::modules/{}", lab.kernel.version);
    run(Command::new("mmd").args(["-i", &boot, "::modules", &directory]));
    let put = |name: &str, content: &[u8]| {
        let file = lab.directory().join(name);
        fs::write(&file, content).expect("a file for boot");
        run(Command::new("mcopy").args(["-o", "-i", &boot]).arg(&file).arg(&directory));
    };
    let module = crate::bare::modules(&lab.kernel.modules, &["squashfs"]).pop().expect("the module").file;
    let module = fs::read(module).expect("the module");
    put("squashfs.ko", &module);
    let initrd = lab.build(&["--trust", key, "--modules", whole.trim_end_matches(",squashfs")]);
    let shown = format!("modules/{}/squashfs.ko on boot, /dev/vda1: ", lab.kernel.version);
    let refused = |reason: &str| {
        let console = lab.fail(&lab.machine(&initrd, &[&disk], ""), "module-untrusted");
        assert!(console.contains(&format!("{shown}{reason}")), "{console}");
    };
    refused("it has no signature");
    put("squashfs.ko.minisig", &Signer::new(lab).sign(&module));
    refused("the signature is by another key");
    put("squashfs.ko.minisig", &signer.sign(&image));
    refused("the signature is for another file");
    put("squashfs.ko.minisig", &signer.sign(&module));
    let marks = lab.boot(&initrd, &disk, "");
    assert_eq!(marks.get("image"), "B");
    assert!(marks.group("module").iter().any(|line| line.starts_with("squashfs")), "{:?}", marks.group("module"));
}

/// A medium that cannot be written, and one that fails half way.
pub fn bad_media(lab: &Lab) {
    let initrd = lab.initrd("");
    let image = update(lab);
    for (medium, word, mark) in [("read-only", "installed", "B"), ("failing", "failed", "A")] {
        let whole = disk(lab, &[(X, image.clone())]);
        let alone = cut_out(lab, &whole, "newimg");
        let plain = lab.make(&Disk { newimg: None, ..lab.disk() });
        let mut machine = lab.machine(&initrd, &[&plain], "");
        let drive = match medium {
            "read-only" => format!("file={},format=raw,if=virtio,readonly=on", alone.display()),
            _ => {
                // Reading a block from the middle of the image fails, each time.
                let middle = image.len() / 2;
                let at = fs::read(&alone)
                    .expect("the stick")
                    .windows(64)
                    .position(|window| *window == image[middle..middle + 64]);
                let rules = lab.directory().join("rules");
                let sector = at.expect("the image is on the stick") / 512;
                let rule = format!("[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nsector = \"{sector}\"\n");
                fs::write(&rules, rule).expect("the rules");
                format!("file=blkdebug:{}:{},format=raw,if=virtio", rules.display(), alone.display())
            }
        };
        machine.extra = ["-drive".to_owned(), drive].map(Into::into).to_vec();
        let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{medium}: {error}"));
        assert_eq!(
            (marks.get("image"), &marks.report()["update"]),
            (mark, &word.into()),
            "{medium}: {}",
            marks.report()
        );
    }
}

/// A medium with FAT: a bad update is deleted on it, with the reason, and a good one is installed and removed.
pub fn fat(lab: &Lab) {
    let initrd = lab.initrd_with("", &["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "vfat"]);
    let image = update(lab);
    let plain = lab.make(&Disk { newimg: None, ..lab.disk() });
    let stick = lab.directory().join("stick.img");
    fs::File::create(&stick).and_then(|file| file.set_len(32 << 20)).expect("a stick");
    run(Command::new("mkfs.vfat").args(["-n", "newimg"]).arg(&stick));
    let deliver = |content: &[u8]| {
        let file = lab.directory().join(X);
        fs::write(&file, content).expect("an update");
        run(Command::new("mcopy").arg("-i").arg(&stick).arg(&file).arg("::"));
        let mut machine = lab.machine(&initrd, &[&plain], "");
        machine.extra = ["-drive", &format!("file={},format=raw,if=virtio", stick.display())].map(Into::into).to_vec();
        let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let list = Command::new("mdir").args(["-b", "-i"]).arg(&stick).output().expect("mdir");
        (marks, String::from_utf8_lossy(&list.stdout).into_owned())
    };
    let (marks, files) = deliver(&image[..image.len() / 2]);
    assert_eq!((marks.get("image"), &marks.report()["update"]), ("A", &"rejected".into()), "{}", marks.report());
    let lines = |files: &str| files.lines().map(|line| line.trim_start_matches("::/").to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&files), ["root-squashfs.img.txt"]);
    let (marks, files) = deliver(&image);
    assert_eq!((marks.get("image"), &marks.report()["update"]), ("B", &"installed".into()), "{}", marks.report());
    assert!(lines(&files).is_empty(), "{files}");
}

/// Refuses what is no regular file, is empty or does not fit, on a real filesystem too.
pub fn no_images(lab: &Lab) {
    let initrd = lab.initrd("");
    let whole = disk(lab, &[]);
    let (_, room) = partition(&whole, "img");
    let empty = lab.directory().join("empty");
    fs::write(&empty, "").expect("an empty file");
    // Larger than img, though only its superblock takes room on the medium.
    let large = lab.directory().join("large");
    let mut content = vec![0; 96];
    content[..4].copy_from_slice(b"hsqs");
    content[40..48].copy_from_slice(&room.to_le_bytes());
    fs::write(&large, content).expect("a file");
    fs::File::options().write(true).open(&large).and_then(|file| file.set_len(room)).expect("a large file");
    let cases = [
        (format!("mkdir {X}"), Fate::Deleted, "it is a directory"),
        (format!("symlink {X} ../img/{X}"), Fate::Deleted, "it is a symbolic link to "),
        (format!("mknod {X} p"), Fate::Deleted, "it is a device, a FIFO or a socket"),
        (format!("write {} {X}", empty.display()), Fate::Deleted, "neither squashfs nor EROFS"),
        (format!("write {} {X}", large.display()), Fate::Stays, "but img (/dev/vda"),
    ];
    for (command, fate, reason) in cases {
        let disk = lab.copy(&whole);
        let alone = cut_out(lab, &disk, "newimg");
        debugfs(&alone, &command);
        put_back(&disk, "newimg", &alone);
        check_refused(lab, &initrd, &disk, fate, reason);
    }
}

/// A stick on USB: its image is copied once, the stick is not changed, and it may be left in.
pub fn stick(lab: &Lab) {
    let modules =
        ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "xhci_pci", "usb_storage", "sd_mod"];
    let initrd = lab.initrd_with("", &modules);
    let whole = disk(lab, &[(X, update(lab))]);
    let stick = cut_out(lab, &whole, "newimg");
    let before = fs::read(&stick).expect("the stick");
    let plain = lab.make(&Disk { newimg: None, ..lab.disk() });
    for word in ["installed", "already installed"] {
        let mut machine = lab.machine(&initrd, &[&plain], "rd.newimg.timeout=30s");
        let drive = format!("file={},format=raw,if=none,id=stick", stick.display());
        machine.extra =
            ["-drive", &drive, "-device", "qemu-xhci", "-device", "usb-storage,drive=stick"].map(Into::into).to_vec();
        let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let report = marks.report();
        assert_eq!(
            (marks.get("image"), &report["update"], &report["status"]),
            ("B", &word.into(), &"ok".into()),
            "{report}"
        );
        // What a mount counts in the superblock is the kernel's; names and contents are what a stick is for.
        let list = |bytes: &[u8]| {
            let file = lab.directory().join("stick");
            fs::write(&file, bytes).expect("a copy of the stick");
            debugfs(&file, "ls -p")
        };
        assert_eq!(list(&fs::read(&stick).expect("the stick")), list(&before));
    }
    assert!(on(lab, &plain, "img", "updates.txt").contains(" installed "));
}

/// A pair of keys of minisign's.
pub struct Signer {
    directory: PathBuf,
}

impl Signer {
    /// Makes a pair.
    pub fn new(lab: &Lab) -> Self {
        let directory = lab.directory();
        run(Command::new("minisign").args(["-G", "-W", "-p", "k.pub", "-s", "k.key"]).current_dir(&directory));
        Self { directory }
    }

    /// Returns the file of the public key.
    pub fn public_key(&self) -> PathBuf {
        self.directory.join("k.pub")
    }

    /// Returns the signature of some bytes.
    pub fn sign(&self, content: &[u8]) -> Vec<u8> {
        fs::write(self.directory.join("file"), content).expect("a file to sign");
        run(Command::new("minisign")
            .args(["-S", "-H", "-W", "-s", "k.key", "-m", "file"])
            .current_dir(&self.directory));
        fs::read(self.directory.join("file.minisig")).expect("its signature")
    }
}
