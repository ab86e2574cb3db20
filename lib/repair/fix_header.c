/*
 * fix_header.c - the header's fields, before anything is believed that they lead
 * to.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    fields with one wrong bit, found by trying which one makes the image
 *           sound; fields that others tell; the magic; a size beyond all bounds.
 * Needs:    nothing: where there is no geometry, this is what makes one.
 */
#include <string.h>

#include "base/endian.h"
#include "check/l1place.h"
#include "repair/judge_blocks.h"
#include "repair/ledger.h"
#include "repair/trial.h"

#define ENTRIES_TRIED 4u
#define CHEAP (UINT64_C(8) << 20) /* bytes that a check reads */

/* Which bytes of the header a problem throws doubt on. */
struct doubt {
	enum q2_problem_id problem;
	enum q2_kind kind; /* only if it is about that; NONE: always */
	uint8_t off;
	uint8_t len;
};

static const struct doubt doubts[] = {
	{Q2_P_HEADER_VERSION, Q2_K_NONE, 4, 4},
	{Q2_P_BACKING_OFFSET, Q2_K_NONE, 8, 8},
	{Q2_P_BACKING_IN_HEADER, Q2_K_NONE, 8, 12},
	{Q2_P_BACKING_SIZE, Q2_K_NONE, 8, 12},
	{Q2_P_BACKING_NUL, Q2_K_NONE, 8, 12},
	{Q2_P_EXT_TOO_LONG, Q2_K_NONE, 8, 12},
	{Q2_P_EXT_TOO_LONG, Q2_K_NONE, 100, 4},
	{Q2_P_EXT_FORMAT_NO_BACKING, Q2_K_NONE, 8, 12},
	{Q2_P_EXT_UNKNOWN, Q2_K_NONE, 100, 4},
	{Q2_P_CLUSTER_BITS, Q2_K_NONE, 20, 4},
	{Q2_P_EXTL2_CLUSTER_BITS, Q2_K_NONE, 20, 4},
	{Q2_P_EXTL2_CLUSTER_BITS, Q2_K_NONE, 72, 8},
	{Q2_P_ROOT_CLUSTER_BITS, Q2_K_NONE, 20, 4},
	{Q2_P_L1_OFFSET_UNALIGNED, Q2_K_NONE, 20, 4},
	{Q2_P_REFTABLE_UNALIGNED, Q2_K_NONE, 20, 4},
	{Q2_P_SIZE_UNALIGNED, Q2_K_NONE, 24, 8},
	{Q2_P_SIZE_TOO_BIG, Q2_K_NONE, 24, 8},
	{Q2_P_L1_TOO_SMALL, Q2_K_NONE, 24, 8},
	{Q2_P_L1_TOO_SMALL, Q2_K_NONE, 36, 4},
	{Q2_P_L1_TOO_SMALL, Q2_K_NONE, 72, 8},
	{Q2_P_L2_BEYOND_DISK, Q2_K_NONE, 24, 8},
	{Q2_P_L1_BEYOND_DISK, Q2_K_NONE, 24, 8},
	{Q2_P_CRYPT_METHOD, Q2_K_NONE, 32, 4},
	{Q2_P_CRYPT_NO_HEADER, Q2_K_NONE, 32, 4},
	{Q2_P_EXT_LUKS_BAD, Q2_K_NONE, 32, 4},
	{Q2_P_L1_SIZE_LIMIT, Q2_K_NONE, 36, 4},
	{Q2_P_L1_OFFSET_UNALIGNED, Q2_K_NONE, 36, 12},
	{Q2_P_L1_OFFSET_ZERO, Q2_K_NONE, 36, 12},
	{Q2_P_L1_OUTSIDE, Q2_K_NONE, 36, 12},
	{Q2_P_ROOT_L1_SIZE, Q2_K_NONE, 36, 12},
	{Q2_P_L1_UNALIGNED, Q2_K_NONE, 36, 12},
	{Q2_P_L1_ENTRY_OUTSIDE, Q2_K_NONE, 36, 12},
	{Q2_P_L1_RESERVED, Q2_K_NONE, 36, 12},
	{Q2_P_METADATA_OVERLAP, Q2_K_L1, 36, 12},
	{Q2_P_DATA_ON_METADATA, Q2_K_L1, 36, 12},
	{Q2_P_REFCOUNT_ZERO, Q2_K_L1, 36, 12},
	{Q2_P_REFCOUNT_LOW, Q2_K_L1, 36, 12},
	{Q2_P_SNAPSHOT_L1_ACTIVE, Q2_K_NONE, 36, 12},
	{Q2_P_METADATA_OVERLAP, Q2_K_REFBLOCK, 48, 12},
	{Q2_P_DATA_ON_METADATA, Q2_K_REFBLOCK, 48, 12},
	{Q2_P_REFTABLE_UNALIGNED, Q2_K_NONE, 48, 12},
	{Q2_P_REFTABLE_MISSING, Q2_K_NONE, 48, 12},
	{Q2_P_REFTABLE_OUTSIDE, Q2_K_NONE, 48, 12},
	{Q2_P_REFTABLE_LIMIT, Q2_K_NONE, 48, 12},
	{Q2_P_REFBLOCK_MISSING, Q2_K_NONE, 48, 12},
	{Q2_P_REFBLOCK_UNALIGNED, Q2_K_NONE, 48, 12},
	{Q2_P_REFBLOCK_OUTSIDE, Q2_K_NONE, 48, 12},
	{Q2_P_REFCOUNT_ZERO, Q2_K_REFTABLE, 48, 12},
	{Q2_P_REFCOUNT_LOW, Q2_K_REFTABLE, 48, 12},
	{Q2_P_METADATA_OVERLAP, Q2_K_REFTABLE, 48, 12},
	{Q2_P_SNAPSHOT_COUNT, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPTABLE_UNALIGNED, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPTABLE_ZERO, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPTABLE_OUTSIDE, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPSHOT_RECORD, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPSHOT_EXTRA_LONG, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPSHOT_UNCOUNTED, Q2_K_NONE, 60, 12},
	{Q2_P_REFCOUNT_ZERO, Q2_K_SNAPTABLE, 60, 12},
	{Q2_P_METADATA_OVERLAP, Q2_K_SNAPTABLE, 60, 12},
	{Q2_P_SNAPSHOT_DATA_FILE, Q2_K_NONE, 60, 12},
	{Q2_P_SNAPSHOT_DATA_FILE, Q2_K_NONE, 72, 8},
	{Q2_P_INCOMPAT_UNKNOWN, Q2_K_NONE, 72, 8},
	{Q2_P_COMPRESSION_BIT, Q2_K_NONE, 72, 8},
	{Q2_P_COMPRESSION_BIT, Q2_K_NONE, 100, 5},
	{Q2_P_COMPRESSION_TYPE, Q2_K_NONE, 104, 1},
	{Q2_P_ROOT_EXTENDED_L2, Q2_K_NONE, 72, 8},
	{Q2_P_DATA_FILE_NAME_MISSING, Q2_K_NONE, 72, 8},
	{Q2_P_EXT_DATA_FILE_STALE, Q2_K_NONE, 72, 8},
	{Q2_P_DATA_FILE_OFFSET, Q2_K_NONE, 72, 8},
	{Q2_P_L2_ZERO_FLAG_V2, Q2_K_NONE, 4, 4},
	{Q2_P_L2_ZERO_FLAG_EXTL2, Q2_K_NONE, 72, 8},
	{Q2_P_SUBCLUSTER_CONFLICT, Q2_K_NONE, 72, 8},
	{Q2_P_SUBCLUSTER_NO_OFFSET, Q2_K_NONE, 72, 8},
	{Q2_P_RAW_BIT_NO_DATA_FILE, Q2_K_NONE, 88, 8},
	{Q2_P_RAW_BIT_NO_DATA_FILE, Q2_K_NONE, 72, 8},
	{Q2_P_BITMAPS_BIT_NO_EXT, Q2_K_NONE, 88, 8},
	{Q2_P_BITMAPS_BIT_NO_EXT, Q2_K_NONE, 100, 4},
	{Q2_P_BITMAPS_STALE, Q2_K_NONE, 88, 8},
	{Q2_P_REFCOUNT_ORDER, Q2_K_NONE, 96, 4},
	{Q2_P_ROOT_REFCOUNT_ORDER, Q2_K_NONE, 96, 4},
	{Q2_P_HEADER_LENGTH, Q2_K_NONE, 100, 4},
	{Q2_P_HEADER_LENGTH_UNALIGNED, Q2_K_NONE, 100, 4},
	{Q2_P_EXT_UNALIGNED, Q2_K_NONE, 100, 4},
	{Q2_P_HEADER_PADDING, Q2_K_NONE, 100, 12},
};

