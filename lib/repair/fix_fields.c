/*
 * fix_fields.c - header fields that other parts of the image tell.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    lengths, padding, feature bits that contradict one another, the backing
 *           file's name, an L1 table that is not where the header says.
 * Needs:    a geometry.
 */
#include <string.h>

#include "base/endian.h"
#include "format/ext.h"
#include "repair/repair.h"

/* A field whose value follows from others. */
static enum q2_status set_field(struct q2_repair *r, enum q2_problem_id why,
				enum q2_effect effect, uint64_t off,
				uint64_t value, size_t n, const char *text)
{
	uint8_t bytes[8];
	uint32_t action;
	enum q2_status st;

	if (!q2_found_any(r, why) || !q2_want(r, why))
		return Q2_OK;
	q2_put_be64(bytes, value);
	st = q2_act(r, why, effect, NULL, &action, "%s", text);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, off, bytes + 8 - n, n);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* A disk of which the L1 table would be far longer than the one that there is has
 * a damaged size. */
static enum q2_status fix_size(struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t reach = (uint64_t)r->c->header.l1_size
			 << (g->l2_bits + g->cluster_bits);

	if (r->c->header.l1_size == 0 ||
	    g->l1_needed <= 1024 + UINT64_C(4) * r->c->header.l1_size)
		return Q2_OK;
	return set_field(r, Q2_P_L1_TOO_SMALL, Q2_EFFECT_SUSPECT, 24, reach, 8,
			 "the virtual size becomes what the L1 table reaches");
}

/* The table is as long as the disk needs. */
static enum q2_status fix_l1_size(struct q2_repair *r)
{
	static const enum q2_problem_id about[] = {
		Q2_P_L1_SIZE_LIMIT, Q2_P_ROOT_L1_SIZE, Q2_P_L1_TOO_SMALL,
	};
	enum q2_status st = fix_size(r);

	for (size_t i = 0; i < 3 && st == Q2_OK; i++)
		st = set_field(r, about[i], Q2_EFFECT_NONE, 36,
			       r->c->img.geom.l1_needed, 4,
			       "l1_size becomes what the virtual size needs");
	return st;
}

static enum q2_status fix_padding(struct q2_repair *r)
{
	const struct q2_header *h = &r->c->header;
	uint8_t zeros[7] = {0};
	uint32_t action;
	enum q2_status st;

	if (!q2_found_any(r, Q2_P_HEADER_PADDING) ||
	    !q2_want(r, Q2_P_HEADER_PADDING) || h->raw_length <= 105)
		return Q2_OK;
	st = q2_act(r, Q2_P_HEADER_PADDING, Q2_EFFECT_NONE, NULL, &action,
		    "the header's padding is cleared");
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 105, zeros,
			       (size_t)q2_min(7, h->raw_length - 105));
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* The offset of the backing file's name: behind the extensions, where writers put
 * it.  False if no name stands there. */
static bool find_name(const struct q2_repair *r, uint64_t *off, uint32_t *len)
{
	const struct q2_header *h = &r->c->header;
	struct q2_ext_iter it;
	struct q2_ext e;
	uint64_t at, end = r->c->img.geom.cluster_size;
	enum q2_ext_step step;

	q2_ext_start(&it, r->c->first,
		     (struct q2_range){h->header_length,
				       end - q2_min(end, h->header_length)});
	do
		step = q2_ext_next(&it, &e);
	while (step == Q2_EXT_ONE);
	if (h->backing_offset >= h->header_length && h->backing_offset < end)
		at = h->backing_offset;
	else if (step == Q2_EXT_ENDED)
		at = e.at + Q2_EXT_HEAD;
	else
		return false;
	*off = at;
	for (*len = 0; at < end && *len < Q2_BACKING_MAX; at++, ++*len)
		if (r->c->first[at] < ' ' || r->c->first[at] == 0x7f)
			break;
	return *len != 0;
}

static enum q2_status fix_name(struct q2_repair *r)
{
	enum q2_problem_id why = q2_found_any(r, Q2_P_BACKING_OFFSET) ?
					 Q2_P_BACKING_OFFSET :
					 Q2_P_BACKING_SIZE;
	uint8_t bytes[12];
	uint64_t off = 0;
	uint32_t len = 0, action;
	bool is_there;
	enum q2_status st;

