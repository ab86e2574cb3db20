/*
 * fix_l2.c - entries of L2 tables.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    entries that break the format, that lead nowhere or to what another
 *           one uses, and compressed data that does not inflate.  Where a cluster
 *           that is missed fits, the entry gets it back; else it is given up, and
 *           what it may have named is an orphan.
 * Needs:    L1 tables that lead to L2 tables.
 */
#include <string.h>

#include "base/endian.h"
#include "check/l2shape.h"
#include "image/l2walk.h"
#include "repair/guess.h"

#define DETAILS 16384u /* entries told one by one */

/* What is surely wrong comes first, so that it gets what is missed before others
 * that might do without. */
enum pass { FAULTY, DOUBTFUL, HOLES, PASSES };

struct l2 {
	struct q2_repair *r;
	struct q2_ledger ledger;
	struct q2_inflate *inflate;
	uint8_t *table;
	uint8_t *older; /* room for another table */
	const struct q2_l2ref *ref; /* whose table that is; NULL: none */
	bool has_older;		    /* that one holds what an older tree has */
	bool agreed;		    /* as in struct q2_case */
	bool nonsense;		    /* it reads as anything but a table */
	enum pass pass;
	uint32_t told;
};

static struct q2_finding located(const struct q2_case *k)
{
	const struct q2_geom *g = &k->r->c->img.geom;

	return (struct q2_finding){
		.fields = Q2_F_TREE | Q2_F_L1 | Q2_F_L2 | Q2_F_GUEST |
			  Q2_F_LENGTH | Q2_F_FOUND,
		.tree = k->ref->active ? Q2_TREE_ACTIVE : k->ref->tree,
		.l1 = k->ref->slot,
		.l2 = k->index,
		.guest = q2_guest(g, k->ref->slot, k->index),
		.length = g->cluster_size,
		.found = k->raw,
	};
}

/* Replaces the entry; the caller has asked whether that is wanted. */
static enum q2_status replace(struct l2 *l, struct q2_case *k,
			      enum q2_problem_id why, enum q2_effect effect,
			      struct q2_guess to, const char *text)
{
	struct q2_repair *r = l->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t off = (k->ref->clu << g->cluster_bits) +
		       ((uint64_t)k->index << g->entry_bits);
	struct q2_l2_entry e = q2_l2_decode(g, to.raw, to.bitmap,
					    q2_guest(g, k->ref->slot, k->index));
	struct q2_range none = {0, 0};
	struct q2_finding f = located(k);
	uint8_t bytes[16];
	uint32_t action;
	enum q2_status st;

	if (to.raw & Q2_COMPRESSED)
		to.raw &= ~Q2_COPIED;
	if (l->told++ < DETAILS || effect != Q2_EFFECT_NONE)
		st = q2_act(r, why, effect, &f, &action, "L2[%u][%u] %s",
			    (unsigned)k->ref->slot, (unsigned)k->index, text);
	else
		st = q2_act_bulk(r, why, 1, "more L2 entries are mended",
				 &action);
	q2_put_be64(bytes, to.raw);
	q2_put_be64(bytes + 8, to.bitmap);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_ENTRY, action, off, bytes,
			       (size_t)1 << g->entry_bits);
	if (st == Q2_OK)
		st = q2_ledger_move(&l->ledger, k->e.refers ? k->e.host : none,
				    e.refers ? e.host : none, k->ref->weight,
				    r->err);
	memcpy(l->table + ((size_t)k->index << g->entry_bits), bytes,
	       (size_t)1 << g->entry_bits);
	return st;
}

/* An entry that is given up reads as zeros, not as what the backing file has. */
static struct q2_guess zeros(const struct q2_case *k)
{
	const struct q2_checker *c = k->r->c;

	if (c->ext.backing == NULL || c->img.geom.version == 2)
		return (struct q2_guess){0, 0, 1, false};
	if (c->img.geom.ext_l2)
		return (struct q2_guess){0, (uint64_t)UINT32_MAX << 32, 1,
					 false};
	return (struct q2_guess){Q2_ZERO, 0, 1, false};
}

