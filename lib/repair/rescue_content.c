/*
 * rescue_content.c - where L2 tables belong, by what the guest wrote.
 *
 * SPDX-License-Identifier: MIT
 *
 * Some structures say themselves where they stand on the disk: partition tables,
 * and the superblocks that an ext file system keeps in several groups.
 */
#include <string.h>

#include "base/endian.h"
#include "repair/strays.h"

#define SECTOR 512u
#define STEP (UINT64_C(1) << 20) /* where structures start, mostly */
#define LOOK 2048u		 /* how much from there on is looked at */
#define PROBES (UINT64_C(1) << 21)

/* A superblock: where it stands in which table. */
struct super {
	size_t table;
	uint32_t index;
	uint32_t skip;
	struct q2_extfs fs;
};
Q2_VEC(supers, struct super)

struct content {
	struct q2_strays *s;
	struct q2_runs claims;
	struct supers supers;
	uint64_t left; /* probes */
};

static int by_slot(const void *a, const void *b)
{
	const struct q2_run *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (x->n > y->n) - (x->n < y->n);
}

bool q2_strays_settle(struct q2_strays *s, struct q2_runs *claims,
		      enum q2_sure sure, const char *why)
{
	bool any = false;

	q2_sort(claims->at, claims->n, sizeof(*claims->at), by_slot);
	for (size_t i = 0; i < claims->n; i++) {
		struct q2_run c = claims->at[i];
		bool alone = true;

		for (size_t k = 0; k < claims->n && alone; k++)
			alone = (claims->at[k].first == c.first) ==
				(claims->at[k].n == c.n);
		if (alone)
			any |= q2_stray_place(s, &s->t.at[c.n], c.first, sure,
					      why);
	}
	return any;
}

/* The table's entry holds what stands at this place of the disk. */
static enum q2_status claim(struct content *c, size_t table, uint32_t index,
			    uint64_t guest)
{
	const struct q2_geom *g = &c->s->r->c->img.geom;
	uint64_t clu = guest >> g->cluster_bits;

	if ((clu & ((1u << g->l2_bits) - 1)) != index)
		return Q2_OK;
	return q2_runs_push(&c->claims, &c->s->r->budget,
			    (struct q2_run){clu >> g->l2_bits, table},
			    c->s->r->err);
}

static enum q2_status see_gpt(struct content *c, size_t table, uint32_t index,
			      const uint8_t *p, uint64_t skip)
{
	uint64_t disk = c->s->r->c->img.geom.disk_size;
	uint64_t mine = q2_le64(p + 24), other = q2_le64(p + 32);

	if (memcmp(p, "EFI PART", 8) != 0 || mine >= disk / SECTOR ||
	    other >= disk / SECTOR ||
	    ((mine * SECTOR) & (c->s->r->c->img.geom.cluster_size - 1)) != skip)
		return Q2_OK;
	return claim(c, table, index, mine * SECTOR);
}

static enum q2_status see_super(struct content *c, size_t table,
				uint32_t index, const uint8_t *p, uint32_t skip)
{
	struct super u = {.table = table, .index = index, .skip = skip};

	if (!q2_extfs_parse(p, &u.fs) ||
	    u.fs.blocks * u.fs.block_size > c->s->r->c->img.geom.disk_size)
		return Q2_OK;
	return supers_push(&c->supers, &c->s->r->budget, u, c->s->r->err);
}

static enum q2_status see_entry(struct content *c, size_t table, uint32_t i)
{
	const struct q2_geom *g = &c->s->r->c->img.geom;
	size_t n = (size_t)q2_min(LOOK, g->cluster_size);
	struct q2_partitions p;
	uint8_t bytes[LOOK];
	enum q2_status st = Q2_OK;

