/*
 * calls_place.c - chains are flattened in place.
 *
 * SPDX-License-Identifier: MIT
 *
 * Whatever fails: the guest of the top image reads what it read, and a second run does
 * what is left to do.
 */
#include <stdio.h>
#include <string.h>

#include "calls.h"

#define DATA_FILE "work/data.bin"

static struct q2_digest wanted;

static enum q2_status flatten(const char *path, struct q2_inplace_opts o,
			      struct q2_err *err)
{
	struct q2_inplace_result r = {0};
	/* Made by the folder's other images. */
	static const char *const siblings[] = {"work", NULL};

	/* What lies between is of no use any more, and in nobody's way. */
	o.siblings = o.job == Q2_COMMIT && o.base ? NULL : siblings;
	o.flags |= Q2_INPLACE_STALE_BITMAPS;
	return q2_inplace(path, &o, &r, err);
}

static bool finishes(const char *path, const struct q2_inplace_opts *o,
		     bool done)
{
	struct q2_err err = {0};

	if (!same_guest(path, &wanted)) {
		fprintf(stderr, "calls: the guest's disk is another one\n");
		return false;
	}
	if (!done && flatten(path, *o, &err) != Q2_OK) {
		fprintf(stderr, "calls: not finished: %s\n", err.text);
		return false;
	}
	return same_guest(path, &wanted) &&
	       (done ? is_clean(path) : is_usable(path));
}

static void chain(void)
{
	empty_work();
	copy_file("given/base.qcow2", "work/base.qcow2");
	copy_file("given/top.qcow2", "work/top.qcow2");
	wanted = guest_of("given/top.qcow2");
}

static const struct q2_inplace_opts absorb = {.job = Q2_ABSORB},
				    commit = {.job = Q2_COMMIT},
				    keep = {.job = Q2_COMMIT,
					    .flags = Q2_INPLACE_KEEP},
				    foresee = {.job = Q2_COMMIT,
					       .flags = Q2_INPLACE_DRY_RUN};

static enum q2_status run_absorb(struct q2_err *err)
{
	return flatten("work/top.qcow2", absorb, err);
}

static bool right_absorb(bool done)
{
	return same_file("given/base.qcow2", "work/base.qcow2") &&
	       finishes("work/top.qcow2", &absorb, done);
}

static enum q2_status run_commit(struct q2_err *err)
{
	return flatten("work/top.qcow2", commit, err);
}

static bool right_commit(bool done)
{
	return finishes("work/top.qcow2", &commit, done) &&
	       is_usable("work/base.qcow2") &&
	       same_guest("work/base.qcow2", &wanted);
}

static enum q2_status run_keep(struct q2_err *err)
{
	return flatten("work/top.qcow2", keep, err);
}

static bool right_keep(bool done)
{
	return finishes("work/top.qcow2", &keep, done) &&
	       is_usable("work/base.qcow2") &&
	       same_guest("work/base.qcow2", &wanted);
}

static enum q2_status run_dry(struct q2_err *err)
{
	return flatten("work/top.qcow2", foresee, err);
}

static bool right_dry(bool done)
{
	(void)done;
	return same_file("given/base.qcow2", "work/base.qcow2") &&
	       same_file("given/top.qcow2", "work/top.qcow2");
}

/* Over a raw file, which the top image is larger than. */
static void over_raw(void)
{
	empty_work();
	copy_file("given/raw.img", "work/raw.img");
	copy_file("given/over.qcow2", "work/over.qcow2");
	wanted = guest_of("given/over.qcow2");
}

static enum q2_status run_raw_absorb(struct q2_err *err)
{
	return flatten("work/over.qcow2", absorb, err);
}

static bool right_raw_absorb(bool done)
{
	return same_file("given/raw.img", "work/raw.img") &&
	       finishes("work/over.qcow2", &absorb, done);
}

static enum q2_status run_raw_commit(struct q2_err *err)
{
	return flatten("work/over.qcow2", commit, err);
}

static bool right_raw_commit(bool done)
{
	return finishes("work/over.qcow2", &commit, done) &&
	       same_guest("work/raw.img", &wanted);
}