static bool is_there(const struct q2_repair *r, const struct doubt *d)
{
	/* An extension that nobody knows may be the one that is missed. */
	if (d->problem == Q2_P_BITMAPS_BIT_NO_EXT && d->off == 88 &&
	    q2_found_any(r, Q2_P_EXT_UNKNOWN))
		return false;
	/* That it is not encrypted after all would not explain clusters that are
	 * missed: the keys may be there. */
	if (d->problem == Q2_P_CRYPT_NO_HEADER && r->result.leaks)
		return false;
	if (d->kind == Q2_K_NONE)
		return q2_found_any(r, d->problem);
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if (f->problem->number == d->problem && q2_concerns(f, d->kind))
			return true;
	}
	return false;
}

/* Whether the header, whatever its version, goes on as only one of version 3
 * does. */
static bool goes_on_as_v3(const struct q2_repair *r)
{
	uint8_t h[Q2_HEADER_READ];
	uint32_t length;

	if (q2_pread_zero(r->io, h, sizeof(h), 0, NULL) != Q2_OK)
		return false;
	length = q2_be32(h + 100);
	return (length == 104 || length == 112) && q2_be32(h + 96) <= 6 &&
	       (q2_be64(h + 72) & ~UINT64_C(0x1f)) == 0;
}

static bool reads_as_v3(const struct q2_repair *r)
{
	return r->c->img.geom.version == 2 && goes_on_as_v3(r);
}

