//! Images and roots that do not boot.

use std::{fs, path::PathBuf};

use disk::{Disk, Source};
use initramfs_overlay::busybox_rootfs::{self, RootFile};

use super::{card, card_of_root};
use crate::{
    lab::{Lab, scribble},
    support::{program, run},
    update::{self, Signer},
};

/// Returns a disk with these bytes as its image, whatever they are.
pub fn disk_of(lab: &Lab, image: &[u8]) -> PathBuf {
    let disk = lab.make(&lab.disk());
    let alone = crate::lab::cut_out(lab, &disk, "img");
    let file = lab.directory().join("image");
    fs::write(&file, image).expect("the image");
    update::debugfs(&alone, "rm root-squashfs.img");
    update::debugfs(&alone, &format!("write {} root-squashfs.img", file.display()));
    crate::lab::put_back(&disk, "img", &alone);
    disk
}

pub fn empty(lab: &Lab) {
    let words = ["root-squashfs.img on img (/dev/vda2), 0 B", "try next  it is empty: copy the image again"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk_of(lab, b"")], ""), "image-unknown", &words);
}

pub fn no_image(lab: &Lab) {
    let words = ["has the superblock of neither", "try next"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk_of(lab, &[0x41; 70_000])], ""), "image-unknown", &words);
}

/// Without padding the last sector of an image is not whole.
pub fn unpadded(lab: &Lab) {
    let file = lab.directory().join("image");
    run(program("mksquashfs").arg(lab.root("A")).arg(&file).args(["-quiet", "-no-progress", "-all-root", "-nopad"]));
    let mut image = fs::read(file).expect("the image");
    if image.len().is_multiple_of(512) {
        image.push(0);
    }
    let words = ["a loop device does not show the last", "try next  make the image without -nopad"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk_of(lab, &image)], ""), "image-unpadded", &words);
}

/// Kernel, fs/squashfs/squashfs_fs.h: the compressor is a number at 20; Debian's kernel is built without LZMA (2).
pub fn compressor(lab: &Lab) {
    let mut image = update::image(lab, "A");
    image[20..22].copy_from_slice(&2_u16.to_le_bytes());
    let words =
        ["compression. This is not supported", "try next  make the image with a compressor that this kernel has"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk_of(lab, &image)], ""), "image-mount", &words);
}

/// A signed image is damaged after it was signed.
pub fn damaged_with_signature(lab: &Lab) {
    let signer = Signer::new(lab);
    let key = signer.public_key();
    let image = update::update(lab);
    let disk =
        update::disk(lab, &[("root-squashfs.img", image.clone()), ("root-squashfs.img.minisig", signer.sign(&image))]);
    let modules = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk";
    let initrd = lab.build(&["--trust", key.to_str().expect("a path"), "--modules", modules]);
    // The signed image is installed; then a byte of it changes on img, and in the image before it, which nobody signed.
    lab.boot(&initrd, &disk, "");
    let bytes = fs::read(&disk).expect("the disk");
    let (start, size) = crate::lab::partition(&disk, "img");
    let (from, size) = (usize::try_from(start).expect("a start"), usize::try_from(size).expect("a size"));
    let sample = &image[image.len() / 2..image.len() / 2 + 64];
    // The image that the disk was made with has the same programs.
    let places = bytes[from..from + size].windows(64).enumerate().filter(|(_, window)| *window == sample);
    for (place, _) in places {
        scribble(&disk, start + u64::try_from(place).expect("a place"), &[!sample[0]]);
    }
    // What newimg still holds is installed already, and img has no older image that is signed.
    let words = ["the signature is for another file", "the image is damaged, or was changed after it was signed"];
    card(lab, &lab.machine(&initrd, &[&disk], "rd.newimg=LABEL=nowhere"), "image-untrusted", &words);
}

pub fn interpreter_missing(lab: &Lab) {
    let script = RootFile { path: "sbin/init", mode: 0o755, content: b"#!/usr/bin/python3\n" };
    let words = ["its interpreter is missing: /usr/bin", "try next  correct the root"];
    card_of_root(lab, |root| busybox_rootfs::put(root, &script).expect("an init"), "init-unusable", &words);
}

/// Init is no program at all.
pub fn no_program(lab: &Lab) {
    let text = RootFile { path: "sbin/init", mode: 0o755, content: b"hello\n" };
    let words =
        ["it is neither an ELF program nor a script", "try next  put an image in place whose init is a program"];
    card_of_root(lab, |root| busybox_rootfs::put(root, &text).expect("an init"), "init-exec", &words);
}

/// A file of `persistent` stands where the image has the directory of the loader.
pub fn persistent_hides_loader(lab: &Lab) {
    let root = lab.root("A");
    let init = fs::read("/bin/true").expect("a program");
    busybox_rootfs::put(&root, &RootFile { path: "sbin/init", mode: 0o755, content: &init }).expect("an init");
    // What the program of this machine asks for, as far as the check goes: its loader is there.
    let loader = RootFile { path: "lib64/ld-linux-x86-64.so.2", mode: 0o755, content: &init };
    busybox_rootfs::put(&root, &loader).expect("a loader");
    let persistent = lab.persistent("kept");
    fs::write(persistent.join("lib64"), "").expect("a file");
    let disk = lab.make(&Disk { source: Source::Root(root), overlay: Some(Some(persistent)), ..lab.disk() });
    let words = ["comes from persistent/ on /dev/vda4, or is hidden by it", "try next  boot with rd.persistent=no"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "init-unusable", &words);
}

pub fn squashfs_missing(lab: &Lab) {
    let initrd = lab.initrd_with("", &["ext4", "loop", "overlay", "virtio_pci", "virtio_blk"]);
    let words = ["it is not in /proc/filesystems", "build this initramfs with --modules squashfs"];
    card(lab, &lab.machine(&initrd, &[&lab.make(&lab.disk())], ""), "filesystem-unsupported", &words);
}

pub fn squashfs_forbidden(lab: &Lab) {
    let words = ["the command line forbids loading squashfs", "take squashfs off the list of forbidden modules"];
    let disk = lab.make(&lab.disk());
    let machine = lab.machine(&lab.initrd(""), &[&disk], "module_blacklist=squashfs");
    card(lab, &machine, "filesystem-unsupported", &words);
}
