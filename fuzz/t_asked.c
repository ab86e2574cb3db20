/*
 * t_asked.c - what a caller may ask for besides, and what is refused.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-4 what makes no sense is refused as such, and an image of more is not shorter;
 * C-1 whatever has a name, has one; E-1 names mean what QEMU means by them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump/pack.h"
#include "image/naming.h"
#include "image/open.h"
#include "image/resolve.h"
#include "io/io.h"
#include "t_asked.h"

/* ---------------------------------------------------------------- a disk */

static void measure(struct q2_disk *disk, struct q2_measure_opts o,
		    uint64_t size, enum q2_status want)
{
	struct q2_measure m, more;
	struct q2_err err = {0};
	enum q2_status st = q2_disk_measure(disk, size, &o, &m, &err);

	/* A damaged disk cannot be measured. */
	if (st != want && (want != Q2_OK || disk == NULL))
		q2f_violation("M-4", "clusters of %llu, version %u, %u bits: status %d, not %d: %s",
			      (unsigned long long)o.cluster_size, o.version,
			      o.refcount_bits, (int)st, (int)want, err.text);
	if (st != Q2_OK)
		return;
	o.luks = true;
	if (q2_disk_measure(disk, size, &o, &more, NULL) != Q2_OK ||
	    (!o.raw && more.required <= m.required))
		q2f_violation("M-4", "LUKS takes no room");
}

static void measures(struct q2_disk *disk)
{
	static const struct q2_measure_opts bad[] = {
		{.version = 4, .cluster_size = 65536, .refcount_bits = 16},
		{.version = 3, .cluster_size = 0, .refcount_bits = 16},
		{.version = 3, .cluster_size = 768, .refcount_bits = 16},
		{.version = 3, .cluster_size = 256, .refcount_bits = 16},
		{.version = 3, .cluster_size = 4 << 20, .refcount_bits = 16},
		{.version = 3, .cluster_size = 65536, .refcount_bits = 0},
		{.version = 3, .cluster_size = 65536, .refcount_bits = 3},
		{.version = 3, .cluster_size = 65536, .refcount_bits = 128},
		{.version = 2, .cluster_size = 65536, .refcount_bits = 8},
		{.version = 2, .cluster_size = 65536, .refcount_bits = 16,
		 .ext_l2 = true},
		{.version = 3, .cluster_size = 8192, .refcount_bits = 16,
		 .ext_l2 = true}};
	struct q2_measure_opts good = Q2_MEASURE_DEFAULTS;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		measure(disk, bad[i], 0, Q2_E_ARG);
	measure(NULL, good, UINT64_C(3) << 20, Q2_OK);
	measure(NULL, good, UINT64_MAX, Q2_E_ARG);
	if (q2_disk_bytes(disk) <= Q2F_VIEW)
		measure(disk, good, 0, Q2_OK);
	good.based = true;
	measure(NULL, good, 512, Q2_OK);
}

static enum q2_status on_row(void *ctx, const struct q2_row *r)
{
	(void)ctx;
	(void)r;
	return Q2_OK;
}

static bool stop(void *ctx, const struct q2_progress *p)
{
	unsigned *calls = ctx;

	(void)p;
	return ++*calls == 2;
}

static enum q2_status on_delta(void *ctx, uint64_t guest, uint64_t length)
{
	unsigned *calls = ctx;

	(void)guest;
	(void)length;
	++*calls;
	return Q2_E_REFUSED;
}

