/*
 * calls_repair.c - plans, journals, backups, and what becomes of freed clusters.
 *
 * SPDX-License-Identifier: MIT
 *
 * Whatever fails: the image is as it was, or repaired, or its journal leads to both;
 * and what is told about it is true.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "io/io.h"

#define IMAGE "work/image.qcow2"
#define JOURNAL "work/journal"
#define STORED "work/plan"
#define SAVED "work/orphans"
#define ORPHAN "given/orphan.qcow2"

static const struct q2_apply_opts saving = {.orphans = SAVED};
static struct q2_plan *plan;
static const char *planned; /* what it is a plan for */
static enum q2_outcome outcome;
static struct q2_digest wanted;

static bool holds(bool what, const char *said)
{
	if (!what)
		fprintf(stderr, "calls: not so: %s\n", said);
	return what;
}

/* --------------------------------------------------------- these do not fail */
static struct q2_io *image(void)
{
	struct q2_err err = {0};
	struct q2_io *io;

	if (q2_io_open_rw(IMAGE, &io, &err) != Q2_OK)
		die("%s: %s", IMAGE, err.text);
	return io;
}

/* All that can be repaired.  It stays, so that only the work on it is counted. */
static void plan_for(const char *given)
{
	struct q2_plan_opts opts = {.flags = Q2_PLAN_ALL | Q2_PLAN_FREE_ORPHANS};
	struct q2_plan_result result;
	struct q2_err err = {0};
	struct q2_io *io;

	if (planned && strcmp(planned, given) == 0)
		return;
	if (strcmp(given, ORPHAN) == 0)
		opts.flags = Q2_PLAN_ALL;
	q2_plan_free(plan);
	if (q2_io_open(given, &io, &err) != Q2_OK ||
	    q2_plan_make(io, &opts, &plan, &result, &err) != Q2_OK)
		die("%s: %s", given, err.text);
	q2_io_close(io);
	if (q2_plan_edits(plan) == 0)
		die("%s: nothing to repair", given);
	planned = given;
}

static void start(const char *given)
{
	empty_work();
	copy_file(given, IMAGE);
	plan_for(given);
}

static enum q2_status apply(struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(IMAGE, &io, err);

	outcome = Q2_OUT_UNTOUCHED;
	if (st == Q2_OK)
		st = q2_journal_apply(plan, io, JOURNAL, &saving, &outcome, err);
	q2_io_close(io);
	return st;
}

static enum q2_status undo(struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(IMAGE, &io, err);

	if (st == Q2_OK)
		st = q2_journal_undo(JOURNAL, io, NULL, &outcome, err);
	q2_io_close(io);
	return st;
}

static enum q2_status redo(struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(IMAGE, &io, err);

	if (st == Q2_OK)
		st = q2_journal_redo(JOURNAL, io, &saving, &outcome, err);
	q2_io_close(io);
	return st;
}

static void must(enum q2_status (*work)(struct q2_err *err))
{
	struct q2_err err = {0};

	if (work(&err) != Q2_OK)
		die("%s", err.text);
}

/* Where the journal leads, both ways. */
static bool leads_on(void)
{
	struct q2_err err = {0};

	return holds(redo(&err) == Q2_OK && is_clean(IMAGE), "it can be ended") &&
	       holds(undo(&err) == Q2_OK && same_file(IMAGE, planned),
		     "it can be undone");
}

/* ------------------------------------------------------------------- applying */
static void broken(void)
{
	start("given/broken.qcow2");
}

static bool right_apply(bool done)
{
	switch (outcome) {
	case Q2_OUT_UNTOUCHED:
	case Q2_OUT_TAKEN_BACK:
		return holds(!done, "it was done") &&
		       holds(same_file(IMAGE, planned), "it is as it was") &&
		       holds(!is_there(JOURNAL) && !is_there(SAVED),
			     "nothing is left");
	case Q2_OUT_DONE:
		return holds(is_clean(IMAGE), "it is clean") && leads_on();
	case Q2_OUT_UNFINISHED:
		break;
	}
	return holds(!done, "it was not done") && leads_on();
}

/* A table that another one took the place of is saved before it is freed. */
static void orphan(void)
{
	struct q2_err err = {0};
	struct q2_io *io;

	start(ORPHAN);
	copy_file("given/orphan.data", "work/orphan.data");
	if (q2_plan_orphans(plan) == 0)
		die("nothing is to be saved");
	io = image();
	if (q2_journal_apply(plan, io, JOURNAL, NULL, &outcome, &err) !=
		    Q2_E_REFUSED || outcome != Q2_OUT_UNTOUCHED ||
	    is_there(JOURNAL))
		die("what is not saved is freed");
	q2_io_close(io);
}

