/*
 * snaptable.c - the internal snapshots of an image, for those who use them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/snaptable.h"

#include <string.h>

#include "base/err.h"

struct reading {
	const struct q2_image *img;
	struct q2_snaptable *table;
	uint8_t *bytes; /* Q2_SNAPSHOT_MAX */
	struct q2_err *err;
};

static void find_tree(const struct q2_geom *g, struct q2_snap *s,
		      uint32_t index)
{
	uint64_t disk = s->record.has_disk_size ? s->record.disk_size :
						  g->disk_size;
	uint64_t needed = q2_l1_needed(disk, g->cluster_bits,
				       1u << g->entry_bits);

	s->tree = (struct q2_tree){.id = index,
				   .l1_offset = s->record.l1_offset,
				   .l1_entries = s->record.l1_size,
				   .disk_size = disk};
	/* An absurd size says nothing; the table does. */
	if (needed > Q2_L1_MAX)
		s->tree.disk_size = g->disk_size;
	if (s->tree.l1_entries > Q2_L1_MAX)
		s->tree.l1_entries = (uint32_t)q2_min(needed, Q2_L1_MAX);
}

/* Appends id and name to the texts; pointers are made when all are there. */
static enum q2_status keep_texts(struct reading *r, const struct q2_snapshot *s)
{
	struct q2_snaptable *t = r->table;
	uint64_t more = (uint64_t)s->id_len + s->name_len + 2;
	void *block = t->texts;
	enum q2_status st;
	char *to;

	st = q2_regrow(r->img->budget, t->text_bytes, t->text_bytes + more,
		       &block, r->err);
	if (st != Q2_OK)
		return st;
	t->texts = block;
	to = t->texts + t->text_bytes;
	memcpy(to, r->bytes + s->id_at, s->id_len);
	memcpy(to + s->id_len + 1, r->bytes + s->name_at, s->name_len);
	t->text_bytes += more;
	return Q2_OK;
}

static enum q2_status one(struct reading *r, uint32_t index, uint64_t *pos)
{
	const struct q2_geom *g = &r->img->geom;
	struct q2_snap s = {0};
	size_t n = (size_t)q2_min(Q2_SNAPSHOT_MAX, g->file_size - *pos);
	enum q2_status st;

	/* Most records are short. */
	n = (size_t)q2_min(n, 512);
	st = q2_pread(r->img->io, r->bytes, n, *pos, r->err);
	if (st != Q2_OK)
		return st;
	q2_snapshot_parse(r->bytes, n, &s.record);
	if (s.record.end > n && s.record.extra_len <= Q2_SNAPSHOT_EXTRA_MAX &&
	    n == 512) {
		n = (size_t)q2_min(s.record.end, g->file_size - *pos);
		st = q2_pread(r->img->io, r->bytes, n, *pos, r->err);
		if (st != Q2_OK)
			return st;
	}
	if (q2_snapshot_judge(r->bytes, n, &s.record) != Q2_SNAPSHOT_SOUND) {
		r->table->damaged = true;
		return Q2_OK;
	}
	find_tree(g, &s, index);
	st = keep_texts(r, &s.record);
	*pos += s.record.len;
	if (st != Q2_OK)
		return st;
	return q2_snap_vec_push(&r->table->snaps, r->img->budget, s, r->err);
}

/* The texts do not move any more. */
static void point_to_texts(struct q2_snaptable *t)
{
	char *at = t->texts;

	for (size_t i = 0; i < t->snaps.n; i++) {
		struct q2_snap *s = &t->snaps.at[i];

		s->id = at;
		s->name = at + s->record.id_len + 1;
		at += (size_t)s->record.id_len + s->record.name_len + 2;
	}
}

enum q2_status q2_snaptable_read(const struct q2_image *img,
				 struct q2_snaptable *table,
				 struct q2_err *err)
{
	const struct q2_geom *g = &img->geom;
	struct reading r = {.img = img, .table = table, .err = err};
	uint64_t pos = g->snaptable_offset;
	enum q2_status st;
	void *block;

	*table = (struct q2_snaptable){0};
	if (g->snapshots == 0)
		return Q2_OK;
	st = q2_get(img->budget, Q2_SNAPSHOT_MAX, &block, err);
	if (st != Q2_OK)
		return st;
	r.bytes = block;
	for (uint32_t i = 0; st == Q2_OK && i < g->snapshots; i++) {
		if (pos >= g->file_size ||
		    pos - g->snaptable_offset > Q2_SNAPTABLE_MAX)
			table->damaged = true;
		if (table->damaged)
			break;
		st = one(&r, i, &pos);
	}
	q2_put(img->budget, block, Q2_SNAPSHOT_MAX);
	point_to_texts(table);
	return st;
}

void q2_snaptable_free(struct q2_snaptable *table, struct q2_budget *budget)
{
	q2_snap_vec_free(&table->snaps, budget);
	q2_put(budget, table->texts, table->text_bytes);
	*table = (struct q2_snaptable){0};
}

const struct q2_snap *q2_snaptable_find(const struct q2_snaptable *table,
					const char *id_or_name)
{
	const struct q2_snap_vec *v = &table->snaps;

	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->at[i].id, id_or_name) == 0)
			return &v->at[i];
	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->at[i].name, id_or_name) == 0)
			return &v->at[i];
	return NULL;
}
