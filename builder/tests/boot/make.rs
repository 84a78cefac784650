//! Filesystems other than ext4, made with a label and what a directory holds.

use std::{fs, path::Path};

use crate::support::{program, run};

/// The smallest that each of them takes, in bytes: mkfs.xfs(8) asks for 300 MiB.
pub const SIZE: u64 = 320 << 20;

/// Makes a filesystem with this label, and what a directory holds, in a file.
pub type Make = fn(&Path, &str, &Path);

/// Filesystems that an update is installed on, by the kernel's names.
pub const OTHERS: [(&str, Make); 3] = [("xfs", xfs), ("btrfs", btrfs), ("f2fs", f2fs)];

fn btrfs(device: &Path, label: &str, directory: &Path) {
    run(program("mkfs.btrfs").args(["-q", "-L", label, "--rootdir"]).arg(directory).arg(device));
}

fn f2fs(device: &Path, label: &str, directory: &Path) {
    run(program("mkfs.f2fs").args(["-q", "-l", label]).arg(device));
    run(program("sload.f2fs").arg("-f").arg(directory).arg(device));
}

/// Makes an XFS with what a directory holds, listed in a prototype file (mkfs.xfs(8), -p).
fn xfs(device: &Path, label: &str, directory: &Path) {
    fn list(directory: &Path, lines: &mut String) {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_str().expect("a name");
            if path.is_dir() {
                *lines += &format!("{name} d--755 0 0\n");
                list(&path, lines);
                *lines += "$\n";
            } else {
                *lines += &format!("{name} ---644 0 0 {}\n", path.display());
            }
        }
    }
    let mut lines = "none\n0 0\nd--755 0 0\n".to_owned();
    list(directory, &mut lines);
    lines += "$\n";
    let prototype = device.with_extension("proto");
    fs::write(&prototype, lines).expect("a prototype");
    run(program("mkfs.xfs").args(["-q", "-L", label, "-p"]).arg(&prototype).arg(device));
}
