/*
 * t_records.c - targets snapshot and bitmap: records at every place.
 *
 * SPDX-License-Identifier: MIT
 *
 * The whole input is taken for a table of records, besides what its header says:
 * I-2 lengths are judged before they are used, and no record ends before it began.
 */
#include "format/bitmap.h"
#include "format/snapshot.h"
#include "q2fuzz.h"

static bool geometry(const struct q2f_input *in, struct q2_geom *g)
{
	struct q2_header h;
	struct q2_header_faults faults;

	q2_header_parse(in->image, in->size, &h);
	q2_header_judge(&h, in->size + in->ctl.hole, &faults);
	return h.magic == Q2_MAGIC &&
	       q2_geom_make(&h, &faults, in->size + in->ctl.hole, g);
}

static void one_snapshot(const struct q2_geom *g, const uint8_t *p, size_t n)
{
	struct q2_snapshot s;
	bool plausible;
	enum q2_snapshot_state state;

	q2_snapshot_parse(p, n, &s);
	state = q2_snapshot_judge(p, n, &s);
	plausible = q2_snapshot_plausible(g, p, n, &s);
	if (s.len < s.end || s.len % 8 || s.end < Q2_SNAPSHOT_HEAD ||
	    s.name_at < s.id_at || s.end < s.name_at)
		q2f_violation("I-4", "a snapshot record of %llu bytes",
			      (unsigned long long)s.len);
	if (plausible && state != Q2_SNAPSHOT_SOUND)
		q2f_violation("C-1", "a plausible record is not sound");
	if (state == Q2_SNAPSHOT_SOUND && s.end > n)
		q2f_violation("I-2", "a sound record that is not there");
	if (plausible && !q2_snapshot_has_table(g, &s))
		q2f_violation("C-1", "a plausible record has no table");
}

int q2f_snapshot(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct q2_geom g;

	if (geometry(&in, &g))
		for (size_t at = 0; at < in.size; at += 8)
			one_snapshot(&g, in.image + at, in.size - at);
	q2f_check_input(&in, NULL);
	return 0;
}

static void one_bitmap(const struct q2_geom *g, const uint8_t *p, size_t n)
{
	struct q2_bitmap b;
	struct q2_bitmap_entry e;

	q2_bitmap_parse(p, n, &b);
	if (b.len < b.end || b.len % 8 || b.end < b.name_at ||
	    b.name_at < Q2_BITMAP_HEAD)
		q2f_violation("I-4", "a bitmap record of %llu bytes",
			      (unsigned long long)b.len);
	if (q2_bitmap_plausible(g, &b) && !q2_bitmap_has_table(g, &b))
		q2f_violation("C-1", "a plausible bitmap has no table");
	if (q2_bitmap_has_table(g, &b) &&
	    !q2_inside(b.table_offset, UINT64_C(8) * b.table_size,
		       g->file_size))
		q2f_violation("I-4", "a bitmap table outside of the file");
	if (n < 8)
		return;
	e = q2_bitmap_decode(g, b.table_offset);
	if (e.used && (e.host >= g->file_size || e.host % g->cluster_size))
		q2f_violation("I-5", "bitmap entry %llx is called usable",
			      (unsigned long long)b.table_offset);
}

int q2f_bitmap(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct q2_geom g;

	if (geometry(&in, &g))
		for (size_t at = 0; at < in.size; at += 8)
			one_bitmap(&g, in.image + at, in.size - at);
	q2f_check_input(&in, NULL);
	return 0;
}