/* What throws doubt on all of the header, or takes it away. */
struct signs {
	bool mass;     /* hardly any refcount is right */
	bool in_place; /* what it leads to is an L1 table: single entries are wrong */
	bool tail;     /* mapped behind the disk's end is what was there, not nonsense */
};

/* For each byte the problem that throws doubt on it, the first one if there are several;
 * 0: none does. */
struct doubtful {
	enum q2_problem_id at[Q2_HEADER_READ];
};

static void suspect(struct doubtful *d, uint64_t off, uint64_t len,
		    enum q2_problem_id why)
{
	for (uint64_t i = off; i < off + len; i++)
		if (d->at[i] == 0)
			d->at[i] = why;
}

/* Whether what was found is no reason to doubt those bytes. */
static bool is_idle(const struct signs *signs, const struct doubt *d)
{
	bool beyond = d->problem == Q2_P_L2_BEYOND_DISK ||
		      d->problem == Q2_P_L1_BEYOND_DISK;

	return (beyond && !signs->tail) ||
	       (signs->in_place && d->off == 36 && d->problem / 100 == 3);
}

static void see_doubts(const struct q2_repair *r, const struct signs *signs,
		       struct doubtful *d)
{
	/* One bitmap may be wrong itself; that all are tells of the disk. */
	if (r->counts[Q2_P_BITMAP_TABLE_SIZE] > 1 &&
	    r->counts[Q2_P_BITMAP_TABLE_SIZE] == r->result.bitmaps)
		suspect(d, 24, 8, Q2_P_BITMAP_TABLE_SIZE);
	if (reads_as_v3(r))
		suspect(d, 4, 4, Q2_P_HEADER_VERSION);
	if (signs->mass) {
		suspect(d, 96, 4, Q2_P_ROOT_REFCOUNT_ORDER);
		suspect(d, 20, 4, Q2_P_ROOT_REFCOUNT_ORDER);
		suspect(d, 48, 12, Q2_P_ROOT_REFCOUNT_ORDER);
	}
	for (size_t i = 0; i < sizeof(doubts) / sizeof(doubts[0]); i++)
		if (!is_idle(signs, &doubts[i]) && is_there(r, &doubts[i]))
			suspect(d, doubts[i].off, doubts[i].len,
				doubts[i].problem);
}

