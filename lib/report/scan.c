/*
 * scan.c - what a scan of many files found: as JSON, for Prometheus.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/scan.h"

#include <string.h>

#include "report/page.h"

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
	if (f->is_device)
		q2_json_bool(j, "block-device", true);
	else
		q2_json_u64(j, "allocation", f->allocation);
	q2_json_u64(j, "commitment", f->commitment);
	q2_json_u64(j, "commitment-alone", f->alone);
	q2_json_u64(j, "device", f->device);
	q2_json_u64(j, "inode", f->inode);
	q2_json_u64(j, "paths", f->names);
	q2_json_u64(j, "changed", (uint64_t)f->changed);
}

/* Which files it names, whether they were looked at or not. */
static void put_named(struct q2_json *j, const struct q2_scan *scan, size_t i)
{
	struct q2_scan_names names;

	if (!q2_scan_names(scan, i, &names))
		return;
	if (names.base_inode) {
		q2_json_u64(j, "base-device", names.base_device);
		q2_json_u64(j, "base-inode", names.base_inode);
	}
	if (names.data_inode) {
		q2_json_u64(j, "data-device", names.data_device);
		q2_json_u64(j, "data-inode", names.data_inode);
	}
}

static void put_host(struct q2_json *j, const struct q2_scan *scan,
		     const struct q2_scan_file *f)
{
	struct q2_scan_volume v;

	if (q2_scan_volume(scan, f->volume, &v) && v.host)
		q2_json_text(j, "host", v.host);
}

/* With the kind of line for ndjson, which has all that joining them needs. */
static void put_file(struct q2_json *j, const struct q2_scan *scan, size_t i,
		     const struct q2_scan_file *f, bool line)
{
	q2_json_open_flat(j, NULL, '{');
	if (line)
		q2_json_text(j, "kind", "file");
	q2_json_name(j, "filename", "filename-bytes", f->path);
	q2_json_text(j, "format", kind_text(f->kind));
	if (f->error)
		q2_json_text(j, "error", f->error);
	q2_json_bool(j, "only-named", !f->asked);
	if (f->inode)
		put_numbers(j, f);
	put_host(j, scan, f);
	if (f->kind == Q2_FILE_QCOW2)
		q2_json_u64(j, "snapshots", f->snapshots);
	if (f->backing)
		q2_json_name(j, "backing-name", "backing-name-bytes", f->backing);
	if (f->format)
		q2_json_text(j, "backing-format", f->format);
	put_reference(j, scan, "base", f->base);
	put_reference(j, scan, "data-file", f->data_file);
	if (line)
		put_named(j, scan, i);
	q2_json_u64(j, "overlays", f->overlays);
	q2_json_open(j, "flags", '[');
	for (unsigned k = 0; q2_file_flag_text(k); k++)
		if (f->flags & 1u << k)
			q2_json_text(j, NULL, q2_file_flag_text(k));
	q2_json_close(j, '[');
	q2_json_close(j, '{');
}

