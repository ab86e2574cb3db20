/*
 * fix_shared.c - clusters that two owners use, though they are no snapshots of one
 * another.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    guest data used twice, guest data on metadata, L2 tables named from
 *           two slots: each owner but one gets a copy of its own.  Both are
 *           suspect: one of them shows what is the other's.
 * Needs:    entries that were given back what could be found (fix_l1.c, fix_l2.c).
 */
#include <string.h>

#include "base/endian.h"
#include "check/owners.h"
#include "image/inflate.h"
#include "repair/refcounts.h"

/* Bytes of copies: some, or twice what the file stores.  If more are needed none is
 * made: a part would leave the next repair something to do, and so on. */
#define COPIES_MIN (UINT64_C(16) << 20)
#define TRIES 8u /* copies of tables show what these share */

struct shared {
	struct q2_repair *r;
	struct q2_inflate *inflate;
	uint8_t *bytes; /* a cluster */
	uint64_t copied;
	bool counting;	 /* nothing is copied */
	uint64_t needed; /* bytes, if it were */
	bool progress;
	bool noted; /* that encrypted data stays where it is */
	const uint64_t *stays; /* guest offset of the owner that keeps it; or NULL */
};

/* Both owners are suspect: the one that keeps the cluster may be the wrong one. */
static struct q2_finding located(const struct shared *s,
				 const struct q2_owner *o)
{
	const struct q2_geom *g = &s->r->c->img.geom;

	return (struct q2_finding){
		.fields = Q2_F_HOST | Q2_F_GUEST | Q2_F_LENGTH | Q2_F_TREE |
			  Q2_F_L1 | (s->stays ? Q2_F_OTHER : 0),
		.other = s->stays ? *s->stays : 0,
		.host = o->start,
		.guest = o->guest,
		.length = o->l2 == Q2_OWNER_IS_TABLE ?
				  g->cluster_size << g->l2_bits :
				  g->cluster_size,
		.tree = o->tree,
		.l1 = o->l1,
	};
}

/* The IV of LUKS hangs on the host offset: a copy would read as noise.  A table could
 * move, but if two slots shared it, so would its data then. */
static bool is_fixed(struct shared *s, const struct q2_owner *o,
		     enum q2_problem_id why)
{
	uint32_t action;
	struct q2_finding f = located(s, o);

	if (s->r->c->img.geom.crypt != 2 || o->compressed ||
	    why == Q2_P_METADATA_OVERLAP)
		return false;
	if (!s->noted &&
	    q2_act(s->r, Q2_P_CROSS_LINK, Q2_EFFECT_SUSPECT, &f, &action,
		   "encrypted data that would have to move stays: its "
		   "encryption depends on its place") == Q2_OK)
		s->r->plan->actions.at[action].note = true;
	s->noted = true;
	return true;
}

/* What the owner's guest reads: the cluster as it is, or inflated. */
static enum q2_status read_owner(struct shared *s, const struct q2_owner *o,
				 bool *ok)
{
	struct q2_repair *r = s->r;
	const struct q2_geom *g = &r->c->img.geom;
	const uint8_t *bytes;
	size_t n;
	enum q2_status st;

	*ok = true;
	if (!o->compressed)
		return q2_pread_zero(r->io, s->bytes, (size_t)g->cluster_size,
				     o->start, r->err);
	if (s->inflate == NULL && g->inflatable) {
		st = q2_inflate_new(&r->c->img, &s->inflate, r->err);
		if (st != Q2_OK)
			return st;
	}
	if (s->inflate == NULL) {
		*ok = false;
		return Q2_OK;
	}
	st = q2_inflate(s->inflate,
			(struct q2_range){o->start, o->end - o->start}, &bytes,
			&n, ok, r->err);
	if (st == Q2_OK && *ok)
		memcpy(s->bytes, bytes, (size_t)g->cluster_size);
	return st;
}

