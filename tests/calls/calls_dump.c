/*
 * calls_dump.c - disks are read, compared and copied.
 *
 * SPDX-License-Identifier: MIT
 *
 * Whatever fails: there is no new file then, or, if it was to be continued, one from
 * which a second run makes the right one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"

static struct q2_digest wanted; /* of the disk that is copied */

/* ---------------------------------------------------------------- one dump */
static enum q2_status dump(const char *from, const char *to,
			   const struct q2_dump_opts *how, struct q2_err *err)
{
	struct q2_secret secret = {Q2_ANY_LAYER, "secret", 6};
	struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER,
				     .secrets = &secret,
				     .n_secrets = strstr(from, "luks") != NULL};
	struct q2_dump_opts o = *how;
	struct q2_dump_result result = {0};
	struct q2_guest *guest;
	enum q2_status st;

	o.length = UINT64_MAX;
	o.scan.threads = 1;
	st = q2_guest_open(from, &opts, &guest, err);
	if (st == Q2_OK)
		st = q2_dump(guest, to, &o, &result, err);
	q2_guest_close(guest);
	if (st == Q2_OK)
		result_add(&result.digest, sizeof(result.digest));
	return st;
}

static void from_chain(void)
{
	empty_work();
	wanted = guest_of("given/top.qcow2");
}

static enum q2_status run_raw(struct q2_err *err)
{
	return dump("given/top.qcow2", "work/new.raw",
		    &(struct q2_dump_opts){.flags = Q2_DUMP_VERIFY}, err);
}

static bool nothing_left(const char *but)
{
	return names_at_work()[0] == '\0' ||
	       (in_use && strcmp(names_at_work(), but) == 0);
}

/* The new file, or nothing. */
static bool right_raw(bool done)
{
	return done ? strcmp(names_at_work(), "new.raw ") == 0 &&
			      same_guest("work/new.raw", &wanted) :
		      nothing_left("new.raw.part ");
}

static enum q2_status run_reserved(struct q2_err *err)
{
	return dump("given/top.qcow2", "work/new.raw",
		    &(struct q2_dump_opts){.preallocate = Q2_PREALLOC_FALLOC},
		    err);
}

static enum q2_status run_full(struct q2_err *err)
{
	return dump("given/top.qcow2", "work/new.raw",
		    &(struct q2_dump_opts){.preallocate = Q2_PREALLOC_FULL,
					   .flags = Q2_DUMP_NO_SYNC},
		    err);
}

static bool right_qcow2(bool done)
{
	return done ? strcmp(names_at_work(), "new.qcow2 ") == 0 &&
			      same_guest("work/new.qcow2", &wanted) &&
			      is_clean("work/new.qcow2") :
		      nothing_left("new.qcow2.part ");
}

static enum q2_status run_qcow2(struct q2_err *err)
{
	return dump("given/top.qcow2", "work/new.qcow2",
		    &(struct q2_dump_opts){.format = Q2_DUMP_QCOW2,
					   .cluster_bits = 9,
					   .refcount_bits = 64,
					   .compress = Q2_COMPRESS_ZLIB,
					   .flags = Q2_DUMP_VERIFY |
						    Q2_DUMP_BITMAPS},
		    err);
}

static enum q2_status run_zstd(struct q2_err *err)
{
	return dump("given/top.qcow2", "work/new.qcow2",
		    &(struct q2_dump_opts){.format = Q2_DUMP_QCOW2,
					   .cluster_bits = 14,
					   .ext_l2 = true,
					   .compress = Q2_COMPRESS_ZSTD,
					   .level = 19,
					   .flags = Q2_DUMP_DROP_BITMAPS},
		    err);
}

static enum q2_status run_verbatim(struct q2_err *err)
{
	return dump("given/packed.qcow2", "work/new.qcow2",
		    &(struct q2_dump_opts){.format = Q2_DUMP_QCOW2,
					   .cluster_bits = 12,
					   .compress = Q2_COMPRESS_ZLIB,
					   .flags = Q2_DUMP_VERIFY},
		    err);
}

static void from_packed(void)
{
	empty_work();
	wanted = guest_of("given/packed.qcow2");
}

static void over_base(void)
{
	from_chain();
	copy_file("given/base.qcow2", "work/base.qcow2");
	copy_file("given/top.qcow2", "work/top.qcow2");
}

