/*
 * calls_io.c - files are made, written and locked.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "calls.h"
#include "io/io.h"

static const char text[] = "neither more nor less";

/* A file that appears complete, or not at all; an older one stays until then. */
static enum q2_status publish(bool replace, struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_create("work/new", &io, err);

	if (st == Q2_OK)
		st = q2_pwrite(io, text, sizeof(text), 0, err);
	if (st == Q2_OK)
		st = q2_io_publish(io, replace, err);
	q2_io_close(io);
	return st;
}

static enum q2_status run_publish(struct q2_err *err)
{
	return publish(false, err);
}

static bool right_publish(bool done)
{
	return strcmp(names_at_work(), done ? "new " : "") == 0;
}

static void older(void)
{
	empty_work();
	copy_file("given/raw.img", "work/new");
}

static enum q2_status run_replace(struct q2_err *err)
{
	return publish(true, err);
}

/* A name that may be lost in a crash is taken away. */
static bool right_replace(bool done)
{
	return done ? strcmp(names_at_work(), "new ") == 0 :
		      names_at_work()[0] == '\0' ||
			      same_file("work/new", "given/raw.img");
}

static enum q2_status run_change(struct q2_err *err)
{
	uint64_t when = 0, facts = 0, dev, inode;
	char bytes[sizeof(text)];
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw("work/new", &io, err);

	if (st == Q2_OK)
		st = q2_pwrite(io, text, sizeof(text), 1000, err);
	if (st == Q2_OK)
		st = q2_resize(io, 300 << 10, err);
	if (st == Q2_OK)
		st = q2_flush(io, err);
	if (st == Q2_OK)
		st = q2_io_changed(io, &when, err);
	if (st == Q2_OK)
		st = q2_io_set_changed(io, when, err);
	if (st == Q2_OK)
		st = q2_pread(io, bytes, sizeof(bytes), 1000, err);
	if (st == Q2_OK) {
		struct q2_range r = q2_io_data(io, 4096);
		struct q2_err why = {0};

		/* These are asked for what they can tell. */
		if (q2_io_discard(io, (struct q2_range){8192, 8192}, &why) != Q2_OK)
			result_clear();
		(void)q2_io_facts(io, 1, &facts);
		(void)q2_io_traces(io, 1, &facts);
		(void)q2_io_identity(io, &dev, &inode);
		(void)q2_io_shown(io, &dev, &inode);
		(void)q2_io_in_use(io);
		(void)q2_io_unseen(io);
		q2_io_soon(io, r);
		result_add(bytes, sizeof(bytes));
	}
	q2_io_close(io);
	return st;
}

static enum q2_status run_reopen(struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_reopen("work/new", &io, err);

	if (st == Q2_OK)
		st = q2_resize(io, 100, err);
	q2_io_close(io);
	return st;
}

static bool right_names(bool done)
{
	(void)done;
	return strcmp(names_at_work(), "new ") == 0;
}

const struct scene io_scenes[] = {
	{"publish", empty_work, run_publish, right_publish, 0},
	{"replace", older, run_replace, right_replace, 0},
	{"change", older, run_change, right_names, 0},
	{"reopen", older, run_reopen, right_names, 0},
	{0},
};
