/*
 * lostfound.c - a home for orphans: an internal snapshot that names them.
 *
 * SPDX-License-Identifier: MIT
 *
 * Its L1 table names the orphaned L2 tables, and L2 tables made here, which name
 * the loose clusters in host order.
 */
#include <stdio.h>

#include "base/endian.h"
#include "repair/kin.h"
#include "repair/orphans.h"
#include "repair/snapedit.h"

#define KIN_LOOKS 64u /* tables whose slot is looked for among all others */
#define SEVERAL UINT64_C(16) /* snapshots, at the most, for what is found at once */

struct home {
	struct q2_repair *r;
	const struct q2_orphans *o;
	uint64_t *l1; /* entries */
	uint64_t entries;
	uint32_t action;
	uint64_t next; /* slots before are taken */
	struct q2_ledger ledger;
	uint8_t *table; /* room for a cluster */
	char name[32];
};

static uint64_t count_loose(const struct q2_orphans *o)
{
	uint64_t loose = 0;

	for (size_t i = 0; i < o->data.n; i++)
		loose += o->data.at[i].n;
	return loose;
}

/* Slots that the orphans take: those of the disk, and more if need be. */
static uint64_t slots_needed(const struct home *h)
{
	const struct q2_geom *g = &h->r->c->img.geom;

	return q2_max(g->l1_needed,
		      h->o->tables.n + q2_div_up(count_loose(h->o),
						 UINT64_C(1) << g->l2_bits));
}

static uint64_t *free_slot(struct home *h)
{
	while (h->l1[h->next])
		h->next++;
	return &h->l1[h->next++];
}

/* Whether a table that stands in this slot of another tree has the same entry, and the
 * cluster is counted for both. */
static bool is_shared(const struct home *h, const struct q2_kin *kin,
		      uint32_t i, const uint8_t *entry, uint64_t clu,
		      uint64_t named)
{
	const struct q2_geom *g = &h->r->c->img.geom;
	const struct q2_l2ref_vec *t = &h->r->c->refs.tables;

	if (!kin->any || !h->ledger.any ||
	    q2_surplus(&h->ledger, clu) <= (int64_t)named)
		return false;
	for (size_t k = kin->first;
	     k < t->n && t->at[k].slot == kin->slot; k++) {
		uint8_t b[8];

		if (q2_pread_zero(h->r->io, b, 8,
				  (t->at[k].clu << g->cluster_bits) +
					  ((uint64_t)i << g->entry_bits),
				  NULL) == Q2_OK &&
		    q2_place_named(g, b) == q2_place_named(g, entry))
			return true;
	}
	return false;
}

/* Entries of an orphaned table whose clusters have another owner go: they would
 * be used twice. */
static enum q2_status clean_table(struct home *h, uint64_t clu,
				  const struct q2_kin *kin,
				  struct q2_refmap *named)
{
	struct q2_repair *r = h->r;
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = Q2_OK;

	for (uint32_t i = 0; i < 1u << g->l2_bits && st == Q2_OK; i++) {
		uint64_t at = (clu << g->cluster_bits) +
			      ((uint64_t)i << g->entry_bits);
		uint8_t bytes[16] = {0}, zeros[16] = {0};
		struct q2_l2_entry e;
		bool taken = false;
		uint64_t last;

		st = q2_pread_zero(r->io, bytes, (size_t)1 << g->entry_bits, at,
				   r->err);
		e = q2_l2_decode(g, q2_be64(bytes), q2_be64(bytes + 8), 0);
		if (st != Q2_OK || !e.refers)
			continue;
		last = (q2_end(e.host) - 1) >> g->cluster_bits;
		for (uint64_t k = e.host.start >> g->cluster_bits;
		     k <= last && st == Q2_OK; k++) {
			struct q2_ref before;

			st = q2_refmap_add(named, k, 1, Q2_MARK_NONE, &before,
					   r->err);
			taken |= (q2_refmap_get(&r->c->map, k).count != 0 &&
				  !is_shared(h, kin, i, bytes, k,
					     before.count)) ||
				 (before.count &&
				  e.type != Q2_L2_COMPRESSED);
		}
		if (st == Q2_OK && taken)
			st = q2_change(r, Q2_C_ENTRY, h->action, at, zeros,
				       (size_t)1 << g->entry_bits);
	}
	return st;
}

/* A table goes where those stand that are like it, if that is known and free. */
static enum q2_status place_tables(struct home *h)
{
	struct q2_repair *r = h->r;
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_refmap *named;
	void *block;
	enum q2_status st = q2_get(&r->budget, sizeof(*named), &block, r->err);

