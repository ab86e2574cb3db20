/*
 * t_map.c - targets map and chain: where everything is.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-1 rows are a partition of the disk, of the active one and of each snapshot's;
 * M-2 what they name, in snapshots and lower layers, too, reads as a reader of its own
 * has it; M-3 the layout is a partition of the file, and agrees with the reference
 * checker on what is in use; M-4 costs and differences of snapshots stay inside of what
 * there is; D-1, I-7.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "map/survey.h"
#include "refcheck_own.h"
#include "t_asked.h"
#include "world.h"

#define SNAPSHOTS 6u /* of an image that are looked at */
#define WINDOW (UINT64_C(32) << 20) /* bytes for guest offsets of clusters */

struct delta {
	uint64_t at;
	uint64_t end;
};

static enum q2_status on_delta(void *ctx, uint64_t guest, uint64_t length)
{
	struct delta *d = ctx;

	if (guest < d->at || length == 0 || length > d->end ||
	    guest > d->end - length)
		q2f_violation("M-4", "a difference of %llu bytes at %llu",
			      (unsigned long long)length,
			      (unsigned long long)guest);
	d->at = guest + length;
	return Q2_OK;
}

/* ---------------------------------------------------------------- the disk */

/* The layers of a chain, each read for itself, and what shows through. */
static void judge_layered(const struct q2_chain *chain, const struct q2f_view *view)
{
	struct q2f_guest layers[Q2F_FILES];
	size_t n = 0;

	for (; n < chain->n && n < Q2F_FILES; n++) {
		const struct q2_layer *l = chain->layers[n];
		const uint8_t *bytes;
		size_t size = q2f_io_view(l->io, &bytes);

		if (!l->raw && l->opened.faults.n)
			break;
		if (l->raw)
			q2f_guest_read_raw(&layers[n], bytes, size);
		else
			q2f_guest_read(&layers[n], bytes, size, false);
	}
	q2f_guest_layered(layers, n, view->bytes, view->n, "M-2");
	while (n-- > 0)
		q2f_guest_free(&layers[n]);
}

/* The active disk, or a snapshot's; `top` is NULL if the reference reader cannot read
 * what it is made of. */
static void judge_disk(struct q2_disk *disk, const struct q2f_input *top,
		       uint32_t tree, bool layered)
{
	const struct q2_opened *opened = &disk->chain.layers[0]->opened;
	struct q2f_view view;

	q2f_view_make(&view, disk);
	/* What a damaged header means is a matter of opinion. */
	if (top && !view.closed && opened->faults.n == 0 &&
	    q2f_sampled(top, 8)) {
		struct q2f_guest guest;

		q2f_guest_read(&guest, top->image, top->size, false);
		q2f_guest_same(&guest, tree, view.bytes, view.n, "M-2");
		q2f_guest_free(&guest);
	}
	if (layered && !view.closed)
		judge_layered(&disk->chain, &view);
	q2f_view_free(&view);
}

/* What each layer has adds up, and is not more than there is. */
static void judge_layers(struct q2_disk *disk)
{
	struct q2_layer_cost costs[Q2F_FILES + 1];
	size_t n = (size_t)q2_min(disk->chain.n, Q2F_FILES + 1);
	struct delta d = {0, 0};

	for (size_t i = 0; i < n; i++)
		d.end = q2_max(d.end, disk->chain.layers[i]->map.size);
	/* Disks of nothing but entries take as long as their rows. */
	if (d.end > Q2F_VIEW ||
	    q2_disk_layer_costs(disk, costs, n, NULL, NULL, NULL) != Q2_OK)
		return;
	for (size_t i = 0; i < n; i++)
		if (costs[i].mapped != costs[i].visible + costs[i].shadowed ||
		    costs[i].exclusive > costs[i].mapped ||
		    costs[i].mapped + costs[i].zeros + costs[i].unreadable >
			    d.end)
			q2f_violation("M-4", "layer %zu has %llu bytes, of which %llu are seen, %llu hidden, %llu its own",
				      i, (unsigned long long)costs[i].mapped,
				      (unsigned long long)costs[i].visible,
				      (unsigned long long)costs[i].shadowed,
				      (unsigned long long)costs[i].exclusive);
	if (n > 1)
		(void)!q2_disk_delta(disk, 0, n - 1, on_delta, &d, NULL);
}

