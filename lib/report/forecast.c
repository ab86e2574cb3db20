/*
 * forecast.c - what commits and dumps will come to.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/report.h"

static uint64_t grown(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

static void put_bytes(struct q2_buf *out, uint64_t bytes)
{
	q2_render_size(out, bytes);
	if (bytes >= 1024)
		q2_buf_format(out, " (%llu)", (unsigned long long)bytes);
}

static void put_line(struct q2_buf *out, const char *what, uint64_t bytes)
{
	q2_buf_format(out, "  %-36s", what);
	put_bytes(out, bytes);
	q2_buf_char(out, '\n');
}

static void put_title(struct q2_buf *out, const char *filename,
		      const char *what)
{
	q2_buf_escape(out, filename, strlen(filename));
	q2_buf_format(out, ": %s", what);
}

/* ------------------------------------------------------------------- commit */
static void put_placed(struct q2_json *j, const char *key,
		       const uint64_t *bytes)
{
	q2_json_open_flat(j, key, '{');
	for (unsigned i = 0; i < Q2_PLACED_COUNT; i++)
		q2_json_u64(j, q2_placed_text((enum q2_placed)i), bytes[i]);
	q2_json_close(j, '{');
}

static void put_change(struct q2_json *j, const char *key, uint64_t before,
		       uint64_t after)
{
	q2_json_open_flat(j, key, '{');
	q2_json_u64(j, "before", before);
	q2_json_u64(j, "after", after);
	q2_json_close(j, '{');
}

static void commit_json(struct q2_json *j, const char *filename,
			const struct q2_commit_cost *c)
{
	q2_json_open(j, NULL, '{');
	q2_json_u64(j, "schema", 1);
	q2_json_text(j, "forecast", "commit");
	q2_json_text(j, "filename", filename);
	q2_json_text(j, "base", c->base);
	q2_json_text(j, "base-format", c->raw ? "raw" : "qcow2");
	if (!c->raw)
		q2_json_u64(j, "cluster-size", c->cluster_size);
	q2_json_u64(j, "data", c->data);
	q2_json_u64(j, "zeros", c->zeros);
	q2_json_bool(j, "exact", c->exact);
	if (c->exact) {
		put_change(j, "virtual-size", c->disk_before, c->disk_after);
		put_change(j, "file-length", c->length_before,
			   c->length_after);
		put_change(j, "end-offset", c->end_before, c->end_after);
		q2_json_u64(j, "grows-by",
			    c->device ? grown(c->end_before, c->end_after) :
					grown(c->length_before,
					      c->length_after));
		q2_json_u64(j, "needed", c->needed);
	}
	if (c->exact && !c->raw) {
		q2_json_u64(j, "overwritten", c->overwritten);
		put_placed(j, "in-free-clusters", c->inside);
		put_placed(j, "behind-the-end", c->behind);
		q2_json_u64(j, "freed", c->freed);
	}
	q2_json_u64(j, "bound", c->bound);
	if (c->available != UINT64_MAX)
		q2_json_u64(j, "available", c->available);
	put_change(j, "top-length", c->top_before, c->top_after);
	if (c->objection[0])
		q2_json_text(j, "objection", c->objection);
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

static void put_table(struct q2_buf *out, const struct q2_commit_cost *c)
{
	q2_buf_format(out, "  %-18s %20s %20s\n", "new clusters, bytes",
		      "in free clusters", "behind the end");
	for (unsigned i = 0; i < Q2_PLACED_COUNT; i++)
		if (c->inside[i] || c->behind[i])
			q2_buf_format(out, "    %-17s %20llu %20llu\n",
				      q2_placed_text((enum q2_placed)i),
				      (unsigned long long)c->inside[i],
				      (unsigned long long)c->behind[i]);
}

static void put_both(struct q2_buf *out, const char *what, uint64_t before,
		     uint64_t after)
{
	q2_buf_format(out, "  %-36s", what);
	put_bytes(out, before);
	if (after != before) {
		q2_buf_text(out, " -> ");
		put_bytes(out, after);
	}
	q2_buf_char(out, '\n');
}

static void commit_text(struct q2_buf *out, const char *filename,
			const struct q2_commit_cost *c)
{
	put_title(out, filename, "committed to");
	q2_buf_text(out, " '");
	q2_buf_escape(out, c->base, strlen(c->base));
	q2_buf_text(out, "'\n");
	put_line(out, "data to be written", c->data);
	put_line(out, "zeros to be said", c->zeros);
	if (c->exact) {
		put_both(out, "the base's disk", c->disk_before,
			 c->disk_after);
		put_both(out, c->device ? "its device" : "its file",
			 c->length_before, c->length_after);
		put_both(out, "its end, for a logical volume", c->end_before,
			 c->end_after);
		put_line(out, "it grows by", c->device ?
			 grown(c->end_before, c->end_after) :
			 grown(c->length_before, c->length_after));
	} else {
		q2_buf_text(out, "  the memory allowed does not suffice for "
				 "more than a bound\n");
	}
	if (c->exact && !c->raw) {
		put_line(out, "clusters overwritten in place",
			 c->overwritten);
		put_table(out, c);
		put_line(out, "clusters that become free", c->freed);
	}
	if (c->exact)
		put_line(out, "room needed on the volume", c->needed);
	if (c->available != UINT64_MAX)
		put_line(out, "room there is", c->available);
	put_line(out, "bound, by the maps alone", c->bound);
	put_both(out, "the top image's file", c->top_before, c->top_after);
	if (c->objection[0]) {
		q2_buf_text(out, "qcow2-dump --commit would refuse: ");
		q2_buf_escape(out, c->objection, strlen(c->objection));
		q2_buf_char(out, '\n');
	}
}

enum q2_status q2_commit_cost_report(const struct q2_commit_cost *cost,
				     const char *filename,
				     enum q2_doc_form form,
				     const struct q2_sink *sink)
{
	char store[4096];
	struct q2_buf out;
	struct q2_json j = {.out = &out, .indent = 2};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form == Q2_DOC_TEXT)
		commit_text(&out, filename, cost);
	else
		commit_json(&j, filename, cost);
	return q2_report_flush(&out);
}