static void put_volume(struct q2_json *j, const struct q2_scan_volume *v,
		       bool line)
{
	q2_json_open_flat(j, NULL, '{');
	if (line)
		q2_json_text(j, "kind", "volume");
	q2_json_u64(j, "device", v->device);
	if (v->is_device)
		q2_json_bool(j, "block-device", true);
	if (v->host)
		q2_json_text(j, "host", v->host);
	q2_json_text(j, "shared", v->shared);
	if (v->known)
		q2_json_u64(j, "size", v->size);
	if (v->known && !v->is_device)
		q2_json_u64(j, "free", v->free);
	q2_json_u64(j, "files", v->files);
	q2_json_u64(j, "capacity", v->capacity);
	q2_json_u64(j, "length", v->length);
	if (!v->is_device)
		q2_json_u64(j, "allocation", v->allocation);
	q2_json_u64(j, "commitment", v->commitment);
	q2_json_u64(j, "growth", v->growth);
	if (v->known) {
		q2_json_u64(j, "headroom", v->room > v->commitment ?
						   v->room - v->commitment : 0);
		q2_json_u64(j, "shortfall", v->commitment > v->room ?
						    v->commitment - v->room : 0);
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
		put_file(j, scan, i, &f, false);
	q2_json_close(j, '[');
	q2_json_open(j, "volumes", '[');
	for (size_t i = 0; q2_scan_volume(scan, i, &v); i++)
		put_volume(j, &v, false);
	q2_json_close(j, '[');
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

static void put_head(struct q2_json *j, const struct q2_scan *scan)
{
	struct q2_scan_about about;

	q2_scan_about(scan, &about);
	q2_json_open(j, NULL, '{');
	q2_json_text(j, "kind", "audit");
	q2_json_u64(j, "schema", 1);
	q2_json_u64(j, "part", about.part);
	q2_json_u64(j, "parts", about.parts);
	q2_json_text(j, "host", about.host);
	q2_json_text(j, "boot", about.boot);
	q2_json_open(j, "asked", '[');
	for (size_t i = 0; i < about.n_asked; i++)
		q2_json_text(j, NULL, about.asked[i]);
	q2_json_close(j, '[');
	q2_json_close(j, '{');
}

static void end_line(struct q2_json *j)
{
	q2_buf_char(j->out, '\n');
	j->begun = false;
}

/* lib/map/record.c reads them. */
static void put_ndjson(struct q2_json *j, const struct q2_scan *scan)
{
	struct q2_scan_file f;
	struct q2_scan_volume v;
	size_t n = 0;

	put_head(j, scan);
	end_line(j);
	for (size_t i = 0; q2_scan_volume(scan, i, &v); i++) {
		put_volume(j, &v, true);
		end_line(j);
	}
	for (; q2_scan_file(scan, n, &f); n++) {
		put_file(j, scan, n, &f, true);
		end_line(j);
	}
	q2_json_open(j, NULL, '{');
	q2_json_text(j, "kind", "end");
	q2_json_u64(j, "files", n);
	q2_json_close(j, '{');
	end_line(j);
}

/* -------------------------------------------------------------- Prometheus */
/* What stands between quotes there: a quote, a backslash and a newline get a
 * backslash in front, and U+FFFD stands for what is not UTF-8. */
static void put_quoted(struct q2_buf *out, const char *text)
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

static void put_host_label(struct q2_buf *out, const struct q2_scan_volume *v)
{
	if (v->host == NULL)
		return;
	q2_buf_text(out, ",host=\"");
	put_quoted(out, v->host);
	q2_buf_char(out, '"');
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
	struct q2_scan_volume v;

	q2_buf_format(out, "# HELP %s %s\n# TYPE %s gauge\n", m->name, m->help,
		      m->name);
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		if (f.kind == Q2_FILE_BAD ||
		    (f.is_device && m->value == allocation_of))
			continue;
		q2_buf_format(out, "%s{path=\"", m->name);
		put_quoted(out, f.path);
		/* Names must not become alike. */
		if (!q2_is_utf8(f.path)) {
			q2_buf_text(out, "\",bytes=\"");
			q2_put_hex(out, f.path);
		}
		q2_buf_format(out, "\",format=\"%s\"", kind_text(f.kind));
		if (q2_scan_volume(scan, f.volume, &v))
			put_host_label(out, &v);
		q2_buf_format(out, "} %llu\n", (unsigned long long)m->value(&f));
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
			if (k == 2 || (!v.is_device && (v.known || k == 1))) {
				q2_buf_format(out, "%s{device=\"%llu\"",
					      names[k],
					      (unsigned long long)v.device);
				put_host_label(out, &v);
				q2_buf_format(out, "} %llu\n",
					      (unsigned long long)(
						      k == 0 ? v.free :
						      k == 1 ? v.allocation :
							       v.commitment));
			}
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
	struct q2_scan_about about;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_SCAN_JSON ? 2 : 0};

	q2_scan_about(scan, &about);
	/* Those have been joined already. */
	if (form == Q2_SCAN_NDJSON && about.joined)
		return Q2_E_ARG;
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
	case Q2_SCAN_HTML:
		q2_scan_put_html(&out, scan);
		break;
	}
	return q2_report_flush(&out);
}
