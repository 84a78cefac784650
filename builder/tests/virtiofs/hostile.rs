//! A guest whose root wants to change what the host shares with it to read only.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use base::digest::digest;

use crate::lab::Lab;

/// Returns all names below a directory, with everything that a write would change.
fn look(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().expect("a name");
        let content = match metadata.is_file() {
            true => digest(&fs::read(&path).expect("a file")),
            false => fs::read_link(&path).map(|target| target.display().to_string()).unwrap_or_default(),
        };
        let (changed, names) = ((metadata.ctime(), metadata.ctime_nsec()), metadata.nlink());
        all.push(format!("{} {:o} {names} {changed:?} {content}", path.display(), metadata.mode()));
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()));
        }
    }
    all.sort();
    all
}

/// Something else mounted inside what is shared: the host's own protection must reach into it.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(place: PathBuf) -> Self {
        fs::create_dir(&place).expect("a directory");
        crate::ended::run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&place)).expect(0);
        fs::write(place.join("inner"), "inner\n").expect("a file");
        Self(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Remounts, mounts again, writes, renames, links, makes devices, sockets and attributes, and reaches for what lies beside.
const ATTACK: &str = r#"
cp() { cat "$1" > "$2"; busybox chmod 755 "$2"; }
cp /bin/busybox /tmp/b; b=/tmp/b
$b mount -o remount,rw / 2>/dev/null; $b mount -o remount,rw /run/mnt/kept 2>/dev/null
$b mkdir -p /tmp/root /tmp/kept; $b mount -t virtiofs -o rw rootfs /tmp/root; $b mount -t virtiofs -o rw kept /tmp/kept
for at in $PLACES; do
    cd $at || continue
    files="victim sub/victim link mounted/inner etc/passwd"
    for file in $files; do
        echo x 2>/dev/null > $file; echo x 2>/dev/null >> $file; $b ln $file hard; $b mv $file moved
        $b dd if=/dev/zero of=$file bs=1 count=1 conv=notrunc
    done 2>/dev/null
    { $b truncate -s 1 $files; $b chmod 777 $files; $b chown 7:7 $files; $b touch $files; $b rm -f $files
    $b touch made sub/made mounted/made; $b mkdir made.d sub/made.d mounted/made.d; $b ln -s / made.l; $b mkfifo made.f
    for name in made mounted/made; do $b mknod $name.b b 8 0; $b mknod $name.c c 1 1; $b mknod $name.0 c 0 0; done
    $b timeout 1 $b nc -l -U made.s; $b rmdir sub/empty; $b rm -rf sub; $b mv sub renamed
    $b mount --bind /tmp sub; $b umount sub; $b setfattr -n user.x -v y victim; $b chattr +i victim; } 2>/dev/null
    # What the guest's root makes in its own directory must not lead it out of that.
    cd /run/mnt/work; { $b ln -s ../../kept out; $b ln -s /../../../../.. up; echo x > out/victim; echo x > up/victim
    $b ln $at/victim hard; $b mv $at/victim stolen; $b mknod disk b 8 0; $b dd if=/dev/zero of=disk bs=1 count=1; } 2>/dev/null
done
echo done > /run/mnt/work/done
exit 4
"#;

pub fn guest(lab: &Lab) {
    let (root, outside) = (lab.root(), lab.directory());
    let (work, kept) = (outside.join("work"), outside.join("kept"));
    for directory in [&work, &kept] {
        fs::create_dir(directory).expect("a directory");
    }
    fs::write(outside.join("victim"), "beside\n").expect("a file");
    let mut mounted = Vec::new();
    for directory in [&root, &kept] {
        fs::create_dir_all(directory.join("sub/empty")).expect("directories");
        for name in ["victim", "sub/victim"] {
            fs::write(directory.join(name), "whole\n").expect("a file");
        }
        symlink("../../../../../../../../etc/hostname", directory.join("link")).expect("a link");
        if rustix::process::geteuid().is_root() {
            mounted.push(Mounted::tmpfs(directory.join("mounted")));
        }
    }
    let seen = || {
        let beside = [root.clone(), kept.clone(), outside.join("victim"), "/etc/hostname".into()];
        beside.iter().flat_map(|path| look(path)).collect::<Vec<_>>()
    };
    let before = seen();
    let [work_at, kept_at] = [&work, &kept].map(|path| path.to_str().expect("UTF-8"));
    // Over the writable layer the root's own directory is the only way.
    for (options, places) in [(&[][..], "/ /run/mnt/kept"), (&["--overlay"], "/tmp/root /tmp/kept")] {
        let options = [options, &["--share", "work", work_at, "--share-ro", "kept", kept_at]].concat();
        let script = format!("PLACES='{places}'\n{ATTACK}");
        lab.script(&root, &options, &script).expect(4);
        assert_eq!(fs::read_to_string(work.join("done")).expect("what the guest may write"), "done\n");
        let after = seen();
        let changed: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        assert!(after == before, "changed by the guest: {changed:#?}");
    }
}

/// Checks that no machine starts where neither virtiofsd nor the kernel can keep the directory read-only.
pub fn refused(lab: &Lab) {
    let root = lab.root();
    // Without the capability to mount, nor namespaces of its own.
    let limit = "echo 0 > /proc/sys/user/max_mnt_namespaces; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", limit, "sh"]).arg(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.arg("vm").arg(&root).args(["--kernel", "debian", "--accel", "tcg", "--", "-c", "true"]);
    let ended = crate::ended::run(command.current_dir(env!("CARGO_MANIFEST_DIR")));
    ended.expect(125);
    for words in ["the machine could write to", &root.display().to_string(), "--write"] {
        assert!(ended.errors.contains(words), "{words}:\n{}", ended.errors);
    }
}
