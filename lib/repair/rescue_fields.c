/*
 * rescue_fields.c - what a header said besides where the tables are.
 *
 * SPDX-License-Identifier: MIT
 *
 * The compression, from the data; extensions and a backing file's name, where they
 * are still there; the disk's size, from snapshots or from what is on the disk.
 */
#include <string.h>

#include "base/endian.h"
#include "format/ext.h"
#include "format/luks.h"
#include "repair/rescue_head.h"

/* Zstd starts with a magic; deflate has none. */
void q2_head_compression(struct q2_headless *x)
{
	struct q2_geom g;
	uint8_t magic[4];
	struct q2_l2_entry e;

	if (x->score.packed == 0 ||
	    !q2_head_geom(&x->best, x->r->io->size, &g))
		return;
	e = q2_l2_decode(&g, x->score.packed | Q2_COMPRESSED, 0, 0);
	x->best.zstd = q2_pread_zero(x->r->io, magic, 4, e.host.start, NULL) ==
			       Q2_OK && q2_be32(magic) == 0x28b52ffd;
}

bool q2_head_data_file(struct q2_repair *r)
{
	uint8_t bytes[4096];
	struct q2_ext_iter it;
	struct q2_ext e;

	if (q2_pread_zero(r->io, bytes, sizeof(bytes), 0, NULL) != Q2_OK)
		return false;
	q2_ext_start(&it, bytes,
		     (struct q2_range){Q2_HEADER_READ,
				       sizeof(bytes) - Q2_HEADER_READ});
	while (q2_ext_next(&it, &e) == Q2_EXT_ONE)
		if (e.type == Q2_EXT_DATA_FILE && e.len)
			return true;
	return false;
}

/* A LUKS header that nothing names any more. */
enum q2_status q2_head_luks(struct q2_headless *x)
{
	struct q2_head h = x->best;
	uint8_t bytes[Q2_LUKS_HEADER];
	struct q2_judgement v;
	struct q2_luks luks;
	enum q2_status st;

	if (x->keeps_extensions || x->score.luks == 0 || h.version != 3 ||
	    q2_pread_zero(x->r->io, bytes, sizeof(bytes), x->score.luks,
			  NULL) != Q2_OK || !q2_luks_parse(bytes, &luks))
		return Q2_OK;
	h.crypt = 2;
	h.luks_offset = x->score.luks;
	h.luks_len = q2_max(luks.payload, luks.keys_end);
	st = q2_head_judge(x->r, &h, &v);
	if (st == Q2_OK && q2_head_better(&v, &x->score)) {
		x->best = h;
		x->score = v;
	}
	return st;
}

/* Extensions and a name that stand where a header of full length ends. */
enum q2_status q2_head_extensions(struct q2_headless *x)
{
	uint64_t cs = UINT64_C(1) << x->best.bits;
	struct q2_ext_iter it;
	struct q2_ext e;
	enum q2_ext_step step;
	bool known = true, format = false, any = false;
	uint8_t *bytes;
	void *block;
	enum q2_status st = q2_get(&x->r->budget, cs, &block, x->r->err);

	if (st != Q2_OK)
		return st;
	bytes = block;
	if (q2_pread_zero(x->r->io, bytes, (size_t)cs, 0, NULL) != Q2_OK)
		memset(bytes, 0, (size_t)cs);
	q2_ext_start(&it, bytes,
		     (struct q2_range){Q2_HEADER_READ, cs - Q2_HEADER_READ});
	while ((step = q2_ext_next(&it, &e)) == Q2_EXT_ONE) {
		known &= e.type == Q2_EXT_FORMAT || e.type == Q2_EXT_FEATURES ||
			 e.type == Q2_EXT_BITMAPS || e.type == Q2_EXT_LUKS;
		any = true;
		format |= e.type == Q2_EXT_FORMAT;
		if (e.type == Q2_EXT_LUKS)
			x->best.crypt = 2;
	}
	x->keeps_extensions = any && known && step == Q2_EXT_ENDED && e.len == 0 &&
			      x->best.version == 3;
	if (!x->keeps_extensions)
		x->best.crypt = 0;
	if (x->keeps_extensions && e.at + Q2_EXT_HEAD < cs) {
		uint64_t at = e.at + Q2_EXT_HEAD;
		uint32_t n = 0;

		while (at + n < cs && n < Q2_BACKING_MAX && bytes[at + n] >= ' ' &&
		       bytes[at + n] != 0x7f)
			n++;
		if (n && (format || n >= 4) && at + n < cs && bytes[at + n] == 0) {
			x->best.backing_offset = at;
			x->best.backing_size = n;
		}
	}
	q2_put(&x->r->budget, block, cs);
	return st;
}

