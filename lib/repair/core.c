/*
 * core.c - what the steps of a repair share: wishes, actions, writing, checking.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/zeros.h"
#include "format/bitmap.h"
#include "format/entry.h"
#include "format/snapshot.h"
#include "repair/repair.h"

/* Findings of structures that are there once or a few times are kept; those of
 * entries are found again by walking. */
#define FINDINGS_MAX 65536u

/* A pointer names a cluster, of which the size is known later; and nothing is
 * put so far behind the file. */
#define NAMED_LEN (UINT64_C(2) << 20)
#define NAMED_STREAM (2 * NAMED_LEN) /* compressed data: up to two clusters */
#define NAMED_FAR (UINT64_C(1) << 30)

static bool is_kept(const struct q2_finding *f)
{
	unsigned number = f->problem->number;
	unsigned hundred = number / 100;

	if (number == Q2_P_METADATA_OVERLAP ||
	    (hundred == 8 && (f->fields & Q2_F_KIND) && f->kind != Q2_K_DATA &&
	     f->kind != Q2_K_COMPRESSED && f->kind != Q2_K_L2))
		return true;
	return hundred == 1 || hundred == 2 || hundred == 3 ||
	       hundred == 5 || hundred == 6;
}

/* Offsets past the end of the file that something names: if it is not mended, or
 * not yet, what is put there would be taken for its own. */
static void note_named(struct q2_repair *r, const struct q2_finding *f)
{
	static const enum q2_problem_id by_found[] = {
		Q2_P_L1_ENTRY_OUTSIDE, Q2_P_L2_ENTRY_OUTSIDE,
		Q2_P_REFBLOCK_OUTSIDE, Q2_P_BITMAP_ENTRY_OUTSIDE,
		Q2_P_L1_UNALIGNED,     Q2_P_L2_UNALIGNED,
	};
	uint64_t size = r->base->size, off = UINT64_MAX, len = NAMED_LEN;

	for (size_t i = 0; i < sizeof(by_found) / sizeof(by_found[0]); i++)
		if (f->problem->number == by_found[i])
			off = f->found & Q2_ENTRY_OFFSET;
	if (f->problem->number == Q2_P_COMPRESSED_OUTSIDE) {
		off = f->found & ~UINT64_C(511);
		len = NAMED_STREAM;
	}
	if ((f->fields & Q2_F_HOST) && (f->fields & Q2_F_LENGTH) &&
	    f->problem->number < Q2_P_LEAK) {
		off = f->host;
		/* The length is that of the guest's range, if there is one. */
		len = f->fields & Q2_F_GUEST ? NAMED_LEN : f->length;
	}
	if (off == UINT64_MAX || q2_add_sat(off, len) <= size ||
	    off >= q2_add_sat(size, NAMED_FAR) || r->named.n >= FINDINGS_MAX)
		return;
	/* Fresh clusters are never put where any of these lead. */
	if (f->problem->number == Q2_P_L1_ENTRY_OUTSIDE ||
	    f->problem->number == Q2_P_L2_ENTRY_OUTSIDE)
		(void)!q2_runs_push(&r->dangling, &r->budget,
				    (struct q2_run){off, len}, NULL);
	len = q2_min(len, NAMED_STREAM);
	(void)!q2_runs_push(&r->named, &r->budget, (struct q2_run){off, len},
			    NULL);
}

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct q2_repair *r = ctx;
	unsigned number = f->problem->number;

	if (r->counts[number]++ == 0)
		r->judged.kinds.at[r->judged.kinds.n++] = (uint16_t)number;
	note_named(r, f);
	if (!r->first.over && r->opts->found)
		r->opts->found(r->opts->ctx, f);
	/* One that cannot be kept is found again in the next round. */
	if (is_kept(f) && r->findings.n < FINDINGS_MAX)
		(void)!q2_findings_push(&r->findings, &r->budget, *f, NULL);
}

