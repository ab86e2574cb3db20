/*
 * lock.c - the locks by which QEMU and we keep off each other's images.
 *
 * SPDX-License-Identifier: MIT
 *
 * Whoever has an image open holds shared locks on single bytes of it: at
 * 100 + n while it uses permission n, at 200 + n while it forbids n to others.
 * All are taken first, and then it is seen whether anybody else holds one of
 * those that rule them out; so two that come at the same time never both stay.
 * The locks go with the open file.
 */
#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

#define LOCK_USED 100
#define LOCK_DENIED 200
#define LOCK_PERMS 16

enum { CONSISTENT_READ, WRITE, WRITE_UNCHANGED, RESIZE };

static const char *const names[] = {
	[CONSISTENT_READ] = "consistent read",
	[WRITE] = "write",
	[WRITE_UNCHANGED] = "write unchanged",
	[RESIZE] = "resize",
};

#define USED (1u << CONSISTENT_READ | 1u << WRITE | 1u << RESIZE)
#define DENIED (USED | 1u << WRITE_UNCHANGED)

static struct flock bytes(short type, off_t start, off_t len)
{
	return (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};
}

static bool locked(int fd, off_t start, off_t len)
{
	struct flock lock = bytes(F_WRLCK, start, len);

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

enum q2_in_use q2_io_in_use(const struct q2_io *io)
{
	const struct q2_file *f = q2_file_of(io);

	if (f == NULL)
		return Q2_USE_NONE;
	if (locked(f->fd, LOCK_USED + WRITE, 1) ||
	    locked(f->fd, LOCK_USED + RESIZE, 1))
		return Q2_USE_WRITER;
	if (locked(f->fd, LOCK_USED, LOCK_PERMS) ||
	    locked(f->fd, LOCK_DENIED, LOCK_PERMS))
		return Q2_USE_READER;
	return Q2_USE_NONE;
}

/* Whether one line of a fdinfo file is a lock on that byte. */
static bool is_lock_on(const char *line, off_t byte)
{
	const char *range = strrchr(line, ':');
	unsigned long long inode, start, end;

	if (strncmp(line, "lock:", 5) != 0 || range == NULL)
		return false;
	if (sscanf(range, ":%llu %llu %llu", &inode, &start, &end) == 3)
		return start <= (unsigned long long)byte &&
		       (unsigned long long)byte <= end;
	return sscanf(range, ":%llu %llu EOF", &inode, &start) == 2 &&
	       start <= (unsigned long long)byte;
}

static bool file_has_lock(const char *fdinfo, off_t byte)
{
	FILE *in = fopen(fdinfo, "re");
	char line[256];
	bool found = false;

	if (in == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), in))
		found = is_lock_on(line, byte);
	fclose(in);
	return found;
}

/* Whether one of the process's open files is ours and has that byte locked. */
static bool process_has_lock(const char *pid, const struct q2_file *f,
			     off_t byte)
{
	char path[300];
	struct dirent *d;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (d = readdir(dir))) {
		struct stat sb;

		snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid,
			 d->d_name);
		if (stat(path, &sb) < 0 ||
		    (S_ISBLK(sb.st_mode) ? sb.st_rdev : sb.st_ino) != f->inode ||
		    (!S_ISBLK(sb.st_mode) && sb.st_dev != f->dev))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid,
			 d->d_name);
		found = file_has_lock(path, byte);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* " by process N (name)", or an empty text if it cannot be told. */
static void tell_holder(const struct q2_file *f, off_t byte, char *out,
			size_t size)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;

	out[0] = '\0';
	while (dir && (d = readdir(dir))) {
		char path[64], name[32] = "";
		FILE *in;

		if (d->d_name[0] < '0' || d->d_name[0] > '9' ||
		    strtol(d->d_name, NULL, 10) == getpid() ||
		    !process_has_lock(d->d_name, f, byte))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", d->d_name);
		in = fopen(path, "re");
		if (in && fgets(name, sizeof(name), in))
			name[strcspn(name, "\n")] = '\0';
		if (in)
			fclose(in);
		snprintf(out, size, " by process %.20s (%s)", d->d_name, name);
		break;
	}
	if (dir)
		closedir(dir);
}

static enum q2_status conflict(const struct q2_file *f, int base, int perm,
			       struct q2_err *err)
{
	char holder[80];

	tell_holder(f, base + perm, holder, sizeof(holder));
	return q2_fail(err, Q2_E_IN_USE, 0, Q2_NO_OFFSET,
		       "in use: the lock on byte %d, which %s \"%s\", is held%s",
		       base + perm,
		       base == LOCK_USED ? "says that somebody uses"
					 : "forbids us",
		       names[perm], holder);
}

/* Where nobody can have a lock nobody needs one. */
static bool is_lockless(int error)
{
	return error == ENOLCK || error == EOPNOTSUPP || error == ENOSYS;
}

static enum q2_status take(const struct q2_file *f, int base, unsigned perms,
			   bool *lockless, struct q2_err *err)
{
	for (int i = CONSISTENT_READ; i <= RESIZE && !*lockless; i++) {
		struct flock lock = bytes(F_RDLCK, base + i, 1);

		if (!(perms & 1u << i) || fcntl(f->fd, F_OFD_SETLK, &lock) == 0)
			continue;
		if (errno == EAGAIN || errno == EACCES)
			return conflict(f, base, i, err);
		if (!is_lockless(errno))
			return q2_fail_errno(err, errno, Q2_NO_OFFSET,
					     "cannot lock");
		*lockless = true;
	}
	return Q2_OK;
}

/* Nobody may hold any of these. */
static enum q2_status test(const struct q2_file *f, int base, unsigned perms,
			   struct q2_err *err)
{
	for (int i = CONSISTENT_READ; i <= RESIZE; i++) {
		struct flock lock = bytes(F_WRLCK, base + i, 1);

		if (!(perms & 1u << i))
			continue;
		if (fcntl(f->fd, F_OFD_GETLK, &lock) < 0) {
			if (is_lockless(errno))
				return Q2_OK;
			return q2_fail_errno(err, errno, Q2_NO_OFFSET,
					     "cannot tell whether it is in use");
		}
		if (lock.l_type != F_UNLCK)
			return conflict(f, base, i, err);
	}
	return Q2_OK;
}

enum q2_status q2_file_lock(const struct q2_file *f, struct q2_err *err)
{
	bool lockless = false;
	enum q2_status st = take(f, LOCK_USED, USED, &lockless, err);

	if (st == Q2_OK)
		st = take(f, LOCK_DENIED, DENIED, &lockless, err);
	if (st == Q2_OK && !lockless)
		st = test(f, LOCK_USED, DENIED, err);
	if (st == Q2_OK && !lockless)
		st = test(f, LOCK_DENIED, USED, err);
	return st;
}

enum q2_status q2_fd_lock(int fd, struct q2_err *err)
{
	struct q2_file f = {.fd = fd};
	struct stat sb;

	if (fstat(fd, &sb) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot stat");
	f.dev = sb.st_dev;
	f.inode = S_ISBLK(sb.st_mode) ? sb.st_rdev : sb.st_ino;
	return q2_file_lock(&f, err);
}
