/*
 * calls_device.c - block devices, and loop devices that show a file.
 *
 * SPDX-License-Identifier: MIT
 *
 * A device keeps its size whatever is done, and what lies behind a disk that is
 * written there stays.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calls.h"
#include "fakedev.h"
#include "io/file.h"
#include "io/target.h"

#define DEVICE "work/device"
#define SIZE (160u << 10)

static struct fake_device disk = {.path = DEVICE, .major = 8, .minor = 16},
			  loop = {.path = DEVICE,
				  .major = 7,
				  .minor = 3,
				  .shows = "work/shown"};

static void put(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "we");

	if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
		die("%s cannot be written", path);
}

static char bytes[SIZE];

static void device_there(void)
{
	empty_work();
	memset(bytes, 0xff, sizeof(bytes));
	put(DEVICE, bytes, sizeof(bytes));
	disk.no_zeros = disk.no_discard = false;
	fake_device(&disk);
}

static void plain_device_there(void)
{
	device_there();
	disk.no_zeros = disk.no_discard = true;
}

static void loop_there(void)
{
	char path[4000], *real;

	device_there();
	put("work/shown", bytes, sizeof(bytes));
	real = realpath("work/shown", NULL);
	snprintf(path, sizeof(path), "%s\n", real);
	free(real);
	put("work/backing_file", path, strlen(path));
	loop.offset = loop.limit = 0;
	fake_device(&loop);
}

static size_t load(const char *path, char *to, size_t room)
{
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(to, 1, room, f) : 0;

	if (f)
		fclose(f);
	return n;
}

/* Nothing has another size, and nothing is there that was not. */
static bool as_large(const char *names)
{
	static char now[SIZE + 1];

	return strcmp(names_at_work(), names) == 0 &&
	       load(DEVICE, now, sizeof(now)) == SIZE;
}

/* ------------------------------------------------------------------- its bytes */
static const char text[] = "neither more nor less";

/* It must not be done, and is refused. */
static enum q2_status refused(enum q2_status st, const char *what)
{
	if (st != Q2_E_RANGE)
		die("not refused: %s", what);
	return Q2_OK;
}

static enum q2_status use(struct q2_io *io, struct q2_err *err)
{
	struct q2_range all;
	uint64_t when;
	enum q2_status st = q2_pwrite(io, text, sizeof(text), 4096, err);

	if (st == Q2_OK)
		st = q2_flush(io, err);
	if (st == Q2_OK)
		st = q2_io_changed(io, &when, err);
	if (st == Q2_OK)
		st = q2_io_set_changed(io, 1000, err);
	if (st != Q2_OK)
		return st;
	all = q2_io_data(io, 512);
	if (io->size != SIZE || all.start != 512 || all.len != SIZE - 512 ||
	    when != 0 || !io->is_device)
		die("it is another device");
	st = refused(q2_pwrite(io, text, sizeof(text), SIZE - 3, NULL), "a write");
	if (st == Q2_OK)
		st = refused(q2_resize(io, SIZE + 512, NULL), "more room");
	if (st == Q2_OK)
		st = refused(q2_resize(io, SIZE - 512, NULL), "less room");
	return st == Q2_OK ? q2_resize(io, SIZE, err) : st;
}

static enum q2_status run_device(struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(DEVICE, &io, err);

	if (st == Q2_OK)
		st = use(io, err);
	if (st == Q2_OK) {
		struct q2_err e = {0};

		/* Where it cannot be done, that is what is said. */
		st = q2_io_discard(io, (struct q2_range){8192, 8192}, &e);
		if (st == Q2_E_UNSUPPORTED || e.sys_errno)
			st = Q2_OK;
	}
	q2_io_close(io);
	return st;
}

static bool right_device(bool done)
{
	static char now[SIZE];

	return as_large("device ") && load(DEVICE, now, SIZE) == SIZE &&
	       (!done || memcmp(now + 4096, text, sizeof(text)) == 0);
}

/* --------------------------------------------------- whether it was written to */
static uint64_t traces(const char *why, bool *known)
{
	struct q2_err err = {0};
	struct q2_io *io;
	uint64_t facts = 0;

	if (q2_io_open(DEVICE, &io, &err) != Q2_OK)
		die("%s: %s", DEVICE, err.text);
	*known = q2_io_traces(io, 1, &facts);
	if ((q2_io_unseen(io) != NULL) != (why != NULL))
		die("what is not seen of a device");
	q2_io_close(io);
	return facts;
}

