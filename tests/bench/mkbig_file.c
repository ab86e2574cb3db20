/*
 * mkbig_file.c - what every kind of image that mkbig makes needs: writing, the
 * header, snapshot records.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mkbig.h"

void die(const char *what)
{
	if (errno)
		fprintf(stderr, "mkbig: %s: %s\n", what, strerror(errno));
	else
		fprintf(stderr, "mkbig: %s\n", what);
	exit(1);
}

void *need(size_t n, size_t each)
{
	void *p = calloc(n, each);

	if (!p)
		die("memory");
	return p;
}

void put_at(int fd, const void *buf, size_t len, uint64_t off)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("write");
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
}

void set_length(int fd, uint64_t len)
{
	if (ftruncate(fd, (off_t)len))
		die("set the length");
}

void put_header(int fd, const struct hdr *h)
{
	uint8_t b[112] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };

	put32(b + 20, h->bits);
	put64(b + 24, h->size);
	put32(b + 36, h->l1_size);
	put64(b + 40, h->l1_off);
	put64(b + 48, h->rt_off);
	put32(b + 56, h->rt_clusters);
	put32(b + 60, h->nsnaps);
	put64(b + 64, h->snap_off);
	put32(b + 96, h->order);
	put32(b + 100, sizeof b);
	put_at(fd, b, sizeof b, 0);
}

size_t put_snapshot(uint8_t *p, uint32_t number, uint64_t l1_off,
		    uint32_t l1_size, uint64_t disk_size)
{
	char id[16], name[24];
	size_t idlen = (size_t)sprintf(id, "%" PRIu32, number);
	size_t namelen = (size_t)sprintf(name, "s%" PRIu32, number);

	put64(p, l1_off);
	put32(p + 8, l1_size);
	put16(p + 12, (uint32_t)idlen);
	put16(p + 14, (uint32_t)namelen);
	put32(p + 16, 1700000000u + number);
	put32(p + 36, 24);
	put64(p + 48, disk_size);
	put64(p + 56, UINT64_MAX);
	memcpy(p + 64, id, idlen);
	memcpy(p + 64 + idlen, name, namelen);
	return (64 + idlen + namelen + 7) & ~(size_t)7;
}
