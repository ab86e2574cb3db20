/*
 * calls_refuse.c - chains that are not to be flattened in place, and snapshots that may
 * stand in the way of it.
 *
 * SPDX-License-Identifier: MIT
 *
 * What is refused leaves each file as it was, whatever fails meanwhile.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"

static bool accepted;
static const char *top;
static const char *const *files; /* of the chain; NULL at the end */

static void chain(const char *name, const char *const *all)
{
	char from[80], to[80];

	empty_work();
	top = name;
	files = all;
	for (; *all; all++) {
		snprintf(from, sizeof(from), "given/%s", *all);
		snprintf(to, sizeof(to), "work/%s", *all);
		copy_file(from, to);
	}
}

static enum q2_status flatten(enum q2_inplace_job job, const char *base,
			      struct q2_err *err)
{
	static const char *const siblings[] = {"work", NULL};
	struct q2_inplace_opts o = {.job = job,
				    .base = base,
				    .flags = Q2_INPLACE_STALE_BITMAPS,
				    .siblings = base ? NULL : siblings};
	struct q2_inplace_result r = {0};
	char path[80];

	snprintf(path, sizeof(path), "work/%s", top);
	return q2_inplace(path, &o, &r, err);
}

static enum q2_status refused(enum q2_inplace_job job, const char *base,
			      enum q2_status as, const char *why,
			      struct q2_err *err)
{
	enum q2_status st = flatten(job, base, err);

	accepted = st == Q2_OK;
	return st == as && strstr(err->text, why) ? Q2_OK : st;
}

static bool unchanged(bool done)
{
	char from[80], to[80];
	bool same = !accepted;

	(void)done;
	for (const char *const *f = files; *f && same; f++) {
		snprintf(from, sizeof(from), "given/%s", *f);
		snprintf(to, sizeof(to), "work/%s", *f);
		same = same_file(from, to);
	}
	return same;
}

/* ---------------------------------------------------------------- snapshots */
static void snapshots(void)
{
	static const char *const all[] = {"shot.qcow2", "mid.qcow2",
					  "base.qcow2", NULL};

	chain("shot.qcow2", all);
}

static enum q2_status run_mid(struct q2_err *err)
{
	return refused(Q2_COMMIT, "2", Q2_E_REFUSED, "snapshot '", err);
}

static enum q2_status run_top(struct q2_err *err)
{
	return refused(Q2_COMMIT, NULL, Q2_E_REFUSED, "snapshot 'new'", err);
}

static enum q2_status run_absorb(struct q2_err *err)
{
	return refused(Q2_ABSORB, NULL, Q2_E_REFUSED, "snapshot 'new'", err);
}

/* They have all that would change. */
static struct q2_digest wanted;

static void full(void)
{
	static const char *const all[] = {"full.qcow2", "under.qcow2", NULL};

	chain("full.qcow2", all);
	wanted = guest_of("work/full.qcow2");
}

static bool finishes(enum q2_inplace_job job, const char *base, bool done)
{
	struct q2_err err = {0};
	char path[80];

	snprintf(path, sizeof(path), "work/%s", top);
	if (!same_guest(path, &wanted))
		return false;
	if (!done && flatten(job, base, &err) != Q2_OK) {
		fprintf(stderr, "calls: not finished: %s\n", err.text);
		return false;
	}
	return same_guest(path, &wanted) && is_usable(path);
}

static enum q2_status run_full(struct q2_err *err)
{
	return flatten(Q2_COMMIT, NULL, err);
}

static bool right_full(bool done)
{
	return finishes(Q2_COMMIT, NULL, done) && is_usable("work/under.qcow2");
}

static enum q2_status run_full_absorb(struct q2_err *err)
{
	return flatten(Q2_ABSORB, NULL, err);
}

static bool right_full_absorb(bool done)
{
	return finishes(Q2_ABSORB, NULL, done) &&
	       same_file("work/under.qcow2", "given/under.qcow2");
}

/* Nothing is committed past the end of the top image's disk. */
static void longer(void)
{
	static const char *const all[] = {"short.qcow2", "long.qcow2",
					  "base.qcow2", NULL};

	chain("short.qcow2", all);
	wanted = guest_of("work/short.qcow2");
}

static enum q2_status run_longer(struct q2_err *err)
{
	return flatten(Q2_COMMIT, "work/base.qcow2", err);
}

static bool right_longer(bool done)
{
	return finishes(Q2_COMMIT, "work/base.qcow2", done) &&
	       is_usable("work/base.qcow2");
}

/* ------------------------------------------------------------------- damage */
static void set_byte(const char *path, long at, int value)
{
	char c = (char)value;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, &c, 1, at) != 1)
		die("%s cannot be changed", path);
	close(fd);
}

/* QEMU has set the bit that says so; or it would, for an entry that is none. */
static enum q2_status run_corrupt(struct q2_err *err)
{
	static const char *const changed[] = {"work/shot.qcow2",
					      "work/mid.qcow2",
					      "work/base.qcow2"};
	enum q2_status st = Q2_OK;

	for (int i = 0; i < 6 && st == Q2_OK; i++) {
		int byte = i % 2 ? 39 : 79; /* entries of the L1 table; features */

		snapshots();
		set_byte(changed[i / 2], byte, i % 2 ? 0 : 2);
		*err = (struct q2_err){0};
		st = refused(Q2_COMMIT, "2", Q2_E_FORMAT,
			     i % 2 ? "L1" : "CORRUPT_BIT", err);
	}
	return st;
}

const struct scene refuse_scenes[] = {
	{"snapshot between", snapshots, run_mid, unchanged, SCENE_FEW},
	{"snapshot of the top", snapshots, run_top, unchanged, SCENE_FEW},
	{"snapshot and absorb", snapshots, run_absorb, unchanged, SCENE_FEW},
	{"snapshot of all", full, run_full, right_full, SCENE_FEW},
	{"snapshot of all, absorb", full, run_full_absorb, right_full_absorb,
	 SCENE_FEW},
	{"snapshot of a longer disk", longer, run_longer, right_longer,
	 SCENE_FEW},
	{"corrupt members", snapshots, run_corrupt, NULL, SCENE_ONCE},
	{0},
};