/* There is no room for more refcounts. */
static void growing(void)
{
	empty_work();
	copy_file("given/raw.img", "work/raw.img");
	copy_file("given/growing.qcow2", "work/growing.qcow2");
	wanted = guest_of("work/growing.qcow2");
}

static enum q2_status run_grow_absorb(struct q2_err *err)
{
	return flatten("work/growing.qcow2", absorb, err);
}

static bool right_grow_absorb(bool done)
{
	return finishes("work/growing.qcow2", &absorb, done);
}

static void growing_base(void)
{
	empty_work();
	copy_file("given/lower.qcow2", "work/lower.qcow2");
	copy_file("given/upper.qcow2", "work/upper.qcow2");
	wanted = guest_of("work/upper.qcow2");
}

static enum q2_status run_grow_commit(struct q2_err *err)
{
	return flatten("work/upper.qcow2", commit, err);
}

static bool right_grow_commit(bool done)
{
	return finishes("work/upper.qcow2", &commit, done) &&
	       is_usable("work/lower.qcow2");
}

/* The data lie in a file of their own. */
static void with_data(void)
{
	empty_work();
	copy_file("given/raw.img", "work/raw.img");
	copy_file("given/" DATA_FILE, DATA_FILE);
	copy_file("given/data.qcow2", "work/data.qcow2");
	wanted = guest_of("work/data.qcow2");
}

static enum q2_status run_data_absorb(struct q2_err *err)
{
	return flatten("work/data.qcow2", absorb, err);
}

static bool right_data_absorb(bool done)
{
	return finishes("work/data.qcow2", &absorb, done);
}

static enum q2_status run_data_commit(struct q2_err *err)
{
	return flatten("work/data.qcow2", commit, err);
}

static bool right_data_commit(bool done)
{
	return finishes("work/data.qcow2", &commit, done);
}

/* Many layers, of which the lowest ones are to stay. */
static void tower(void)
{
	empty_work();
	copy_file("given/base.qcow2", "work/base.qcow2");
	copy_file("given/top.qcow2", "work/top.qcow2");
	copy_file("given/above.qcow2", "work/above.qcow2");
	wanted = guest_of("given/above.qcow2");
}

static const struct q2_inplace_opts absorb_one = {.job = Q2_ABSORB,
						  .base = "work/base.qcow2"},
				    commit_two = {.job = Q2_COMMIT,
						  .base = "2"};

static enum q2_status run_tower_absorb(struct q2_err *err)
{
	return flatten("work/above.qcow2", absorb_one, err);
}

static bool right_tower_absorb(bool done)
{
	return same_file("given/base.qcow2", "work/base.qcow2") &&
	       same_file("given/top.qcow2", "work/top.qcow2") &&
	       finishes("work/above.qcow2", &absorb_one, done);
}

static enum q2_status run_tower_commit(struct q2_err *err)
{
	return flatten("work/above.qcow2", commit_two, err);
}

/* Started again, it is one layer, as the images in between may be gone. */
static bool right_tower_commit(bool done)
{
	struct q2_inplace_opts again = commit_two;

	again.base = "work/base.qcow2";
	return finishes("work/above.qcow2", &again, done) &&
	       same_guest("work/base.qcow2", &wanted);
}

const struct scene place_scenes[] = {
	{"absorb", chain, run_absorb, right_absorb, 0},
	{"commit", chain, run_commit, right_commit, 0},
	{"commit, keep", chain, run_keep, right_keep, 0},
	{"commit, dry run", chain, run_dry, right_dry, 0},
	{"absorb raw", over_raw, run_raw_absorb, right_raw_absorb, 0},
	{"commit raw", over_raw, run_raw_commit, right_raw_commit, 0},
	{"absorb to a data file", with_data, run_data_absorb,
	 right_data_absorb, 0},
	{"commit from a data file", with_data, run_data_commit,
	 right_data_commit, 0},
	{"absorb and grow", growing, run_grow_absorb, right_grow_absorb,
	 SCENE_FEW},
	{"commit and grow", growing_base, run_grow_commit, right_grow_commit,
	 SCENE_FEW},
	{"absorb one of three", tower, run_tower_absorb, right_tower_absorb, 0},
	{"commit two of three", tower, run_tower_commit, right_tower_commit, 0},
	{0},
};