static enum q2_status run_kept(struct q2_err *err)
{
	return dump("work/top.qcow2", "work/new.qcow2",
		    &(struct q2_dump_opts){.format = Q2_DUMP_QCOW2,
					   .keep_backing = 1,
					   .flags = Q2_DUMP_BITMAPS |
						    Q2_DUMP_VERIFY},
		    err);
}

static bool right_kept(bool done)
{
	return same_file("given/base.qcow2", "work/base.qcow2") &&
	       same_file("given/top.qcow2", "work/top.qcow2") &&
	       (done ? strcmp(names_at_work(),
			      "base.qcow2 new.qcow2 top.qcow2 ") == 0 &&
			       same_guest("work/new.qcow2", &wanted) &&
			       is_clean("work/new.qcow2") :
		       !is_there("work/new.qcow2") &&
			       (in_use || !is_there("work/new.qcow2.part")));
}

/* --------------------------------------------------- in the place of another */
static void with_another(void)
{
	from_chain();
	copy_file("given/raw.img", "work/new.raw");
}

static enum q2_status run_another(struct q2_err *err)
{
	return dump("given/top.qcow2", "work/new.raw",
		    &(struct q2_dump_opts){.flags = Q2_DUMP_FORCE}, err);
}

static bool right_another(bool done)
{
	return strncmp(names_at_work(), "new.raw ", 8) == 0 &&
	       (in_use || strlen(names_at_work()) == 8) &&
	       (done ? same_guest("work/new.raw", &wanted) :
		       same_file("given/raw.img", "work/new.raw"));
}

/* ----------------------------------------------------------------- continued */
static unsigned ticks, ticks_left;

static bool stop(void *ctx, const struct q2_progress *p)
{
	(void)ctx;
	(void)p;
	return ticks_left && ++ticks >= ticks_left;
}

static struct q2_dump_opts continued(const char *to)
{
	struct q2_dump_opts o = {.flags = Q2_DUMP_RESUME,
				 .scan.progress = stop};

	if (strstr(to, "qcow2")) {
		o.format = Q2_DUMP_QCOW2;
		o.cluster_bits = 9;
		o.flags |= Q2_DUMP_DROP_BITMAPS;
	}
	return o;
}

static enum q2_status more(const char *to, struct q2_err *err)
{
	struct q2_dump_opts o = continued(to);

	return dump("given/large.qcow2", to, &o, err);
}

static void half_done(const char *to)
{
	struct q2_err err = {0};

	empty_work();
	wanted = guest_of("given/large.qcow2");
	ticks = 0;
	ticks_left = 3;
	if (more(to, &err) != Q2_E_INTERRUPTED)
		die("%s: was not interrupted: %s", to, err.text);
	ticks_left = 0;
}

static bool goes_on(const char *to, bool done)
{
	struct q2_err err = {0};

	/* At the worst, nothing is left of it. */
	if (!done && more(to, &err) != Q2_OK) {
		fprintf(stderr, "calls: not continued: %s\n", err.text);
		return false;
	}
	return strncmp(names_at_work(), to + 5, strlen(to + 5)) == 0 &&
	       strlen(names_at_work()) == strlen(to + 5) + 1 &&
	       same_guest(to, &wanted);
}

static void half_raw(void)
{
	half_done("work/new.raw");
}

static enum q2_status run_rest_raw(struct q2_err *err)
{
	return more("work/new.raw", err);
}

static bool right_rest_raw(bool done)
{
	return goes_on("work/new.raw", done);
}

static void half_qcow2(void)
{
	half_done("work/new.qcow2");
}

static enum q2_status run_rest_qcow2(struct q2_err *err)
{
	return more("work/new.qcow2", err);
}

static bool right_rest_qcow2(bool done)
{
	return goes_on("work/new.qcow2", done) && is_clean("work/new.qcow2");
}

static void nothing_done(void)
{
	half_raw();
	empty_work();
}

static void nothing_done_qcow2(void)
{
	half_qcow2();
	empty_work();
}

/* ----------------------------------------------------------------- encrypted */
static void from_luks(void)
{
	empty_work();
	wanted = guest_of("given/luks.raw");
}

static enum q2_status run_luks(struct q2_err *err)
{
	return dump("given/luks.qcow2", "work/new.raw",
		    &(struct q2_dump_opts){.flags = Q2_DUMP_PLAINTEXT}, err);
}

static void from_aes(void)
{
	empty_work();
	wanted = guest_of("given/aes-luks.raw");
}

static enum q2_status run_aes(struct q2_err *err)
{
	return dump("given/aes-luks.qcow2", "work/new.raw",
		    &(struct q2_dump_opts){.flags = Q2_DUMP_PLAINTEXT}, err);
}

