/*
 * calls_files.c - the files of q2calls.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "fakedev.h"

#define FILE_MAX (4u << 20)

void die(const char *format, ...)
{
	va_list ap;

	fail_calls(0, 0, 0, FAIL_ONCE);
	fprintf(stderr, "q2calls: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static size_t load(const char *path, char *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, FILE_MAX);

	if (n < 0 || (size_t)n == FILE_MAX)
		die("%s: cannot be read", path);
	close(fd);
	return (size_t)n;
}

void copy_file(const char *from, const char *to)
{
	static char bytes[FILE_MAX];
	size_t n = load(from, bytes);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
		die("%s: cannot be written", to);
	close(fd);
}

bool same_file(const char *a, const char *b)
{
	static char bytes[2][FILE_MAX];
	size_t n = load(a, bytes[0]);

	return n == load(b, bytes[1]) && memcmp(bytes[0], bytes[1], n) == 0;
}

bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

const char *names_at_work(void)
{
	static char all[1000], name[20][64];
	DIR *dir = opendir("work");
	struct dirent *d;
	size_t n = 0;

	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.' && n < 20)
			snprintf(name[n++], sizeof(name[0]), "%.60s",
				 d->d_name);
	if (dir == NULL)
		die("work: %s", strerror(errno));
	closedir(dir);
	qsort(name, n, sizeof(name[0]), by_text);
	all[0] = '\0';
	for (size_t i = 0; i < n; i++)
		strcat(strcat(all, name[i]), " ");
	return all;
}

void empty_work(void)
{
	DIR *dir = opendir("work");
	struct dirent *d;
	char path[300];

	fake_device(NULL);
	fake_mounts(NULL);
	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "work/%s", d->d_name);
		(void)unlink(path);
	}
	if (dir == NULL)
		die("work: %s", strerror(errno));
	closedir(dir);
}

/* ------------------------------------------------------------------- images */
struct q2_guest *open_guest(const char *path)
{
	static const char *const allow[] = {"nbd://server/", NULL};
	struct q2_guest_opts opts = {.format = Q2_GUEST_PROBE,
				     .allow = allow,
				     .layer = Q2_ANY_LAYER,
				     .allow_any = true,
				     .allow_probe = true};
	struct q2_guest *guest;
	struct q2_err err = {0};

	if (q2_guest_open(path, &opts, &guest, &err) != Q2_OK)
		die("%s: %s", path, err.text);
	return guest;
}

struct q2_digest guest_of(const char *path)
{
	struct q2_read_opts opts = {.threads = 1};
	struct q2_guest *guest = open_guest(path);
	struct q2_digest digest;
	struct q2_err err = {0};

	if (q2_guest_digest(guest, &opts, &digest, &err) != Q2_OK)
		die("%s: %s", path, err.text);
	q2_guest_close(guest);
	return digest;
}

bool same_guest(const char *path, const struct q2_digest *is)
{
	struct q2_digest now = guest_of(path);

	return memcmp(&now, is, sizeof(now)) == 0;
}

static bool no_worse(const char *path, enum q2_verdict than)
{
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA};
	struct q2_check_result r = {0};
	struct q2_err err = {0};
	struct q2_io *io;

	if (q2_io_open(path, &io, &err) != Q2_OK)
		die("%s: %s", path, err.text);
	if (q2_check(io, &opts, &r, &err) != Q2_OK)
		die("%s: %s", path, err.text);
	q2_io_close(io);
	return r.verdict <= than && !r.partial;
}

bool is_clean(const char *path)
{
	return no_worse(path, Q2_CLEAN);
}

bool is_usable(const char *path)
{
	return no_worse(path, Q2_LEAKS);
}
