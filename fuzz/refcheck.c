/*
 * refcheck.c - reference checker: tables, references, refcounts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "refcheck_own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OFFSET UINT64_C(0x00fffffffffffe00)
#define TOP UINT64_C(0x8000000000000000)
#define PACKED UINT64_C(0x4000000000000000)

void rc_bad(struct q2f_refcheck *r, const char *why)
{
	if (!r->corrupt)
		snprintf(r->why, sizeof(r->why), "%s", why);
	r->corrupt = true;
	r->bad++;
}

/* What lies past the end of the file reads as zeros. */
uint64_t rc_get(const struct q2f_refcheck *r, uint64_t off, unsigned bytes)
{
	uint64_t there = off < r->size ? r->size - off : 0, v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | (i < there ? r->b[off + i] : 0);
	return v;
}

void rc_add(struct q2f_refcheck *r, struct rc_ref ref)
{
	if (ref.clu >= r->clusters)
		return;
	if (r->n_refs == RC_REFS) {
		r->guess = r->guess_counts = true;
		return;
	}
	if (r->n_refs == r->room) {
		r->room = 2 * r->room + 256;
		r->refs = realloc(r->refs, r->room * sizeof(*r->refs));
		if (r->refs == NULL)
			abort();
	}
	r->refs[r->n_refs++] = ref;
	r->counted[ref.clu] += ref.weight;
}

void rc_meta(struct q2f_refcheck *r, uint64_t at, uint64_t len)
{
	uint64_t c = at / r->cs;

	if (len == 0)
		return;
	for (uint64_t n = (at % r->cs + len - 1) / r->cs + 1;
	     n && c < r->clusters; n--, c++)
		rc_add(r, (struct rc_ref){
				  .clu = (uint32_t)c, .weight = 1, .kind = RC_META});
}

/* -------------------------------------------------------------- L1 and L2 */

/* One distinct L2 table. */
struct table {
	uint64_t offset, slot, weight, limit;
	unsigned tree;
	bool active, copied, clear, aliased;
};

static void judge_subclusters(struct q2f_refcheck *r, uint64_t raw,
			      uint64_t bitmap, bool has_host)
{
	if (bitmap & bitmap >> 32 & 0xffffffff)
		rc_bad(r, "subclusters both allocated and zero");
	if ((bitmap & 0xffffffff) && !has_host)
		rc_bad(r, "subclusters allocated without a cluster");
	if (raw & 1)
		rc_bad(r, "the zero flag in an extended entry");
}

static void judge_stream(struct q2f_refcheck *r, const struct table *t,
			 uint64_t guest, uint64_t raw, uint64_t bitmap)
{
	unsigned x = 70 - r->bits;
	uint64_t off = raw & ((UINT64_C(1) << x) - 1);
	uint64_t more = (raw & (PACKED - 1)) >> x;
	uint64_t end = off / 512 * 512 + (more + 1) * 512;

	if (raw & TOP)
		rc_bad(r, "COPIED on a compressed entry");
	if (r->data_file)
		rc_bad(r, "compressed, with a data file");
	if (bitmap)
		rc_bad(r, "compressed, with a subcluster bitmap");
	if (off >> 56 || end > r->clusters * r->cs) {
		rc_bad(r, "compressed data outside");
		return;
	}
	if (end - 512 >= r->size)
		rc_bad(r, "compressed data cut off");
	for (uint64_t c = off / r->cs; !r->data_file && c * r->cs < end; c++)
		rc_add(r, (struct rc_ref){.clu = (uint32_t)c,
					  .weight = (uint32_t)t->weight,
					  .kind = RC_STREAM,
					  .active = t->active,
					  .guest = guest,
					  .start = off,
					  .end = end});
}

static void judge_l2_entry(struct q2f_refcheck *r, const struct table *t,
			   uint64_t index)
{
	unsigned width = r->ext_l2 ? 16 : 8;
	uint64_t at = t->offset + index * width;
	uint64_t raw = rc_get(r, at, 8);
	uint64_t bitmap = r->ext_l2 ? rc_get(r, at + 8, 8) : 0;
	uint64_t off = raw & OFFSET;
	uint64_t guest = ((t->slot << r->l2_bits) + index) * r->cs;
	bool has_host = off || (r->data_file && (raw & TOP));
	bool used = has_host || (raw & PACKED);

	if (raw == 0 && bitmap == 0)
		return;
	if (r->ext_l2)
		used |= bitmap >> 32 != 0;
	else
		used |= (raw & 1) != 0;
	if (used && index >= t->limit)
		rc_bad(r, "an entry past the end of the disk");
	else if (used && t->active)
		r->mapped += 1;
	if (raw & PACKED) {
		judge_stream(r, t, guest, raw, bitmap);
		return;
	}
	if (raw & UINT64_C(0x3f000000000001fe))
		rc_bad(r, "reserved bits of an L2 entry");
	if ((raw & 1) && r->version == 2)
		rc_bad(r, "the zero flag in version 2");
	if (r->ext_l2)
		judge_subclusters(r, raw, bitmap, has_host);
	if (!has_host)
		return;
	if (off % r->cs) {
		rc_bad(r, "an unaligned L2 entry");
	} else if (r->data_file) {
		if (off != guest)
			rc_bad(r, "another offset in the data file");
		if (!(raw & TOP))
			rc_bad(r, "no COPIED, with a data file");
	} else if (off >= r->size) {
		rc_bad(r, "an L2 entry outside");
	} else {
		rc_add(r, (struct rc_ref){.clu = (uint32_t)(off / r->cs),
					  .weight = (uint32_t)t->weight,
					  .kind = RC_DATA,
					  .active = t->active,
					  .copied = raw & TOP,
					  .guest = guest});
	}
}

