/*
 * q2calls.c - each call of the library to the system, and each allocation, fails in
 * turn, in the middle of all kinds of work.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: q2calls [SCENE...]     in a folder with images in "given", and "work"
 *
 * Whatever fails: it is said, with a cause, unless the work is done all the same, and
 * then it is as if nothing had failed.  No memory and no descriptor is left behind.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calls.h"

#define FILES                                                                  \
	(FAIL_OPEN | FAIL_STAT | FAIL_READ | FAIL_WRITE | FAIL_SIZE |          \
	 FAIL_SYNC | FAIL_NAME | FAIL_LOCK)

enum way_flag {
	WAY_HARMLESS = 1 << 0, /* the work has to succeed */
	/* In each place of the code once or twice, and not here and there. */
	WAY_PLACES = 1 << 1
};

static const struct way {
	const char *name;
	unsigned kinds;
	int error;
	enum fail_mode how;
	unsigned flags; /* enum way_flag */
} ways[] = {
	{"no memory", FAIL_ALLOC, ENOMEM, FAIL_ONCE, WAY_PLACES},
	{"no memory any more", FAIL_ALLOC, ENOMEM, FAIL_FROM, 0},
	{"input or output error", FILES, EIO, FAIL_ONCE, WAY_PLACES},
	{"the disk is gone",
	 FAIL_READ | FAIL_WRITE | FAIL_SIZE | FAIL_SYNC, EIO, FAIL_FROM, 0},
	{"no space", FAIL_WRITE | FAIL_SIZE | FAIL_NAME, ENOSPC, FAIL_FROM, 0},
	{"not there", FAIL_OPEN | FAIL_STAT | FAIL_NAME, ENOENT, FAIL_ONCE, 0},
	{"forbidden", FAIL_OPEN | FAIL_LOCK | FAIL_NAME, EACCES, FAIL_ONCE, 0},
	{"in use", FAIL_LOCK, EAGAIN, FAIL_ONCE, 0},
	{"cannot be done here",
	 FAIL_SIZE | FAIL_SYNC | FAIL_NAME | FAIL_LOCK, EOPNOTSUPP, FAIL_ONCE,
	 0},
	{"makes no sense here",
	 FAIL_SIZE | FAIL_SYNC | FAIL_NAME | FAIL_LOCK, EINVAL, FAIL_ONCE, 0},
	{"not known here", FAIL_SIZE | FAIL_NAME | FAIL_LOCK, ENOSYS, FAIL_FROM,
	 0},
	{"interrupted", FAIL_READ | FAIL_WRITE, EINTR, FAIL_ONCE, WAY_HARMLESS},
	{"interrupted elsewhere", FAIL_SIZE | FAIL_SYNC | FAIL_LOCK, EINTR,
	 FAIL_ONCE, 0},
	{"not now", FAIL_WRITE, EAGAIN, FAIL_ONCE, 0},
	{"nothing is done", FAIL_READ | FAIL_WRITE, 0, FAIL_NOTHING, 0},
	{"short", FAIL_READ | FAIL_WRITE, 0, FAIL_SHORT, WAY_HARMLESS},
	{"no thread", FAIL_THREAD, EAGAIN, FAIL_FROM, WAY_HARMLESS},
	{"the server fails", FAIL_NET, EIO, FAIL_ONCE, WAY_PLACES},
	{"the server is gone", FAIL_NET, EIO, FAIL_FROM, 0},
	{"the reader is gone", FAIL_SINK, EPIPE, FAIL_ONCE, WAY_PLACES},
};

#define MANY 50 /* calls that fail, of each sweep */
#define FEW 25
#define PLACES_MAX 4096

static unsigned long passed, failed;

bool in_use, lockless;

/* ------------------------------------------------------------------ results */
#define RESULT_MAX (4u << 20)
static char result[RESULT_MAX], expected[RESULT_MAX];
static size_t result_len, expected_len;

void result_clear(void)
{
	result_len = 0;
}

void result_add(const void *bytes, size_t n)
{
	if (n > RESULT_MAX - result_len)
		die("more than %u bytes of result", RESULT_MAX);
	memcpy(result + result_len, bytes, n);
	result_len += n;
}

static int take(void *ctx, const char *bytes, size_t n)
{
	(void)ctx;
	if (fail_now(FAIL_SINK))
		return -1;
	result_add(bytes, n);
	return 0;
}

