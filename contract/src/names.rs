//! The names of the boot contract: files, directories, labels. What the builder writes and init reads is spelt here once.

/// The root that is being put together, before it is switched to.
pub const SYSROOT: &str = "/sysroot";
/// Directory in which the layers stay reachable in the running system.
pub const STATE_DIR: &str = "/run/initramfs";
/// Mount point of the partition that holds the image.
pub const IMG_DIR: &str = "/run/initramfs/img";
/// Mount point of the image itself.
pub const IMAGE_DIR: &str = "/run/initramfs/image";
/// Mount point of the image's copy in memory (`rd.toram`).
pub const RAM_DIR: &str = "/run/initramfs/ram";
/// Mount point of the writable partition (or tmpfs).
pub const OVERLAY_DIR: &str = "/run/initramfs/overlay";
/// Mount point of `boot`, mounted only while a module is read from it.
pub const BOOT_DIR: &str = "/run/initramfs/boot";
/// Mount point of `newimg`, mounted only during the update step.
pub const NEWIMG_DIR: &str = "/run/initramfs/newimg";
/// Report of the boot, for the running system.
pub const REPORT: &str = "/run/initramfs/report.json";
/// Seconds after which the kernel restarts the machine when it panics (Documentation/admin-guide/sysctl/kernel.rst, panic).
pub const PANIC: &str = "/proc/sys/kernel/panic";
/// Loudness that the kernel's messages must have for the consoles (Documentation/admin-guide/sysctl/kernel.rst, printk).
pub const CONSOLE_LEVEL: &str = "/proc/sys/kernel/printk";
/// Input devices with their keys (kernel, drivers/input/input.c, input_devices_seq_show).
pub const INPUT_DEVICES: &str = "/proc/bus/input/devices";
/// Lights that the kernel can switch (kernel, Documentation/leds/leds-class.rst).
pub const LEDS: &str = "/sys/class/leds";
/// Beginning of the line about modules that the command line forbids.
pub const FORBIDDEN: &str = "the command line forbids loading ";
/// Parameters baked into the image; the kernel's command line comes after it and wins.
pub const BAKED_CMDLINE: &str = "/etc/cmdline";
/// Parameters baked into the image that come last: the kernel's command line cannot override them.
pub const FINAL_CMDLINE: &str = "/etc/cmdline.final";
/// Beginning of the line that a failed boot's QR code holds, an address without a query; baked in, or not there.
pub const SUPPORT_URL: &str = "/etc/support-url";
/// Hash of the password that the menu of a failed boot asks for (crypt(5), sha256crypt); baked in, or not there.
pub const RECOVER_PASSWORD: &str = "/etc/recover.password";
/// File by which a shell of the debug variant asks for that menu.
pub const RECOVER_REQUEST: &str = "/run/initramfs/recover";
/// The file that says that this is an initramfs, and which one (systemd looks for it).
pub const INITRD_RELEASE: &str = "/etc/initrd-release";
/// Directory of the modules, below the root of whatever holds them.
pub const MODULES_DIR: &str = "lib/modules";
/// Modules that are loaded in the order of their names, whatever they are (virtiofs way).
pub const NUMBERED_MODULES_DIR: &str = "/usr/lib/modules";
/// Directory in which directories of the host are mounted, by tag (virtiofs).
pub const SHARES_DIR: &str = "/run/mnt";
/// Another name for each of them.
pub const SHARES_LINKS_DIR: &str = "/run/mount";
/// Arguments for the program that becomes PID 1, a NUL behind each: any bytes, as many as there are. A kernel's command line has
/// no place for quotes, and ends.
pub const BAKED_ARGUMENTS: &str = "/etc/init.arguments";
/// Program of a root that is the initramfs itself, with its environment: see [`crate::workload`].
pub const WORKLOAD: &str = "/.initramfs/workload";
/// All that has to be in such a root: see [`crate::inventory`].
pub const INVENTORY: &str = "/.initramfs/inventory";
/// Attributes of it that an archive cannot carry: see [`crate::attributes`].
pub const ATTRIBUTES: &str = "/.initramfs/attributes";
/// The root's own `/init`, while this one has its place.
pub const KEPT_INIT: &str = "/.initramfs/init";
/// The first argument of an init that runs beside process 1: see [`crate::hotplug`].
pub const HOTPLUG: &str = "hotplug";
/// This program, wherever its file is by now: process 1 runs it.
pub const OURSELVES: &str = "/proc/1/exe";
/// Text before the status on the console, where that is asked for.
pub const EXIT_STATUS: &str = "initramfs-overlay: exit status ";
/// The shell and its tools, where the variant has them.
pub const BUSYBOX: &str = "/bin/busybox";

