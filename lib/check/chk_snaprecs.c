/*
 * chk_snaprecs.c - tests what sound snapshot records say, alone and together.
 * Gathers trees, and the metadata ranges of their L1 tables.
 * When it fails the result is partial: what a lost one uses seems leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "base/hash.h"
#include "check/chk_snapshots.h"
#include "check/window.h"

#define NSEC_PER_SEC 1000000000u

/* One record under judgement. */
struct record {
	struct q2_checker *c;
	const uint8_t *bytes;
	const struct q2_snapshot *s;
	uint64_t host;
	uint32_t index;
	uint64_t label_at; /* from the record's start: its name, or its id */
	uint16_t label_len;
	uint64_t disk;	 /* size of its disk in bytes */
	uint64_t needed; /* L1 entries for that */
	bool absurd;	 /* more than there can be */
};

static void emit(const struct record *r, enum q2_problem_id id,
		 struct q2_finding f)
{
	f.fields |= Q2_F_INDEX;
	f.index = r->index;
	q2_finding_text(&f, (const char *)r->bytes + r->label_at,
			r->label_len);
	q2_found(r->c, id, &f);
}

static void emit_numbers(const struct record *r, enum q2_problem_id id,
			 uint64_t found, uint64_t expected)
{
	emit(r, id, (struct q2_finding){
			    .fields = Q2_F_FOUND | Q2_F_EXPECTED,
			    .found = found,
			    .expected = expected,
		    });
}

static void emit_number(const struct record *r, enum q2_problem_id id,
			uint64_t found)
{
	emit(r, id, (struct q2_finding){.fields = Q2_F_FOUND, .found = found});
}

static unsigned reach_bits(const struct record *r)
{
	return r->c->img.geom.l2_bits + r->c->img.geom.cluster_bits;
}

static void judge_sizes(struct record *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	const struct q2_snapshot *s = r->s;
	uint64_t room;

	if (g->version == 3 && s->extra_len < Q2_SNAPSHOT_EXTRA_MIN)
		emit(r, Q2_P_SNAPSHOT_EXTRA_SHORT,
		     (struct q2_finding){
			     .fields = Q2_F_HOST | Q2_F_FOUND,
			     .host = r->host,
			     .found = s->extra_len,
		     });
	r->disk = s->has_disk_size ? s->disk_size : g->disk_size;
	r->needed = q2_l1_needed(r->disk, g->cluster_bits, 1u << g->entry_bits);
	r->absurd = r->needed > Q2_L1_MAX;
	if (r->absurd) {
		emit_numbers(r, Q2_P_SNAPSHOT_DISK_SIZE, r->disk,
			     (uint64_t)Q2_L1_MAX << reach_bits(r));
		return;
	}
	/* Without extra data the disk's size then is not known. */
	if (s->has_disk_size && s->l1_size < r->needed) {
		emit_numbers(r, Q2_P_SNAPSHOT_L1_SHORT, s->l1_size, r->needed);
		r->c->result->partial = true;
	}
	/* VM state starts with the first L1 entry past the disk. */
	room = q2_min(s->l1_size, Q2_L1_MAX);
	if (s->has_disk_size)
		room = room > r->needed ? room - r->needed : 0;
	room <<= reach_bits(r);
	if (s->vm_state > room)
		emit_numbers(r, Q2_P_SNAPSHOT_VMSTATE, s->vm_state, room);
}

/* QEMU stores 0 in the 32-bit field if the size does not fit. */
static void judge_copies(const struct record *r)
{
	const struct q2_snapshot *s = r->s;
	uint64_t fits = s->vm_state <= UINT32_MAX ? s->vm_state : 0;

	if (s->has_vm_state_64 && s->vm_state_32 != fits)
		emit_numbers(r, Q2_P_SNAPSHOT_VMSTATE_COPIES, s->vm_state_32,
			     s->vm_state);
}