static void rows(struct q2_disk *disk)
{
	unsigned calls = 0;
	struct q2_rows_opts o = {.length = 0, .row = on_row, .progress = stop,
				 .ctx = &calls};
	struct q2_layer_cost costs[2];
	struct q2_err err = {0};
	enum q2_status st = q2_disk_rows(disk, &o, &err);

	if (st != Q2_OK)
		q2f_violation("M-1", "no part of the disk: %s", err.text);
	o.length = q2_min(q2_disk_bytes(disk), 4 * Q2F_VIEW);
	st = q2_disk_rows(disk, &o, &err);
	if ((st == Q2_E_INTERRUPTED) != (calls >= 2))
		q2f_violation("C-1", "stopped after %u calls: status %d",
			      calls, (int)st);
	if (q2_disk_bytes(disk) > 4 * Q2F_VIEW)
		return;
	calls = 0;
	st = q2_disk_layer_costs(disk, costs, 2, stop, &calls, &err);
	if ((st == Q2_E_INTERRUPTED) != (calls >= 2))
		q2f_violation("C-1", "costs, stopped after %u calls: status %d",
			      calls, (int)st);
	calls = 0;
	st = q2_disk_delta(disk, 0, disk->chain.n - 1, on_delta, &calls, &err);
	if (calls > 1 || (st == Q2_E_REFUSED) != (calls == 1))
		q2f_violation("M-4", "%u differences were refused: status %d",
			      calls, (int)st);
	if (q2_disk_delta(disk, 0, disk->chain.n, on_delta, &calls, NULL) !=
		    Q2_E_ARG ||
	    q2_disk_delta(disk, disk->chain.n, 0, on_delta, &calls, NULL) !=
		    Q2_E_ARG)
		q2f_violation("M-4", "a layer is compared that is not there");
}

/* Each by its id, and by its name, if no other has that. */
static void snapshots(const struct q2_snaptable *t)
{
	if (q2_snaptable_find(t, "no such\nname"))
		q2f_violation("M-4", "a snapshot is found that is not there");
	for (size_t i = 0; i < t->snaps.n && i < 6; i++) {
		const struct q2_snap *s = &t->snaps.at[i], *a, *b;

		a = q2_snaptable_find(t, s->id);
		b = q2_snaptable_find(t, s->name);
		if (a == NULL || strcmp(a->id, s->id) != 0 || b == NULL ||
		    (strcmp(b->name, s->name) != 0 &&
		     strcmp(b->id, s->name) != 0))
			q2f_violation("M-4", "snapshot %zu is not found", i);
	}
}

void q2f_asked_of_disk(struct q2_disk *disk)
{
	measures(disk);
	rows(disk);
	snapshots(&disk->snapshots);
	if (q2_disk_found(disk, SIZE_MAX))
		q2f_violation("M-1", "a problem is found that is not there");
}

/* ----------------------------------------------------------------- names */

#define LONG_NAME (Q2_PLACE_MAX + 10u)

static void name(const char *text, const char *path, const char *format)
{
	char got[Q2_PLACE_MAX];
	struct q2_err err = {0};
	const char *f;
	enum q2_status st = q2_name_path(text, got, sizeof(got), &f, &err);

	if ((st == Q2_OK) != (path != NULL) ||
	    (path && strcmp(path, got) != 0) ||
	    (path && (f == NULL) != (format == NULL)) ||
	    (path && f && strcmp(f, format) != 0))
		q2f_violation("E-1", "'%.80s': status %d, %s, %s", text,
			      (int)st, st == Q2_OK ? got : err.text,
			      f ? f : "no format");
	if (st == Q2_OK && q2_name_path(text, got, 1, &f, NULL) == Q2_OK)
		q2f_violation("E-1", "'%.80s' fits into nothing", text);
}

