/*
 * t_beginnings.c - a part of target rescue: what a guest's disk begins with.
 *
 * SPDX-License-Identifier: MIT
 *
 * R-3 the length of a disk whose header is lost is what its partitions, or its file
 * system, say; and where a field makes no sense, nothing is said.
 */
#include <string.h>

#include "base/endian.h"
#include "repair/rescue.h"
#include "t_beginnings.h"

#define CLUSTER 512u
#define DISK ((size_t)64 * CLUSTER) /* what one table shows */

enum kind { GPT, MBR, EXT, XFS, FAT };

/* One field, little-endian but in XFS, in place of what is sound. */
static const struct change {
	enum kind kind;
	unsigned at;
	unsigned len;
	uint64_t value;
	uint64_t size; /* of the disk, in bytes, then */
} changes[] = {
	{GPT, 0, 0, 0, 2048 * 512},
	{GPT, 512, 1, 'e', 0}, /* a protective entry has any length */
	{GPT, 512 + 32, 8, INT64_MAX, 101 * 512},
	{GPT, 512 + 84, 4, 64, 2048 * 512},
	{GPT, 512 + 84, 4, 8192, 2048 * 512},
	{GPT, 512 + 72, 8, INT64_MAX, 2048 * 512},
	{GPT, 512 + 72, 8, 5000, 2048 * 512},
	{GPT, 1024, 8, 0, 2048 * 512},
	{GPT, 1024 + 32, 8, 0, 2048 * 512},
	{GPT, 1024 + 40, 8, 33, 2048 * 512},
	{GPT, 1024 + 40, 8, INT64_MAX, 2048 * 512},
	{GPT, 512 + 80, 4, 200, 2048 * 512},
	{MBR, 0, 0, 0, 300 * 512},
	{MBR, 510, 1, 0, 0},
	{MBR, 511, 1, 0, 0},
	{MBR, 446, 1, 1, 0},
	{MBR, 446 + 4, 1, 0, 0},
	{MBR, 446 + 4, 1, 0xee, 0},
	{MBR, 446 + 8, 4, 0, 0},
	{MBR, 446 + 12, 4, 0, 0},
	{EXT, 0, 0, 0, 5000 * 1024},
	{EXT, 56, 2, 0xef54, 0},
	{EXT, 4, 4, 0, 0},
	{EXT, 20, 4, 2, 0},
	{EXT, 24, 4, 7, 0},
	{EXT, 24, 4, 2, 5000 * 4096},
	{EXT, 32, 4, 0, 0},
	{EXT, 32, 4, 8193, 0},
	{EXT, 76, 4, 2, 0},
	{EXT, 76, 4, 0, 5000 * 1024},
	{EXT, 96, 4, 0x80, 0}, /* descriptors of no bytes */
	{EXT, 96, 4, 0x10, 5000 * 1024},
	{XFS, 0, 0, 0, 4096 * 700},
	{XFS, 0, 1, 'Y', 0},
	{XFS, 4, 4, 131072, 0},
	{XFS, 8, 8, UINT64_C(1) << 40, 0},
	{FAT, 0, 0, 0, 2880 * 512},
	{FAT, 0, 1, 0xe9, 2880 * 512},
	{FAT, 0, 1, 0xe8, 0},
	{FAT, 11, 2, 1024, 0},
	{FAT, 16, 1, 0, 0},
	{FAT, 16, 1, 3, 0},
	{FAT, 19, 2, 0, 4000 * 512},
	{FAT, 510, 1, 0, 0},
	{FAT, 511, 1, 0, 0}};

static void put(uint8_t *to, unsigned n, uint64_t v, bool big)
{
	for (unsigned i = 0; i < n; i++)
		to[big ? n - 1 - i : i] = (uint8_t)(v >> (8 * i));
}

static void gpt(uint8_t *d)
{
	put(d + 446 + 4, 1, 0xee, false);
	put(d + 446 + 8, 4, 1, false);
	put(d + 446 + 12, 4, 99, false);
	put(d + 510, 2, 0xaa55, false);
	memcpy(d + 512, "EFI PART", 8);
	put(d + 512 + 32, 8, 2047, false);
	put(d + 512 + 72, 8, 2, false);
	put(d + 512 + 80, 4, 4, false);
	put(d + 512 + 84, 4, 128, false);
	put(d + 1024, 8, 7, false);
	put(d + 1024 + 32, 8, 34, false);
	put(d + 1024 + 40, 8, 100, false);
}

static void mbr(uint8_t *d)
{
	put(d + 446 + 4, 1, 0x83, false);
	put(d + 446 + 8, 4, 100, false);
	put(d + 446 + 12, 4, 200, false);
	put(d + 510, 2, 0xaa55, false);
}

static void ext(uint8_t *d)
{
	uint8_t *sb = d + 1024;

	put(sb + 4, 4, 5000, false);
	put(sb + 20, 4, 1, false);
	put(sb + 32, 4, 8192, false);
	put(sb + 56, 2, 0xef53, false);
	put(sb + 76, 4, 1, false);
	put(sb + 88, 2, 256, false);
}

static void xfs(uint8_t *d)
{
	memcpy(d, "XFSB", 4);
	put(d + 4, 4, 4096, true);
	put(d + 8, 8, 700, true);
}

static void fat(uint8_t *d)
{
	d[0] = 0xeb;
	put(d + 11, 2, 512, false);
	d[16] = 2;
	put(d + 19, 2, 2880, false);
	put(d + 32, 4, 4000, false);
	put(d + 510, 2, 0xaa55, false);
}

/* A file with an L2 table, and the disk behind it. */
static void judge(uint8_t *file, const struct change *c)
{
	static void (*const make[])(uint8_t *) = {gpt, mbr, ext, xfs, fat};
	uint64_t l1[1] = {CLUSTER};
	struct q2_gdisk g = {.l1 = l1, .slots = 1};
	uint8_t *disk = file + 2 * (size_t)CLUSTER;
	const char *what = "";
	uint64_t size;
	bool exact;

	memset(disk, 0, DISK);
	make[c->kind](disk);
	put(disk + c->at + (c->kind == EXT && c->len ? 1024 : 0), c->len,
	    c->value, c->kind == XFS);
	g.img.geom.cluster_bits = 9;
	g.img.geom.cluster_size = CLUSTER;
	g.img.geom.l2_bits = 6;
	g.img.geom.entry_bits = 3;
	g.img.geom.disk_size = DISK;
	g.img.geom.file_size = 2 * (uint64_t)CLUSTER + DISK;
	if (q2_io_memory(file, 2 * (size_t)CLUSTER + DISK, &g.img.io, NULL) !=
	    Q2_OK)
		q2f_violation("I-7", "no memory");
	size = q2_gdisk_size(&g, &what, &exact);
	if (size != c->size || what[0] == 0)
		q2f_violation("R-3", "kind %d with %#llx at %u: %llu bytes, not %llu",
			      (int)c->kind, (unsigned long long)c->value,
			      c->at, (unsigned long long)size,
			      (unsigned long long)c->size);
	q2_gdisk_free(&g);
	q2_io_close(g.img.io);
}

void q2f_beginnings(void)
{
	static bool done;
	uint8_t *file;

	if (done)
		return;
	done = true;
	file = q2f_own(2 * (size_t)CLUSTER + DISK);
	for (unsigned i = 0; i < DISK / CLUSTER; i++)
		q2_put_be64(file + CLUSTER + 8 * (size_t)i,
			    (UINT64_C(2) + i) * CLUSTER | UINT64_C(1) << 63);
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
		judge(file, &changes[i]);
	q2f_own_free(file);
}