/* An entry that breaks the format. */
static enum q2_status faulty(struct l2 *l, struct q2_case *k)
{
	struct q2_guess guess = {0};
	enum q2_problem_id why;
	enum q2_effect effect;
	const char *text;
	enum q2_status st = Q2_OK;
	bool whole;
	bool as_it_is = k->e.refers && k->e.type != Q2_L2_COMPRESSED &&
			q2_surplus(&l->ledger, k->e.host.start >>
				   l->r->c->img.geom.cluster_bits) >= 0;

	/* Of two flags that exclude one another the data tells which is wrong. */
	if (k->e.faults == Q2_EF_COPIED_COMPRESSED && k->inflate)
		st = q2_inflates(k, &k->e, &as_it_is);
	if (st == Q2_OK && !as_it_is && q2_all(l->r) &&
	    (l->ledger.any || k->inflate))
		st = q2_guess(k, &guess);
	if (st != Q2_OK)
		return st;
	if (guess.score && q2_want(l->r, Q2_P_ORPHAN_L2))
		return replace(l, k, q2_lost_because(k), Q2_EFFECT_GAIN, guess,
			       "gets back the cluster that it lost by a wrong "
			       "bit");
	if (q2_polish(k, &guess, &why, &effect, &text)) {
		/* The other flag may be the wrong one. */
		if (why == Q2_P_COMPRESSED_COPIED) {
			st = q2_inflates(k, &k->e, &whole);
			if (st != Q2_OK || !whole)
				return st;
		}
		return q2_want(l->r, why) ?
			       replace(l, k, why, effect, guess, text) : Q2_OK;
	}
	why = q2_lost_because(k);
	if (!(k->e.faults & (Q2_EF_UNALIGNED | Q2_EF_OUTSIDE |
			     Q2_EF_COMPRESSED_DATA_FILE)) ||
	    !q2_want(l->r, why))
		return Q2_OK;
	return replace(l, k, why, Q2_EFFECT_LOSS, zeros(k),
		       "is given up: it leads nowhere, and no cluster is known "
		       "that belongs here");
}

/* Sound by itself, but its cluster is used by others, or not counted. */
static enum q2_status doubtful(struct l2 *l, struct q2_case *k)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t clu = k->e.host.start >> g->cluster_bits;
	unsigned why = q2_suspected(&l->ledger, clu);
	int64_t surplus = q2_surplus(&l->ledger, clu);
	struct q2_l2_entry to;
	struct q2_guess guess;
	unsigned now;
	enum q2_status st;

	if (surplus >= 0 && !(why & (Q2_S_META | Q2_S_SHARED | Q2_S_STREAM)))
		return Q2_OK;
	/* Others may have been corrected since. */
	if (!l->ledger.any || !q2_want(l->r, Q2_P_ORPHAN_L2))
		return Q2_OK;
	st = q2_guess(k, &guess);
	if (st != Q2_OK || guess.score == 0)
		return st;
	now = 2 * q2_fit(k, &k->e);
	/* Of several that name one place, that one has lost its own which its
	 * neighbours want elsewhere: not just the first of them. */
	to = q2_l2_decode(g, guess.raw, guess.bitmap, 0);
	if ((why & (Q2_S_SHARED | Q2_S_STREAM)) && !(why & Q2_S_META) &&
	    2 * q2_fit(k, &to) <= now)
		return Q2_OK;
	/* One wrong bit explains a free cluster that is used, and a leaked one;
	 * but data that stands there is worth more than that. */
	if (!(why & Q2_S_META) &&
	    !(surplus < 0 &&
	      q2_refmap_get(&l->r->c->map, clu).count == k->ref->weight &&
	      q2_holds_zeros(l->r->io, clu << g->cluster_bits,
			     g->cluster_size)) &&
	    guess.score - 3 <= now)
		return Q2_OK;
	return replace(l, k, Q2_P_CROSS_LINK, Q2_EFFECT_GAIN, guess,
		       "gets back its own cluster: the one that it names is "
		       "another's");
}