	if (!q2_gdisk_cluster(&c->s->guest,
			      c->s->t.at[table].clu << g->cluster_bits, i, 0,
			      bytes, n))
		return Q2_OK;
	c->left--;
	if (i == 0 && q2_is_mbr(bytes, &p) && p.end <= g->disk_size)
		st = claim(c, table, i, 0);
	for (size_t at = 0; at + SECTOR <= n && at <= 1024 && st == Q2_OK;
	     at += SECTOR) {
		st = see_gpt(c, table, i, bytes + at, at);
		if (st == Q2_OK && at != SECTOR)
			st = see_super(c, table, i, bytes + at, (uint32_t)at);
	}
	return st;
}

static enum q2_status see_table(struct content *c, size_t table)
{
	const struct q2_geom *g = &c->s->r->c->img.geom;
	const struct q2_stray *t = &c->s->t.at[table];
	uint64_t step = q2_max(1, q2_min(STEP >> g->cluster_bits,
					 UINT64_C(1) << g->l2_bits));
	enum q2_status st = Q2_OK;

	for (uint64_t at = 0; at <= t->last && st == Q2_OK && c->left;
	     at += step)
		for (uint64_t i = at; i <= t->last && st == Q2_OK; i++) {
			if (i > at && (i - at) << g->cluster_bits >= LOOK)
				break;
			st = see_entry(c, table, (uint32_t)i);
		}
	return st;
}

/* The last sector of the disk holds the second GPT. */
static enum q2_status see_end(struct content *c, size_t table)
{
	const struct q2_geom *g = &c->s->r->c->img.geom;
	uint64_t off = g->disk_size - SECTOR;
	uint32_t index = (uint32_t)(off >> g->cluster_bits &
				    ((1u << g->l2_bits) - 1));
	uint64_t skip = off & (g->cluster_size - 1);
	uint8_t sector[SECTOR];

	if (g->disk_size < SECTOR ||
	    !q2_gdisk_cluster(&c->s->guest,
			      c->s->t.at[table].clu << g->cluster_bits, index,
			      skip, sector, SECTOR))
		return Q2_OK;
	return see_gpt(c, table, index, sector, skip);
}

/* Where the superblock stands if its file system starts there. */
static uint64_t place_of(const struct super *u, uint64_t start)
{
	const struct q2_extfs *fs = &u->fs;

	if (fs->group == 0)
		return start + 1024;
	return start + ((uint64_t)fs->group * fs->per_group +
			fs->first_block) * fs->block_size;
}

static enum q2_status claim_supers(struct content *c)
{
	const struct q2_geom *g = &c->s->r->c->img.geom;
	uint64_t mask = g->cluster_size - 1;
	struct q2_partitions p;
	enum q2_status st = Q2_OK;

	q2_partitions_read(&c->s->guest, &p);
	/* Without a table the whole disk is the file system. */
	if (p.n == 0)
		p.n = 1;
	for (size_t i = 0; i < c->supers.n && st == Q2_OK; i++) {
		const struct super *u = &c->supers.at[i];

		for (unsigned k = 0; k < p.n && st == Q2_OK; k++) {
			uint64_t at = place_of(u, p.start[k]);

			if (at < g->disk_size && (at & mask) == u->skip)
				st = claim(c, u->table, u->index, at);
		}
	}
	return st;
}

enum q2_status q2_strays_by_content(struct q2_strays *s)
{
	struct content c = {.s = s, .left = PROBES};
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < s->t.n && st == Q2_OK &&
			   s->r->c->img.geom.crypt == 0; i++) {
		if (s->t.at[i].slot != Q2_NO_SLOT)
			continue;
		st = see_table(&c, i);
		if (st == Q2_OK)
			st = see_end(&c, i);
		if (st == Q2_OK && i % 64 == 0)
			st = q2_tick(s->r->c, "rescue", i, s->t.n);
	}
	if (st == Q2_OK) {
		q2_strays_settle(s, &c.claims, Q2_CERTAIN,
				 "it holds the disk's partition table");
		c.claims.n = 0;
		st = claim_supers(&c);
	}
	if (st == Q2_OK)
		q2_strays_settle(s, &c.claims, Q2_CERTAIN,
				 "it holds a superblock that tells its place");
	q2_runs_free(&c.claims, &s->r->budget);
	supers_free(&c.supers, &s->r->budget);
	return st;
}
