//! Boots that succeed: each way to put the root together, checked from inside the new root.

use std::fs;

use disk::{Boot, Source, image::Format};
use vm::qemu::Guest;

use crate::{
    image::Marks,
    lab::{Lab, PATIENCE, cut_out, partition},
};

/// Checks the properties that every assembled root has: its mounts, the order of their numbers, and the boot's report.
fn check_root(lab: &Lab, marks: &Marks) {
    assert_eq!(marks.get("pid"), "1");
    let [source, kind, options] = marks.mount("/").expect("the root is mounted");
    assert_eq!((source, kind), ("overlay", "overlay"));
    assert!(options.contains("lowerdir=/run/initramfs/overlay/persistent:/run/initramfs/image"), "{options}");
    let root = marks.mount_number("/").expect("the root's number");
    for (place, kind) in [("/dev", "devtmpfs"), ("/proc", "proc"), ("/sys", "sysfs"), ("/run", "tmpfs")] {
        assert_eq!(marks.mount(place).unwrap_or_else(|| panic!("{place} is mounted"))[1], kind);
        let number = marks.mount_number(place).expect("its number");
        assert!(number < root, "{place} was mounted again, not moved: mount {number}, root {root}");
    }
    assert!(marks.mount("/run").expect("run")[2].contains("nosuid,nodev"));
    for (layer, kind) in [("img", "ext4"), ("image", "squashfs")] {
        let seen = marks.mount(&format!("/run/initramfs/{layer}")).unwrap_or_else(|| panic!("{layer} is reachable"));
        assert_eq!(seen[1], kind);
        assert!(seen[2].starts_with("ro"), "{layer}: {}", seen[2]);
    }
    let report = marks.report();
    assert_eq!(report["kernel"], lab.kernel.version.as_str());
    let steps: Vec<&str> =
        report["steps"].as_array().expect("steps").iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(
        steps,
        [
            "api", "modules", "devices", "update", "choose", "verify", "image", "layers", "overlay", "check", "report",
            "switch-root"
        ]
    );
}

pub fn standard(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let initrd = lab.initrd("");
    for boot in 1..=2 {
        let marks = lab.boot(&initrd, &disk, "");
        check_root(lab, &marks);
        assert_eq!(marks.get("image"), "A");
        assert_eq!(marks.get("writable"), "yes");
        assert_eq!(marks.get("persistent"), "kept");
        assert_eq!(marks.get("lower"), "image A");
        assert_eq!(marks.get("earlier"), "absent", "boot {boot}: upper was cleared");
        assert_eq!(marks.get("argv0"), "/sbin/init");
        assert_eq!(marks.report()["status"], "ok");
        assert_eq!(marks.report()["update"], "none");
        assert_eq!(marks.report()["persistent"], "yes");
        let fds: Vec<&str> = marks.group("fd");
        assert!(fds.iter().filter(|fd| fd.ends_with("/dev/console")).count() >= 3, "{fds:?}");
        assert!(
            fds.iter().all(|fd| fd.starts_with(['0', '1', '2']) || fd.contains("/sbin/init")),
            "nothing leaks: {fds:?}"
        );
    }
}

pub fn once(lab: &Lab) {
    let marks = lab.boot(&lab.initrd(""), &lab.make(&lab.disk()), "");
    check_root(lab, &marks);
    assert_eq!((marks.get("image"), marks.get("persistent")), ("A", "kept"));
    assert_eq!(marks.report()["status"], "ok");
}

pub fn slim(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let marks = lab.boot(&lab.initrd("-slim"), &disk, "quiet");
    check_root(lab, &marks);
    assert_eq!(marks.get("image"), "A");
}

