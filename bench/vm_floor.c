/*
 * The floor of the virtiofs way: the system calls that a root over virtiofs cannot do without, once each, and the modules it was
 * compiled with, in this order. It looks for nothing, waits for nothing and leaves the rootfs as it is.
 *
 * Compiled with MODULES: string literals separated by commas, module files in load order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYSROOT "/sysroot"

static const char *const modules[] = { MODULES };

/* PID 1 that ends panics the kernel, and that ends the measurement with this line. */
static void need(int failed, const char *call, const char *what)
{
	if (!failed)
		return;
	dprintf(2, "floor: %s %s: %s\n", call, what, strerror(errno));
	_exit(1);
}

static void attach(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	need(mount(source, target, type, flags, data), "mount", target);
}

int main(int count, char **arguments)
{
	umask(0);
	attach("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	attach("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
	attach("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
	attach("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
		int fd = open(modules[i], O_RDONLY | O_CLOEXEC);

		need(fd < 0, "open", modules[i]);
		need(syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST, "finit_module", modules[i]);
		close(fd);
	}
	attach("rootfs", SYSROOT, "virtiofs", MS_RDONLY, 0);
	attach("/dev", SYSROOT "/dev", 0, MS_MOVE, 0);
	attach("/proc", SYSROOT "/proc", 0, MS_MOVE, 0);
	attach("/sys", SYSROOT "/sys", 0, MS_MOVE, 0);
	attach("/run", SYSROOT "/run", 0, MS_MOVE, 0);
	need(chdir(SYSROOT), "chdir", SYSROOT);
	attach(".", "/", 0, MS_MOVE, 0);
	need(chroot("."), "chroot", SYSROOT);
	need(chdir("/"), "chdir", "/");
	arguments[0] = "/bin/true";
	execv(arguments[0], arguments);
	need(1, "exec", arguments[0]);
	return count;
}