/// Default name of the image.
pub const IMAGE: &str = "root-squashfs.img";
/// Name that the first, scripted version of this system gave the image: still booted from where it is the only one.
pub const SCRIPT_IMAGE: &str = "root-squash.img";
/// Program that becomes PID 1 when `init=` does not say otherwise.
pub const INIT: &str = "/sbin/init";

/// Writable top layer, below [`OVERLAY_DIR`].
pub const UPPER: &str = "upper";
/// Scratch directory of overlayfs, below [`OVERLAY_DIR`].
pub const WORK: &str = "work";
/// The kept read-only layer over the image, below [`OVERLAY_DIR`].
pub const PERSISTENT: &str = "persistent";
/// `persistent` of a damaged overlay partition, on the image partition until it is back.
pub const SAVED: &str = "persistent-saved";
/// File by which the running system asks for a factory reset at the next boot, below [`OVERLAY_DIR`].
pub const RESET_REQUEST: &str = "factory-reset";
/// File by which the running system asks for the menu at the next boot, below [`OVERLAY_DIR`].
pub const MENU_REQUEST: &str = "recover";
/// Layers of earlier boots, waiting to be deleted, below [`OVERLAY_DIR`].
pub const DISCARDED: &str = "discarded";

/// Directory of what the next boot needs and must not have to make on a full partition, below [`OVERLAY_DIR`]: an empty [`UPPER`], a
/// [`WORK`] and a [`RESERVE`].
pub const SPARE: &str = "spare";
/// File of [`RESERVE_SIZE`] bytes in [`SPARE`] that is given up when the partition is full.
pub const RESERVE: &str = "reserve";
/// Size of [`RESERVE`] in bytes: enough for the directories that a boot makes.
pub const RESERVE_SIZE: u64 = 64 << 10;
/// Directory that overlayfs keeps in its [`WORK`] (kernel, fs/overlayfs/super.c, OVL_WORKDIR_NAME).
pub const WORKDIR: &str = "work";
/// Name that a small file is written under before it takes its own, on any medium. What stands there was left by a power cut.
pub const SCRATCH: &str = ".initramfs-overlay.new";
/// File that remembers what became of delivered images, on the image partition or else on the overlay partition: see `docs/update.md`.
pub const UPDATES: &str = "updates.txt";

/// The black box, below [`OVERLAY_DIR`]: see [`crate::blackbox`].
pub const BLACKBOX: &str = "blackbox";
/// The file of parameters in the root directory of `boot`: see [`crate::parameters::read_file`].
pub const PARAMETERS_FILE: &str = "initramfs-overlay.txt";
/// Directory of the records that the kernel or the firmware keeps of a crash (kernel, Documentation/ABI/testing/pstore).
pub const PSTORE: &str = "/sys/fs/pstore";
/// Name of the driver behind them, or `(null)` (kernel, fs/pstore/platform.c).
pub const PSTORE_BACKEND: &str = "/sys/module/pstore/parameters/backend";
/// The file that the debug variant's shells read first.
pub const SHELL_SETTINGS: &str = "/etc/debug.rc";

/// File with the boots that an image on trial has left, below [`OVERLAY_DIR`]. Removing it marks the boot good.
pub const TRIAL: &str = "trial";
/// Objection to an old kind of signature. Only an init that checks signatures has it: the builder knows one by it.
pub const OLD_SIGNATURE: &str = "the signature is of minisign's old kind: sign again, with minisign -H";
/// A signature by the right key, over other bytes: the delivered image or its signature is damaged.
pub const WRONG_SIGNATURE: &str = "the signature is for another file";
/// The prompt of the debug variant's shell. Only an init that has a shell has it: the builder knows one by it.
pub const PROMPT: &str = "initramfs-overlay:\\w# ";
/// Directory of the public keys baked into the image, one file each.
pub const TRUST_DIR: &str = "/etc/trust";

