/*
 * chk_bitrecs.c - tests what bitmap records say, alone and together.
 * Gathers which part of which bitmap table is to be walked.
 * When it fails the result is partial: bitmap data may seem leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "check/chk_bitmaps.h"
#include "check/window.h"

/* One record under judgement. */
struct judge {
	struct q2_checker *c;
	const struct q2_bitmap_rec *r;
	bool stale;
};

static void emit(const struct judge *j, enum q2_problem_id id,
		 struct q2_finding f)
{
	if (j->stale)
		return;
	f.fields |= Q2_F_INDEX;
	f.index = j->r->index;
	q2_finding_text(&f, (const char *)j->r->name, j->r->b.name_len);
	q2_found(j->c, id, &f);
}

static void emit_field(const struct judge *j, enum q2_bitmap_place at,
		       uint64_t found)
{
	emit(j, Q2_P_BITMAP_FIELD,
	     (struct q2_finding){
		     .fields = Q2_F_HOST | Q2_F_FOUND,
		     .host = j->r->host + at,
		     .found = found,
	     });
}

static bool gran_usable(const struct q2_bitmap *b)
{
	return b->gran >= Q2_BITMAP_GRAN_MIN && b->gran <= Q2_BITMAP_GRAN_MAX;
}

/* Format, "Bitmap directory", and what QEMU does not take. */
static void judge_fields(const struct judge *j)
{
	const struct q2_bitmap *b = &j->r->b;

	if (b->flags & ~(uint32_t)Q2_BITMAP_FLAGS)
		emit_field(j, Q2_BITMAP_AT_FLAGS, b->flags);
	if (b->type != Q2_BITMAP_DIRTY)
		emit_field(j, Q2_BITMAP_AT_TYPE, b->type);
	if (!gran_usable(b))
		emit_field(j, Q2_BITMAP_AT_GRAN, b->gran);
	if (b->extra_len || (b->flags & Q2_BITMAP_EXTRA_OK))
		emit(j, Q2_P_BITMAP_EXTRA,
		     (struct q2_finding){.fields = Q2_F_FOUND,
					 .found = b->extra_len});
	if (b->flags & Q2_BITMAP_IN_USE)
		emit(j, Q2_P_BITMAP_IN_USE, (struct q2_finding){0});
}

static void judge_name(const struct judge *j)
{
	const struct q2_bitmap *b = &j->r->b;
	const uint8_t *name = j->r->name;

	if (b->name_len == 0 || b->name_len > Q2_BITMAP_NAME_MAX ||
	    memchr(name, 0, b->name_len))
		emit(j, Q2_P_BITMAP_NAME, (struct q2_finding){0});
	for (uint64_t i = b->end; i < b->len; i++) {
		if (name[i - b->name_at] == 0)
			continue;
		emit(j, Q2_P_BITMAP_PADDING,
		     (struct q2_finding){.fields = Q2_F_HOST,
					 .host = j->r->host + i});
		break;
	}
}

#define NOT_TOLD UINT64_MAX

/* How many entries the table has to have; none for a disk of no bytes. */
static uint64_t needed_entries(const struct judge *j)
{
	const struct q2_geom *g = &j->c->img.geom;

	if (!gran_usable(&j->r->b))
		return NOT_TOLD;
	return q2_div_up(q2_bitmap_bytes(g->disk_size, j->r->b.gran),
			 g->cluster_size);
}

/* How many entries to walk, going by the table's size alone. */
static uint64_t judge_size(const struct judge *j, uint64_t needed)
{
	const struct q2_bitmap *b = &j->r->b;
	uint64_t most = Q2_BITMAP_BYTES_MAX >> j->c->img.geom.cluster_bits;
	bool absurd = b->table_size == 0 || b->table_size > most;
	bool told = needed != NOT_TOLD;

	/* The disk may have been resized while a bitmap was in use; but a table
	 * without an entry is none, whatever its bitmap is. */
	if (!absurd && (!told || b->table_size == needed ||
			(b->flags & Q2_BITMAP_IN_USE)))
		return b->table_size;
	if (!told)
		needed = 0;
	emit(j, Q2_P_BITMAP_TABLE_SIZE,
	     (struct q2_finding){
		     .fields = Q2_F_FOUND | Q2_F_EXPECTED,
		     .found = b->table_size,
		     .expected = absurd ? q2_max(needed, 1) : needed,
	     });
	j->c->result->partial = true;
	/* What a disk needs can change when nobody knows of the bitmap. */
	if (j->stale)
		return absurd ? 0 : b->table_size;
	/* A wrong length says nothing; the part that is needed does.  Where no
	 * disk needs any, the disk's size may be the wrong one. */
	if (needed == 0 && told)
		return q2_min(b->table_size, most);
	return q2_min(needed, q2_min(b->table_size, most));
}

