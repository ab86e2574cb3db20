/*
 * q2inplace.c - flattens chains in place, for tests.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: q2inplace MODE absorb|commit IMAGE [base=LAYER] [siblings=PATH]...
 *        [allow=FOLDER]... [available=N] [memory=N] [view=FILE] [secret=TEXT] [keep]
 *        [stale] [dry] [probe] [any] [plaintext]
 *
 * MODE is "run" for doing it to the files, or with copies in memory "crash" for
 * stopping at every moment and starting again, or "faults" for failing at each
 * operation and allocation; these need the guest's view of IMAGE.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "q2inplace.h"
#include "torn.h"

#define SECTOR 512u
#define TORN_MAX 3u
#define PARTS 2u
#define LIST_MAX 15

static enum q2_status job(struct world *w, const char *top,
			  struct q2_err *err)
{
	struct q2_inplace_files files = world_files(w);
	struct q2_inplace_result result;

	return q2_inplace_run(top, w->opts, &files, &result, err);
}

/* Everything is right now, and is so after the job was started again. */
static void judge(struct world *w, const char *what)
{
	struct q2_err err = {0};

	world_compare(w, what);
	if (job(w, w->top, &err) != Q2_OK)
		die("%s: cannot go on: %s", what, err.text);
	world_compare(w, what);
}

static void apply(struct q2_io *io, const struct event *e, size_t from,
		  size_t len)
{
	enum q2_status st = Q2_OK;

	if (e->op == EVENT_WRITE && len)
		st = q2_pwrite(io, e->bytes + from, len, e->off + from, NULL);
	else if (e->op == EVENT_RESIZE)
		st = q2_resize(io, e->off, NULL);
	else if (e->op == EVENT_DISCARD)
		st = discard_bytes(io, e->off, e->len);
	if (st != Q2_OK)
		die("no memory");
}

/* The files after the first n events, and `torn` bytes of the next one. */
static void replay(struct world *w, size_t n, size_t torn)
{
	world_reset(w);
	for (size_t i = 0; i < n; i++)
		apply(w->files[w->log[i].file].mem, &w->log[i], 0,
		      w->log[i].len);
	if (torn)
		apply(w->files[w->log[n].file].mem, &w->log[n], 0, torn);
}

/* Of what each file was not flushed for, each sector sees only a beginning. */
static void replay_part(struct world *w, size_t n, unsigned number)
{
	size_t since[FILES_MAX] = {0};

	for (size_t i = 0; i < n; i++)
		if (w->log[i].op == EVENT_FLUSH)
			since[w->log[i].file] = i + 1;
	world_reset(w);
	for (size_t i = 0; i < n; i++) {
		const struct event *e = &w->log[i];
		struct q2_io *io = w->files[e->file].mem;

		if (i < since[e->file] || e->op != EVENT_WRITE) {
			apply(io, e, 0, e->len);
			continue;
		}
		for (size_t at = 0, k; at < e->len; at += k) {
			uint64_t sector = (e->off + at) / SECTOR;

			k = (size_t)q2_min(SECTOR - (e->off + at) % SECTOR,
					   e->len - at);
			if (i < reached(sector + e->file * 7919,
					since[e->file], n, number))
				apply(io, e, at, k);
		}
	}
}

static void crash_all_modes(struct world *w)
{
	struct q2_err err = {0};
	char what[80];

	w->logging = true;
	if (job(w, w->top, &err) != Q2_OK)
		die("%s: %s", w->top, err.text);
	w->logging = false;
	for (size_t i = 0; i <= w->n_log; i++) {
		const struct event *e = &w->log[i];
		size_t before, step;

		snprintf(what, sizeof(what), "event %zu of %zu", i, w->n_log);
		replay(w, i, 0);
		judge(w, what);
		if (i == w->n_log)
			break;
		before = e->off % SECTOR;
		step = (before + e->len) / SECTOR / (TORN_MAX + 1) + 1;
		for (size_t k = step; e->op == EVENT_WRITE &&
				      k * SECTOR < before + e->len; k += step) {
			snprintf(what, sizeof(what), "event %zu torn after %zu",
				 i, k);
			replay(w, i, k * SECTOR - before);
			judge(w, what);
		}
		for (unsigned k = 0; k < PARTS && e->op == EVENT_FLUSH; k++) {
			snprintf(what, sizeof(what), "event %zu part %u", i, k);
			replay_part(w, i, k);
			judge(w, what);
		}
	}
}