	if (st != Q2_OK)
		return st;
	named = block;
	q2_refmap_init(named, &r->budget);
	for (size_t i = 0; i < 2 * h->o->tables.n && st == Q2_OK; i++) {
		bool first = i < h->o->tables.n;
		const struct q2_orphan *o =
			&h->o->tables.at[first ? i : i - h->o->tables.n];
		uint64_t off = o->clu << g->cluster_bits;
		struct q2_kin kin = {0};

		if (h->o->tables.n <= KIN_LOOKS)
			kin = q2_find_kin(r, h->table, o->clu);
		if (kin.slot >= q2_min(h->entries, g->l1_needed) ||
		    (h->l1[kin.slot] && h->l1[kin.slot] != off))
			kin.any = false;
		if (kin.any != first)
			continue;
		*(kin.any ? &h->l1[kin.slot] : free_slot(h)) = off;
		st = clean_table(h, o->clu, &kin, named);
	}
	q2_refmap_free(named);
	q2_put(&r->budget, named, sizeof(*named));
	return st;
}

static enum q2_status place_loose(struct home *h)
{
	struct q2_repair *r = h->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t per = UINT64_C(1) << g->l2_bits, at = 0, table = 0;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < h->o->data.n && st == Q2_OK; i++)
		for (uint64_t k = 0; k < h->o->data.at[i].n && st == Q2_OK;
		     k++, at++) {
			uint8_t bytes[16];

			if (at % per == 0) {
				st = q2_fresh(r, h->action, 1, &table);
				*free_slot(h) = table;
			}
			q2_put_be64(bytes, (h->o->data.at[i].first + k)
						<< g->cluster_bits);
			q2_put_be64(bytes + 8, UINT32_MAX);
			if (st == Q2_OK)
				st = q2_change(r, Q2_C_FRESH, h->action,
					       table + (at % per
							<< g->entry_bits),
					       bytes,
					       (size_t)1 << g->entry_bits);
		}
	return st;
}

static enum q2_status write_l1(struct home *h, uint64_t *off)
{
	struct q2_repair *r = h->r;
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = q2_fresh(r, h->action,
				     q2_div_up(8 * h->entries, g->cluster_size),
				     off);

	for (uint64_t i = 0; i < h->entries && st == Q2_OK; i++)
		if (h->l1[i])
			st = q2_change_u64(r, Q2_C_FRESH, h->action,
					   *off + 8 * i, h->l1[i]);
	return st;
}

/* A name that no snapshot has. */
static enum q2_status pick_name(struct home *h)
{
	struct q2_snapedit t;
	unsigned n = 0;
	enum q2_status st = q2_snapedit_load(h->r, &t);

	do
		snprintf(h->name, sizeof(h->name), "lost+found-%u", ++n);
	while (q2_snapedit_has(&t, h->name));
	q2_snapedit_free(&t);
	return st;
}

static enum q2_status add_record(struct home *h, uint64_t l1)
{
	struct q2_repair *r = h->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t reach = h->entries << (g->l2_bits + g->cluster_bits);
	struct q2_snapshot s = {
		.l1_offset = l1,
		.l1_size = (uint32_t)h->entries,
		.disk_size = h->entries > g->l1_needed ? reach : g->disk_size,
	};
	struct q2_snapedit t;
	enum q2_status st = q2_snapedit_load(r, &t);

	if (st == Q2_OK)
		st = q2_snapedit_add(&t, &s, h->name);
	if (st == Q2_OK)
		st = q2_snapedit_store(&t, h->action);
	q2_snapedit_free(&t);
	return st;
}

/* Clusters that it takes: its tables, and a longer snapshot table. */
static uint64_t room_needed(const struct home *h)
{
	const struct q2_geom *g = &h->r->c->img.geom;
	uint64_t records = h->r->c->snap_places.n + 1;

	/* A record is longer than 512 bytes only by a long name. */
	return q2_div_up(8 * h->entries, g->cluster_size) + h->entries +
	       q2_div_up(512 * records, g->cluster_size) + 1;
}

/* Why the image can have no such snapshot; NULL if it can. */
static const char *hindrance(const struct home *h)
{
	const struct q2_repair *r = h->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t end = q2_max(r->fresh.next, r->result.image_end_offset);

	if (g->data_file)
		return "an image with an external data file has none";
	if (h->entries > Q2_L1_MAX)
		return "there are more of them than an L1 table can hold";
	if (r->c->header.nb_snapshots >= Q2_SNAPSHOTS_MAX)
		return "the image has as many as it may";
	if (r->io->is_device &&
	    q2_add_sat(end, (room_needed(h) + 1) << g->cluster_bits) >
		    r->io->size)
		return "the device has no room for one";
	return NULL;
}

static enum q2_status tell(struct home *h)
{
	const struct q2_orphans *o = h->o;
	struct q2_finding f = {.fields = Q2_F_COUNT, .count = o->tables.n};
	char tables[48] = "";

