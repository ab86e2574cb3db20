/*
 * rescue_extfs.c - where L2 tables belong, by an ext file system's own bookkeeping.
 *
 * SPDX-License-Identifier: MIT
 *
 * Group descriptors say where each group's bitmap is and how many blocks are free
 * in it: a bitmap with just as many is the one.  Bitmaps say which blocks are in
 * use: what a table has allocated must be among them.
 */
#include <string.h>

#include "base/endian.h"
#include "repair/strays.h"

#define BLOCK_MAX 65536u
#define GROUPS_MAX 65536u
#define FUEL (UINT64_C(1) << 27) /* blocks looked at */
#define UNINIT 2u
#define JOURNAL 8u /* inode */

struct ext {
	struct q2_strays *s;
	struct q2_extfs fs;
	uint64_t groups;
	uint8_t *bits;	/* the bitmap of a group */
	uint64_t group; /* which one; UINT64_MAX: none */
	bool known;	/* that bitmap could be read */
	uint64_t fuel;
	struct q2_runs claims;
};

struct desc {
	uint64_t bitmap; /* blocks */
	uint64_t inodes;
	uint32_t free;
	bool uninit;
};

static bool read_desc(struct ext *x, uint64_t group, struct desc *d)
{
	const struct q2_extfs *fs = &x->fs;
	uint8_t b[64] = {0};
	uint64_t at = fs->start +
		      (uint64_t)(fs->first_block + 1) * fs->block_size +
		      group * fs->desc_size;

	if (!q2_gdisk_read(&x->s->guest, at, b,
			   fs->desc_size >= 64 ? 64 : 32))
		return false;
	*d = (struct desc){.bitmap = q2_le32(b) | (uint64_t)q2_le32(b + 32)
							  << 32,
			   .inodes = q2_le32(b + 8) |
				     (uint64_t)q2_le32(b + 40) << 32,
			   .free = q2_le16(b + 12) | q2_le16(b + 44) << 16,
			   .uninit = q2_le16(b + 18) & UNINIT};
	return d->bitmap && d->bitmap < fs->blocks;
}

static uint64_t group_blocks(const struct ext *x, uint64_t group)
{
	uint64_t first = x->fs.first_block + group * x->fs.per_group;

	return q2_min(x->fs.per_group, x->fs.blocks - first);
}

static uint64_t slot_of(const struct ext *x, uint64_t guest)
{
	const struct q2_geom *g = &x->s->r->c->img.geom;

	return guest >> g->cluster_bits >> g->l2_bits;
}

/* Reads as if the table had the slot. */
static bool read_as(struct ext *x, const struct q2_stray *t, uint64_t slot,
		    uint64_t guest, uint8_t *to, size_t n)
{
	bool ok;

	x->s->l1[slot] = t->clu << x->s->r->c->img.geom.cluster_bits;
	ok = q2_gdisk_read(&x->s->guest, guest, to, n);
	x->s->l1[slot] = 0;
	return ok;
}

static uint64_t count_free(const uint8_t *bits, uint64_t n)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < n; i++)
		used += bits[i / 8] >> (i % 8) & 1;
	return n - used;
}

/* The tables in which, in this slot, the bytes there are what is looked for. */
static enum q2_status claim_if(struct ext *x, uint64_t guest, size_t n,
			       bool (*fits)(struct ext *, const void *),
			       const void *what)
{
	uint64_t slot = slot_of(x, guest);
	enum q2_status st = Q2_OK;

	if (slot >= x->s->slots || x->s->l1[slot])
		return Q2_OK;
	for (size_t i = 0; i < x->s->t.n && st == Q2_OK && x->fuel > n; i++) {
		const struct q2_stray *t = &x->s->t.at[i];

		if (t->slot != Q2_NO_SLOT || !q2_stray_fits(x->s, t, slot))
			continue;
		x->fuel -= n;
		x->group = UINT64_MAX;
		if (read_as(x, t, slot, guest, x->bits, n) && fits(x, what))
			st = q2_runs_push(&x->claims, &x->s->r->budget,
					  (struct q2_run){slot, i},
					  x->s->r->err);
	}
	return st;
}

