/*
 * q2canary.c - LD_PRELOAD: notes files that are opened under the canary's name.
 *
 * SPDX-License-Identifier: MIT
 *
 * For systems where watch.c has nothing to watch with.
 * An image of the corpus that names another file names Q2-CANARY-DO-NOT-OPEN.
 * Who opens it is noted in the file $Q2_CANARY_LOG; the opening then fails.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "Q2-CANARY-DO-NOT-OPEN"
#define EXPORT __attribute__((visibility("default")))

EXPORT int open(const char *path, int flags, ...);
EXPORT int open64(const char *path, int flags, ...);
EXPORT int openat(int dir, const char *path, int flags, ...);
EXPORT int openat64(int dir, const char *path, int flags, ...);
EXPORT FILE *fopen(const char *path, const char *mode);
EXPORT FILE *fopen64(const char *path, const char *mode);

typedef int openat_fn(int dir, const char *path, int flags, ...);
typedef FILE *fopen_fn(const char *path, const char *mode);

/* A function pointer from dlsym() without a cast of one. */
static void find(const char *name, void *function)
{
	void *p = dlsym(RTLD_NEXT, name);

	memcpy(function, &p, sizeof(p));
}

static int is_canary(const char *path)
{
	const char *log = getenv("Q2_CANARY_LOG");
	openat_fn *real = NULL;
	int fd;

	if (path == NULL || strstr(path, NAME) == NULL)
		return 0;
	find("openat", &real);
	fd = log && real ? real(AT_FDCWD, log, O_WRONLY | O_APPEND) : -1;
	if (fd >= 0) {
		(void)!write(fd, path, strlen(path));
		(void)!write(fd, "\n", 1);
		close(fd);
	}
	errno = ENOENT;
	return 1;
}

static int do_open(int dir, const char *path, int flags, va_list ap)
{
	openat_fn *real = NULL;
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;

	if (is_canary(path))
		return -1;
	find("openat", &real);
	return real(dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = do_open(AT_FDCWD, path, flags, ap);
	va_end(ap);
	return fd;
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = do_open(AT_FDCWD, path, flags | O_LARGEFILE, ap);
	va_end(ap);
	return fd;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = do_open(dir, path, flags, ap);
	va_end(ap);
	return fd;
}

int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = do_open(dir, path, flags | O_LARGEFILE, ap);
	va_end(ap);
	return fd;
}

FILE *fopen(const char *path, const char *mode)
{
	fopen_fn *real = NULL;

	if (is_canary(path))
		return NULL;
	find("fopen", &real);
	return real(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
	fopen_fn *real = NULL;

	if (is_canary(path))
		return NULL;
	find("fopen64", &real);
	return real(path, mode);
}