static enum q2_status apply_as(struct q2_repair *r, const struct q2_patch *p,
			       enum q2_problem_id why, enum q2_effect effect,
			       const char *text)
{
	/* What refcounts hang on is switched with them. */
	bool counts = (p->off >= 48 && p->off < 60) ||
		      p->off >= Q2_HEADER_READ;
	uint32_t action;
	enum q2_status st = q2_act(r, why, effect, NULL, &action,
				   "%s (offset %llu)", text,
				   (unsigned long long)p->off);

	if (st == Q2_OK)
		st = q2_change(r, counts ? Q2_C_REFTABLE : Q2_C_PLACE, action,
			       p->off, p->bytes, p->n);
	return st == Q2_OK ? q2_recheck(r) : st;
}

static enum q2_status apply(struct q2_repair *r, const struct q2_patch *p,
			    enum q2_problem_id why, const char *text)
{
	return apply_as(r, p, why, Q2_EFFECT_GAIN, text);
}

/* The first entries of the refcount table that are in use. */
static enum q2_status try_reftable(struct q2_repair *r, struct q2_trial *t)
{
	const struct q2_geom *g = &r->c->img.geom;
	unsigned tried = 0;
	enum q2_status st = Q2_OK;

	for (uint64_t at = 0; at < g->reftable_bytes && tried < ENTRIES_TRIED &&
			      st == Q2_OK; at += 8) {
		uint8_t bytes[8];

		if (q2_pread_zero(r->io, bytes, 8, g->reftable_offset + at,
				  NULL) != Q2_OK || q2_be64(bytes) == 0)
			continue;
		tried++;
		st = q2_trial_flips(t, g->reftable_offset + at, 8);
	}
	return st;
}

/* Whether a table that is there would not be looked at any more, which makes any damage
 * of it look mended.  Without snapshots nothing names one. */
static bool forgets_snapshots(const struct q2_repair *r,
			      const struct q2_patch *p)
{
	const struct q2_header *h = &r->c->header;
	uint8_t count[4];

	if (p->off < 60 || p->off > 63 || h->snapshots_offset == 0)
		return false;
	q2_put_be32(count, h->nb_snapshots);
	count[p->off - 60] = p->bytes[0];
	return q2_be32(count) == 0;
}

/* Another number of snapshots, or an encryption, makes much look sound by the way: all
 * that it leads to must be.  Another place for the snapshot table must hold one. */
static bool leads_nowhere(const struct q2_trial *t)
{
	uint64_t off = t->best.off, left = t->best_score.roots;

	if ((off >= 32 && off < 36) || (off >= 60 && off < 64))
		return left != 0;
	return off >= 64 && off < 72 && left && left >= t->now.roots;
}

/* Each bit that is in doubt. */
static enum q2_status try_flips(struct q2_repair *r)
{
	struct q2_trial t;
	struct signs signs = {.mass = q2_counts_absurd(r)};
	struct doubtful doubtful;
	bool cheap, foreign = false;
	enum q2_status st = Q2_OK;

