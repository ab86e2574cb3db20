/*
 * layers.c - what the layers of a chain hold.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/report.h"

struct layers {
	const struct q2_disk *disk;
	const char *filename;
	const struct q2_layer_cost *costs;
	struct q2_commit_cost *const *merges;
	size_t n;
};

/* What the file takes now, less what the next one will take more. */
static bool merged(const struct layers *l, size_t i,
		   const struct q2_disk_layer *layer, uint64_t *frees,
		   uint64_t *takes)
{
	const struct q2_commit_cost *m = l->merges[i];
	uint64_t needed;

	if (m == NULL)
		return false;
	needed = m->exact ? m->needed : m->bound;
	*frees = layer->stored > needed ? layer->stored - needed : 0;
	*takes = needed > layer->stored ? needed - layer->stored : 0;
	return true;
}

static void put_layer(struct q2_json *j, const struct layers *l, size_t i,
		      const struct q2_disk_layer *layer)
{
	const struct q2_layer_cost *c = &l->costs[i];
	uint64_t frees, takes;

	q2_json_open(j, NULL, '{');
	q2_json_u64(j, "layer", i);
	q2_json_text(j, "filename", layer->path);
	q2_json_text(j, "format", layer->raw ? "raw" : "qcow2");
	q2_json_u64(j, "virtual-size", layer->size);
	q2_json_u64(j, "file-size", layer->file_size);
	q2_json_u64(j, "stored", layer->stored);
	q2_json_u64(j, "mapped", c->mapped);
	q2_json_u64(j, "visible", c->visible);
	q2_json_u64(j, "shadowed", c->shadowed);
	q2_json_u64(j, "exclusive", c->exclusive);
	q2_json_u64(j, "zeros", c->zeros);
	if (c->unreadable)
		q2_json_u64(j, "unreadable", c->unreadable);
	if (merged(l, i, layer, &frees, &takes)) {
		q2_json_u64(j, "next-grows-by", l->merges[i]->exact ?
			    l->merges[i]->needed : l->merges[i]->bound);
		q2_json_u64(j, takes ? "takes-if-merged" : "frees-if-merged",
			    takes ? takes : frees);
		if (l->merges[i]->objection[0])
			q2_json_text(j, "objection", l->merges[i]->objection);
	}
	q2_json_close(j, '{');
}

static void put_json(struct q2_json *j, const struct layers *l)
{
	struct q2_disk_layer layer;

	q2_json_open(j, NULL, '{');
	q2_json_u64(j, "schema", 1);
	q2_json_text(j, "filename", l->filename);
	q2_json_open(j, "layers", '[');
	for (size_t i = 0; i < l->n; i++)
		if (q2_disk_layer(l->disk, (uint32_t)i, &layer))
			put_layer(j, l, i, &layer);
	q2_json_close(j, '[');
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

static void put_size(struct q2_buf *out, uint64_t bytes, bool minus)
{
	char text[32];
	struct q2_buf b;

	q2_buf_fix(&b, text, sizeof(text) - 1);
	if (minus)
		q2_buf_char(&b, '-');
	q2_render_size(&b, bytes);
	text[b.n < sizeof(text) ? b.n : sizeof(text) - 1] = '\0';
	q2_buf_format(out, " %11s", text);
}

static void put_text(struct q2_buf *out, const struct layers *l)
{
	struct q2_disk_layer layer;
	uint64_t frees, takes;

	q2_buf_escape(out, l->filename, strlen(l->filename));
	q2_buf_format(out, ": %zu layers, from the top\n", l->n);
	q2_buf_format(out, "%5s %11s %11s %11s %11s %11s %11s  %s\n", "layer",
		      "on disk", "has", "seen", "shadowed", "only here",
		      "merge frees", "file");
	for (size_t i = 0; i < l->n; i++) {
		const struct q2_layer_cost *c = &l->costs[i];

		if (!q2_disk_layer(l->disk, (uint32_t)i, &layer))
			break;
		q2_buf_format(out, "%5zu", i);
		put_size(out, layer.stored, false);
		put_size(out, c->mapped, false);
		put_size(out, c->visible, false);
		put_size(out, c->shadowed, false);
		put_size(out, c->exclusive, false);
		if (merged(l, i, &layer, &frees, &takes))
			put_size(out, takes ? takes : frees, takes != 0);
		else
			q2_buf_format(out, " %11s", "-");
		q2_buf_text(out, "  ");
		q2_buf_escape(out, layer.path, strlen(layer.path));
		q2_buf_char(out, '\n');
		if (l->merges[i] && l->merges[i]->objection[0]) {
			q2_buf_text(out, "      but: ");
			q2_buf_escape(out, l->merges[i]->objection,
				      strlen(l->merges[i]->objection));
			q2_buf_char(out, '\n');
		}
	}
}

enum q2_status q2_layers_report(const struct q2_disk *disk,
				const char *filename,
				const struct q2_layer_cost *costs,
				struct q2_commit_cost *const *merges,
				size_t n, enum q2_doc_form form,
				const struct q2_sink *sink)
{
	struct layers l = {disk, filename, costs, merges, n};
	char store[4096];
	struct q2_buf out;
	struct q2_json j = {.out = &out, .indent = 2};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form == Q2_DOC_TEXT)
		put_text(&out, &l);
	else
		put_json(&j, &l);
	return q2_report_flush(&out);
}