/* ------------------------------------------------------------ one new image */
struct flatten {
	const struct q2_flatten_cost *cost;
	const struct q2_measure *measure;
	const char *filename;
	const char *what;
	bool raw;
};

static void flatten_json(struct q2_json *j, const struct flatten *f)
{
	const struct q2_flatten_cost *c = f->cost;

	q2_json_open(j, NULL, '{');
	q2_json_u64(j, "schema", 1);
	q2_json_text(j, "forecast", f->what);
	q2_json_text(j, "filename", f->filename);
	q2_json_text(j, "format", f->raw ? "raw" : "qcow2");
	q2_json_u64(j, "virtual-size", c->disk);
	q2_json_u64(j, "data-by-tables", c->tables_data);
	q2_json_u64(j, "bound", c->bound);
	if (c->percent) {
		q2_json_u64(j, "looked-at", c->looked_at);
		q2_json_u64(j, "data-found", c->data);
		if (c->exact || c->estimate)
			q2_json_u64(j, c->exact ? "exact" : "estimate",
				    c->length);
	}
	if (c->verbatim)
		q2_json_u64(j, "verbatim-streams", c->verbatim);
	if (f->raw)
		q2_json_u64(j, "file-length", c->disk);
	q2_json_u64(j, "qemu-img-required", f->measure->required);
	q2_json_u64(j, "fully-allocated", f->measure->fully_allocated);
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

static void flatten_text(struct q2_buf *out, const struct flatten *f)
{
	const struct q2_flatten_cost *c = f->cost;

	put_title(out, f->filename, f->raw ? "as one raw image" :
		  strcmp(f->what, "compress") == 0 ?
			  "as one compressed QCOW2 image" :
			  "as one QCOW2 image");
	q2_buf_char(out, '\n');
	put_line(out, "the guest's disk", c->disk);
	put_line(out, "clusters that have data", c->tables_data);
	if (c->percent) {
		put_line(out, "of these, read", c->looked_at);
		put_line(out, "not zeros in that", c->data);
	}
	if (c->verbatim)
		put_line(out, "streams taken as they are, at most",
			 c->verbatim);
	if (f->raw)
		put_line(out, "length of the file", c->disk);
	put_line(out, f->raw ? "space it takes, at most" :
		 "length, at most", c->bound);
	if (c->percent && !c->exact && !c->estimate)
		q2_buf_text(out, "  no data were in the part that was looked "
				 "at\n");
	if (c->exact || c->estimate)
		put_line(out, c->exact ? (f->raw ? "space it takes, exactly" :
					  "length, exactly") :
			 "estimate by the part that was read", c->length);
	put_line(out, "qemu-img measure: required", f->measure->required);
	put_line(out, "once all is written", f->measure->fully_allocated);
}

enum q2_status q2_flatten_cost_report(const struct q2_flatten_cost *cost,
				      const struct q2_measure *measure,
				      const char *filename, const char *what,
				      bool raw, enum q2_doc_form form,
				      const struct q2_sink *sink)
{
	struct flatten f = {cost, measure, filename, what, raw};
	char store[4096];
	struct q2_buf out;
	struct q2_json j = {.out = &out, .indent = 2};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form == Q2_DOC_TEXT)
		flatten_text(&out, &f);
	else
		flatten_json(&j, &f);
	return q2_report_flush(&out);
}
