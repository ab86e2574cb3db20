/*
 * faultwrite.c - a library to preload: chosen writes to chosen files fail, or a
 * signal comes just before them.
 *
 * SPDX-License-Identifier: MIT
 *
 * FAULT_NAME   a pattern as of a shell that the file's name, without its folder,
 *              must match
 * FAULT_AT     "NTH:WHAT": the NTH operation that writes, resizes or flushes such
 *              a file; WHAT is EIO or ENOSPC (it fails), INT or TERM (the signal,
 *              and it succeeds), KILL (half of it is written, and then that signal),
 *              FLIP (one bit of what is written is another one)
 * FAULT_COUNT  a file in which the number of such operations is written at exit
 * FAULT_FAST   flushes are counted, but nothing is waited for
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long long operations;

static int is_target(int fd)
{
	const char *pattern = getenv("FAULT_NAME");
	char link[64], path[4096];
	const char *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (pattern == NULL || n <= 0)
		return 0;
	path[n] = '\0';
	name = strrchr(path, '/');
	return fnmatch(pattern, name ? name + 1 : path, 0) == 0;
}

static const char *what_happens(int fd)
{
	const char *at = getenv("FAULT_AT");
	char *what;

	if (!is_target(fd))
		return "";
	operations++;
	if (at == NULL || strtoull(at, &what, 10) != operations)
		return "";
	return what + 1;
}

/* True if the operation must fail; then errno says why. */
static int fails(const char *what)
{
	if (strcmp(what, "INT") == 0)
		(void)raise(SIGINT);
	if (strcmp(what, "TERM") == 0)
		(void)raise(SIGTERM);
	if (strcmp(what, "KILL") == 0)
		(void)raise(SIGKILL);
	errno = strcmp(what, "ENOSPC") == 0 ? ENOSPC : EIO;
	return *what == 'E';
}

static ssize_t wrong_write(ssize_t (*real)(int, const void *, size_t, off_t),
			   int fd, const void *buf, size_t n, off_t off)
{
	unsigned char *copy = malloc(n);
	ssize_t done;

	if (copy == NULL)
		abort();
	memcpy(copy, buf, n);
	copy[n / 2] ^= 4;
	done = real(fd, copy, n, off);
	free(copy);
	return done;
}

static ssize_t faulty_pwrite(const char *symbol, int fd, const void *buf,
			     size_t n, off_t off)
{
	ssize_t (*real)(int, const void *, size_t, off_t);
	const char *what = what_happens(fd);

	*(void **)&real = dlsym(RTLD_NEXT, symbol);
	/* Torn where a disk tears: between sectors. */
	if (strcmp(what, "KILL") == 0 && n > 512)
		(void)!real(fd, buf, 512 - (size_t)(off & 511), off);
	if (strcmp(what, "FLIP") == 0 && n > 0)
		return wrong_write(real, fd, buf, n, off);
	return fails(what) ? -1 : real(fd, buf, n, off);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off);
ssize_t pwrite64(int fd, const void *buf, size_t n, off_t off);

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off)
{
	return faulty_pwrite("pwrite", fd, buf, n, off);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off_t off)
{
	return faulty_pwrite("pwrite64", fd, buf, n, off);
}

static int faulty_flush(const char *symbol, int fd)
{
	int (*real)(int);

	*(void **)&real = dlsym(RTLD_NEXT, symbol);
	if (fails(what_happens(fd)))
		return -1;
	return getenv("FAULT_FAST") ? 0 : real(fd);
}

int fsync(int fd)
{
	return faulty_flush("fsync", fd);
}

int fdatasync(int fd)
{
	return faulty_flush("fdatasync", fd);
}

static int faulty_truncate(const char *symbol, int fd, off_t size)
{
	int (*real)(int, off_t);

	*(void **)&real = dlsym(RTLD_NEXT, symbol);
	return fails(what_happens(fd)) ? -1 : real(fd, size);
}

int ftruncate(int fd, off_t size);
int ftruncate64(int fd, off_t size);
int fallocate(int fd, int mode, off_t off, off_t len);
int fallocate64(int fd, int mode, off_t off, off_t len);

int ftruncate(int fd, off_t size)
{
	return faulty_truncate("ftruncate", fd, size);
}

int ftruncate64(int fd, off_t size)
{
	return faulty_truncate("ftruncate64", fd, size);
}

static int faulty_allocate(const char *symbol, int fd, int mode, off_t off,
			   off_t len)
{
	int (*real)(int, int, off_t, off_t);

	*(void **)&real = dlsym(RTLD_NEXT, symbol);
	return fails(what_happens(fd)) ? -1 : real(fd, mode, off, len);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	return faulty_allocate("fallocate", fd, mode, off, len);
}

int fallocate64(int fd, int mode, off_t off, off_t len)
{
	return faulty_allocate("fallocate64", fd, mode, off, len);
}

__attribute__((destructor)) static void tell(void)
{
	const char *name = getenv("FAULT_COUNT");
	FILE *f = name ? fopen(name, "w") : NULL;

	if (f == NULL)
		return;
	fprintf(f, "%llu\n", operations);
	fclose(f);
}