/* ------------------------------------------------------------------ a stream */
static enum q2_status run_stream(struct q2_err *err)
{
	int out = dup(STDOUT_FILENO);
	/* Not one of the calls that fail. */
	int fd = openat(AT_FDCWD, "work/new.raw", O_WRONLY | O_CREAT | O_CLOEXEC,
			0600);
	enum q2_status st;

	if (out < 0 || fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
		die("work/new.raw cannot be made");
	close(fd);
	st = dump("given/top.qcow2", "-", &(struct q2_dump_opts){0}, err);
	dup2(out, STDOUT_FILENO);
	close(out);
	return st;
}

static bool right_stream(bool done)
{
	return !done || same_guest("work/new.raw", &wanted);
}

/* ------------------------------------------------------- digests, comparisons */
static void nothing(void)
{
}

static void on_range(void *ctx, enum q2_range_kind kind, uint64_t guest,
		     uint64_t length, const char *why)
{
	uint64_t all[] = {kind, guest, length};

	(void)ctx;
	(void)why;
	result_add(all, sizeof(all));
}

static bool on_difference(void *ctx, uint64_t guest, uint64_t length)
{
	uint64_t all[] = {guest, length};

	(void)ctx;
	result_add(all, sizeof(all));
	return false;
}

static enum q2_status run_compare(struct q2_err *err)
{
	static const struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER};
	struct q2_read_opts how = {.threads = 1, .range = on_range};
	struct q2_guest *a = NULL, *b = NULL;
	struct q2_digest digest;
	uint64_t state;
	bool same;
	enum q2_status st;

	st = q2_guest_open("given/top.qcow2", &opts, &a, err);
	if (st == Q2_OK)
		st = q2_guest_open("given/base.qcow2", &opts, &b, err);
	if (st == Q2_OK)
		st = q2_guest_compare(a, b, &how, on_difference, &same, err);
	if (st == Q2_OK)
		st = q2_guest_digest(a, &how, &digest, err);
	if (st == Q2_OK) {
		/* These tell of themselves, or nothing. */
		(void)q2_guest_state(a, &state);
		(void)q2_guest_written(a);
		(void)q2_guest_reads(a, "given/base.qcow2");
		(void)q2_guest_below(a, "given/base.qcow2");
		result_add(&digest, sizeof(digest));
		result_add(&same, sizeof(same));
	}
	q2_guest_close(a);
	q2_guest_close(b);
	return st;
}

static enum q2_status run_threads(struct q2_err *err)
{
	static const struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER};
	struct q2_read_opts how = {.threads = 3};
	struct q2_digest digest;
	struct q2_guest *g;
	enum q2_status st = q2_guest_open("given/large.qcow2", &opts, &g, err);

	if (st == Q2_OK)
		st = q2_guest_digest(g, &how, &digest, err);
	if (st == Q2_OK)
		result_add(&digest, sizeof(digest));
	q2_guest_close(g);
	return st;
}

const struct scene dump_scenes[] = {
	{"dump raw", from_chain, run_raw, right_raw, 0},
	{"dump reserved", from_chain, run_reserved, right_raw, 0},
	{"dump full", from_chain, run_full, right_raw, 0},
	{"dump qcow2", from_chain, run_qcow2, right_qcow2, 0},
	{"dump zstd", from_chain, run_zstd, right_qcow2, SCENE_FEW},
	{"dump verbatim", from_packed, run_verbatim, right_qcow2, 0},
	{"dump kept", over_base, run_kept, right_kept, 0},
	{"dump over another", with_another, run_another, right_another, 0},
	{"dump resumable raw", nothing_done, run_rest_raw, right_rest_raw,
	 SCENE_FEW},
	{"dump continued raw", half_raw, run_rest_raw, right_rest_raw,
	 SCENE_FEW},
	{"dump resumable qcow2", nothing_done_qcow2, run_rest_qcow2,
	 right_rest_qcow2, SCENE_FEW},
	{"dump continued qcow2", half_qcow2, run_rest_qcow2, right_rest_qcow2,
	 SCENE_FEW},
	{"dump luks", from_luks, run_luks, right_raw, SCENE_FEW},
	{"dump cbc", from_aes, run_aes, right_raw, SCENE_FEW},
	{"dump stream", from_chain, run_stream, right_stream, 0},
	{"compare", nothing, run_compare, NULL, 0},
	{"digest with threads", nothing, run_threads, NULL, SCENE_FEW},
	{0},
};