/* How many entries of the L1 table are there to be walked. */
static uint32_t usable_entries(const struct record *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	const struct q2_snapshot *s = r->s;
	uint64_t entries = s->l1_size, inside;

	/* QEMU refuses the record even if there is no table. */
	if (entries == 0 && (s->l1_offset & (g->cluster_size - 1)))
		emit_number(r, Q2_P_SNAPSHOT_L1_UNALIGNED, s->l1_offset);
	if (entries == 0)
		return 0;
	if (s->l1_offset == 0 || (s->l1_offset & (g->cluster_size - 1))) {
		emit_number(r, Q2_P_SNAPSHOT_L1_UNALIGNED, s->l1_offset);
		r->c->result->partial = true;
		return 0;
	}
	if (entries > Q2_L1_MAX) {
		emit_numbers(r, Q2_P_SNAPSHOT_L1_LIMIT, entries, Q2_L1_MAX);
		r->c->result->partial = true;
		/* An absurd length says nothing; the part that is needed
		 * does. */
		entries = r->absurd ? 0 : r->needed;
	}
	inside = s->l1_offset < g->file_size ?
			 (g->file_size - s->l1_offset) / 8 : 0;
	if (entries > inside) {
		emit(r, Q2_P_SNAPSHOT_L1_OUTSIDE,
		     (struct q2_finding){
			     .fields = Q2_F_HOST | Q2_F_LENGTH,
			     .host = s->l1_offset,
			     .length = UINT64_C(8) * s->l1_size,
		     });
		r->c->result->partial = true;
		entries = inside;
	}
	return (uint32_t)entries;
}

static enum q2_status add_tree(const struct record *r, uint32_t entries)
{
	struct q2_tree tree = {
		.id = r->index,
		.l1_entries = entries,
		.l1_offset = r->s->l1_offset,
		.disk_size = r->disk,
	};

	if (entries == 0)
		return Q2_OK;
	/* Nothing lies past the end of a disk whose end is not known. */
	if (r->absurd)
		tree.disk_size = (uint64_t)entries << reach_bits(r);
	return q2_trees_push(&r->c->trees, &r->c->budget, tree, r->c->err);
}

enum q2_status q2_snapshot_add(struct q2_checker *c, struct q2_snap_refs *refs,
			       const uint8_t *bytes,
			       const struct q2_snapshot *s, uint64_t host,
			       uint32_t index)
{
	struct record r = {
		.c = c,
		.bytes = bytes,
		.s = s,
		.host = host,
		.index = index,
		.label_at = s->name_len ? s->name_at : s->id_at,
		.label_len = s->name_len ? s->name_len : s->id_len,
	};
	struct q2_snap_ref ref = {
		.l1_offset = s->l1_offset,
		.label_at = host + r.label_at,
		.label_len = r.label_len,
		.index = index,
	};
	enum q2_status st;

	judge_sizes(&r);
	judge_copies(&r);
	if (s->nsec >= NSEC_PER_SEC)
		emit_number(&r, Q2_P_SNAPSHOT_TIME, s->nsec);
	if (s->id_len == 0)
		emit(&r, Q2_P_SNAPSHOT_NAME, (struct q2_finding){0});
	ref.hash = q2_hash(bytes + s->id_at, s->id_len);
	ref.nameless = s->id_len == 0;
	ref.l1_entries = usable_entries(&r);
	st = add_tree(&r, ref.l1_entries);
	if (st != Q2_OK)
		return st;
	return q2_snap_refs_push(refs, &c->budget, ref, c->err);
}

enum q2_status q2_snapshot_salvage(struct q2_checker *c,
				   struct q2_snap_refs *refs,
				   const struct q2_snapshot *s, uint32_t index)
{
	struct record r = {
		.c = c,
		.s = s,
		.index = index,
		.absurd = true, /* its disk size is not relied on */
	};
	struct q2_snap_ref ref = {
		.l1_offset = s->l1_offset,
		.l1_entries = s->l1_size,
		.index = index,
		.nameless = true,
	};
	enum q2_status st = add_tree(&r, s->l1_size);

	if (st != Q2_OK)
		return st;
	return q2_snap_refs_push(refs, &c->budget, ref, c->err);
}

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int by_index(const void *a, const void *b)
{
	const struct q2_snap_ref *x = a, *y = b;

	return order(x->index, y->index);
}

static int by_hash(const void *a, const void *b)
{
	const struct q2_snap_ref *x = a, *y = b;

	return x->hash != y->hash ? order(x->hash, y->hash) : by_index(a, b);
}