pub fn debug(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let machine = lab.machine(&lab.initrd("-debug"), &[&disk], "");
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("Stopped before step switch-root", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("# ", PATIENCE).expect("a prompt");
    guest.send("ls /sysroot/sbin && cat /proc/1/comm && echo sum=$((40 + 2))\n").expect("typing");
    let said = guest.wait_for("sum=42", PATIENCE).expect("the shell works");
    assert!(said.contains("init"), "{said}");
    guest.wait_for("# ", PATIENCE).expect("a prompt");
    guest.send("exit\n").expect("typing");
    guest.wait_for("MARK end", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let marks = Marks::parse(&guest.console()).expect("marks");
    check_root(lab, &marks);
    assert_eq!(marks.get("image"), "A");
}

pub fn update(lab: &Lab) {
    let mut disk = lab.disk();
    disk.newimg = Some(Some(lab.root("B")));
    let disk = lab.make(&disk);
    let initrd = lab.initrd("");
    let marks = lab.boot(&initrd, &disk, "");
    check_root(lab, &marks);
    assert_eq!(marks.get("image"), "B", "the update boots");
    assert_eq!(marks.report()["update"], "installed");
    let files = marks.group("layer-img");
    assert!(files.contains(&"root-squashfs.img") && files.contains(&"root-squashfs-old.img"), "{files:?}");
    assert!(!files.iter().any(|file| file.ends_with(".new")), "{files:?}");
    let marks = lab.boot(&initrd, &disk, "rd.image=root-squashfs-old.img");
    assert_eq!(marks.get("image"), "A", "the old image boots when it is asked for");
    assert_eq!(marks.report()["update"], "none", "the update is gone from newimg");
}

pub fn few_partitions(lab: &Lab) {
    let mut disk = lab.disk();
    disk.boot = None;
    disk.newimg = None;
    let marks = lab.boot(&lab.initrd(""), &lab.make(&disk), "");
    check_root(lab, &marks);
    assert_eq!(marks.report()["status"], "ok");
}

pub fn modules_from_disk(lab: &Lab) {
    let root = lab.root("A");
    crate::image::put_modules(&root, &lab.kernel.modules, &["overlay"]).expect("overlayfs' module in the image");
    let squashfs = find(&lab.kernel.modules, "squashfs.ko");
    let mut disk = lab.disk();
    disk.source = Source::Root(root);
    let modules = lab.directory();
    let directory = modules.join("modules").join(&lab.kernel.version);
    fs::create_dir_all(&directory).expect("a directory");
    let packed = liblzma::encode_all(fs::read(squashfs).expect("the module").as_slice(), 6).expect("xz");
    fs::write(directory.join("squashfs.ko.xz"), packed).expect("the module on boot");
    disk.boot = Some(Boot { directory: Some(modules), ..Boot::default() });
    let initrd = lab.initrd_with("", &["ext4", "loop", "vfat", "virtio_pci", "virtio_blk"]);
    let marks = lab.boot(&initrd, &lab.make(&disk), "");
    check_root(lab, &marks);
    for module in ["squashfs", "overlay", "vfat"] {
        assert!(marks.group("module").iter().any(|line| line.starts_with(module)), "{module} is loaded");
    }
}

/// Takes parameters from a file on `boot`, for one boot; the next one is as before.
pub fn parameters_on_boot(lab: &Lab) {
    let files = lab.directory();
    let text = "# Nothing is kept this time.\r\nonce rd.overlay=tmpfs\n";
    fs::write(files.join(contract::names::PARAMETERS_FILE), text).expect("a file");
    let mut disk = lab.disk();
    disk.boot = Some(Boot { directory: Some(files), ..Boot::default() });
    let (initrd, disk) = (lab.initrd(""), lab.make(&disk));
    let report = lab.boot(&initrd, &disk, "").report();
    assert_eq!((report["overlay"].as_str(), report["status"].as_str()), (Some("tmpfs"), Some("degraded")), "{report}");
    let notice = "parameters from initramfs-overlay.txt on /dev/vda1 (for this boot): rd.overlay=tmpfs";
    assert!(report["notices"].to_string().contains(notice), "{report}");
    let report = lab.boot(&initrd, &disk, "").report();
    assert_eq!((report["overlay"].as_str(), report["status"].as_str()), (Some("/dev/vda4"), Some("ok")), "{report}");
    let boot = fs::read(cut_out(lab, &disk, "boot")).expect("boot");
    let done = text.replace("once", "done");
    assert!(boot.windows(done.len()).any(|window| window == done.as_bytes()), "`once` is not marked done");
}

fn find(directory: &std::path::Path, name: &str) -> std::path::PathBuf {
    walkdir::WalkDir::new(directory)
        .into_iter()
        .flatten()
        .find(|entry| entry.file_name() == name)
        .unwrap_or_else(|| panic!("{name} below {}", directory.display()))
        .into_path()
}

pub fn erofs(lab: &Lab) {
    let mut disk = lab.disk();
    disk.format = Format::Erofs;
    let initrd = lab.initrd_with("", &["ext4", "loop", "erofs", "overlay", "virtio_pci", "virtio_blk"]);
    let marks = lab.boot(&initrd, &lab.make(&disk), "");
    assert_eq!(marks.get("image"), "A");
    assert_eq!(marks.mount("/run/initramfs/image").expect("the image")[1], "erofs");
    assert_eq!(marks.report()["image_format"], "erofs");
}

/// Parameters that the final line names are not the kernel's to say.
pub fn final_parameters(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let last = "rd.overlay=tmpfs rd.persistent=no ro -- --safe";
    let initrd = lab.build(&["--cmdline-final", last, "--modules", MODULES]);
    let marks =
        lab.boot(&initrd, &disk, "rd.overlay=LABEL=overlay rd.persistent=yes rw rd.timeout=9s single -- run=pwd");
    let report = marks.report();
    assert_eq!(
        (&report["overlay"], &report["persistent"], &report["root"]),
        (&"tmpfs".into(), &"no".into(), &"ro".into())
    );
    assert_eq!(marks.values("arg"), ["--safe"]);
    let [_, _, options] = marks.mount("/").expect("the root is mounted");
    assert!(options.contains("lowerdir=/run/initramfs/image,"), "{options}");
    for word in ["rd.overlay=LABEL=overlay", "rd.persistent=yes"] {
        assert!(report["notices"].to_string().contains(&format!("{word}: ignored")), "{report}");
    }
}

/// Modules without a list, in an order that does not fit: those that miss a symbol are loaded again.
pub fn bare(lab: &Lab) {
    let work = lab.directory();
    let archive = work.join("archive");
    let modules = archive.join("lib/modules").join(&lab.kernel.version);
    fs::create_dir_all(&modules).expect("a directory");
    fs::copy(crate::bare::init(&work, &lab.target.name, "overlay"), archive.join("init")).expect("a copy");
    let wanted = ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk"];
    let files = crate::bare::modules(&lab.kernel.modules, &wanted);
    let last = files.len();
    for (number, module) in files.iter().enumerate() {
        fs::copy(&module.file, modules.join(format!("{:03}-{}.ko", last - number, module.entry.name))).expect("a copy");
    }
    let initrd = crate::bare::pack(&archive);
    let marks = lab.boot(&initrd, &lab.make(&lab.disk()), "");
    check_root(lab, &marks);
    assert_eq!(marks.get("image"), "A");
    let fds: Vec<&str> = marks.group("fd");
    assert!(fds.iter().filter(|fd| fd.ends_with("/dev/console")).count() >= 3, "{fds:?}");
}

pub fn tmpfs_read_only(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let marks = lab.boot(&lab.initrd(""), &lab.make(&disk), "rd.overlay=tmpfs:size=5m ro");
    assert_eq!(marks.get("writable"), "no");
    let [_, kind, options] = marks.mount("/run/initramfs/overlay").expect("the layer");
    assert_eq!(kind, "tmpfs");
    assert!(options.contains("size=5120k"), "{options}");
    assert_eq!(marks.report()["root"], "ro");
}

pub fn fallback(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let marks = lab.boot(&lab.initrd(""), &lab.make(&disk), "rd.overlay.fallback=tmpfs rd.timeout=1s");
    assert_eq!(marks.get("writable"), "yes");
    assert_eq!(marks.report()["status"], "degraded");
    assert_eq!(marks.report()["overlay"], "tmpfs");
}

pub fn reset(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let initrd = lab.initrd("");
    assert_eq!(lab.boot(&initrd, &disk, "rd.overlay.reset").get("persistent"), "");
    let marks = lab.boot(&initrd, &disk, "");
    assert_eq!(marks.get("persistent"), "", "it stays empty");
}

pub fn init_arguments(lab: &Lab) {
    let root = lab.root("A");
    fs::rename(root.join("sbin/init"), root.join("sbin/start")).expect("rename");
    std::os::unix::fs::symlink("/sbin/start", root.join("begin")).expect("link");
    let mut disk = lab.disk();
    disk.source = Source::Root(root);
    let marks = lab.boot(&lab.initrd(""), &lab.make(&disk), "init=/begin single COLOUR=green -- -x run=pwd");
    assert_eq!(marks.values("arg"), ["single", "-x", "run=pwd"]);
    assert!(marks.group("env").contains(&"COLOUR=green"), "{:?}", marks.group("env"));
    assert_eq!(marks.group("run"), ["/"]);
}

pub fn tags(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let marks =
        lab.boot(&lab.initrd(""), &disk, "rd.img=PARTLABEL=img rd.overlay=/dev/vda4 rd.newimg=PARTLABEL=newimg");
    check_root(lab, &marks);
    let output = std::process::Command::new("sfdisk").arg("--json").arg(&disk).output().expect("sfdisk");
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let img =
        table["partitiontable"]["partitions"].as_array().expect("partitions").iter().find(|one| one["name"] == "img");
    let uuid = img.expect("img")["uuid"].as_str().expect("a UUID").to_string();
    let marks = lab.boot(&lab.initrd(""), &disk, &format!("rd.img=PARTUUID={uuid}"));
    check_root(lab, &marks);
}

pub fn two_processors(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let mut machine = lab.machine(&lab.initrd(""), &[&disk], "");
    machine.cpus = Some(2);
    let (marks, _) = crate::image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    check_root(lab, &marks);
}

const MODULES: &str = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk";

pub fn stripped(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let initrd = lab.build(&["--strip-modules", "--modules", MODULES, "--cmdline", "rd.timeout=9s"]);
    let marks = lab.boot(&initrd, &disk, "");
    check_root(lab, &marks);
    assert!(marks.group("module").iter().any(|line| line.starts_with("ext4")));
}

pub fn compressions(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    for compression in ["zstd", "xz", "lz4", "none"] {
        let initrd = lab.build(&["--compress", compression, "--modules", MODULES]);
        let marks = lab.boot(&initrd, &disk, "");
        assert_eq!(marks.get("image"), "A", "{compression}");
    }
}

/// USB devices announce themselves when the disk with `img` has long been there.
pub fn late_stick(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let mut stick = lab.disk();
    stick.source = Source::Root(lab.root("C"));
    stick.newimg = Some(Some(lab.root("B")));
    let stick = lab.make(&stick);
    let initrd = lab.initrd_with(
        "",
        &["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "xhci_pci", "usb_storage", "sd_mod"],
    );
    let (start, size) = partition(&stick, "newimg");
    let alone = lab.directory().join("stick.img");
    let bytes = fs::read(&stick).expect("the stick");
    let (start, size) = (usize::try_from(start).expect("an offset"), usize::try_from(size).expect("a size"));
    fs::write(&alone, &bytes[start..start + size]).expect("the partition alone");
    let mut machine = lab.machine(&initrd, &[&disk], "rd.newimg.timeout=60s");
    let drive = format!("file={},format=raw,if=none,id=stick", alone.display());
    machine.extra =
        ["-device", "qemu-xhci", "-drive", &drive, "-device", "usb-storage,drive=stick"].map(Into::into).to_vec();
    // The disk's own newimg partition is there, and empty; without it the stick is the only one.
    let mut plain = lab.disk();
    plain.newimg = None;
    let plain = lab.make(&plain);
    machine.drives[0].path = plain;
    let (marks, _) = crate::image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(marks.get("image"), "B");
    assert_eq!(marks.report()["update"], "installed");
}
