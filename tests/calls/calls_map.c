/*
 * calls_map.c - images are looked at, and reports written.
 *
 * SPDX-License-Identifier: MIT
 *
 * Nothing is changed, so that only the report is to be right, or missing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "calls.h"
#include "fakedev.h"

static void nothing(void)
{
}

/* ---------------------------------------------------------------- one disk */
static enum q2_status rows(const char *path, enum q2_rows_form form,
			   bool chain, struct q2_err *err)
{
	struct q2_disk_opts opts = {.chain = chain};
	struct q2_rows_opts o = {.length = UINT64_MAX,
				 .holes = form == Q2_ROWS_TEXT,
				 .merge = form == Q2_ROWS_QEMU ?
						  Q2_MERGE_QEMU :
						  Q2_MERGE_SAME,
				 .row = q2_rows_add};
	struct q2_rows_report *report = NULL;
	struct q2_disk *disk;
	uint64_t unreadable;
	enum q2_status st, end;

	st = q2_disk_open(path, &opts, &disk, err);
	if (st == Q2_OK)
		st = q2_rows_begin(disk, form, 0, &to_result, &report, err);
	if (st == Q2_OK) {
		o.ctx = report;
		st = q2_disk_rows(disk, &o, err);
	}
	end = q2_rows_end(report, st == Q2_OK, &unreadable);
	q2_disk_close(disk);
	return st == Q2_OK ? end : st;
}

/* A report that cannot be written has no cause of its own to tell. */
static enum q2_status told(enum q2_status st, struct q2_err *err)
{
	if (st != Q2_OK && err->text[0] == '\0')
		strcpy(err->text, q2_status_text(st));
	return st;
}

static enum q2_status run_rows(struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (int f = Q2_ROWS_TEXT; f <= Q2_ROWS_QEMU && st == Q2_OK; f++)
		st = rows("given/top.qcow2", (enum q2_rows_form)f, true, err);
	if (st == Q2_OK)
		st = rows("given/broken.qcow2", Q2_ROWS_JSON, false, err);
	return told(st, err);
}

static enum q2_status on_delta(void *ctx, uint64_t guest, uint64_t length)
{
	uint64_t all[] = {guest, length};

	(void)ctx;
	result_add(all, sizeof(all));
	return Q2_OK;
}

static enum q2_status run_layers(struct q2_err *err)
{
	struct q2_disk_opts opts = {.chain = true};
	struct q2_inplace_opts merge = {.job = Q2_COMMIT};
	struct q2_measure_opts size = Q2_MEASURE_DEFAULTS;
	struct q2_commit_cost cost, *costs[2] = {&cost, NULL};
	struct q2_layer_cost layers[2];
	struct q2_measure m;
	struct q2_disk *disk;
	enum q2_status st;

	st = q2_disk_open("given/top.qcow2", &opts, &disk, err);
	if (st == Q2_OK)
		st = q2_disk_layer_costs(disk, layers, 2, NULL, NULL, err);
	if (st == Q2_OK)
		st = q2_disk_delta(disk, 0, 1, on_delta, NULL, err);
	if (st == Q2_OK)
		st = q2_disk_measure(disk, 0, &size, &m, err);
	if (st == Q2_OK)
		st = q2_measure_report(&m, "top", Q2_DOC_JSON, &to_result);
	if (st == Q2_OK)
		st = q2_forecast_commit("given/top.qcow2", &merge, &cost, err);
	cost.available = UINT64_MAX;
	for (int f = 0; f < 2 && st == Q2_OK; f++) {
		st = q2_layers_report(disk, "top", layers, costs, 2,
				      (enum q2_doc_form)f, &to_result);
		if (st == Q2_OK)
			st = q2_commit_cost_report(&cost, "top",
						   (enum q2_doc_form)f,
						   &to_result);
	}
	q2_disk_close(disk);
	return told(st, err);
}

static enum q2_status run_forecast(struct q2_err *err)
{
	static const struct q2_guest_opts opts = {.layer = Q2_ANY_LAYER};
	struct q2_dump_opts how = {.format = Q2_DUMP_QCOW2,
				   .scan.threads = 1,
				   .length = UINT64_MAX};
	struct q2_flatten_cost cost;
	struct q2_measure m = {0};
	struct q2_guest *g;
	enum q2_status st = q2_guest_open("given/top.qcow2", &opts, &g, err);