/* Unusable tables first, then by place. */
static int by_table(const void *a, const void *b)
{
	const struct q2_snap_ref *x = a, *y = b;

	if (!x->l1_entries != !y->l1_entries)
		return x->l1_entries ? 1 : -1;
	return x->l1_offset != y->l1_offset ?
		       order(x->l1_offset, y->l1_offset) : by_index(a, b);
}

/* Equal ids have equal hashes; an unequal one by chance is one in 2^64.  That
 * an id is empty was reported already. */
static void mark_ids(struct q2_snap_refs *refs)
{
	qsort(refs->at, refs->n, sizeof(*refs->at), by_hash);
	for (size_t i = 1; i < refs->n; i++)
		refs->at[i].same_id =
			refs->at[i].hash == refs->at[i - 1].hash &&
			!refs->at[i].nameless && !refs->at[i - 1].nameless;
}

/* Marks the refs [first, n) that have the table of refs->at[first]; returns
 * where the next table's refs start. */
static size_t mark_group(struct q2_snap_refs *refs, size_t first,
			 const struct q2_tree *active, uint32_t *entries)
{
	struct q2_snap_ref *lead = &refs->at[first];
	size_t i = first;

	*entries = 0;
	if (active && active->l1_offset == lead->l1_offset) {
		lead->same_l1 = true;
		lead->other = Q2_TREE_ACTIVE;
	}
	for (; i < refs->n && refs->at[i].l1_offset == lead->l1_offset; i++) {
		if (refs->at[i].l1_entries > *entries)
			*entries = refs->at[i].l1_entries;
		if (i == first)
			continue;
		refs->at[i].same_l1 = true;
		refs->at[i].other = lead->index;
	}
	return i;
}

static enum q2_status register_tables(struct q2_checker *c,
				      struct q2_snap_refs *refs)
{
	struct q2_tree first = {0};
	const struct q2_tree *active = NULL;
	size_t i = 0, next;

	if (c->trees.n && c->trees.at[0].id == Q2_TREE_ACTIVE) {
		first = c->trees.at[0];
		active = &first;
	}
	qsort(refs->at, refs->n, sizeof(*refs->at), by_table);
	while (i < refs->n && refs->at[i].l1_entries == 0)
		i++;
	for (; i < refs->n; i = next) {
		uint64_t at = refs->at[i].l1_offset;
		uint32_t entries;
		enum q2_status st;

		next = mark_group(refs, i, active, &entries);
		/* The active table is registered already. */
		if (active && active->l1_offset == at)
			continue;
		st = q2_meta_add(c, Q2_K_SNAPSHOT_L1, refs->at[i].index,
				 (struct q2_range){at, UINT64_C(8) * entries});
		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

static void emit_shared(struct q2_checker *c, const struct q2_snap_ref *ref)
{
	struct q2_finding f = {
		.fields = Q2_F_INDEX | Q2_F_HOST,
		.index = ref->index,
		.host = ref->l1_offset,
		.found = ref->other,
	};

	/* Where its own table is, is not known. */
	c->result->partial = true;
	q2_window_text(c, &f, ref->label_at, ref->label_len);
	if (ref->other == Q2_TREE_ACTIVE) {
		q2_found(c, Q2_P_SNAPSHOT_L1_ACTIVE, &f);
		return;
	}
	f.fields |= Q2_F_FOUND;
	q2_found(c, Q2_P_SNAPSHOT_L1_SHARED, &f);
}

static void emit_id(struct q2_checker *c, const struct q2_snap_ref *ref)
{
	struct q2_finding f = {.fields = Q2_F_INDEX, .index = ref->index};

	q2_window_text(c, &f, ref->label_at, ref->label_len);
	q2_found(c, Q2_P_SNAPSHOT_NAME, &f);
}

enum q2_status q2_snapshots_compare(struct q2_checker *c,
				    struct q2_snap_refs *refs)
{
	enum q2_status st;

	if (refs->n == 0)
		return Q2_OK;
	mark_ids(refs);
	st = register_tables(c, refs);
	if (st != Q2_OK)
		return st;
	qsort(refs->at, refs->n, sizeof(*refs->at), by_index);
	for (size_t i = 0; i < refs->n; i++) {
		if (refs->at[i].same_l1)
			emit_shared(c, &refs->at[i]);
		if (refs->at[i].same_id)
			emit_id(c, &refs->at[i]);
	}
	return Q2_OK;
}
