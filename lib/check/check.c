/*
 * check.c - one check from the first byte to the verdict.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "check/keep.h"

#define SECTOR 512u

/* The most that a header judge needs before the cluster size is known. */
static enum q2_status read_header(struct q2_checker *c)
{
	uint8_t bytes[Q2_HEADER_READ] = {0};
	size_t n = (size_t)q2_min(sizeof(bytes), c->img.io->size);
	enum q2_status st = q2_pread(c->img.io, bytes, n, 0, c->err);

	if (st != Q2_OK)
		return st;
	q2_header_parse(bytes, n, &c->header);
	return Q2_OK;
}

/* The first cluster, sector by sector if it cannot be read at once: the header is
 * known already, and the extensions may be readable. */
static enum q2_status read_first_cluster(struct q2_checker *c)
{
	uint64_t cs = c->img.geom.cluster_size;
	struct q2_err why = {0};
	void *block;
	enum q2_status st = q2_get_raw(&c->budget, cs, &block, c->err);

	if (st != Q2_OK)
		return st;
	c->first = block;
	st = q2_pread_zero(c->img.io, c->first, (size_t)cs, 0, &why);
	if (st == Q2_OK)
		return Q2_OK;
	for (uint64_t at = 0; at < cs; at += SECTOR)
		if (q2_pread_zero(c->img.io, c->first + at, SECTOR, at,
				  NULL) != Q2_OK)
			memset(c->first + at, 0, SECTOR);
	return q2_unreadable(c, st, &why, Q2_K_HEADER, 0, cs);
}

static enum q2_status add_active_tree(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	struct q2_tree t = {.id = Q2_TREE_ACTIVE,
			    .l1_entries = g->l1_entries,
			    .l1_offset = g->l1_offset,
			    .disk_size = g->disk_size};

	if (t.l1_entries == 0)
		return Q2_OK;
	return q2_trees_push(&c->trees, &c->budget, t, c->err);
}

static void describe(struct q2_checker *c)
{
	struct q2_check_result *r = c->result;
	const struct q2_geom *g = &c->img.geom;

	r->version = c->header.version;
	r->virtual_size = c->header.size;
	r->cluster_bits = g->cluster_bits;
	r->refcount_bits = 1u << g->ref_order;
	r->total_clusters = g->disk_clusters;
}

