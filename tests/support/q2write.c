/*
 * q2write.c - exercises the copy-on-write writer on an image.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: q2write MODE IMAGE VIEW [below=FILE] [snap=FILE]... [seed=N] [ops=N]
 *                [batch=N] [flags=N] [out=FILE] [fixed]
 *
 * IMAGE is read only.  VIEW is what a guest reads in it, snap= what it would read
 * in each internal snapshot, below= the disk below; all made by somebody else.
 * "fixed" says that the disk cannot grow.  Modes:
 *   random   random operations; checked and compared after each commit
 *   crash    the same; then each moment at which the machine might have stopped
 *   faults   the same again and again, until each operation on the file and each
 *            allocation has failed once
 *
 *        q2write edit IMAGE [below=FILE] [flags=N] [batch=N] OPERATION...
 *
 * changes IMAGE itself: write:OFFSET:LENGTH:BYTE zeros:OFFSET:LENGTH[:keep]
 * discard:OFFSET:LENGTH resize:SIZE backing[:NAME[:FORMAT]] empty shrink commit
 *
 * With out=, the image is stored as FILE and the guest's view of it as FILE.raw.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "q2write.h"

struct blob load(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct blob b = {0};
	long n;

	if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0)
		die("%s: cannot be read", path);
	rewind(f);
	b.n = (size_t)n;
	b.bytes = malloc(b.n + 1);
	if (b.bytes == NULL || fread(b.bytes, 1, b.n, f) != b.n)
		die("%s: cannot be read", path);
	fclose(f);
	return b;
}

void store(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
		die("%s: cannot be written", path);
}

static void random_mode(const struct setup *s, bool crash)
{
	struct run r;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK || run_operations(&r) != Q2_OK)
		die("%s: seed %llu: an operation failed: %s", s->image,
		    (unsigned long long)s->seed,
		    r.w ? "while writing" : "at the start");
	compare(&r, r.mem, r.n_history - 1, r.n_history - 1, true, "the end");
	if (crash)
		crash_all(&r);
	if (s->out) {
		const struct blob *view = &r.history[r.n_history - 1];
		char name[4096];

		snprintf(name, sizeof(name), "%s.raw", s->out);
		store(s->out, q2_io_memory_bytes(r.mem),
		      (size_t)q2_io_size(r.mem));
		store(name, view->bytes, view->n);
	}
	run_close(&r);
}

/* One run in which number k of one kind fails; false if there was no number k. */
static bool fault_run(const struct setup *s, int kind, unsigned k)
{
	enum q2_status st;
	unsigned from;
	bool reached;
	struct run r;
	char what[60];

	run_open(&r, s);
	r.quiet = true;
	if (kind < TEST_OPS) {
		r.t.faults.fail_at[kind] = k;
		r.t.faults.torn = k % 3;
	} else {
		fail_alloc_at(k);
	}
	st = run_start(&r);
	if (st == Q2_OK)
		st = run_operations(&r);
	reached = kind < TEST_OPS ? r.t.done[kind] >= k : allocs_done() >= k;
	fail_alloc_at(0);
	if (reached && st == Q2_OK)
		die("%s: failure %u of kind %d was overlooked", s->image, k,
		    kind);
	/* A writer that failed writes nothing more. */
	if (r.w && st != Q2_OK) {
		size_t n = r.t.n_log;

		if (q2_write(r.w, "x", 1, 0, NULL) != st ||
		    q2_write_commit(r.w, NULL) != st || r.t.n_log != n)
			die("%s: failure %u of kind %d did not last", s->image,
			    k, kind);
	}
	snprintf(what, sizeof(what), "failure %u of kind %d", k, kind);
	from = r.committed;
	compare(&r, r.mem, from, r.n_history - 1, st == Q2_OK, what);
	run_close(&r);
	return reached;
}

static void faults_mode(const struct setup *s)
{
	for (int kind = 0; kind <= TEST_OPS; kind++) {
		unsigned k = 1;

		/* Denser at the start, where more things happen first. */
		while (fault_run(s, kind, k))
			k += 1 + k / 24;
	}
}

static bool option(struct setup *s, const char *arg)
{
	const char *value = strchr(arg, '=');
	size_t n = value ? (size_t)(value - arg) : strlen(arg);

	value = value ? value + 1 : "";
#define IS(name) (strlen(name) == n && strncmp(arg, name, n) == 0)
	if (IS("below"))
		s->below = load(value);
	else if (IS("snap") && s->n_snaps < SNAPS_MAX)
		s->snaps[s->n_snaps++] = load(value);
	else if (IS("seed"))
		s->seed = strtoull(value, NULL, 0);
	else if (IS("ops"))
		s->ops = (unsigned)strtoul(value, NULL, 0);
	else if (IS("batch"))
		s->batch = strtoull(value, NULL, 0);
	else if (IS("flags"))
		s->flags = (unsigned)strtoul(value, NULL, 0);
	else if (IS("out"))
		s->out = value;
	else if (IS("fixed"))
		s->no_resize = true;
	else
		return false;
#undef IS
	return true;
}

int main(int argc, char **argv)
{
	struct setup s = {.ops = 100, .seed = 1};

	if (argc > 3 && strcmp(argv[1], "edit") == 0) {
		int at = 3;

		s.image = argv[2];
		while (at < argc && option(&s, argv[at]))
			at++;
		return script_mode(&s, argv + at, argc - at);
	}
	if (argc < 4)
		die("usage: q2write MODE IMAGE VIEW [OPTION=VALUE]...");
	s.image = argv[2];
	s.start = load(argv[2]);
	s.view = load(argv[3]);
	for (int i = 4; i < argc; i++)
		if (!option(&s, argv[i]))
			die("unknown option '%s'", argv[i]);
	if (strcmp(argv[1], "faults") == 0)
		faults_mode(&s);
	else if (strcmp(argv[1], "random") == 0 ||
		 strcmp(argv[1], "crash") == 0)
		random_mode(&s, argv[1][0] == 'c');
	else
		die("unknown mode '%s'", argv[1]);
	free(s.start.bytes);
	free(s.view.bytes);
	free(s.below.bytes);
	for (unsigned i = 0; i < s.n_snaps; i++)
		free(s.snaps[i].bytes);
	return 0;
}