static uint64_t entries_on_disk(const struct q2f_refcheck *r, uint64_t disk,
				uint64_t slot)
{
	uint64_t clusters = disk / r->cs + (disk % r->cs != 0);
	uint64_t before = slot << r->l2_bits, all = UINT64_C(1) << r->l2_bits;

	if (before >= clusters)
		return all; /* VM state */
	return clusters - before < all ? clusters - before : all;
}

/* The table that an L1 entry names, noted once. */
static struct table *note_table(struct q2f_refcheck *r, struct table *tables,
				unsigned *n, uint64_t off, uint64_t slot,
				unsigned tree)
{
	for (unsigned i = 0; i < *n; i++) {
		struct table *t = &tables[i];

		if (t->offset != off)
			continue;
		if (t->slot != slot || t->tree == tree) {
			rc_bad(r, "an L2 table in two places");
			t->aliased = true;
		}
		return t;
	}
	tables[*n] = (struct table){.offset = off, .slot = slot, .tree = tree};
	return &tables[(*n)++];
}

static void walk_l1(struct q2f_refcheck *r, unsigned tree,
		    struct table *tables, unsigned *n)
{
	const struct rc_tree *w = &r->trees[tree];

	for (uint64_t i = 0; i < w->entries; i++) {
		uint64_t raw = rc_get(r, w->offset + 8 * i, 8);
		uint64_t off = raw & OFFSET, limit;
		struct table *t;

		if (raw & UINT64_C(0x7f000000000001ff))
			rc_bad(r, "reserved bits of an L1 entry");
		else if (raw && off == 0)
			rc_bad(r, "an L1 entry with flags only");
		if (off == 0)
			continue;
		if (off % r->cs || off >= r->size) {
			rc_bad(r, "an L1 entry unaligned or outside");
			continue;
		}
		t = note_table(r, tables, n, off, i, tree);
		limit = entries_on_disk(r, w->disk, i);
		/* What the active disk shares must lie on that disk. */
		if ((w->active || !t->active) && limit > t->limit)
			t->limit = limit;
		t->weight++;
		t->active |= w->active;
		t->copied |= w->active && (raw & TOP);
		t->clear |= w->active && !(raw & TOP);
	}
}

void rc_trees(struct q2f_refcheck *r)
{
	struct table *tables = calloc((size_t)r->clusters, sizeof(*tables));
	unsigned n = 0;

	if (tables == NULL)
		abort();
	for (unsigned i = 0; i < r->n_trees; i++)
		walk_l1(r, i, tables, &n);
	for (unsigned i = 0; i < n; i++) {
		const struct table *t = &tables[i];

		rc_add(r, (struct rc_ref){.clu = (uint32_t)(t->offset / r->cs),
					  .weight = (uint32_t)t->weight,
					  .kind = RC_TABLE,
					  .active = t->active,
					  .copied = t->copied,
					  .guest = t->aliased ? UINT64_MAX :
								t->slot});
		for (uint64_t k = 0; k < UINT64_C(1) << r->l2_bits; k++)
			judge_l2_entry(r, t, k);
	}
	free(tables);
}

/* ------------------------------------------------------------- refcounts */

static uint64_t read_refcount(const struct q2f_refcheck *r, uint64_t block,
			      uint64_t i)
{
	unsigned width = 1u << r->order;
	uint64_t bit = i * width;

	if (width >= 8)
		return rc_get(r, block + bit / 8, width / 8);
	return rc_get(r, block + bit / 8, 1) >> bit % 8 & ((1u << width) - 1);
}

/* A block that an earlier entry names is that entry's. */
static bool is_shared(const struct q2f_refcheck *r, uint64_t entry,
		      uint64_t off)
{
	for (uint64_t i = 0; i < entry; i++)
		if ((rc_get(r, r->rt_at + 8 * i, 8) & ~UINT64_C(511)) == off)
			return true;
	return false;
}