/* Everything that needs a geometry. */
static enum q2_status check_structures(struct q2_checker *c,
				       bool (*enough)(void *ctx))
{
	typedef enum q2_status phase(struct q2_checker *);
	phase *const phases[] = {
		read_first_cluster, add_active_tree, q2_chk_extensions,
		q2_chk_snapshots,   q2_chk_bitmaps,  q2_chk_l1_size,
		q2_chk_l1,	    q2_chk_l2,	     q2_chk_refcounts,
		q2_chk_stale,	    q2_chk_roots,    q2_chk_l1_place,
		q2_chk_owners,	    q2_chk_leaks,    q2_chk_chain,
	};

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		enum q2_status st;

		if (enough && enough(c->opts->ctx))
			return Q2_E_INTERRUPTED;
		st = phases[i](c);
		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

static enum q2_status run(struct q2_checker *c, bool (*enough)(void *ctx))
{
	enum q2_status st;

	c->result->file_size = c->img.io->size;
	c->result->verdict = Q2_UNREADABLE;
	c->result->in_use = q2_io_in_use(c->img.io);
	if (c->result->in_use != Q2_USE_NONE) {
		struct q2_finding f = {0};
		const char *how = c->result->in_use == Q2_USE_WRITER ?
					  "for writing" : "for reading";

		q2_finding_text(&f, how, strlen(how));
		q2_found(c, Q2_P_IN_USE, &f);
	}
	st = read_header(c);
	if (st != Q2_OK)
		return st;
	if (c->header.magic != Q2_MAGIC)
		return q2_chk_raw(c);
	st = q2_chk_header(c);
	if (st != Q2_OK || c->img.geom.cluster_size == 0)
		return st;
	describe(c);
	st = check_structures(c, enough);
	if (st != Q2_OK && c->result->corruptions == 0)
		return st; /* too early to call it anything */
	c->result->verdict = c->result->corruptions ? Q2_CORRUPTED :
			     c->result->leaks	    ? Q2_LEAKS :
						      Q2_CLEAN;
	return st;
}

/* *out is to be freed even after failure, and may be NULL then. */
static enum q2_status make(struct q2_io *io, const struct q2_check_opts *opts,
			   struct q2_check_result *result,
			   struct q2_checker **out, struct q2_err *err)
{
	struct q2_checker *c = calloc(1, sizeof(*c));

	*out = c;
	memset(result, 0, sizeof(*result));
	result->verdict = Q2_UNREADABLE;
	if (c == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	c->opts = opts;
	c->result = result;
	c->err = err ? err : &c->own_err;
	c->budget.limit = opts->max_memory;
	c->img.io = io;
	c->img.budget = &c->budget;
	q2_refmap_init(&c->map, &c->budget);
	if ((opts->flags & Q2_CHECK_CHAIN) && opts->path == NULL)
		return q2_fail(c->err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "the chain cannot be followed without a path");
	return Q2_OK;
}

enum q2_status q2_checker_run(struct q2_io *io,
			      const struct q2_check_opts *opts,
			      struct q2_check_result *result,
			      struct q2_checker **out, struct q2_err *err)
{
	return q2_checker_try(io, opts, NULL, result, out, err);
}

enum q2_status q2_checker_try(struct q2_io *io,
			      const struct q2_check_opts *opts,
			      bool (*enough)(void *ctx),
			      struct q2_check_result *result,
			      struct q2_checker **out, struct q2_err *err)
{
	enum q2_status st = make(io, opts, result, out, err);

	if (st != Q2_OK)
		return st;
	st = run(*out, enough);
	result->peak_memory = (*out)->budget.peak;
	return st;
}

enum q2_status q2_check_header(struct q2_io *io,
			       const struct q2_check_opts *opts,
			       struct q2_check_result *result,
			       struct q2_err *err)
{
	struct q2_checker *c;
	enum q2_status st = make(io, opts, result, &c, err);

	if (st == Q2_OK)
		st = read_header(c);
	if (st == Q2_OK)
		st = q2_chk_header(c);
	if (st == Q2_OK && c->img.geom.cluster_size) {
		st = read_first_cluster(c);
		if (st == Q2_OK)
			st = q2_chk_extensions(c);
	}
	q2_checker_free(c);
	return st;
}

void q2_checker_free(struct q2_checker *c)
{
	if (c == NULL)
		return;
	q2_put(&c->budget, c->first, c->img.geom.cluster_size);
	q2_trees_free(&c->trees, &c->budget);
	q2_metas_free(&c->metas, &c->budget);
	q2_metas_free(&c->bitmaps.claims, &c->budget);
	q2_l2refs_free(&c->refs, &c->budget);
	q2_refmap_free(&c->map);
	q2_snap_places_free(&c->snap_places, &c->budget);
	q2_bitmap_spots_free(&c->bitmap_spots, &c->budget);
	q2_losts_free(&c->lost, &c->budget);
	q2_suspects_free(&c->suspects, &c->budget);
	q2_leaks_free(&c->leaks, &c->budget);
	q2_descriptors_free(&c->compressed, &c->budget);
	q2_keep_end(c);
	free(c);
}

enum q2_status q2_check(struct q2_io *io, const struct q2_check_opts *opts,
			struct q2_check_result *result, struct q2_err *err)
{
	struct q2_checker *c;
	enum q2_status st = q2_checker_run(io, opts, result, &c, err);

	q2_checker_free(c);
	return st;
}
