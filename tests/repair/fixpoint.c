/*
 * fixpoint.c - what must hold of the repair of any image.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: fixpoint [-l IDS] [-r ROOMS] IMAGE...
 *
 * -l: problems that are known to be left, separated by commas.
 * -r: with how little room devices are tried: clusters up to that; 4 if not said.
 *
 * For each image, in memory above the file, which is never written:
 *  - after everything is repaired, what is left has no repair in the catalogue;
 *  - a second plan is empty;
 *  - the safe repair changes no byte that a guest reads, and frees no data;
 *  - undone, every byte and the length are as before;
 *  - on a device that is full, or nearly, what needs no room is repaired all the same,
 *    nothing is worse than it was, and a second plan is empty.  Where some of it had
 *    room and some had not, another run may find a better share of it.
 * What crashes do is crash.c's affair.
 * Prints what does not hold, and "fixpoint: N passed, N failed".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repair/plan.h"
#include "../support/testview.h"

struct leftovers {
	char text[400];
	unsigned n;
};

static const char *known = "";
static uint64_t rooms = 4; /* clusters behind the image */
static const char *name;
static bool held;

static unsigned cluster_bits(struct q2_io *io)
{
	uint8_t b = 0;

	return q2_pread_zero(io, &b, 1, 23, NULL) == Q2_OK && b > 9 && b < 22 ?
		       b : 9;
}

static void complain(const char *what, const char *more)
{
	fprintf(stderr, "%s: %s%s%s\n", name, what, *more ? ": " : "", more);
	held = false;
}

static struct q2_io *above(struct q2_io *base, struct q2_budget *budget)
{
	struct q2_io *io;

	if (q2_io_overlay(base, budget, &io, NULL) != Q2_OK)
		die("no memory");
	return io;
}

static struct q2_plan *plan(struct q2_io *io, unsigned flags,
			    struct q2_plan_result *res)
{
	const struct q2_plan_opts opts = {.flags = flags};
	struct q2_plan *p;
	struct q2_err err = {0};

	if (q2_plan_make(io, &opts, &p, res, &err) != Q2_OK) {
		complain("no plan", err.text);
		return NULL;
	}
	return p;
}

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct leftovers *l = ctx;

	if (f->problem->severity == Q2_ADVICE ||
	    f->problem->fix == Q2_FIX_NONE || strstr(known, f->problem->id))
		return;
	if (l->n++ < 8 && strstr(l->text, f->problem->id) == NULL)
		snprintf(l->text + strlen(l->text),
			 sizeof(l->text) - strlen(l->text), " %s",
			 f->problem->id);
}

/* What is left that the catalogue has a repair for. */
static void judge_rest(struct q2_io *io)
{
	struct leftovers l = {0};
	const struct q2_check_opts opts = {.found = on_found, .ctx = &l};
	struct q2_check_result res;

	if (q2_check(io, &opts, &res, NULL) != Q2_OK)
		complain("the check after it failed", "");
	else if (l.n)
		complain("left", l.text);
}

struct views {
	struct view at[VIEWS];
	size_t n;
	bool opens;
	struct q2_check_result res;
};

static void look(struct q2_io *io, struct views *v)
{
	memset(v, 0, sizeof(*v));
	v->opens = view_all(io, v->at, &v->n, NULL, &v->res, NULL, 0);
}

static void repair_all(struct q2_io *base)
{
	static const struct q2_apply_opts opts;
	struct q2_budget budget = {0};
	struct q2_io *io = above(base, &budget);
	struct q2_plan_result res;
	struct q2_plan *p = plan(base, Q2_PLAN_ALL, &res), *second;
	struct q2_err err = {0};

	if (p == NULL)
		goto out;
	if (res.not_converged)
		complain("the rehearsal does not converge", "");
	if (q2_plan_apply(p, io, &opts, &err) != Q2_OK) {
		complain("apply fails", err.text);
		goto out;
	}
	if (res.after.verdict != Q2_UNREADABLE)
		judge_rest(io);
	second = plan(io, Q2_PLAN_ALL, &res);
	if (second && q2_plan_edits(second))
		complain("a second plan is not empty", "");
	q2_plan_free(second);
	if (q2_plan_undo(p, io, &opts, &err) != Q2_OK)
		complain("undo fails", err.text);
	else if (!plan_same(p, io, base))
		complain("undo does not give back every byte", "");
out:
	q2_plan_free(p);
	q2_io_close(io);
}