	if (r->result.corruptions)
		st = q2_l1_in_place(r->c, Q2_TREE_ACTIVE, &signs.in_place);
	if (st == Q2_OK)
		st = q2_size_lost(r, &signs.tail);
	memset(&doubtful, 0, sizeof(doubtful));
	see_doubts(r, &signs, &doubtful);
	q2_trial_start(&t, r);
	/* Refcounts made anew are as good; to look for the old ones pays only
	 * where that is soon done. */
	cheap = t.cost <= CHEAP;
	for (uint64_t off = 0; off < Q2_HEADER_READ && st == Q2_OK; off++)
		if ((cheap || off < 48 || off >= 60) && doubtful.at[off])
			st = q2_trial_flips(&t, off, 1);
	/* In what is no refcount table at all, nothing is put right. */
	if (st == Q2_OK && cheap && doubtful.at[48])
		st = q2_judge_table(r, &foreign);
	if (st == Q2_OK && cheap && doubtful.at[48] && !foreign)
		st = try_reftable(r, &t);
	if (st != Q2_OK || !q2_trial_won(&t) || forgets_snapshots(r, &t.best) ||
	    leads_nowhere(&t))
		return st;
	if (!q2_want(r, t.best.off >= Q2_HEADER_READ ?
				Q2_P_REFBLOCK_MISSING :
				doubtful.at[t.best.off]))
		return Q2_OK;
	if (t.best.off >= Q2_HEADER_READ)
		return apply(r, &t.best, Q2_P_REFBLOCK_MISSING,
			     "one wrong bit of the refcount table is put "
			     "right");
	return apply(r, &t.best, doubtful.at[t.best.off],
		     "one wrong bit of the header is put right");
}

static void put32(struct q2_patch *p, uint64_t off, uint32_t value)
{
	p->off = off;
	p->n = 4;
	q2_put_be32(p->bytes, value);
}

static enum q2_status try_one(struct q2_repair *r, enum q2_problem_id why,
			      uint64_t off, uint32_t value, const char *text)
{
	struct q2_patch p;
	struct q2_trial t;
	enum q2_status st;

	if (!q2_found_any(r, why) || !q2_want(r, why))
		return Q2_OK;
	q2_trial_start(&t, r);
	put32(&p, off, value);
	st = q2_trial_patch(&t, &p);
	if (st != Q2_OK || !q2_trial_won(&t))
		return st;
	return apply(r, &t.best, why, text);
}

/* A header without its magic, or with a version that there is not: one bit may
 * make it 2 where all else is that of a 3. */
static enum q2_status try_magic(struct q2_repair *r)
{
	enum q2_status st = try_one(r, Q2_P_HEADER_MAGIC, 0, Q2_MAGIC,
				    "the magic is put back");

	if (st != Q2_OK || !goes_on_as_v3(r))
		return st;
	return try_one(r, Q2_P_HEADER_VERSION, 4, 3,
		       "the version becomes 3, as the rest of the header has it");
}

/* All values that a field can have. */
static enum q2_status try_values(struct q2_repair *r, enum q2_problem_id why,
				 uint64_t off, uint32_t from, uint32_t to,
				 uint32_t step, const char *text)
{
	struct q2_trial t;
	enum q2_status st = Q2_OK;

	if (!q2_found_any(r, why) || !q2_want(r, why))
		return Q2_OK;
	q2_trial_start(&t, r);
	for (uint32_t v = from; v <= to && st == Q2_OK; v += step) {
		struct q2_patch p;

		put32(&p, off, v);
		st = q2_trial_patch(&t, &p);
	}
	if (st != Q2_OK || !q2_trial_won(&t))
		return st;
	return apply(r, &t.best, why, text);
}

/* The L1 table that the check found among the leaks: all must be as sound as it
 * promises. */
static enum q2_status try_l1_place(struct q2_repair *r)
{
	struct q2_trial t;
	enum q2_status st = Q2_OK;

