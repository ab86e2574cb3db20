/*
 * scan.c - what a scan of many files found: as JSON, for Prometheus.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/scan.h"

#include <string.h>

static const char *kind_text(enum q2_file_kind kind)
{
	return kind == Q2_FILE_QCOW2 ? "qcow2" :
	       kind == Q2_FILE_RAW   ? "raw" : "unreadable";
}

static void put_reference(struct q2_json *j, const struct q2_scan *scan,
			  const char *key, size_t number)
{
	struct q2_scan_file f;

	if (q2_scan_file(scan, number, &f))
		q2_json_text(j, key, f.path);
}

static void put_numbers(struct q2_json *j, const struct q2_scan_file *f)
{
	q2_json_u64(j, "capacity", f->capacity);
	q2_json_u64(j, "length", f->length);
	q2_json_u64(j, "allocation", f->allocation);
	q2_json_u64(j, "commitment", f->commitment);
	q2_json_u64(j, "device", f->device);
	q2_json_u64(j, "inode", f->inode);
	q2_json_u64(j, "paths", f->names);
}

static void put_file(struct q2_json *j, const struct q2_scan *scan,
		     const struct q2_scan_file *f)
{
	q2_json_open_flat(j, NULL, '{');
	q2_json_text(j, "filename", f->path);
	q2_json_text(j, "format", kind_text(f->kind));
	if (f->error)
		q2_json_text(j, "error", f->error);
	q2_json_bool(j, "only-named", !f->asked);
	if (f->inode)
		put_numbers(j, f);
	if (f->kind == Q2_FILE_QCOW2)
		q2_json_u64(j, "snapshots", f->snapshots);
	if (f->backing)
		q2_json_text(j, "backing-name", f->backing);
	if (f->format)
		q2_json_text(j, "backing-format", f->format);
	put_reference(j, scan, "base", f->base);
	put_reference(j, scan, "data-file", f->data_file);
	q2_json_u64(j, "overlays", f->overlays);
	q2_json_open(j, "flags", '[');
	for (unsigned i = 0; q2_file_flag_text(i); i++)
		if (f->flags & 1u << i)
			q2_json_text(j, NULL, q2_file_flag_text(i));
	q2_json_close(j, '[');
	q2_json_close(j, '{');
}

static void put_volume(struct q2_json *j, const struct q2_scan_volume *v)
{
	uint64_t growth = v->commitment - v->allocation;

	q2_json_open_flat(j, NULL, '{');
	q2_json_u64(j, "device", v->device);
	if (v->known) {
		q2_json_u64(j, "size", v->size);
		q2_json_u64(j, "free", v->free);
	}
	q2_json_u64(j, "files", v->files);
	q2_json_u64(j, "capacity", v->capacity);
	q2_json_u64(j, "length", v->length);
	q2_json_u64(j, "allocation", v->allocation);
	q2_json_u64(j, "commitment", v->commitment);
	q2_json_u64(j, "growth", growth);
	if (v->known) {
		q2_json_u64(j, "headroom", v->free > growth ?
						   v->free - growth : 0);
		q2_json_u64(j, "shortfall", growth > v->free ?
						    growth - v->free : 0);
	}
	q2_json_close(j, '{');
}

static void put_json(struct q2_json *j, const struct q2_scan *scan)
{
	struct q2_scan_file f;
	struct q2_scan_volume v;

	q2_json_open(j, NULL, '{');
	q2_json_u64(j, "schema", 1);
	q2_json_open(j, "files", '[');
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++)
		put_file(j, scan, &f);
	q2_json_close(j, '[');
	q2_json_open(j, "volumes", '[');
	for (size_t i = 0; q2_scan_volume(scan, i, &v); i++)
		put_volume(j, &v);
	q2_json_close(j, '[');
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

static void put_ndjson(struct q2_json *j, const struct q2_scan *scan)
{
	struct q2_scan_file f;
	struct q2_scan_volume v;

	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		j->begun = false;
		put_file(j, scan, &f);
		q2_buf_char(j->out, '\n');
	}
	for (size_t i = 0; q2_scan_volume(scan, i, &v); i++) {
		j->begun = false;
		q2_json_open(j, NULL, '{');
		q2_json_open(j, "volume", '[');
		put_volume(j, &v);
		q2_json_close(j, '[');
		q2_json_close(j, '{');
		q2_buf_char(j->out, '\n');
	}
}

/* -------------------------------------------------------------- Prometheus */
/* A label's value: backslash, quote and newline are escaped, and no more. */
static void put_label(struct q2_buf *out, const char *text)
{
	size_t n = strlen(text);

	while (n) {
		uint32_t code;
		size_t len = q2_utf8((const uint8_t *)text, n, &code);

		if (len == 0)
			q2_buf_text(out, "\xef\xbf\xbd");
		else if (*text == '\n')
			q2_buf_text(out, "\\n");
		else if (*text == '\\' || *text == '"')
			q2_buf_format(out, "\\%c", *text);
		else
			q2_buf_add(out, text, len);
		len = len ? len : 1;
		text += len;
		n -= len;
	}
}