/* A hole between two neighbours in which exactly a missed cluster fits, or that
 * an older tree still fills. */
static enum q2_status hole(struct l2 *l, struct q2_case *k)
{
	struct q2_guess guess;
	enum q2_status st = q2_guess(k, &guess);
	enum q2_problem_id why = guess.shared ? Q2_P_REFCOUNT_HIGH : Q2_P_LEAK;

	if (st != Q2_OK || guess.score < 11 || !q2_want(l->r, why) ||
	    !q2_all(l->r))
		return st;
	/* Streams share clusters: which of them is missed no count tells. */
	if (guess.raw & Q2_COMPRESSED)
		return replace(l, k, why, Q2_EFFECT_SUSPECT, guess,
			       "gets what a snapshot has there: that compressed "
			       "data is counted more often than it is named");
	if (guess.shared)
		return replace(l, k, why, k->agreed ? Q2_EFFECT_GAIN :
						      Q2_EFFECT_SUSPECT, guess,
			       "gets back what a snapshot has there, too, and "
			       "what is counted for both");
	return replace(l, k, why, q2_in_a_run(k, &guess) ? Q2_EFFECT_GAIN :
							   Q2_EFFECT_SUSPECT,
		       guess, "gets back the leaked cluster that fits exactly");
}

/* What is left of damaged data is kept as a plain cluster. */
static enum q2_status salvage(struct l2 *l, struct q2_case *k,
			      const uint8_t *bytes, size_t n)
{
	struct q2_repair *r = l->r;
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_finding f = located(k);
	struct q2_guess to = {0, g->ext_l2 ? UINT32_MAX : 0, 1, false};
	uint32_t action;
	uint64_t off = 0;
	enum q2_status st = q2_act(r, Q2_P_COMPRESSED_BAD_STREAM,
				   Q2_EFFECT_LOSS, &f, &action,
				   "the %zu bytes that still inflate become "
				   "a plain cluster, the rest zeros", n);

	if (st == Q2_OK)
		st = q2_fresh(r, action, 1, &off);
	if (st == Q2_OK && n)
		st = q2_change(r, Q2_C_FRESH, action, off, bytes, n);
	to.raw = off;
	return st == Q2_OK ? replace(l, k, Q2_P_COMPRESSED_BAD_STREAM,
				     Q2_EFFECT_LOSS, to,
				     "names what could be saved") : st;
}

/* A descriptor need not name sectors that the file does not have. */
static enum q2_status trim(struct l2 *l, struct q2_case *k)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t mask = (UINT64_C(1) << g->offset_bits) - 1;
	uint64_t first = k->e.host.start & ~UINT64_C(511);
	uint64_t more = (g->file_size - first - 1) / 512;
	struct q2_guess to = {(k->raw & mask) | Q2_COMPRESSED |
				      more << g->offset_bits, k->bitmap, 1, false};

	if (!q2_want(l->r, Q2_P_COMPRESSED_CUT))
		return Q2_OK;
	return replace(l, k, Q2_P_COMPRESSED_CUT, Q2_EFFECT_NONE, to,
		       "names no more sectors than the file has");
}

static enum q2_status compressed(struct l2 *l, struct q2_case *k)
{
	const uint8_t *bytes;
	struct q2_guess guess;
	struct q2_err why = {0};
	bool whole;
	size_t n;
	enum q2_status st;

	st = q2_inflate(l->inflate, k->e.host, &bytes, &n, &whole, &why);
	if (st == Q2_E_IO || st == Q2_E_RANGE)
		return Q2_OK;
	if (st != Q2_OK) {
		*l->r->err = why;
		return st;
	}
	if (whole)
		return k->e.faults & Q2_EF_CUT ? trim(l, k) : doubtful(l, k);
	st = q2_guess(k, &guess);
	if (st != Q2_OK)
		return st;
	if (guess.score && q2_want(l->r, Q2_P_ORPHAN_L2))
		return replace(l, k, Q2_P_COMPRESSED_BAD_STREAM,
			       Q2_EFFECT_GAIN, guess,
			       "gets back the data that it lost by a wrong bit");
	if (!q2_want(l->r, Q2_P_COMPRESSED_BAD_STREAM))
		return Q2_OK;
	st = q2_inflate(l->inflate, k->e.host, &bytes, &n, &whole,
		       l->r->err);
	return st == Q2_OK ? salvage(l, k, bytes, n) : st;
}