/* Where the owner's entry stands; 0 if it is not found again. */
static uint64_t entry_place(const struct shared *s, const struct q2_owner *o)
{
	const struct q2_checker *c = s->r->c;
	const struct q2_geom *g = &c->img.geom;

	for (size_t i = 0; i < c->trees.n; i++) {
		uint64_t at = c->trees.at[i].l1_offset + UINT64_C(8) * o->l1;
		struct q2_l1_entry e;
		uint8_t bytes[8];

		if (c->trees.at[i].id != o->tree ||
		    o->l1 >= c->trees.at[i].l1_entries ||
		    q2_pread_zero(s->r->io, bytes, 8, at, NULL) != Q2_OK)
			continue;
		if (o->l2 == Q2_OWNER_IS_TABLE)
			return at;
		e = q2_l1_decode(g, q2_be64(bytes));
		return e.used ? q2_offset(g, e.table) +
					((uint64_t)o->l2 << g->entry_bits) : 0;
	}
	return 0;
}

/* Lets the owner name its copy. */
static enum q2_status redirect(struct shared *s, const struct q2_owner *o,
			       uint32_t action, uint64_t to)
{
	struct q2_repair *r = s->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t at = entry_place(s, o);
	uint8_t bytes[16];
	size_t n = o->l2 == Q2_OWNER_IS_TABLE ? 8 : (size_t)1 << g->entry_bits;
	enum q2_status st;

	if (at == 0)
		return Q2_OK;
	st = q2_pread_zero(r->io, bytes, n, at, r->err);
	if (st != Q2_OK)
		return st;
	if (o->compressed) {
		q2_put_be64(bytes, to);
		q2_put_be64(bytes + 8, UINT32_MAX);
	} else {
		q2_put_be64(bytes, (q2_be64(bytes) & ~Q2_ENTRY_OFFSET) | to);
	}
	s->progress = true;
	return q2_change(r, Q2_C_ENTRY, action, at, bytes, n);
}

static enum q2_status copy_out(struct shared *s, const struct q2_owner *o,
			       size_t n, enum q2_problem_id why,
			       const char *text)
{
	struct q2_repair *r = s->r;
	uint64_t cs = r->c->img.geom.cluster_size;
	struct q2_finding f = located(s, o);
	uint32_t action;
	uint64_t to;
	bool ok;
	enum q2_status st;

	if (!q2_want(r, why) || is_fixed(s, o, why))
		return Q2_OK;
	if (s->counting) {
		s->needed += cs;
		return Q2_OK;
	}
	st = read_owner(s, o, &ok);
	if (st != Q2_OK || !ok)
		return st;
	s->copied += cs;
	st = q2_act(r, why, Q2_EFFECT_SUSPECT, &f, &action, "%s", text);
	if (st == Q2_OK)
		st = q2_fresh(r, action, 1, &to);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_FRESH, action, to, s->bytes, (size_t)cs);
	/* Trees that share this guest cluster share its copy. */
	for (size_t i = 0; i < n && st == Q2_OK; i++)
		if (o[i].guest == o->guest && o[i].start == o->start &&
		    (o[i].l2 == Q2_OWNER_IS_TABLE) ==
			    (o->l2 == Q2_OWNER_IS_TABLE))
			st = redirect(s, &o[i], action, to);
	return st;
}

static bool on_metas(const struct q2_checker *c, uint64_t clu)
{
	for (size_t i = 0; i < c->metas.n && c->metas.at[i].first <= clu; i++)
		if (clu - c->metas.at[i].first < c->metas.at[i].n)
			return true;
	return false;
}

/* Whether an earlier owner of the group stands for the same guest cluster. */
static bool seen_before(const struct q2_owner *o, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (o[k].guest == o[i].guest && o[k].start == o[i].start &&
		    (o[k].l2 == Q2_OWNER_IS_TABLE) ==
			    (o[i].l2 == Q2_OWNER_IS_TABLE))
			return true;
	return false;
}