	for (unsigned percent = 0; percent <= 100 && st == Q2_OK;
	     percent += 50) {
		st = q2_forecast_flatten(g, &how, percent, &cost, err);
		for (int f = 0; f < 2 && st == Q2_OK; f++)
			st = q2_flatten_cost_report(&cost, &m, "top", "qcow2",
						    false, (enum q2_doc_form)f,
						    &to_result);
	}
	q2_guest_close(g);
	return told(st, err);
}

/* ---------------------------------------------------------------- one file */
static enum q2_status add_space(void *ctx, const struct q2_use_row *row)
{
	q2_space_add(ctx, row);
	return Q2_OK;
}

static enum q2_status layout(struct q2_survey *survey, enum q2_map_form form,
			     struct q2_err *err)
{
	struct q2_layout_opts o = {.length = UINT64_MAX,
				   .guest = true,
				   .row = q2_layout_add};
	struct q2_layout_report *report;
	enum q2_status st, end;

	st = q2_layout_begin(survey, "snap", form, &to_result, &report, err);
	if (st != Q2_OK)
		return st;
	o.ctx = report;
	st = q2_survey_layout(survey, &o, err);
	end = q2_layout_end(report, st == Q2_OK);
	return st == Q2_OK ? end : st;
}

static enum q2_status sums(struct q2_survey *survey, enum q2_map_form form,
			   struct q2_err *err)
{
	struct q2_space space = {0};
	struct q2_layout_opts o = {.length = UINT64_MAX,
				   .row = add_space,
				   .ctx = &space};
	enum q2_status st = q2_survey_layout(survey, &o, err);

	if (st == Q2_OK)
		st = q2_space_report(survey, "snap", &space, form, &to_result);
	return st;
}

static enum q2_status costs(struct q2_survey *survey, enum q2_map_form form,
			    struct q2_err *err)
{
	static const size_t which[] = {0, 1};
	struct q2_cost cost[8], active;
	uint64_t frees;
	size_t n = 0;
	struct q2_snapshot_info info;
	enum q2_status st;

	while (n < 8 && q2_survey_snapshot(survey, n, &info))
		n++;
	st = q2_survey_costs(survey, cost, n, &active, err);
	if (st == Q2_OK)
		st = q2_survey_delete(survey, which, 2, &frees, err);
	if (st == Q2_OK)
		st = q2_costs_report(survey, "snap", cost, n, &active, which, 2,
				     frees, form, &to_result);
	return st;
}

static enum q2_status picture(struct q2_survey *survey,
			      enum q2_picture_form form, struct q2_err *err)
{
	struct q2_picture_opts opts = {.form = form,
				       .flags = Q2_PICTURE_UNICODE |
						Q2_PICTURE_COLOUR,
				       .length = UINT64_MAX};
	struct q2_layout_opts o = {.length = UINT64_MAX,
				   .guest = true,
				   .row = q2_picture_add_use};
	struct q2_picture *p;
	enum q2_status st;

	st = q2_picture_of_file(survey, "snap", &opts, &p, err);
	if (st != Q2_OK)
		return st;
	o.ctx = p;
	st = q2_survey_layout(survey, &o, err);
	if (st == Q2_OK)
		st = q2_picture_report(p, &to_result);
	q2_picture_free(p);
	return st;
}

static enum q2_status disk_picture(enum q2_picture_form form,
				   struct q2_err *err)
{
	struct q2_disk_opts opts = {.chain = true};
	struct q2_picture_opts how = {.form = form, .length = UINT64_MAX};
	struct q2_rows_opts o = {.length = UINT64_MAX,
				 .row = q2_picture_add_row};
	struct q2_picture *p = NULL;
	struct q2_disk *disk;
	enum q2_status st;

	st = q2_disk_open("given/top.qcow2", &opts, &disk, err);
	if (st == Q2_OK)
		st = q2_picture_of_disk(disk, &how, &p, err);
	o.ctx = p;
	if (st == Q2_OK)
		st = q2_disk_rows(disk, &o, err);
	if (st == Q2_OK)
		st = q2_picture_report(p, &to_result);
	q2_picture_free(p);
	q2_disk_close(disk);
	return st;
}

