/*
 * failcall.c - instead of the real functions, by --wrap.
 *
 * SPDX-License-Identifier: MIT
 */
#include "failcall.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "fakedev.h"

static unsigned counted_kinds;
static _Atomic unsigned long count;
static unsigned long fail_at;
static int fail_error;
static enum fail_mode fail_how;
static _Atomic long blocks;

void fail_calls(unsigned kinds, unsigned long k, int error,
		enum fail_mode mode)
{
	counted_kinds = kinds;
	count = 0;
	fail_at = k;
	fail_error = error;
	fail_how = mode;
}

unsigned long fail_counted(void)
{
	return count;
}

long fail_blocks(void)
{
	return blocks;
}

/* ------------------------------------------------------------------ places */
#define PLACES 4096u /* a power of two */
#define FRAMES 40

struct place {
	uint64_t stack; /* a hash of who called whom; 0: free */
	unsigned long first, last;
};
static struct place places[PLACES];
static unsigned n_places;
static bool tracing;
static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;

void fail_trace(unsigned kinds)
{
	memset(places, 0, sizeof(places));
	n_places = 0;
	fail_calls(kinds, 0, 0, FAIL_ONCE);
	tracing = true;
}

static void trace(unsigned long call)
{
	void *frames[FRAMES];
	int n = backtrace(frames, FRAMES);
	uint64_t hash = 1469598103934665603u;
	unsigned at;

	for (int i = 0; i < n; i++)
		hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211u;
	hash |= 1;
	pthread_mutex_lock(&trace_lock);
	at = (unsigned)(hash >> 40) % PLACES;
	while (places[at].stack && places[at].stack != hash)
		at = (at + 1) % PLACES;
	if (places[at].stack == 0 && n_places < PLACES / 2) {
		n_places++;
		places[at] = (struct place){hash, call, call};
	}
	if (places[at].stack)
		places[at].last = call;
	pthread_mutex_unlock(&trace_lock);
}

