/*
 * The floor: the shortest way from `Run /init` to the root's init on a known machine.
 *
 * It makes the system calls that the overlay root cannot do without, once each, in a fixed order, with fixed device
 * names, and loads the modules it was compiled with. It looks for nothing, waits for nothing, checks nothing that a
 * system call does not check, and leaves the rootfs as it is. An init for real machines cannot be faster; how close
 * it comes is what bench/boot measures.
 *
 * Compiled with:
 *   MODULES         string literals separated by commas: module files in load order
 *   IMG_DEVICE      the partition that holds root-squashfs.img
 *   OVERLAY_DEVICE  the partition for upper, work and persistent
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IMG "/run/initramfs/img"
#define IMAGE "/run/initramfs/image"
#define OVERLAY "/run/initramfs/overlay"
#define SYSROOT "/sysroot"

static const char *const modules[] = { MODULES };

/* Says which call failed on what. PID 1 that ends panics the kernel, and that ends the measurement with this line. */
static void need(int failed, const char *call, const char *what)
{
	if (!failed)
		return;
	dprintf(2, "floor: %s %s: %s\n", call, what, strerror(errno));
	_exit(1);
}

static void make(const char *folder, mode_t mode)
{
	need(mkdir(folder, mode) && errno != EEXIST, "mkdir", folder);
}

/* Empty ones only: a folder with something in it is not emptied, and the mkdir after it keeps what is there. */
static void clear(const char *folder, mode_t mode)
{
	rmdir(folder);
	make(folder, mode);
}

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	need(mount(source, target, type, flags, data), "mount", target);
}

static void load(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	need(fd < 0, "open", file);
	need(syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST, "finit_module", file);
	close(fd);
}

int main(void)
{
	umask(0);
	attach("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	attach("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
	attach("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
	attach("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	make("/run/initramfs", 0755);
	make(IMG, 0755);
	make(IMAGE, 0755);
	make(OVERLAY, 0755);

	for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
		load(modules[i]);

	attach(IMG_DEVICE, IMG, "ext4", MS_RDONLY, 0);
	struct loop_config config = { .info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR } };
	int image = open(IMG "/root-squashfs.img", O_RDONLY | O_CLOEXEC);
	int loop = open("/dev/loop0", O_RDONLY | O_CLOEXEC);

	need(image < 0, "open", "root-squashfs.img");
	need(loop < 0, "open", "/dev/loop0");
	config.fd = image;
	need(ioctl(loop, LOOP_CONFIGURE, &config), "LOOP_CONFIGURE", "/dev/loop0");
	attach("/dev/loop0", IMAGE, "squashfs", MS_RDONLY, 0);
	close(loop);
	close(image);

	attach(OVERLAY_DEVICE, OVERLAY, "ext4", 0, 0);
	rmdir(OVERLAY "/work/work");
	clear(OVERLAY "/work", 0700);
	clear(OVERLAY "/upper", 0755);
	make(OVERLAY "/persistent", 0755);
	attach("overlay", SYSROOT, "overlay", 0,
	       "lowerdir=" OVERLAY "/persistent:" IMAGE ",upperdir=" OVERLAY "/upper,workdir=" OVERLAY "/work,"
	       "index=off,metacopy=off");

	attach("/dev", SYSROOT "/dev", 0, MS_MOVE, 0);
	attach("/proc", SYSROOT "/proc", 0, MS_MOVE, 0);
	attach("/sys", SYSROOT "/sys", 0, MS_MOVE, 0);
	attach("/run", SYSROOT "/run", 0, MS_MOVE, 0);
	need(chdir(SYSROOT), "chdir", SYSROOT);
	attach(".", "/", 0, MS_MOVE, 0);
	need(chroot("."), "chroot", SYSROOT);
	need(chdir("/"), "chdir", "/");
	char *arguments[] = { "/sbin/init", 0 };
	execv("/sbin/init", arguments);
	need(1, "exec", "/sbin/init");
}
