/*
 * refcheck_header.c - reference checker: header, extensions, snapshots, bitmaps.
 *
 * SPDX-License-Identifier: MIT
 */
#include "refcheck_own.h"

#include <string.h>

static void judge_l1(struct q2f_refcheck *r)
{
	uint64_t end = r->clusters * r->cs;
	uint64_t n = rc_get(r, 36, 4), at = rc_get(r, 40, 8);
	uint64_t per_table = r->cs >> (r->ext_l2 ? 4 : 3);
	uint64_t guest_clusters = r->disk / r->cs + (r->disk % r->cs != 0);

	r->l1_needed = guest_clusters / per_table +
		       (guest_clusters % per_table != 0);
	if (r->l1_needed > 4194304) {
		r->refused = true;
		return;
	}
	if (n < r->l1_needed)
		rc_bad(r, "L1 table too small");
	if (n > 4194304) {
		rc_bad(r, "L1 table too large");
		r->guess_counts = true;
	}
	if (at % r->cs || (at == 0 && n)) {
		rc_bad(r, "L1 table's offset");
		return;
	}
	r->l1_at = at;
	r->l1_n = n;
	if (n > 4194304)
		r->l1_n = r->l1_needed;
	else if (n ? at > end || 8 * n > end - at : at > INT64_MAX)
		rc_bad(r, "L1 table outside");
	if (at > end)
		r->l1_n = 0;
	else if (r->l1_n > (end - at) / 8)
		r->l1_n = (end - at) / 8;
}

static void judge_reftable(struct q2f_refcheck *r)
{
	uint64_t at = rc_get(r, 48, 8), n = rc_get(r, 56, 4) * r->cs;
	uint64_t end = r->clusters * r->cs;

	if (n > UINT64_C(8) << 20) {
		rc_bad(r, "refcount table too large");
		r->guess_counts = true;
	}
	if (r->order > 6) {
		rc_bad(r, "refcount_order");
		r->order = 4;
		if (at % r->cs == 0 && at && n && at < r->size)
			n = 0; /* it cannot be read, and is no metadata */
	}
	if (at % r->cs || at == 0 || n == 0) {
		rc_bad(r, "no refcount table");
		return;
	}
	if (at >= r->size) {
		rc_bad(r, "refcount table outside");
		return;
	}
	if (n > end - at)
		rc_bad(r, "refcount table's end outside");
	r->rt_at = at;
	r->rt_bytes = n;
}

static void judge_snapshot_fields(struct q2f_refcheck *r)
{
	uint64_t n = rc_get(r, 60, 4), at = rc_get(r, 64, 8);

	if (n > 65536) {
		rc_bad(r, "too many snapshots");
		r->guess_counts = true;
	}
	if (at % r->cs || at > INT64_MAX || (at == 0 && n)) {
		rc_bad(r, "snapshot table's offset");
		return;
	}
	r->snap_at = at;
	r->snaps = n;
	if (r->data_file && n)
		rc_bad(r, "snapshots and a data file");
}

static void judge_backing(struct q2f_refcheck *r, uint64_t header_end)
{
	uint64_t at = rc_get(r, 8, 8), n = rc_get(r, 16, 4);
	uint64_t room = at < r->cs ? r->cs - at : 0;

	if (at == 0)
		return;
	if (room > 1023)
		room = 1023;
	if (at < header_end)
		rc_bad(r, "backing name in the header");
	if (at >= r->cs || n > room) {
		rc_bad(r, "backing name outside of the first cluster");
		return;
	}
	if (at < header_end)
		return;
	for (uint64_t i = 0; i < n; i++)
		if (rc_get(r, at + i, 1) == 0) {
			rc_bad(r, "NUL in the backing name");
			break;
		}
}

static void judge_v3(struct q2f_refcheck *r, uint64_t *header_end,
		     unsigned *type)
{
	uint64_t len = rc_get(r, 100, 4);

	*header_end = len;
	if (len > 104)
		*type = (unsigned)rc_get(r, 104, 1);
	if (len < 104 || len > r->cs)
		rc_bad(r, "header_length");
	else if (len % 8)
		rc_bad(r, "header_length not aligned");
	for (uint64_t i = 105; len > 104 && i < 112 && i < len; i++)
		if (rc_get(r, i, 1)) {
			rc_bad(r, "header padding");
			break;
		}
}