	if (!q2_found_any(r, why) || !q2_want(r, why))
		return Q2_OK;
	is_there = find_name(r, &off, &len);
	q2_put_be64(bytes, is_there ? off : 0);
	q2_put_be32(bytes + 8, is_there ? len : 0);
	st = q2_act(r, why, is_there ? Q2_EFFECT_SUSPECT : Q2_EFFECT_LOSS, NULL,
		    &action, is_there ? "the backing file's name is taken from "
					"where it seems to stand" :
					"the backing file's name is lost: what "
					"only it held reads as zeros");
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 8, bytes, sizeof(bytes));
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* Header and extensions part at a multiple of 8: the latter move up. */
static enum q2_status realign(struct q2_repair *r)
{
	const struct q2_header *h = &r->c->header;
	uint64_t to = (h->raw_length + UINT64_C(7)) & ~UINT64_C(7);
	struct q2_range area;
	uint64_t gap = to - h->raw_length;
	uint8_t *bytes, be[4];
	uint32_t action;
	void *block;
	enum q2_status st;

	if (!q2_found_any(r, Q2_P_HEADER_LENGTH_UNALIGNED) ||
	    !q2_want(r, Q2_P_HEADER_LENGTH_UNALIGNED) ||
	    !q2_ext_area(h, r->c->img.geom.cluster_size, &area) ||
	    area.len < 2 * gap)
		return Q2_OK;
	/* What falls off at the end must be nothing. */
	for (uint64_t i = 0; i < gap; i++)
		if (r->c->first[q2_end(area) - 1 - i])
			return Q2_OK;
	st = q2_get(&r->budget, area.len, &block, r->err);
	if (st != Q2_OK)
		return st;
	bytes = block;
	memcpy(bytes + gap, r->c->first + area.start, (size_t)(area.len - gap));
	q2_put_be32(be, (uint32_t)to);
	st = q2_act(r, Q2_P_HEADER_LENGTH_UNALIGNED, Q2_EFFECT_NONE, NULL,
		    &action, "the header's length becomes a multiple of 8, "
		    "the extensions move up");
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, area.start, bytes,
			       (size_t)area.len);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 100, be, sizeof(be));
	q2_put(&r->budget, block, area.len);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* Without entries it needs no place. */
static enum q2_status forget_place(struct q2_repair *r, enum q2_problem_id why)
{
	uint8_t zeros[12] = {0};
	uint32_t action;
	enum q2_status st = q2_act(r, why, Q2_EFFECT_NONE, NULL, &action,
				   "a disk of no bytes has no L1 table: its "
				   "offset is cleared");

	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 36, zeros, sizeof(zeros));
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* An L1 table that is not where the header says, or only in part: what is there
 * moves to a place where there is room for all.  What it named and is not there is
 * orphaned. */
static enum q2_status move_l1(struct q2_repair *r)
{
	static const enum q2_problem_id about[] = {
		Q2_P_L1_OUTSIDE, Q2_P_L1_OFFSET_ZERO, Q2_P_L1_OFFSET_UNALIGNED,
	};
	const struct q2_geom *g = &r->c->img.geom;
	/* Past the end of the file there are zeros. */
	uint64_t stored = g->l1_offset < g->file_size ?
				  (g->file_size - g->l1_offset) / 8 : 0;
	uint64_t n = q2_max(g->l1_needed,
			    q2_min(q2_min(r->c->header.l1_size, Q2_L1_MAX),
				   stored));
	uint64_t off, there = UINT64_C(8) * q2_min(n, g->l1_entries);
	uint32_t action;
	size_t i = 0;
	void *block;
	uint8_t bytes[12];
	enum q2_status st;

	while (i < 3 && !q2_found_any(r, about[i]))
		i++;
	/* A length that nothing else confirms is not to be believed. */
	if (there == 0)
		n = g->l1_needed;
	if (i == 3 || !q2_want(r, about[i]))
		return Q2_OK;
	if (n == 0)
		return forget_place(r, about[i]);
	st = q2_get(&r->budget, 8 * n, &block, r->err);
	if (st != Q2_OK)
		return st;
	if (there)
		st = q2_pread_zero(r->io, block, (size_t)there, g->l1_offset,
				   r->err);
	if (st == Q2_OK)
		st = q2_act(r, about[i], there ? Q2_EFFECT_NONE :
						 Q2_EFFECT_SUSPECT, NULL,
			    &action, "the L1 table gets a place of its own; "
			    "%s", there ? "what there is of it is kept" :
			    "what it named is orphaned");
	if (st == Q2_OK)
		st = q2_fresh(r, action, q2_div_up(8 * n, g->cluster_size),
			      &off);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_FRESH, action, off, block,
			       (size_t)(8 * n));
	q2_put_be32(bytes, (uint32_t)n);
	if (st == Q2_OK) {
		q2_put_be64(bytes + 4, off);
		st = q2_change(r, Q2_C_PLACE, action, 36, bytes, sizeof(bytes));
	}
	q2_put(&r->budget, block, 8 * n);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* The field that follows the shorter header is a byte and its padding. */
