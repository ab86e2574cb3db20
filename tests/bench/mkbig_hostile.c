/*
 * mkbig_hostile.c - the images of mkbig that are made to cost a reader time or
 * memory. Each is small on disk and QEMU opens it.
 *
 *   l1max      The header claims an L1 table of 4,194,304 entries (32 MiB, for
 *              2 PiB of disk); the file ends after four clusters.
 *   sparse8e   512-byte clusters and the longest file that the file system
 *              permits: 8 EiB less 1 GiB, or 16 TiB less 4 KiB on ext4. The
 *              one L2 table names 64 clusters from end to end of it, the
 *              refcount table a block in its last cluster.
 *   snaps65535 65,535 snapshot records share one L1 table with one full L2
 *              table: half a thousand million references if each is followed.
 *              Every refcount is right (65,535): there is nothing to find.
 *   rt8m       A refcount table of 8 MiB whose 1,048,576 entries all name the
 *              same refcount block.
 *   l1alias    A real L1 table of 4,194,304 entries that all name the same
 *              full L2 table.
 *   l2alias    2 MiB clusters: the 262,144 entries of one L2 table all name the
 *              same compressed cluster, a valid stream of 13 KiB that
 *              inflates to zeros (512 GiB of disk). The refcounts, of 32 bits,
 *              are right.
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

#define CS       65536u
#define L1_LIMIT 4194304u
#define K64      16u /* cluster_bits of 64 KiB */

static void fill64(uint8_t *p, size_t n, uint64_t v)
{
	for (size_t i = 0; i < n; i++)
		put64(p + i * 8, v);
}

/*
 * A refcount block of ones at cluster `block` of an image with 64 KiB clusters,
 * named by the first entry of the refcount table at cluster 1.
 */
static void put_ones(int fd, uint64_t block, uint32_t clusters)
{
	uint8_t *buf = need(1, CS), entry[8];

	for (uint32_t i = 0; i < clusters; i++)
		put16(buf + (size_t)i * 2, 1);
	put_at(fd, buf, CS, block * CS);
	put64(entry, block * CS);
	put_at(fd, entry, sizeof entry, CS);
	free(buf);
}

static void l1max(int fd)
{
	put_ones(fd, 2, 4);
	set_length(fd, 4 * (uint64_t)CS);
	const struct hdr h = {
		.bits = K64,
		.order = 4,
		.size = UINT64_C(1) << 51,
		.l1_size = L1_LIMIT,
		.l1_off = 3 * CS,
		.rt_off = CS,
		.rt_clusters = 1,
	};

	put_header(fd, &h);
}

/*
 * The longest length, a multiple of 512, that this file can be given and QEMU
 * can open (8 EiB less 1 GiB). Leaves the file with it.
 */
static uint64_t longest(int fd)
{
	uint64_t good = 0, bad = (UINT64_C(1) << 54) - (1u << 21) + 1;

	while (bad - good > 1) {
		uint64_t try = good + (bad - good) / 2;

		if (ftruncate(fd, (off_t)(try * 512)) == 0)
			good = try;
		else
			bad = try;
	}
	errno = 0;
	set_length(fd, good * 512);
	return good * 512;
}

static void sparse8e(int fd)
{
	const uint64_t cs = 512;
	const uint64_t limit = (UINT64_C(1) << 47) - 1; /* of an L2 entry */
	uint64_t length = longest(fd), last = length / cs - 1;
	uint64_t reach = last < limit ? last : limit;
	uint8_t b[512] = { 0 };

	put64(b, 2 * cs);
	put64(b + 8, last * cs);
	put_at(fd, b, sizeof b, cs);
	memset(b, 0, sizeof b);
	for (size_t i = 0; i < 5; i++)
		put16(b + i * 2, 1);
	put_at(fd, b, sizeof b, 2 * cs);
	memset(b, 0, sizeof b);
	put64(b, 4 * cs | COPIED);
	put_at(fd, b, sizeof b, 3 * cs);
	for (uint64_t i = 0; i < 64; i++)
		put64(b + i * 8,
		      (reach / 64 * (i + 1) + reach % 64) * cs | COPIED);
	put_at(fd, b, sizeof b, 4 * cs);
	const struct hdr h = {
		.bits = 9,
		.order = 4,
		.size = UINT64_C(1) << 20,
		.l1_size = 32,
		.l1_off = 3 * cs,
		.rt_off = cs,
		.rt_clusters = 1,
	};

	put_header(fd, &h);
	printf("length=%" PRIu64 "\n", length);
}

/* Clusters: 3 active L1, 4 shared L1, 5 L2, 6 data, 8198 snapshot table. */
static void snaps65535(int fd)
{
	const uint32_t n = 65535, l1 = CS / 8, data = 6, table = data + CS / 8;
	const uint64_t size = (uint64_t)l1 * (CS / 8) * CS;
	uint8_t *buf = need(n, SNAP_MAX);
	size_t len = 0;

	for (uint32_t i = 1; i <= n; i++)
		len += put_snapshot(buf + len, i, 4 * CS, l1, size);
	put_at(fd, buf, len, (uint64_t)table * CS);
	uint32_t end = table + (uint32_t)((len + CS - 1) / CS);

	put_ones(fd, 2, end);
	memset(buf, 0, CS);
	fill64(buf, 1, 5 * CS);
	put_at(fd, buf, CS, 4 * CS);
	for (uint32_t i = 0; i < CS / 8; i++)
		put64(buf + (size_t)i * 8, (uint64_t)(data + i) * CS);
	put_at(fd, buf, CS, 5 * CS);
	memset(buf, 0xff, CS); /* a refcount of 65535 is ff ff */
	put_at(fd, buf, (size_t)(table - 4) * 2, 2 * CS + 4 * 2);
	set_length(fd, (uint64_t)end * CS);
	const struct hdr h = {
		.bits = K64,
		.order = 4,
		.size = size,
		.l1_size = l1,
		.l1_off = 3 * CS,
		.rt_off = CS,
		.rt_clusters = 1,
		.nsnaps = n,
		.snap_off = (uint64_t)table * CS,
	};

	put_header(fd, &h);
	free(buf);
}