/* Whether a snapshot has the entry on its disk, or may have it: what names the table
 * could not all be read.  (Of tables that only snapshots have, the largest disk of
 * these counts.) */
static bool is_shared(const struct l2 *l, const struct q2_case *k)
{
	const struct q2_checker *c = l->r->c;
	uint64_t guest = q2_guest(&c->img.geom, k->ref->slot, k->index);

	if (l->r->result.check_errors)
		return true;
	if (k->ref->active == 0 || k->ref->weight == k->ref->active)
		return false;
	for (size_t i = 0; i < c->trees.n; i++)
		if (c->trees.at[i].id != Q2_TREE_ACTIVE &&
		    c->trees.at[i].disk_size > guest)
			return true;
	return false;
}

/* Mapped where there is no disk. */
static enum q2_status beyond(struct l2 *l, struct q2_case *k)
{
	if (is_shared(l, k) || !q2_want(l->r, Q2_P_L2_BEYOND_DISK))
		return Q2_OK;
	return replace(l, k, Q2_P_L2_BEYOND_DISK, Q2_EFFECT_LOSS,
		       (struct q2_guess){0, 0, 1, false},
		       "is given up: it lies past the end of the disk");
}

static enum q2_status one(struct l2 *l, struct q2_case *k)
{
	bool mapped = k->e.type != Q2_L2_UNALLOCATED;
	bool faults = k->e.faults & ~(unsigned)(Q2_EF_COPIED_UNUSED |
						Q2_EF_CUT |
						Q2_EF_DATA_FILE_COPIED);

	if (k->index >= k->ref->limit)
		return mapped && l->pass == FAULTY ? beyond(l, k) : Q2_OK;
	if (faults)
		return l->pass == FAULTY ? faulty(l, k) : Q2_OK;
	if (k->e.type == Q2_L2_COMPRESSED && l->inflate && q2_all(l->r))
		return l->pass == FAULTY ? compressed(l, k) : Q2_OK;
	if (k->e.refers)
		return l->pass == DOUBTFUL ? doubtful(l, k) : Q2_OK;
	return mapped || l->pass != HOLES ? Q2_OK : hole(l, k);
}

/* Whether this entry can need anything: most cannot. */
static bool idle(const struct l2 *l, const struct q2_l2_entry *e)
{
	uint64_t clu = e->host.start >> l->r->c->img.geom.cluster_bits;

	return e->refers && !e->faults && e->type != Q2_L2_COMPRESSED &&
	       (l->r->c->suspects.n == 0 || !q2_suspected(&l->ledger, clu));
}

/* What an older tree has in the place of the table that was read. */
static void look_at_older(struct l2 *l)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t clu = 0;

	if (l->pass == HOLES && q2_found_any(l->r, Q2_P_REFCOUNT_HIGH))
		clu = q2_older_table(l->r, l->ref);
	l->has_older = clu && q2_pread_zero(l->r->io, l->older,
					    (size_t)g->cluster_size,
					    clu << g->cluster_bits,
					    NULL) == Q2_OK;
	l->agreed = l->has_older && q2_counts_agree(&l->ledger, l->ref, l->table,
						    l->older);
}

static enum q2_status on_slice(void *ctx, const struct q2_l2slice *s)
{
	struct l2 *l = ctx;
	struct q2_repair *r = l->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t good = 0, bad = 0;
	enum q2_status st = Q2_OK;