/* What cannot be told is not known. */
static enum q2_status run_traces(struct q2_err *err)
{
	uint64_t facts = 0, device = 0, inode = 0;
	struct q2_io *io;
	enum q2_status st = q2_io_open(DEVICE, &io, err);
	char below[4096];
	struct stat sb;
	bool known[4];

	if (st != Q2_OK)
		return st;
	known[0] = q2_io_traces(io, 1, &facts);
	known[1] = q2_io_shown(io, &device, &inode);
	known[2] = q2_target_shown(DEVICE, &device, &inode);
	known[3] = q2_loop_file(DEVICE, &sb, below, sizeof(below));
	result_add(known, sizeof(known));
	(void)q2_io_unseen(io);
	q2_io_close(io);
	return Q2_OK;
}

#define STAT "given/sys/stat"
#define COUNTED "given/sys/queue/iostats"

static bool right_traces(bool done)
{
	static const char before[] = "1 0 8 0 20 0 160 0 0 0 0 3 0 16 0 0 0\n";
	static const char after[] = "1 0 8 0 20 0 161 0 0 0 0 3 0 16 0 0 0\n";
	bool known[3], nothing[2];
	uint64_t is[3];

	(void)done;
	is[0] = traces("a disk", &known[0]);
	put(STAT, after, sizeof(after) - 1);
	is[1] = traces("a disk", &known[1]);
	put(STAT, "1 0 8 0 20 0 0", 14);
	(void)traces("a disk", &nothing[0]);
	put(STAT, before, sizeof(before) - 1);
	put(COUNTED, "0\n", 2);
	(void)traces("a disk", &nothing[1]);
	put(COUNTED, "1\n", 2);
	is[2] = traces("a disk", &known[2]);
	return known[0] && known[1] && !nothing[0] && !nothing[1] && known[2] &&
	       is[0] == is[2] && is[0] != is[1];
}

/* What the kernel says where that file cannot be found, or is none. */
static bool right_names(void)
{
	static const struct {
		const char *text;
		size_t n;
	} names[] = {
		{"", 0},	 {"\n", 1},	    {"/no/newline", 11},
		{"relative\n", 9}, {"/zero\0zero\n", 11}, {"/nowhere\n", 9},
		{"/tmp\n", 5},	 {"/dev/null\n", 10},
	};
	char below[4096], before[4096];
	size_t n = load("work/backing_file", before, sizeof(before));
	struct stat sb;
	bool found = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		put("work/backing_file", names[i].text, names[i].n);
		found |= q2_loop_file(DEVICE, &sb, below, sizeof(below));
	}
	put("work/backing_file", before, n);
	/* Neither is there a file that is another one by now. */
	loop.shows = "given/raw.img";
	fake_device(&loop);
	found |= q2_loop_file(DEVICE, &sb, below, sizeof(below));
	loop.shows = "work/shown";
	fake_device(&loop);
	found |= q2_loop_file(DEVICE, &sb, below, n - 1) ||
		 q2_loop_file("work/shown", &sb, below, sizeof(below));
	loop.limit = 4096;
	found |= q2_loop_file(DEVICE, &sb, below, sizeof(below));
	loop.limit = 0;
	return !found;
}

/* It is as the file that it shows. */
static bool right_loop(bool done)
{
	struct stat sb;
	bool known[3], whole;
	char below[4096];
	uint64_t is[3], device, inode;
	struct q2_err err = {0};
	struct q2_io *io;

	(void)done;
	is[0] = traces(NULL, &known[0]);
	loop.offset = 4096;
	is[1] = traces(NULL, &known[1]);
	whole = q2_loop_file(DEVICE, &sb, below, sizeof(below));
	loop.offset = 0;
	put("work/shown", text, sizeof(text));
	is[2] = traces(NULL, &known[2]);
	if (q2_io_open(DEVICE, &io, &err) != Q2_OK)
		die("%s", err.text);
	known[2] = known[2] && q2_io_shown(io, &device, &inode) &&
		   stat("work/shown", &sb) == 0 && inode == sb.st_ino &&
		   device == sb.st_dev;
	q2_io_close(io);
	if (!right_names())
		return false;
	return known[0] && known[1] && known[2] && is[0] != is[1] &&
	       is[0] != is[2] && !whole &&
	       q2_loop_file(DEVICE, &sb, below, sizeof(below)) &&
	       strcmp(below + strlen(below) - 6, "/shown") == 0;
}

