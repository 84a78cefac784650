//! Init alone, as `build --bare-init` writes it, packed by hand: the archives of those who do not take ours.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kmod::{ModuleTree, SelectedModule};

/// Writes an init that knows these boot modes into `directory`. Returns its file.
pub fn init(directory: &Path, target: &str, modes: &str) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.args(["build", "--variant", "slim", "--target", target, &format!("--bare-init={modes}"), "--output-dir"]);
    let built = command.arg(directory).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the command");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let file = directory.join(format!("init-{}-{target}.elf", env!("CARGO_PKG_VERSION")));
    assert_eq!(fs::metadata(&file).expect("the init").permissions().mode() & 0o111, 0o111);
    file
}

/// Returns these modules of a kernel with all they need, in the order in which they load.
pub fn modules(tree: &Path, wanted: &[&str]) -> Vec<SelectedModule> {
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    ModuleTree::open(tree).and_then(|tree| tree.resolve(&wanted, &[])).expect("modules").modules
}

/// Packs a directory as it is, with cpio(1). Returns the archive.
pub fn pack(directory: &Path) -> PathBuf {
    let archive = directory.with_extension("cpio");
    let mut command = Command::new("sh");
    command.args(["-c", "find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0"]).current_dir(directory);
    command.stdin(Stdio::null()).stdout(File::create(&archive).expect("an archive"));
    assert!(command.status().expect("cpio").success());
    archive
}