static void rt8m(int fd)
{
	const uint32_t clusters = (8u << 20) / CS, block = 1 + clusters;
	const uint32_t l1 = block + 1;
	uint8_t *buf = need(1, 8u << 20);

	put_ones(fd, block, l1 + 1);
	fill64(buf, (8u << 20) / 8, (uint64_t)block * CS);
	put_at(fd, buf, 8u << 20, CS);
	set_length(fd, (uint64_t)(l1 + 1) * CS);
	const struct hdr h = {
		.bits = K64,
		.order = 4,
		.size = UINT64_C(1) << 30,
		.l1_size = 2,
		.l1_off = (uint64_t)l1 * CS,
		.rt_off = CS,
		.rt_clusters = clusters,
	};

	put_header(fd, &h);
	free(buf);
}

static void l1alias(int fd)
{
	const uint32_t l2 = 3 + L1_LIMIT / (CS / 8), end = l2 + 1 + CS / 8;
	uint8_t *buf = need(L1_LIMIT, 8);

	put_ones(fd, 2, end);
	fill64(buf, L1_LIMIT, (uint64_t)l2 * CS);
	put_at(fd, buf, (size_t)L1_LIMIT * 8, 3 * CS);
	for (uint32_t i = 0; i < CS / 8; i++)
		put64(buf + (size_t)i * 8, (uint64_t)(l2 + 1 + i) * CS);
	put_at(fd, buf, CS, (uint64_t)l2 * CS);
	set_length(fd, (uint64_t)end * CS);
	const struct hdr h = {
		.bits = K64,
		.order = 4,
		.size = UINT64_C(1) << 51,
		.l1_size = L1_LIMIT,
		.l1_off = 3 * CS,
		.rt_off = CS,
		.rt_clusters = 1,
	};

	put_header(fd, &h);
	free(buf);
}

/* Appends n bits, the lowest first, to a DEFLATE stream. */
static void put_bits(uint8_t *out, size_t *at, unsigned v, unsigned n)
{
	for (unsigned i = 0; i < n; i++, ++*at)
		if (v >> i & 1)
			out[*at / 8] |= (uint8_t)(1u << *at % 8);
}

/* The same for a Huffman code, whose highest bit comes first. */
static void put_code(uint8_t *out, size_t *at, unsigned v, unsigned n)
{
	while (n--)
		put_bits(out, at, v >> n & 1, 1);
}

/*
 * Writes a raw DEFLATE stream of len zero bytes with the fixed codes; out is
 * zero and large enough. Returns its length.
 */
static size_t deflate_zeros(uint8_t *out, uint32_t len)
{
	size_t at = 0;

	put_bits(out, &at, 3, 3); /* last block, fixed codes */
	put_code(out, &at, 0x30, 8); /* a zero byte */
	for (len--; len >= 258; len -= 258) {
		put_code(out, &at, 0xc5, 8); /* copy 258 bytes ... */
		put_code(out, &at, 0, 5); /* ... from one byte back */
	}
	while (len--)
		put_code(out, &at, 0x30, 8);
	put_code(out, &at, 0, 7); /* end of block */
	return (at + 7) / 8;
}

/* Clusters: 1 refcount table, 2 refcount block, 3 L1, 4 L2, 5 the stream. */
static void l2alias(int fd)
{
	const uint32_t cs = 2u << 20, entries = cs / 8;
	uint8_t *buf = need(1, cs), b[32] = { 0 };
	size_t len = deflate_zeros(buf, cs);
	uint64_t more = (len + 511) / 512 - 1;

	put_at(fd, buf, len, 5 * (uint64_t)cs);
	for (uint32_t i = 0; i < entries; i++)
		put64(buf + (size_t)i * 8,
		      COMPRESSED | more << 49 | 5 * (uint64_t)cs);
	put_at(fd, buf, cs, 4 * (uint64_t)cs);
	put64(b, 4 * (uint64_t)cs | COPIED);
	put_at(fd, b, 8, 3 * (uint64_t)cs);
	put64(b, 2 * (uint64_t)cs);
	put_at(fd, b, 8, cs);
	memset(b, 0, sizeof b);
	for (size_t i = 0; i < 5; i++)
		put32(b + i * 4, 1);
	put32(b + 20, entries);
	put_at(fd, b, 24, 2 * (uint64_t)cs);
	set_length(fd, 6 * (uint64_t)cs);
	const struct hdr h = {
		.bits = 21,
		.order = 5,
		.size = (uint64_t)entries * cs,
		.l1_size = 1,
		.l1_off = 3 * (uint64_t)cs,
		.rt_off = cs,
		.rt_clusters = 1,
	};

	put_header(fd, &h);
	free(buf);
}

static const struct kind {
	const char *name;
	void (*make)(int fd);
} kinds[] = {
	{ "l1max", l1max }, { "sparse8e", sparse8e },
	{ "rt8m", rt8m },   { "snaps65535", snaps65535 },
	{ "l1alias", l1alias },   { "l2alias", l2alias },
};

int make_hostile(const char *kind, int fd)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(kinds[i].name, kind)) {
			kinds[i].make(fd);
			return 1;
		}
	return 0;
}

void list_hostile(void)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		printf(" %s", kinds[i].name);
}
