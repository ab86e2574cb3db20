/*
 * guest.c - what a guest reads from an image, cluster by cluster.
 *
 * SPDX-License-Identifier: MIT
 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "refcheck_own.h"
#include "world.h"

#define OFFSET UINT64_C(0x00fffffffffffe00)
#define PACKED UINT64_C(0x4000000000000000)
#define CLUSTERS 65536u
#define EMPTY 1u /* unallocated, and there is a backing file */
#define ZEROS Q2F_GUEST_ZEROS
#define APART 4u /* in a data file: what is there, only that */

struct reader {
	const struct q2f_refcheck *r;
	const uint8_t *image;
	size_t size;
	bool strict;
	bool counted; /* refcounts are looked at, too */
	uint64_t empty; /* what unallocated clusters are */
};

/* The first reference to a cluster: they are in its order. */
static unsigned first_ref(const struct q2f_refcheck *r, uint64_t clu)
{
	unsigned low = 0, high = r->n_refs;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (r->refs[mid].clu < clu)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Whether all that names the cluster has it in this place: the disk, and snapshots
 * that share it. */
static bool alone(const struct reader *d, uint64_t off, enum rc_kind kind,
		  uint64_t place)
{
	const struct q2f_refcheck *r = d->r;
	uint64_t clu = off / r->cs;

	if (d->counted && (!(r->is[clu] & RC_KNOWN) ||
			   r->stored[clu] != r->counted[clu]))
		return false;
	/* One of several may be wrong if they are more than were counted. */
	if (d->strict && r->counted[clu] > 1 && (r->is[clu] & RC_KNOWN) &&
	    r->stored[clu] < r->counted[clu])
		return false;
	for (unsigned i = first_ref(r, clu);
	     d->strict && i < r->n_refs && r->refs[i].clu == clu; i++)
		if (r->refs[i].kind != kind || r->refs[i].guest != place)
			return false;
	return true;
}

static uint64_t digest_of(const uint8_t *p, uint64_t n, uint64_t bitmap)
{
	if (bitmap == 0 && p[0] == 0 && memcmp(p, p + 1, (size_t)n - 1) == 0)
		return ZEROS;
	return q2_hash(p, (size_t)n) ^ bitmap << 3;
}

static uint64_t digest(const struct reader *d, uint64_t from, uint64_t bitmap)
{
	uint64_t cs = d->r->cs, h;
	uint8_t *copy;

	if (from + cs <= d->size)
		return digest_of(d->image + from, cs, bitmap);
	/* The end of the last cluster is not there: zeros. */
	copy = calloc(1, (size_t)cs);
	if (copy == NULL)
		abort();
	memcpy(copy, d->image + from, (size_t)(d->size - from));
	h = digest_of(copy, cs, bitmap);
	free(copy);
	return h;
}

/* 0 if it does not yield a cluster. */
static uint64_t inflated(const struct reader *d, uint64_t from, uint64_t end)
{
	size_t cs = (size_t)d->r->cs;
	uint8_t *out = q2f_own(cs);
	bool zstd = d->r->version == 3 && (rc_get(d->r, 72, 8) & 8);
	uint64_t h = 0;

	if (q2f_inflated(zstd, q2f_unconst(d->image + from),
			 (size_t)((end < d->size ? end : d->size) - from), out,
			 cs))
		h = digest_of(out, cs, 0);
	q2f_own_free(out);
	return h;
}

/* Sectors are shared at the ends of streams only, and a stream is one cluster's. */
static uint64_t packed(const struct reader *d, uint64_t raw, uint64_t guest)
{
	const struct q2f_refcheck *r = d->r;
	unsigned x = 70 - r->bits;
	uint64_t off = raw & ((UINT64_C(1) << x) - 1);
	uint64_t end = off / 512 * 512 +
		       (((raw & (PACKED - 1)) >> x) + 1) * 512;

	if (off >> 56 || end > r->clusters * r->cs || off >= d->size ||
	    r->data_file)
		return 0;
	for (unsigned i = 0; d->strict && i < r->n_refs; i++) {
		const struct rc_ref *o = &r->refs[i];

		/* Its own reference starts where it does. */
		if (o->clu < off / r->cs || o->clu * r->cs >= end)
			continue;
		if (o->kind != RC_STREAM ||
		    (o->start != off && o->start < end && off < o->end) ||
		    (o->start == off && o->guest != guest))
			return 0;
	}
	return inflated(d, off, end);
}

/* Entry i of the table; `guest` is where it is on the disk. */
static uint64_t one(const struct reader *d, uint64_t l2, uint64_t i,
		    uint64_t guest)
{
	const struct q2f_refcheck *r = d->r;
	unsigned width = r->ext_l2 ? 16 : 8;
	uint64_t raw = rc_get(r, l2 + i * width, 8);
	uint64_t bitmap = r->ext_l2 ? rc_get(r, l2 + i * width + 8, 8) : 0;
	uint64_t off = raw & OFFSET;

	if (raw & PACKED)
		return bitmap ? 0 : packed(d, raw, guest);
	if (raw & UINT64_C(0x3f000000000001fe))
		return 0;
	if (!r->ext_l2 && (raw & 1))
		return r->version == 3 && off % r->cs == 0 &&
				       (off == 0 || off < d->size) ?
			       ZEROS : 0;
	if (r->ext_l2 && ((raw & 1) || (bitmap & bitmap >> 32 & 0xffffffff) ||
			  ((bitmap & 0xffffffff) && off == 0)))
		return 0;
	if (r->data_file && (off || raw >> 63))
		return off == guest ? bitmap << 3 | APART : 0;
	if (off == 0)
		return bitmap ? bitmap | 4 : d->empty;
	if (off % r->cs || off >= d->size || !alone(d, off, RC_DATA, guest))
		return 0;
	return digest(d, off, bitmap);
}

/* What most entries of lead nowhere may be no table at all: what one of them leads
 * to is in doubt. */
static bool doubtful(const struct reader *d, uint64_t l2, uint64_t slot)
{
	uint64_t good = 0, bad = 0, per = UINT64_C(1) << d->r->l2_bits;

	for (uint64_t i = 0; d->strict && i < per; i++) {
		uint64_t h = one(d, l2, i, (slot * per + i) * d->r->cs);

		good += h != 0 && h != d->empty;
		bad += h == 0;
	}
	return bad >= 4 && bad > good;
}

static void read_table(struct q2f_guest *g, const struct reader *d,
		       uint64_t l1, uint64_t slot)
{
	const struct q2f_refcheck *r = d->r;
	uint64_t raw = rc_get(r, l1 + 8 * slot, 8);
	uint64_t l2 = raw & OFFSET, per = UINT64_C(1) << r->l2_bits;
	bool sound = l2 % r->cs == 0 && l2 < d->size &&
		     !(raw & UINT64_C(0x7f000000000001ff));

	if (l2 && (!sound || !alone(d, l2, RC_TABLE, slot) || doubtful(d, l2, slot)))
		return;
	for (uint64_t i = 0; i < per && slot * per + i < g->n; i++)
		g->digest[slot * per + i] = l2 ? one(d, l2, i,
							     (slot * per + i) *
								     r->cs) :
							 d->empty;
}

/* One disk; false if it is too large. */
static bool read_disk(struct q2f_guest *g, const struct reader *d,
		      const struct rc_tree *t)
{
	const struct q2f_refcheck *r = d->r;
	uint64_t n = t->disk / r->cs + (t->disk % r->cs != 0);

	if (n > CLUSTERS)
		return false;
	g->digest = calloc((size_t)(n ? n : 1), sizeof(*g->digest));
	if (g->digest == NULL)
		abort();
	g->n = (size_t)n;
	g->cluster_size = r->cs;
	g->plain = !r->ext_l2 && !r->data_file && r->crypt == 0;
	g->disk = t->disk;
	for (uint64_t slot = 0; slot < t->entries && slot << r->l2_bits < n;
	     slot++)
		read_table(g, d, t->offset, slot);
	return true;
}

/* What a record calls its snapshot. */
static uint64_t name_of(const struct q2f_refcheck *r, uint64_t record,
			uint64_t *bare)
{
	uint64_t at = record + 40 + rc_get(r, record + 36, 4);
	uint64_t id = rc_get(r, record + 12, 2), name = rc_get(r, record + 14, 2);

	*bare = q2_hash(r->b + at + id, (size_t)name);
	return q2_hash(r->b + at, (size_t)(id + name)) + id;
}

/* Whether nothing else names the clusters of its L1 table. */
static bool has_table(const struct q2f_refcheck *r, const struct rc_tree *t)
{
	uint64_t first = t->offset / r->cs;
	uint64_t end = (t->offset + 8 * t->entries + r->cs - 1) / r->cs;

	for (uint64_t c = first; c < end && c < r->clusters; c++)
		if (r->counted[c] != 1)
			return false;
	return true;
}

static void read_snapshots(struct q2f_guest *g, const struct reader *d)
{
	const struct q2f_refcheck *r = d->r;

	g->snapshots = calloc(r->n_trees + 1u, sizeof(*g->snapshots));
	if (g->snapshots == NULL)
		abort();
	for (unsigned i = 0; i < r->n_trees; i++) {
		const struct rc_tree *t = &r->trees[i];
		struct q2f_guest *s = &g->snapshots[g->n_snapshots];

		if (t->active || (d->strict && !(t->sound && has_table(r, t))) ||
		    !read_disk(s, d, t))
			continue;
		s->index = t->index;
		s->name = name_of(r, t->record, &s->bare);
		s->l1 = t->offset;
		s->sound = t->sound;
		g->n_snapshots++;
	}
}

static void read_image(struct q2f_guest *g, const uint8_t *image, size_t size,
		       bool strict, bool counted)
{
	struct q2f_input in = {.image = image, .size = size};
	struct q2f_refcheck *r = q2f_refcheck_new(&in);
	struct reader d = {r, image, size, strict, counted, ZEROS};

	*g = (struct q2f_guest){.index = Q2_TREE_ACTIVE};
	if (r == NULL || r->refused || (strict && (r->guess_counts || r->guess)))
		goto out;
	if (rc_get(r, 8, 8) && rc_get(r, 16, 4))
		d.empty = EMPTY;
	if (!read_disk(g, &d, &(struct rc_tree){.offset = r->l1_at,
						.entries = r->l1_n,
						.disk = r->disk}))
		goto out;
	g->opens = r->l1_n >= r->l1_needed;
	read_snapshots(g, &d);
out:
	q2f_refcheck_free(r);
}

void q2f_guest_read(struct q2f_guest *g, const uint8_t *image, size_t size,
		    bool strict)
{
	read_image(g, image, size, strict, false);
}

void q2f_guest_read_counted(struct q2f_guest *g, const uint8_t *image,
			    size_t size)
{
	read_image(g, image, size, true, true);
}

void q2f_guest_read_raw(struct q2f_guest *g, const uint8_t *image, size_t size)
{
	*g = (struct q2f_guest){.cluster_size = 512, .plain = true,
				.disk = size, .n = size / 512};
	g->digest = calloc(g->n + 1, sizeof(*g->digest));
	if (g->digest == NULL)
		abort();
	for (size_t i = 0; i < g->n; i++)
		g->digest[i] = digest_of(image + 512 * i, 512, 0);
}

void q2f_guest_free(struct q2f_guest *g)
{
	for (size_t i = 0; i < g->n_snapshots; i++)
		free(g->snapshots[i].digest);
	free(g->snapshots);
	free(g->digest);
	*g = (struct q2f_guest){0};
}

void q2f_guest_doubt(struct q2f_guest *g, uint32_t tree, uint64_t start,
		     uint64_t len)
{
	for (size_t i = 0; i < g->n_snapshots; i++)
		q2f_guest_doubt(&g->snapshots[i], tree, start, len);
	for (size_t i = 0; i < g->n && g->index == tree; i++)
		if (i * g->cluster_size < start + len &&
		    (i + 1) * g->cluster_size > start)
			g->digest[i] = 0;
}

void q2f_guest_same(const struct q2f_guest *g, uint32_t tree,
		    const uint8_t *bytes, size_t n, const char *oracle)
{
	for (size_t i = 0; i < g->n_snapshots; i++)
		if (g->snapshots[i].sound)
			q2f_guest_same(&g->snapshots[i], tree, bytes, n, oracle);
	for (size_t i = 0; g->plain && g->index == tree && i < g->n &&
			   (i + 1) * g->cluster_size <= n; i++) {
		uint64_t is = digest_of(bytes + i * g->cluster_size,
					g->cluster_size, 0);

		if (g->digest[i] > EMPTY && g->digest[i] != is)
			q2f_violation(oracle, "guest cluster %zu of %zu reads otherwise",
				      i, g->n);
	}
}

/* Whether what lies below shows in all of [start, end). */
static bool shows_through(const struct q2f_guest *g, uint64_t start, uint64_t end)
{
	if (g->cluster_size == 0 || end > g->disk)
		return false;
	for (uint64_t i = start / g->cluster_size; i * g->cluster_size < end; i++)
		if (g->digest[i] != EMPTY)
			return false;
	return true;
}

void q2f_guest_layered(const struct q2f_guest *layers, size_t n,
		       const uint8_t *bytes, size_t size, const char *oracle)
{
	for (size_t k = 0; k < n && layers[k].cluster_size; k++) {
		const struct q2f_guest *g = &layers[k];
		uint64_t cs = g->cluster_size;

		for (size_t i = 0; g->plain && i < g->n && (i + 1) * cs <= size; i++) {
			bool seen = g->digest[i] > EMPTY;

			for (size_t j = 0; j < k && seen; j++)
				seen = shows_through(&layers[j], i * cs, (i + 1) * cs);
			if (seen && digest_of(bytes + i * cs, cs, 0) != g->digest[i])
				q2f_violation(oracle, "cluster %zu of layer %zu reads otherwise",
					      i, k);
		}
	}
}

static void compare(const struct q2f_guest *before,
		    const struct q2f_guest *after, const char *oracle)
{
	/* A repaired root field makes another disk of it. */
	if (before->cluster_size == 0 ||
	    before->cluster_size != after->cluster_size ||
	    before->plain != after->plain || before->disk != after->disk)
		return;
	for (size_t i = 0; i < before->n; i++) {
		/* Nothing there before, and data that was lost comes back. */
		if (before->digest[i] <= ZEROS)
			continue;
		if (before->digest[i] != after->digest[i] &&
		    q2f_open_violation(oracle,
				       "guest cluster %zu of %zu reads otherwise%s",
				       i, before->n,
				       before->index == Q2_TREE_ACTIVE ? "" :
						       " in a snapshot"))
			return;
	}
}

/* The same snapshot: one that gets an id of its own keeps its table, and one that gets
 * a table of its own keeps its id; if both are new, it has its place and name. */
static const struct q2f_guest *snapshot(const struct q2f_guest *g,
					const struct q2f_guest *like)
{
	const struct q2f_guest *found = NULL;
	unsigned best = 0;

	for (size_t i = 0; i < g->n_snapshots; i++) {
		const struct q2f_guest *s = &g->snapshots[i];
		bool place = s->index == like->index && s->bare == like->bare;
		unsigned same = (s->name == like->name ? 2u : 0u) +
				(s->l1 == like->l1 ? 2u : 0u) + (place ? 1u : 0u);

		if (same > best) {
			found = s;
			best = same;
		}
	}
	return found;
}

void q2f_guest_compare(const struct q2f_guest *before,
		       const struct q2f_guest *after, const char *oracle)
{
	compare(before, after, oracle);
	/* Too large to be read now, or another geometry. */
	if (before->cluster_size != after->cluster_size)
		return;
	for (size_t i = 0; i < before->n_snapshots; i++) {
		const struct q2f_guest *s = &before->snapshots[i];
		const struct q2f_guest *now = snapshot(after, s);

		if (now == NULL)
			q2f_violation(oracle, "snapshot %u is gone", s->index);
		compare(s, now, oracle);
	}
}