static bool right_orphan(bool done)
{
	bool kept = is_there(SAVED);

	return holds(!(outcome == Q2_OUT_DONE) || kept, "it was saved") &&
	       right_apply(done);
}

static void applied(void)
{
	broken();
	must(apply);
}

/* A plan says nothing of how far an image is. */
static void applied_beside_a_plan(void)
{
	struct q2_err err = {0};
	struct q2_io *io;

	applied();
	if (q2_plan_save(plan, STORED, Q2_PLAN_REVIEW, false, &err) != Q2_OK)
		die("%s: %s", STORED, err.text);
	io = image();
	if (q2_journal_undo(STORED, io, NULL, &outcome, &err) != Q2_E_ARG ||
	    outcome != Q2_OUT_UNTOUCHED)
		die("a plan is taken for a journal");
	q2_io_close(io);
}

static bool right_undo(bool done)
{
	struct q2_err err = {0};

	return holds(!done || same_file(IMAGE, planned), "it is undone") &&
	       holds(undo(&err) == Q2_OK && same_file(IMAGE, planned),
		     "it can be undone again") &&
	       leads_on();
}

static void undone(void)
{
	orphan();
	must(apply);
	must(undo);
	if (unlink(SAVED) != 0)
		die("%s was not saved", SAVED);
}

static bool right_redo(bool done)
{
	struct q2_err err = {0};

	if (!done && is_there(SAVED))
		(void)unlink(SAVED);
	return holds(!done || (is_clean(IMAGE) && is_there(SAVED)),
		     "it is done again") &&
	       holds(redo(&err) == Q2_OK && is_clean(IMAGE),
		     "it can be ended") &&
	       holds(undo(&err) == Q2_OK && same_file(IMAGE, planned),
		     "it can be undone");
}

/* ------------------------------------------------------------ plans as files */
static size_t edits; /* of the plan: another one, where a byte could not be read */

static enum q2_status run_store(struct q2_err *err)
{
	struct q2_plan_opts opts = {.flags = Q2_PLAN_ALL};
	struct q2_plan_result result;
	struct q2_plan_info info;
	struct q2_plan *made = NULL, *back = NULL;
	struct q2_io *io;
	size_t n;
	enum q2_status st = q2_io_open(IMAGE, &io, err);

	if (st == Q2_OK)
		st = q2_plan_make(io, &opts, &made, &result, err);
	edits = st == Q2_OK ? q2_plan_edits(made) : 0;
	if (st == Q2_OK)
		st = q2_plan_save(made, STORED, Q2_PLAN_REVIEW, false, err);
	if (st == Q2_OK)
		st = q2_plan_load(STORED, 0, &back, &info, err);
	if (st == Q2_OK) {
		n = q2_plan_edits(back);
		result_add(&n, sizeof(n));
		st = q2_plan_verify(back, io, 0, err);
	}
	q2_plan_free(made);
	q2_plan_free(back);
	q2_io_close(io);
	return st;
}

/* It is there as a whole, or not at all. */
static bool right_store(bool done)
{
	struct q2_plan_info info;
	struct q2_plan *back;
	struct q2_err err = {0};
	bool ok = !done;

	if (is_there(STORED)) {
		ok = q2_plan_load(STORED, 0, &back, &info, &err) == Q2_OK &&
		     q2_plan_edits(back) == edits;
		q2_plan_free(back);
	}
	return holds(ok, "the stored plan is whole") &&
	       holds(same_file(IMAGE, planned), "the image is as it was");
}

/* -------------------------------------------------------------------- backups */
static bool partial; /* a table could not be read, and is not in it; which is told */

static enum q2_status backup(struct q2_err *err)
{
	static const struct q2_plan_opts opts;
	struct q2_check_result result;
	struct q2_plan *made = NULL;
	struct q2_io *io;
	enum q2_status st = q2_io_open(IMAGE, &io, err);

	if (st == Q2_OK)
		st = q2_backup_make(io, Q2_BACKUP_KEYS, &opts, &made, &result,
				    err);
	partial = st == Q2_OK && result.partial;
	result_add(&partial, sizeof(partial));
	if (st == Q2_OK)
		st = q2_plan_save(made, STORED, Q2_PLAN_BACKUP, false, err);
	q2_plan_free(made);
	q2_io_close(io);
	return st;
}

static enum q2_status restore(struct q2_err *err)
{
	struct q2_plan *kept = NULL, *made = NULL;
	struct q2_plan_info info;
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(IMAGE, &io, err);

