/*
 * t_write_grow.c - images that grow and change, and what fails while they do.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "t_write.h"

#define GROWN_MAX (UINT64_C(2) << 20)

static void judge_image(struct q2_io *io, enum q2_verdict worst,
			const char *what)
{
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA};
	struct q2_check_result result;

	if (q2_check(io, &opts, &result, NULL) != Q2_OK ||
	    result.verdict > worst)
		die("%s: the image is %s", what,
		    q2_verdict_text(result.verdict));
}

#define PIECE ((size_t)64 << 10)

/* How many bytes of the file the refcount table counts; 0 if that is too much to
 * write, or the disk cannot grow. */
static uint64_t reach_of(const struct setup *s, const struct run *r)
{
	const struct q2_geom *g = q2_writer_geom(r->w);
	uint64_t reach = g->reftable_bytes / 8
			 << (g->block_bits + g->cluster_bits);

	return reach > GROWN_MAX || s->no_resize ? 0 : reach;
}

/* The length of a disk whose data are more than that, or 0. */
static uint64_t past_reach(const struct setup *s, const struct run *r)
{
	uint64_t reach = reach_of(s, r);

	return reach ? q2_max(s->view.n, reach + PIECE) : 0;
}

static enum q2_status fill(struct run *r, uint64_t from, uint64_t to)
{
	uint8_t *bytes = q2f_own(PIECE);
	enum q2_status st = Q2_OK;

	memset(bytes, 0xa7, PIECE);
	for (uint64_t at = from; at < to && st == Q2_OK; at += PIECE)
		st = q2_write(r->w, bytes, (size_t)q2_min(PIECE, to - at), at,
			      NULL);
	q2f_own_free(bytes);
	return st == Q2_OK ? q2_write_commit(r->w, NULL) : st;
}

/* So much is written that the refcount table has to move: only images of small
 * clusters and wide refcounts get there soon. */
void q2f_judge_growth(const struct setup *s)
{
	uint8_t back[512];
	struct run r;
	uint64_t size;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK)
		die("it cannot be opened again");
	size = past_reach(s, &r);
	if (size && q2_write_resize(r.w, size, false, NULL) == Q2_OK) {
		if (fill(&r, s->view.n, size) != Q2_OK)
			die("it cannot grow");
		if (q2_write_read(r.w, back, 512, size - 512, NULL) != Q2_OK ||
		    back[0] != 0xa7 || memcmp(back, back + 1, 511) != 0)
			die("what was written last reads otherwise");
		judge_image(r.mem, Q2_CLEAN,
			    "a refcount table that moved");
	}
	run_close(&r);
}

/* The length of a disk whose L1 table alone takes more, or 0. */
static uint64_t past_reach_by_l1(const struct setup *s, const struct run *r)
{
	const struct q2_geom *g = q2_writer_geom(r->w);
	uint64_t reach = reach_of(s, r);

	return reach ? (reach / 8 + 1) << (g->l2_bits + g->cluster_bits) : 0;
}

/* The refcount table has to move for a run of clusters. */
void q2f_judge_long_l1(const struct setup *s)
{
	struct q2_err err = {0};
	struct run r;
	uint64_t size;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK)
		die("it cannot be opened again");
	size = past_reach_by_l1(s, &r);
	/* A bitmap's table may be in the way. */
	if (size && q2_write_resize(r.w, size, true, NULL) == Q2_OK) {
		if (q2_write_resize(r.w, size, false, &err) != Q2_OK ||
		    fill(&r, s->view.n, s->view.n + PIECE) != Q2_OK)
			die("the L1 table cannot grow: %s", err.text);
		judge_image(r.mem, Q2_CLEAN, "an L1 table that grew");
	}
	run_close(&r);
}

/* The k-th operation of a kind fails, or the k-th allocation, from here on. */
static void arm(struct run *r, unsigned kind, unsigned k)
{
	if (kind < TEST_OPS)
		r->t.faults.fail_at[kind] = r->t.done[kind] + k;
	else
		q2f_heap_watch_zeroed(k);
}

static bool went_off(const struct run *r, unsigned kind)
{
	bool reached = q2f_heap_done();

	if (kind < TEST_OPS)
		reached = r->t.done[kind] >= r->t.faults.fail_at[kind];
	q2f_fault_reached |= reached;
	return reached;
}

/* Something fails while that table moves. */
void q2f_fault_growth(const struct setup *s, unsigned kind, unsigned k)
{
	struct run r;
	uint64_t size, most;

	/* By the header, tables of no others are full that soon. */
	if (s->start.n < 104 || s->start.bytes[99] != 6)
		return;
	run_open(&r, s);
	if (run_start(&r) != Q2_OK)
		die("it cannot be opened again");
	size = past_reach(s, &r);
	/* Tables and refcounts take a part of what is counted. */
	most = size / 64 * 61 / PIECE * PIECE;
	if (size && most > s->view.n &&
	    q2_write_resize(r.w, size, false, NULL) == Q2_OK) {
		enum q2_status st;

		if (fill(&r, s->view.n, most) != Q2_OK)
			die("it cannot grow");
		arm(&r, kind, k);
		st = fill(&r, most, size);
		if (went_off(&r, kind) && st == Q2_OK)
			die("failure %u of kind %u was overlooked", k, kind);
		judge_image(r.mem, Q2_LEAKS, "growing failed");
	}
	run_close(&r);
}

/* And while another backing file is named, or the disk gets shorter or longer. */
void q2f_fault_change(const struct setup *s, unsigned kind, unsigned k,
			 unsigned change)
{
	static const struct {
		const char *name, *format;
	} names[] = {{"Q2-CANARY-DO-NOT-OPEN", "raw"}, {NULL, NULL}};
	enum q2_status st;
	struct run r;
	bool possible;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK)
		die("it cannot be opened again");
	possible = change >= 2 ? !s->no_resize :
		   q2_write_backing(r.w, names[change].name,
				    names[change].format, true, NULL) == Q2_OK;
	arm(&r, kind, k);
	if (change < 2)
		st = q2_write_backing(r.w, names[change].name,
				      names[change].format, false, NULL);
	else
		st = q2_write_resize(r.w, change == 2 ?
				     s->view.n / 1024 * 512 :
				     q2_max(s->view.n + (UINT64_C(3) << 20),
					    past_reach_by_l1(s, &r)), false,
				     NULL);
	if (went_off(&r, kind) && st == Q2_OK)
		die("failure %u of kind %u was overlooked", k, kind);
	if (possible)
		judge_image(r.mem, Q2_LEAKS, "a change of the image failed");
	run_close(&r);
}
