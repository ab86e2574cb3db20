/*
 * html_scan.c - what has been promised to guests, as a page.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include "report/page.h"

/* Volumes with a chart of their own. */
#define VOLUMES 20u

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void put_part(struct q2_chart *c, unsigned mark, const char *name,
		     const char *what, uint64_t bytes)
{
	struct q2_buf text = {0};

	q2_name_short(&text, name, Q2_SHOWN_NAME);
	q2_buf_format(&text, "\n%s: ", what);
	q2_render_size(&text, bytes);
	q2_chart_part(c, mark, bytes, &text);
	q2_buf_free(&text);
}

/* ----------------------------------------------------------------- volumes */
/* What other files take of a file system. */
static uint64_t others(const struct q2_scan_volume *v)
{
	return v->is_device ? 0 : less(less(v->size, v->free), v->allocation);
}

static void put_title(struct q2_buf *out, const struct q2_scan_volume *v)
{
	/* A device has the same number and more; see q2_scan_volume. */
	dev_t device = (dev_t)(v->device & UINT32_MAX);

	q2_buf_format(out, "%s %u:%u", v->is_device ? "block device" : "device",
		      major(device), minor(device));
}

static void put_volume_bars(struct q2_chart *c, const struct q2_scan_volume *v)
{
	char name[48];
	struct q2_buf b;
	/* What an image takes of a device is not known: it has all of that. */
	uint64_t taken = v->is_device ? v->size : v->allocation;

	memset(name, 0, sizeof(name));
	q2_buf_fix(&b, name, sizeof(name) - 1);
	put_title(&b, v);
	if (v->known) {
		q2_chart_bar(c, "room");
		put_part(c, Q2_U_LUKS, name, "taken by other files", others(v));
		put_part(c, Q2_U_DATA, name, "taken by these images",
			 taken);
		put_part(c, Q2_U_FREE, name, "free", v->free);
	}
	q2_chart_bar(c, "promised");
	if (v->known)
		put_part(c, Q2_U_LUKS, name, "taken by other files", others(v));
	put_part(c, Q2_U_DATA, name, "taken by these images", taken);
	put_part(c, Q2_M_GROWTH, name, "these images may come to take more",
		 v->growth);
}

static void put_volume(struct q2_buf *out, const struct q2_scan_volume *v)
{
	uint64_t promised = v->commitment + (v->known ? others(v) : 0);
	uint64_t scale = v->size > promised ? v->size : promised;
	struct q2_chart c;

	q2_buf_text(out, v->is_device ? "<h2>Image on a device (" :
					"<h2>File system (");
	put_title(out, v);
	q2_buf_format(out, "), %llu file%s</h2>\n<p%s>",
		      (unsigned long long)v->files, v->files == 1 ? "" : "s",
		      v->known && v->commitment > v->room ? " class=\"bad\"" :
							    "");
	if (v->is_device) {
		q2_render_size(out, v->size);
		q2_buf_text(out, "; what it takes of a pool below is not "
				 "known. ");
		q2_render_size(out, v->growth);
		q2_buf_text(out, " more may be needed.");
	} else if (!v->known) {
		q2_buf_text(out, "How much is free is not known; the images "
				 "may need ");
		q2_render_size(out, v->growth);
		q2_buf_text(out, " more.");
	} else {
		q2_render_size(out, v->free);
		q2_buf_text(out, " free, ");
		q2_render_size(out, v->growth);
		q2_buf_text(out, " may be needed: ");
		q2_buf_format(out, "%.1f %% of the room is promised.",
			      v->room ? 100 * (double)v->commitment /
						(double)v->room : 0);
	}
	q2_buf_text(out, "</p>\n");
	q2_chart_begin(&c, out, scale, v->known ? 2 : 1,
		       "chart of the file system: arrow keys move");
	put_volume_bars(&c, v);
	q2_chart_end(&c);
}

static void put_volumes(struct q2_buf *out, const struct q2_scan *scan)
{
	struct q2_scan_volume v;
	size_t n = 0;

	for (; q2_scan_volume(scan, n, &v); n++)
		if (n < VOLUMES)
			put_volume(out, &v);
	if (n > VOLUMES)
		q2_buf_format(out, "<p>Only %u of %llu file systems are "
			      "shown; --output=json has all.</p>\n", VOLUMES,
			      (unsigned long long)n);
	q2_buf_text(out, "<p>");
	q2_page_put_key(out, Q2_U_LUKS, "other files");
	q2_page_put_key(out, Q2_U_DATA, "these images");
	q2_page_put_key(out, Q2_M_GROWTH, "what they may grow by");
	q2_page_put_key(out, Q2_U_FREE, "free");
	q2_buf_text(out, "</p>\n");
}

/* ------------------------------------------------------------------- files */
struct entry {
	uint64_t commitment;
	size_t number;
};

/* The largest commitment first; then in the order of the paths. */
static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->commitment != y->commitment)
		return x->commitment < y->commitment ? 1 : -1;
	return (x->number > y->number) - (x->number < y->number);
}

struct files {
	struct entry *at;
	size_t n;
};