/* How many entries of the table are there to be walked. */
static uint32_t usable_entries(const struct judge *j, uint64_t needed)
{
	struct q2_checker *c = j->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t at = j->r->b.table_offset;
	uint64_t entries = judge_size(j, needed), inside;

	if (at == 0 || (at & (g->cluster_size - 1))) {
		emit(j, Q2_P_BITMAP_TABLE_OFFSET,
		     (struct q2_finding){.fields = Q2_F_FOUND, .found = at});
		c->result->partial = true;
		return 0;
	}
	inside = at < g->file_size ? (g->file_size - at) / 8 : 0;
	if (entries > inside) {
		emit(j, Q2_P_BITMAP_TABLE_OUTSIDE,
		     (struct q2_finding){
			     .fields = Q2_F_HOST | Q2_F_LENGTH,
			     .host = at,
			     .length = UINT64_C(8) * j->r->b.table_size,
		     });
		c->result->partial = true;
		entries = j->stale ? 0 : inside;
	}
	return (uint32_t)entries;
}

static struct q2_bitmap_ref make_ref(const struct q2_bitmap_rec *r)
{
	return (struct q2_bitmap_ref){
		.name_at = r->host + r->b.name_at,
		.table_offset = r->b.table_offset,
		.index = r->index,
		.name_len = r->b.name_len,
		.gran = r->b.gran,
	};
}

enum q2_status q2_bitmap_add(struct q2_checker *c, struct q2_bitmap_refs *refs,
			     const struct q2_bitmap_rec *r, bool stale)
{
	struct judge j = {c, r, stale};
	struct q2_bitmap_ref ref = make_ref(r);

	judge_fields(&j);
	judge_name(&j);
	ref.hash = q2_hash(r->name, r->b.name_len);
	ref.needed = needed_entries(&j);
	ref.entries = usable_entries(&j, ref.needed);
	/* With another length the last entry is not the disk's last part. */
	ref.content = !stale && !(r->b.flags & Q2_BITMAP_IN_USE) &&
		      r->b.table_size == ref.needed;
	return q2_bitmap_refs_push(refs, &c->budget, ref, c->err);
}

enum q2_status q2_bitmap_salvage(struct q2_checker *c,
				 struct q2_bitmap_refs *refs,
				 const struct q2_bitmap_rec *r)
{
	struct q2_bitmap_ref ref = make_ref(r);

	if (!q2_bitmap_has_table(&c->img.geom, &r->b))
		return Q2_OK;
	ref.entries = r->b.table_size;
	ref.name_len = 0;
	return q2_bitmap_refs_push(refs, &c->budget, ref, c->err);
}

static int by_index(const void *a, const void *b)
{
	const struct q2_bitmap_ref *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static int by_name(const void *a, const void *b)
{
	const struct q2_bitmap_ref *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return by_index(a, b);
}

/* Equal names have equal hashes; where hashes are equal the bytes decide. */
void q2_bitmaps_compare(struct q2_checker *c, struct q2_bitmap_refs *refs)
{
	struct q2_bitmap_ref *at = refs->at;

	if (refs->n < 2)
		return;
	qsort(at, refs->n, sizeof(*at), by_name);
	for (size_t i = 1; i < refs->n; i++)
		at[i].same_name = at[i].hash == at[i - 1].hash &&
				  at[i].name_len &&
				  at[i].name_len == at[i - 1].name_len &&
				  q2_window_same(c, Q2_K_BITMAP_DIR,
						 at[i].name_at,
						 at[i - 1].name_at,
						 at[i].name_len);
	qsort(at, refs->n, sizeof(*at), by_index);
	for (size_t i = 0; i < refs->n; i++) {
		struct q2_finding f = {.fields = Q2_F_INDEX,
				       .index = at[i].index};

		if (!at[i].same_name)
			continue;
		q2_window_text(c, &f, at[i].name_at, at[i].name_len);
		q2_found(c, Q2_P_BITMAP_NAME, &f);
	}
}
