/*
 * look.c - an image before and after, and the folder that it lies in.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard.h"

#define PIECE 4096u

/* Zeros do not count, so that it is all the same whether they are a hole. */
static uint64_t add(uint64_t hash, uint64_t at, const uint8_t *p, size_t n)
{
	static const uint8_t zeros[PIECE];

	if (memcmp(p, zeros, n) == 0)
		return hash;
	hash = (hash ^ at) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* From and to the edge of a piece: what lies behind is not looked at twice. */
static bool hash_data(struct guard_state *s, int fd, off_t at, off_t end)
{
	static uint8_t buf[16 * PIECE];

	while (at < end) {
		size_t room = end - at < (off_t)sizeof(buf) ?
				      (size_t)(end - at) : sizeof(buf);
		ssize_t n = pread(fd, buf, room, at);

		if (n <= 0)
			return n == 0;
		for (size_t i = 0; i < (size_t)n; i += PIECE)
			s->hash = add(s->hash, (uint64_t)at + i, buf + i,
				      (size_t)n - i < PIECE ? (size_t)n - i :
							      PIECE);
		at += n;
	}
	return true;
}

struct guard_state guard_look(const char *path)
{
	struct guard_state s = {.hash = UINT64_C(0xcbf29ce484222325),
				.size = -1};
	/* It may be a pipe by now, or lead to a device. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	off_t at = 0, end;

	if (fd < 0)
		return s;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		s.size = st.st_size;
		while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
			/* From piece to piece, wherever data are said to start. */
			end = lseek(fd, at, SEEK_HOLE);
			end += (off_t)PIECE - 1 - (end + (off_t)PIECE - 1) % (off_t)PIECE;
			at -= at % PIECE;
			if (!hash_data(&s, fd, at, end))
				s.size = -1;
			at = end;
		}
	}
	close(fd);
	return s;
}

static uint64_t taken;

static int count(const char *path, const struct stat *st, int type,
		 struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (type == FTW_F)
		taken += (uint64_t)st->st_blocks * 512;
	return 0;
}

uint64_t guard_folder(const char *path)
{
	taken = 0;
	nftw(path, count, 16, FTW_PHYS | FTW_MOUNT);
	return taken;
}

static int drop(const char *path, const struct stat *st, int type,
		struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level)
		(void)remove(path);
	return 0;
}

static int open_up(const char *path, const struct stat *st, int type,
		   struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_DNR || (type == FTW_D && (st->st_mode & 0700) != 0700))
		(void)chmod(path, 0700);
	return 0;
}

void guard_folder_empty(const char *path)
{
	/* What could not be read is looked into in the second round. */
	for (unsigned round = 0; round < 2; round++) {
		nftw(path, open_up, 16, FTW_PHYS | FTW_MOUNT);
		nftw(path, drop, 16, FTW_PHYS | FTW_MOUNT | FTW_DEPTH);
	}
}

/* Most names need no quotes, and then a command may have quotes around @@. */
static bool put(char *out, size_t room, size_t *n, const char *image)
{
	bool plain = image[strspn(image, "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789/._+-")] == 0;
	int len;

	if (strchr(image, '\'') != NULL)
		return false;
	len = snprintf(out + *n, room - *n, plain ? "%s" : "'%s'", image);
	if (len < 0 || (size_t)len >= room - *n)
		return false;
	*n += (size_t)len;
	return true;
}

bool guard_expand(char *out, size_t room, const char *command,
		  const char *image)
{
	bool any = false;
	size_t n = 0;

	while (*command) {
		if (n + 1 >= room)
			return false;
		if (command[0] == '@' && command[1] == '@') {
			if (!put(out, room, &n, image))
				return false;
			any = true;
			command += 2;
		} else {
			out[n++] = *command++;
		}
	}
	out[n] = 0;
	return any;
}
