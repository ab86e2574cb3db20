/*
 * sound.c - headers whose damage could make a layer read as something else.
 *
 * SPDX-License-Identifier: MIT
 *
 * Damage to refcounts, snapshots or bitmaps is no matter to who only reads the
 * disk; where tables or entries are damaged, the maps say so.
 */
#include "base/err.h"
#include "dump/guest.h"
#include "format/ext.h"

static const struct {
	enum q2_header_fault_id fault;
	const char *problem; /* its name in the catalogue */
} faults[] = {
	{Q2_HF_COMPRESSION_BIT, "COMPRESSION_BIT"},
	{Q2_HF_COMPRESSION_TYPE, "COMPRESSION_TYPE"},
	{Q2_HF_RAW_BIT_NO_DATA_FILE, "RAW_BIT_NO_DATA_FILE"},
	{Q2_HF_HEADER_LENGTH, "HEADER_LENGTH"},
};

static enum q2_status refuse(const struct q2_layer *layer, const char *problem,
			     struct q2_err *err)
{
	return q2_fail(err, Q2_E_FORMAT, 0, 0,
		       "the header of '%.100s' is damaged (%s): qcow2-fsck "
		       "tells more, --salvage reads it nevertheless",
		       layer->path, problem);
}

/* An extension that is cut off may hide the others. */
static enum q2_status judge_exts(struct q2_guest *g,
				 const struct q2_layer *layer,
				 struct q2_err *err)
{
	const struct q2_opened *o = &layer->opened;
	enum q2_ext_step step;
	struct q2_ext_iter it;
	struct q2_range area;
	struct q2_ext ext;
	uint8_t *bytes;
	enum q2_status st;

	if (!q2_ext_area(&o->header, o->img.geom.cluster_size, &area))
		return Q2_OK;
	st = q2_guest_first(g, o, &bytes, err);
	if (st != Q2_OK)
		return st;
	q2_ext_start(&it, bytes, area);
	do
		step = q2_ext_next(&it, &ext);
	while (step == Q2_EXT_ONE);
	q2_put(&g->budget, bytes, o->img.geom.cluster_size);
	return step == Q2_EXT_CUT ? refuse(layer, "EXT_TOO_LONG", err) : Q2_OK;
}

enum q2_status q2_guest_sound(struct q2_guest *g, const struct q2_layer *layer,
			      struct q2_err *err)
{
	if (layer->raw)
		return Q2_OK;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		if (q2_header_has(&layer->opened.faults, faults[i].fault))
			return refuse(layer, faults[i].problem, err);
	return judge_exts(g, layer, err);
}