static void read_blocks(struct q2f_refcheck *r)
{
	uint64_t per_block = (r->cs * 8) >> r->order;
	uint64_t there = r->clusters * r->cs - r->rt_at; /* zeros behind */

	if (there > r->rt_bytes)
		there = r->rt_bytes;
	for (uint64_t i = 0; i < there / 8; i++) {
		uint64_t raw = rc_get(r, r->rt_at + 8 * i, 8);
		uint64_t off = raw & ~UINT64_C(511);

		if (raw != off)
			rc_bad(r, "reserved bits of a refcount table entry");
		if (off == 0)
			continue;
		if (off % r->cs || off >= r->size) {
			rc_bad(r, "a refcount block unaligned or outside");
			continue;
		}
		if (is_shared(r, i, off)) {
			rc_bad(r, "a refcount block in two places");
			continue;
		}
		rc_meta(r, off, r->cs);
		for (uint64_t k = 0, c = i * per_block;
		     k < per_block && c < r->clusters; k++, c++) {
			r->is[c] |= RC_KNOWN;
			r->stored[c] = read_refcount(r, off, k);
		}
	}
}

/* Two references to one cluster that exclude one another. */
static void judge_pair(struct q2f_refcheck *r, const struct rc_ref *a,
		       const struct rc_ref *b)
{
	const struct rc_ref *x = a->start <= b->start ? a : b;
	const struct rc_ref *y = x == a ? b : a;

	if (a->kind <= RC_TABLE || b->kind <= RC_TABLE) {
		if (a->kind == RC_META || b->kind == RC_META ||
		    a->kind != b->kind)
			rc_bad(r, "metadata used twice");
	} else if (a->kind != b->kind) {
		rc_bad(r, "compressed and plain data in one cluster");
	} else if (a->kind == RC_DATA) {
		if (a->guest != b->guest)
			rc_bad(r, "two guest clusters in one place");
	} else if (x->start == y->start) {
		if (x->guest != y->guest)
			rc_bad(r, "two guest clusters in one stream");
	} else if (y->start < x->end - 512 && y->start / r->cs == y->clu) {
		rc_bad(r, "streams overlap");
	}
}

static void judge_cluster(struct q2f_refcheck *r, const struct rc_ref *refs,
			  unsigned n, uint32_t clu)
{
	uint64_t max = r->order == 6 ? UINT64_MAX :
				       (UINT64_C(1) << (1u << r->order)) - 1;
	uint64_t got = r->stored[clu], want = r->counted[clu];
	bool copied = false, clear = false;

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = i + 1; j < n; j++)
			judge_pair(r, &refs[i], &refs[j]);
	for (unsigned i = 0; i < n; i++) {
		if (refs[i].kind != RC_TABLE && refs[i].kind != RC_DATA)
			continue;
		copied |= refs[i].active && refs[i].copied;
		clear |= refs[i].active && !refs[i].copied;
	}
	if (!(r->is[clu] & RC_KNOWN)) {
		if (want && r->rt_bytes)
			rc_bad(r, "no refcount block for a cluster in use");
		return;
	}
	if (want > max || (want && got < want))
		rc_bad(r, "a refcount too low");
	else if (got > want)
		r->leaks = true;
	if ((copied && got > 1) || (!copied && clear && got == 1 && want == 1))
		rc_bad(r, "a COPIED flag");
}

static int by_cluster(const void *a, const void *b)
{
	const struct rc_ref *x = a, *y = b;

	return (x->clu > y->clu) - (x->clu < y->clu);
}

void rc_counts(struct q2f_refcheck *r)
{
	unsigned at = 0;

	read_blocks(r);
	rc_stale(r);
	if (r->n_refs)
		qsort(r->refs, r->n_refs, sizeof(*r->refs), by_cluster);
	for (uint32_t c = 0; c < r->clusters; c++) {
		unsigned n = 0;

		while (at + n < r->n_refs && r->refs[at + n].clu == c)
			n++;
		judge_cluster(r, r->refs + at, n, c);
		at += n;
	}
}

/* ------------------------------------------------------------ the outside */

static void run(struct q2f_refcheck *r)
{
	rc_meta(r, 0, r->cs);
	if (r->rt_bytes)
		rc_meta(r, r->rt_at, r->rt_bytes);
	if (r->l1_n) {
		rc_meta(r, r->l1_at, 8 * r->l1_n);
		r->trees[r->n_trees++] =
			(struct rc_tree){.offset = r->l1_at,
					 .entries = r->l1_n,
					 .disk = r->disk,
					 .active = true};
	}
	rc_extensions(r);
	rc_snapshots(r);
	rc_trees(r);
	rc_counts(r);
}

struct q2f_refcheck *q2f_refcheck_new(const struct q2f_input *in)
{
	struct q2f_refcheck *r;

	if (in->size < 4 || memcmp(in->image, "QFI\xfb", 4) != 0 ||
	    in->ctl.hole || in->size > UINT64_C(512) * RC_CLUSTERS)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		abort();
	r->b = in->image;
	r->size = in->size;
	rc_header(r);
	if (r->refused)
		return r;
	r->stored = calloc((size_t)r->clusters, sizeof(*r->stored));
	r->counted = calloc((size_t)r->clusters, sizeof(*r->counted));
	r->is = calloc((size_t)r->clusters, 1);
	if (!r->stored || !r->counted || !r->is)
		abort();
	run(r);
	return r;
}

void q2f_refcheck_free(struct q2f_refcheck *r)
{
	if (r == NULL)
		return;
	free(r->refs);
	free(r->stored);
	free(r->counted);
	free(r->is);
	free(r);
}