	outcome = Q2_OUT_UNTOUCHED;
	if (st == Q2_OK)
		st = q2_plan_load(STORED, 0, &kept, &info, err);
	if (st == Q2_OK)
		st = q2_restore_make(kept, io, 0, &made, err);
	if (st == Q2_OK)
		st = q2_journal_apply(made, io, NULL, NULL, &outcome, err);
	q2_plan_free(kept);
	q2_plan_free(made);
	q2_io_close(io);
	return st;
}

static void sound(void)
{
	empty_work();
	copy_file("given/snap.qcow2", IMAGE);
}

/* The header and what stands behind it are gone. */
static void wipe(void)
{
	static const char zeros[1536];
	struct q2_err err = {0};
	struct q2_io *io = image();

	if (q2_pwrite(io, zeros, sizeof(zeros), 0, &err) != Q2_OK)
		die("%s", err.text);
	q2_io_close(io);
}

static bool right_backup(bool done)
{
	struct q2_err err = {0};

	if (!is_there(STORED))
		return holds(!done, "there is a backup");
	wipe();
	return holds(restore(&err) == Q2_OK, "it can be put back") &&
	       holds(partial || same_file(IMAGE, "given/snap.qcow2"),
		     "all is back");
}

static void wiped(void)
{
	sound();
	must(backup);
	wipe();
	copy_file(IMAGE, "work/wiped.qcow2");
}

static bool right_restore(bool done)
{
	struct q2_err err = {0};

	if (!done && outcome != Q2_OUT_UNFINISHED && outcome != Q2_OUT_DONE &&
	    !holds(same_file(IMAGE, "work/wiped.qcow2"), "it is as it was"))
		return false;
	return holds(done || restore(&err) == Q2_OK, "it can be put back") &&
	       holds(same_file(IMAGE, "given/snap.qcow2"), "all is back");
}

/* ------------------------------------------------------------------ discarding */
static uint64_t given_back;

static enum q2_status punch(const char *journal, struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(IMAGE, &io, err);

	given_back = 0;
	if (st == Q2_OK)
		st = q2_discard_freed(plan, io, journal, 0, &given_back, err);
	result_add(&given_back, sizeof(given_back));
	q2_io_close(io);
	return st;
}

static enum q2_status discard(struct q2_err *err)
{
	return punch(JOURNAL, err);
}

static enum q2_status discard_for_good(struct q2_err *err)
{
	return punch(NULL, err);
}

/* Clusters of several refcount blocks are freed. */
static void freed(void)
{
	struct q2_err err = {0};

	start("given/leaky.qcow2");
	if (discard(&err) != Q2_E_ARG)
		die("clusters of an image that leaks are discarded");
	must(apply);
	result_clear();
	wanted = guest_of(IMAGE);
}

/* Four between the guest's, and of three behind them one is past the end.  What was
 * punched out is never undone. */
static bool right_discard(bool done)
{
	struct q2_plan_info info = {0};
	struct q2_err err = {0};

	if (!holds(is_clean(IMAGE), "it is clean") ||
	    !holds(!done || given_back == 6 * 512, "six clusters are free") ||
	    !holds(q2_journal_peek(JOURNAL, &info, &err) == Q2_OK,
		   "the journal is whole") ||
	    !holds(info.discarded || !done, "the journal knows"))
		return false;
	if (info.discarded)
		return holds(undo(&err) == Q2_E_ARG, "nothing is undone");
	return holds(undo(&err) == Q2_OK && same_file(IMAGE, planned),
		     "it can be undone");
}

static bool right_for_good(bool done)
{
	(void)done;
	return holds(is_clean(IMAGE), "it is clean") &&
	       holds(same_guest(IMAGE, &wanted), "the guest's data is there");
}

const struct scene repair_scenes[] = {
	{"apply", broken, apply, right_apply, SCENE_FEW},
	{"apply, orphans", orphan, apply, right_orphan, SCENE_FEW},
	{"undo", applied_beside_a_plan, undo, right_undo, SCENE_FEW},
	{"redo", undone, redo, right_redo, SCENE_FEW},
	{"store a plan", broken, run_store, right_store,
	 SCENE_FEW | SCENE_TOLERANT},
	{"back up", sound, backup, right_backup,
	 SCENE_FEW | SCENE_TOLERANT},
	{"restore", wiped, restore, right_restore, SCENE_FEW},
	{"discard", freed, discard, right_discard, SCENE_FEW},
	{"discard for good", freed, discard_for_good, right_for_good, SCENE_FEW},
	{0},
};