static enum q2_status run_pictures(struct q2_err *err)
{
	static const struct q2_survey_opts none = {0};
	struct q2_survey *survey;
	enum q2_status st = q2_survey_open("given/snap.qcow2", &none, &survey,
					   err);

	for (int f = 0; f <= Q2_PICTURE_HTML && st == Q2_OK; f++) {
		st = picture(survey, (enum q2_picture_form)f, err);
		if (st == Q2_OK)
			st = disk_picture((enum q2_picture_form)f, err);
	}
	q2_survey_close(survey);
	return told(st, err);
}

static enum q2_status run_survey(struct q2_err *err)
{
	static const struct q2_survey_opts none = {0};
	struct q2_survey *survey;
	enum q2_status st = q2_survey_open("given/snap.qcow2", &none, &survey,
					   err);

	for (int f = 0; f <= Q2_MAP_HTML && st == Q2_OK; f++) {
		enum q2_map_form form = (enum q2_map_form)f;

		if (form != Q2_MAP_HTML)
			st = layout(survey, form, err);
		if (st == Q2_OK)
			st = sums(survey, form, err);
		if (st == Q2_OK)
			st = costs(survey, form, err);
	}
	if (st == Q2_OK)
		st = q2_survey_delta(survey, 0, Q2_ACTIVE_DISK, on_delta, NULL,
				     err);
	q2_survey_close(survey);
	return told(st, err);
}

/* -------------------------------------------------------------------- check */
static void found(void *ctx, const struct q2_finding *f)
{
	q2_report_add(ctx, f);
}

static enum q2_status run_check(struct q2_err *err)
{
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA, .found = found};
	struct q2_report *report = NULL;
	struct q2_check_result r;
	struct q2_io *io;
	enum q2_status st = q2_io_open("given/broken.qcow2", &io, err);

	if (st == Q2_OK)
		st = q2_report_new("broken", Q2_KEEP_ALL, 0, &report, err);
	if (st == Q2_OK) {
		opts.ctx = report;
		st = q2_check(io, &opts, &r, err);
		q2_report_end(report, st == Q2_OK ? &r : NULL, err);
	}
	if (st == Q2_OK && q2_report_omitted(report))
		st = Q2_E_NOMEM;
	if (st == Q2_OK)
		st = q2_report_text(report, Q2_TEXT_DETAIL, &to_result);
	if (st == Q2_OK)
		st = q2_report_json(report, Q2_JSON_IMAGE, &to_result);
	q2_report_free(report);
	q2_io_close(io);
	return told(st, err);
}

/* --------------------------------------------------------------------- lint */
static void note(void *ctx, const struct q2_lint_rule *rule, const char *what)
{
	(void)ctx;
	result_add(rule->id, strlen(rule->id));
	result_add(what ? what : "", what ? strlen(what) : 0);
}

static enum q2_status run_lint(struct q2_err *err)
{
	static const char *const files[] = {"given/top.qcow2", "given/data.qcow2",
					    "given/snap.qcow2"};
	struct q2_lint_opts opts = {.note = note};
	enum q2_status st = Q2_OK;
	unsigned needs;

	for (size_t i = 0; i < 3 && st == Q2_OK; i++) {
		st = q2_lint(files[i], &opts, &needs, err);
		if (st == Q2_OK)
			result_add(&needs, sizeof(needs));
	}
	return st;
}

/* --------------------------------------------------------------------- scan */
static enum q2_status report(struct q2_scan *scan)
{
	enum q2_status st = Q2_OK;
	struct q2_scan_volume v;

	/* What is free in a file system is another number each time. */
	if (q2_scan_volume(scan, 0, &v))
		result_add(&v.known, sizeof(v.known));
	for (int f = 0; f <= Q2_SCAN_HTML && st == Q2_OK; f++)
		st = q2_scan_report(scan, (enum q2_scan_form)f, &to_result);
	return st;
}

static enum q2_status run_scan(struct q2_err *err)
{
	static const struct q2_scan_opts none = {0};
	struct q2_scan *scan;
	enum q2_status st = q2_scan_new(&none, &scan, err);