	for (size_t i = 0; i < o->data.n; i++)
		f.count += o->data.at[i].n;
	if (o->tables.n)
		snprintf(tables, sizeof(tables), ", among them %zu L2 table%s",
			 o->tables.n, o->tables.n == 1 ? "" : "s");
	/* AES: the IV hangs on the guest's offset. */
	if (h->r->c->img.geom.crypt == 1 && o->data.n) {
		enum q2_status st = q2_act(h->r, Q2_P_LEAK, Q2_EFFECT_SUSPECT,
					   NULL, &h->action, "orphaned data is "
					   "encrypted by its place on the disk, "
					   "which is lost: in the snapshot it "
					   "reads as noise");

		if (st != Q2_OK)
			return st;
		h->r->plan->actions.at[h->action].note = true;
	}
	return q2_act(h->r, o->tables.n ? Q2_P_ORPHAN_L2 : Q2_P_LEAK,
		      Q2_EFFECT_KEPT, &f, &h->action,
		      "%llu orphaned cluster%s%s: internal snapshot %s; "
		      "qemu-img convert -l snapshot.name=%s reads it, qemu-img "
		      "snapshot -d %s frees it",
		      (unsigned long long)f.count, f.count == 1 ? "" : "s",
		      tables, h->name, h->name, h->name);
}

static enum q2_status one_home(struct q2_repair *r, const struct q2_orphans *o,
			       const char **why)
{
	struct home h = {.r = r, .o = o};
	uint64_t l1;
	void *block;
	enum q2_status st;

	h.entries = slots_needed(&h);
	*why = hindrance(&h);
	if (*why)
		return Q2_OK;
	st = q2_get(&r->budget, 8 * h.entries, &block, r->err);
	if (st != Q2_OK)
		return st;
	h.l1 = block;
	st = q2_get(&r->budget, r->c->img.geom.cluster_size, &block, r->err);
	h.table = block;
	q2_ledger_init(&h.ledger, r);
	if (st == Q2_OK)
		st = pick_name(&h);
	if (st == Q2_OK)
		st = tell(&h);
	if (st == Q2_OK)
		st = place_tables(&h);
	if (st == Q2_OK)
		st = place_loose(&h);
	if (st == Q2_OK)
		st = write_l1(&h, &l1);
	if (st == Q2_OK)
		st = add_record(&h, l1);
	q2_ledger_free(&h.ledger);
	q2_put(&r->budget, h.table, r->c->img.geom.cluster_size);
	q2_put(&r->budget, h.l1, 8 * h.entries);
	return st;
}

/* The next loose clusters, `room` at the most, from *done on in the run that *which
 * says. */
static enum q2_status take_loose(struct q2_repair *r, const struct q2_runs *all,
				 size_t *which, uint64_t *done, uint64_t room,
				 struct q2_runs *part)
{
	enum q2_status st = Q2_OK;

	while (*which < all->n && room && st == Q2_OK) {
		struct q2_run run = all->at[*which];
		uint64_t n = q2_min(run.n - *done, room);

		st = q2_runs_push(part, &r->budget,
				  (struct q2_run){run.first + *done, n}, r->err);
		room -= n;
		*done += n;
		if (*done == run.n) {
			++*which;
			*done = 0;
		}
	}
	return st;
}

/* What lies behind the end of the active disk cannot be read in a snapshot either,
 * until that is applied: several are made rather than a long one, if not many. */
enum q2_status q2_lost_and_found(struct q2_repair *r,
				 const struct q2_orphans *o, const char **why)
{
	/* Of its own: a recheck frees the checker. */
	const struct q2_geom g = r->c->img.geom;
	uint64_t clusters = g.disk_clusters, done = 0;
	struct home whole = {.r = r, .o = o};
	size_t tables = 0, which = 0;
	enum q2_status st = Q2_OK;

	if (g.l1_needed == 0 ||
	    slots_needed(&whole) > g.l1_needed * SEVERAL ||
	    (slots_needed(&whole) == g.l1_needed &&
	     (o->tables.n << g.l2_bits) + count_loose(o) <= clusters))
		return one_home(r, o, why);
	*why = NULL;
	while ((tables < o->tables.n || which < o->data.n) && st == Q2_OK &&
	       *why == NULL) {
		struct q2_orphans part = {.tables = o->tables};
		uint64_t n = q2_min(o->tables.n - tables, g.l1_needed);
		uint64_t used = n << g.l2_bits;

		part.tables.at = o->tables.at ? o->tables.at + tables : NULL;
		part.tables.n = (size_t)n;
		tables += (size_t)n;
		if (used < clusters)
			st = take_loose(r, &o->data, &which, &done,
					clusters - used, &part.data);
		if (st == Q2_OK)
			st = one_home(r, &part, why);
		q2_runs_free(&part.data, &r->budget);
		if (st == Q2_OK)
			st = q2_recheck(r);
	}
	return st;
}