static void names(void)
{
	static const struct {
		const char *text, *path, *format;
	} all[] = {
		{"f", "f", NULL},
		{"file:f", "f", NULL},
		{"json:{\"driver\":\"file\",\"filename\":\"f\"}", "f", "raw"},
		{"json:{\"driver\":\"host_device\",\"filename\":\"f\"}", "f",
		 "raw"},
		{"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
		 "\"filename\":\"f\"}}", "f", "qcow2"},
		{"json:{\"driver\":\"raw\",\"file.driver\":\"host_device\","
		 "\"file.filename\":\"f\",\"file.locking\":\"off\"}", "f", "raw"},
		{"json:{\"file.filename\":\"f\",\"read-only\":true}", "f", NULL},
		{"json:{\"driver\":\"raw\",\"filename\":\"f\"}", NULL, NULL},
		{"json:{\"driver\":\"file\",\"file.driver\":\"file\"}", NULL, NULL},
		{"json:{\"driver\":\"file\",\"file.filename\":\"f\"}", NULL, NULL},
		{"json:{\"driver\":\"file\"}", NULL, NULL},
		{"json:{\"driver\":\"vmdk\",\"file.filename\":\"f\"}", NULL, NULL},
		{"json:{\"file.driver\":\"nbd\",\"file.filename\":\"f\"}", NULL,
		 NULL},
		{"json:{\"file.filename\":\"\"}", NULL, NULL},
		{"json:{\"file.filename\":\"f\\u0000g\"}", NULL, NULL},
		{"json:{\"file.filename\":7}", NULL, NULL},
		{"json:{\"file.filename\":\"f\",\"file\":{\"filename\":\"f\"}}",
		 NULL, NULL},
		{"json:{\"offset\":1,\"file.filename\":\"f\"}", NULL, NULL},
		{"json:{\"a\":{\"b\":{\"c\":{\"d\":1}}}}", NULL, NULL},
		{"json:{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}}}", NULL, NULL},
		{"json:{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "aaaaaaaaaaaaaa\":1}", NULL, NULL},
		{"json:{} ", NULL, NULL},
		{"json:{}x", NULL, NULL},
		{"json:[1]", NULL, NULL},
		{"json:{", NULL, NULL},
		{"json:", NULL, NULL}};
	char *text = q2f_own(LONG_NAME + 64);

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		name(all[i].text, all[i].path, all[i].format);
	memset(text, 'a', LONG_NAME);
	name(text, NULL, NULL);
	snprintf(text, 32, "json:{\"file.filename\":\"");
	memset(text + strlen(text), 'a', LONG_NAME);
	strcpy(text + strlen(text), "\"}");
	name(text, NULL, NULL);
	q2f_own_free(text);
}

/* ----------------------------------------------------------------- texts */

static void text(const char *t, const char *what, int value)
{
	if (t == NULL || t[0] == 0)
		q2f_violation("C-1", "%s %d has no name", what, value);
}

static void texts(void)
{
	for (int i = 0; i <= Q2_K_COUNT; i++) {
		text(q2_kind_text((enum q2_kind)i), "kind", i);
		text(q2_status_text((enum q2_status)i), "status", i);
		text(q2_severity_text((enum q2_severity)i), "severity", i);
		text(q2_fix_text((enum q2_fix)i), "remedy", i);
		text(q2_verdict_text((enum q2_verdict)i), "verdict", i);
		text(q2_content_text((enum q2_content)i), "content", i);
	}
	for (int i = 0; i < 9; i++) {
		text(q2_plan_state_text((enum q2_plan_state)i), "state", i);
		text(q2_effect_text((enum q2_effect)i), "effect", i);
	}
	for (int i = 0; i <= Q2_U_COUNT; i++)
		text(q2_use_text((enum q2_use)i), "use", i);
	if (q2_problem_by_id("no such problem") ||
	    q2_problem_by_id("{") || q2_problem_at(SIZE_MAX))
		q2f_violation("C-1", "a problem that is not there has a name");
}

/* ----------------------------------------------------------------- files */

static void status(enum q2_status st, enum q2_status want, const char *what)
{
	if (st != want)
		q2f_violation("I-4", "%s: status %d, not %d", what, (int)st,
			      (int)want);
}

static void files(void)
{
	static const uint8_t bytes[] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 2};
	struct q2_range far = {4, SIZE_MAX}, none = {4, 0}, some = {4, 4};
	struct q2_io *io;
	uint8_t b[8];

	if (q2_io_memory(bytes, sizeof(bytes), &io, NULL) != Q2_OK)
		abort();
	status(q2_pread(io, b, 8, 1, NULL), Q2_E_RANGE, "past the end");
	status(q2_pwrite(io, b, 8, 0, NULL), Q2_E_ARG, "read-only");
	status(q2_resize(io, 0, NULL), Q2_E_ARG, "read-only");
	status(q2_flush(io, NULL), Q2_OK, "nothing to write");
	status(q2_io_discard(io, some, NULL), Q2_E_ARG, "read-only");
	if (!q2_image_is_qcow2(io))
		q2f_violation("C-1", "a magic number is not seen");
	q2_io_close(io);
	if (q2_io_memory_rw(bytes, sizeof(bytes), 16, &io, NULL) != Q2_OK)
		abort();
	status(q2_pwrite(io, b, 8, UINT64_MAX, NULL), Q2_E_RANGE, "far");
	status(q2_pwrite(io, b, 8, INT64_MAX, NULL), Q2_E_RANGE, "far");
	status(q2_resize(io, 17, NULL), Q2_E_IO, "past the limit");
	status(q2_io_discard(io, far, NULL), Q2_E_ARG, "past the end");
	if (io->ops->discard == NULL)
		status(q2_io_discard(io, some, NULL), Q2_E_UNSUPPORTED,
		       "no holes");
	else
		status(q2_io_discard(io, none, NULL), Q2_OK, "nothing");
	status(q2_resize(io, 7, NULL), Q2_OK, "shorter");
	if (q2_image_is_qcow2(io))
		q2f_violation("C-1", "half a version is taken for one");
	q2_io_close(io);
	status(q2_io_memory_rw(bytes, 8, 7, &io, NULL), Q2_E_IO,
	       "more than may be");
}