/* An image for the disk is not larger than one of which all is written. */
static void judge_measure(struct q2_disk *disk, unsigned pick)
{
	struct q2_measure_opts opts = {
		.raw = pick % 5 == 4,
		.version = pick % 5 ? 3 : 2,
		.cluster_size = UINT64_C(512) << pick % 13,
		.refcount_bits = pick % 5 ? 1u << pick % 7 : 16,
		.ext_l2 = pick % 5 == 1 && pick % 13 >= 5,
		.whole = pick % 3 == 1,
		.based = pick % 3 == 2};
	struct q2_measure m;

	if (q2_disk_bytes(disk) > Q2F_VIEW ||
	    q2_disk_measure(disk, 0, &opts, &m, NULL) != Q2_OK)
		return;
	if (m.required > m.fully_allocated ||
	    m.fully_allocated < q2_disk_bytes(disk))
		q2f_violation("M-4", "%llu bytes are needed, %llu for all",
			      (unsigned long long)m.required,
			      (unsigned long long)m.fully_allocated);
}

/* Whether the text is taken for a layer that has another name: in an image a name may be
 * anything, empty as well. */
static bool is_found(const struct q2_chain *chain, const char *text)
{
	unsigned i = q2_chain_below(chain, text, false);

	return i < chain->n && strcmp(chain->layers[i]->path, text) != 0;
}

/* Which layer a name means: each its own, and nothing that is not there. */
static void judge_names(const struct q2_chain *chain)
{
	char number[16];

	for (unsigned i = 1; i < chain->n; i++) {
		unsigned found = q2_chain_below(chain, chain->layers[i]->path,
						false);

		snprintf(number, sizeof(number), "%u", i);
		if (q2_chain_below(chain, number, false) != i || found > i)
			q2f_violation("M-4", "layer %u is found as %u", i,
				      found);
	}
	snprintf(number, sizeof(number), "%u", chain->n);
	if (is_found(chain, "") || is_found(chain, number))
		q2f_violation("M-4", "a layer is found that is not there");
}

static void judge_snapshots(struct q2_disk *disk, const struct q2f_input *input)
{
	const struct q2_layer *top = disk->chain.layers[0];
	const struct q2_tree none = {0};

	if (top->raw && q2_chain_tree(&disk->chain, &none, NULL) == Q2_OK)
		q2f_violation("M-4", "a raw disk has snapshots");
	if (top->raw ||
	    q2_snaptable_read(&top->opened.img, &disk->snapshots, NULL) !=
		    Q2_OK)
		return;
	for (size_t i = 0; i < disk->snapshots.snaps.n && i < SNAPSHOTS; i++) {
		const struct q2_snap *s = &disk->snapshots.snaps.at[i];

		if (q2_chain_tree(&disk->chain, &s->tree, NULL) == Q2_OK)
			judge_disk(disk, input, s->tree.id, false);
	}
}

static void disk_of(const struct q2f_input *in, bool alone)
{
	uint64_t before;
	struct q2_disk disk = {0};
	struct q2_err err = {0};
	struct q2f_world w;
	enum q2_status st;

	q2f_heap_watch(in->ctl.fail_alloc);
	before = q2f_heap.blocks;
	if (alone)
		w = (struct q2f_world){.file = {*in}, .n = 1};
	else
		q2f_world_make(&w, in);
	w.choice = alone ? 0 : in->ctl.pick;
	st = q2f_world_chain(&w, alone, &disk.budget, &disk.chain, &err);
	if (st != err.code)
		q2f_violation("C-1", "opening: status %d, and %d with \"%s\"",
			      (int)st, (int)err.code, err.text);
	if (st == Q2_OK) {
		/* The reference reader does not know holes. */
		bool sound = in->ctl.hole == 0 && !q2f_faulty(&in->ctl);
		const struct q2f_input *top = alone && sound ? in : NULL;

		judge_disk(&disk, top, Q2_TREE_ACTIVE,
			   !alone && sound && q2f_sampled(in, 8));
		if (q2f_sampled(in, 4)) {
			judge_layers(&disk);
			judge_names(&disk.chain);
			judge_measure(&disk, in->ctl.pick ? in->ctl.pick :
							    (unsigned)in->size /
								    512);
		}
		judge_snapshots(&disk, top);
		if (q2f_thorough && !q2f_faulty(&in->ctl))
			q2f_asked_of_disk(&disk);
		q2_snaptable_free(&disk.snapshots, &disk.budget);
		q2_chain_close(&disk.chain);
		free(disk.found);
	}
	(void)q2f_heap_done();
	q2f_heap_judge("mapping", 0, in->size);
	if (disk.budget.used || q2f_heap.blocks != before)
		q2f_violation("I-7", "mapping leaves %llu bytes behind",
			      (unsigned long long)disk.budget.used);
}