static bool sort_files(const struct q2_scan *scan, struct files *files)
{
	struct q2_scan_file f;

	*files = (struct files){0};
	while (q2_scan_file(scan, files->n, &f))
		files->n++;
	files->at = calloc(files->n ? files->n : 1, sizeof(*files->at));
	if (files->at == NULL)
		return false;
	for (size_t i = 0; i < files->n; i++) {
		(void)q2_scan_file(scan, i, &f);
		files->at[i] = (struct entry){f.commitment, i};
	}
	qsort(files->at, files->n, sizeof(*files->at), compare);
	return true;
}

static void put_chart(struct q2_buf *out, const struct q2_scan *scan,
		      const struct files *files)
{
	unsigned n = files->n < Q2_CHART_BARS ? (unsigned)files->n :
						Q2_CHART_BARS;
	struct q2_scan_file f;
	struct q2_chart c;
	uint64_t scale = 0;

	for (size_t i = 0; i < n; i++) {
		(void)q2_scan_file(scan, files->at[i].number, &f);
		scale = f.commitment > scale ? f.commitment : scale;
		scale = f.allocation > scale ? f.allocation : scale;
	}
	q2_buf_text(out, "<h2>Files</h2>\n");
	if (files->n > n)
		q2_buf_format(out, "<p class=\"scale\">The %u of %llu that may "
			      "come to take most:</p>\n", n,
			      (unsigned long long)files->n);
	q2_chart_begin(&c, out, scale, n,
		       "chart of the files: arrow keys move");
	for (size_t i = 0; i < n; i++) {
		(void)q2_scan_file(scan, files->at[i].number, &f);
		q2_chart_bar(&c, f.path);
		put_part(&c, Q2_U_DATA, f.path,
			 f.is_device ? "size of the device" : "takes now",
			 f.is_device ? f.length : f.allocation);
		put_part(&c, Q2_M_GROWTH, f.path, "may come to take more",
			 f.growth);
	}
	q2_chart_end(&c);
}

static void put_number(struct q2_buf *out, uint64_t value)
{
	q2_buf_format(out, "<td class=\"n\" data-v=\"%llu\">%llu</td>",
		      (unsigned long long)value, (unsigned long long)value);
}

static void put_line(struct q2_buf *out, const struct q2_scan *scan,
		     const struct q2_scan_file *f)
{
	struct q2_scan_file base;
	const char *comma = "";

	q2_buf_text(out, "<tr><td><bdi>");
	q2_xml_short_name(out, f->path, 1000);
	q2_buf_format(out, "</bdi></td><td>%s</td>",
		      f->kind == Q2_FILE_QCOW2 ? "qcow2" :
		      f->kind == Q2_FILE_RAW   ? "raw" : "unreadable");
	q2_page_put_size(out, f->capacity);
	q2_page_put_size(out, f->length);
	if (f->is_device)
		q2_buf_text(out, "<td class=\"n\" data-v=\"-1\">unknown</td>");
	else
		q2_page_put_size(out, f->allocation);
	q2_page_put_size(out, f->commitment);
	put_number(out, f->snapshots);
	put_number(out, f->overlays);
	q2_buf_text(out, "<td><bdi>");
	if (q2_scan_file(scan, f->base, &base))
		q2_xml_short_name(out, base.path, 1000);
	else if (f->backing)
		q2_xml_short_name(out, f->backing, 1000);
	q2_buf_text(out, "</bdi></td><td>");
	for (unsigned i = 0; q2_file_flag_text(i); i++)
		if (f->flags & 1u << i) {
			q2_buf_format(out, "%s%s", comma, q2_file_flag_text(i));
			comma = ", ";
		}
	if (f->error) {
		q2_buf_text(out, comma);
		q2_xml_short_name(out, f->error, 1000);
	}
	q2_buf_text(out, "</td></tr>\n");
}

static void put_table(struct q2_buf *out, const struct q2_scan *scan,
		      const struct files *files)
{
	static const char *const heads[] = {
		"file",	      "format",	   "capacity", "length", "allocation",
		"commitment", "snapshots", "overlays", "base",	 "flags"};
	struct q2_scan_file f;

	q2_buf_text(out, "<div class=\"wide\"><table class=\"sort\">\n"
			 "<thead><tr>");
	for (unsigned i = 0; i < sizeof(heads) / sizeof(*heads); i++)
		q2_page_put_head(out, heads[i], i >= 2 && i < 8);
	q2_buf_text(out, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < files->n && i < Q2_TABLE_LINES; i++) {
		(void)q2_scan_file(scan, files->at[i].number, &f);
		put_line(out, scan, &f);
	}
	q2_buf_text(out, "</tbody>\n</table></div>\n");
	if (files->n > Q2_TABLE_LINES)
		q2_buf_format(out, "<p>Only %u of %llu files are shown; "
			      "--output=json has all.</p>\n", Q2_TABLE_LINES,
			      (unsigned long long)files->n);
}

void q2_scan_put_html(struct q2_buf *out, const struct q2_scan *scan)
{
	struct q2_buf facts = {0};
	struct files files;

	if (!sort_files(scan, &files)) {
		out->failed = true;
		return;
	}
	q2_buf_format(&facts, "%llu file%s; commitment is the most that a file "
		      "may come to take\n", (unsigned long long)files.n,
		      files.n == 1 ? "" : "s");
	q2_page_begin(out, "What has been promised", NULL, &facts);
	q2_buf_free(&facts);
	put_volumes(out, scan);
	put_chart(out, scan, &files);
	put_table(out, scan, &files);
	q2_page_end(out);
	free(files.at);
}