/* ------------------------------------------------------------ a disk is written */
static enum q2_status run_dump(struct q2_err *err)
{
	struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER};
	struct q2_dump_opts how = {.scan.threads = 1,
				   .flags = Q2_DUMP_VERIFY,
				   .length = UINT64_MAX};
	struct q2_dump_result r;
	struct q2_guest *guest;
	enum q2_status st = q2_guest_open("given/top.qcow2", &opts, &guest, err);

	if (st == Q2_OK)
		st = q2_dump(guest, DEVICE, &how, &r, err);
	q2_guest_close(guest);
	if (st == Q2_OK)
		result_add(&r.digest, sizeof(r.digest));
	return st;
}

#define GUEST (128u << 10)

static bool right_dump(bool done)
{
	static char now[SIZE], wanted[GUEST];
	bool good = as_large("device ") && load(DEVICE, now, SIZE) == SIZE &&
		    load("given/top.raw", wanted, GUEST) == GUEST;

	for (size_t i = GUEST; good && i < SIZE; i++)
		good = now[i] == '\xff';
	return good && (!done || memcmp(now, wanted, GUEST) == 0);
}

/* ------------------------------------------------------------ an image on one */
static struct q2_digest wanted;

static void image_there(const char *name)
{
	size_t n;

	empty_work();
	memset(bytes, 0, sizeof(bytes));
	n = load(name, bytes, sizeof(bytes));
	if (n == 0 || n == sizeof(bytes))
		die("%s: %zu bytes", name, n);
	put(DEVICE, bytes, sizeof(bytes));
	disk.no_zeros = disk.no_discard = false;
	fake_device(&disk);
}

static void top_there(void)
{
	image_there("given/top.qcow2");
	copy_file("given/base.qcow2", "work/base.qcow2");
	wanted = guest_of("given/top.qcow2");
}

static const struct q2_inplace_opts absorb = {
	.job = Q2_ABSORB,
	.flags = Q2_INPLACE_STALE_BITMAPS,
};

static enum q2_status flatten(const char *path, const struct q2_inplace_opts *o,
			      struct q2_err *err)
{
	struct q2_inplace_result r = {0};

	return q2_inplace(path, o, &r, err);
}

static enum q2_status run_absorb(struct q2_err *err)
{
	return flatten(DEVICE, &absorb, err);
}

static bool right_absorb(bool done)
{
	struct q2_err err = {0};

	return same_file("given/base.qcow2", "work/base.qcow2") &&
	       as_large("base.qcow2 device ") && same_guest(DEVICE, &wanted) &&
	       (done || flatten(DEVICE, &absorb, &err) == Q2_OK) &&
	       same_guest(DEVICE, &wanted) && is_usable(DEVICE);
}

/* The base lies on the device. */
static void base_there(void)
{
	image_there("given/base.qcow2");
	copy_file("given/top.qcow2", "work/top.qcow2");
	if (symlink("device", "work/base.qcow2") != 0)
		die("work/base.qcow2 cannot be made");
	wanted = guest_of("given/top.qcow2");
}

static const struct q2_inplace_opts commit = {
	.job = Q2_COMMIT,
	.flags = Q2_INPLACE_STALE_BITMAPS,
};

static enum q2_status run_commit(struct q2_err *err)
{
	static const char *const siblings[] = {"work", NULL};
	struct q2_inplace_opts o = commit;

	o.siblings = siblings;
	return flatten("work/top.qcow2", &o, err);
}

static bool right_commit(bool done)
{
	struct q2_err err = {0};

	if (!same_guest("work/top.qcow2", &wanted) ||
	    !as_large("base.qcow2 device top.qcow2 "))
		return false;
	if (!done && run_commit(&err) != Q2_OK) {
		fprintf(stderr, "calls: not finished: %s\n", err.text);
		return false;
	}
	return is_usable(DEVICE) && same_guest(DEVICE, &wanted);
}

const struct scene device_scenes[] = {
	{"device", device_there, run_device, right_device, 0},
	{"plain device", plain_device_there, run_device, right_device, 0},
	{"device, traces", device_there, run_traces, right_traces,
	 SCENE_TOLERANT},
	{"loop device", loop_there, run_traces, right_loop, SCENE_TOLERANT},
	{"dump to a device", device_there, run_dump, right_dump, 0},
	{"dump to a plain device", plain_device_there, run_dump, right_dump, 0},
	{"absorb on a device", top_there, run_absorb, right_absorb, 0},
	{"commit to a device", base_there, run_commit, right_commit, 0},
	{0},
};