bool q2_concerns(const struct q2_finding *f, enum q2_kind kind)
{
	const char *name = q2_kind_text(kind);

	return f->kind == kind ||
	       ((f->fields & Q2_F_TEXT) && f->text_len == strlen(name) &&
		memcmp(f->text, name, f->text_len) == 0);
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct q2_repair *r = ctx;

	return r->opts->progress && r->opts->progress(r->opts->ctx, p);
}

enum q2_status q2_recheck(struct q2_repair *r)
{
	enum q2_status st;

	if (r->c && !r->changed)
		return Q2_OK;
	q2_checker_free(r->c);
	while (r->judged.kinds.n)
		r->counts[r->judged.kinds.at[--r->judged.kinds.n]] = 0;
	r->judged.blocks_fit = false;
	r->findings.n = 0;
	r->check_opts.found = on_found;
	r->check_opts.progress = on_progress;
	r->check_opts.ctx = r;
	r->check_opts.max_memory = r->opts->max_memory;
	st = q2_checker_run(r->io, &r->check_opts, &r->result, &r->c, r->err);
	r->changed = false;
	r->first.over = true;
	r->judged.cluster = 0;
	r->aliased |= q2_found_any(r, Q2_P_L1_ALIAS);
	return st;
}

/* A repair of these leaves what the guest reads, whatever the catalogue says of
 * their finding: only refcounts are concerned. */
bool q2_is_refcounts(unsigned number)
{
	return (number >= Q2_P_REFTABLE_UNALIGNED &&
		number <= Q2_P_REFTABLE_LIMIT) ||
	       number == Q2_P_REFCOUNT_ORDER ||
	       (number >= Q2_P_REFTABLE_RESERVED &&
		number <= Q2_P_REFCOUNT_OVERFLOW);
}

/* What nobody found at first, and what follows from a repair that was wanted: without
 * it that would be worth nothing. */
static bool is_consequence(const struct q2_repair *r, unsigned number)
{
	return r->order != 0 && !r->first.had[number] &&
	       (number == Q2_P_REFBLOCK_MISSING ||
		number == Q2_P_REFCOUNT_ZERO || number == Q2_P_REFCOUNT_LOW ||
		number == Q2_P_REFCOUNT_HIGH || number == Q2_P_L1_COPIED ||
		number == Q2_P_L2_COPIED || number == Q2_P_L2_COPIED_UNUSED);
}

bool q2_want(struct q2_repair *r, enum q2_problem_id id)
{
	const struct q2_problem *p = q2_problem(id);
	uint8_t *wish = &r->wishes[p->number];

	if (*wish != Q2_WISH_UNKNOWN)
		return *wish == Q2_WISH_YES;
	if (r->opts->wanted && q2_all(r) && is_consequence(r, p->number))
		return true;
	*wish = Q2_WISH_NO;
	if (!q2_all(r) && p->fix != Q2_FIX_SAFE && !q2_is_refcounts(p->number))
		return false;
	if (r->opts->wanted == NULL ||
	    r->opts->wanted(r->opts->ctx, p, q2_max(r->counts[id], 1)))
		*wish = Q2_WISH_YES;
	return *wish == Q2_WISH_YES;
}

static enum q2_status add_action(struct q2_repair *r, struct q2_action a,
				 const char *text, size_t len, uint32_t *action)
{
	a.text = (const char *)q2_plan_keep(r->plan, text, len + 1, r->err);
	if (a.text == NULL)
		return Q2_E_NOMEM;
	r->first.acted[a.problem] = true;
	*action = (uint32_t)r->plan->actions.n;
	return q2_actions_push(&r->plan->actions, &r->plan->budget, a, r->err);
}