static void fault_all_modes(struct world *w)
{
	for (int kind = 0; kind < 4; kind++) {
		bool hit = true;

		for (unsigned k = 1; hit; k += 1 + k / 16) {
			struct q2_err err = {0};
			char what[60];
			enum q2_status st;

			world_reset(w);
			memset(w->done, 0, sizeof(w->done));
			if (kind < 3)
				w->fail_at[kind] = k;
			fail_alloc_at(kind == 3 ? k : 0);
			st = job(w, w->top, &err);
			hit = kind == 3 ? allocs_done() >= k :
					  w->done[kind] >= k;
			fail_alloc_at(0);
			memset(w->fail_at, 0, sizeof(w->fail_at));
			snprintf(what, sizeof(what), "failure %u of kind %d",
				 k, kind);
			/* A hint that could not be followed up is no failure. */
			if (hit && st == Q2_OK && kind < 2)
				die("%s was overlooked", what);
			judge(w, what);
		}
	}
}

static int run(const char *image, const struct q2_inplace_opts *opts)
{
	struct q2_inplace_result r;
	struct q2_err err = {0};
	enum q2_status st = q2_inplace(image, opts, &r, &err);

	printf("needed %llu data %llu zeros %llu%s\n",
	       (unsigned long long)r.needed, (unsigned long long)r.data,
	       (unsigned long long)r.zeros,
	       r.nothing_to_do ? " nothing to do" : "");
	if (st == Q2_OK)
		return 0;
	fprintf(stderr, "q2inplace: %s (%s)\n", err.text,
		q2_status_text(st));
	return 1;
}

static unsigned flag_of(const char *arg)
{
	static const struct {
		const char *name;
		unsigned flag;
	} flags[] = {
		{"keep", Q2_INPLACE_KEEP},	   {"dry", Q2_INPLACE_DRY_RUN},
		{"stale", Q2_INPLACE_STALE_BITMAPS}, {"any", Q2_INPLACE_ALLOW_ANY},
		{"probe", Q2_INPLACE_ALLOW_PROBE}, {"plaintext", Q2_INPLACE_PLAINTEXT},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(arg, flags[i].name) == 0)
			return flags[i].flag;
	die("unknown option '%s'", arg);
}

int main(int argc, char **argv)
{
	const char *siblings[LIST_MAX + 1] = {0}, *allow[LIST_MAX + 1] = {0};
	struct q2_inplace_opts opts = {.siblings = siblings, .allow = allow};
	struct world w = {.opts = &opts};
	struct q2_secret secret = {.layer = Q2_ANY_LAYER};
	unsigned n_siblings = 0, n_allow = 0;
	const char *view = NULL;

	if (argc < 4)
		die("usage: q2inplace MODE absorb|commit IMAGE [OPTION]...");
	opts.job = strcmp(argv[2], "commit") == 0 ? Q2_COMMIT : Q2_ABSORB;
	for (int i = 4; i < argc; i++) {
		if (strncmp(argv[i], "base=", 5) == 0)
			opts.base = argv[i] + 5;
		else if (strncmp(argv[i], "view=", 5) == 0)
			view = argv[i] + 5;
		else if (strncmp(argv[i], "available=", 10) == 0)
			opts.available = strtoull(argv[i] + 10, NULL, 0);
		else if (strncmp(argv[i], "memory=", 7) == 0)
			opts.max_memory = strtoull(argv[i] + 7, NULL, 0);
		else if (strncmp(argv[i], "secret=", 7) == 0)
			secret.bytes = argv[i] + 7;
		else if (strncmp(argv[i], "siblings=", 9) == 0 &&
			 n_siblings < LIST_MAX)
			siblings[n_siblings++] = argv[i] + 9;
		else if (strncmp(argv[i], "allow=", 6) == 0 &&
			 n_allow < LIST_MAX)
			allow[n_allow++] = argv[i] + 6;
		else
			opts.flags |= flag_of(argv[i]);
	}
	if (secret.bytes) {
		secret.len = strlen(secret.bytes);
		opts.secrets = &secret;
		opts.n_secrets = 1;
	}
	if (strcmp(argv[1], "run") == 0)
		return run(argv[3], &opts);
	w.top = argv[3];
	if (view == NULL)
		die("view= is missing");
	world_load(&w, view);
	if (strcmp(argv[1], "crash") == 0)
		crash_all_modes(&w);
	else if (strcmp(argv[1], "faults") == 0)
		fault_all_modes(&w);
	else
		die("unknown mode '%s'", argv[1]);
	world_free(&w);
	return 0;
}
