/*
 * mkbig.h - what the parts of mkbig share: big-endian stores, writing, and the
 * QCOW2 header.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTS_BENCH_MKBIG_H
#define TESTS_BENCH_MKBIG_H

#include <stddef.h>
#include <stdint.h>

#define COPIED     (UINT64_C(1) << 63)
#define COMPRESSED (UINT64_C(1) << 62)

/*
 * The fields of a version 3 header that differ between the images made here;
 * offsets are bytes.
 */
struct hdr {
	unsigned bits;    /* log2 of the cluster size */
	unsigned order;   /* log2 of the width of a refcount */
	uint64_t size;    /* virtual size */
	uint32_t l1_size; /* entries */
	uint32_t rt_clusters;
	uint32_t nsnaps;
	uint64_t l1_off, rt_off, snap_off;
};

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static inline void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

/* Prints the message, with errno's text when it is not 0, and exits 1. */
void die(const char *what) __attribute__((noreturn));

/* calloc that cannot fail. */
void *need(size_t n, size_t each);

/* Writes all of it or dies. */
void put_at(int fd, const void *buf, size_t len, uint64_t off);

/* Makes the file that long or dies. */
void set_length(int fd, uint64_t len);

/* Writes the header at byte 0; the rest of the first cluster stays zero. */
void put_header(int fd, const struct hdr *h);

/*
 * Writes one snapshot record (24 bytes of extra data) at p, which has room for
 * SNAP_MAX bytes and is zero. number gives the id and the name. Returns its
 * length, a multiple of 8.
 */
#define SNAP_MAX 96
size_t put_snapshot(uint8_t *p, uint32_t number, uint64_t l1_off,
		    uint32_t l1_size, uint64_t disk_size);

/*
 * Makes the hostile image of that kind in the empty file fd; 0 when there is no
 * such kind.
 */
int make_hostile(const char *kind, int fd);

/* Prints the names of the hostile kinds, each after a blank. */
void list_hostile(void);

#endif