	if (!q2_found_any(r, Q2_P_ROOT_L1_OFFSET) ||
	    !q2_want(r, Q2_P_ROOT_L1_OFFSET))
		return Q2_OK;
	q2_trial_start(&t, r);
	for (size_t i = 0; i < r->findings.n && st == Q2_OK; i++) {
		struct q2_patch p = {.off = 40, .n = 8};

		if (r->findings.at[i].problem->number != Q2_P_ROOT_L1_OFFSET)
			continue;
		q2_put_be64(p.bytes, r->findings.at[i].expected);
		st = q2_trial_patch(&t, &p);
	}
	if (st != Q2_OK || !q2_trial_won(&t))
		return st;
	return apply(r, &t.best, Q2_P_ROOT_L1_OFFSET,
		     "the header names the L1 table again");
}

/* A size that no table could hold, in a header that leads to sound tables; or one for
 * which the table would have to go on over what is none.  The disk ended somewhere in
 * what the last entry of its L1 table reaches. */
static enum q2_status try_reach(struct q2_repair *r)
{
	const struct q2_header *h = &r->c->header;
	bool ext_l2 = h->incompatible & Q2_INCOMPAT_EXTL2;
	enum q2_problem_id why = q2_found_any(r, Q2_P_SIZE_TOO_BIG) ?
					 Q2_P_SIZE_TOO_BIG :
					 Q2_P_L1_TOO_SMALL;
	struct q2_patch p = {.off = 24, .n = 8}, longer;
	struct q2_trial t;
	struct q2_score grown;
	bool rival = why == Q2_P_L1_TOO_SMALL, accepted;
	enum q2_status st = Q2_OK;

	if (!q2_found_any(r, why) || h->l1_size == 0 || h->l1_size > Q2_L1_MAX ||
	    !q2_want(r, why))
		return Q2_OK;
	q2_put_be64(p.bytes, (uint64_t)h->l1_size
				     << (2 * h->cluster_bits - (ext_l2 ? 4 : 3)));
	q2_trial_start(&t, r);
	put32(&longer, 36, (uint32_t)r->c->img.geom.l1_needed);
	if (rival)
		st = q2_trial_patch(&t, &longer);
	grown = t.best_score;
	accepted = t.best.n != 0;
	if (st == Q2_OK)
		st = q2_trial_patch(&t, &p);
	if (st != Q2_OK || !q2_trial_won(&t) || t.best.off != p.off ||
	    t.best_score.roots ||
	    (rival && (t.best_score.corruptions >= grown.corruptions ||
		       t.best_score.leaks > (accepted ? grown.leaks : 0))))
		return st;
	return apply_as(r, &p, why, Q2_EFFECT_SUSPECT,
			"the virtual size becomes what the L1 table reaches");
}

bool q2_misread(const struct q2_repair *r)
{
	return q2_found_any(r, Q2_P_ROOT_CLUSTER_BITS) ||
	       q2_found_any(r, Q2_P_ROOT_L1_OFFSET) ||
	       (q2_found_any(r, Q2_P_ROOT_REFCOUNT_ORDER) && !q2_all(r)) ||
	       q2_found_any(r, Q2_P_ROOT_EXTENDED_L2) || reads_as_v3(r);
}

enum q2_status q2_fix_header(struct q2_repair *r)
{
	enum q2_status st = Q2_OK;

	if (q2_all(r)) {
		st = try_magic(r);
		if (st == Q2_OK)
			st = try_values(r, Q2_P_ROOT_CLUSTER_BITS, 20, 9, 21, 1,
					"cluster_bits becomes what fits the "
					"tables");
		if (st == Q2_OK)
			st = try_l1_place(r);
		if (st == Q2_OK)
			st = try_flips(r);
		if (st == Q2_OK)
			st = try_values(r, Q2_P_CLUSTER_BITS, 20, 9, 21, 1,
					"cluster_bits becomes what fits the "
					"tables");
		if (st == Q2_OK)
			st = try_values(r, Q2_P_HEADER_LENGTH_UNALIGNED, 100,
					104, 112, 8,
					"header_length becomes what fits the "
					"extensions");
		if (st == Q2_OK)
			st = try_reach(r);
	}
	if (st != Q2_OK || r->c->img.geom.cluster_size == 0 || q2_misread(r))
		return st;
	return q2_fix_fields(r);
}
