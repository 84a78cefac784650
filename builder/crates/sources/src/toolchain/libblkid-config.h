/*
 * What util-linux's configure finds for musl 1.2.5 and Linux's headers as Zig 0.13 has them, as far as libblkid and the
 * parts of libcommon below it ask. It is the same on every target, so configure (two minutes each) need not run.
 * The version comes from the compiler's command line. Left out are HAVE_LINUX_BLKZONED_H, HAVE_LINUX_CDROM_H and
 * HAVE_LINUX_FD_H: zoned disks, CD-ROM drives and floppy drives, which libblkid would ask each device about.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#define PACKAGE "util-linux"
#define PACKAGE_STRING "util-linux " LIBBLKID_VERSION
#define PACKAGE_VERSION LIBBLKID_VERSION
#define HAVE_BYTESWAP_H 1
#define HAVE_CPU_SET_T 1
#define HAVE_DECL_CPU_ALLOC 1
#define HAVE_DIRFD 1
#define HAVE_ENDIAN_H 1
#define HAVE_ENUM_FSCONFIG_COMMAND 1
#define HAVE_ENVIRON_DECL 1
#define HAVE_ERR 1
#define HAVE_ERRNO_H 1
#define HAVE_ERRX 1
#define HAVE_ERR_H 1
#define HAVE_EXPLICIT_BZERO 1
#define HAVE_FSYNC 1
#define HAVE_GETDTABLESIZE 1
#define HAVE_GETOPT_H 1
#define HAVE_GETRANDOM 1
#define HAVE_GETRLIMIT 1
#define HAVE_JRAND48 1
#define HAVE_LANGINFO_H 1
#define HAVE_LINUX_MOUNT_H 1
#define HAVE_LINUX_OPENAT2_H 1
#define HAVE_LINUX_VERSION_H 1
#define HAVE_LOCALE_H 1
#define HAVE_MEMPCPY 1
#define HAVE_MKOSTEMP 1
#define HAVE_MOUNTFD_API 1
#define HAVE_NANOSLEEP 1
#define HAVE_NEWLOCALE 1
#define HAVE_OPENAT 1
#define HAVE_PATHS_H 1
#define HAVE_POSIX_FADVISE 1
#define HAVE_PRCTL 1
#define HAVE_PROGRAM_INVOCATION_SHORT_NAME 1
#define HAVE_REALLOCARRAY 1
#define HAVE_SECURE_GETENV 1
#define HAVE_SENDFILE 1
#define HAVE_SETNS 1
#define HAVE_SRANDOM 1
#define HAVE_STATX 1
#define HAVE_STDIO_EXT_H 1
#define HAVE_STDLIB_H 1
#define HAVE_STRNDUP 1
#define HAVE_STRNLEN 1
#define HAVE_STRTOD_L 1
#define HAVE_STRUCT_MOUNT_ATTR 1
#define HAVE_STRUCT_STATX 1
#define HAVE_STRUCT_STAT_ST_MTIM_TV_NSEC 1
#define HAVE_SYSCONF 1
#define HAVE_SYS_IOCTL_H 1
#define HAVE_SYS_PRCTL_H 1
#define HAVE_SYS_SENDFILE_H 1
#define HAVE_SYS_STATFS_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_SYSCALL_H 1
#define HAVE_SYS_SYSMACROS_H 1
#define HAVE_SYS_TTYDEFAULTS_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_VFS_H 1
#define HAVE_TIMEGM 1
#define HAVE_TLS 1
#define HAVE_TM_GMTOFF 1
#define HAVE_UNISTD_H 1
#define HAVE_UNSHARE 1
#define HAVE_USELOCALE 1
#define HAVE_USLEEP 1
#define HAVE_WARN 1
#define HAVE_WARNX 1
#define HAVE_WIDECHAR 1
#define HAVE___FPENDING 1
#define HAVE___PROGNAME 1