/* All owners of one cluster.  The first one that may stay does. */
static enum q2_status one_cluster(struct shared *s, const struct q2_owner *o,
				  size_t n)
{
	const struct q2_checker *c = s->r->c;
	bool meta = on_metas(c, o->clu);
	bool taken = meta, streams = false, table = false;
	uint64_t reach = 0; /* streams may share the last sector only */
	uint64_t start = UINT64_MAX;
	size_t stays = SIZE_MAX;
	enum q2_status st = Q2_OK;

	/* Their owner keeps it: nothing of it may be written over. */
	if (meta && q2_counts_astray(s->r, o->clu))
		return Q2_OK;
	for (size_t i = 0; i < n; i++) {
		streams |= o[i].compressed;
		table |= o[i].l2 == Q2_OWNER_IS_TABLE;
	}
	for (size_t i = 0; i < n && st == Q2_OK; i++) {
		bool is_table = o[i].l2 == Q2_OWNER_IS_TABLE;

		if (seen_before(o, i))
			continue;
		s->stays = stays != SIZE_MAX ? &o[stays].guest : NULL;
		if (is_table && meta) {
			st = copy_out(s, &o[i], n - i, Q2_P_METADATA_OVERLAP,
				      "an L2 table on other metadata gets a "
				      "copy of its own");
		} else if (is_table) {
			continue;
		} else if (meta || table) {
			st = copy_out(s, &o[i], n - i, Q2_P_DATA_ON_METADATA,
				      "guest data on metadata gets a copy of "
				      "its own: what was there before is not "
				      "known");
		} else if (o[i].compressed) {
			if (o[i].start < reach || o[i].start == start)
				st = copy_out(s, &o[i], n - i,
					      Q2_P_COMPRESSED_OVERLAP,
					      "compressed data that another "
					      "one's overlaps becomes a cluster "
					      "of its own");
			else
				reach = q2_max(reach, o[i].end - 512);
			start = o[i].start;
			stays = stays == SIZE_MAX ? i : stays;
		} else if (taken || streams) {
			st = copy_out(s, &o[i], n - i, Q2_P_CROSS_LINK,
				      "the cluster that two guest ranges share "
				      "is copied for this one");
		} else {
			taken = true;
			stays = i;
		}
	}
	s->stays = NULL;
	return st;
}

static enum q2_status all_clusters(struct shared *s)
{
	struct q2_repair *r = s->r;
	struct q2_owner_vec owners = {0};
	const struct q2_suspects *sus = &r->c->suspects;
	size_t at = 0;
	enum q2_status st = q2_owners_collect(r->c, &owners);

	for (size_t i = 0; i < sus->n && st == Q2_OK; i++) {
		size_t n = 0;

		while (at < owners.n && owners.at[at].clu < sus->at[i].clu)
			at++;
		while (at + n < owners.n &&
		       owners.at[at + n].clu == sus->at[i].clu)
			n++;
		if (n && (sus->at[i].why &
			  (Q2_S_SHARED | Q2_S_META | Q2_S_STREAM)))
			st = one_cluster(s, owners.at + at, n);
		at += n;
	}
	q2_owner_vec_free(&owners, &r->c->budget);
	return st;
}

/* Whether the entry is one of another slot, too, where two L1 tables overlap: both would
 * name the copy. */
static bool is_two_slots(const struct shared *s, const struct q2_owner *o)
{
	const struct q2_trees *trees = &s->r->c->trees;
	uint64_t at = entry_place(s, o);

	for (size_t i = 0; i < trees->n; i++) {
		uint64_t off = at - trees->at[i].l1_offset;

		if (off / 8 < trees->at[i].l1_entries && off / 8 != o->l1)
			return true;
	}
	return false;
}

