/*
 * faultio.c - a library to preload: reads of chosen bytes of a file fail, or the
 * file gets shorter while it is read.
 *
 * SPDX-License-Identifier: MIT
 *
 * FAULT_FILE   the file's name as stat(2) finds it
 * FAULT_EIO    "OFFSET:LENGTH": reads that touch this range fail with EIO
 * FAULT_SIGNAL "OFFSET:LENGTH:NUMBER": the signal comes before the first such
 *              read
 * FAULT_SLEEP  "OFFSET:LENGTH:SECONDS": the first such read takes so long
 * FAULT_CUT    "NTH:LENGTH": before the NTH read the file is cut to LENGTH
 * FAULT_OPENS  a file to which the name of every other file opened is appended
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_target(int fd)
{
	const char *name = getenv("FAULT_FILE");
	struct stat a, b;

	return name && fstat(fd, &a) == 0 && stat(name, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The third number of the variable, or 1 if it has none; 0: this is no such read. */
static unsigned touches(const char *variable, off_t off, size_t len)
{
	const char *range = getenv(variable);
	unsigned long long start, n;
	unsigned third = 1;

	if (range == NULL ||
	    sscanf(range, "%llu:%llu:%u", &start, &n, &third) < 2 ||
	    (unsigned long long)off >= start + n ||
	    (unsigned long long)off + len <= start)
		return 0;
	return third;
}

static void maybe_hold(off_t off, size_t len)
{
	static int slept, signalled;
	unsigned number = touches("FAULT_SIGNAL", off, len);
	unsigned seconds = touches("FAULT_SLEEP", off, len);

	if (number && !signalled) {
		signalled = 1;
		raise((int)number);
	}
	if (seconds && !slept) {
		slept = 1;
		sleep(seconds);
	}
}

static void maybe_cut(void)
{
	static unsigned long long reads;
	const char *when = getenv("FAULT_CUT");
	unsigned long long nth;
	long long len;

	reads++;
	if (when && sscanf(when, "%llu:%lld", &nth, &len) == 2 &&
	    reads == nth && truncate(getenv("FAULT_FILE"), len) != 0)
		abort();
}

static ssize_t faulty_pread(const char *symbol, int fd, void *buf, size_t n,
			    off_t off)
{
	ssize_t (*real)(int, void *, size_t, off_t);

	*(void **)&real = dlsym(RTLD_NEXT, symbol);
	if (is_target(fd)) {
		maybe_cut();
		maybe_hold(off, n);
		if (touches("FAULT_EIO", off, n)) {
			errno = EIO;
			return -1;
		}
	}
	return real(fd, buf, n, off);
}

ssize_t pread(int fd, void *buf, size_t n, off_t off);
ssize_t pread64(int fd, void *buf, size_t n, off_t off);
int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
	return faulty_pread("pread", fd, buf, n, off);
}

ssize_t pread64(int fd, void *buf, size_t n, off_t off)
{
	return faulty_pread("pread64", fd, buf, n, off);
}

static void record(const char *path)
{
	const char *list = getenv("FAULT_OPENS");
	FILE *f = list ? fopen(list, "a") : NULL;

	if (f == NULL)
		return;
	fprintf(f, "%s\n", path);
	fclose(f);
}

int open(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...);
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	*(void **)&real = dlsym(RTLD_NEXT, "open");
	record(path);
	return real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...);
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	*(void **)&real = dlsym(RTLD_NEXT, "open64");
	record(path);
	return real(path, flags, mode);
}