void rc_header(struct q2f_refcheck *r)
{
	uint64_t incompatible = 0, autoclear = 0, header_end = 72;
	unsigned type = 0;

	r->version = (unsigned)rc_get(r, 4, 4);
	r->bits = (unsigned)rc_get(r, 20, 4);
	if (r->version == 3) {
		incompatible = rc_get(r, 72, 8);
		autoclear = rc_get(r, 88, 8);
	}
	r->ext_l2 = incompatible & 16;
	if (r->size < 72 || r->version < 2 || r->version > 3 ||
	    (r->version == 3 && r->size < 104) || incompatible >= 32 ||
	    r->bits < 9 || r->bits > 21 || (r->ext_l2 && r->bits < 14)) {
		r->refused = true;
		return;
	}
	r->cs = UINT64_C(1) << r->bits;
	r->clusters = r->size / r->cs + (r->size % r->cs != 0);
	r->l2_bits = r->bits - (r->ext_l2 ? 4 : 3);
	r->data_file = incompatible & 4;
	r->raw_data = autoclear & 2;
	r->bitmaps_promised = autoclear & 1;
	r->disk = rc_get(r, 24, 8);
	r->crypt = (unsigned)rc_get(r, 32, 4);
	r->order = r->version == 3 ? (unsigned)rc_get(r, 96, 4) : 4;
	judge_l1(r);
	if (r->refused)
		return;
	judge_reftable(r);
	judge_snapshot_fields(r);
	if (r->version == 3)
		judge_v3(r, &header_end, &type);
	if (r->crypt > 2)
		rc_bad(r, "crypt_method");
	if (type > 1 || (type != 0) != ((incompatible & 8) != 0))
		rc_bad(r, "compression type");
	if (r->raw_data && (!r->data_file || (rc_get(r, 8, 8) &&
					      rc_get(r, 16, 4))))
		rc_bad(r, "raw data bit");
	judge_backing(r, header_end);
	if (header_end > r->cs || (r->version == 3 && header_end < 104))
		return;
	r->ext_at = header_end;
	r->ext_end = r->cs;
	if (rc_get(r, 8, 8)) {
		if (rc_get(r, 8, 8) < header_end)
			r->ext_at = 0;
		else if (rc_get(r, 8, 8) < r->cs)
			r->ext_end = rc_get(r, 8, 8);
	}
}

static void judge_luks(struct q2f_refcheck *r, uint64_t at)
{
	uint64_t off = rc_get(r, at + 8, 8);

	if (r->crypt != 2)
		rc_bad(r, "a LUKS extension without LUKS");
	if (rc_get(r, at + 4, 4) != 16 || off == 0 || off % r->cs ||
	    off >= r->size) {
		rc_bad(r, "the LUKS extension");
		return;
	}
	/* How much of the file is its keys is read from the LUKS header. */
	r->guess = r->guess_counts = true;
}

static void judge_format(struct q2f_refcheck *r, uint64_t at)
{
	if (rc_get(r, at + 4, 4) > 15)
		rc_bad(r, "the backing format is too long");
}

void rc_extensions(struct q2f_refcheck *r)
{
	static const uint32_t known[] = {0xe2792aca, 0x6803f857, 0x23852875,
					 0x0537be77, 0x44415441};
	uint64_t last[5] = {0};
	uint64_t at = r->ext_at;

	if (at == 0)
		goto luks;
	while (at < r->ext_end) {
		uint64_t room = r->ext_end - at, len = 0;
		uint32_t type;

		if (room >= 8)
			len = rc_get(r, at + 4, 4);
		if (room < 8 || len > room - 8) {
			rc_bad(r, "an extension runs past its area");
			r->guess_counts = true;
			break;
		}
		type = (uint32_t)rc_get(r, at, 4);
		if (type == 0)
			break;
		for (unsigned i = 0; i < 5; i++) {
			if (type != known[i])
				continue;
			if (last[i])
				rc_bad(r, "an extension is there twice");
			last[i] = at;
		}
		at += 8 + len;
		if (at % 8 != r->ext_at % 8)
			at += 8 - (at - r->ext_at) % 8;
	}
	if (last[0])
		judge_format(r, last[0]);
	if (last[2])
		rc_bitmaps(r, last[2]);
	else if (r->bitmaps_promised && !r->guess_counts)
		rc_bad(r, "bitmaps are promised, but not there");
	if (last[3]) {
		judge_luks(r, last[3]);
		return;
	}
luks:
	if (r->crypt == 2)
		rc_bad(r, "LUKS without its extension");
	if (at == 0 && r->bitmaps_promised)
		rc_bad(r, "bitmaps are promised, but not there");
}