/// `argv[0]` of the process that deletes [`DISCARDED`]. The `@` asks systemd to let it live
/// (systemd, "Using /run and storage daemons for the root file system").
pub const SWEEPER: &str = "@initramfs-overlay-sweep";

/// The log of the kernel, a record at a time (kernel, Documentation/ABI/testing/dev-kmsg).
pub const KERNEL_LOG: &str = "/dev/kmsg";

/// Mount points of media: partitions, and the image on one of them. What lies below may come from anybody.
pub const MEDIA: [&str; 5] = [IMG_DIR, NEWIMG_DIR, OVERLAY_DIR, BOOT_DIR, IMAGE_DIR];

/// Returns the medium below whose mount point `path` lies, and the rest of the path.
pub fn on_medium(path: &str) -> Option<(&'static str, &str)> {
    MEDIA.into_iter().find_map(|medium| Some((medium, below(path, medium)?)))
}

/// Returns what `path` has behind `directory`: nothing for the directory itself, else a path that begins with a slash. `None` where it lies
/// elsewhere.
pub fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    path.strip_prefix(directory).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns where a file of the image partition is reached during the boot.
pub fn img(name: &str) -> String {
    format!("{IMG_DIR}/{name}")
}

/// Returns where a file of the overlay partition is reached during the boot.
pub fn store(name: &str) -> String {
    format!("{OVERLAY_DIR}/{name}")
}

/// Returns where a file of the update medium is reached during the update.
pub fn newimg(name: &str) -> String {
    format!("{NEWIMG_DIR}/{name}")
}

/// Returns `text` with the paths below the mount points of `media` as people know them: the name, and the words for the medium.
pub fn readable(text: &str, media: &[(&str, String)]) -> String {
    let mut out = text.to_string();
    for (directory, words) in media {
        let mut rest = std::mem::take(&mut out);
        while let Some((before, after)) = rest.split_once(directory) {
            let end = after.find([' ', ':', ',', ')']).unwrap_or(after.len());
            let (name, behind) = after.split_at_checked(end).unwrap_or((after, ""));
            out.push_str(before);
            if name.is_empty() || name.starts_with('/') {
                let name = name.trim_start_matches('/');
                for part in [name, if name.is_empty() { "" } else { " on " }, words] {
                    out.push_str(part);
                }
            } else {
                // Another directory, whose name begins like that.
                out.push_str(directory);
                out.push_str(name);
            }
            rest = behind.to_string();
        }
        out.push_str(&rest);
    }
    out
}

/// Returns the name under which the previous image is kept: `root-squashfs.img` → `root-squashfs-old.img`.
pub fn old_image(name: &str) -> String {
    beside(name, "-old")
}

/// Returns the name under which a refused update stays on `newimg`: `root-squashfs.img` → `root-squashfs-rejected.img`.
pub fn rejected_image(name: &str) -> String {
    beside(name, "-rejected")
}

fn beside(name: &str, mark: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, suffix)) if !stem.is_empty() => format!("{stem}{mark}.{suffix}"),
        _ => format!("{name}{mark}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names_and_media() {
        let media = [(IMG_DIR, "img (/dev/vda2)".into()), (NEWIMG_DIR, "newimg (/dev/sda1)".into())];
        for (text, wanted) in [
            ("cannot read /run/initramfs/newimg/a.img: EIO", "cannot read a.img on newimg (/dev/sda1): EIO"),
            ("cannot sync /run/initramfs/img: EIO", "cannot sync img (/dev/vda2): EIO"),
            ("/run/initramfs/img/a, /run/initramfs/img/b", "a on img (/dev/vda2), b on img (/dev/vda2)"),
            (
                "/run/initramfs/image stays, /run/initramfs/imgs too",
                "/run/initramfs/image stays, /run/initramfs/imgs too",
            ),
        ] {
            assert_eq!(readable(text, &media), wanted);
        }
    }

    #[test]
    fn the_mark_goes_before_the_suffix() {
        assert_eq!(old_image("root-squashfs.img"), "root-squashfs-old.img");
        assert_eq!(old_image("root"), "root-old");
        assert_eq!(old_image(".img"), ".img-old");
        assert_eq!(rejected_image("a.b.img"), "a.b-rejected.img");
    }
}
