/*
 * rescue_guest.c - the guest's own structures, as evidence of where things belong.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/endian.h"
#include "repair/rescue.h"

#define SECTOR 512u

void q2_gdisk_free(struct q2_gdisk *g)
{
	q2_inflate_free(g->inflate);
	g->inflate = NULL;
}

static bool read_packed(struct q2_gdisk *g, const struct q2_l2_entry *e,
			uint64_t skip, uint8_t *to, size_t n)
{
	const uint8_t *bytes;
	size_t len;
	bool whole;

	if (g->inflate == NULL &&
	    q2_inflate_new(&g->img, &g->inflate, NULL) != Q2_OK)
		return false;
	if (q2_inflate(g->inflate, e->host, &bytes, &len, &whole, NULL) !=
		    Q2_OK || skip + n > len)
		return false;
	memcpy(to, bytes + skip, n);
	return true;
}

/* Subclusters that are not allocated have no bytes of their own. */
static void blank(const struct q2_geom *g, uint64_t bitmap, uint64_t skip,
		  uint8_t *to, size_t n)
{
	unsigned bits = g->cluster_bits - 5;

	for (uint64_t at = skip; at < skip + n; at++)
		if (!(bitmap >> (at >> bits) & 1))
			to[at - skip] = 0;
}

bool q2_gdisk_cluster(struct q2_gdisk *g, uint64_t table, uint32_t index,
		      uint64_t skip, uint8_t *to, size_t n)
{
	const struct q2_geom *geom = &g->img.geom;
	uint8_t raw[16] = {0};
	struct q2_l2_entry e;
	uint64_t bitmap;

	memset(to, 0, n);
	if (q2_pread_zero(g->img.io, raw, (size_t)1 << geom->entry_bits,
			  table + ((uint64_t)index << geom->entry_bits),
			  NULL) != Q2_OK)
		return false;
	bitmap = q2_l2_bitmap(geom, raw);
	e = q2_l2_decode(geom, q2_be64(raw), bitmap, 0);
	if (!e.refers || e.faults)
		return false;
	if (e.type == Q2_L2_COMPRESSED)
		return read_packed(g, &e, skip, to, n);
	if (e.type != Q2_L2_NORMAL ||
	    q2_pread_zero(g->img.io, to, n, e.host.start + skip, NULL) != Q2_OK)
		return false;
	if (geom->ext_l2)
		blank(geom, bitmap, skip, to, n);
	return true;
}

bool q2_gdisk_read(struct q2_gdisk *g, uint64_t off, uint8_t *to, size_t n)
{
	const struct q2_geom *geom = &g->img.geom;
	bool all = true;

	memset(to, 0, n);
	while (n) {
		uint64_t clu = off >> geom->cluster_bits;
		uint64_t skip = off & (geom->cluster_size - 1);
		uint64_t slot = clu >> geom->l2_bits;
		uint32_t index = (uint32_t)(clu &
					    ((1u << geom->l2_bits) - 1));
		size_t len = (size_t)q2_min(n, geom->cluster_size - skip);

		if (slot >= g->slots || g->l1[slot] == 0 ||
		    !q2_gdisk_cluster(g, g->l1[slot], index, skip, to, len))
			all = false;
		off += len;
		to += len;
		n -= len;
	}
	return all;
}

bool q2_extfs_parse(const uint8_t *sb, struct q2_extfs *fs)
{
	uint32_t log_bs = q2_le32(sb + 24), rev = q2_le32(sb + 76);
	uint32_t incompat = q2_le32(sb + 96);

	*fs = (struct q2_extfs){.blocks = q2_le32(sb + 4),
				.first_block = q2_le32(sb + 20),
				.per_group = q2_le32(sb + 32),
				.group = q2_le16(sb + 90),
				.inode_size = rev ? q2_le16(sb + 88) : 128,
				.meta_bg = incompat & 0x10};
	if (q2_le16(sb + 56) != 0xef53 || log_bs > 6 || fs->blocks == 0 ||
	    fs->per_group == 0 || fs->first_block > 1 || rev > 1)
		return false;
	fs->block_size = 1024u << log_bs;
	fs->desc_size = incompat & 0x80 ? q2_le16(sb + 254) : 32;
	if (incompat & 0x80)
		fs->blocks |= (uint64_t)q2_le32(sb + 336) << 32;
	return fs->per_group <= 8 * fs->block_size && fs->desc_size >= 32 &&
	       fs->desc_size <= 1024 && fs->blocks < UINT64_C(1) << 46;
}