/* ------------------------------------------------------------------ snapshots */

/* 0: not a record; else its length with padding. */
static uint64_t record(struct q2f_refcheck *r, uint64_t at)
{
	uint64_t extra, end;

	if (at > r->size || r->size - at < 40)
		return 0;
	extra = rc_get(r, at + 36, 4);
	end = 40 + extra + rc_get(r, at + 12, 2) + rc_get(r, at + 14, 2);
	if (extra > 1024 || end > r->size - at)
		return 0;
	if (rc_get(r, at, 8) == 0 && rc_get(r, at + 8, 4) == 0 &&
	    rc_get(r, at + 12, 2) == 0)
		return 0;
	for (uint64_t i = 40 + extra; i < end; i++)
		if (rc_get(r, at + i, 1) == 0)
			return 0;
	return (end + 7) / 8 * 8;
}

static void judge_record(struct q2f_refcheck *r, uint64_t at, uint32_t index)
{
	uint64_t l1 = rc_get(r, at, 8), n = rc_get(r, at + 8, 4);
	uint64_t extra = rc_get(r, at + 36, 4);
	uint64_t vm = extra >= 8 ? rc_get(r, at + 40, 8) :
				   rc_get(r, at + 32, 4);
	uint64_t disk = extra >= 16 ? rc_get(r, at + 48, 8) : r->disk;
	unsigned reach = r->l2_bits + r->bits;
	uint64_t needed = (disk >> reach) + (disk % (UINT64_C(1) << reach) != 0);
	uint64_t there = n > 4194304 ? 4194304 : n;
	struct rc_tree t = {.offset = l1, .disk = disk, .record = at,
			    .index = index};
	unsigned bad = r->bad;

	if (r->version == 3 && extra < 16)
		rc_bad(r, "a snapshot's extra data is too short");
	if (needed > 4194304) {
		rc_bad(r, "a snapshot's disk size");
	} else {
		uint64_t room = there;

		if (extra >= 16)
			room = room > needed ? room - needed : 0;
		if (vm > room << reach)
			rc_bad(r, "a snapshot's VM state does not fit");
	}
	if (n == 0 && l1 % r->cs == 0)
		return;
	if (l1 == 0 || l1 % r->cs) {
		rc_bad(r, "a snapshot's L1 offset");
		return;
	}
	if (n > 4194304) {
		rc_bad(r, "a snapshot's L1 size");
		r->guess_counts = true;
		n = needed > 4194304 ? 0 : needed;
	}
	if (l1 >= r->size || n > (r->size - l1) / 8) {
		rc_bad(r, "a snapshot's L1 table outside");
		n = l1 >= r->size ? 0 : (r->size - l1) / 8;
	}
	if (needed > 4194304)
		t.disk = n << reach;
	t.entries = n;
	t.sound = r->bad == bad;
	if (n == 0)
		return;
	for (unsigned i = 0; i < r->n_trees; i++)
		if (r->trees[i].offset == l1 && r->trees[i].entries) {
			rc_bad(r, "two trees share an L1 table");
			r->guess_counts |= r->trees[i].entries != n;
			t.entries = 0;
		}
	if (r->n_trees == RC_TREES) {
		r->guess = r->guess_counts = true;
		return;
	}
	if (t.entries)
		rc_meta(r, l1, 8 * n);
	t.entries = n;
	r->trees[r->n_trees++] = t;
}

void rc_snapshots(struct q2f_refcheck *r)
{
	uint64_t at = r->snap_at, end = at + 1;

	for (uint64_t i = 0; i < r->snaps; i++) {
		uint64_t len = record(r, at);

		if (len == 0) {
			rc_bad(r, "a snapshot record is not sound");
			r->guess_counts = true;
			return;
		}
		judge_record(r, at, (uint32_t)i);
		end = at + 40 + rc_get(r, at + 36, 4) +
		      rc_get(r, at + 12, 2) + rc_get(r, at + 14, 2);
		at += len;
	}
	if (r->snaps)
		rc_meta(r, r->snap_at, end - r->snap_at);
}