enum q2_status q2_act(struct q2_repair *r, enum q2_problem_id problem,
		      enum q2_effect effect, const struct q2_finding *f,
		      uint32_t *action, const char *format, ...)
{
	struct q2_action a = {.problem = (unsigned)problem, .effect = effect};
	char text[240];
	va_list args;

	if (f)
		a.f = *f;
	a.f.problem = q2_problem(problem);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return add_action(r, a, text, strlen(text), action);
}

enum q2_status q2_act_bulk(struct q2_repair *r, enum q2_problem_id problem,
			   uint64_t count, const char *text, uint32_t *action)
{
	struct q2_action a = {
		.problem = (unsigned)problem,
		.f = {.problem = q2_problem(problem), .fields = Q2_F_COUNT},
	};

	if (r->bulk[problem] == 0) {
		enum q2_status st = add_action(r, a, text, strlen(text),
					       action);

		if (st != Q2_OK)
			return st;
		r->bulk[problem] = *action + 1;
	}
	*action = r->bulk[problem] - 1;
	r->plan->actions.at[*action].f.count += count;
	return Q2_OK;
}

static enum q2_status touch(struct q2_repair *r, enum q2_class class,
			    uint32_t action, uint64_t start, uint64_t end)
{
	struct q2_touch *last = r->touches.n ?
					&r->touches.at[r->touches.n - 1] : NULL;
	struct q2_touch t = {start, end, action, r->order++, class};

	if (last && last->class == class && last->action == action &&
	    start >= last->start && start <= last->end) {
		last->end = q2_max(last->end, end);
		return Q2_OK;
	}
	return q2_touches_push(&r->touches, &r->budget, t, r->err);
}

bool q2_holds_zeros(struct q2_io *io, uint64_t off, uint64_t len)
{
	uint8_t bytes[512];

	for (uint64_t at = 0; at < len; at += sizeof(bytes)) {
		size_t n = (size_t)q2_min(sizeof(bytes), len - at);

		if (q2_pread_zero(io, bytes, n, off + at, NULL) != Q2_OK ||
		    !q2_all_zero(bytes, n))
			return false;
	}
	return true;
}

/* Whether nothing would change: a round that changes nothing is the last. */
static bool holds(const struct q2_repair *r, uint64_t off, const void *bytes,
		  size_t n)
{
	const uint8_t *want = bytes;
	uint8_t have[512];

	for (size_t at = 0; at < n; at += sizeof(have)) {
		size_t part = (size_t)q2_min(sizeof(have), n - at);

		if (q2_pread_zero(r->io, have, part, off + at, NULL) != Q2_OK ||
		    memcmp(have, want + at, part))
			return false;
	}
	return q2_inside(off, n, r->io->size);
}

enum q2_status q2_change(struct q2_repair *r, enum q2_class class,
			 uint32_t action, uint64_t off, const void *bytes,
			 size_t n)
{
	enum q2_status st;

	if (q2_off_limits(r, class, off, n) || holds(r, off, bytes, n))
		return Q2_OK;
	st = touch(r, class, action, off, off + n);
	r->changed = true;
	return st == Q2_OK ? q2_pwrite(r->io, bytes, n, off, r->err) : st;
}

enum q2_status q2_change_u64(struct q2_repair *r, enum q2_class class,
			     uint32_t action, uint64_t off, uint64_t value)
{
	uint8_t bytes[8];

	q2_put_be64(bytes, value);
	return q2_change(r, class, action, off, bytes, sizeof(bytes));
}

enum q2_status q2_change_u32(struct q2_repair *r, enum q2_class class,
			     uint32_t action, uint64_t off, uint32_t value)
{
	uint8_t bytes[4];

	q2_put_be32(bytes, value);
	return q2_change(r, class, action, off, bytes, sizeof(bytes));
}

/* Where fresh clusters start: behind the file.  On a device that is behind
 * everything that is used or counted. */
static uint64_t first_fresh(const struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;

	return r->io->is_device ? r->result.image_end_offset :
				  g->file_clusters << g->cluster_bits;
}

