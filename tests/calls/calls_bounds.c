/*
 * calls_bounds.c - forecasts where memory is short, and for devices.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "fakedev.h"

/* More than half of it is needed before anything is rehearsed. */
#define LITTLE (UINT64_C(3) << 19)

static void nothing(void)
{
	int fd;

	empty_work();
	copy_file("given/empty.qcow2", "work/empty.qcow2");
	fd = open("work/apart.bin", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 112 << 20) < 0)
		die("work/apart.bin cannot be made");
	close(fd);
}

/* ------------------------------------------------------------------ bounds */
static uint64_t absorbing(const char *path, uint64_t memory)
{
	struct q2_inplace_opts o = {.job = Q2_ABSORB,
				    .flags = Q2_INPLACE_DRY_RUN |
					     Q2_INPLACE_ALLOW_ANY,
				    .max_memory = memory,
				    .available = UINT64_MAX};
	struct q2_inplace_result r = {0};
	struct q2_err err = {0};

	if (q2_inplace(path, &o, &r, &err) != Q2_OK)
		die("%s: %s", path, err.text);
	return r.needed;
}

/* The bound is no less, and not much more, than what it comes to. */
static bool close_to(uint64_t bound, uint64_t exact)
{
	if (bound >= exact && bound - exact <= exact / 16)
		return true;
	fprintf(stderr, "calls: %llu instead of %llu\n",
		(unsigned long long)bound, (unsigned long long)exact);
	return false;
}

static enum q2_status run_bounds(struct q2_err *err)
{
	static const char *const tops[] = {"given/wide2.qcow2",
					   "given/wide3.qcow2",
					   "given/apart.qcow2"};
	struct q2_inplace_opts commit = {.job = Q2_COMMIT,
					 .max_memory = LITTLE};
	struct q2_commit_cost little, ample;
	enum q2_status st;

	for (int i = 0; i < 3; i++)
		if (!close_to(absorbing(tops[i], LITTLE), absorbing(tops[i], 0)))
			die("%s", tops[i]);
	st = q2_forecast_commit("given/deep.qcow2", &commit, &little, err);
	commit.max_memory = 0;
	if (st == Q2_OK)
		st = q2_forecast_commit("given/deep.qcow2", &commit, &ample, err);
	if (st == Q2_OK && (little.exact || !ample.exact ||
			    !close_to(little.bound, ample.length_after -
						   ample.length_before)))
		die("given/deep.qcow2");
	return st;
}

/* With no room for it, nothing is done; where memory suffices, by what it comes to. */
static enum q2_status run_no_room(struct q2_err *err)
{
	static const char *const says[] = {"may need", "needs"};
	struct q2_inplace_opts o = {.job = Q2_COMMIT, .available = 1000};

	for (int i = 0; i < 2; i++) {
		struct q2_inplace_result r = {0};
		struct q2_err why = {0};

		o.max_memory = i ? 0 : LITTLE;
		if (q2_inplace("given/deep.qcow2", &o, &r, &why) != Q2_E_IO ||
		    why.sys_errno != ENOSPC || !strstr(why.text, says[i]))
			die("no room: %s", why.text);
	}
	(void)err;
	return same_file("given/empty.qcow2", "work/empty.qcow2") ? Q2_OK :
								    Q2_E_CHANGED;
}

/* ------------------------------------------------------------------- devices */
static struct fake_device disk = {.path = "work/raw.img", .major = 8, .minor = 48};
static struct q2_commit_cost cost;

/* The raw image is smaller than what lies above it, and a device stays so. */
static void small_device(void)
{
	empty_work();
	copy_file("given/raw.img", "work/raw.img");
	copy_file("given/over.qcow2", "work/over.qcow2");
	fake_device(&disk);
}

static enum q2_status run_small(struct q2_err *err)
{
	struct q2_inplace_opts o = {.job = Q2_COMMIT};
	struct q2_inplace_result r = {0};
	enum q2_status st = q2_inplace("work/over.qcow2", &o, &r, err);

	if (st == Q2_OK)
		die("more is committed than there is room for");
	return strstr(err->text, "device") ? Q2_OK : st;
}

static bool right_small(bool done)
{
	(void)done;
	return same_file("given/raw.img", "work/raw.img") &&
	       same_file("given/over.qcow2", "work/over.qcow2");
}

#define LARGE (128 << 10)

static void large_device(void)
{
	int fd;

	empty_work();
	copy_file("given/raw.img", "work/raw.img");
	copy_file("given/over.qcow2", "work/over.qcow2");
	fd = open("work/raw.img", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, "", 1, LARGE - 1) < 0)
		die("work/raw.img cannot be made larger");
	close(fd);
	fake_device(&disk);
}

static enum q2_status run_large(struct q2_err *err)
{
	struct q2_inplace_opts o = {.job = Q2_COMMIT};
	enum q2_status st = q2_forecast_commit("work/over.qcow2", &o, &cost, err);

	cost.available = 0;
	for (int f = 0; f < 2 && st == Q2_OK; f++)
		st = q2_commit_cost_report(&cost, "over", (enum q2_doc_form)f,
					   &to_result);
	if (st != Q2_OK && err->text[0] == '\0')
		strcpy(err->text, q2_status_text(st));
	return st;
}

static bool right_large(bool done)
{
	return !done || (cost.device && cost.raw && cost.exact &&
			 cost.needed == 0 && cost.bound == 0 &&
			 cost.length_before == LARGE);
}

const struct scene bound_scenes[] = {
	{"bounds", nothing, run_bounds, NULL, SCENE_ONCE},
	{"bounds and no room", nothing, run_no_room, NULL, SCENE_ONCE},
	{"forecast to a device", large_device, run_large, right_large,
	 SCENE_TOLERANT},
	{"commit to a small device", small_device, run_small, right_small, 0},
	{0},
};
