/*
 * fix_luks.c - what leads to the LUKS header of an encrypted image.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    crypt_method, the extension that names the LUKS header, and the magic of
 *           that: where a LUKS header stands in the place that is named, or in a
 *           single one of the clusters that leaked, or are taken for its area.
 * Needs:    a geometry.  What a check of the result objects to is not done.
 */
#include <string.h>

#include "base/endian.h"
#include "format/ext.h"
#include "format/luks.h"
#include "repair/repair.h"

#define CRYPT_LUKS 2u
#define LOOKS (UINT64_C(1) << 20) /* at leaked clusters */
#define GAP (UINT64_C(4) << 20)	  /* between keys and a payload */
#define EXT_BYTES (Q2_EXT_HEAD + Q2_EXT_LUKS_LEN)

struct luks_fix {
	uint64_t off; /* of the LUKS header; 0: not found */
	uint64_t len;
	bool magic; /* that has to be put back */
	uint32_t at; /* of the extension */
};

/* The first of the problems that this can mend. */
static bool trouble(const struct q2_repair *r, enum q2_problem_id *why)
{
	static const enum q2_problem_id about[] = {
		Q2_P_CRYPT_NO_HEADER, Q2_P_EXT_LUKS_BAD, Q2_P_LUKS_OUTSIDE,
		Q2_P_LUKS_MAGIC,      Q2_P_LUKS_SHORT,	 Q2_P_LUKS_LONG,
	};

	for (size_t i = 0; i < sizeof(about) / sizeof(about[0]); i++) {
		*why = about[i];
		if (q2_found_any(r, about[i]))
			return true;
	}
	return false;
}

/* Names of a cipher and of a hash stand in any LUKS header. */
static bool has_names(const uint8_t *bytes)
{
	return bytes[8] >= 'a' && bytes[8] <= 'z' && bytes[72] >= 'a' &&
	       bytes[72] <= 'z';
}

static bool look_at(struct q2_repair *r, uint64_t off, bool magic,
		    struct luks_fix *x)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint8_t bytes[Q2_LUKS_HEADER];
	struct q2_luks luks;

	if (off == 0 || (off & (g->cluster_size - 1)) ||
	    q2_pread_zero(r->io, bytes, sizeof(bytes), off, NULL) != Q2_OK ||
	    (magic && !has_names(bytes)))
		return false;
	if (magic)
		q2_put_be64(bytes, Q2_LUKS_MAGIC);
	if (!q2_luks_parse(bytes, &luks) ||
	    luks.keys_end <= Q2_LUKS_HEADER ||
	    !q2_inside(off, luks.keys_end, g->file_size))
		return false;
	x->off = off;
	x->magic = magic;
	/* QEMU's length reaches to where a payload would start. */
	x->len = luks.payload >= luks.keys_end &&
				 luks.payload - luks.keys_end <= GAP ?
			 luks.payload : luks.keys_end;
	return true;
}

/* The LUKS headers in a run of clusters; false if there are too many. */
static bool look_in_run(struct q2_repair *r, struct q2_run run, uint64_t *looks,
			struct luks_fix *x)
{
	for (uint64_t k = 0; k < run.n; k++) {
		uint64_t off = (run.first + k) << r->c->img.geom.cluster_bits;
		struct luks_fix one = {0};
		uint8_t magic[8];

		if (++*looks > LOOKS)
			return false;
		if (q2_pread_zero(r->io, magic, 8, off, NULL) != Q2_OK ||
		    q2_be64(magic) != Q2_LUKS_MAGIC ||
		    !look_at(r, off, false, &one) || x->off == off)
			continue;
		if (x->off)
			return false;
		x->off = one.off;
		x->len = one.len;
	}
	return true;
}

/* Among leaks, and in what a wrong offset makes the area; false if there are several,
 * or none. */
static bool look_around(struct q2_repair *r, struct luks_fix *x)
{
	const struct q2_checker *c = r->c;
	uint64_t looks = 0;

	for (size_t i = 0; i < c->leaks.n; i++)
		if (!look_in_run(r, (struct q2_run){c->leaks.at[i].first,
						    c->leaks.at[i].n},
				 &looks, x))
			return false;
	for (size_t i = 0; i < c->metas.n; i++)
		if (c->metas.at[i].kind == Q2_K_LUKS &&
		    !look_in_run(r, (struct q2_run){c->metas.at[i].first,
						    c->metas.at[i].n},
				 &looks, x))
			return false;
	return x->off != 0;
}