/* Where the last cluster that is allocated starts. */
static uint64_t last_used(struct q2_headless *x, const struct q2_geom *g)
{
	uint64_t n = x->best.l1_size, last = 0;

	if (n == 0 || x->l1[n - 1] == 0)
		return 0;
	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		uint8_t raw[16] = {0};

		if (q2_pread_zero(x->r->io, raw, (size_t)1 << g->entry_bits,
				  x->l1[n - 1] +
					  ((uint64_t)i << g->entry_bits),
				  NULL) == Q2_OK &&
		    (q2_be64(raw) || q2_be64(raw + 8)))
			last = i;
	}
	return q2_guest(g, n - 1, last);
}

static void find_size(struct q2_headless *x, const struct q2_geom *g)
{
	struct q2_gdisk guest = {.img = {.io = x->r->io,
					 .budget = &x->r->budget,
					 .geom = *g},
				 .l1 = x->l1,
				 .slots = x->best.l1_size};
	uint64_t last = last_used(x, g), snap = x->roots.disk_size;
	const char *what = NULL;
	bool exact = false;
	uint64_t size = x->best.crypt ? 0 :
			q2_gdisk_size(&guest, &what, &exact);

	q2_gdisk_free(&guest);
	x->why = "a guess: as far as the L1 table reaches";
	if (snap > last && !exact && snap >= size) {
		size = snap;
		what = "its youngest snapshot";
	}
	size = size > UINT64_C(1) << 62 ? 0 : (size + 511) & ~UINT64_C(511);
	if (size == 0 || size <= last)
		return;
	x->best.size = size;
	x->why = what;
	x->sure = exact;
}

static enum q2_status read_l1(struct q2_headless *x)
{
	void *block;
	enum q2_status st = q2_get(&x->r->budget,
				   UINT64_C(8) * x->best.l1_size, &block,
				   x->r->err);

	if (st != Q2_OK)
		return st;
	x->l1 = block;
	if (q2_pread_zero(x->r->io, block, (size_t)8 * x->best.l1_size,
			  x->best.l1_offset, NULL) != Q2_OK)
		memset(block, 0, (size_t)8 * x->best.l1_size);
	for (uint32_t i = 0; i < x->best.l1_size; i++)
		x->l1[i] = q2_be64((uint8_t *)block + 8 * (size_t)i) &
			   Q2_ENTRY_OFFSET;
	return Q2_OK;
}

/* The size from what is known of the guest, if a check agrees. */
enum q2_status q2_head_size(struct q2_headless *x)
{
	struct q2_head before = x->best;
	struct q2_judgement v;
	struct q2_geom g;
	enum q2_status st = read_l1(x);

	if (st == Q2_OK && q2_head_geom(&x->best, x->r->io->size, &g)) {
		find_size(x, &g);
		x->best.l1_size = (uint32_t)q2_min(
			Q2_L1_MAX, q2_l1_needed(x->best.size, x->best.bits,
						1u << g.entry_bits));
		st = q2_head_judge(x->r, &x->best, &v);
		if (st == Q2_OK && q2_head_better(&x->score, &v) &&
		    v.corruptions > x->score.corruptions) {
			x->best.size = before.size;
			x->best.l1_size = before.l1_size;
			x->why = "a guess: as far as the L1 table reaches";
			x->sure = false;
		}
	}
	q2_put(&x->r->budget, x->l1, UINT64_C(8) * before.l1_size);
	return st;
}