/* Nothing that a guest reads may change. */
static void repair_safely(struct q2_io *base)
{
	static const struct q2_apply_opts opts;
	struct q2_budget budget = {0};
	struct q2_io *io = above(base, &budget);
	struct q2_plan_result res;
	struct q2_plan *p = plan(base, 0, &res);
	struct views before, after;

	if (p && q2_plan_apply(p, io, &opts, NULL) != Q2_OK)
		complain("applying the safe repair fails", "");
	look(base, &before);
	look(io, &after);
	if (before.opens && (!after.opens || after.n < before.n))
		complain("the safe repair loses a disk", "");
	for (size_t i = 0; i < before.n && i < after.n && held; i++)
		for (size_t k = 0; k < before.at[i].n && k < after.at[i].n; k++)
			/* What was an error may become anything. */
			if (before.at[i].at[k] > VIEW_ANY &&
			    before.at[i].at[k] != after.at[i].at[k]) {
				complain("the safe repair changes what a guest "
					 "reads", "");
				break;
			}
	view_free(before.at, before.n);
	view_free(after.at, after.n);
	q2_plan_free(p);
	q2_io_close(io);
}

/* The image on a device that ends `room` bytes behind it. */
static void repair_cramped(struct q2_io *base, uint64_t room)
{
	static const struct q2_apply_opts opts;
	struct q2_budget budget = {0};
	struct q2_io *disk = above(base, &budget), *io = NULL;
	uint64_t size = (base->size + room + 511) & ~UINT64_C(511);
	struct q2_plan_result res, after;
	struct q2_plan *p = NULL, *second;
	struct q2_err err = {0};

	if (q2_resize(disk, size, NULL) != Q2_OK)
		die("no memory");
	disk->is_device = true;
	io = above(disk, &budget);
	io->is_device = true;
	p = plan(disk, Q2_PLAN_ALL, &res);
	if (p == NULL)
		goto out;
	if (res.not_converged)
		complain("without room it does not converge", "");
	if (q2_plan_apply(p, io, &opts, &err) != Q2_OK)
		complain("without room, apply fails", err.text);
	second = plan(io, Q2_PLAN_ALL, &after);
	if (second && q2_plan_edits(second) &&
	    (room == 0 || res.after.corruptions == 0))
		complain("without room, a second plan is not empty", "");
	if (second && after.before.corruptions > res.before.corruptions)
		complain("without room, it is worse afterwards", "");
	q2_plan_free(second);
	if (io->size != size)
		complain("the device changes its size", "");
	if (q2_plan_undo(p, io, &opts, &err) != Q2_OK)
		complain("without room, undo fails", err.text);
	else if (!plan_same(p, io, disk))
		complain("without room, undo does not give back every byte", "");
out:
	q2_plan_free(p);
	q2_io_close(io);
	q2_io_close(disk);
}

int main(int argc, char *argv[])
{
	unsigned passed = 0, failed = 0;
	int c;

	while ((c = getopt(argc, argv, "l:r:")) != -1)
		if (c == 'l')
			known = optarg;
		else if (c == 'r')
			rooms = strtoull(optarg, NULL, 10);
		else
			return 2;
	for (int i = optind; i < argc; i++) {
		struct q2_io *base;

		name = argv[i];
		held = true;
		if (q2_io_open(name, &base, NULL) != Q2_OK)
			die("cannot open an image");
		repair_all(base);
		repair_safely(base);
		for (uint64_t room = 0; room < rooms && held; room++)
			repair_cramped(base, room << cluster_bits(base));
		q2_io_close(base);
		passed += held;
		failed += !held;
	}
	printf("fixpoint: %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
