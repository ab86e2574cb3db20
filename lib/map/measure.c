/*
 * measure.c - how large a new image would be that holds a disk.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"
#include "image/bitmapdir.h"
#include "map/disk.h"
#include "map/sizes.h"

#define DISK_MAX (UINT64_C(1) << 62)
/* A page, and eight key slots: 64 bytes of key (AES-256, XTS) in 4000 stripes, up to
 * the end of a page. */
#define LUKS_BYTES UINT64_C(2068480)

struct counting {
	uint64_t cs;	 /* of the new image */
	uint64_t next;	 /* all before was counted */
	uint64_t needed; /* bytes */
	uint64_t disk;
	uint64_t dir; /* bytes of a bitmap directory */
	uint64_t bitmaps;
};

static unsigned log2_of(uint64_t n)
{
	unsigned bits = 0;

	while (n > 1) {
		n >>= 1;
		bits++;
	}
	return bits;
}

static bool power_of_two(uint64_t n)
{
	return n && (n & (n - 1)) == 0;
}

static enum q2_status judge(const struct q2_measure_opts *o,
			    struct q2_err *err)
{
	const char *what = NULL;

	if (o->version != 2 && o->version != 3)
		what = "the version is 2 or 3";
	else if (!power_of_two(o->cluster_size) || o->cluster_size < 512 ||
		 o->cluster_size > UINT64_C(2) << 20)
		what = "the cluster size is a power of two from 512 to 2M";
	else if (!power_of_two(o->refcount_bits) || o->refcount_bits > 64)
		what = "refcounts have 1, 2, 4, 8, 16, 32 or 64 bits";
	else if (o->version == 2 && o->refcount_bits != 16)
		what = "refcounts have 16 bits in version 2";
	else if (o->ext_l2 && (o->version == 2 || o->cluster_size < 16384))
		what = "extended L2 entries need version 3 and clusters of 16K "
		       "or more";
	if (what)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET, "%s", what);
	return Q2_OK;
}

/* A cluster of the new image is needed if any of its bytes is data. */
static enum q2_status count_row(void *ctx, const struct q2_row *r)
{
	struct counting *c = ctx;
	uint64_t end = r->guest + r->length;
	uint64_t from = q2_max(r->guest, c->next);

	if (r->content == Q2_C_UNREADABLE)
		return Q2_E_FORMAT;
	if ((r->content != Q2_C_DATA && r->content != Q2_C_COMPRESSED) ||
	    (r->flags & Q2_ROW_HOLE) || from >= end)
		return Q2_OK;
	c->next = q2_div_up(end, c->cs) * c->cs;
	c->needed += c->next - from / c->cs * c->cs;
	return Q2_OK;
}

static void count_bitmap(void *ctx, const struct q2_bitmap *b,
			 const char *name)
{
	struct counting *c = ctx;
	uint64_t clusters;

	(void)name;
	clusters = q2_div_up(q2_bitmap_bytes(c->disk, b->gran), c->cs);
	c->bitmaps += clusters * c->cs;
	c->bitmaps += q2_div_up(clusters * 8, c->cs) * c->cs;
	c->dir += (Q2_BITMAP_HEAD + (uint64_t)b->name_len + 7) & ~UINT64_C(7);
}

static enum q2_status count_bitmaps(struct q2_disk *disk, struct counting *c,
				    struct q2_measure *m, struct q2_err *err)
{
	const struct q2_opened *o = &disk->chain.layers[0]->opened;
	enum q2_status st;
	bool whole;

	m->has_bitmaps = o->img.geom.version == 3;
	c->disk = disk->chain.layers[0]->map.size;
	st = q2_bitmapdir_walk(o, count_bitmap, c, &whole, err);
	m->bitmaps = c->bitmaps + q2_div_up(c->dir, c->cs) * c->cs;
	return st;
}

static enum q2_status count_data(struct q2_disk *disk, struct counting *c,
				 struct q2_err *err)
{
	struct q2_rows_opts rows = {.length = UINT64_MAX,
				    .merge = Q2_MERGE_QEMU,
				    .row = count_row,
				    .ctx = c};
	enum q2_status st = q2_disk_rows(disk, &rows, err);

	if (st == Q2_E_FORMAT)
		return q2_fail(err, st, 0, Q2_NO_OFFSET,
			       "parts of its tables are damaged, so that its "
			       "data cannot be counted; qcow2-fsck tells more");
	return st;
}

enum q2_status q2_disk_measure(struct q2_disk *disk, uint64_t size,
			       const struct q2_measure_opts *opts,
			       struct q2_measure *result, struct q2_err *err)
{
	struct counting c = {.cs = opts->raw ? Q2_SECTOR : opts->cluster_size};
	struct q2_shape shape = {.cluster_size = opts->cluster_size,
				 .ref_order = log2_of(opts->refcount_bits),
				 .entry_bytes = opts->ext_l2 ? 16 : 8};
	enum q2_status st = opts->raw ? Q2_OK : judge(opts, err);
	uint64_t room;

	*result = (struct q2_measure){0};
	if (st != Q2_OK)
		return st;
	if (disk)
		size = q2_disk_bytes(disk);
	if (size > DISK_MAX)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "no disk can be that large");
	room = q2_div_up(size, c.cs) * c.cs;
	result->required = result->fully_allocated = room;
	if (opts->raw)
		return Q2_OK;
	if (opts->whole || (opts->based && disk))
		c.needed = room;
	else if (disk)
		st = count_data(disk, &c, err);
	if (st != Q2_OK)
		return st;
	if (disk && opts->version == 3 && !disk->chain.layers[0]->raw)
		st = count_bitmaps(disk, &c, result, err);
	result->fully_allocated = q2_full_size(&shape, room);
	if (opts->luks)
		result->fully_allocated += q2_div_up(LUKS_BYTES, c.cs) * c.cs;
	result->required = result->fully_allocated - room + c.needed;
	return st;
}