/* -------------------------------------------------------------- the layout */

struct layout {
	struct q2_survey *s;
	const struct q2f_refcheck *ref; /* NULL: nothing to compare with */
	uint64_t at;
};

/* In use, or not, as the reference checker has it. */
static void compare_use(const struct layout *l, const struct q2_use_row *r)
{
	const struct q2f_refcheck *ref = l->ref;
	bool used = r->use != Q2_U_FREE && r->use != Q2_U_LEAKED;
	uint64_t end = (r->host + r->length + ref->cs - 1) / ref->cs;

	for (uint64_t c = r->host / ref->cs; c < end && c < ref->clusters; c++)
		if (used != (ref->counted[c] != 0))
			q2f_violation("M-3", "cluster %llu is %s, but has %llu references",
				      (unsigned long long)c,
				      q2_use_text(r->use),
				      (unsigned long long)ref->counted[c]);
}

static enum q2_status on_use(void *ctx, const struct q2_use_row *r)
{
	struct layout *l = ctx;
	uint64_t size = q2_io_size(l->s->io);

	if (r->host != l->at || r->length == 0 || r->length > size - l->at)
		q2f_violation("M-3", "%llu bytes at %llu of %llu, after %llu",
			      (unsigned long long)r->length,
			      (unsigned long long)r->host,
			      (unsigned long long)size,
			      (unsigned long long)l->at);
	if (r->use >= Q2_U_COUNT || r->stored > r->length)
		q2f_violation("M-3", "use %d with %llu of %llu bytes",
			      (int)r->use, (unsigned long long)r->stored,
			      (unsigned long long)r->length);
	if (l->ref)
		compare_use(l, r);
	l->at += r->length;
	return Q2_OK;
}

static void on_reference(void *ctx, const struct q2_reference *r)
{
	uint64_t *n = ctx;

	(*n)++;
	if (r->length == 0)
		q2f_violation("M-3", "a reference to nothing at %llu",
			      (unsigned long long)r->host);
}

static void judge_references(struct layout *l, unsigned pick)
{
	uint64_t size = q2_io_size(l->s->io), n = 0;
	uint64_t at = size ? size * (pick % 64) / 64 : 0;
	uint64_t wants = 0;

	if (size == 0 ||
	    q2_survey_references(l->s, at, on_reference, &n, NULL) != Q2_OK ||
	    l->ref == NULL)
		return;
	for (unsigned i = 0; i < l->ref->n_refs; i++) {
		const struct rc_ref *r = &l->ref->refs[i];

		wants += r->clu == at / l->ref->cs && r->kind != RC_META;
	}
	if ((wants != 0) != (n != 0))
		q2f_violation("M-3", "%llu references to byte %llu, not %llu",
			      (unsigned long long)n, (unsigned long long)at,
			      (unsigned long long)wants);
}

static void judge_costs(struct q2_survey *s)
{
	struct q2_cost costs[SNAPSHOTS], active;
	struct q2_snapshot_info info;
	struct delta d = {0, q2_survey_geom(s)->disk_size};
	size_t n = 0, which[SNAPSHOTS];
	uint64_t frees, most = q2_survey_geom(s)->file_clusters
			       << q2_survey_geom(s)->cluster_bits;

	for (; n < SNAPSHOTS && q2_survey_snapshot(s, n, &info); n++) {
		which[n] = n;
		d.end = q2_max(d.end, info.disk_size);
	}
	/* Clusters in two uses count twice. */
	if (n == 0 || s->partial || q2_survey_snapshot(s, n, &info) ||
	    q2_survey_result(s)->corruptions)
		return;
	if (q2_survey_costs(s, costs, n, &active, NULL) != Q2_OK)
		return;
	for (size_t i = 0; i < n; i++)
		if (costs[i].exclusive > costs[i].referenced ||
		    costs[i].referenced > most || costs[i].frees > most)
			q2f_violation("M-4", "snapshot %zu refers to %llu, alone to %llu, frees %llu of %llu bytes",
				      i, (unsigned long long)costs[i].referenced,
				      (unsigned long long)costs[i].exclusive,
				      (unsigned long long)costs[i].frees,
				      (unsigned long long)most);
	if (q2_survey_delete(s, which, n, &frees, NULL) == Q2_OK &&
	    frees > most)
		q2f_violation("M-4", "deleting all frees %llu of %llu bytes",
			      (unsigned long long)frees,
			      (unsigned long long)most);
	(void)!q2_survey_delta(s, 0, Q2_ACTIVE_DISK, on_delta, &d, NULL);
}