static uint64_t capacity_of(const struct q2_scan_file *f)
{
	return f->capacity;
}

static uint64_t length_of(const struct q2_scan_file *f)
{
	return f->length;
}

static uint64_t allocation_of(const struct q2_scan_file *f)
{
	return f->allocation;
}

static uint64_t commitment_of(const struct q2_scan_file *f)
{
	return f->commitment;
}

static const struct metric {
	const char *name;
	const char *help;
	uint64_t (*value)(const struct q2_scan_file *f);
} metrics[] = {
	{"qcow2_capacity_bytes", "Size of the guest's disk.", capacity_of},
	{"qcow2_length_bytes", "Length of the file.", length_of},
	{"qcow2_allocation_bytes", "Space that the file takes now.",
	 allocation_of},
	{"qcow2_commitment_bytes",
	 "Space that the file may come to take, tables included.",
	 commitment_of},
};

static void put_metric(struct q2_buf *out, const struct q2_scan *scan,
		       const struct metric *m)
{
	struct q2_scan_file f;

	q2_buf_format(out, "# HELP %s %s\n# TYPE %s gauge\n", m->name, m->help,
		      m->name);
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		if (f.kind == Q2_FILE_BAD)
			continue;
		q2_buf_format(out, "%s{path=\"", m->name);
		put_label(out, f.path);
		q2_buf_format(out, "\",format=\"%s\"} %llu\n", kind_text(f.kind),
			      (unsigned long long)m->value(&f));
	}
}

static void put_prom(struct q2_buf *out, const struct q2_scan *scan)
{
	static const char *const names[] = {
		"qcow2_volume_free_bytes", "qcow2_volume_allocation_bytes",
		"qcow2_volume_commitment_bytes"};
	static const char *const helps[] = {
		"Free space of the file system.",
		"Space that its images take now.",
		"Space that its images may come to take."};
	struct q2_scan_volume v;
	struct q2_scan_file f;
	uint64_t bad = 0;

	for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics); i++)
		put_metric(out, scan, &metrics[i]);
	for (unsigned k = 0; k < 3; k++) {
		q2_buf_format(out, "# HELP %s %s\n# TYPE %s gauge\n", names[k],
			      helps[k], names[k]);
		for (size_t i = 0; q2_scan_volume(scan, i, &v); i++)
			if (v.known || k)
				q2_buf_format(out, "%s{device=\"%llu\"} %llu\n",
					      names[k],
					      (unsigned long long)v.device,
					      (unsigned long long)(
						      k == 0 ? v.free :
						      k == 1 ? v.allocation :
							       v.commitment));
	}
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++)
		bad += f.kind == Q2_FILE_BAD;
	q2_buf_format(out,
		      "# HELP qcow2_unreadable_files Files that could not be "
		      "looked at.\n# TYPE qcow2_unreadable_files gauge\n"
		      "qcow2_unreadable_files %llu\n",
		      (unsigned long long)bad);
}

enum q2_status q2_scan_report(const struct q2_scan *scan,
			      enum q2_scan_form form,
			      const struct q2_sink *sink)
{
	char store[16384];
	struct q2_buf out;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_SCAN_JSON ? 2 : 0};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	switch (form) {
	case Q2_SCAN_TREE:
		q2_scan_put_tree(&out, scan);
		break;
	case Q2_SCAN_JSON:
		put_json(&j, scan);
		break;
	case Q2_SCAN_NDJSON:
		put_ndjson(&j, scan);
		break;
	case Q2_SCAN_DOT:
		q2_scan_put_dot(&out, scan);
		break;
	case Q2_SCAN_PROM:
		put_prom(&out, scan);
		break;
	}
	return q2_report_flush(&out);
}
