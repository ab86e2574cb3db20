/*
 * search.c - the list of a plan's searches, kept and taken again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/search.h"

#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "repair/repair.h"

#define LIST_MAX (UINT64_C(256) << 20) /* bytes; more is too much to be kept */
#define PIECE 65536u
#define END 0x7173u /* what a state ends with */

static enum q2_status damaged(struct q2_repair *r)
{
	return q2_fail(r->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
		       "the state is damaged");
}

/* ------------------------------------------------------------------ writing */

static void put_head(struct q2_buf *b, const struct q2_search *s, bool done)
{
	q2_put_number(b, 1);
	q2_put_number(b, (uint64_t)s->kind);
	q2_put_number(b, s->of);
	q2_put_number(b, done);
}

/* `s`: the search at hand, or NULL. */
static void write_state(struct q2_repair *r, const struct q2_search *s)
{
	struct q2_searches *all = &r->searches;
	const struct q2_check_keep *keep = all->keep;
	struct q2_buf b;
	void *store;

	if (all->lost ||
	    q2_get_raw(&r->budget, PIECE, &store, NULL) != Q2_OK) {
		keep->end(keep->ctx, false);
		return;
	}
	q2_buf_pipe(&b, store, PIECE, keep->write, keep->ctx);
	q2_buf_add(&b, all->at, all->n);
	if (s) {
		put_head(&b, s, false);
		s->put(s->work, &b);
	}
	q2_put_number(&b, 0);
	q2_put_number(&b, END);
	q2_buf_flush(&b);
	q2_put(&r->budget, store, PIECE);
	keep->end(keep->ctx, !b.failed);
	all->fresh = false;
}

enum q2_status q2_search_tick(struct q2_repair *r, const struct q2_search *s,
			      const char *phase, uint64_t done, uint64_t total)
{
	const struct q2_check_keep *keep = r->searches.keep;
	enum q2_status st = q2_tick(r->c, phase, done, total);

	if (keep && keep->wanted(keep->ctx, st != Q2_OK))
		write_state(r, s);
	return st;
}

static int gather(void *ctx, const char *bytes, size_t n)
{
	struct q2_repair *r = ctx;
	struct q2_searches *all = &r->searches;

	if (all->room - all->n < n) {
		size_t room = all->room + all->room / 2 + n;
		void *block = all->at;

		if (room > LIST_MAX ||
		    q2_regrow(&r->budget, all->room, room, &block, NULL) !=
			    Q2_OK)
			return -1;
		all->at = block;
		all->room = room;
	}
	memcpy(all->at + all->n, bytes, n);
	all->n += n;
	return 0;
}

enum q2_status q2_search_end(struct q2_repair *r, const struct q2_search *s,
			     enum q2_status st)
{
	struct q2_searches *all = &r->searches;
	char store[512];
	struct q2_buf b;

	if (st != Q2_OK || all->keep == NULL || all->lost)
		return st;
	q2_buf_pipe(&b, store, sizeof(store), gather, r);
	put_head(&b, s, true);
	s->put(s->work, &b);
	q2_buf_flush(&b);
	all->lost = b.failed;
	all->fresh = true;
	if (!all->going_on && all->keep->wanted(all->keep->ctx, true))
		write_state(r, NULL);
	return st;
}

enum q2_status q2_searches_end(struct q2_repair *r, enum q2_status st)
{
	struct q2_searches *all = &r->searches;

	/* While there is more in the old one, that is the better one. */
	if ((st == Q2_OK || st == Q2_E_INTERRUPTED) && all->fresh &&
	    !all->going_on && all->keep->wanted(all->keep->ctx, true))
		write_state(r, NULL);
	q2_put(&r->budget, all->at, all->room);
	all->at = NULL;
	all->n = all->room = 0;
	return st;
}

/* ------------------------------------------------------------------- taking */

static enum q2_status look_for_more(struct q2_repair *r)
{
	struct q2_searches *all = &r->searches;

	all->going_on = q2_take_up_to(&all->old, 1) == 1;
	if (all->old.failed ||
	    (!all->going_on && q2_take_number(&all->old) != END))
		return damaged(r);
	return Q2_OK;
}

enum q2_status q2_searches_begin(struct q2_repair *r)
{
	struct q2_searches *all = &r->searches;

	all->keep = r->opts->keep;
	if (all->keep == NULL || all->keep->read == NULL)
		return Q2_OK;
	all->old.read = all->keep->read;
	all->old.ctx = all->keep->ctx;
	return look_for_more(r);
}

enum q2_status q2_search_begin(struct q2_repair *r, const struct q2_search *s,
			       bool *done)
{
	struct q2_searches *all = &r->searches;
	struct q2_source *in = &all->old;
	enum q2_status st;

	*done = false;
	if (!all->going_on)
		return Q2_OK;
	if (q2_take_number(in) != (uint64_t)s->kind ||
	    q2_take_number(in) != s->of)
		return q2_fail(r->err, in->failed ? Q2_E_FORMAT : Q2_E_REFUSED,
			       0, Q2_NO_OFFSET,
			       "the state is of another search");
	*done = q2_take_up_to(in, 1) == 1;
	st = s->take(s->work, in);
	if (st == Q2_OK && in->failed)
		st = damaged(r);
	if (st == Q2_OK)
		st = look_for_more(r);
	/* Nothing can follow one that is not at its end. */
	return st == Q2_OK && !*done && all->going_on ? damaged(r) : st;
}

/* --------------------------------------------------------------------- runs */

void q2_put_runs(struct q2_buf *b, const struct q2_runs *runs)
{
	uint64_t before = 0;

	for (size_t i = 0, next; i < runs->n && !b->failed; i = next) {
		struct q2_run run = runs->at[i];

		if (run.n == 0) { /* that ends them */
			next = i + 1;
			continue;
		}
		for (next = i + 1; next < runs->n &&
				   runs->at[next].first == run.first + run.n;
		     next++)
			run.n += runs->at[next].n;
		q2_put_number(b, run.n);
		q2_put_number(b, run.first - before);
		before = run.first + run.n;
	}
	q2_put_number(b, 0);
}

enum q2_status q2_take_runs(struct q2_source *in, struct q2_repair *r,
			    uint64_t most, struct q2_runs *runs)
{
	struct q2_run run = {0, q2_take_up_to(in, most)};
	enum q2_status st = Q2_OK;

	while (run.n && st == Q2_OK && !in->failed) {
		run.first += q2_take_number(in);
		in->failed |= run.first >= most || run.n > most - run.first;
		if (!in->failed)
			st = q2_runs_push(runs, &r->budget, run, r->err);
		run.first += run.n;
		run.n = q2_take_up_to(in, most);
	}
	return st;
}

/* ----------------------------------------------------------------- identity */

bool q2_search_identity(struct q2_io *io, const struct q2_plan_opts *opts,
			uint64_t *identity)
{
	static const char what[] = "plan " Q2_VERSION;
	uint8_t head[Q2_HEADER_READ] = {0};
	const uint64_t form[] = {q2_hash(what, sizeof(what)), opts->flags,
				 opts->n_attach};
	uint64_t hash = q2_hash(form, sizeof(form));

	for (size_t i = 0; i < opts->n_attach; i++) {
		const uint64_t each[] = {opts->attach[i].slot,
					 opts->attach[i].host};

		hash = q2_hash_on(hash, each, sizeof(each));
	}
	/* What cannot be read is told by the check. */
	if (q2_pread_zero(io, head, sizeof(head), 0, NULL) == Q2_OK)
		hash = q2_hash_on(hash, head, sizeof(head));
	return q2_io_traces(io, hash, identity);
}
