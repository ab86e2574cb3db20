/*
 * t_open.c - target open: header, geometry, extensions; all total functions.
 *
 * SPDX-License-Identifier: MIT
 *
 * I-3: extensions and names stay in the first cluster, and their walk ends.
 * I-4, I-9: a geometry has no field that a shift or product could overflow on.
 */
#include <stdlib.h>
#include <string.h>

#include "format/ext.h"
#include "format/geom.h"
#include "format/luks.h"
#include "q2fuzz.h"

static void need(bool holds, const char *oracle, const char *what)
{
	if (!holds)
		q2f_violation(oracle, "%s", what);
}

static void judge_geometry(const struct q2_geom *g, uint64_t file_size)
{
	need(g->cluster_bits >= 9 && g->cluster_bits <= 21, "I-9",
	     "cluster_bits of a geometry");
	need(g->cluster_size == UINT64_C(1) << g->cluster_bits, "I-9",
	     "cluster_size of a geometry");
	need(g->ref_order <= 6, "I-9", "ref_order of a geometry");
	need(g->block_bits == g->cluster_bits + 3 - g->ref_order, "I-9",
	     "block_bits of a geometry");
	need(g->l2_bits + g->entry_bits == g->cluster_bits, "I-9",
	     "l2_bits of a geometry");
	need(g->offset_bits == 70 - g->cluster_bits, "I-9",
	     "offset_bits of a geometry");
	need(g->l1_entries <= Q2_L1_MAX, "I-2", "l1_entries of a geometry");
	need(g->reftable_bytes <= Q2_REFTABLE_MAX, "I-2",
	     "reftable_bytes of a geometry");
	need(g->snapshots <= Q2_SNAPSHOTS_MAX, "I-2",
	     "snapshots of a geometry");
	need(g->l1_entries == 0 || g->l1_offset % g->cluster_size == 0, "I-4",
	     "an L1 table that is not aligned");
	need(g->l1_entries == 0 ||
		     q2_inside(g->l1_offset, UINT64_C(8) * g->l1_entries,
			       q2_add_sat(file_size, g->cluster_size)),
	     "I-4", "an L1 table outside of the file");
	need(g->reftable_bytes == 0 ||
		     (g->reftable_offset % g->cluster_size == 0 &&
		      g->reftable_offset < file_size),
	     "I-4", "a refcount table outside of the file");
}

static void judge_extensions(const struct q2_header *h,
			     const struct q2_geom *g,
			     const struct q2f_input *in)
{
	size_t cs = (size_t)g->cluster_size;
	uint8_t *first = calloc(1, cs);
	struct q2_range area;
	struct q2_ext_iter it;
	struct q2_ext e;
	size_t steps = 0;

	if (first == NULL)
		return;
	memcpy(first, in->image, (size_t)q2_min(cs, in->size));
	if (q2_ext_area(h, cs, &area)) {
		enum q2_ext_step step;

		need(q2_inside(area.start, area.len, cs), "I-3",
		     "the extension area leaves the first cluster");
		q2_ext_start(&it, first, area);
		while ((step = q2_ext_next(&it, &e)) == Q2_EXT_ONE) {
			need(++steps <= area.len / 8, "I-10",
			     "the walk of the extensions does not end");
			need(e.data != NULL &&
				     q2_inside(e.at + UINT64_C(8), e.len,
					       q2_end(area)),
			     "I-3", "an extension leaves its area");
			if (e.type == Q2_EXT_LUKS && e.len >= 16)
				need(e.data + e.len <= first + cs, "I-3",
				     "extension data leaves the cluster");
		}
		need(q2_ext_next(&it, &e) == step, "I-10",
		     "the walk of the extensions goes on after its end");
	}
	free(first);
}

static void judge_luks(const struct q2f_input *in)
{
	uint8_t bytes[Q2_LUKS_HEADER] = {0};
	struct q2_luks luks;

	memcpy(bytes, in->image, (size_t)q2_min(sizeof(bytes), in->size));
	(void)q2_luks_parse(bytes, &luks);
}

int q2f_open(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	uint64_t file_size = in.size + in.ctl.hole;
	struct q2_header h, again;
	struct q2_header_faults faults;
	struct q2_geom g;

	memset(&h, 0, sizeof(h));
	memset(&again, 0xff, sizeof(again));
	q2_header_parse(in.image, in.size, &h);
	q2_header_parse(in.image, in.size, &again);
	need(h.size == again.size && h.header_length == again.header_length &&
		     h.padding_at == again.padding_at,
	     "C-2", "a header parsed twice gives two answers");
	q2_header_judge(&h, file_size, &faults);
	need(faults.n <= Q2_HF_COUNT, "I-6", "more faults than there are");
	for (size_t i = 1; i < faults.n; i++)
		need(faults.at[i - 1].id != faults.at[i].id, "C-1",
		     "a fault of the header appears twice");
	judge_luks(&in);
	if (!q2_geom_make(&h, &faults, file_size, &g)) {
		need(faults.n > 0, "C-1", "no geometry, and no fault");
		need(g.cluster_size == 0, "C-1", "a geometry that failed");
		return 0;
	}
	judge_geometry(&g, file_size);
	judge_extensions(&h, &g, &in);
	return 0;
}