static int by_number(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

unsigned fail_places(unsigned long *calls, unsigned room)
{
	unsigned n = 0, distinct = 0;

	tracing = false;
	for (unsigned i = 0; i < PLACES && n + 2 <= room; i++)
		if (places[i].stack) {
			calls[n++] = places[i].first;
			calls[n++] = places[i].last;
		}
	qsort(calls, n, sizeof(*calls), by_number);
	for (unsigned i = 0; i < n; i++)
		if (i == 0 || calls[i] != calls[i - 1])
			calls[distinct++] = calls[i];
	return distinct;
}

/* Whether this call is the one. */
static bool chosen(enum fail_kind kind)
{
	unsigned long n;

	if (!(counted_kinds & kind))
		return false;
	n = ++count;
	if (tracing)
		trace(n);
	return n == fail_at || (fail_how == FAIL_FROM && fail_at && n > fail_at);
}

bool fail_now(enum fail_kind kind)
{
	if (!chosen(kind))
		return false;
	errno = fail_error;
	return true;
}

/* How much of n bytes is done; less than 0: the call fails. */
static ssize_t part(enum fail_kind kind, size_t n)
{
	if (!chosen(kind))
		return (ssize_t)n;
	if (fail_how == FAIL_SHORT)
		return (ssize_t)(n > 1 ? n / 2 : n);
	errno = fail_error;
	return fail_how == FAIL_NOTHING ? 0 : -1;
}

/* NAME(parameters) is replaced: it fails with `bad`, or is called. */
#define REPLACE(type, name, kind, bad, parameters, ...)                        \
	type __real_##name parameters;                                         \
	type __wrap_##name parameters;                                         \
	type __wrap_##name parameters                                          \
	{                                                                      \
		return fail_now(kind) ? bad : __real_##name(__VA_ARGS__);      \
	}
/* The same of one whose result is to be freed. */
#define REPLACE_ALLOC(name, parameters, ...)                                   \
	void *__real_##name parameters;                                        \
	void *__wrap_##name parameters;                                        \
	void *__wrap_##name parameters                                         \
	{                                                                      \
		void *p = fail_now(FAIL_ALLOC) ? NULL :                        \
						 __real_##name(__VA_ARGS__);   \
									       \
		blocks += p != NULL;                                           \
		return p;                                                      \
	}
#define REPLACE_PART(name, type, ...)                                          \
	ssize_t __real_##name(int fd, type *p, size_t n, ##__VA_ARGS__);       \
	ssize_t __wrap_##name(int fd, type *p, size_t n, ##__VA_ARGS__);       \
	ssize_t __wrap_##name(int fd, type *p, size_t n, ##__VA_ARGS__)

/* ------------------------------------------------------------------ memory */
REPLACE_ALLOC(malloc, (size_t n), n)
REPLACE_ALLOC(calloc, (size_t n, size_t size), n, size)
REPLACE_ALLOC(strdup, (const char *text), text)
REPLACE_ALLOC(strndup, (const char *text, size_t n), text, n)

void *__real_realloc(void *old, size_t n);
void *__wrap_realloc(void *old, size_t n);
void __real_free(void *p);
void __wrap_free(void *p);
int __real_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
char *__real_realpath(const char *path, char *out);
char *__wrap_realpath(const char *path, char *out);

void *__wrap_realloc(void *old, size_t n)
{
	void *p = fail_now(FAIL_ALLOC) ? NULL : __real_realloc(old, n);

	blocks += old == NULL && p != NULL;
	return p;
}

void __wrap_free(void *p)
{
	blocks -= p != NULL;
	__real_free(p);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	int error = fail_now(FAIL_ALLOC) ? ENOMEM :
					   __real_posix_memalign(p, align, n);

	blocks += error == 0;
	return error;
}

char *__wrap_realpath(const char *path, char *out)
{
	char *p = fail_now(FAIL_OPEN) ? NULL : __real_realpath(path, out);

	blocks += p != NULL && out == NULL;
	return p;
}

/* What other libraries allocate. */
REPLACE(void *, libdeflate_alloc_compressor, FAIL_ALLOC, NULL, (int level),
	level)
REPLACE(void *, libdeflate_alloc_decompressor, FAIL_ALLOC, NULL, (void), )
REPLACE(void *, ZSTD_createCCtx, FAIL_ALLOC, NULL, (void), )
REPLACE(void *, ZSTD_createDCtx, FAIL_ALLOC, NULL, (void), )
REPLACE(void *, json_tokener_new_ex, FAIL_ALLOC, NULL, (int depth), depth)
REPLACE(void *, EVP_CIPHER_CTX_new, FAIL_ALLOC, NULL, (void), )
REPLACE(int, EVP_CipherInit_ex, FAIL_ALLOC, 0,
	(void *ctx, const void *type, void *impl, const void *key,
	 const void *iv, int enc),
	ctx, type, impl, key, iv, enc)
REPLACE(int, EVP_CipherUpdate, FAIL_ALLOC, 0,
	(void *ctx, void *out, int *n, const void *in, int len), ctx, out, n,
	in, len)
REPLACE(int, EVP_Digest, FAIL_ALLOC, 0,
	(const void *data, size_t n, void *md, unsigned *size, const void *type,
	 void *impl),
	data, n, md, size, type, impl)
REPLACE(int, PKCS5_PBKDF2_HMAC, FAIL_ALLOC, 0,
	(const char *pass, int n, const void *salt, int salt_len, int rounds,
	 const void *digest, int len, void *out),
	pass, n, salt, salt_len, rounds, digest, len, out)
#define Z_MEM_ERROR (-4)
REPLACE(int, inflateInit2_, FAIL_ALLOC, Z_MEM_ERROR,
	(void *z, int bits, const char *version, int size), z, bits, version,
	size)

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg)
{
	return fail_now(FAIL_THREAD) ? EAGAIN :
				       __real_pthread_create(thread, attr,
							     start, arg);
}

/* ------------------------------------------------------------------- files */
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_fcntl64(int fd, int request, ...);
int __wrap_fcntl64(int fd, int request, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	if (fail_now(FAIL_OPEN))
		return -1;
	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return __real_open64(fake_path(path), flags, mode);
}

int __wrap_fcntl64(int fd, int request, ...)
{
	va_list ap;
	void *arg;

	if (fail_now(FAIL_LOCK))
		return -1;
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return __real_fcntl64(fd, request, arg);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int result;

	if (fail_now(FAIL_LOCK))
		return -1;
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fake_ioctl(fd, request, arg, &result) ?
		       result : __real_ioctl(fd, request, arg);
}

/* The library asks by it for a renaming, and the tools to be confined. */
long __wrap_syscall(long number, ...)
{
	bool landlock = number >= 444 && number <= 446;
	long arg[5];
	va_list ap;

	if (fail_now(landlock ? FAIL_LOCK : FAIL_NAME))
		return -1;
	va_start(ap, number);
	for (int i = 0; i < 5; i++)
		arg[i] = va_arg(ap, long);
	va_end(ap);
	if (landlock)
		return fail_landlock(number, arg[0]);
	return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4]);
}