/* What is named behind the end: no finding tells of the directory of stale bitmaps, nor
 * of an L1 table whose length cannot be.  A cluster is one of the image's own size. */
static struct q2_range taken(const struct q2_repair *r, size_t i)
{
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_run named;

	if (i == 0)
		return (struct q2_range){
			r->c->ext.bitmap_dir_offset,
			q2_min(r->c->ext.bitmap_dir_size, Q2_BITMAPDIR_MAX)};
	if (i == 1)
		return (struct q2_range){
			r->c->header.l1_offset,
			8 * q2_min(r->c->header.l1_size, g->l1_needed)};
	if (i == 2 && r->c->header.snapshots_offset < r->base->size)
		return (struct q2_range){0};
	if (i == 2)
		return (struct q2_range){
			r->c->header.snapshots_offset,
			Q2_SNAPSHOT_HEAD * q2_min(r->c->header.nb_snapshots,
						  Q2_SNAPSHOTS_MAX)};
	named = r->named.at[i - 3];
	return (struct q2_range){
		named.first, named.n == NAMED_LEN    ? g->cluster_size :
			     named.n == NAMED_STREAM ? 2 * g->cluster_size :
						       named.n};
}

static void skip_taken(struct q2_repair *r, uint64_t bytes)
{
	uint64_t cs = r->c->img.geom.cluster_size;

	for (size_t i = 0; i < r->named.n + 3;) {
		struct q2_range there = taken(r, i++);

		if (q2_overlap((struct q2_range){r->fresh.next, bytes}, there)) {
			r->fresh.next = (q2_end(there) + cs - 1) & ~(cs - 1);
			i = 0;
		}
	}
}

enum q2_status q2_fresh(struct q2_repair *r, uint32_t action, uint64_t n,
			uint64_t *off)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t mask = g->cluster_size - 1;
	uint64_t bytes = n << g->cluster_bits;
	unsigned problem = r->plan->actions.at[action].problem;
	enum q2_status st;

	r->fresh.next = (q2_max(r->fresh.next, first_fresh(r)) + mask) & ~mask;
	skip_taken(r, bytes);
	*off = r->fresh.next;
	r->room.lacking = 0;
	if (r->io->is_device && !q2_inside(*off, bytes, r->io->size))
		r->room.lacking = problem;
	if (r->room.lacking || !q2_inside(*off, bytes, INT64_MAX))
		return q2_fail(r->err, Q2_E_RANGE, 0, *off,
			       "there is no room behind the image for %llu new "
			       "clusters", (unsigned long long)n);
	r->room.took[problem] = true;
	st = touch(r, Q2_C_FRESH, action, *off, *off + bytes);
	if (st == Q2_OK && r->io->is_device) {
		uint8_t zeros[512] = {0};

		for (uint64_t at = 0; at < bytes && st == Q2_OK; at += 512)
			st = q2_pwrite(r->io, zeros, 512, *off + at, r->err);
	} else if (st == Q2_OK) {
		st = q2_resize(r->io, *off + bytes, r->err);
	}
	if (r->fresh.first == 0)
		r->fresh.first = *off;
	r->fresh.next += bytes;
	r->changed = true;
	return st;
}

bool q2_was_outside(const struct q2_repair *r, uint64_t off)
{
	/* What -p leaves it leaves; whoever comes next sees a hole anyway. */
	if (!q2_all(r) || off < r->base->size || r->io->size <= off)
		return false;
	for (size_t i = 0; i < r->dangling.n; i++)
		if (r->dangling.at[i].first == off)
			return true;
	return false;
}

enum q2_status q2_release(struct q2_repair *r, uint64_t off, uint64_t len)
{
	unsigned bits = r->c->img.geom.cluster_bits;
	struct q2_run run = {off >> bits,
			     q2_div_up(len, r->c->img.geom.cluster_size)};

	return run.n ? q2_runs_push(&r->released, &r->budget, run, r->err) :
		       Q2_OK;
}
