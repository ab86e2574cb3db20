/*
 * floor_bytes.c - the least work that copying or hashing a disk can be: one thread
 * that reads, looks and writes, and knows nothing of images.
 *
 * SPDX-License-Identifier: MIT
 */
#include "floor.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define STEP ((size_t)128 << 10)
#define BLOCK 4096u

static uint64_t open_file(const char *path, int *fd)
{
	struct stat sb;

	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &sb) < 0)
		die(path);
	return (uint64_t)sb.st_size;
}

static uint8_t *get_buffer(void)
{
	uint8_t *buf = aligned_alloc(BLOCK, STEP);

	if (buf == NULL)
		die("memory");
	return buf;
}

static size_t least(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

static int zeros(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void put(int fd, const uint8_t *buf, size_t n, uint64_t off)
{
	while (n) {
		ssize_t done = pwrite(fd, buf, n, (off_t)off);

		if (done <= 0)
			die("write");
		buf += done;
		off += (uint64_t)done;
		n -= (size_t)done;
	}
}

void copy_bytes(const char *from, const char *to)
{
	int in, out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	uint64_t size = open_file(from, &in);
	uint8_t *buf = get_buffer();

	if (out < 0)
		die(to);
	for (uint64_t at = 0; at < size; at += STEP) {
		size_t n = least(size - at, STEP);

		read_at(in, buf, n, at);
		for (size_t i = 0, end; i < n; i = end) {
			int hole = zeros(buf + i, least(n - i, BLOCK));

			for (end = i + BLOCK; end < n; end += BLOCK)
				if (zeros(buf + end, least(n - end, BLOCK)) !=
				    hole)
					break;
			end = least(end, n);
			if (!hole)
				put(out, buf + i, end - i, at + i);
		}
	}
	if (ftruncate(out, (off_t)size) < 0 || close(out) < 0)
		die(to);
	free(buf);
	close(in);
}

void hash_bytes(const char *path)
{
	XXH3_state_t *state = XXH3_createState();
	uint8_t *buf = get_buffer();
	XXH128_hash_t hash;
	uint64_t size;
	int fd;

	size = open_file(path, &fd);
	if (state == NULL || XXH3_128bits_reset(state) != XXH_OK)
		die("memory");
	for (uint64_t at = 0; at < size; at += STEP) {
		size_t n = least(size - at, STEP);

		read_at(fd, buf, n, at);
		(void)XXH3_128bits_update(state, buf, n);
	}
	hash = XXH3_128bits_digest(state);
	printf("%016" PRIx64 "%016" PRIx64 "\n", (uint64_t)hash.high64,
	       (uint64_t)hash.low64);
	XXH3_freeState(state);
	free(buf);
	close(fd);
}