const struct q2_sink to_result = {take, NULL};

/* -------------------------------------------------------------------- sweep */
static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* What is wrong after one run; NULL if nothing is. */
static const char *wrong(const struct scene *s, const struct way *w, bool hit,
			 enum q2_status st, const struct q2_err *err)
{
	bool told = s->flags & SCENE_TOLERANT && w->kinds != FAIL_ALLOC;

	lockless = w->kinds & FAIL_LOCK &&
		   (w->error == EOPNOTSUPP || w->error == ENOSYS);
	in_use = w->kinds == FAIL_LOCK && w->error == EAGAIN;
	if (!hit && st != Q2_OK)
		return "it fails though nothing did";
	if (st != Q2_OK && w->flags & WAY_HARMLESS)
		return "it fails where it need not";
	if (st != Q2_OK && w->kinds != FAIL_SINK && err->text[0] == '\0')
		return "it fails and does not say why";
	if (st == Q2_OK && !(hit && told) &&
	    (result_len != expected_len ||
	     memcmp(result, expected, result_len) != 0))
		return "the result is another one";
	if (s->right && !s->right(st == Q2_OK))
		return st == Q2_OK ? "its work is not done" :
				     "it leaves the files wrong";
	return NULL;
}

/* One run in which call k fails; 0: none does. */
static unsigned long one(const struct scene *s, const struct way *w,
			 unsigned long k)
{
	struct q2_err err = {0};
	enum q2_status st;
	unsigned long n;
	unsigned before;
	const char *why;
	long blocks;

	s->set_up();
	before = descriptors();
	result_clear();
	blocks = fail_blocks();
	if (k)
		fail_calls(w->kinds, k, w->error, w->how);
	else
		fail_trace(w->kinds);
	st = s->run(&err);
	n = fail_counted();
	fail_calls(0, 0, 0, FAIL_ONCE);
	if (fail_blocks() != blocks)
		why = "it leaves memory behind";
	else if (descriptors() != before)
		why = "it leaves files open";
	else
		why = wrong(s, w, k && n >= k, st, &err);
	if (why) {
		failed++;
		fprintf(stderr,
			"calls: %s, %s at call %lu: %s (status %d, %s)\n",
			s->name, w->name, k, why, (int)st, err.text);
	} else {
		passed++;
	}
	return n;
}

static void sweep(const struct scene *s, const struct way *w)
{
	static unsigned long places[PLACES_MAX];
	unsigned long n = one(s, w, 0);
	unsigned long most = s->flags & SCENE_FEW ? FEW : MANY;
	unsigned long step = n / most + 1;
	unsigned n_places = fail_places(places, PLACES_MAX);

	if (w->flags & WAY_PLACES) {
		for (unsigned i = 0; i < n_places; i++)
			(void)one(s, w, places[i]);
		return;
	}
	/* Another run may call a little more or less often. */
	for (unsigned long k = 1; k <= n; k += step)
		(void)one(s, w, k);
}

static void perform(const struct scene *s)
{
	struct q2_err err = {0};

	/* What libraries make once is made now. */
	for (int i = 0; i < 2; i++) {
		s->set_up();
		result_clear();
		if (s->run(&err) != Q2_OK)
			die("%s: %s", s->name, err.text);
	}
	memcpy(expected, result, result_len);
	expected_len = result_len;
	if (s->flags & SCENE_ONCE) {
		(void)one(s, &ways[0], 0);
		return;
	}
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (ways[i].how != FAIL_NOTHING || !(s->flags & SCENE_ENDS))
			sweep(s, &ways[i]);
}

static bool wanted(const struct scene *s, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strncmp(s->name, argv[i], strlen(argv[i])) == 0)
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	static const struct scene *const all[] = {
		io_scenes,    cli_scenes,   sandbox_scenes, nbd_scenes,
		device_scenes, lock_scenes,
		dump_scenes, place_scenes, map_scenes, bound_scenes,
		refuse_scenes, repair_scenes,
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (const struct scene *s = all[i]; s->name; s++)
			if (wanted(s, argc, argv))
				perform(s);
	printf("calls: %lu passed, %lu failed\n", passed, failed);
	return failed != 0 || passed == 0;
}