	if (l->ref != s->ref) {
		l->ref = NULL;
		if (q2_pread_zero(r->io, l->table, (size_t)g->cluster_size,
				  s->ref->clu << g->cluster_bits, NULL) !=
		    Q2_OK)
			return Q2_OK;
		l->ref = s->ref;
		look_at_older(l);
		q2_l2_tally(g, l->table, 1u << g->l2_bits, &good, &bad);
		/* To mend what can be mended in nonsense would only spoil what
		 * really stands there. */
		l->nonsense = !q2_all(r) && bad >= 4 && bad > good;
	}
	if (l->nonsense)
		return Q2_OK;
	for (uint32_t i = 0; i < s->n && st == Q2_OK; i++) {
		uint32_t index = s->first + i;
		const uint8_t *p = l->table +
				   ((size_t)index << g->entry_bits);
		struct q2_case k = {
			.r = r,
			.ledger = &l->ledger,
			.inflate = l->inflate,
			.table = l->table,
			.ref = s->ref,
			.older = l->has_older ? l->older : NULL,
			.agreed = l->agreed,
			.index = index,
			.raw = q2_be64(p),
			.bitmap = q2_l2_bitmap(g, p),
		};

		if (k.raw == 0 && k.bitmap == 0 && l->pass != HOLES)
			continue;
		k.e = q2_l2_decode(g, k.raw, k.bitmap,
				   q2_guest(g, s->ref->slot, index));
		if (k.e.host.len && q2_was_outside(r, k.e.host.start))
			k.e.faults |= Q2_EF_OUTSIDE;
		if (index >= s->ref->limit || !idle(l, &k.e))
			st = one(l, &k);
	}
	return st;
}

static enum q2_status on_tick(void *ctx, uint64_t done, uint64_t total)
{
	struct l2 *l = ctx;

	return q2_tick(l->r->c, "L2 entries", done, total);
}

/* Whether anything was found that entries can have to do with. */
static bool needed(const struct q2_repair *r)
{
	if ((r->c->compressed.n && q2_all(r)) || r->dangling.n)
		return true;
	for (unsigned i = Q2_P_L2_RESERVED; i < Q2_P_SNAPTABLE_OUTSIDE; i++)
		if (r->counts[i])
			return true;
	return q2_found_any(r, Q2_P_LEAK) || q2_found_any(r, Q2_P_ORPHAN_L2) ||
	       q2_found_any(r, Q2_P_CROSS_LINK) ||
	       q2_found_any(r, Q2_P_DATA_ON_METADATA) ||
	       q2_found_any(r, Q2_P_COMPRESSED_ON_DATA) ||
	       q2_found_any(r, Q2_P_REFCOUNT_HIGH) ||
	       q2_found_any(r, Q2_P_REFCOUNT_LOW) ||
	       q2_found_any(r, Q2_P_REFCOUNT_ZERO);
}

enum q2_status q2_fix_l2(struct q2_repair *r)
{
	struct l2 l = {.r = r};
	const struct q2_l2reader reader = {.slice = on_slice,
					   .unreadable = q2_pass_unreadable,
					   .tick = on_tick,
					   .ctx = &l};
	size_t cs = (size_t)r->c->img.geom.cluster_size;
	void *block;
	enum q2_status st;

	if (!needed(r))
		return Q2_OK;
	st = q2_get(&r->budget, 2 * cs, &block, r->err);
	if (st != Q2_OK)
		return st;
	l.table = block;
	l.older = l.table + cs;
	q2_ledger_init(&l.ledger, r);
	if (r->c->img.geom.inflatable)
		st = q2_inflate_new(&r->c->img, &l.inflate, r->err);
	for (; l.pass < PASSES && st == Q2_OK; l.pass++) {
		if (l.pass == HOLES && !(l.ledger.any && q2_all(r)))
			break;
		l.ref = NULL;
		st = q2_l2_read(&r->c->img, &r->c->refs, &reader, r->err);
	}
	q2_inflate_free(l.inflate);
	q2_ledger_free(&l.ledger);
	q2_put(&r->budget, block, 2 * cs);
	return st;
}