/* Each finding of the check is counted where it belongs. */
static void judge_found(const struct q2_survey *s)
{
	const struct q2_check_result *r = q2_survey_result(s);
	uint64_t corrupt = 0, advice = 0;
	const struct q2_problem *p;

	for (size_t i = 0; (p = q2_problem_at(i)) != NULL; i++) {
		corrupt += p->severity == Q2_CORRUPT ? q2_survey_found(s, i) :
						       0;
		advice += p->severity == Q2_ADVICE ? q2_survey_found(s, i) : 0;
	}
	if (corrupt != r->corruptions || advice != r->advice)
		q2f_violation("C-1", "%llu corruptions by problem, %llu in all",
			      (unsigned long long)corrupt,
			      (unsigned long long)r->corruptions);
}

/* The layout, with the guest's offsets or without. */
static void judge_rows(struct layout *l, struct q2_layout_opts *how, bool guest)
{
	enum q2_status st;

	l->at = 0;
	how->guest = guest;
	st = q2_survey_layout(l->s, how, NULL);
	if (st == Q2_OK && l->at != q2_io_size(l->s->io))
		q2f_violation("M-3", "the layout ends at %llu of %llu",
			      (unsigned long long)l->at,
			      (unsigned long long)q2_io_size(l->s->io));
}

static void layout_of(const struct q2f_input *in)
{
	uint32_t left = in->ctl.stop;
	const struct q2_survey_opts opts = {.progress = q2f_stops,
					    .ctx = &left};
	struct q2_layout_opts how = {.length = UINT64_MAX, .row = on_use};
	struct layout l = {0};
	struct q2f_refcheck *ref = q2f_faulty(&in->ctl) || in->ctl.hole ?
					   NULL : q2f_refcheck_new(in);
	uint64_t before;

	q2f_heap_watch(in->ctl.fail_alloc);
	before = q2f_heap.blocks;
	if (q2_survey_io(q2f_io_new(in), &opts, &l.s, NULL) == Q2_OK) {
		bool partial = l.s->partial;

		if (ref && !ref->refused && !ref->guess &&
		    !ref->guess_counts && !partial)
			l.ref = ref;
		how.ctx = &l;
		judge_rows(&l, &how, in->ctl.pick & 1);
		/* With guest offsets a window over clusters comes to this. */
		q2f_heap_judge("surveying", in->ctl.pick & 1 ? WINDOW : 0,
			       in->size);
		if (q2f_thorough)
			judge_rows(&l, &how, !(in->ctl.pick & 1));
		judge_references(&l, in->ctl.pick / 2);
		for (unsigned i = 1; i < 64 && q2f_thorough; i += 6)
			judge_references(&l, in->ctl.pick / 2 + i);
		judge_found(l.s);
		if (in->ctl.fail_read == 0)
			judge_costs(l.s);
		q2_survey_close(l.s);
	}
	(void)q2f_heap_done();
	q2f_heap_judge("surveying", WINDOW, in->size);
	if (q2f_heap.blocks != before)
		q2f_violation("I-7", "surveying leaves %llu blocks behind",
			      (unsigned long long)(q2f_heap.blocks - before));
	q2f_refcheck_free(ref);
}

int q2f_map(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);

	disk_of(&in, true);
	if (q2f_sampled(&in, 4))
		layout_of(&in);
	return 0;
}

int q2f_chain(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);

	disk_of(&in, false);
	return 0;
}