/* Where the extension is, or can be; *named: the offset that it tells. */
static bool find_place(const struct q2_repair *r, uint32_t *at, uint64_t *named)
{
	const uint8_t *first = r->c->first;
	struct q2_range area;
	struct q2_ext_iter it;
	struct q2_ext e;
	enum q2_ext_step step;
	uint32_t like = 0;

	*named = 0;
	if (!q2_ext_area(&r->c->header, r->c->img.geom.cluster_size, &area))
		return false;
	q2_ext_start(&it, first, area);
	while ((step = q2_ext_next(&it, &e)) == Q2_EXT_ONE) {
		if (e.type != Q2_EXT_LUKS &&
		    (e.len != Q2_EXT_LUKS_LEN ||
		     __builtin_popcount(e.type ^ Q2_EXT_LUKS) > 1))
			continue;
		like = e.at;
		if (e.len == Q2_EXT_LUKS_LEN)
			*named = q2_be64(e.data);
	}
	if (step == Q2_EXT_CUT && e.type == Q2_EXT_LUKS)
		like = e.at;
	*at = like ? like : e.at;
	if (q2_end(area) - *at < EXT_BYTES)
		return false;
	if (like)
		return true;
	/* A new one: behind the end mark must be nothing. */
	if (step != Q2_EXT_ENDED ||
	    q2_end(area) - *at < EXT_BYTES + Q2_EXT_HEAD)
		return false;
	for (uint32_t i = 0; i < EXT_BYTES + Q2_EXT_HEAD; i++)
		if (first[*at + i])
			return false;
	return true;
}

static enum q2_status write_all(struct q2_repair *r, const struct luks_fix *x,
				struct q2_io *io, uint32_t action)
{
	uint8_t method[4], magic[8], ext[EXT_BYTES];
	const struct {
		uint64_t off;
		const uint8_t *bytes;
		size_t n;
	} writes[] = {
		{32, method, sizeof(method)},
		{x->at, ext, sizeof(ext)},
		{x->off, magic, x->magic ? sizeof(magic) : 0},
	};
	enum q2_status st = Q2_OK;

	q2_put_be32(method, CRYPT_LUKS);
	q2_put_be64(magic, Q2_LUKS_MAGIC);
	q2_put_be32(ext, Q2_EXT_LUKS);
	q2_put_be32(ext + 4, Q2_EXT_LUKS_LEN);
	q2_put_be64(ext + 8, x->off);
	q2_put_be64(ext + 16, x->len);
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		if (st != Q2_OK || writes[i].n == 0)
			continue;
		st = io ? q2_pwrite(io, writes[i].bytes, writes[i].n,
				    writes[i].off, r->err) :
			  q2_change(r, Q2_C_PLACE, action, writes[i].off,
				    writes[i].bytes, writes[i].n);
	}
	return st;
}

static void ignore(void *ctx, const struct q2_finding *f)
{
	(void)ctx;
	(void)f;
}

/* *ok: whether a check has less to object to then. */
static enum q2_status try(struct q2_repair *r, const struct luks_fix *x,
			  bool *ok)
{
	struct q2_check_opts opts = {.max_memory = r->opts->max_memory,
				     .found = ignore};
	struct q2_check_result res;
	struct q2_checker *c = NULL;
	struct q2_io *io;
	enum q2_status st = q2_io_overlay(r->io, &r->budget, &io, r->err);

	*ok = false;
	if (st != Q2_OK)
		return st;
	st = write_all(r, x, io, 0);
	if (st == Q2_OK)
		st = q2_checker_run(io, &opts, &res, &c, r->err);
	if (st == Q2_OK)
		*ok = res.verdict != Q2_UNREADABLE &&
		      res.corruptions < r->result.corruptions &&
		      res.leaks <= r->result.leaks;
	q2_checker_free(c);
	q2_io_close(io);
	return st;
}

enum q2_status q2_fix_luks(struct q2_repair *r)
{
	struct luks_fix x = {0};
	enum q2_problem_id why;
	uint32_t action;
	uint64_t named;
	bool ok;
	enum q2_status st;

	if (r->c->img.geom.cluster_size == 0 || r->c->header.version != 3 ||
	    !q2_all(r) || q2_misread(r) || !trouble(r, &why) ||
	    !find_place(r, &x.at, &named))
		return Q2_OK;
	if (!look_at(r, named, false, &x) && !look_around(r, &x) &&
	    (x.off || !look_at(r, named, true, &x)))
		return Q2_OK;
	st = try(r, &x, &ok);
	if (st != Q2_OK || !ok || !q2_want(r, why))
		return st;
	st = q2_act(r, why, Q2_EFFECT_GAIN, NULL, &action,
		    "the header names the LUKS header at %#llx, of %llu bytes, "
		    "again%s", (unsigned long long)x.off,
		    (unsigned long long)x.len,
		    x.magic ? ", which gets its magic back" : "");
	if (st == Q2_OK)
		st = write_all(r, &x, NULL, action);
	return st == Q2_OK ? q2_recheck(r) : st;
}