static enum q2_status fix_length(struct q2_repair *r)
{
	uint8_t b[16];

	if (q2_pread_zero(r->io, b, sizeof(b), 104, NULL) != Q2_OK)
		return Q2_OK;
	return set_field(r, Q2_P_HEADER_LENGTH, Q2_EFFECT_NONE, 100,
			 b[0] <= 1 && (q2_be64(b) << 8) == 0 ? 112 : 104, 4,
			 "header_length becomes what fits the bytes there");
}

/* How many extensions there are, and how they end. */
static enum q2_ext_step walk(const struct q2_repair *r, const struct q2_header *h,
			     unsigned *n)
{
	struct q2_range area;
	struct q2_ext_iter it;
	struct q2_ext e;
	enum q2_ext_step step;

	*n = 0;
	if (!q2_ext_area(h, r->c->img.geom.cluster_size, &area))
		return Q2_EXT_ENDED;
	q2_ext_start(&it, r->c->first, area);
	while ((step = q2_ext_next(&it, &e)) == Q2_EXT_ONE)
		++*n;
	return step;
}

/* Whether there would be more extensions, or damaged ones, if no name ended them. */
static bool ends_extensions(const struct q2_repair *r)
{
	struct q2_header h = r->c->header;
	unsigned before, after;

	if (walk(r, &h, &before) == Q2_EXT_ENDED)
		return false;
	h.backing_offset = 0;
	return walk(r, &h, &after) == Q2_EXT_CUT || after > before;
}

static enum q2_status fix_bits(struct q2_repair *r)
{
	const struct q2_header *h = &r->c->header;
	uint64_t zstd = h->incompatible & ~(uint64_t)Q2_INCOMPAT_COMPRESSION;
	bool packs = r->c->compressed.n || r->result.partial;
	enum q2_status st = Q2_OK;

	/* The type is a byte of its own; the bit only announces it.  With data
	 * that is compressed, trying tells, and there may be some yet where not all
	 * was seen. */
	if (h->compression_type == 1)
		zstd |= Q2_INCOMPAT_COMPRESSION;
	if (!packs && h->compression_type > 1)
		st = set_field(r, Q2_P_COMPRESSION_TYPE, Q2_EFFECT_NONE, 104, 0,
			       1, "the compression type, which no cluster "
			       "needs, becomes deflate");
	if (st == Q2_OK && !packs)
		st = set_field(r, Q2_P_COMPRESSION_BIT, Q2_EFFECT_NONE, 72,
			       zstd, 8, "the compression bit becomes what the "
			       "type says");
	if (st == Q2_OK)
		st = set_field(r, Q2_P_RAW_BIT_NO_DATA_FILE, Q2_EFFECT_NONE, 88,
			       r->c->header.autoclear &
				       ~(uint64_t)Q2_AUTOCLEAR_RAW, 8,
			       "the raw bit, which needs a data file, is "
			       "cleared");
	if (st == Q2_OK && r->c->header.backing_size == 0 &&
	    (q2_all(r) || !ends_extensions(r)))
		st = set_field(r, Q2_P_BACKING_EMPTY, Q2_EFFECT_NONE, 8, 0, 8,
			       "the offset of an empty backing file name is "
			       "cleared");
	return st;
}

enum q2_status q2_fix_fields(struct q2_repair *r)
{
	enum q2_status st = fix_length(r);

	if (st == Q2_OK)
		st = realign(r);
	if (st == Q2_OK)
		st = fix_l1_size(r);
	if (st == Q2_OK)
		st = move_l1(r);
	if (st == Q2_OK)
		st = fix_name(r);
	if (st == Q2_OK)
		st = fix_padding(r);
	return st == Q2_OK ? fix_bits(r) : st;
}