	if (st == Q2_OK)
		st = q2_scan_add(scan, "given", err);
	if (st == Q2_OK)
		st = q2_scan_add(scan, "given/pool/../top.qcow2", err);
	if (st == Q2_OK)
		st = q2_scan_link(scan, err);
	if (st == Q2_OK)
		st = report(scan);
	q2_scan_free(scan);
	return told(st, err);
}


/* What the file system is called by all hosts that have it. */
static const char *const types[] = {"nfs", "nfs4", "fuse.sshfs", "ext4", "xfs"};
static size_t type;

static void on_network(void)
{
	struct stat sb;
	FILE *f;

	empty_work();
	if (stat("given", &sb) != 0 || (f = fopen("work/mounts", "we")) == NULL)
		die("work/mounts cannot be made");
	fprintf(f, "\n1\n1 2\n20 1 %u:%u / / rw - nfs other:/disk rw\n"
		   "21 1 %u:%u / /x rw shared:3\n22 1 %u:%u / /x rw - nfs\n"
		   "23 1 %u:%u / /pool rw shared:3 - %s server:/disk rw\n",
		major(sb.st_dev) + 1, minor(sb.st_dev), major(sb.st_dev),
		minor(sb.st_dev), major(sb.st_dev), minor(sb.st_dev),
		major(sb.st_dev), minor(sb.st_dev), types[type]);
	if (fclose(f) != 0)
		die("work/mounts cannot be written");
	fake_mounts("work/mounts");
}

static enum q2_status run_network(struct q2_err *err)
{
	static const char *const names[] = {"nfs server:/disk", "nfs server:/disk",
					    "fuse.sshfs server:/disk", "", ""};
	static const struct q2_scan_opts none = {0};
	struct q2_scan *scan = NULL;
	enum q2_status st = Q2_OK;

	for (type = 0; type < 5 && st == Q2_OK; type++) {
		struct q2_scan_volume v;

		on_network();
		st = q2_scan_new(&none, &scan, err);
		if (st == Q2_OK)
			st = q2_scan_add(scan, "given/pool", err);
		if (st == Q2_OK)
			st = q2_scan_link(scan, err);
		if (st == Q2_OK && !q2_scan_volume(scan, 0, &v))
			die("there is no volume");
		if (st == Q2_OK && strcmp(v.shared, names[type]) != 0)
			die("%s: %s", types[type], v.shared);
		q2_scan_free(scan);
		scan = NULL;
	}
	return st;
}

static enum q2_status run_join(struct q2_err *err)
{
	static const char *const files[] = {"given/one.ndjson",
					    "given/two.ndjson"};
	static const struct q2_scan_opts none = {0};
	struct q2_scan *scan;
	enum q2_status st = q2_scan_new(&none, &scan, err);

	for (size_t i = 0; i < 2 && st == Q2_OK; i++)
		st = q2_scan_join(scan, files[i], err);
	if (st == Q2_OK)
		st = q2_scan_link(scan, err);
	if (st == Q2_OK)
	for (int f = 0; f <= Q2_SCAN_HTML && st == Q2_OK; f++)
		if (f != Q2_SCAN_NDJSON)
			st = q2_scan_report(scan, (enum q2_scan_form)f,
					    &to_result);
	q2_scan_free(scan);
	return told(st, err);
}

const struct scene map_scenes[] = {
	{"rows", nothing, run_rows, NULL, SCENE_TOLERANT},
	{"layers", nothing, run_layers, NULL, SCENE_TOLERANT},
	{"forecast", nothing, run_forecast, NULL, 0},
	{"survey", nothing, run_survey, NULL, SCENE_TOLERANT},
	{"pictures", nothing, run_pictures, NULL, SCENE_TOLERANT},
	{"check", nothing, run_check, NULL, SCENE_TOLERANT},
	{"lint", nothing, run_lint, NULL, SCENE_TOLERANT},
	{"scan", nothing, run_scan, NULL, SCENE_TOLERANT},
	{"scan of a network's disk", on_network, run_network, NULL, SCENE_ONCE},
	{"join", nothing, run_join, NULL, SCENE_TOLERANT},
	{0},
};
