/*
 * calls_lock.c - images that another process uses.
 *
 * SPDX-License-Identifier: MIT
 *
 * They are not opened for writing, whatever else fails; and who uses them is told
 * where that can be found out.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "fakedev.h"
#include "io/io.h"

#define IMAGE "work/image"

/* Locks that QEMU takes; and one on the whole of the file, as others do. */
static const struct flock writer = {.l_type = F_RDLCK,
				    .l_whence = SEEK_SET,
				    .l_start = 101,
				    .l_len = 1},
			  reader = {.l_type = F_RDLCK,
				    .l_whence = SEEK_SET,
				    .l_start = 100,
				    .l_len = 1},
			  strict = {.l_type = F_WRLCK,
				    .l_whence = SEEK_SET,
				    .l_start = 203,
				    .l_len = 1},
			  sizing = {.l_type = F_RDLCK,
				    .l_whence = SEEK_SET,
				    .l_start = 103,
				    .l_len = 1},
			  denier = {.l_type = F_RDLCK,
				    .l_whence = SEEK_SET,
				    .l_start = 201,
				    .l_len = 1},
			  whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

static pid_t holder;
static int held = -1; /* the holder ends when this is closed */
static enum q2_in_use expected;
static bool opened;

static void end_holder(void)
{
	if (holder > 0) {
		(void)kill(holder, SIGKILL);
		(void)waitpid(holder, NULL, 0);
	}
	holder = 0;
	if (held >= 0)
		close(held);
	held = -1;
}

/* Another process has it open twice, once with this lock. */
static void hold(const struct flock *lock, enum q2_in_use as)
{
	struct flock l = *lock;
	int ends[2], until[2];
	char ready;

	end_holder();
	empty_work();
	copy_file("given/raw.img", IMAGE);
	if (pipe(ends) != 0 || pipe(until) != 0 || (holder = fork()) < 0)
		die("no other process");
	if (holder == 0) {
		int fd[2] = {open(IMAGE, O_RDWR), open(IMAGE, O_RDWR)};

		close(until[1]);
		if (fd[0] < 0 || fd[1] < 0 || fcntl(fd[1], F_OFD_SETLK, &l) != 0 ||
		    write(ends[1], "", 1) != 1)
			abort();
		while (read(until[0], &ready, 1) != 0)
			;
		(void)kill(getpid(), SIGKILL);
	}
	held = until[1];
	close(until[0]);
	close(ends[1]);
	if (read(ends[0], &ready, 1) != 1)
		die("the other process holds no lock");
	close(ends[0]);
	expected = as;
}

static enum q2_status run_held(struct q2_err *err)
{
	struct q2_err e = {0};
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(IMAGE, &io, &e);
	char who[40];

	opened = st == Q2_OK;
	if (opened) {
		q2_io_close(io);
		return Q2_OK;
	}
	if (st != Q2_E_IN_USE) {
		*err = e;
		return st;
	}
	snprintf(who, sizeof(who), "held by process %d (q2calls)", (int)holder);
	result_add("in use", 6);
	if (strstr(e.text, who))
		result_add(", and by whom", 13);
	st = q2_io_open(IMAGE, &io, err);
	if (st == Q2_OK)
		(void)q2_io_in_use(io);
	q2_io_close(io);
	return st;
}

static bool right_held(bool done)
{
	struct q2_err err = {0}, e = {0};
	struct q2_io *io;
	char who[40];
	bool good;

	(void)done;
	if (opened && !lockless)
		return false;
	snprintf(who, sizeof(who), "held by process %d (q2calls)", (int)holder);
	good = q2_io_open_rw(IMAGE, &io, &e) == Q2_E_IN_USE &&
	       strstr(e.text, who) != NULL;
	if (!good)
		fprintf(stderr, "calls: %s\n", e.text);
	if (q2_io_open(IMAGE, &io, &err) != Q2_OK)
		die("%s", err.text);
	good = good && q2_io_in_use(io) == expected;
	q2_io_close(io);
	end_holder();
	return good && q2_io_open_rw(IMAGE, &io, &err) == Q2_OK &&
	       (q2_io_close(io), true);
}

static void by_writer(void)
{
	hold(&writer, Q2_USE_WRITER);
}

static void by_sizing(void)
{
	hold(&sizing, Q2_USE_WRITER);
}

static void by_reader(void)
{
	hold(&reader, Q2_USE_READER);
}

static void by_denier(void)
{
	hold(&denier, Q2_USE_READER);
}

static void by_strict(void)
{
	hold(&strict, Q2_USE_READER);
}

static void by_whole(void)
{
	hold(&whole, Q2_USE_WRITER);
}

/* It is a device, too. */
static void on_device(void)
{
	static struct fake_device disk = {
		.path = IMAGE, .major = 8, .minor = 32};

	hold(&writer, Q2_USE_WRITER);
	fake_device(&disk);
}

/* ------------------------------------------------------- what is forecast then */
static void chain_held(void)
{
	hold(&writer, Q2_USE_WRITER);
	copy_file("given/base.qcow2", "work/base.qcow2");
	copy_file("given/top.qcow2", IMAGE);
}

static char text[8000];
static size_t text_len;

static int take_text(void *ctx, const char *bytes, size_t n)
{
	(void)ctx;
	if (n >= sizeof(text) - text_len)
		die("a text of more than %zu bytes", sizeof(text));
	memcpy(text + text_len, bytes, n);
	text_len += n;
	text[text_len] = '\0';
	return 0;
}

static enum q2_status run_chain(struct q2_err *err)
{
	static const struct q2_sink to_text = {take_text, NULL};
	struct q2_disk_opts opts = {.chain = true};
	struct q2_inplace_opts merge = {.job = Q2_COMMIT};
	struct q2_commit_cost cost, *costs[2] = {&cost, NULL};
	struct q2_layer_cost layers[2];
	struct q2_disk *disk;
	enum q2_status st = q2_disk_open(IMAGE, &opts, &disk, err);

	text_len = 0;
	if (st == Q2_OK)
		st = q2_disk_layer_costs(disk, layers, 2, NULL, NULL, err);
	if (st == Q2_OK)
		st = q2_forecast_commit(IMAGE, &merge, &cost, err);
	layers[1].unreadable = 4096;
	for (int f = 0; f < 2 && st == Q2_OK; f++)
		st = q2_layers_report(disk, "top", layers, costs, 2,
				      (enum q2_doc_form)f, &to_text);
	q2_disk_close(disk);
	if (st != Q2_OK && err->text[0] == '\0')
		strcpy(err->text, q2_status_text(st));
	return st;
}

static bool right_chain(bool done)
{
	end_holder();
	return !done ||
	       (strstr(text, "but: 'work/image' is in use by another process") &&
		strstr(text, "\"objection\": \"'work/image' is in use") &&
		strstr(text, "\"unreadable\": 4096"));
}

const struct scene lock_scenes[] = {
	{"held by a writer", by_writer, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{"held to be resized", by_sizing, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{"held by a reader", by_reader, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{"held against writers", by_denier, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{"held strictly", by_strict, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{"held whole", by_whole, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{"layers held", chain_held, run_chain, right_chain, SCENE_ONCE},
	{"device held", on_device, run_held, right_held,
	 SCENE_TOLERANT | SCENE_FEW},
	{0},
};
