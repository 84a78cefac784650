/*
 * The root's init that bench/boot measures up to, and the witness of how the root was put together.
 *
 * First of all it writes one line to the kernel log, so that the end of the stage is stamped by the clock that stamped
 * its start, `Run /init as init process`. Only then it tells the console: the log from that start on, the mounts, the
 * boot's report where there is one. It ends by waiting; bench/boot ends the machine.
 *
 * With `bench.ticks` on the kernel's command line it prints two lines a quarter of a second of guest time apart, by
 * which bench/boot checks that the guest's clock goes as fast as the host's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TICK_NANOSECONDS 250000000LL

static void stamp(void)
{
	/* Without the newline the kernel waits for the record's continuation and shows it to no reader. */
	static const char line[] = "<6>boot-bench: root's init started\n";
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (log < 0 || write(log, line, sizeof line - 1) < 0)
		dprintf(1, "bench-error: cannot write to /dev/kmsg\n");
	close(log);
}

/* One read of /dev/kmsg gives one record. The log before the stage is passed over. */
static void tell_log(void)
{
	static char record[8192];
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int started = 0;

	for (;;) {
		ssize_t length = read(log, record, sizeof record - 1);

		if (length <= 0)
			break;
		record[length] = 0;
		started |= strstr(record, ";Run /init as init process") != 0;
		if (started)
			dprintf(1, "bench-log: %.*s\n", (int)strcspn(record, "\n"), record);
	}
	close(log);
}

static void tell_file(const char *mark, const char *path)
{
	FILE *file = fopen(path, "r");
	static char line[8192];

	if (!file)
		return;
	while (fgets(line, sizeof line, file))
		dprintf(1, "%s%.*s\n", mark, (int)strcspn(line, "\n"), line);
	fclose(file);
}

/* The image itself has no upper: what can be made here is writable through the overlay. */
static void tell_writable(void)
{
	int made = mkdir("/bench-write", 0755) == 0;

	rmdir("/bench-write");
	dprintf(1, "bench-writable: %s\n", made ? "yes" : "no");
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void tell_ticks(void)
{
	static char line[4096];
	FILE *file = fopen("/proc/cmdline", "r");

	if (!file || !fgets(line, sizeof line, file) || !strstr(line, "bench.ticks"))
		return;
	long long first = now();
	dprintf(1, "bench-tick: %lld\n", first);
	long long second;
	do
		second = now();
	while (second - first < TICK_NANOSECONDS);
	dprintf(1, "bench-tick: %lld\n", second);
}

int main(void)
{
	stamp();
	int console = open("/dev/console", O_RDWR | O_NOCTTY);

	dup2(console, 1);
	dup2(console, 2);
	/* The firmware leaves escape sequences at the start of the console's line. */
	dprintf(1, "\n");
	tell_ticks();
	tell_log();
	tell_file("bench-mount: ", "/proc/self/mounts");
	tell_file("bench-report: ", "/run/initramfs/report.json");
	tell_writable();
	dprintf(1, "bench-end\n");
	for (;;)
		pause();
}