bool q2_is_mbr(const uint8_t *sector, struct q2_partitions *p)
{
	*p = (struct q2_partitions){0};
	if (sector[510] != 0x55 || sector[511] != 0xaa)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *e = sector + 446 + (size_t)16 * i;
		uint64_t start = q2_le32(e + 8), len = q2_le32(e + 12);

		if (e[0] & 0x7f)
			return false;
		if (e[4] == 0)
			continue;
		if (start == 0 || len == 0)
			return false;
		p->start[p->n++] = start * SECTOR;
		p->end = q2_max(p->end, (start + len) * SECTOR);
		/* The protective entry of a GPT is as long as it can be. */
		if (e[4] == 0xee)
			p->end = 0;
	}
	return p->n != 0;
}

/* The table that a GPT header in `sector` names. */
static void read_gpt(struct q2_gdisk *g, const uint8_t *sector,
		     struct q2_partitions *p)
{
	uint64_t table = q2_le64(sector + 72);
	uint32_t n = q2_le32(sector + 80), size = q2_le32(sector + 84);
	uint8_t e[128];

	*p = (struct q2_partitions){0};
	if (q2_le64(sector + 32) < INT64_MAX / SECTOR)
		p->disk = (q2_le64(sector + 32) + 1) * SECTOR;
	if (size < sizeof(e) || size > 4096 || table > INT64_MAX / SECTOR)
		return;
	for (uint32_t i = 0; i < q2_min(n, 128) && p->n < Q2_PARTITIONS; i++) {
		uint64_t first, last;

		if (!q2_gdisk_read(g, table * SECTOR + (uint64_t)i * size, e,
				   sizeof(e)))
			return;
		first = q2_le64(e + 32);
		last = q2_le64(e + 40);
		if (q2_le64(e) == 0 || first == 0 || last < first ||
		    last >= INT64_MAX / SECTOR)
			continue;
		p->start[p->n++] = first * SECTOR;
		p->end = q2_max(p->end, (last + 1) * SECTOR);
	}
}

void q2_partitions_read(struct q2_gdisk *g, struct q2_partitions *p)
{
	uint8_t sector[SECTOR];

	*p = (struct q2_partitions){0};
	if (q2_gdisk_read(g, SECTOR, sector, SECTOR) &&
	    memcmp(sector, "EFI PART", 8) == 0) {
		read_gpt(g, sector, p);
		return;
	}
	if (!q2_gdisk_read(g, 0, sector, SECTOR) || !q2_is_mbr(sector, p))
		*p = (struct q2_partitions){0};
}

/* A FAT volume without partitions. */
static uint64_t fat_size(const uint8_t *sector)
{
	uint64_t n = q2_le16(sector + 19) ? q2_le16(sector + 19) : q2_le32(sector + 32);

	if (sector[510] != 0x55 || sector[511] != 0xaa ||
	    (sector[0] != 0xeb && sector[0] != 0xe9) ||
	    q2_le16(sector + 11) != SECTOR || sector[16] == 0 || sector[16] > 2)
		return 0;
	return n * SECTOR;
}

uint64_t q2_gdisk_size(struct q2_gdisk *g, const char **what, bool *exact)
{
	struct q2_partitions p;
	struct q2_extfs fs;
	uint8_t bytes[Q2_EXTFS_BYTES];

	*exact = false;
	q2_partitions_read(g, &p);
	if (p.disk) {
		*what = "its GUID partition table";
		*exact = true;
		return p.disk;
	}
	if (p.n && p.end) {
		*what = "the end of its last partition";
		return p.end;
	}
	q2_gdisk_read(g, 1024, bytes, sizeof(bytes));
	if (q2_extfs_parse(bytes, &fs)) {
		*what = "its file system";
		return fs.blocks * fs.block_size;
	}
	q2_gdisk_read(g, 0, bytes, sizeof(bytes));
	if (memcmp(bytes, "XFSB", 4) == 0 && q2_be32(bytes + 4) <= 65536 &&
	    q2_be64(bytes + 8) < UINT64_C(1) << 40) {
		*what = "its file system";
		return q2_be32(bytes + 4) * q2_be64(bytes + 8);
	}
	*what = "its file system";
	return fat_size(bytes);
}