struct wanted {
	uint64_t blocks;
	uint64_t free;
};

static bool is_bitmap(struct ext *x, const void *what)
{
	const struct wanted *w = what;

	return count_free(x->bits, w->blocks) == w->free;
}

static bool is_journal(struct ext *x, const void *what)
{
	uint32_t type = q2_be32(x->bits + 4);

	(void)what;
	return q2_be32(x->bits) == 0xc03b3998 && (type == 3 || type == 4);
}

static bool by_bitmaps(struct ext *x)
{
	bool any;
	enum q2_status st = Q2_OK;

	x->claims.n = 0;
	for (uint64_t i = 0; i < x->groups && st == Q2_OK; i++) {
		struct wanted w = {.blocks = group_blocks(x, i)};
		struct desc d;

		if (!read_desc(x, i, &d) || d.uninit)
			continue;
		w.free = d.free;
		st = claim_if(x, x->fs.start + d.bitmap * x->fs.block_size,
			      x->fs.block_size, is_bitmap, &w);
	}
	any = st == Q2_OK &&
	      q2_strays_settle(x->s, &x->claims, Q2_LIKELY,
			       "it holds the block bitmap that the file system "
			       "has there");
	return any;
}

/* The journal's first block, by its inode. */
static bool by_journal(struct ext *x)
{
	uint8_t b[60];
	struct desc d;
	uint64_t block;

	if (!read_desc(x, 0, &d) ||
	    !q2_gdisk_read(&x->s->guest,
			   x->fs.start + d.inodes * x->fs.block_size +
				   (uint64_t)(JOURNAL - 1) * x->fs.inode_size + 40,
			   b, sizeof(b)) ||
	    q2_le16(b) != 0xf30a || q2_le16(b + 6) != 0)
		return false;
	block = q2_le32(b + 20) | (uint64_t)q2_le16(b + 18) << 32;
	x->claims.n = 0;
	return block && block < x->fs.blocks &&
	       claim_if(x, x->fs.start + block * x->fs.block_size, 512,
			is_journal, NULL) == Q2_OK &&
	       q2_strays_settle(x->s, &x->claims, Q2_LIKELY,
				"it holds the journal that the file system has "
				"there");
}

/* How a table's entries agree with what is in use. */
struct fit {
	uint64_t good;
	uint64_t bad;	  /* allocated, and of no use to the file system */
	uint64_t missing; /* the contrary: but zeros need no cluster */
};

static uint64_t cost(const struct fit *f)
{
	return 4 * f->bad + f->missing;
}

static void load_bitmap(struct ext *x, uint64_t group)
{
	struct desc d;

	if (x->group == group)
		return;
	x->group = group;
	x->known = read_desc(x, group, &d) && !d.uninit &&
		   q2_gdisk_read(&x->s->guest,
				 x->fs.start + d.bitmap * x->fs.block_size,
				 x->bits, x->fs.block_size);
}

/* Whether any block of the guest's cluster is in use: 1, 0, or -1: not known. */
static int in_use(struct ext *x, uint64_t guest, uint64_t len)
{
	const struct q2_extfs *fs = &x->fs;
	uint64_t end = (guest + len - fs->start) / fs->block_size;
	uint64_t block = (q2_max(guest, fs->start) - fs->start) /
			 fs->block_size;
	int known = 0;

	if (guest < fs->start)
		return -1;
	end = q2_max(end, block + 1);
	for (; block < end; block++) {
		uint64_t at = block - fs->first_block;

		if (block < fs->first_block)
			return 1;
		if (block >= fs->blocks)
			break;
		load_bitmap(x, at / fs->per_group);
		at %= fs->per_group;
		if (!x->known)
			known = -1;
		else if (x->bits[at / 8] >> (at % 8) & 1)
			return 1;
	}
	return known;
}