#define REPLACE_STAT(name, what)                                               \
	int __real_##name(what, struct stat *sb);                              \
	int __wrap_##name(what, struct stat *sb);                              \
	int __wrap_##name(what, struct stat *sb)                               \
	{                                                                      \
		return fail_now(FAIL_STAT) ? -1 :                              \
					     fake_stat(__real_##name(of, sb), sb); \
	}
REPLACE_STAT(stat64, const char *of)
REPLACE_STAT(lstat64, const char *of)
REPLACE_STAT(fstat64, int of)
REPLACE(int, mkostemp64, FAIL_OPEN, -1, (char *name, int flags), name, flags)
REPLACE(void *, opendir, FAIL_OPEN, NULL, (const char *path), path)
REPLACE(void *, fdopen, FAIL_ALLOC, NULL, (int fd, const char *how), fd, how)
REPLACE(void *, fopen64, FAIL_OPEN, NULL, (const char *path, const char *how),
	path, how)
REPLACE(int, fflush, FAIL_WRITE, EOF, (FILE *f), f)
REPLACE(size_t, fwrite, FAIL_WRITE, 0, (const void *p, size_t size, size_t n, FILE *f),
	p, size, n, f)
REPLACE(int, fseeko64, FAIL_SIZE, -1, (FILE *f, int64_t at, int how), f, at, how)
REPLACE(int, access, FAIL_STAT, -1, (const char *path, int how), path, how)
REPLACE(int, gethostname, FAIL_STAT, -1, (char *name, size_t n), name, n)
REPLACE(int, fallocate64, FAIL_SIZE, -1,
	(int fd, int mode, int64_t at, int64_t n), fd, mode, at, n)
REPLACE(int, posix_fallocate64, FAIL_SIZE, fail_error,
	(int fd, int64_t at, int64_t n), fd, at, n)
REPLACE(int64_t, lseek64, FAIL_SIZE, -1, (int fd, int64_t at, int how), fd, at,
	how)
REPLACE(int, futimens, FAIL_NAME, -1, (int fd, const struct timespec *t), fd,
	t)
REPLACE(int, rename, FAIL_NAME, -1, (const char *from, const char *to), from,
	to)
REPLACE(int, link, FAIL_NAME, -1, (const char *from, const char *to), from, to)
REPLACE(int, flock, FAIL_LOCK, -1, (int fd, int how), fd, how)

int __real_statvfs64(const char *path, struct statvfs *sb);
int __wrap_statvfs64(const char *path, struct statvfs *sb);

/* What is free changes while this runs; here it does not. */
int __wrap_statvfs64(const char *path, struct statvfs *sb)
{
	if (fail_now(FAIL_STAT) || __real_statvfs64(path, sb) != 0)
		return -1;
	sb->f_bfree = sb->f_bavail = 123456;
	return 0;
}

static bool fake_clock;
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

void fail_fake_clock(bool fake)
{
	fake_clock = fake;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	static time_t now = 1000;

	if (!fake_clock)
		return __real_clock_gettime(clock, ts);
	now += 2;
	*ts = (struct timespec){.tv_sec = now};
	return 0;
}

typedef int (*filter_fn)(const struct dirent *);
typedef int (*order_fn)(const struct dirent **, const struct dirent **);
int __real_scandir64(const char *path, struct dirent ***list, filter_fn filter,
		     order_fn order);
int __wrap_scandir64(const char *path, struct dirent ***list, filter_fn filter,
		     order_fn order);
int __wrap_scandir64(const char *path, struct dirent ***list, filter_fn filter,
		     order_fn order)
{
	int n = fail_now(FAIL_OPEN) ? -1 :
				      __real_scandir64(path, list, filter, order);

	blocks += n < 0 ? 0 : n + 1;
	return n;
}

int __real_ftruncate64(int fd, int64_t size);
int __wrap_ftruncate64(int fd, int64_t size);
int __wrap_ftruncate64(int fd, int64_t size)
{
	if (fail_now(FAIL_SIZE))
		return -1;
	if (!is_fake(fd))
		return __real_ftruncate64(fd, size);
	errno = EINVAL;
	return -1;
}

/* Nothing is waited for. */
#define REPLACE_SYNC(name)                                                     \
	int __wrap_##name(int fd);                                             \
	int __wrap_##name(int fd)                                              \
	{                                                                      \
		(void)fd;                                                      \
		return fail_now(FAIL_SYNC) ? -1 : 0;                           \
	}
REPLACE_SYNC(fsync)
REPLACE_SYNC(fdatasync)

REPLACE_PART(read, void)
{
	ssize_t some = part(FAIL_READ, n);

	return some <= 0 ? some : __real_read(fd, p, (size_t)some);
}

REPLACE_PART(write, const void)
{
	ssize_t some = part(FAIL_WRITE, n);

	return some <= 0 ? some : __real_write(fd, p, (size_t)some);
}

REPLACE_PART(pread64, void, int64_t at)
{
	ssize_t some = part(FAIL_READ, n);

	return some <= 0 ? some : __real_pread64(fd, p, (size_t)some, at);
}

REPLACE_PART(pwrite64, const void, int64_t at)
{
	ssize_t some = part(FAIL_WRITE, n);

	return some <= 0 ? some : __real_pwrite64(fd, p, (size_t)some, at);
}