/* The second slot with the same table. */
static enum q2_status split_alias(struct shared *s, const struct q2_finding *f)
{
	struct q2_owner o = {
		.guest = f->guest,
		.start = f->host,
		.end = f->host + s->r->c->img.geom.cluster_size,
		.tree = f->tree,
		.l1 = f->l1,
		.l2 = Q2_OWNER_IS_TABLE,
	};
	enum q2_status st;

	if (is_two_slots(s, &o))
		return Q2_OK;
	s->stays = &f->other;
	st = copy_out(s, &o, 1, Q2_P_L1_ALIAS,
		      "the L2 table that two slots share is copied for this "
		      "one");
	s->stays = NULL;
	return st;
}

static bool needed(const struct q2_repair *r)
{
	static const enum q2_problem_id of_shared[] = {
		Q2_P_CROSS_LINK, Q2_P_DATA_ON_METADATA, Q2_P_METADATA_OVERLAP,
		Q2_P_COMPRESSED_ON_DATA, Q2_P_COMPRESSED_DUPLICATE,
		Q2_P_COMPRESSED_OVERLAP, Q2_P_L1_ALIAS,
	};

	for (size_t i = 0; i < sizeof(of_shared) / sizeof(of_shared[0]); i++)
		if (q2_found_any(r, of_shared[i]))
			return true;
	return false;
}

/* Whether there are too many for copies; that is said once. */
static enum q2_status too_many(struct shared *s, bool aliases, bool *many)
{
	struct q2_repair *r = s->r;
	uint64_t cs = r->c->img.geom.cluster_size;
	uint64_t most = q2_max(COPIES_MIN, 2 * r->base->stored);
	uint32_t action;
	enum q2_status st = Q2_OK;

	s->counting = true;
	s->needed = 0;
	if (aliases)
		s->needed = r->counts[Q2_P_L1_ALIAS] * cs;
	else
		st = all_clusters(s);
	s->counting = false;
	*many = q2_add_sat(s->copied, s->needed) > most;
	if (st != Q2_OK || !*many || r->told.crowded)
		return st;
	r->told.crowded = true;
	st = q2_act(r, aliases ? Q2_P_L1_ALIAS : Q2_P_CROSS_LINK,
		    Q2_EFFECT_SUSPECT, NULL, &action,
		    "copies for all who share clusters would take %llu bytes, "
		    "far more than the file holds: none is made",
		    (unsigned long long)s->needed);
	if (st == Q2_OK)
		r->plan->actions.at[action].note = true;
	return st;
}

static enum q2_status one_try(struct shared *s)
{
	struct q2_repair *r = s->r;
	bool many = false;
	enum q2_status st = Q2_OK;

	if (q2_found_any(r, Q2_P_L1_ALIAS))
		st = too_many(s, true, &many);
	for (size_t i = 0; i < r->findings.n && st == Q2_OK && !many; i++)
		if (r->findings.at[i].problem->number == Q2_P_L1_ALIAS)
			st = split_alias(s, &r->findings.at[i]);
	if (st != Q2_OK || s->progress)
		return st;
	st = too_many(s, false, &many);
	return st == Q2_OK && !many ? all_clusters(s) : st;
}

enum q2_status q2_fix_shared(struct q2_repair *r)
{
	struct shared s = {.r = r, .progress = true};
	uint64_t cs = r->c->img.geom.cluster_size;
	enum q2_status st;

	if (!needed(r))
		return Q2_OK;
	st = q2_get_bytes(&r->budget, cs, &s.bytes, r->err);
	if (st != Q2_OK)
		return st;
	r->parting = true;
	for (unsigned tries = 0; tries < TRIES && st == Q2_OK && s.progress;
	     tries++) {
		s.progress = false;
		st = one_try(&s);
		q2_inflate_free(s.inflate);
		s.inflate = NULL;
		if (st == Q2_OK)
			st = q2_recheck(r);
	}
	r->parting = false;
	q2_put(&r->budget, s.bytes, cs);
	return st;
}