/* What is cut off is gone when a file over another one grows again. */
static void overlays(void)
{
	static const uint8_t bytes[3 * 4096 + 9] = {1, 2, 3, 4};
	const struct q2_check_opts chain = {.flags = Q2_CHECK_CHAIN};
	struct q2_check_result result;
	struct q2_budget budget = {0};
	struct q2_io *base, *io;
	uint8_t b[4] = {5, 6, 7, 8};

	if (q2_io_memory(bytes, sizeof(bytes), &base, NULL) != Q2_OK ||
	    q2_io_overlay(base, &budget, &io, NULL) != Q2_OK)
		abort();
	status(q2_check(base, &chain, &result, NULL), Q2_E_ARG, "no path");
	status(q2_resize(io, UINT64_MAX, NULL), Q2_E_RANGE, "too long");
	status(q2_pwrite(io, b, 4, 1, NULL), Q2_OK, "a write");
	status(q2_pwrite(io, b, 4, 3 * 4096, NULL), Q2_OK, "a write");
	status(q2_resize(io, 2 * 4096, NULL), Q2_OK, "without the last page");
	status(q2_resize(io, 4096 + 7, NULL), Q2_OK, "what is below only");
	status(q2_resize(io, 3, NULL), Q2_OK, "in the first page");
	status(q2_resize(io, 4, NULL), Q2_OK, "longer");
	status(q2_pread(io, b, 4, 0, NULL), Q2_OK, "what is there then");
	if (b[0] != 1 || b[1] != 5 || b[2] != 6 || b[3] != 0)
		q2f_violation("I-4", "%u %u %u %u after a cut", b[0], b[1],
			      b[2], b[3]);
	q2_io_close(io);
	q2_io_close(base);
	if (budget.used)
		q2f_violation("I-7", "an overlay leaves %llu bytes behind",
			      (unsigned long long)budget.used);
}

static void paths(void)
{
	static const char *const up[] = {"..", "../a", "a/..", "a/../b"};
	static const char *const not[] = {"", "a", ".a/b", "a/..b", "./a", "a./b"};

	for (size_t i = 0; i < sizeof(up) / sizeof(*up); i++)
		if (!q2_path_climbs(up[i]))
			q2f_violation("E-1", "'%s' is said to stay", up[i]);
	for (size_t i = 0; i < sizeof(not) / sizeof(*not); i++)
		if (q2_path_climbs(not[i]))
			q2f_violation("E-1", "'%s' is said to climb", not[i]);
}

static void packers(void)
{
	for (int method = 0; method <= Q2_COMPRESS_ZSTD; method++) {
		enum q2_compress m = (enum q2_compress)method;
		size_t before = 0;

		if (q2_pack_level_ok(m, -1) || q2_pack_level_ok(m, 1000))
			q2f_violation("M-7", "any level is good for %d", method);
		for (int level = 0; q2_pack_level_ok(m, level); level++) {
			size_t now = q2_pack_memory(m, level, 65536);
			struct q2_packer *p;

			if (now < before)
				q2f_violation("M-7", "level %d takes less", level);
			before = now;
			if (m == Q2_COMPRESS_NONE || level > 6)
				continue;
			if (q2_packer_new(m, level, &p, NULL) != Q2_OK)
				q2f_violation("M-7", "level %d is none", level);
			q2_packer_free(p);
		}
	}
}

void q2f_asked_once(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	texts();
	names();
	files();
	overlays();
	paths();
	packers();
}