/* Compares the table in s->table with the file system, in this slot. */
static struct fit compare(struct ext *x, uint64_t slot)
{
	const struct q2_geom *g = &x->s->r->c->img.geom;
	struct fit f = {0};

	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = x->s->table + ((size_t)i << g->entry_bits);
		uint64_t guest = q2_guest(g, slot, i);
		int used = in_use(x, guest, g->cluster_size);
		bool has = q2_be64(p) & Q2_ENTRY_OFFSET;

		x->fuel -= q2_min(x->fuel, 1 + g->cluster_size / 4096);
		if (used < 0)
			continue;
		f.good += has && used;
		f.bad += has && !used;
		f.missing += !has && used;
	}
	return f;
}

/* The slot where the table fits clearly best. */
static bool place_best(struct ext *x, struct q2_stray *t)
{
	struct fit best = {0}, second = {.bad = UINT64_MAX / 8};
	uint64_t found = Q2_NO_SLOT;

	if (q2_pread_zero(x->s->r->io, x->s->table,
			  (size_t)x->s->r->c->img.geom.cluster_size,
			  t->clu << x->s->r->c->img.geom.cluster_bits, NULL) !=
	    Q2_OK)
		return false;
	for (uint64_t slot = t->lo; slot <= t->hi && x->fuel; slot++) {
		struct fit f;

		if (x->s->l1[slot] || !q2_stray_fits(x->s, t, slot))
			continue;
		f = compare(x, slot);
		if (found == Q2_NO_SLOT || cost(&f) < cost(&best)) {
			if (found != Q2_NO_SLOT)
				second = best;
			best = f;
			found = slot;
		} else if (cost(&f) < cost(&second)) {
			second = f;
		}
	}
	return x->fuel && found != Q2_NO_SLOT && best.good &&
	       best.bad * 4 <= best.good &&
	       cost(&second) >= 2 * cost(&best) + 4 &&
	       q2_stray_place(x->s, t, found, Q2_LIKELY,
			      "just the blocks that the file system uses there "
			      "are allocated in it");
}

static bool by_usage(struct ext *x)
{
	bool any = false;

	q2_strays_bounds(x->s);
	for (size_t i = 0; i < x->s->t.n; i++)
		if (x->s->t.at[i].slot == Q2_NO_SLOT)
			any |= place_best(x, &x->s->t.at[i]);
	return any;
}

static bool one_fs(struct ext *x, uint64_t start)
{
	uint8_t sb[Q2_EXTFS_BYTES];
	bool any;

	if (!q2_gdisk_read(&x->s->guest, start + 1024, sb, sizeof(sb)) ||
	    !q2_extfs_parse(sb, &x->fs) || x->fs.group || x->fs.meta_bg)
		return false;
	x->fs.start = start;
	x->group = UINT64_MAX;
	x->groups = q2_min(GROUPS_MAX,
			   q2_div_up(x->fs.blocks - x->fs.first_block,
				     x->fs.per_group));
	any = by_bitmaps(x);
	any |= by_journal(x);
	x->group = UINT64_MAX;
	return any || by_usage(x);
}

bool q2_strays_by_extfs(struct q2_strays *s)
{
	struct ext x = {.s = s, .fuel = FUEL};
	struct q2_partitions p;
	bool any = false;
	void *block;

	if (s->r->c->img.geom.crypt ||
	    q2_get(&s->r->budget, BLOCK_MAX, &block, NULL) != Q2_OK)
		return false;
	x.bits = block;
	q2_partitions_read(&s->guest, &p);
	if (p.n == 0)
		p.n = 1;
	for (unsigned i = 0; i < p.n && !any; i++)
		any = one_fs(&x, p.start[i]);
	q2_runs_free(&x.claims, &s->r->budget);
	q2_put(&s->r->budget, block, BLOCK_MAX);
	return any;
}
