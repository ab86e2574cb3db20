/*
 * chk_luks.c - tests the encryption header's extension and the area it names.
 * Gathers the metadata range of the LUKS header and its keys.
 * When it fails the result is partial: keys may lie in what seems leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "check/chk_ext.h"
#include "format/luks.h"

#define CRYPT_LUKS 2
/* Most that programs leave between the keys and a payload; also more than the
 * keys themselves take. */
#define GAP (UINT64_C(4) << 20)

static void bad(struct q2_checker *c, const struct q2_ext *e, const char *what,
		size_t len, uint64_t found)
{
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_FOUND,
		.host = e->at,
		.found = found,
	};

	q2_finding_text(&f, what, len);
	q2_found(c, Q2_P_EXT_LUKS_BAD, &f);
}
#define BAD(c, e, what, found) bad(c, e, "" what, sizeof(what) - 1, found)

/* What the extension's length is held against. */
struct extent {
	uint64_t keys; /* bytes of header and keys, as far as known */
	uint64_t most; /* more than that is no LUKS header */
};

/* The LUKS header is believed as far as it fits the file, or what is usual: the
 * file may be cut off.  Without one, or with
 * a damaged one, the keys are likely to lie in the usual few megabytes. */
static struct extent measure(const struct q2_checker *c, uint64_t off,
			     const struct q2_luks *luks)
{
	struct extent x = {Q2_LUKS_HEADER, GAP};

	if (luks == NULL ||
	    (luks->keys_end > GAP &&
	     !q2_inside(off, luks->keys_end, c->img.geom.file_size)))
		return x;
	x.keys = luks->keys_end;
	/* QEMU's length reaches to where a payload would start. */
	if (luks->payload >= x.keys && luks->payload - x.keys <= GAP)
		x.keys = luks->payload;
	/* The length is that of what QEMU wrote, no more. */
	x.most = q2_div_up(x.keys, c->img.geom.cluster_size)
		 << c->img.geom.cluster_bits;
	return x;
}

static enum q2_status judge_area(struct q2_checker *c, uint64_t off,
				 uint64_t len, const struct q2_luks *luks)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t end = g->file_clusters << g->cluster_bits;
	struct extent x = measure(c, off, luks);
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_LENGTH,
		.host = off,
		.length = len,
	};

	/* The last cluster may be there in part, but not with keys in the
	 * missing one. */
	if (!q2_inside(off, len, end) ||
	    (luks && luks->keys_end <= len &&
	     !q2_inside(off, luks->keys_end, g->file_size))) {
		q2_found(c, Q2_P_LUKS_OUTSIDE, &f);
		c->result->partial = true;
	} else if (len > x.most) {
		f.fields |= Q2_F_EXPECTED;
		f.expected = x.keys;
		q2_found(c, Q2_P_LUKS_LONG, &f);
		c->result->partial = true;
	}
	if (luks && len < luks->keys_end) {
		f.fields |= Q2_F_EXPECTED;
		f.expected = luks->keys_end;
		q2_found(c, Q2_P_LUKS_SHORT, &f);
		if (!q2_inside(off, luks->keys_end, g->file_size))
			c->result->partial = true;
	}
	if (len < x.keys || len > x.most || !q2_inside(off, len, end))
		len = x.keys;
	return q2_meta_add(c, Q2_K_LUKS, 0, (struct q2_range){off, len});
}

static enum q2_status judge_header(struct q2_checker *c, uint64_t off,
				   uint64_t len)
{
	uint8_t bytes[Q2_LUKS_HEADER];
	struct q2_luks luks;
	struct q2_err err = {0};
	enum q2_status st;

	st = q2_pread_zero(c->img.io, bytes, sizeof(bytes), off, &err);
	if (st != Q2_OK) {
		st = q2_unreadable(c, st, &err, Q2_K_LUKS, off, sizeof(bytes));
		return st == Q2_OK ? judge_area(c, off, len, NULL) : st;
	}
	if (q2_luks_parse(bytes, &luks))
		return judge_area(c, off, len, &luks);
	c->result->partial = true;
	/* With a wrong crypt_method, that this is no LUKS header shows only
	 * that the extension is what should not be here. */
	if (c->img.geom.crypt != CRYPT_LUKS)
		return Q2_OK;
	q2_found(c, Q2_P_LUKS_MAGIC,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_FOUND,
			 .host = off,
			 .found = luks.magic,
		 });
	return judge_area(c, off, len, NULL);
}

enum q2_status q2_chk_luks(struct q2_checker *c, const struct q2_ext *e)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t off, len;

	if (e == NULL) {
		if (g->crypt == CRYPT_LUKS) {
			q2_found(c, Q2_P_CRYPT_NO_HEADER,
				 &(struct q2_finding){0});
			c->result->partial = true;
		}
		return Q2_OK;
	}
	if (g->crypt != CRYPT_LUKS)
		BAD(c, e, "the header's crypt_method", g->crypt);
	if (e->len != Q2_EXT_LUKS_LEN) {
		BAD(c, e, "its own length", e->len);
		c->result->partial = true;
		return Q2_OK;
	}
	off = q2_be64(e->data);
	len = q2_be64(e->data + 8);
	if (off == 0 || (off & (g->cluster_size - 1))) {
		BAD(c, e, "the area's offset", off);
		c->result->partial = true;
		return Q2_OK;
	}
	if (off < g->file_size)
		return judge_header(c, off, len);
	c->result->partial = true;
	q2_found(c, Q2_P_LUKS_OUTSIDE,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_LENGTH,
			 .host = off,
			 .length = len,
		 });
	return Q2_OK;
}
